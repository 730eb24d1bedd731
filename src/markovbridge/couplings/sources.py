"""Couplings with a source: a Gaussian, a data set, or a function of the user's."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from markovbridge import laws
from markovbridge.couplings.base import Coupling, Kernel, linear, standardise, unknown
from markovbridge.covariances import Isotropic
from markovbridge.data.base import Source
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion, coefficient
from markovbridge.schedules import Time

__all__ = ["Gaussian", "Independent", "MinibatchOT", "Rows"]


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
            noise = linear(process).covariance.sample(like, generator=generator)
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
            site = linear(process).covariance.variance(x.shape[1:]).to(x)
        return _on(self.mean, x), self.std**2 * site


def _on(value: float | Tensor, x: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


class Rows:
    """A data set in memory as a source: rows drawn at random. Not part of a saved model."""

    config: ClassVar[dict[str, Any]] = {}

    def __init__(self, x: Tensor | None = None) -> None:
        if x is None:
            raise ValueError(
                "the source is a data set that was held in memory, which is not saved with a "
                "model: pass `coupling` when loading, or take a data source of markovbridge.data"
            )
        self.x = x


@dataclass(frozen=True, eq=False)
class _Sourced(Coupling):
    """What couplings share that draw from a source of their own."""

    # Named for recipes, which can hold a data source or Gaussian, and no tensor or function.
    source: Source | Any = field(default_factory=Gaussian)
    preserve: bool = False

    def __post_init__(self) -> None:
        source = self.source
        if isinstance(source, Tensor):
            object.__setattr__(self, "source", Rows(source))
        elif not (
            isinstance(source, (Gaussian, Rows)) or hasattr(source, "load") or callable(source)
        ):
            raise TypeError(
                "a source is Gaussian(...), a tensor (N, *event) of states, a data source of "
                "markovbridge.data, or a function (like, generator) -> states, not "
                f"{type(source).__name__}"
            )

    @cached_property
    def _rows(self) -> Tensor | None:
        """The data set to draw from, if the source is one."""
        if isinstance(self.source, Rows):
            return self.source.x
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
        return standardise(process, x, t, mean, variance, moments)


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
            kernel.centre(x1), coefficient(kernel.variance.sqrt(), x1), linear(process).covariance
        )

    def kernel(self, process: Process, t: Time) -> Kernel:
        if not isinstance(self.source, Gaussian):
            raise unknown(self)
        process = linear(process)
        start, gain, noise = process.weights(0.0, t, 1.0)
        own = self.source.variance(process)
        variance = start**2 * own + noise
        mean = torch.as_tensor(self.source.mean, device=start.device)
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
        raise unknown(self)

    def kernel(self, process: Process, t: Time) -> Kernel:
        raise unknown(self)
