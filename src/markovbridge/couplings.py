r"""Couplings: which source state goes with which data point.

The reference, pinned at both ends and mixed over a coupling, is what a model
learns to simulate. Any coupling whose second marginal is the data gives a valid
transport; time reversal ("denoising") is the one that draws the source from the
reference itself, given the data (Peluchetti, https://arxiv.org/abs/2312.14589).

=============== ======================================= ==========================
coupling        x_0 that goes with x_1                  known beside the data
=============== ======================================= ==========================
`Noised`        drawn from the reference, given x_1     the law of x_t given x_1
`Dirac`         one point                               the law of x_t given x_1
`Independent`   any source, drawn without looking       that law if it is Gaussian
`Paired`        comes with the data                     nothing
`MinibatchOT`   any source, matched within the batch    nothing
=============== ======================================= ==========================

Where the law of x_t given x_1 is known, one learned mean E[x_1 | x_t] gives the score
and E[x_0 | x_t] too (`Kernel`), and the posteriors of `markovbridge.exact` apply.

A transport preserves the marginals of the coupling, not the coupling itself. With
`preserve=True` the network also sees x_0, which makes it the transport of each x_0 to
its own x_1 (https://arxiv.org/abs/2311.06978), at the price of no Markov property.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from markovbridge import laws
from markovbridge.covariances import Isotropic
from markovbridge.processes.base import Process, match
from markovbridge.processes.diffusions import LinearDiffusion, coefficient
from markovbridge.schedules import Time

__all__ = [
    "Coupling",
    "Dirac",
    "Gaussian",
    "Independent",
    "Kernel",
    "MinibatchOT",
    "Noised",
    "Paired",
]


@dataclass(frozen=True, eq=False)
class Kernel:
    r"""What is known of x_t and x_0 given x_1, under a linear diffusion.

        x_t | x_1          ~ N(p μ_0 + gain · x_1, variance · Γ)
        E[x_0 | x_t, x_1]  = μ_0 + origin · x_1 + recall · (x_t - p μ_0 - gain · x_1)

    Both are affine in x_1, so E[x_1 | x_t] may stand in for it. All fields but the mean
    are float64 and of the shape of t.

    Attributes:
        mean: μ_0, the part of the mean of x_0 that does not depend on x_1.
        start: p, its weight at t.
        gain: Weight of x_1 in x_t.
        variance: In units of Γ.
        origin: Weight of x_1 in x_0.
        recall: Regression of x_0 on x_t.
    """

    mean: Tensor | float
    start: Tensor
    gain: Tensor
    variance: Tensor
    origin: Tensor
    recall: Tensor

    def centre(self, end: Tensor) -> Tensor:
        """Mean of x_t given x_1 = end."""
        return coefficient(self.start, end) * self.mean + coefficient(self.gain, end) * end

    def smoothed_score(self, x: Tensor, end: Tensor) -> Tensor:
        """Γ ∇ log of the density of x_t at x, from end = E[x_1 | x_t = x]."""
        if not bool((self.variance > 0).all()):
            raise ValueError(
                "the density of x_t has no score where x_t is certain: start after t = 0, or "
                "take a source with spread"
            )
        return (self.centre(end) - x) / coefficient(self.variance, x)

    def start_mean(self, x: Tensor, end: Tensor) -> Tensor:
        """E[x_0 | x_t = x] from end = E[x_1 | x_t = x]."""
        residual = x - self.centre(end)
        return (
            self.mean + coefficient(self.origin, x) * end + coefficient(self.recall, x) * residual
        )

    def end_of_centre(self, centre: Tensor, default: Tensor) -> Tensor:
        """The end whose `centre` this is, `default` at times that do not depend on it."""
        return self._over(centre - coefficient(self.start, centre) * self.mean, self.gain, default)

    def end_of_start(self, x: Tensor, start: Tensor, default: Tensor) -> Tensor:
        """E[x_1 | x_t = x] from start = E[x_0 | x_t = x], the inverse of `start_mean`.

        `default` is what to return at times that do not depend on it.
        """
        if bool((self.origin != 0).any()) or not bool((self.recall != 0).any()):
            raise ValueError(
                "under this coupling E[x_0 | x_t] says nothing of x_1: predict the end instead "
                "of the start"
            )
        zero = self.start_mean(x, torch.zeros_like(x))
        return self._over(start - zero, -self.recall * self.gain, default)

    def _over(self, value: Tensor, weight: Tensor, default: Tensor) -> Tensor:
        none = weight == 0
        quotient = value / coefficient(torch.where(none, 1.0, weight), value)
        return torch.where(match(none, value), default, quotient)


class Coupling(ABC):
    """A joint law of source and data whose second marginal is the data."""

    preserve: bool = False
    """Whether the network sees x_0 as well, which preserves the coupling."""

    @abstractmethod
    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A source state for each data point: (batch, *event)."""

    @abstractmethod
    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """States to start sampling from, in the shape of `like`."""

    @abstractmethod
    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        """The law of x_t given x_1 = x1, if it is known.

        Raises:
            ValueError: If it is not, with what to use instead.
        """

    @abstractmethod
    def kernel(self, process: Process, t: Time) -> Kernel:
        """The same law in numbers, for linear diffusions.

        Raises:
            ValueError: If it is not known, with what to use instead.
        """

    @abstractmethod
    def standardise(
        self, process: Process, x: Tensor, t: Time, mean: Tensor, variance: Tensor
    ) -> Tensor:
        """`Process.standardise`, told what this coupling knows of the source."""


