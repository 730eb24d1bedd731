r"""Categories that are kept or redrawn: uniform noise and masking.

Each site keeps its value with probability p(t) and has otherwise been redrawn
from a fixed law w, with memory of nothing:

    P(s->t)[v, x] = p_t/p_s · [x = v] + (1 - p_t/p_s) · w_x

`UniformChain` redraws uniformly, `AbsorbingChain` always draws one state, the
mask. Both are in Austin et al., D3PM (https://arxiv.org/abs/2107.03006), there in
discrete time; their rate matrix is 1wᵀ - I. Nothing here needs an S x S table.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.clock import match, shares
from markovbridge.processes.finite import FiniteJumpProcess
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time


class _Redraw(FiniteJumpProcess):
    """Keep the state, or draw it anew from `law`."""

    @property
    @abstractmethod
    def law(self) -> Tensor:
        """What is drawn anew, (size,) float64."""

    def _shares(self, x: Tensor, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        s, t = self.schedule.at(s), self.schedule.at(t)
        kept, lost = (match(share, x) for share in shares(self.schedule, s, t))
        dtype = torch.result_type(s, t)
        return kept.unsqueeze(-1).to(dtype), lost.unsqueeze(-1).to(dtype)

    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log of kept · [v = x] + lost · w_v."""
        kept, lost = self._shares(x, s, t)
        rows = (lost * self.law.to(lost)).expand(*x.shape, self.size).clone()
        return rows.scatter_add_(-1, x.unsqueeze(-1), kept.expand(*x.shape, 1)).log_()

    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log of kept · [v = x] + lost · w_x."""
        kept, lost = self._shares(x, s, t)
        columns = (lost * self.law.to(lost)[x].unsqueeze(-1)).expand(*x.shape, self.size).clone()
        return columns.scatter_add_(-1, x.unsqueeze(-1), kept.expand(*x.shape, 1)).log_()

    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Kept · weights + lost · Σ weights · w."""
        kept, lost = self._shares(weights[..., 0], s, t)
        total = weights.sum(-1, keepdim=True)
        return kept.to(weights) * weights + lost.to(weights) * total * self.law.to(weights)

    def log_stationary(self) -> Tensor:
        """Log w."""
        return self.law.log()

    def inward(self, x: Tensor, t: Time) -> Tensor:
        """w_x from every other state."""
        rate = self.law.to(x.device)[x].unsqueeze(-1).expand(*x.shape, self.size)
        return rate.masked_fill(F.one_hot(x, self.size).bool(), 0.0)


@dataclass(frozen=True)
class UniformChain(_Redraw):
    """Categories redrawn uniformly; the source is uniform.

    Attributes:
        categories: Number of values.
        schedule: The share of sites that have never been redrawn, over time.
        ordered: Whether values are amounts (grey levels), for the network's input.
    """

    categories: int
    schedule: Schedule = field(default_factory=CosineSchedule)
    ordered: bool = False

    def __post_init__(self) -> None:
        _check_categories(self.categories)

    @property
    def size(self) -> int:
        """The categories."""
        return self.categories

    @property
    def states(self) -> int:
        """The categories."""
        return self.categories

    @property
    def law(self) -> Tensor:
        """Uniform."""
        return torch.full((self.size,), 1 / self.size, dtype=torch.float64)


@dataclass(frozen=True)
class AbsorbingChain(_Redraw):
    """Masking: values vanish behind a mask and stay there; the source is all mask.

    Attributes:
        categories: Number of values of the data.
        mask: A value of the data that serves as the mask, such as black; None adds a state
            of its own, `categories`, which data never take.
        schedule: The share of sites not yet masked, over time.
        ordered: Whether values are amounts (grey levels), for the network's input.
    """

    categories: int
    mask: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)
    ordered: bool = False

    def __post_init__(self) -> None:
        _check_categories(self.categories)
        if self.mask is not None and not 0 <= self.mask < self.categories:
            raise ValueError(
                f"mask must be a value of the data, 0 .. {self.categories - 1}, or None for a "
                f"state of its own, not {self.mask}"
            )

    @property
    def absorbing(self) -> int:
        """The state that is the mask."""
        return self.categories if self.mask is None else self.mask

    @property
    def size(self) -> int:
        """The categories, and the mask if it is none of them."""
        return self.categories + (self.mask is None)

    @property
    def states(self) -> int:
        """The categories: data are not masked."""
        return self.categories

    @property
    def law(self) -> Tensor:
        """All mass on the mask."""
        return F.one_hot(torch.tensor(self.absorbing), self.size).double()


def _check_categories(categories: int) -> None:
    if categories < 2:
        raise ValueError(f"a chain needs at least 2 categories, not {categories}")


doors.guard(__name__)
