r"""Laws of amounts: gamma on the positive reals, and beta on an interval.

Shapes far below 1 are ordinary here: a gamma of shape k is then about U^(1/k), U uniform, which is
smaller than any float for k below 1/100 about half of the time. So draws are made as logarithms,

    log Gamma(k)  =  log Gamma(k + 1) + log(U)/k,      Beta(k, l) = sigmoid(log G_k - log G_l),

and what would be 0, or an end of the interval, is the nearest float inside. Densities are those
with respect to length; where a law is certain it is a point of probability 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.base import SiteLaw
from markovbridge.laws.numbers import uniform, within


def _log_gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Logarithms of standard gamma draws; -inf for shape 0."""
    # The public gamma sampler takes no generator.
    more = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
        (shape + 1).contiguous(), generator=generator
    )
    u = uniform(shape, generator).clamp_min(torch.finfo(shape.dtype).tiny)
    return more.log() + u.log() / shape


@dataclass(frozen=True, eq=False)
class Gamma(SiteLaw):
    """Gamma with mean exp(log_mean) and shape k: variance mean²/k.

    The density at 0, which is infinite for k below 1, is taken at the least positive float.
    """

    log_mean: Tensor
    shape: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        log_mean, shape = torch.broadcast_tensors(self.log_mean, self.shape)
        log = _log_gamma(shape, generator) + log_mean - shape.log()
        return log.exp().clamp_min(torch.finfo(log.dtype).tiny)

    def site_log_prob(self, x: Tensor) -> Tensor:
        inside = x >= 0
        v = torch.where(inside, x, 1.0).clamp_min(torch.finfo(x.dtype).tiny).to(self.shape.dtype)
        log_rate = self.shape.log() - self.log_mean
        log = (self.shape - 1) * v.log() + self.shape * log_rate - torch.lgamma(self.shape)
        return within(inside, log - v * log_rate.exp())

    @property
    def mean(self) -> Tensor:
        return torch.broadcast_tensors(self.log_mean.exp(), self.shape)[0]

    @property
    def variance(self) -> Tensor:
        return self.mean**2 / self.shape


@dataclass(frozen=True, eq=False)
class Beta(SiteLaw):
    """Beta on an interval: low + (high - low) B, B ~ Beta(first, second).

    A point where the ends are one, at `low` for first = 0, and at `high` for second = 0, or both.

    Attributes:
        low: Lower ends, real, (batch, *event).
        high: Upper ends, likewise.
        first: Shape at `low`, not negative, broadcastable.
        second: Shape at `high`, likewise.
    """

    low: Tensor
    high: Tensor
    first: Tensor
    second: Tensor

    def _shapes(self) -> tuple[Tensor, Tensor]:
        shape = self.low.shape
        return self.first.double().expand(shape), self.second.double().expand(shape)

    def _point(self) -> tuple[Tensor, Tensor]:
        """Where it is certain, and of what."""
        first, second = self._shapes()
        certain = (self.low == self.high) | (first == 0) | (second == 0)
        return certain, torch.where((first == 0) & (second > 0), self.low, self.high)

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        first, second = self._shapes()
        log_odds = _log_gamma(first, generator) - _log_gamma(second, generator)
        width = self.high.double() - self.low.double()
        up = self.low.double() + width * log_odds.sigmoid()
        down = self.high.double() - width * (-log_odds).sigmoid()
        x = torch.where(log_odds < 0, up, down).to(self.low.dtype)
        # Inside, where there are floats inside; above 0, so that what has begun is told apart.
        tiny = torch.full_like(self.low, torch.finfo(x.dtype).tiny)
        least = torch.maximum(torch.nextafter(self.low, self.high), self.low + tiny)
        most = torch.maximum(torch.nextafter(self.high, self.low), least)
        x = torch.minimum(torch.maximum(x, least), torch.minimum(most, self.high))
        certain, point = self._point()
        return torch.where(certain, point, x)

    def site_log_prob(self, x: Tensor) -> Tensor:
        certain, point = self._point()
        inside = (x > self.low) & (x <= self.high) & ~certain
        first, second = (torch.where(certain, 1.0, shape) for shape in self._shapes())
        low, high = self.low.double(), self.high.double()
        z = torch.where(inside, x.double(), (low + high) / 2)
        width = torch.where(certain, 1.0, high - low)
        # Rounding to the end itself is as good as a quarter of the step between floats.
        least = torch.where(certain, 1.0, torch.finfo(x.dtype).eps * high.abs() / 4)
        log_up = torch.where(certain, 1.0, z - low).log()
        log_down = torch.maximum(high - z, least).log()
        log = (first - 1) * log_up + (second - 1) * log_down - (first + second - 1) * width.log()
        log = log + torch.lgamma(first + second) - torch.lgamma(first) - torch.lgamma(second)
        log = torch.where(certain, within(x == point, torch.zeros_like(log)), within(inside, log))
        return log.to(self.mean.dtype)

    def _share(self) -> Tensor:
        """E[B], the mean share; 1 where the law is a point and does not depend on the share."""
        total = self.first + self.second
        return torch.where(total > 0, self.first / torch.where(total > 0, total, 1.0), 1.0)

    @property
    def mean(self) -> Tensor:
        share, (certain, point) = self._share(), self._point()
        return torch.where(certain, point, (1 - share) * self.low + share * self.high)

    @property
    def variance(self) -> Tensor:
        share, total = self._share(), self.first + self.second
        return (self.high - self.low) ** 2 * (share * (1 - share) / (total + 1))


doors.guard(__name__)
