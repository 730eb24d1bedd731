"""Couplings without a source of their own: time reversal, a point, and given pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

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
from markovbridge.doors import checks
from markovbridge.laws.numbers import repeated
from markovbridge.processes.base import Process
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time


@dataclass(frozen=True)
class Noised(Coupling):
    """Time reversal: x0 is the data point itself, carried to t = 0 by the reference.

    Sampling starts from the law the reference forgets to. For pure death that is the
    black state; where the schedule leaves survivors at t = 0 (`LogisticSchedule` as published)
    the two differ, and samples carry that prior mismatch. So they do for VP, VE and
    sub-VP, whose prior N(0, (1 + v)/a² Γ) is that of centred data of unit variance.
    """

    reverses: ClassVar[bool] = True

    @property
    def pinned(self) -> bool:
        """Yes: the reverse of a Markov process is one."""
        return True

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

    def kernel(self, process: Process, t: Time) -> GivenEnd:
        process = linear(process)
        gain, variance = process.piece(t, 1.0)
        before, _ = process.piece(0.0, t)
        none = torch.zeros_like(gain)
        found = GivenEnd(
            none.new_zeros(()),
            none,
            1 / gain,
            variance / gain**2,
            1 / (before * gain),
            1 / before,
            basis=process.basis,
        )
        if not process.affine:
            return found
        zero = torch.zeros_like(torch.as_tensor(process.offset, dtype=torch.float64)).unsqueeze(0)
        return replace(
            found,
            mean=process.carried(zero, 1.0, 0.0)[0],
            shift=process.shift_back(t),
            offset=process.offset,
        )

    def refined(self, factor: int, dimension: int) -> Noised:
        return self

    def prior(self, process: Process, x1: Tensor) -> Tensor:
        return process.noised(x1).relative_entropy(process.source(x1))


@dataclass(frozen=True)
class Dirac(Coupling):
    """Every path starts from one point: the coupling is trivial, the transport Föllmer's.

    Attributes:
        value: The point, a number or (*event), in the units of the data.
    """

    value: float | Tensor = 0.0

    def __post_init__(self) -> None:
        checks.sites(self.value, "value")

    @property
    def pinned(self) -> bool:
        """Yes: every path has the same start."""
        return True

    def refined(self, factor: int, dimension: int) -> Dirac:
        return Dirac(repeated(exactly(self.value), factor, dimension))

    def _point(self, process: Process, like: Tensor) -> Tensor:
        value = check_event(exactly(self.value).to(like.device), like, "the Dirac source")
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

    def kernel(self, process: Process, t: Time) -> GivenEnd:
        process = linear(process)
        start, gain, variance = process.weights(0.0, t, 1.0)
        none = torch.zeros_like(start)
        value = process.check(exactly(self.value), "the Dirac source")
        value = value.to(start.device)
        found = GivenEnd(value, start, gain, variance, none, none, basis=process.basis)
        return bridged(process, found, t)

    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._point(process, x[:1])[0], torch.zeros((), device=x.device)

    def prior(self, process: Process, x1: Tensor) -> Tensor:
        return x1.new_zeros(len(x1), dtype=torch.float64)


@dataclass(frozen=True)
class Paired(Coupling):
    """Source and data come in pairs: `loss(x1, x0=x0)` and `translate(x0)`.

    Attributes:
        preserve: Whether the network sees x_0, so that x_0 goes to its own x_1.
    """

    given: ClassVar[bool] = True

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
        raise unknown(self)

    def kernel(self, process: Process, t: Time) -> GivenEnd:
        raise unknown(self)


doors.guard(__name__, own=("value",))
