r"""Steps of a linear diffusion with its linear part exact, mode by mode, at any level of noise.

Given the end and a Gaussian law of the start, x_t is affine in what is known of both,

    x_t = w(t) m + κ(t) x_1 + d(t) z,

m being the mean of x_0 and z noise of covariance Γ. A sampler moves x_t by the guess E[x_1 | x_t]
in place of x_1. The probability flow carries z along; the process itself renews it, so that of
x_t - w m - κ x_1 the part r(t, s) of its bridge to x_1 is left at s; and a level λ of noise (see
`levels`) is between them, or beyond:

    x_s  =  ρ(t, s) x_t + ω(t, s) m + ∫_t^s E[x_1 | x_u] (-d η(u, s)) + noise,
    ρ = (d(s)/d(t))^{1-λ²} r(t, s)^{λ²},     ω = w(s) - ρ w(t),     η = κ(s) - ρ κ(t),

the noise of variance d(s)² - ρ² d(t)², whatever the clock and the noise of each mode. For λ = 1
these are the weights of the bridge, for which no law of the start is needed. If the guess stays
what it was at t this is exact, and comes to it at the data. If it is a straight line in u there is
beside E[x_1 | x_t] η(t, s) its slope times

    ∫_t^s (u - t) (-d η(u, s))  =  ∫_t^s η(u, s) du,

which at the data, where η(u, 1) = 1, is 1 - t. With the slope of the step before these are,
without noise, the exponential Adams–Bashforth steps of Zhang & Chen (DEIS,
https://arxiv.org/abs/2204.13902, tAB1), of second order at one evaluation each, stated for the end
in place of the noise. With noise the guess changes by chance, at λ = 1 by chance alone, being a
martingale. What it gained in the step before then stands in for what it gains in this one, so that
the gains of even steps add up to those of the process but for the first and the last (as in
SDE-DPM-Solver++(2M) of Lu et al., https://arxiv.org/abs/2211.01095): of second order up to any
time before the data, on grids that change smoothly. Onto the data the last gain counts twice, and
the variance has three times that of one gain where one is missing: of first order on a clock that
does not slow towards them, and too wide. Where a step is longer than the one before its slope
counts less, in proportion, so that no guess goes on for longer than it was seen to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings.base import bridged, linear
from markovbridge.covariances import Covariance
from markovbridge.laws.numbers import rule
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.levels import Level, Levels, check_level, check_number, level_at
from markovbridge.samplers.model import DataModel, Model
from markovbridge.samplers.scores import diffusion_of, flowing

NODES = 16  # of the quadrature of a step


def path_of(model: Model, t: Time) -> GivenEnd:
    """The weights of x_t given x_1; of a flow z is x_0 itself, whatever its law, and m is 0.

    Raises:
        ValueError: If the process or the coupling does not state them.
    """
    process = linear(model.process)
    if not process.noiseless:
        return model.coupling.kernel(process, t)
    start, gain, _ = process.weights(0.0, t, 1.0)
    none = torch.zeros_like(start)
    path = GivenEnd(none.new_zeros(()), none, gain, start**2, none, none, basis=process.basis)
    return bridged(process, path, t)


@dataclass(frozen=True, eq=False)
class _Move:
    """The weights of a step, float64, of the shape of its beginnings, or (rows, bands).

    Attributes:
        keep: ρ, of x_t.
        end: η, of the guess.
        start: ω, of the mean m of the source.
        variance: Of the noise, in units of Γ.
        shift: Of the drift c beside f X; None if there is none.
        mean: m.
    """

    keep: Tensor
    end: Tensor
    start: Tensor
    variance: Tensor
    shift: Tensor | None
    mean: Tensor


def move(model: Model, t: Time, s: float, level: float) -> _Move:
    """The weights of a step from t to s at a level of noise.

    Raises:
        ValueError: If the process or the coupling does not state them, or x_t is certain, of
            which a level other than 1 has no score.
    """
    process = linear(model.process, "a step of Adams")
    if level == 1 and not process.noiseless:
        keep, end, variance = process.weights(t, s, 1.0)
        shift = process.bridge_shift(t, s, 1.0) if process.affine else None
        return _Move(keep, end, torch.zeros_like(keep), variance, shift, keep.new_zeros(()))
    now, then = path_of(model, t), path_of(model, s)
    now.check_spread()
    keep, variance = (then.variance / now.variance).sqrt(), torch.zeros_like(then.variance)
    if level > 0 and not process.noiseless:
        # Of z, in logarithm; nothing is left at the data, and rounding alone gains any.
        kept = process.weights(t, s, 1.0)[0] / torch.where(keep > 0, keep, 1.0)
        lost = torch.where(keep > 0, level**2 * kept.log().clamp_max(0), 0.0)
        keep, variance = keep * lost.exp(), -then.variance * torch.expm1(2 * lost)
    shift = None if now.shift is None or then.shift is None else then.shift - keep * now.shift
    end, start = then.gain - keep * now.gain, then.start - keep * now.start
    return _Move(keep, end, start, variance, shift, now.mean)


def bend(model: Model, by: _Move, t: float, s: float, level: float) -> Tensor:
    """The weight of the slope of the guess in a step, ∫ η(u, s) du."""
    if s == 1:
        return torch.full_like(by.end, 1 - t)
    # In log (1 - u), in which η is smooth near the data.
    nodes, shares = rule(NODES)
    length = math.log((1 - t) / (1 - s))
    left = (1 - t) * torch.exp(-length * nodes)
    ends = move(model, 1 - left, s, level).end
    width = (length * shares * left).to(ends.device)
    return (width @ ends).unsqueeze(0) if ends.ndim > 1 else width @ ends


def moved(
    model: Model,
    by: _Move,
    *terms: tuple[Tensor, Tensor],
    generator: torch.Generator | None = None,
) -> Tensor:
    """Where a step leads, (batch, *event), from its weights of states and of guesses."""
    process, x = linear(model.process), terms[0][1]
    terms = *terms, (by.start, by.mean.to(x))
    if bool((by.variance > 0).any()):
        law = process.basis.gaussian(by.variance.sqrt(), *terms)
        found = law.sample(generator=generator)
    else:
        found = process.basis.combine(*terms)
    return found if by.shift is None else found + process.moved(by.shift, x)


def _number(level: float | Covariance) -> float:
    """A level of a step, or an error if it is none of these steps."""
    if isinstance(level, Covariance):
        raise TypeError(
            f"noise of a covariance, {level!r}, has no steps in closed form: take a number as "
            "level, or StochasticHeun"
        )
    check_number(level, least=0.0)
    return float(level)


@dataclass(eq=False)
class _Walk(Sampler):
    """One walk of steps of Adams, which remembers the guess of its last step.

    Attributes:
        made: The sampler.
        level: Of its noise.
        past: Where the last step began and ended, and E[x_1 | x_t] where it began.
    """

    made: Sampler
    level: float | Covariance | Level = 0.0
    past: tuple[float, float, Tensor] | None = None

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        """Another walk."""
        return self.made.plan(model, steps, start, walked)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        level = _number(level_at(self.level, t))
        flowing(model, self.made, level)
        by = move(model, t, s, level)  # or an error before the network is asked
        end, past = model.law(x, t).mean.to(x.dtype), self.past
        terms = [(by.keep, x), (by.end, end)]
        if past is not None and past[0] < past[1] == t:
            slope = (end - past[2]) / max(t - past[0], s - t)
            terms.append((bend(model, by, t, s, level), slope))
        self.past = t, s, end
        return moved(model, by, *terms, generator=generator)

    def evaluations(self, steps: int) -> int:
        return steps


def walking(made: Sampler, level: float | Covariance | Level = 0.0) -> Sampler:
    """One walk of a sampler by steps of Adams with noise of a level."""
    return _Walk(made, level)


@dataclass(frozen=True, eq=False)
class StochasticAdams(Sampler):
    """Steps of the generative process at one evaluation each, or of one with less or more noise.

    The linear part of the process and its noise are exact, by mode, and the guess goes on as in
    the step before (`samplers.adams`), of `LinearDiffusion` without a backward model: of second
    order before the data, and onto them at least of first, with more variance than they have. The
    step onto the data is one of the guess alone. The first step of a walk, steps that are taken
    again, as `impute` does with `rounds`, and a `step` that is called by itself do not know the
    step before. What it brings samples of trained networks is measured in
    docs/measured/bridges.md.

    Attributes:
        level: How much noise to use: λ, a share of that of the reference, of which 1, the
            process itself, needs no score; or a `Level` of such numbers that changes with time.
    """

    level: float | Level = 1.0

    def __post_init__(self) -> None:
        check_level(self.level)
        known = self.level.levels if isinstance(self.level, Levels) else (self.level,)
        for level in known:
            if not isinstance(level, Level):
                _number(level)

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        diffusion_of(model, self)
        grid = model.grid(steps, start)
        for t, s in pairwise(map(float, grid)):
            level = _number(level_at(self.level, t))
            if t > 0:  # or an error before the walk; of the source another may take the step
                flowing(model, self, level)
                move(model, t, s, level)
        return walking(self, self.level), grid

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return walking(self, self.level).step(model, x, t, s, generator=generator)

    def evaluations(self, steps: int) -> int:
        """One for each step."""
        return steps


doors.guard(
    __name__,
    inside=("bend", "move", "moved", "path_of", "walking"),
    own=("level",),
)
