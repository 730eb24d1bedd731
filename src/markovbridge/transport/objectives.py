r"""Objectives: how wrong a law of x_1 given x_t is. One value per sample.

Training draws t, then x_t from the bridge, then asks `objective(process, law, x_t,
x1, t)`. Each objective also says which times it wants.

- `PathKL` is the rate of path KL between the pinned and the model process. With
  `damping=0` its expectation over uniform t bounds -log p(x1) in nats, and is
  tight at the true posterior mean. The published weight of Blackout Diffusion is
  this weight times 1 - p, that is `damping=1`, which trains more evenly.
- `Instantaneous` and `FiniteTime` are the two losses as published (Santos et al.,
  https://arxiv.org/abs/2305.11089) for pure death, on their grid of `steps` times, with
  y = E[x_1 - x_t] and m = x_1 - x_t:

      instantaneous   steps · p_t (τ_t - τ_s) (y - m log y),   τ = -log p
      finite time     (p_s - p_t) (y - m log y)

  where s is the next time towards the data. Up to a factor `steps` they agree. They leave out
  m log m - m, which the model does not enter: they may be negative, and lower is better.
  `FiniteTime(steps, weight="exact")` is the relative entropy of K = `steps` steps instead: the
  pinned step from x_t is x_t + Binomial(m, r), r = (p_s - p_t)/(1 - p_t), that of a sampler
  which knows the mean alone x_t + Poisson(y r), and

      KL(Binomial(m, r) ‖ Poisson(y r))  =  r (y - m log y)  +  a term without y,

  which K times the loss at one random step has the sum of. Up to that term its mean is the
  bound of `log_likelihood(steps=K)`, in nats.
- `EndNLL` is -log p(x_1 | x_t), for heads that carry a law worth its name.
- `EndMSE` and `DriftMatching` are the conditional-expectation loss and the drift
  loss of diffusion bridge mixtures (Peluchetti, https://arxiv.org/abs/2312.14589):

      |x_1 - ŷ|²     and     |drift pinned at x_1 - drift pinned at ŷ|²,  ŷ = E[x_1].

  For diffusions `PathKL` is the Girsanov (likelihood) weighting of the same error.

All three have the same minimiser and weigh times differently. The backward loss,
which learns E[x_0 | x_t], is any of them on `process.reversed()`, with source and
data exchanged.

**Truncation.** Under a diffusion the residual x_1 - E[x_1 | x_t] has a variance of
order 1 - t near the data, whatever the coupling, while the weight is (1 - t)^{-2}:
`DriftMatching` and undamped `PathKL` grow like 1/(1 - t) and have an infinite mean over
t in [0, 1], a divergence at the rate of log(1/δ) if times are kept below 1 - δ. Their
`truncation` is that δ. It costs nothing but the last piece of the path: stop sampling
there, or let the last step return the mean. `EndMSE` and `PathKL(damping=1)` are
bounded and need none.

**Flows** (σ = 0) have no path KL, their paths being points. `DriftMatching` is flow matching as
published, |x_1 - x_0 - v|² for straight lines, and bounded there; `EndMSE` is the same error
times (1 - t)², and what a transport takes if none is named.

Weighted sums are written as sums: `PathKL(damping=1) + 0.1 * EndNLL()`.

**Early errors.** Path KL counts information, of which little is gained early: of the 400 nats of
an 8-bit image about two say what it shows. They are gained at survivals below .001, where one of
fifty uniform times falls, and what is wrong there becomes a wrong image. `EarlyError` adds the
squared error of the end and draws half of the times log-uniformly, so that each decade of t up to
1 is seen as often; the objective that it is added to keeps its mean.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Delta, Law
from markovbridge.laws.numbers import by_row, stratified
from markovbridge.processes.base import Process
from markovbridge.processes.clock import TINY
from markovbridge.processes.diffusions import LinearDiffusion


class Objective(ABC):
    """A loss of the law of x_1 given x_t."""

    truncation: float = 0.0
    """Training times stay below 1 - truncation."""

    @property
    def remark(self) -> str:
        """What is to be known of its values before one reads them; empty for nothing."""
        return ""

    @abstractmethod
    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """Loss per sample, (batch,), summed over sites.

        Args:
            process: The reference process.
            law: Law of x_1 given x_t = x.
            x: State at t, (batch, *event).
            x1: The data, (batch, *event).
            t: Times as drawn by `times`, (batch,).
        """

    def times(
        self, n: int, *, generator: torch.Generator | None = None, device: torch.device | str
    ) -> Tensor:
        """Training times, (n,) float32: uniform below 1 - truncation, one in each stratum."""
        # In random order: the loss of each sample, not of the batch only, has the right mean.
        t = stratified(n, generator, device) * (1 - self.truncation)
        return t.to(torch.float32).clamp_max(1 - 2**-24)

    def __add__(self, other: Objective) -> Sum:
        return Sum((*_terms(self), *_terms(other)), (*_weights(self), *_weights(other)))

    def __rmul__(self, weight: float) -> Sum:
        return Sum(_terms(self), tuple(weight * w for w in _weights(self)))


@dataclass(frozen=True)
class PathKL(Objective):
    """Rate of path KL, times (1 - p)^damping.

    Attributes:
        damping: 0 gives the likelihood bound in nats, 1 the published weighting.
        truncation: How much of the time before the data is left out.
    """

    damping: float = 0.0
    truncation: float = 0.0

    def __post_init__(self) -> None:
        checks.number(self.damping, "damping", least=0)
        _check_truncation(self.truncation)

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        rate = process.divergence(law, x, x1, t)
        if self.damping == 0:
            return rate
        return rate * process.schedule.mortality(t).to(rate) ** self.damping


def _check_truncation(truncation: float) -> None:
    if not 0 <= truncation < 1:
        raise ValueError(f"truncation must lie in [0, 1), not {truncation}")


def _square(x: Tensor) -> Tensor:
    return by_row(x**2).sum(1)


@dataclass(frozen=True)
class EndMSE(Objective):
    """Squared distance of the data point from the mean of the law: |x_1 - E[x_1]|²."""

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        return _square(x1 - law.mean)


@dataclass(frozen=True)
class DriftMatching(Objective):
    """Squared distance of the model's drift from the pinned drift, for linear diffusions.

    Attributes:
        truncation: How much of the time before the data is left out.
    """

    truncation: float = 1e-3

    def __post_init__(self) -> None:
        _check_truncation(self.truncation)

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        if not isinstance(process, LinearDiffusion):
            raise TypeError(f"DriftMatching needs a LinearDiffusion, not {type(process).__name__}")
        # The drift is affine in state and end: its difference is linear in that of the ends.
        start = torch.zeros_like(x)
        return _square(process.drift(start, x1 - law.mean, t) - process.drift(start, start, t))


@dataclass(frozen=True)
class EarlyError(Objective):
    """An objective, and the squared error of the end at times of which half are log-uniform.

    Half of the times are uniform, half have a uniform logarithm from `first` to 1. The objective
    is divided by the density of that mixture, and its mean stays; the squared error is not, so
    that the time before anything is decided counts as much as the rest.

    Attributes:
        weight: Of |x_1 - E[x_1 | x_t]|² beside the objective, per squared unit of the data. Where
            nothing is known yet the squared error is the variance of the data, summed over sites;
            a weight by which that is about as large as the objective does well.
        objective: The objective, one with uniform times, or a sum of such.
        first: Where log-uniform times begin, in (0, 1). Take one before the first jumps.
    """

    weight: float
    objective: Objective = PathKL(damping=1.0)
    first: float = 1e-3

    def __post_init__(self) -> None:
        checks.number(self.weight, "weight", above=0)
        checks.number(self.first, "first", above=0, below=1)
        for term in _terms(self.objective):
            if type(term).times is not Objective.times:
                raise ValueError(
                    f"EarlyError draws times of its own, and {type(term).__name__} needs its own "
                    "as well: take PathKL(damping=1)"
                )

    @property
    def remark(self) -> str:
        return "the loss has a squared error of the data in it, and is not in nats"

    @property
    def _most(self) -> float:
        """The end of the times of the objective: of a sum that of its first term."""
        return 1 - _terms(self.objective)[0].truncation

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        value, most = self.objective(process, law, x, x1, t), self._most
        at = t.double()
        early = torch.where(at < self.first, 0.0, 1 / (at * -math.log(self.first)))
        uniform = (at < most).double() / most
        share = (2 * uniform / (uniform + early)).to(value)
        return share * value + self.weight * _square(x1 - law.mean)

    def times(
        self, n: int, *, generator: torch.Generator | None = None, device: torch.device | str
    ) -> Tensor:
        u = 2 * stratified(n, generator, device)
        late = self.first ** (2 - u).clamp(0, 1)
        t = torch.where(u < 1, u * self._most, late)
        return t.to(torch.float32).clamp_max(1 - 2**-24)


def usual(process: Process) -> Objective:
    """The objective of a transport that names none: the damped path KL.

    Where there is none it is `EndMSE` for a flow, the squared error of the end with weight 1 at
    all times, and else `EndNLL`.
    """
    if process.has_path_kl:
        return PathKL(damping=1.0)
    return EndMSE() if process.noiseless else EndNLL()


class _Published(Objective):
    """Shared by the two published losses: the time grid, and y - m log y."""

    steps: int

    @property
    def remark(self) -> str:
        return "the loss may be negative, as it leaves out what no model changes; lower is better"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    @abstractmethod
    def _weight(self, process: Process, t: Tensor, s: Tensor) -> Tensor:
        """Weight of time t, whose next grid time towards the data is s."""

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        if not process.thins:
            raise TypeError(
                f"{type(self).__name__} is a loss of PureDeath, not of {type(process).__name__}: "
                f"take {usual(process)!r}"
            )
        log_y = law.log_excess(x)
        m = (x1 - x).to(log_y.dtype)
        born = torch.where(m == 0, 0.0, m * log_y)  # an exact law may say log 0 there
        each = by_row(law.excess(x) - born).sum(1)
        t = t.double()
        return self._weight(process, t, (t + 1 / self.steps).clamp_max(1)).to(each) * each

    def times(
        self, n: int, *, generator: torch.Generator | None = None, device: torch.device | str
    ) -> Tensor:
        k = torch.randint(0, self.steps, (n,), generator=generator, device=device)
        return (k.double() / self.steps).to(torch.float32)


@dataclass(frozen=True)
class Instantaneous(_Published):
    """The instantaneous loss as published, on a grid of `steps` times."""

    steps: int = 1000

    def _weight(self, process: Process, t: Tensor, s: Tensor) -> Tensor:
        p_t, p_s = process.schedule.survival(t), process.schedule.survival(s)
        elapsed = torch.where(p_t > 0, (p_s / p_t.clamp_min(1e-300)).log(), 0.0)
        return self.steps * p_t * elapsed


@dataclass(frozen=True)
class FiniteTime(_Published):
    """The finite-time loss, on a grid of `steps` times.

    Attributes:
        steps: Number of steps K of the path, equally long in t.
        weight: "published" weighs a step by p_s - p_t. "exact" divides that by 1 - p_t and
            multiplies it by K, which makes the mean loss the path KL of K steps of the bridge
            with a Poisson kernel, in nats, up to a term that is free of the model.
    """

    steps: int = 1000
    weight: Literal["published", "exact"] = "published"

    def _weight(self, process: Process, t: Tensor, s: Tensor) -> Tensor:
        gained = process.schedule.increment(t, s)
        if self.weight == "published":
            return gained
        left = process.schedule.mortality(t)
        # Next to the data float32 times may fall onto it, where nothing is left to be born.
        return self.steps * torch.where(left > 0, gained / left.clamp_min(TINY), 1.0).clamp_max(1)


@dataclass(frozen=True)
class EndNLL(Objective):
    """Negative log-probability of the data point under the law: -log p(x_1 | x_t)."""

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        # A known site is certain, whatever the law of the others.
        if isinstance(process, LinearDiffusion) and isinstance(getattr(law, "base", law), Delta):
            wide = "" if process.noiseless else "EndpointHead(spread=1.0), or "
            raise TypeError(
                "EndNLL needs a law with a density, and that of this head is a point: take "
                f"{wide}{usual(process)!r}"
            )
        return -law.log_prob(x1)


@dataclass(frozen=True)
class Sum(Objective):
    """A weighted sum. Times are those of the first term."""

    composed: ClassVar[bool] = True  # of terms, by `+` and `*`

    terms: tuple[Objective, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.terms or len(self.terms) != len(self.weights):
            raise ValueError(
                f"a sum needs one weight per term, not {len(self.weights)} for {len(self.terms)}"
            )
        if len(self.terms) > 1 and any(isinstance(term, EarlyError) for term in self.terms):
            raise ValueError(
                "EarlyError draws times of its own and weighs what is in it by them, which a sum "
                "does not: put the sum into it, EarlyError(weight, PathKL(damping=1) + ...)"
            )

    def __call__(self, process: Process, law: Law, x: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        parts = [
            weight * term(process, law, x, x1, t)
            for term, weight in zip(self.terms, self.weights, strict=True)
        ]
        return torch.stack(parts).sum(0)

    @property
    def remark(self) -> str:
        return next((term.remark for term in self.terms if term.remark), "")

    def times(
        self, n: int, *, generator: torch.Generator | None = None, device: torch.device | str
    ) -> Tensor:
        return self.terms[0].times(n, generator=generator, device=device)


def _terms(objective: Objective) -> tuple[Objective, ...]:
    return objective.terms if isinstance(objective, Sum) else (objective,)


def _weights(objective: Objective) -> tuple[float, ...]:
    return objective.weights if isinstance(objective, Sum) else (1.0,)


doors.guard(__name__)
