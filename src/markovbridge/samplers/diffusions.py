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
from markovbridge.samplers.adams import walking
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.levels import Level, check_level, level_at, shaken
from markovbridge.samplers.model import DataModel, Model
from markovbridge.samplers.scores import check_backward, diffusion_of, drift_of, flowing


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
    drift, _ = drift_of(model, backward, x, t, level)
    moved = x + (s - t) * drift
    if s == 1:
        return moved
    again, _ = drift_of(model, backward, moved + noise, s, level)
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
        check_backward(self.backward)
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
        process = flowing(model, self, self.level, self.backward)
        # Every level has the same law at each t, so that steps of several levels may be mixed.
        level = level_at(self.level, t)
        level = 1.0 if t == 0 and self.backward is not None else level
        drift, end = drift_of(model, self.backward, x, t, level)
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
        check_backward(self.backward)
        if self.method == "adams" and self.backward is not None:
            raise ValueError(
                "with a backward model steps of Adams would be of first order, as guesses of the "
                'source are not straight near it: take method="heun"'
            )

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        walk = walking(self) if self.method == "adams" else self
        return walk, model.grid(steps, start)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        flowing(model, self, backward=self.backward)
        if t == 0 and self.backward is not None:
            return EulerMaruyama().step(model, x, t, s, generator=generator)
        if self.method == "adams":
            return walking(self).step(model, x, t, s)
        if self.method == "heun":
            return _heun(model, self.backward, x, t, s)
        drift, _ = drift_of(model, self.backward, x, t, 0.0)
        return x + (s - t) * drift

    def evaluations(self, steps: int) -> int:
        """One for each step with Euler or Adams, two but for the last with Heun.

        Twice that with a backward model, less what the first step saves.
        """
        if self.method == "heun":
            return _heuns(steps, self.backward)
        return steps if self.backward is None else 2 * steps - 1


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
        check_backward(self.backward)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = flowing(model, self, backward=self.backward)
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
        process = diffusion_of(model, self)
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
