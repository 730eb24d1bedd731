"""What a coupling answers, and what is known of x_t given x_1 under a linear diffusion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time


class Coupling(ABC):
    """A joint law of source and data whose second marginal is the data."""

    preserve: bool = False
    """Whether the network sees x_0 as well, which preserves the coupling."""

    batched: ClassVar[bool] = False
    """Whether `pair` looks at the other rows of the batch, to match sources to them."""

    reverses: ClassVar[bool] = False
    """Whether x_0 is the data point as the process noises it: time reversal."""

    given: ClassVar[bool] = False
    """Whether sources come with the data, and cannot be drawn."""

    @property
    def pinned(self) -> bool:
        """Whether paths given their start are those of the reference pinned at both ends.

        So they are under time reversal, from one point, and where the start is preserved. Else
        the generative process forgets where it came from, and has only the law at each time.
        """
        return self.preserve

    def suits(self, process: Process) -> None:
        """Check that paths of this process can start as it says.

        Raises:
            ValueError: If they cannot: out of a state that is known no flow leads to data that
                are not.
        """
        if process.noiseless and self.pinned:
            raise ValueError(
                "with sigma = 0 the process is a flow, which leads a state to one end only, so "
                f"that it cannot start at a state that is known, as under {type(self).__name__}"
                f"{'(preserve=True)' if self.preserve else '()'}: take Independent(), "
                "MinibatchOT() or Paired() without preserve=True, or sigma > 0"
            )

    def features(self, process: Process) -> int:
        """How many features per site the network sees: those of x_t, and of x_0 if preserved."""
        return process.features * (2 if self.preserve else 1)

    @abstractmethod
    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A source state for each data point: (batch, *event).

        What looks at other rows to find it says so by `batched`: see `sources`.
        """

    def sources(
        self,
        process: Process,
        x1: Tensor,
        condition: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """As `pair`, for data of which a model is told a condition.

        A model of x_1 given a condition c starts from the source whatever c is. So must its
        training: x_0 may depend on c through x_1 only as far as its law given c stays that of
        the source. A coupling that matches rows of a batch therefore matches within the rows
        of equal c, unknown numbers being a value of their own: among them the sources are
        independent draws, and so is any one of them. It stays right for all that the model may
        be told of c in part, which is a mixture of those.

        Args:
            process: The process.
            x1: Data points, (batch, *event).
            condition: What is known of each, (batch, C), NaN being unknown, before any of it is
                withheld from the model.
            generator: Source of randomness.
        """
        if condition is None or not self.batched or not len(x1):
            return self.pair(process, x1, generator=generator)
        told = condition.flatten(1)
        key = torch.cat([told.isnan().to(told.dtype), told.nan_to_num()], 1)
        group = key.unique(dim=0, return_inverse=True)[1].to(x1.device)
        rows = [(group == k).nonzero().squeeze(1) for k in range(int(group.max()) + 1)]
        drawn = torch.cat([self.pair(process, x1[at], generator=generator) for at in rows])
        return torch.empty_like(drawn).index_copy_(0, torch.cat(rows), drawn)

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
    def kernel(self, process: Process, t: Time) -> GivenEnd:
        """The same law in numbers, for linear diffusions.

        Raises:
            ValueError: If it is not known, with what to use instead.
        """

    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of x_0 per site, broadcastable to the event of x.

        None if nothing is known of them, as by default.
        """
        return None

    def refined(self, factor: int, dimension: int) -> Coupling:
        """The same source where the last `dimension` axes have `factor` times as many sites.

        Raises:
            NotImplementedError: If its sources are known at the sites of one grid only.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has sources at the sites of one grid, and none between them: "
            "take Independent(Gaussian(...)), Dirac() or Noised()"
        )

    def prior(self, process: Process, x1: Tensor) -> Tensor:
        """KL(Π(x_0 | x_1) ‖ where sampling starts), the first term of a likelihood bound.

        Returns:
            (batch,) float64 nats, infinite where x_0 can lie where sampling never starts.

        Raises:
            ValueError: If it is not known.
            TypeError: If it is not implemented.
        """
        raise ValueError(
            f"under {type(self).__name__} the law of the source given the data is not known: "
            "pass x0 for a bound on log p(x1 | x0)"
        )


def same(a: Any, b: Any) -> bool:
    """Whether two couplings or processes, or what they are made of, are the same by value."""
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        a, b = torch.as_tensor(a).cpu(), torch.as_tensor(b).cpu()
        return a.shape == b.shape and bool((a == b).all())
    if is_dataclass(a) and type(a) is type(b):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def check_same(what: str, own: Coupling, coupling: Coupling) -> None:
    """Check that what was made for a coupling of its own is used with that one.

    Raises:
        ValueError: If it is not.
    """
    if not same(own, coupling):
        other = "another " if type(own) is type(coupling) else ""
        raise ValueError(
            f"the {what} is for {other}{type(own).__name__}, but the coupling of the transport is "
            f"{type(coupling).__name__}: give the coupling once"
        )


def check_made_for(
    what: str, own: tuple[Process, Coupling], process: Process, coupling: Coupling
) -> None:
    """Check that what was made for a process and a coupling is used with these.

    Raises:
        ValueError: If it is not.
    """
    if not same(own[0], process):
        raise ValueError(
            f"the {what} is for {own[0]!r}, but the process is {process!r}: make it for the "
            "process that it is used with"
        )
    check_same(what, own[1], coupling)


def exactly(value: Any) -> Tensor:
    """A number, or numbers, that a source was given, no digit lost: as float64 unless a tensor."""
    if isinstance(value, Tensor):
        return value
    value = np.asarray(value)
    return torch.from_numpy(value.astype(np.float64) if value.dtype.kind == "f" else value)


def check_event(value: Tensor, like: Tensor, name: str) -> Tensor:
    """Return a number or (*event) of a source if it broadcasts to the event of the states `like`.

    Raises:
        ValueError: If it does not.
    """
    try:
        value.expand(like.shape[1:])
    except RuntimeError:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, which does not broadcast to the event shape "
            f"{tuple(like.shape[1:])}"
        ) from None
    return value


def linear(process: Process, what: str = "a Gaussian law of x_t") -> LinearDiffusion:
    """The process, or an error, with what it is needed for, if it is not a linear diffusion."""
    if not isinstance(process, LinearDiffusion):
        raise ValueError(
            f"{what} needs a LinearDiffusion, not {type(process).__name__}: of others take "
            "Midpoint(), Bridge() or EulerMaruyama() with level 1"
        )
    return process


def bridged(process: LinearDiffusion, found: GivenEnd, t: Time) -> GivenEnd:
    """What is known of a source that does not depend on the data, with the drift c."""
    if not process.affine:
        return found
    return replace(found, shift=process.bridge_shift(0.0, t, 1.0), offset=process.offset)


def unknown(coupling: Coupling) -> ValueError:
    """The error of a coupling whose law of x_t given x_1 is not known, or not worked out."""
    return ValueError(
        f"the law of x_t given x_1 is not known under this {type(coupling).__name__}: for a "
        "score, give EulerMaruyama, StochasticHeun or ProbabilityFlow() a backward model, or take "
        "StochasticAdams() or EulerMaruyama(), which need none at level 1; let heads predict the "
        "residual, the end or the drift"
    )


doors.guard(
    __name__,
    inside=(
        "bridged",
        "check_event",
        "check_made_for",
        "check_same",
        "exactly",
        "linear",
        "unknown",
    ),
)
