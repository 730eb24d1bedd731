"""Laws of counts, independent over sites."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.base import Law, SiteLaw
from markovbridge.laws.numbers import binomial, log_cap, poisson, times_log, uniform, within
from markovbridge.laws.tables import Categorical


@dataclass(frozen=True, eq=False)
class Binomial(SiteLaw):
    """Binomial: how many of `count` units survive, each with `probability`.

    Attributes:
        count: Numbers of units, integer, (batch, *event).
        probability: In [0, 1], broadcastable to count.
        complement: 1 - probability, given where it is known more accurately.
    """

    count: Tensor
    probability: Tensor
    complement: Tensor | None = None

    def __post_init__(self) -> None:
        spare = self.complement
        if spare is not None and spare.shape != self.probability.shape:
            raise ValueError(
                f"complement must have the shape of probability, "
                f"{tuple(self.probability.shape)}, not {tuple(spare.shape)}"
            )

    @property
    def _complement(self) -> Tensor:
        return 1 - self.probability if self.complement is None else self.complement

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return binomial(self.count, self.probability, generator)

    def site_log_prob(self, x: Tensor) -> Tensor:
        p, q = self.probability, self._complement
        n, k = self.count.to(p.dtype), x.to(p.dtype)
        inside = (k >= 0) & (k <= n)
        k = torch.where(inside, k, 0.0)
        choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        return within(inside, choose + torch.xlogy(k, p) + torch.xlogy(n - k, q))

    @property
    def mean(self) -> Tensor:
        return self.count * self.probability

    @property
    def variance(self) -> Tensor:
        return self.count * self.probability * self._complement

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        low, high = self._near()
        return low.clamp_min(0), torch.minimum(high, self.count)


@dataclass(frozen=True, eq=False)
class Poisson(SiteLaw):
    """Poisson with mean exp(log_rate)."""

    log_rate: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return poisson(self.mean, generator).to(torch.int64)

    def site_log_prob(self, x: Tensor) -> Tensor:
        k = x.to(self.log_rate.dtype)
        inside = k >= 0
        k = torch.where(inside, k, 0.0)
        return within(inside, times_log(k, self.log_rate) - self.mean - torch.lgamma(k + 1))

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        low, high = self._near()
        return low.clamp_min(0), high

    def log_excess(self, origin: Tensor) -> Tensor:
        return self._log_excess(origin, self.log_rate)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Poisson):
            return super().between(other, strength)
        return Poisson(strength * self.log_rate + (1 - strength) * other.log_rate)

    def capped(self, most: Tensor) -> SiteLaw:
        return Poisson(log_cap(self.log_rate, most))

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return Poisson(self.log_rate + log_factor)


@dataclass(frozen=True, eq=False)
class NegativeBinomial(SiteLaw):
    """Negative binomial with mean μ = exp(log_mean) and size r: variance μ + μ²/r."""

    log_mean: Tensor
    size: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        log_mean, size = torch.broadcast_tensors(self.log_mean, self.size)
        # The public gamma sampler takes no generator.
        gamma = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
            size.contiguous(), generator=generator
        )
        rate = gamma * (log_mean.exp() / size)
        return poisson(rate, generator).to(torch.int64)

    def site_log_prob(self, x: Tensor) -> Tensor:
        r, k = self.size, x.to(self.log_mean.dtype)
        inside = k >= 0
        k = torch.where(inside, k, 0.0)
        odds = self.log_mean - r.log()  # log of μ / r
        # Γ(k + r)/Γ(r) is r^k times a factor near 1 for large r: by lgamma both would cancel,
        # so there the factor comes from Stirling's series and r^k meets the mean.
        large = r > 30
        few = torch.where(large, 1.0, r)
        plain = torch.lgamma(k + few) - torch.lgamma(few) + times_log(k, F.logsigmoid(odds))
        many = torch.where(large, r, 30.0)
        factor = (many + k - 0.5) * torch.log1p(k / many) - k + (1 / (many + k) - 1 / many) / 12
        series = factor + times_log(k, self.log_mean + F.logsigmoid(-odds))
        ways = torch.where(large, series, plain) - torch.lgamma(k + 1)
        return within(inside, ways + r * F.logsigmoid(-odds))

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self.mean**2 / self.size

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        # Chernoff: with β = μ/(μ + r) at most (1 + √β)^r β^(k/2) lies from k on; here e^-41.
        log_mean, size = torch.broadcast_tensors(self.log_mean.double(), self.size.double())
        log_ratio = F.logsigmoid(log_mean - size.log())
        most = 2 * (41 + size * (0.5 * log_ratio).exp().log1p()) / -log_ratio
        return torch.zeros_like(most, dtype=torch.int64), most.ceil().long()

    def log_excess(self, origin: Tensor) -> Tensor:
        return self._log_excess(origin, self.log_mean)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, NegativeBinomial):
            return super().between(other, strength)
        log_mean = strength * self.log_mean + (1 - strength) * other.log_mean
        log_size = strength * self.size.log() + (1 - strength) * other.size.log()
        return NegativeBinomial(log_mean, log_size.exp())

    def capped(self, most: Tensor) -> SiteLaw:
        return NegativeBinomial(log_cap(self.log_mean, most), self.size)

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return NegativeBinomial(self.log_mean + log_factor, self.size)


@dataclass(frozen=True, eq=False)
class Rounded(SiteLaw):
    """An integer next to a given mean m >= 0.

    `stochastic=True` takes one of the two nearest integers so that the mean is m;
    False takes the nearest one, which is **biased** and is here for comparison only.
    """

    log_target: Tensor
    stochastic: bool = True

    def _split(self) -> tuple[Tensor, Tensor]:
        target = self.log_target.exp()
        if not self.stochastic:
            return target.round(), torch.zeros_like(target)
        return target.floor(), target - target.floor()

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        low, fraction = self._split()
        return (low + (uniform(low, generator) < fraction)).to(torch.int64)

    def site_log_prob(self, x: Tensor) -> Tensor:
        low, fraction = self._split()
        return torch.where(x == low, 1 - fraction, torch.where(x == low + 1, fraction, 0.0)).log()

    @property
    def mean(self) -> Tensor:
        low, fraction = self._split()
        return low + fraction

    @property
    def variance(self) -> Tensor:
        _, fraction = self._split()
        return fraction * (1 - fraction)

    @property
    def biased(self) -> bool:
        return not self.stochastic

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Rounded):
            return super().between(other, strength)
        target = strength * self.log_target + (1 - strength) * other.log_target
        return Rounded(target, self.stochastic)

    # What was predicted, also where rounding to the nearest integer drops it: a loss has
    # to see the prediction, and there is no gradient through the rounding.

    def excess(self, origin: Tensor) -> Tensor:
        return self.log_target.exp() - origin

    def log_excess(self, origin: Tensor) -> Tensor:
        return self._log_excess(origin, self.log_target)

    def capped(self, most: Tensor) -> SiteLaw:
        return Rounded(log_cap(self.log_target, most), self.stochastic)

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return Rounded(self.log_target + log_factor, self.stochastic)


@dataclass(frozen=True, eq=False)
class ZeroInflated(SiteLaw):
    """Zero with probability `zero`, else a draw of `base`, site by site."""

    zero: Tensor
    base: SiteLaw

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        draw = self.base.sample(generator=generator)
        return torch.where(uniform(self.zero, generator) < self.zero, 0, draw)

    def site_log_prob(self, x: Tensor) -> Tensor:
        spike = within(x == 0, self.zero.log())
        return torch.logaddexp(spike, torch.log1p(-self.zero) + self.base.site_log_prob(x))

    @property
    def mean(self) -> Tensor:
        return (1 - self.zero) * self.base.mean

    @property
    def variance(self) -> Tensor:
        return (1 - self.zero) * (self.base.variance + self.zero * self.base.mean**2)

    def capped(self, most: Tensor) -> SiteLaw:
        return ZeroInflated(self.zero, self.base.capped(most))

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return ZeroInflated(self.zero, self.base.multiplied(log_factor))


@dataclass(frozen=True, eq=False)
class SiteMixture(SiteLaw):
    """A finite mixture at each site: every site draws a component of its own.

    Attributes:
        log_weights: Log-probabilities of the components, (batch, *event, K), normalised.
        components: The laws that are mixed, over (batch, *event, K).
    """

    log_weights: Tensor
    components: SiteLaw

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        k = Categorical(self.log_weights).sample(generator=generator).unsqueeze(-1)
        return self.components.sample(generator=generator).gather(-1, k).squeeze(-1)

    def site_log_prob(self, x: Tensor) -> Tensor:
        joint = self.log_weights + self.components.site_log_prob(x.unsqueeze(-1))
        # The gradient of logsumexp where all are impossible would be NaN.
        possible = (joint > -math.inf).any(-1)
        return within(possible, torch.where(possible.unsqueeze(-1), joint, 0.0).logsumexp(-1))

    def _weigh(self, values: Tensor) -> Tensor:
        """Their average over the components."""
        return (self.log_weights.exp() * values).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self._weigh(self.components.mean)

    @property
    def variance(self) -> Tensor:
        means = self.components.mean
        between = (means - self._weigh(means).unsqueeze(-1)) ** 2
        return self._weigh(self.components.variance + between)

    def excess(self, origin: Tensor) -> Tensor:
        return self._weigh(self.components.excess(origin.unsqueeze(-1)))

    def log_excess(self, origin: Tensor) -> Tensor:
        each = self.components.log_excess(torch.zeros_like(origin).unsqueeze(-1))
        return self._log_excess(origin, (self.log_weights + each).logsumexp(-1))

    def capped(self, most: Tensor) -> SiteLaw:
        return SiteMixture(self.log_weights, self.components.capped(most.unsqueeze(-1)))

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return SiteMixture(self.log_weights, self.components.multiplied(log_factor.unsqueeze(-1)))


doors.guard(__name__)
