r"""Laws: what one draw follows.

A law is a batch of distributions over an event, `(batch, *event)`, with four
answers: `sample(generator=)`, `log_prob(x)`, `mean`, `variance`. Most laws are
independent over sites given their parameters (`SiteLaw`): they say the
log-probability per site, and `log_prob` sums it. `Gaussian`, `Mixture` and `Atoms`
are joint.

Counts are carried as int64, reals as float. For counts, X - origin is often
known far more accurately than X (a remaining count of 1e-6 above 200), so
`excess(origin)` and `log_excess(origin)` give E[X] - origin without cancellation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge.covariances import Covariance

__all__ = [
    "Atoms",
    "Binomial",
    "Categorical",
    "Delta",
    "Gaussian",
    "Law",
    "LogisticMixture",
    "Mixture",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "Rounded",
    "Shifted",
    "SiteLaw",
    "ZeroInflated",
]

BLOCK = 2**22  # entries of a table drawn from at once: 32 MiB in float64
LOG_TINY = -69.0  # log of about 1e-30: the floor of log-means in float32


class Law(ABC):
    """A batch of distributions, `(batch, *event)`."""

    @abstractmethod
    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw, (batch, *event)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability (or density) of the whole event x: (batch,), nats."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Mean per site, (batch, *event)."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """Variance per site, (batch, *event)."""

    def excess(self, origin: Tensor) -> Tensor:
        """E[X] - origin per site."""
        return self.mean - origin

    def log_excess(self, origin: Tensor) -> Tensor:
        """log(E[X] - origin) per site, floored at log 1e-30."""
        return self.excess(origin).clamp_min(math.exp(LOG_TINY)).log()


class SiteLaw(Law):
    """A law whose sites are independent given its parameters."""

    @abstractmethod
    def site_log_prob(self, x: Tensor) -> Tensor:
        """Log-probability (or density) per site, (batch, *event), nats."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability (or density) of the whole event x: (batch,), nats."""
        return self.site_log_prob(x).reshape(len(x), -1).sum(1)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def _within(support: Tensor, log_prob: Tensor) -> Tensor:
    return torch.where(support, log_prob, -math.inf)


def _times_log(k: Tensor, log: Tensor) -> Tensor:
    """K · log with 0 · (-inf) = 0."""
    return torch.where(k == 0, 0.0, k * torch.where(k == 0, 0.0, log))


@dataclass(frozen=True, eq=False)
class Delta(SiteLaw):
    """All mass at `value`."""

    value: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.value.clone()

    def site_log_prob(self, x: Tensor) -> Tensor:
        return _within(x == self.value, torch.zeros(x.shape, device=x.device))

    @property
    def mean(self) -> Tensor:
        return self.value.to(torch.promote_types(self.value.dtype, torch.float32))

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.mean)


@dataclass(frozen=True, eq=False)
class Shifted(SiteLaw):
    """The law of `offset` + M, with M >= 0 following `base`.

    The excess over the offset is the mean of M, kept at full accuracy.
    """

    offset: Tensor
    base: SiteLaw

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.offset + self.base.sample(generator=generator)

    def site_log_prob(self, x: Tensor) -> Tensor:
        return self.base.site_log_prob(x - self.offset)

    @property
    def mean(self) -> Tensor:
        return self.offset + self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.base.variance

    def excess(self, origin: Tensor) -> Tensor:
        return self.base.excess(origin - self.offset)

    def log_excess(self, origin: Tensor) -> Tensor:
        # The offset is the origin wherever this is asked: both are the current state.
        return self.base.log_excess(origin - self.offset)


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

    @property
    def _complement(self) -> Tensor:
        return 1 - self.probability if self.complement is None else self.complement

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        # torch.binomial wants float counts of the probability's type, has no half kernel
        # and takes probabilities above 1 silently. float32 is exact up to 2^24.
        dtype = torch.promote_types(self.probability.dtype, torch.float32)
        count = self.count.to(dtype)
        probability = self.probability.to(dtype).clamp(0, 1).expand_as(count)
        return torch.binomial(count, probability, generator=generator).to(torch.int64)

    def site_log_prob(self, x: Tensor) -> Tensor:
        p, q = self.probability, self._complement
        n, k = self.count.to(p.dtype), x.to(p.dtype)
        inside = (k >= 0) & (k <= n)
        k = torch.where(inside, k, 0.0)
        choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        return _within(inside, choose + torch.xlogy(k, p) + torch.xlogy(n - k, q))

    @property
    def mean(self) -> Tensor:
        return self.count * self.probability

    @property
    def variance(self) -> Tensor:
        return self.count * self.probability * self._complement


