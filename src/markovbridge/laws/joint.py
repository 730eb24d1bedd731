"""Laws of whole events: mixtures, and points with weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws.base import Law
from markovbridge.laws.numbers import by_row, weighted
from markovbridge.laws.tables import Categorical


def _weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_k weights[b, k] values[b, k, ...], of the type of the values."""
    wide = torch.promote_types(weights.dtype, values.dtype)
    return torch.einsum("bk,bk...->b...", weights.to(wide), values.to(wide)).to(values.dtype)


@dataclass(frozen=True, eq=False)
class Mixture(Law):
    """A finite mixture of laws over the whole event.

    Attributes:
        log_weights: Log-probabilities of the components, (batch, K), normalised.
        components: K laws of the same shape.
    """

    log_weights: Tensor
    components: Sequence[Law]

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        k = Categorical(self.log_weights).sample(generator=generator)
        draws = torch.stack([law.sample(generator=generator) for law in self.components], 1)
        return draws[torch.arange(len(k), device=k.device), k]

    def log_prob(self, x: Tensor) -> Tensor:
        each = torch.stack([law.log_prob(x) for law in self.components], 1)
        return (self.log_weights + each).logsumexp(1)

    def excess(self, origin: Tensor) -> Tensor:
        each = torch.stack([law.excess(origin) for law in self.components], 1)
        return _weigh(self.log_weights.exp(), each)

    @property
    def mean(self) -> Tensor:
        means = torch.stack([law.mean for law in self.components], 1)
        return _weigh(self.log_weights.exp(), means)

    @property
    def variance(self) -> Tensor:
        means = torch.stack([law.mean for law in self.components], 1)
        within = torch.stack([law.variance for law in self.components], 1)
        return _weigh(self.log_weights.exp(), within + (means - self.mean.unsqueeze(1)) ** 2)


@dataclass(frozen=True, eq=False)
class Atoms(Law):
    """A weighted set of points, the same for the whole batch: an empirical law.

    Attributes:
        points: (K, *event).
        log_weights: (batch, K), normalised.
    """

    points: Tensor
    log_weights: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.points[Categorical(self.log_weights).sample(generator=generator)]

    def log_prob(self, x: Tensor) -> Tensor:
        flat, points = by_row(x).unsqueeze(1), by_row(self.points)
        same = (flat == points).all(-1)
        return torch.where(same, self.log_weights, -math.inf).logsumexp(1)

    def _expect(self, values: Tensor) -> Tensor:
        weights = self.log_weights.exp()
        flat = by_row(values).to(weights.dtype)
        return (weights @ flat).reshape(len(weights), *values.shape[1:])

    def site_table(self, x: Tensor, states: int) -> Tensor:
        return self.sites(states).log_probs

    def log_average(self, news: Tensor, x: Tensor) -> Tensor:
        ends = self.points.movedim(0, -1).expand(*x.shape, len(self.points))
        each = news.gather(-1, ends).flatten(1, -2).sum(1)
        return (self.log_weights.double() + each).logsumexp(1)

    def average(
        self, function: Callable[[Tensor], Tensor], x: Tensor, states: int | None
    ) -> Tensor:
        total = torch.zeros((), dtype=self.log_weights.dtype, device=x.device)
        for point, weight in zip(self.points, self.log_weights.exp().mT, strict=True):
            weight = weight.reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)
            total = total + weighted(weight, function, x, point.expand(x.shape))
        return total

    def excess(self, origin: Tensor) -> Tensor:
        # Σ_k w_k (X_k - origin) in float64: the difference may be far below the digits of X.
        weights = self.log_weights.double().exp()
        mean = weights @ self.points.flatten(1).double()
        above = mean - weights.sum(1, keepdim=True) * origin.flatten(1)
        return above.to(self.log_weights.dtype).reshape(origin.shape)

    @property
    def mean(self) -> Tensor:
        return self._expect(self.points)

    @property
    def variance(self) -> Tensor:
        # Σ w X² - (Σ w X)² in float64, as clusters far apart leave few digits of it.
        weights, points = self.log_weights.double().exp(), self.points.flatten(1).double()
        points = points - points.mean(0)
        square = weights @ points**2 - (weights @ points) ** 2
        variance = square.clamp_min(0).to(self.log_weights.dtype)
        return variance.reshape(len(weights), *self.points.shape[1:])

    def sites(self, states: int) -> Categorical:
        """The product of the marginals: each site on its own, as a table over 0 .. states-1."""
        checks.whole(states, "states", least=1)
        one_hot = F.one_hot(self.points, states)
        return Categorical(self._expect(one_hot).log())


doors.guard(__name__)
