r"""Chains in discrete time, given by their transition matrices.

With stochastic matrices A_1 .. A_K, applied from the data on, the chain after k
steps is at x_1 A_1 ... A_k. On [0, 1] it is the process that makes step k at time
t = 1 - (k-1)/K and rests in between: k(t) = ⌈(1-t)K⌉ steps have been made at t.
Bridges, and with them training and sampling, are the same as for any chain, and
the reverse mapping

    p(x_s = w | x_t = x) = Σ_y p(x_1 = y | x_t = x) · p(x_s = w | x_t = x, x_1 = y)

is exact for any t < s (Santos et al., https://arxiv.org/abs/2305.11089, treat
discrete time beside continuous time; Austin et al., D3PM,
https://arxiv.org/abs/2107.03006, train such chains). What takes the place of the
rate of path KL is K times the KL of one step of that mapping, pinned against
model: integrated over t it is the sum over steps, the bound of D3PM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Law
from markovbridge.laws.numbers import by_row
from markovbridge.processes.clock import match
from markovbridge.processes.finite import TableProcess
from markovbridge.processes.schedules import LinearSchedule, Reading, Schedule, Time

TOLERANCE = 1e-6  # of row sums: float32 matrices pass
FORGOTTEN = 1e-2  # total variation between laws after all steps that counts as forgotten
EVEN = 1e-13  # of row sums that are 1 but for rounding
ROUNDING = 1e-3  # of a step: times of float32 this close to the grid are on it


@dataclass(frozen=True, eq=False)
class DiscreteTimeChain(TableProcess):
    """Any Markov chain in discrete time on finitely many states.

    Attributes:
        transition_matrices: (K, S, S): row i of matrix k is the law of the next state after
            state i, the first matrix acting on the data. Tensor, array or nested lists.
        ordered: Whether states are amounts (grey levels), for the network's input.

    Raises:
        ValueError: If a matrix is not stochastic, naming matrix, row and by how much.
    """

    transition_matrices: Tensor | Sequence[Sequence[Sequence[float]]] | Any
    ordered: bool = False
    schedule: Schedule = field(default_factory=LinearSchedule, init=False)

    def __post_init__(self) -> None:
        matrices = checks.numbers(self.transition_matrices, "transition_matrices")
        _check_stochastic(matrices)
        sums = matrices.sum(-1, keepdim=True)
        # Rows that are right but for rounding stay: made again of its own matrices it is the same.
        matrices = torch.where((sums - 1).abs() > EVEN, matrices / sums, matrices)
        object.__setattr__(self, "transition_matrices", matrices)

    @property
    def steps(self) -> int:
        """Number K of steps; as many sampling steps visit each once."""
        return len(self._levels[0])

    @property
    def size(self) -> int:
        """Rows of a matrix."""
        return self._levels[0].shape[-1]

    @property
    def states(self) -> int:
        """All of them."""
        return self.size

    def index(self, t: Time) -> Tensor:
        """How many steps have been made at t: int64, the shape of t."""
        made = (1 - self.schedule.at(t).double()) * self.steps
        return (made - ROUNDING).ceil().clamp(0, self.steps).long()

    @cached_property
    def _levels(self) -> list[Tensor]:
        """Level l holds the products of 2^l successive matrices, from multiples of 2^l on."""
        levels = [torch.as_tensor(self.transition_matrices)]
        while len(levels[-1]) > 1:
            last = levels[-1][: len(levels[-1]) // 2 * 2]
            levels.append(last[0::2] @ last[1::2])
        return levels

    def tables(self, s: Tensor, t: Tensor) -> Tensor:
        """Products of the matrices of the steps made between s and t."""
        pairs = zip(self.index(s).tolist(), self.index(t).tolist(), strict=True)
        return torch.stack([self._product(j, k) for j, k in pairs]).to(s.device)

    def _product(self, j: int, k: int) -> Tensor:
        """A_{j+1} ... A_k, of as few stored products as there are."""
        product = torch.eye(self.size, dtype=torch.float64)
        while j < k:
            level = 0
            while j % 2 ** (level + 1) == 0 and j + 2 ** (level + 1) <= k:
                level += 1
            product = product @ self._levels[level][j >> level]
            j += 2**level
        return product

    def log_stationary(self) -> Tensor:
        """The law after all steps, if it is the same from every state."""
        laws = self._product(0, self.steps)
        law = laws.mean(0)
        apart = 0.5 * (laws - law).abs().sum(1)
        if float(apart.max()) > FORGOTTEN:
            raise ValueError(
                f"after {self.steps} steps the chain still remembers state {int(apart.argmax())}, "
                f"by a total variation of {apart.max().item():.3g}, so there is no source to "
                "sample from: give it more or stronger steps, or start states of your own"
            )
        return law.log()

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """K times the KL of the next step, pinned at y against the model: (batch,), nats.

        Of the model whose sites move on their own, by the marginals of a joint law: a bound for
        it. The bound of the joint law itself is `Transport.log_likelihood` with `steps`.
        """
        t = self.schedule.at(t)
        next_ = 1 - (self.index(t) - 1).clamp_min(0) / self.steps
        s = Reading(self.schedule, next_.to(t))
        log_law = law.site_table(x, self.states)
        seen = self.evidence(x, t).to(log_law)
        log_g = torch.where(seen > -torch.inf, log_law - seen, -torch.inf)
        top = log_g.detach().amax(-1, keepdim=True)
        # Both reverse kernels hold the factor P(s->t)[w, x], which cancels in their ratio.
        model = self.push((log_g - top).exp(), 1.0, s).clamp_min(1e-30).log() + top
        pinned = self.log_rows(y, 1.0, s) - seen.gather(-1, y.unsqueeze(-1))
        kernel = (pinned + self.log_columns(x, s, t)).exp()
        each = torch.where(kernel > 0, kernel * (pinned - model), 0.0)
        moving = match(self.index(t) > 0, x).unsqueeze(-1)
        return self.steps * by_row(each * moving).sum(1)


def _check_stochastic(matrices: Tensor) -> None:
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] < 2:
        raise ValueError(
            "transition matrices are a stack (steps, S, S) with S at least 2, not "
            f"{tuple(matrices.shape)}"
        )
    if not len(matrices):
        raise ValueError("a chain in discrete time needs at least one transition matrix")
    bad = ~torch.isfinite(matrices) | (matrices < 0)
    if bool(bad.any()):
        k, row, column = (int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"matrix {k} holds {matrices[k, row, column].item()} in row {row}: transition "
            "probabilities are finite and not negative"
        )
    excess = matrices.sum(-1) - 1
    if float(excess.abs().max()) > TOLERANCE:
        k, row = divmod(int(excess.abs().argmax()), matrices.shape[1])
        raise ValueError(
            f"row {row} of matrix {k} sums to {1 + excess[k, row].item():.6g}, not 1: each row "
            "of a transition matrix is a law"
        )


doors.guard(__name__)