@dataclass(frozen=True, eq=False)
class Poisson(SiteLaw):
    """Poisson with mean exp(log_rate)."""

    log_rate: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return torch.poisson(self.mean, generator=generator).to(torch.int64)

    def site_log_prob(self, x: Tensor) -> Tensor:
        k = x.to(self.log_rate.dtype)
        inside = k >= 0
        k = torch.where(inside, k, 0.0)
        return _within(inside, _times_log(k, self.log_rate) - self.mean - torch.lgamma(k + 1))

    @property
    def mean(self) -> Tensor:
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean

    def log_excess(self, origin: Tensor) -> Tensor:
        return self.log_rate


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
        return torch.poisson(rate, generator=generator).to(torch.int64)

    def site_log_prob(self, x: Tensor) -> Tensor:
        r, k = self.size, x.to(self.log_mean.dtype)
        inside = k >= 0
        k = torch.where(inside, k, 0.0)
        odds = self.log_mean - r.log()  # log of μ / r
        # Γ(k + r)/Γ(r) is r^k times a factor near 1 for large r: by lgamma both would cancel,
        # so there the factor comes from Stirling's series and r^k meets the mean.
        large = r > 30
        few = torch.where(large, 1.0, r)
        plain = torch.lgamma(k + few) - torch.lgamma(few) + _times_log(k, F.logsigmoid(odds))
        many = torch.where(large, r, 30.0)
        factor = (many + k - 0.5) * torch.log1p(k / many) - k + (1 / (many + k) - 1 / many) / 12
        series = factor + _times_log(k, self.log_mean + F.logsigmoid(-odds))
        ways = torch.where(large, series, plain) - torch.lgamma(k + 1)
        return _within(inside, ways + r * F.logsigmoid(-odds))

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        return self.mean + self.mean**2 / self.size

    def log_excess(self, origin: Tensor) -> Tensor:
        return self.log_mean


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
        return (low + (_uniform(low, generator) < fraction)).to(torch.int64)

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

    # What was predicted, also where rounding to the nearest integer drops it: a loss has
    # to see the prediction, and there is no gradient through the rounding.

    def excess(self, origin: Tensor) -> Tensor:
        return self.log_target.exp() - origin

    def log_excess(self, origin: Tensor) -> Tensor:
        return self.log_target


