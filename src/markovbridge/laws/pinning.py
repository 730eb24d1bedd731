"""Laws some of whose sites are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.base import LOG_TINY, Law, SiteLaw

__all__ = ["Pinned"]


@dataclass(frozen=True, eq=False)
class Pinned(SiteLaw):
    """A law some of whose sites are certain."""

    base: Law
    values: Tensor
    mask: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        draw = self.base.sample(generator=generator)
        return torch.where(self.mask, self.values.to(draw.dtype), draw)

    def site_log_prob(self, x: Tensor) -> Tensor:
        if not isinstance(self.base, SiteLaw):
            raise TypeError(
                f"known sites have no log-probability under a joint {type(self.base).__name__} "
                "law: take one that is independent over sites given x_t"
            )
        other = self.base.site_log_prob(x)
        known = torch.where(x == self.values, 0.0, -math.inf).to(other.dtype)
        return torch.where(self.mask, known, other)

    def capped(self, most: Tensor) -> SiteLaw:
        return Pinned(self.base.capped(most), self.values, self.mask)

    @property
    def mean(self) -> Tensor:
        mean = self.base.mean
        return torch.where(self.mask, self.values.to(mean.dtype), mean)

    @property
    def variance(self) -> Tensor:
        return torch.where(self.mask, 0.0, self.base.variance)

    @property
    def biased(self) -> bool:
        return self.base.biased

    def excess(self, origin: Tensor) -> Tensor:
        other = self.base.excess(origin)
        return torch.where(self.mask, (self.values - origin).to(other.dtype), other)

    def log_excess(self, origin: Tensor) -> Tensor:
        other = self.base.log_excess(origin)
        known = (self.values - origin).to(other.dtype).clamp_min(math.exp(LOG_TINY)).log()
        return torch.where(self.mask, known, other)


doors.guard(__name__)
