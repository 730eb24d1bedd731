"""Couplings with a source: a Gaussian, a data set, or a function of the user's."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.couplings.base import (
    Coupling,
    bridged,
    check_event,
    exactly,
    linear,
    unknown,
)
from markovbridge.covariances import Isotropic
from markovbridge.data.base import Dataset, Source
from markovbridge.data.rows import dense
from markovbridge.doors import checks
from markovbridge.laws.numbers import repeated
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time


class Start(ABC):
    """Where paths start: states that are drawn without looking at the data."""

    @abstractmethod
    def draw(self, process: Process, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws in the shape of `like`, in the coordinates of the process."""

    @abstractmethod
    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance per site, broadcastable to the event of x; None if unknown."""

    def refined(self, factor: int, dimension: int) -> Start:
        """The same start where the last `dimension` axes have `factor` times as many sites.

        Raises:
            NotImplementedError: If it is known at the sites of one grid only.
        """
        raise NotImplementedError(
            f"a source that is {type(self).__name__} has states on one grid, and no finer one: "
            "take Gaussian(...)"
        )

    def states(self, process: Process) -> Tensor | None:
        """All states that are drawn, (N, *event), each as likely; None if they are no such list.

        In the coordinates of the process.
        """
        return None


@dataclass(frozen=True)
class Gaussian(Start):
    """A Gaussian source, N(mean, std² I) or N(mean, std² Γ).

    Attributes:
        mean: Mean, a number or (*event), in the coordinates of the process.
        std: Standard deviation, one number.
        correlated: Whether it has the noise covariance Γ of the process. With correlated
            noise the law of x_t given x_1 is in closed form only if so.
    """

    mean: float | Tensor = 0.0
    std: float = 1.0
    correlated: bool = False

    def __post_init__(self) -> None:
        checks.sites(self.mean, "mean")
        try:
            finite = isinstance(self.std, Real | Tensor) and math.isfinite(self.std)
        except (TypeError, ValueError, RuntimeError):
            finite = False
        if not finite:
            raise ValueError(
                f"std must be one finite number, not {self.std}: scale the data by site, or give "
                "the source as a function (like, generator) -> states"
            )
        if not self.std > 0:
            raise ValueError(f"std must be positive, not {self.std}: a point is Dirac(value)")

    def draw(self, process: Process, like: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.correlated:
            noise = linear(process).covariance.sample(like, generator=generator)
        else:
            noise = torch.randn(
                like.shape, dtype=like.dtype, device=like.device, generator=generator
            )
        return _on(self.mean, like) + self.std * noise

    def refined(self, factor: int, dimension: int) -> Gaussian:
        return replace(self, mean=repeated(exactly(self.mean), factor, dimension))

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
        site = torch.ones((), dtype=x.dtype, device=x.device)
        if self.correlated:
            site = linear(process).covariance.variance(x.shape[1:]).to(x)
        return _on(self.mean, x), self.std**2 * site


def _on(value: float | Tensor, x: Tensor) -> Tensor:
    return check_event(exactly(value).to(x), x, "the mean of the source")


class _Set(Start):
    """A data set as a source: rows drawn at random."""

    @abstractmethod
    def rows(self) -> Tensor:
        """All of it, (N, *event), in the units of the data."""

    @cached_property
    def _known(self) -> dict[Any, tuple[Tensor, Tensor]]:
        return {}

    def draw(self, process: Process, like: Tensor, generator: torch.Generator | None) -> Tensor:
        x = self.rows()
        index = torch.randint(len(x), (len(like),), device=like.device, generator=generator)
        return _states(process, x[index.to(x.device)].to(like.device), like)

    def states(self, process: Process) -> Tensor:
        return process.check(self.rows(), "the source")

    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor]:
        key = (process.support, x.device)
        if key not in self._known:
            states = process.check(self.rows(), "the source").double()
            self._known[key] = (
                states.mean(0).float().to(x.device),
                states.var(0, correction=0).float().to(x.device),
            )
        return self._known[key]


def _states(process: Process, drawn: Tensor, like: Tensor) -> Tensor:
    """Draws from a source as states, or an error if they are none."""
    if drawn.shape != like.shape:
        raise ValueError(
            f"the source gives states of shape {tuple(drawn.shape[1:])}, the data have "
            f"{tuple(like.shape[1:])}"
        )
    return process.check(drawn, "the source").to(like.dtype)


class Rows(_Set):
    """A data set in memory as a source. Not part of a saved model."""

    config: ClassVar[dict[str, Any]] = {}

    def __init__(self, x: Tensor | None = None) -> None:
        if x is None:
            raise ValueError(
                "the source is a data set that was held in memory, which is not saved with a "
                "model: pass `coupling` when loading, or take a data source of markovbridge.data"
            )
        if x.ndim < 2 or not len(x):
            raise ValueError(
                f"a source in memory is states (N, *event), one or more, not {tuple(x.shape)}"
            )
        self._x = x

    def rows(self) -> Tensor:
        return self._x


@dataclass(frozen=True)
class Data(_Set):
    """A data source of `markovbridge.data` as a source.

    Attributes:
        source: Where the rows come from.
        split: Which part of them.
    """

    source: Source
    split: Literal["train", "validation", "test", "all"] = "train"

    def __post_init__(self) -> None:
        checks.instance(self.source, Source, "source", "give a data source of markovbridge.data")

    @cached_property
    def _x(self) -> Tensor:
        return dense(self._data.x)

    @cached_property
    def _data(self) -> Dataset:
        return self.source.load(self.split)

    @property
    def column_names(self) -> tuple[str, ...] | None:
        """Names of the features, or None if they have none."""
        return self._data.column_names

    def rows(self) -> Tensor:
        return self._x


@dataclass(frozen=True)
class Function(Start):
    """A function of the user's as a source. It is not part of a saved model.

    Attributes:
        function: `(like, generator) -> states` in the shape of `like`.
    """

    function: Callable[[Tensor, torch.Generator | None], Tensor]

    def draw(self, process: Process, like: Tensor, generator: torch.Generator | None) -> Tensor:
        return _states(process, self.function(like, generator), like)

    def moments(self, process: Process, x: Tensor) -> None:
        return None


# What a source may be given as; at run time, what a recipe can name.
if TYPE_CHECKING:
    AnySource = Start | Source | Tensor | Callable[[Tensor, torch.Generator | None], Tensor]
else:
    AnySource = Start


def _start(source: Start | Source | Tensor | Callable[..., Tensor]) -> Start:
    """A source as one of the above."""
    if isinstance(source, Start):
        return source
    if isinstance(source, Tensor):
        return Rows(source)
    if isinstance(source, Source):
        return Data(source)
    if callable(source):
        return Function(source)
    raise TypeError(
        "a source is Gaussian(...), a tensor (N, *event) of states, a data source of "
        "markovbridge.data, or a function (like, generator) -> states, such as "
        "lambda like, g: torch.rand(like.shape, device=like.device, generator=g), not "
        f"{type(source).__name__}"
    )


@dataclass(frozen=True, eq=False)
class _Sourced(Coupling):
    """What couplings share that draw from a source of their own."""

    source: AnySource = field(default_factory=Gaussian)
    preserve: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", _start(self.source))

    @property
    def _source(self) -> Start:
        assert isinstance(self.source, Start)
        return self.source

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._source.draw(process, like, generator)

    def refined(self, factor: int, dimension: int) -> Coupling:
        return replace(self, source=self._source.refined(factor, dimension))

    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor] | None:
        return self._source.moments(process, x)


@dataclass(frozen=True, eq=False)
class Independent(_Sourced):
    """The source, whatever the data point.

    Attributes:
        source: `Gaussian(...)` (the standard normal by default); a tensor (N, *event) or a
            data source of `markovbridge.data` (`Data` chooses its split), whose rows are drawn;
            or a function of the user's, `(like, generator) -> states` in the shape of `like`,
            such as `lambda like, g: torch.rand(like.shape, device=like.device, generator=g)`.
        preserve: Whether the network sees x_0.
    """

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._source.draw(process, x1, generator)

    def prior(self, process: Process, x1: Tensor) -> Tensor:
        return x1.new_zeros(len(x1), dtype=torch.float64)

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        kernel = self.kernel(process, t)
        one = torch.ones_like(kernel.variance)
        return kernel.basis.gaussian(kernel.variance.sqrt(), (one, kernel.centre(x1)))

    def kernel(self, process: Process, t: Time) -> GivenEnd:
        if not isinstance(self.source, Gaussian):
            raise unknown(self)
        process = linear(process)
        start, gain, noise = process.weights(0.0, t, 1.0)
        own = self.source.variance(process)
        variance = start**2 * own + noise
        mean = exactly(self.source.mean).to(start.device)
        none = torch.zeros_like(start)
        recall = start * own / variance
        found = GivenEnd(mean, start, gain, variance, none, recall, basis=process.basis)
        return bridged(process, found, t)


@dataclass(frozen=True, eq=False)
class MinibatchOT(_Sourced):
    """The source, matched to the data within each batch at least squared distance.

    Straightens paths at an assignment per batch, O(batch³) at worst
    (https://arxiv.org/abs/2302.00482). Under a condition the match is within the rows of equal
    condition, which keeps the source the same for every class; where the condition has a
    continuous covariate no two rows are alike, and `Transport` refuses. Attributes as for
    `Independent`.
    """

    batched: ClassVar[bool] = True

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        from scipy.optimize import linear_sum_assignment

        x0 = self._source.draw(process, x1, generator)
        cost = torch.cdist(x1.flatten(1).double(), x0.flatten(1).double()) ** 2
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        matched = torch.empty(len(x1), dtype=torch.int64)
        matched[torch.from_numpy(rows)] = torch.from_numpy(columns)
        return x0[matched.to(x0.device)]

    def given_end(self, process: Process, x1: Tensor, t: Time) -> laws.Law:
        raise unknown(self)

    def kernel(self, process: Process, t: Time) -> GivenEnd:
        raise unknown(self)


doors.guard(__name__, own=("source", "std", "mean"))