@dataclass(frozen=True, eq=False)
class Categorical(SiteLaw):
    """A table per site over the values 0 .. S-1.

    Attributes:
        logits: Unnormalised log-probabilities, (batch, *event, S).
    """

    logits: Tensor

    @property
    def log_probs(self) -> Tensor:
        """Normalised log-probabilities, (batch, *event, S)."""
        return self.logits.log_softmax(-1)

    def _values(self) -> Tensor:
        return torch.arange(
            self.logits.shape[-1], device=self.logits.device, dtype=self.logits.dtype
        )

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        # The inverse of the distribution function, with one uniform per site: an entry of
        # probability 0 adds nothing to the sum and is never drawn. In blocks, so that a table
        # per site of an image does not need more of its size, and summed in float64.
        flat = self.logits.reshape(-1, self.logits.shape[-1])
        u = torch.rand(len(flat), 1, dtype=torch.float64, device=flat.device, generator=generator)
        rows, draws = max(1, BLOCK // flat.shape[-1]), []
        for logits, uniform in zip(flat.split(rows), u.split(rows), strict=True):
            weights = (logits - logits.amax(-1, keepdim=True)).exp()
            sums = weights.cumsum(-1, dtype=torch.float64)
            # The factor keeps rounding from reaching the total, which no u < 1 may.
            draws.append((sums <= uniform * sums[:, -1:] * (1 - 1e-15)).sum(-1))
        return torch.cat(draws).reshape(self.logits.shape[:-1])

    def site_log_prob(self, x: Tensor) -> Tensor:
        inside = (x >= 0) & (x < self.logits.shape[-1])
        index = torch.where(inside, x, 0).unsqueeze(-1)
        return _within(inside, self.log_probs.gather(-1, index).squeeze(-1))

    @property
    def mean(self) -> Tensor:
        return self.log_probs.exp() @ self._values()

    @property
    def variance(self) -> Tensor:
        p, v = self.log_probs.exp(), self._values()
        return ((v - (p @ v).unsqueeze(-1)) ** 2 * p).sum(-1)

    def excess(self, origin: Tensor) -> Tensor:
        return ((self._values() - origin.unsqueeze(-1)) * self.log_probs.exp()).sum(-1)


@dataclass(frozen=True, eq=False)
class LogisticMixture(SiteLaw):
    r"""A mixture of logistics, discretised to integers and truncated to [low, high].

    P(v) ∝ Σ_k w_k [F_k(v + ½) - F_k(v - ½)] for low <= v <= high, with
    F_k(z) = sigmoid((z - μ_k)/s_k). Everything runs in log space through
    σ(b) - σ(a) = σ(b) σ(-a) (1 - e^{a-b}), so that no tail underflows.

    Attributes:
        log_weights: (batch, *event, K), unnormalised.
        centres: μ, (batch, *event, K).
        log_scales: log s, (batch, *event, K).
        low: Smallest value, integer, (batch, *event).
        high: Largest value.
    """

    log_weights: Tensor
    centres: Tensor
    log_scales: Tensor
    low: Tensor
    high: int

    def _log_mass(self, a: Tensor, b: Tensor) -> Tensor:
        """Log of F_k(b) - F_k(a), (batch, *event, K)."""
        inverse = (-self.log_scales).exp()
        upper, lower = (b - self.centres) * inverse, (a - self.centres) * inverse
        return F.logsigmoid(upper) + F.logsigmoid(-lower) + _log1mexp((b - a) * inverse)

    def _log_joint(self) -> Tensor:
        """Log of w_k [F_k(high + ½) - F_k(low - ½)], normalised over k."""
        mass = self._log_mass(self.low.unsqueeze(-1) - 0.5, self._top + 0.5)
        return self.log_weights.log_softmax(-1) + mass

    @property
    def _top(self) -> Tensor:
        return torch.full((1,), self.high, device=self.centres.device, dtype=self.centres.dtype)

    def site_log_prob(self, x: Tensor) -> Tensor:
        inside = (x >= self.low) & (x <= self.high)
        v = torch.where(inside, x, self.low).unsqueeze(-1).to(self.centres.dtype)
        inner = self.log_weights.log_softmax(-1) + self._log_mass(v - 0.5, v + 0.5)
        return _within(inside, inner.logsumexp(-1) - self._log_joint().logsumexp(-1))

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        k = Categorical(self._log_joint()).sample(generator=generator).unsqueeze(-1)
        centre = self.centres.gather(-1, k).squeeze(-1)
        scale = self.log_scales.gather(-1, k).squeeze(-1).exp()
        lower = (self.low - 0.5 - centre) / scale
        upper = (self.high + 0.5 - centre) / scale
        # Work in the tail where the distribution function is small, hence accurate.
        flip = lower + upper > 0
        lower, upper = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
        u = _uniform(lower, generator).clamp(1e-7, 1 - 1e-7)
        log_f = torch.logaddexp(
            F.logsigmoid(lower) + torch.log1p(-u), F.logsigmoid(upper) + u.log()
        )
        z = log_f - _log1mexp(-log_f)
        x = (centre + scale * torch.where(flip, -z, z)).round().to(torch.int64)
        return torch.maximum(x, self.low).clamp_max(self.high)

    def table(self) -> Categorical:
        """The same law as a table over 0 .. high."""
        values = torch.arange(self.high + 1, device=self.low.device)
        low = self.low.unsqueeze(-1)
        wide = LogisticMixture(
            self.log_weights.unsqueeze(-2),
            self.centres.unsqueeze(-2),
            self.log_scales.unsqueeze(-2),
            low,
            self.high,
        )
        return Categorical(wide.site_log_prob(values.expand(*self.low.shape, -1)))

    @property
    def mean(self) -> Tensor:
        return self.table().mean

    @property
    def variance(self) -> Tensor:
        return self.table().variance

    def excess(self, origin: Tensor) -> Tensor:
        return self.table().excess(origin)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^-x) for x > 0, accurate at both ends."""
    x = x.clamp_min(1e-30)
    small = x < math.log(2)
    near = torch.where(small, x, 1.0)
    far = torch.where(small, 1.0, x)
    return torch.where(small, (-torch.expm1(-near)).log(), torch.log1p(-(-far).exp()))


@dataclass(frozen=True, eq=False)
class Normal(SiteLaw):
    """Normal with mean `mean` and standard deviation `std`, both (batch, *event)."""

    loc: Tensor
    std: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(
            self.loc.shape, dtype=self.loc.dtype, device=self.loc.device, generator=generator
        )
        return self.loc + self.std * noise

    def site_log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.std
        return -0.5 * z**2 - self.std.log() - 0.5 * math.log(2 * math.pi)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (self.std**2).expand_as(self.loc)


@dataclass(frozen=True, eq=False)
class Gaussian(Law):
    """Gaussian over the whole event: N(loc, scale² Γ).

    Attributes:
        loc: Mean, (batch, *event).
        scale: Standard deviation in units of Γ^{1/2}, () or (batch, 1, ..., 1).
        covariance: Γ.
    """

    loc: Tensor
    scale: Tensor
    covariance: Covariance

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.loc + self.scale * self.covariance.sample(self.loc, generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        distance = (z * self.covariance.solve(z)).reshape(len(z), -1).sum(1)
        size = z[0].numel()
        logdet = self.covariance.logdet(z.shape[1:]) + size * math.log(2 * math.pi)
        return -0.5 * (distance + logdet) - size * self.scale.log().flatten()

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        site = self.covariance.variance(self.loc.shape[1:]).to(self.loc)
        return (self.scale**2 * site).expand_as(self.loc)


@dataclass(frozen=True, eq=False)
class ZeroInflated(SiteLaw):
    """Zero with probability `zero`, else a draw of `base`, site by site."""

    zero: Tensor
    base: SiteLaw

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        draw = self.base.sample(generator=generator)
        return torch.where(_uniform(self.zero, generator) < self.zero, 0, draw)

    def site_log_prob(self, x: Tensor) -> Tensor:
        spike = _within(x == 0, self.zero.log())
        return torch.logaddexp(spike, torch.log1p(-self.zero) + self.base.site_log_prob(x))

    @property
    def mean(self) -> Tensor:
        return (1 - self.zero) * self.base.mean

    @property
    def variance(self) -> Tensor:
        return (1 - self.zero) * (self.base.variance + self.zero * self.base.mean**2)


def _weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_k weights[b, k] values[b, k, ...]."""
    return torch.einsum("bk,bk...->b...", weights, values)


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
        flat, points = x.reshape(len(x), 1, -1), self.points.reshape(1, len(self.points), -1)
        same = (flat == points).all(-1)
        return torch.where(same, self.log_weights, -math.inf).logsumexp(1)

    def _expect(self, values: Tensor) -> Tensor:
        weights = self.log_weights.exp()
        flat = values.reshape(len(values), -1).to(weights.dtype)
        return (weights @ flat).reshape(len(weights), *values.shape[1:])

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
        weights = self.log_weights.exp()
        centred = self.points.to(weights.dtype) - self.points.to(weights.dtype).mean(0)
        return (self._expect(centred**2) - self._expect(centred) ** 2).clamp_min(0)

    def sites(self, states: int) -> Categorical:
        """The product of the marginals: each site on its own, as a table over 0 .. states-1."""
        one_hot = F.one_hot(self.points, states)
        return Categorical(self._expect(one_hot).log())
