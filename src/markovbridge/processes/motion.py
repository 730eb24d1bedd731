r"""How a finite chain moves: what stands behind `FiniteChain`, one class for each sort of rates.

=============== ==================================== ====================================
class           rates                                transition probabilities
=============== ==================================== ====================================
`Fixed`         one matrix times the clock           tables exp(Qτ), one for each τ
`Driven`        a function of time (`driven`)        tables, one for each pair of times
`Sparse`        one large matrix (`sparse`)          acting on vectors: no table is made
=============== ==================================== ====================================

`Tables` gathers what sites ask for from tables; no table per site is ever built, only rows and
columns, (batch, *event, S).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.clock import elapsed, match
from markovbridge.processes.exponential import Semigroup
from markovbridge.processes.schedules import Reading, Schedule, Time

ENTRIES = 2**24  # of tables made at once: 128 MiB in float64


class Motion(ABC):
    """The rates of a chain on 0 .. size-1, and its transition probabilities P(s->t), t <= s."""

    size: int
    """How many states there are."""
    clocked: bool = True
    """Whether rates are per unit of the clock -log p, and constant there; or of time."""
    local: bool = False
    """Whether `growth` is to bound rates of the reverse for a while, and not `largest`."""

    @abstractmethod
    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log P(x_t = v | x_s = x) for each v: (batch, *event, size)."""

    @abstractmethod
    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log P(x_t = x | x_s = v) for each v: (batch, *event, size)."""

    @abstractmethod
    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Σ_v weights_v P(x_t = w | x_s = v) for each w: (batch, *event, size)."""

    @abstractmethod
    def log_stationary(self) -> Tensor:
        """Log-probabilities of the law at t = 0, (size,) float64.

        Raises:
            ValueError: If it depends on where the chain started.
        """

    @abstractmethod
    def usual(self) -> Tensor:
        """The law at t = 0 averaged over all starts, (size,) float64."""

    @abstractmethod
    def inward(self, x: Tensor, t: Time) -> Tensor:
        """Rates at t from each of `moves(x)` into x: (batch, *event, jumps) float64."""

    @abstractmethod
    def largest(self, x: Tensor, early: float, late: float) -> Tensor:
        """Upper bounds of `inward` between two times, (batch, *event, jumps) float64.

        Raises:
            TypeError: If they, and what is made of them, would be too large.
        """

    def growth(self, x: Tensor) -> Tensor:
        """How fast rates of the reverse grow, `JumpProcess.growth`, by site: the shape of x.

        Raises:
            TypeError: If it is not stated.
        """
        raise TypeError(f"{type(self).__name__} states no growth of its rates: ask `largest`")

    def moves(self, x: Tensor) -> Tensor:
        """The states a jump of the reverse leads to: all of them, (batch, *event, jumps)."""
        return torch.arange(self.size, device=x.device).expand(*x.shape, self.size)


