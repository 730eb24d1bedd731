r"""Chains given by a rate matrix: the user's own, and discretised Gaussian noise.

`FiniteChain(Q)` is any Markov chain in continuous time on S states, Q being read
from data to source: q_ij is the rate at which state i turns into j per unit of
the clock τ = -log p(t). So the schedule makes it time-inhomogeneous, and a chain
whose slowest mode decays at rate 1 keeps the share p(t) of its memory.

The transition matrices exp(Qτ) come from `processes.exponential`; everything else
from `processes.finite` (Santos et al., https://arxiv.org/abs/2305.11089, treat any
such chain).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes.clock import elapsed
from markovbridge.processes.exponential import Semigroup
from markovbridge.processes.finite import FiniteJumpProcess, TableProcess
from markovbridge.processes.schedules import Cosine, Schedule

Matrix = Tensor | Sequence[Sequence[float]] | Any
"""What a rate matrix may be given as: a tensor, a NumPy array, nested lists."""

TOLERANCE = 1e-6  # of row sums, relative to the exit rate: float32 matrices pass


class _MatrixChain(TableProcess, FiniteJumpProcess):
    """A chain with a rate matrix."""

    @cached_property
    @abstractmethod
    def semigroup(self) -> Semigroup:
        """The transition matrices as a function of elapsed clock time."""

    @property
    def size(self) -> int:
        """Rows of the rate matrix."""
        return len(self.semigroup.rates)

    @property
    def states(self) -> int:
        """All of them."""
        return self.size

    def tables(self, s: Tensor, t: Tensor) -> Tensor:
        """exp(Qτ) with τ the clock time from s back to t."""
        return self.semigroup(elapsed(self.schedule, s, t))

    def log_stationary(self) -> Tensor:
        """The limit of the chain, if it is the same from every state."""
        limit = self.semigroup.limit
        apart = (limit - limit[0]).abs().amax(1)
        if float(apart.max()) > 1e-9:
            raise ValueError(
                f"the chain never forgets its start: from states 0 and {int(apart.argmax())} it "
                "ends in different laws, so there is no source to sample from. Make one set of "
                "states reachable from all others, or give start states of your own"
            )
        return limit[0].log()

    def inward(self, x: Tensor) -> Tensor:
        """Columns of the rate matrix."""
        return self.semigroup.jumps.to(x.device).mT[x]


@dataclass(frozen=True, eq=False)
class FiniteChain(_MatrixChain):
    """Any Markov chain on finitely many states, given by its rate matrix.

    Attributes:
        rate_matrix: (S, S): off the diagonal the rates from row to column, at least 0; on it
            minus the sum of the row. Tensor, array or nested lists.
        schedule: Runs the clock.
        ordered: Whether states are amounts (grey levels), for the network's input.

    Raises:
        ValueError: If the matrix is no rate matrix, naming the row and by how much.
    """

    rate_matrix: Matrix
    schedule: Schedule = field(default_factory=Cosine)
    ordered: bool = False

    def __post_init__(self) -> None:
        matrix = checks.numbers(self.rate_matrix, "rate_matrix")
        _check_rates(matrix)
        object.__setattr__(self, "rate_matrix", matrix)

    @cached_property
    def semigroup(self) -> Semigroup:
        """exp(Qτ)."""
        return Semigroup(torch.as_tensor(self.rate_matrix))


@dataclass(frozen=True)
class DiscretisedGaussianChain(_MatrixChain):
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
    schedule: Schedule = field(default_factory=Cosine)
    ordered: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.categories < 2:
            raise ValueError(f"a chain needs at least 2 categories, not {self.categories}")
        if self.width is not None and not self.width > 0:
            raise ValueError(f"width must be positive or None, not {self.width}")

    @cached_property
    def semigroup(self) -> Semigroup:
        """exp(Qτ)."""
        width = self.categories / 8 if self.width is None else self.width
        values = torch.arange(self.categories, dtype=torch.float64)
        gap = values.unsqueeze(1) - values
        # Neighbours stay connected however narrow the profile is.
        rates = torch.exp(-(gap**2 - 1) / (2 * width**2)).fill_diagonal_(0.0)
        laplacian = torch.diag(rates.sum(1)) - rates
        return Semigroup(rates / torch.linalg.eigvalsh(laplacian)[1])


def _check_rates(matrix: Tensor) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(
            f"a rate matrix is square with at least 2 states, not {tuple(matrix.shape)}"
        )
    if not bool(torch.isfinite(matrix).all()):
        row = int((~torch.isfinite(matrix)).any(1).nonzero()[0])
        raise ValueError(f"row {row} of the rate matrix holds a value that is not finite")
    jumps = matrix.clone().fill_diagonal_(0.0)
    if bool((jumps < 0).any()):
        row, column = (int(i) for i in (jumps < 0).nonzero()[0])
        raise ValueError(
            f"row {row} of the rate matrix holds {matrix[row, column].item()} at column {column}: "
            "rates between states cannot be negative"
        )
    exits = jumps.sum(1)
    if float(exits.max()) == 0:
        raise ValueError("the rate matrix is zero off its diagonal: the chain never moves")
    excess = exits + matrix.diagonal()
    wrong = excess.abs() > TOLERANCE * exits.clamp_min(1e-3 * float(exits.max()))
    if bool(wrong.any()):
        row = int(excess.abs().argmax())
        raise ValueError(
            f"row {row} of the rate matrix sums to {excess[row].item():.6g}, not 0: its diagonal "
            f"entry must be minus its other rates, {-exits[row].item():.6g}, not "
            f"{matrix[row, row].item():.6g}"
        )


doors.guard(__name__)