def _linear(process: Process) -> LinearDiffusion:
    if not isinstance(process, LinearDiffusion):
        raise ValueError(
            f"a Gaussian law of x_t needs a LinearDiffusion, not {type(process).__name__}"
        )
    return process


def _unknown(coupling: Coupling) -> ValueError:
    return ValueError(
        f"{type(coupling).__name__} has no closed-form law of x_t given x_1: for a score, give "
        "the sampler a backward model, and let heads predict the end or the drift"
    )


def _standardise(
    process: Process,
    x: Tensor,
    t: Time,
    mean: Tensor,
    variance: Tensor,
    start: tuple[Tensor, Tensor],
) -> Tensor:
    if isinstance(process, LinearDiffusion):
        return process.standardise(x, t, mean, variance, start)
    return process.standardise(x, t, mean, variance)


@dataclass(frozen=True)
class Noised(Coupling):
    """Time reversal: x0 is the data point itself, carried to t = 0 by the reference.

    Sampling starts from the law the reference forgets to. For pure death that is the
    black state; where the schedule leaves survivors at t = 0 (`Logistic` as published)
    the two differ, and samples carry that prior mismatch. So they do for VP, VE and
    sub-VP, whose prior N(0, (1 + v)/a² Γ) is that of centred data of unit variance.
    """

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return process.noised(x1).sample(generator=generator)

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return process.source(like).sample(generator=generator)

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        return process.transition(x1, 1.0, t)

    def kernel(self, process: Process, t: Time) -> Kernel:
        process = _linear(process)
        gain, variance = process.piece(t, 1.0)
        before, _ = process.piece(0.0, t)
        none = torch.zeros_like(gain)
        return Kernel(0.0, none, 1 / gain, variance / gain**2, 1 / (before * gain), 1 / before)

    def standardise(
        self, process: Process, x: Tensor, t: Time, mean: Tensor, variance: Tensor
    ) -> Tensor:
        return process.standardise(x, t, mean, variance)


