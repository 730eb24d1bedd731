r"""Samplers of diffusions, from their drift.

With D(x, t) = E[x_1 | x_t = x], b the drift pinned at D, and the smoothed score
S = Γ ∇ log of the density of x_t, every process of the family

    dX = [ b - ½ (1 - λ²) g² S ] dt + λ g Γ^{1/2} dW

has the same law at each t (Fokker–Planck). λ = 1 is the generative process itself,
λ = 0 the probability-flow ODE (Song et al., https://arxiv.org/abs/2011.13456), and Γ
is needed for the noise only. S comes from D where the coupling says how
(`Coupling.kernel`), and otherwise from a second model that carries the data back to
the source, E[x_0 | x_t]. Beyond λ = 1 more noise is corrected by more score. The noise may as
well have any other covariance, which `levels` are about.

Where the process is a flow itself, g = 0, all levels are one and no score is needed, whatever the
coupling.

`EulerMaruyama`, `ProbabilityFlow` and `StochasticHeun` are approximate at every step count, with
errors of the order of the step (of its square for Heun and Adams); `Bridge` with the exact law is
not. Measured: `benchmarks/diffusion_steps.py`.

`StochasticHeun` is Heun's method for noise that does not depend on x (Kloeden & Platen 1992,
15.1): the drift of a level at both ends of a step, the second where Euler–Maruyama has come, noise
and all, and the same noise in what is taken; g is that of the middle of the step.

`Midpoint` is of second order with noise. A step of the process with D frozen is the bridge
towards D, exactly, so no drift is integrated. D is a martingale: it goes to the time m at
which half of the noise of the step has come, looks again, and finishes towards 2 D_m - D_t.
The mean is right at any weight of D_m; weight 2 makes the covariance of D with the noise
before right to second order, and the variance of the last step too, where x_1 = 2 D_m - D_t
and D_m - D_t has a quarter of the variance of x_1 (of Brownian motion, and of the others by
their change of time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance
from markovbridge.processes.reals import Diffusion
from markovbridge.samplers.adams import flowed, path_of
from markovbridge.samplers.base import Sampler, instead
from markovbridge.samplers.levels import Level, check_level, corrected, level_at, shaken
from markovbridge.samplers.model import DataModel, Given, Model, given_of


def _diffusion(model: Model, sampler: Sampler) -> Diffusion:
    """The process, or an error if it is not one to be walked like this."""
    if not isinstance(model.process, Diffusion):
        raise TypeError(
            f"{type(sampler).__name__} simulates a diffusion, not "
            f"{type(model.process).__name__}: take {instead(model.process)}"
        )
    return model.process


def _flowing(model: Model, sampler: EulerMaruyama | ProbabilityFlow | StochasticHeun) -> Diffusion:
    """The process, or an error if a walk like this needs a score that there is not."""
    process = _diffusion(model, sampler)
    needs_score = not isinstance(sampler, EulerMaruyama) or sampler.level != 1
    if needs_score and model.coupling.preserve:
        raise ValueError(
            "a transport that preserves its coupling walks from a known x_0, and no flow leads "
            "out of a point: take Bridge(), or EulerMaruyama() with level 1"
        )
    held = given_of(model).held
    if needs_score and held is not None and held[1] > 0:
        raise ValueError(
            f"{sampler} has the right law at each time of a walk from the source, but not given "
            f"a state at t = {held[1]:.4g} from which it starts: restore with Midpoint(), "
            "Bridge(), or EulerMaruyama() with level 1"
        )
    if needs_score and sampler.backward is not None and sampler.backward.coupling.preserve:
        raise ValueError(
            "the backward model preserves its coupling and would have to be told x_1, which is "
            "not known on the way: train it with preserve=False"
        )
    return process


def _check_backward(backward: DataModel | None) -> None:
    if backward is not None and not callable(getattr(backward, "law", None)):
        raise TypeError(
            "backward must be a model that carries the data to the source, a Transport over "
            f"process.reversed(), not {backward!r}"
        )


def _drift(
    model: Model,
    backward: DataModel | None,
    x: Tensor,
    t: float,
    level: float | Covariance,
) -> tuple[Tensor, Tensor]:
    """Drift at a level of noise, and E[x_1 | x_t = x]."""
    process = model.process
    assert isinstance(process, Diffusion)
    end = model.law(x, t).mean.to(x.dtype)
    drift = process.drift(x, end, t)
    if level == 1 or process.noiseless:  # of a flow all levels are one
        return drift, end
    if backward is None:
        score = model.coupling.kernel(process, t).smoothed_score(x, end)
    else:
        given = Given(condition=given_of(model).condition)
        start = backward.law(x, 1 - t, given).mean.to(x.dtype)
        score = process.smoothed_score(x, start, end, t)
    return drift - corrected(process, level, score, t), end


def _heun(
    model: Model,
    backward: DataModel | None,
    x: Tensor,
    t: float,
    s: float,
    level: float | Covariance = 0.0,
    noise: Tensor | float = 0.0,
) -> Tensor:
    """A step of Heun's method; onto the data, where the drift is singular, one of Euler's."""
    drift, _ = _drift(model, backward, x, t, level)
    moved = x + (s - t) * drift
    if s == 1:
        return moved
    again, _ = _drift(model, backward, moved + noise, s, level)
    return x + (s - t) * 0.5 * (drift + again) + noise


@dataclass(frozen=True, eq=False)
class EulerMaruyama(Sampler):
    """Euler–Maruyama steps of the generative process, or of one with less or more noise.

    With a backward model the score of the source itself is not known, and need not exist: the
    step that leaves t = 0 has level 1.

    Attributes:
        level: How much noise to use: λ, a share of that of the reference, of which 1 needs no
            score; a covariance A, whose noise takes the place of Γ; or a `Level` of one or the
            other that changes with time. See `levels`.
        last: What the step onto the data does. "noise", as every step; "mean", no noise;
            "end", E[x_1 | x_t] itself. For Brownian motion the last two are the same.
        backward: A model that carries the data back to the source, on
            `process.reversed()`, for couplings without a closed-form score.
    """

    level: float | Covariance | Level = 1.0
    last: Literal["noise", "mean", "end"] = "mean"
    backward: DataModel | None = None

    def __post_init__(self) -> None:
        check_level(self.level)
        _check_backward(self.backward)
        if self.last not in ("noise", "mean", "end"):
            raise ValueError(f"last must be noise, mean or end, not {self.last!r}")

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = _flowing(model, self)
        # Every level has the same law at each t, so that steps of several levels may be mixed.
        level = level_at(self.level, t)
        level = 1.0 if t == 0 and self.backward is not None else level
        drift, end = _drift(model, self.backward, x, t, level)
        if s == 1 and self.last == "end":
            return end
        moved = x + (s - t) * drift
        if s == 1 and self.last == "mean":
            return moved
        return moved + shaken(process, level, x, t, s, generator)

    def evaluations(self, steps: int) -> int:
        """One for each step; with a backward model two, but for the first step of a sample.

        At level 1 the backward model is not asked.
        """
        return steps if self.backward is None or self.level == 1 else 2 * steps - 1


@dataclass(frozen=True, eq=False)
class ProbabilityFlow(Sampler):
    """The probability-flow ODE: a deterministic map of source to data.

    Its drift is singular at the data, where Heun's second stage would look: the last step
    is Euler's. With a backward model it is singular at the source too, whose score need
    not exist: there the first step is one of Euler–Maruyama.

    Attributes:
        method: "euler", first order; "heun", second order, two evaluations a step; or "adams",
            second order at one evaluation, of a `LinearDiffusion` without a backward model: its
            linear part is exact, by mode, and the guess goes on as in the step before
            (`samplers.adams`). The first step of a walk, steps that are taken again, as `impute`
            does with `rounds`, and a `step` that is called by itself are of first order.
        backward: As for `EulerMaruyama`.
    """

    method: Literal["euler", "heun", "adams"] = "heun"
    backward: DataModel | None = None

    def __post_init__(self) -> None:
        if self.method not in ("euler", "heun", "adams"):
            raise ValueError(f"method must be euler, heun or adams, not {self.method!r}")
        _check_backward(self.backward)
        if self.method == "adams" and self.backward is not None:
            raise ValueError(
                "with a backward model steps of Adams would be of first order, as guesses of the "
                'source are not straight near it: take method="heun"'
            )

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        walking = _Adams(self) if self.method == "adams" else self
        return walking, model.grid(steps, start)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        _flowing(model, self)
        if t == 0 and self.backward is not None:
            return EulerMaruyama().step(model, x, t, s, generator=generator)
        if self.method == "adams":
            return _Adams(self).step(model, x, t, s)
        if self.method == "heun":
            return _heun(model, self.backward, x, t, s)
        drift, _ = _drift(model, self.backward, x, t, 0.0)
        return x + (s - t) * drift

    def evaluations(self, steps: int) -> int:
        """One for each step with Euler or Adams, two but for the last with Heun.

        Twice that with a backward model, less what the first step saves.
        """
        if self.method == "heun":
            return _heuns(steps, self.backward)
        return steps if self.backward is None else 2 * steps - 1


@dataclass(eq=False)
class _Adams(Sampler):
    """One walk of `ProbabilityFlow("adams")`, which remembers the guess of its last step.

    Attributes:
        flow: The sampler.
        past: Where the last step began and ended, and E[x_1 | x_t] where it began.
    """

    flow: ProbabilityFlow
    past: tuple[float, float, Tensor] | None = None

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        """Another walk."""
        return self.flow.plan(model, steps, start, walked)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        _flowing(model, self.flow)
        now = path_of(model, t)
        now.check_spread()  # or an error before the network is asked
        end, slope, past = model.law(x, t).mean.to(x.dtype), None, self.past
        if past is not None and past[0] < past[1] == t:
            slope = (end - past[2]) / max(t - past[0], s - t)
        self.past = t, s, end
        return flowed(model, now, x, t, s, end, slope)

    def evaluations(self, steps: int) -> int:
        return self.flow.evaluations(steps)


@dataclass(frozen=True, eq=False)
class StochasticHeun(Sampler):
    """Heun's steps of the probability flow with noise of any level or colour.

    The step onto the data is one of Euler's flow, as that of `ProbabilityFlow` is, so that a score
    is needed at every level; with a backward model the step that leaves the source is one of
    Euler–Maruyama, likewise. What noise brings samples of trained networks, and that it is not to
    be much more than the default, is measured in docs/measured/bridges.md.

    Attributes:
        level: As for `EulerMaruyama`; of flows all are one.
        backward: As for `EulerMaruyama`.
    """

    level: float | Covariance | Level = 0.3
    backward: DataModel | None = None

    def __post_init__(self) -> None:
        check_level(self.level)
        _check_backward(self.backward)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = _flowing(model, self)
        if t == 0 and self.backward is not None:
            return EulerMaruyama().step(model, x, t, s, generator=generator)
        if s == 1:
            return _heun(model, self.backward, x, t, s)
        level = level_at(self.level, t)
        if level == 1 and self.backward is None and not process.noiseless:
            model.coupling.kernel(process, s)  # or an error now, and not in the last step
        # Of as long a step with the g of its middle: steps have that of their beginning.
        noise = 2**0.5 * shaken(process, level, x, (t + s) / 2, s, generator)
        return _heun(model, self.backward, x, t, s, level, noise)

    def evaluations(self, steps: int) -> int:
        """Two for each step but the last; with a backward model as for Heun's flow.

        At level 1 the backward model is asked in the last step only; of a `Level` that is 1 at
        times this is the most there can be.
        """
        if self.level == 1:
            return 2 * steps - 1
        return _heuns(steps, self.backward)


def _heuns(steps: int, backward: DataModel | None) -> int:
    """Evaluations of so many steps of Heun's method, the first and last of which are shorter."""
    once = 2 * steps - 1
    return once if backward is None else 2 * once - (1 if steps == 1 else 3)


@dataclass(frozen=True)
class Midpoint(Sampler):
    """Second-order steps of the generative process: two looks, and bridges between them."""

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = _diffusion(model, self)
        middle = process.halfway(t, s)
        first = model.law(x, t).mean.to(x.dtype)
        x_m = process.bridge(x, first, t, middle, 1.0).sample(generator=generator)
        second = model.law(x_m, middle).mean.to(x.dtype)
        end = process.extrapolated(first, second, t, middle, s)
        return process.bridge(x_m, end, middle, s, 1.0).sample(generator=generator)

    def evaluations(self, steps: int) -> int:
        """Two for each step."""
        return 2 * steps


doors.guard(__name__, own=("backward", "level"))