@dataclass(frozen=True, eq=False)
class Tables:
    """Rows, columns and products of tables, made once for each pair of times.

    Attributes:
        schedule: Reads times.
        size: How many states there are.
        make: P(s->t) for pairs of times t <= s: (T,), (T,) to (T, size, size) float64.
    """

    schedule: Schedule
    size: int
    make: Callable[[Tensor, Tensor], Tensor]

    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Rows of the tables, gathered for each site."""
        return self._gather(x, s, t, transposed=False)

    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Columns of the tables, gathered for each site."""
        return self._gather(x, s, t, transposed=True)

    def _gather(self, x: Tensor, s: Time, t: Time, transposed: bool) -> Tensor:
        s, t = self.schedule.at(s), self.schedule.at(t)
        # A Python float is a 0-dimensional float64 and gives way to the tensor beside it.
        dtype = torch.result_type(s, t)
        if not len(x):
            return torch.empty((0, *x.shape[1:], self.size), dtype=dtype, device=x.device)
        out = torch.empty((0,), dtype=dtype, device=x.device)
        for rows, tables, index in self._blocks(x, s, t):
            logs = (tables.mT if transposed else tables).log().to(dtype)
            part = logs[match(index, x[rows]), x[rows]]
            if isinstance(rows, slice):
                return part
            if not len(out):
                out = part.new_empty((*x.shape, self.size))
            out[rows] = part
        return out

    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Products with the tables."""
        if not len(weights):
            return weights
        flat = weights.flatten(1, -2)
        out = torch.empty_like(flat)
        for rows, tables, index in self._blocks(flat, self.schedule.at(s), self.schedule.at(t)):
            out[rows] = flat[rows] @ tables.to(flat.dtype)[index]
        return out.reshape(weights.shape)

    def _blocks(
        self, x: Tensor, s: Tensor, t: Tensor
    ) -> Iterator[tuple[Tensor | slice, Tensor, Tensor]]:
        """Rows of the batch, the tables they need, and which of those each row takes."""

        def tables(s: Tensor, t: Tensor) -> Tensor:
            return self.make(Reading(self.schedule, s), Reading(self.schedule, t))

        s, t = torch.broadcast_tensors(s.double().to(x.device), t.double().to(x.device))
        if s.ndim == 0:
            index = torch.zeros((), dtype=torch.int64, device=x.device)
            yield slice(None), tables(s.reshape(1), t.reshape(1)), index
            return
        if not len(s):
            return
        if bool((s == s[0]).all()):  # the usual case, and sorting numbers is faster than pairs
            times, index = t.unique(return_inverse=True)
            pairs = torch.stack([s[:1].expand_as(times), times])
        else:
            pairs, index = torch.stack([s, t]).unique(dim=1, return_inverse=True)
        most = max(1, ENTRIES // self.size**2)
        for first in range(0, pairs.shape[1], most):
            some = pairs[:, first : first + most]
            rows = slice(None)
            if pairs.shape[1] > most:
                rows = ((index >= first) & (index < first + most)).nonzero().squeeze(1)
            yield rows, tables(*some), index[rows] - first


class Tabled(Motion):
    """A motion by tables, which a subclass makes."""

    _tables: Tables

    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Of the tables."""
        return self._tables.log_rows(x, s, t)

    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Of the tables."""
        return self._tables.log_columns(x, s, t)

    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """With the tables."""
        return self._tables.push(weights, s, t)


class Fixed(Tabled):
    """One rate matrix times the clock, by tables.

    Args:
        semigroup: The transition matrices as a function of elapsed clock time.
        schedule: Runs the clock.
    """

    def __init__(self, semigroup: Semigroup, schedule: Schedule) -> None:
        self.semigroup, self.size = semigroup, len(semigroup.rates)
        self._tables = Tables(schedule, self.size, self._make)

    def _make(self, s: Tensor, t: Tensor) -> Tensor:
        """exp(Qτ) with τ the clock time from s back to t."""
        return self.semigroup(elapsed(self._tables.schedule, s, t))

    def log_stationary(self) -> Tensor:
        """The limit of the chain, if it is the same from every state."""
        limit = self.semigroup.limit
        apart = (limit - limit[0]).abs().amax(1)
        if float(apart.max()) > 1e-9:
            raise remembered(0, int(apart.argmax()))
        return limit[0].log()

    def usual(self) -> Tensor:
        """The limit, averaged over starts."""
        return self.semigroup.limit.mean(0)

    def inward(self, x: Tensor, t: Time) -> Tensor:
        """Columns of the rate matrix."""
        return self.semigroup.jumps.to(x.device).mT[x]

    def largest(self, x: Tensor, early: float, late: float) -> Tensor:
        """The rates, which do not change."""
        return self.inward(x, late)


def remembered(first: int, second: int) -> ValueError:
    """Why a chain has no source."""
    return ValueError(
        f"the chain never forgets its start: from states {first} and {second} it ends in "
        "different laws, so there is no source to sample from. Make one set of states reachable "
        "from all others, or give start states of your own"
    )


doors.guard(__name__, inside=("remembered",))
