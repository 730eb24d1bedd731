r"""Chains given by their rates: the user's own, and discretised Gaussian noise.

`FiniteChain(Q)` is any Markov chain in continuous time on S states, Q being read
from data to source: q_ij is the rate at which state i turns into j per unit of
the clock τ = -log p(t). So the schedule makes it time-inhomogeneous, and a chain
whose slowest mode decays at rate 1 keeps the share p(t) of its memory. Rates that
change in other ways are given as a function of t.

The transition probabilities come from `processes.motion`, everything else from
`processes.finite` (Santos et al., https://arxiv.org/abs/2305.11089, treat any
such chain).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws.numbers import by_row
from markovbridge.processes.base import DiscreteProcess, Setting
from markovbridge.processes.driven import Driven
from markovbridge.processes.finite import FiniteJumpProcess
from markovbridge.processes.motion import Motion
from markovbridge.processes.rate_matrices import Matrix, checked, sparse
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time
from markovbridge.processes.sparse import of_matrix, of_moves


class _MovingChain(FiniteJumpProcess):
    """A chain whose rates and transition probabilities are those of a `Motion`."""

    @cached_property
    @abstractmethod
    def motion(self) -> Motion:
        """How it moves."""

    @property
    def clocked(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether rates are per unit of the clock, and not a function of time."""
        return self.motion.clocked

    @property
    def size(self) -> int:
        """Rows of the rate matrix."""
        return self.motion.size

    @property
    def states(self) -> int:
        """All of them."""
        return self.size

    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Those of exp(Qτ), τ being the clock time from s back to t, or of rates that change."""
        return self.motion.log_rows(x, self.schedule.at(s), self.schedule.at(t))

    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Those of exp(Qτ), τ being the clock time from s back to t, or of rates that change."""
        return self.motion.log_columns(x, self.schedule.at(s), self.schedule.at(t))

    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Products with exp(Qτ), or with what rates that change make of it."""
        return self.motion.push(weights, self.schedule.at(s), self.schedule.at(t))

    def log_stationary(self) -> Tensor:
        """The limit of the chain, if it is the same from every state."""
        return self.motion.log_stationary()

    def usual(self) -> Tensor:
        """The law at t = 0, averaged over starts."""
        return self.motion.usual()

    def moves(self, x: Tensor) -> Tensor:
        """All states, or, of a sparse chain, those that lead to x: (batch, *event, jumps)."""
        return self.motion.moves(x)

    def inward(self, x: Tensor, t: Time) -> Tensor:
        """Columns of the rate matrix at t."""
        return self.motion.inward(x, self.schedule.at(t))

    def largest(self, x: Tensor, early: float, late: float) -> Tensor:
        """The largest rates between two times."""
        return self.motion.largest(x, early, late)

    @property
    def local(self) -> bool:
        """Whether there are too many states for `bounds`, tables of all pairs of them."""
        return self.motion.local

    def growths(self, x: Tensor) -> Tensor | None:
        """How much sooner the states that lead to x are left than x, at most."""
        return by_row(self.motion.growth(x)).amax(1) if self.local else super().growths(x)


@dataclass(frozen=True, eq=False)
class FiniteChain(_MovingChain):
    """Any Markov chain on finitely many states, given by its rates.

    Attributes:
        rate_matrix: (S, S): off the diagonal the rates from row to column, at least 0; on it
            minus the sum of the row. Tensor, array or nested lists, rates per unit of the clock.
            A sparse matrix of SciPy or torch, kept as a mapping of states, from, to and rates.
            Or a function of time, t in [0, 1] as a float, to a matrix: the rates of the noising
            chain per unit of t, whatever the schedule.
        schedule: Runs the clock. Of rates that are a function of time it only says where
            training and likelihood look.
        ordered: Whether states are amounts (grey levels), for the network's input.

    Above 512 states no table is made, and a transition costs as many products with a sparse
    matrix as the chain makes jumps. Rates that change with time are for fewer states.

    A function cannot be written to a configuration: `Transport.from_pretrained` needs the
    process as an argument then.

    Raises:
        ValueError: If a matrix is no rate matrix, naming the row and by how much.
    """

    rate_matrix: Matrix
    schedule: Schedule = field(default_factory=CosineSchedule)
    ordered: bool = False

    def __post_init__(self) -> None:
        if callable(self.rate_matrix):
            _ = self.motion  # refuse what is none, or cannot be resolved, now
            return
        found = sparse(self.rate_matrix)
        if found is None:
            found = checked(checks.numbers(self.rate_matrix, "rate_matrix"))
        object.__setattr__(self, "rate_matrix", found)

    @cached_property
    def motion(self) -> Motion:
        """By tables of states, or by vectors if there are many."""
        rates = self.rate_matrix
        if callable(rates):
            return Driven(rates, self.schedule)
        if isinstance(rates, Mapping):
            rows, columns, values = (rates[key] for key in ("from", "to", "rates"))
            return of_moves(rates["states"], rows, columns, values, self.schedule)
        return of_matrix(torch.as_tensor(rates), self.schedule)

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """As every finite chain; amounts whose rates change with time as other processes do."""
        if self.ordered and not self.clocked:  # survival says nothing of what is left
            return DiscreteProcess.standardise(self, x, t, setting)
        return super().standardise(x, t, setting)


@dataclass(frozen=True)
class DiscretisedGaussianChain(_MovingChain):
    r"""Grey levels that jump with a Gaussian profile; the source is uniform.

    q_ij ∝ exp(-(i-j)²/2w²), symmetric, and scaled so that the slowest mode decays at rate
    1: the continuous-time form of the discretised Gaussian of D3PM (Austin et al.,
    https://arxiv.org/abs/2107.03006, appendix A.2.3, whose β is 8w²/(S-1)²).

    Attributes:
        categories: Number S of values.
        width: Standard deviation w of a jump, in values; None takes S/8.
        schedule: Runs the clock.
    """

    categories: int
    width: float | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)
    ordered: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.categories < 2:
            raise ValueError(f"a chain needs at least 2 categories, not {self.categories}")
        if self.width is not None and not self.width > 0:
            raise ValueError(f"width must be positive or None, not {self.width}")

    @cached_property
    def motion(self) -> Motion:
        """exp(Qτ)."""
        width = self.categories / 8 if self.width is None else self.width
        values = torch.arange(self.categories, dtype=torch.float64)
        gap = values.unsqueeze(1) - values
        # Neighbours stay connected however narrow the profile is.
        rates = torch.exp(-(gap**2 - 1) / (2 * width**2)).fill_diagonal_(0.0)
        laplacian = torch.diag(rates.sum(1)) - rates
        return of_matrix(rates / torch.linalg.eigvalsh(laplacian)[1], self.schedule)


doors.guard(__name__)