@dataclass(frozen=True)
class Dirac(Coupling):
    """Every path starts from one point: the coupling is trivial, the transport Föllmer's.

    Attributes:
        value: The point, a number or (*event), in the units of the data.
    """

    value: float | Tensor = 0.0

    def _point(self, process: Process, like: Tensor) -> Tensor:
        value = torch.as_tensor(self.value, device=like.device)
        if value.is_floating_point():
            value = value.to(torch.promote_types(like.dtype, torch.float32))
        return process.check(value, "the Dirac source").to(like.dtype).expand(like.shape)

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._point(process, x1).clone()

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._point(process, like).clone()

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        return process.bridge(self._point(process, x1), x1, 0.0, t, 1.0)

    def kernel(self, process: Process, t: Time) -> Kernel:
        process = _linear(process)
        start, gain, variance = process.weights(0.0, t, 1.0)
        none = torch.zeros_like(start)
        value = process.check(torch.as_tensor(self.value), "the Dirac source")
        return Kernel(value.to(start.device), start, gain, variance, none, none)

    def standardise(
        self, process: Process, x: Tensor, t: Time, mean: Tensor, variance: Tensor
    ) -> Tensor:
        point = self._point(process, x[:1])[0]
        return _standardise(process, x, t, mean, variance, (point, torch.zeros_like(mean)))


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian source, N(mean, std² I) or N(mean, std² Γ).

    Attributes:
        mean: Mean, a number or (*event), in the coordinates of the process.
        std: Standard deviation.
        correlated: Whether it has the noise covariance Γ of the process. With correlated
            noise the law of x_t given x_1 is in closed form only if so.
    """

    mean: float | Tensor = 0.0
    std: float = 1.0
    correlated: bool = False

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"std must be positive, not {self.std}: a point is Dirac(value)")

    def draw(self, process: Process, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws in the shape of `like`."""
        if self.correlated:
            noise = _linear(process).covariance.sample(like, generator=generator)
        else:
            noise = torch.randn(
                like.shape, dtype=like.dtype, device=like.device, generator=generator
            )
        return _on(self.mean, like) + self.std * noise

    def variance(self, process: LinearDiffusion) -> float:
        """Its variance in units of Γ."""
        if self.correlated:
            return self.std**2
        if not isinstance(process.covariance, Isotropic):
            raise ValueError(
                "with correlated noise the law of x_t given x_1 is known for a source of the "
                "same correlation: take Gaussian(correlated=True)"
            )
        return self.std**2 / process.covariance.marginal

    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance per site, broadcastable to the event of x."""
        site = torch.ones((), dtype=x.dtype, device=x.device)
        if self.correlated:
            site = _linear(process).covariance.variance(x.shape[1:]).to(x)
        return _on(self.mean, x), self.std**2 * site


def _on(value: float | Tensor, x: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


@dataclass(frozen=True, eq=False)
class _Sourced(Coupling):
    """What couplings share that draw from a source of their own."""

    source: Any = field(default_factory=Gaussian)
    preserve: bool = False

    def __post_init__(self) -> None:
        source = self.source
        if not (
            isinstance(source, (Gaussian, Tensor)) or hasattr(source, "load") or callable(source)
        ):
            raise TypeError(
                "a source is Gaussian(...), a tensor (N, *event) of states, a data source of "
                "markovbridge.data, or a function (like, generator) -> states, not "
                f"{type(source).__name__}"
            )

    @cached_property
    def _rows(self) -> Tensor | None:
        """The data set to draw from, if the source is one."""
        if isinstance(self.source, Tensor):
            return self.source
        return self.source.load("train").x if hasattr(self.source, "load") else None

    @cached_property
    def _known(self) -> dict[Any, tuple[Tensor, Tensor]]:
        return {}

    def draw(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws from the source, in the shape of `like`."""
        if isinstance(self.source, Gaussian):
            return self.source.draw(process, like, generator)
        rows = self._rows
        if rows is None:
            drawn = self.source(like, generator)
        else:
            index = torch.randint(len(rows), (len(like),), device=like.device, generator=generator)
            drawn = rows[index.to(rows.device)].to(like.device)
        if drawn.shape != like.shape:
            raise ValueError(
                f"the source gives states of shape {tuple(drawn.shape[1:])}, the data have "
                f"{tuple(like.shape[1:])}"
            )
        return process.check(drawn, "the source").to(like.dtype)

    def _moments(
        self, process: Process, x: Tensor, mean: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the source; those of the data for a user's function."""
        if isinstance(self.source, Gaussian):
            return self.source.moments(process, x)
        rows = self._rows
        if rows is None:
            return mean, variance
        key = (process.support, x.device)
        if key not in self._known:
            states = process.check(rows, "the source").double()
            self._known[key] = (
                states.mean(0).float().to(x.device),
                states.var(0, correction=0).float().to(x.device),
            )
        return self._known[key]

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.draw(process, like, generator=generator)

    def standardise(
        self, process: Process, x: Tensor, t: Time, mean: Tensor, variance: Tensor
    ) -> Tensor:
        moments = self._moments(process, x, mean, variance)
        return _standardise(process, x, t, mean, variance, moments)


@dataclass(frozen=True, eq=False)
class Independent(_Sourced):
    """The source, whatever the data point.

    Attributes:
        source: `Gaussian(...)` (the standard normal by default); a tensor (N, *event) or a
            data source of `markovbridge.data`, whose rows are drawn; or a function of the
            user's, `(like, generator) -> states` in the shape of `like`.
        preserve: Whether the network sees x_0.
    """

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self.draw(process, x1, generator=generator)

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        kernel = self.kernel(process, t)
        return laws.Gaussian(
            kernel.centre(x1), coefficient(kernel.variance.sqrt(), x1), _linear(process).covariance
        )

    def kernel(self, process: Process, t: Time) -> Kernel:
        if not isinstance(self.source, Gaussian):
            raise _unknown(self)
        process = _linear(process)
        start, gain, noise = process.weights(0.0, t, 1.0)
        own = self.source.variance(process)
        variance = start**2 * own + noise
        mean = self.source.mean
        mean = mean.to(start.device) if isinstance(mean, Tensor) else mean
        return Kernel(mean, start, gain, variance, torch.zeros_like(start), start * own / variance)


@dataclass(frozen=True, eq=False)
class MinibatchOT(_Sourced):
    """The source, matched to the data within each batch at least squared distance.

    Straightens paths at an assignment per batch, O(batch³) at worst
    (https://arxiv.org/abs/2302.00482). Attributes as for `Independent`.
    """

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        from scipy.optimize import linear_sum_assignment

        x0 = self.draw(process, x1, generator=generator)
        cost = torch.cdist(x1.flatten(1).double(), x0.flatten(1).double()) ** 2
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        matched = torch.empty(len(x1), dtype=torch.int64)
        matched[torch.from_numpy(rows)] = torch.from_numpy(columns)
        return x0[matched.to(x0.device)]

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        raise _unknown(self)

    def kernel(self, process: Process, t: Time) -> Kernel:
        raise _unknown(self)


@dataclass(frozen=True)
class Paired(Coupling):
    """Source and data come in pairs: `loss(x1, x0=x0)` and `translate(x0)`.

    Attributes:
        preserve: Whether the network sees x_0, so that x_0 goes to its own x_1.
    """

    preserve: bool = False

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        raise ValueError("paired data have a source of their own: pass x0 to the loss")

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        raise ValueError("paired data have no source to draw from: pass x0 to `translate`")

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        raise _unknown(self)

    def kernel(self, process: Process, t: Time) -> Kernel:
        raise _unknown(self)

    def standardise(
        self, process: Process, x: Tensor, t: Time, mean: Tensor, variance: Tensor
    ) -> Tensor:
        # Nothing is said of the source: sources usually resemble the data.
        return _standardise(process, x, t, mean, variance, (mean, variance))
