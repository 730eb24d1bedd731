r"""Ehrenfest's urn: bounded counts whose limit is the Ornstein–Uhlenbeck process.

N units are each alive or not, and each is redrawn with probability 1/2 at rate 1:
a unit keeps its state up to the clock time τ with probability p = e^-τ. Of x
alive ones, each is alive afterwards with probability (1+p)/2, each of the others
with (1-p)/2, and the count makes steps of one, up at rate (N-x)/2, down at x/2:

    x_t | x_s = x  ~  Binomial(x, (1+p)/2) + Binomial(N-x, (1-p)/2)

with the stationary law Binomial(N, 1/2). As N grows, (2x - N)/√N becomes an
Ornstein–Uhlenbeck process, the reference of Gaussian diffusion models (Winkler et
al., https://arxiv.org/abs/2405.03549).

The table of the law above, a row for each x, doubles in units: the units split
into two halves, and a count splits over them as evenly as it can,

    row_{2n}(i + j) = row_n(i) * row_n(j)        (* is convolution),

sums of positive terms, so that small probabilities keep their digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes.clock import shares
from markovbridge.processes.exponential import LEAST
from markovbridge.processes.finite import FiniteJumpProcess, TableProcess
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time


@dataclass(frozen=True)
class Ehrenfest(TableProcess, FiniteJumpProcess):
    """Ehrenfest's urn on 0 .. maximum; the source is Binomial(maximum, 1/2).

    Attributes:
        maximum: Number N of units, the largest count.
        schedule: The share of units not yet redrawn, over time.
    """

    maximum: int
    schedule: Schedule = field(default_factory=CosineSchedule)
    ordered: bool = field(default=True, init=False)
    additive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.whole(self.maximum, "maximum", least=1)
        what = f"a table of the {self.maximum + 1} states that maximum = {self.maximum} asks for"
        checks.room((self.maximum + 1) ** 2, what + " would", "take PureDeath or BirthDeath")

    @property
    def size(self) -> int:
        """Counts 0 .. maximum."""
        return self.maximum + 1

    @property
    def states(self) -> int:
        """Counts 0 .. maximum."""
        return self.maximum + 1

    def tables(self, s: Tensor, t: Tensor) -> Tensor:
        """Convolutions of two binomials, for each x."""
        kept, lost = shares(self.schedule, s, t)
        stay, flip = (1 + kept) / 2, lost / 2
        one = torch.stack([torch.stack([stay, flip], -1), torch.stack([flip, stay], -1)], -2)
        table, units = one, 1
        for bit in f"{self.maximum:b}"[1:]:
            table, units = _join(table, table), 2 * units
            if bit == "1":
                table, units = _join(table, one), units + 1
        table = table / table.sum(-1, keepdim=True)
        # Possible moves keep a finite logarithm where their probability underflows.
        return torch.where(lost.reshape(-1, 1, 1) > 0, table.clamp_min(LEAST), table)

    def log_stationary(self) -> Tensor:
        """Binomial(maximum, 1/2)."""
        n, k = self.maximum, torch.arange(self.size, dtype=torch.float64)
        choose = torch.lgamma(k + 1) + torch.lgamma(n - k + 1)
        return math.lgamma(n + 1) - choose - n * math.log(2)

    def moves(self, x: Tensor) -> Tensor:
        """One unit less, one more: (batch, *event, 2)."""
        return torch.stack([x - 1, x + 1], -1)

    def inward(self, x: Tensor, t: Time) -> Tensor:
        """Up from x-1 at (N-x+1)/2, down from x+1 at (x+1)/2."""
        up, down = (self.maximum - x + 1) / 2, (x + 1) / 2
        up, down = up * (x > 0), down * (x < self.maximum)
        return torch.stack([up, down], -1).double()


def _join(first: Tensor, second: Tensor) -> Tensor:
    """Rows of m + n units from those of m >= n units and of n: (T, m+n+1, m+n+1)."""
    m, n = first.shape[-1] - 1, second.shape[-1] - 1
    x = torch.arange(m + n + 1, device=first.device)
    j = (x * n) // (m + n)
    left, right = first[:, x - j], second[:, j]
    out = first.new_zeros((len(first), m + n + 1, m + n + 1))
    for shift in range(n + 1):
        out[:, :, shift : shift + m + 1] += left * right[:, :, shift : shift + 1]
    return out


doors.guard(__name__)
