"""Tables: laws that give every value of a site a probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws.base import Law, SiteLaw, Table
from markovbridge.laws.numbers import LOG_TINY, by_row, uniform, within
from markovbridge.laws.tilting import tilted

BLOCK = 2**22  # entries of a table drawn from at once: 32 MiB in float64


@dataclass(frozen=True, eq=False)
class Categorical(Table):
    """A table per site over the values 0 .. S-1.

    Attributes:
        logits: Unnormalised log-probabilities, (batch, *event, S).
    """

    logits: Tensor

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
        for logits, share in zip(flat.split(rows), u.split(rows), strict=True):
            weights = (logits - logits.amax(-1, keepdim=True)).exp()
            sums = weights.cumsum(-1, dtype=torch.float64)
            if not bool(sums[:, -1].isfinite().all()):
                raise FloatingPointError(
                    "a table of probabilities holds NaN, or nothing above 0: what the model says "
                    "of x_1 has come apart. Look at its weights, and at guidance beyond 1"
                )
            # The factor keeps rounding from reaching the total, which no u < 1 may.
            draws.append((sums <= share * sums[:, -1:] * (1 - 1e-15)).sum(-1))
        return torch.cat(draws).reshape(self.logits.shape[:-1])

    def site_log_prob(self, x: Tensor) -> Tensor:
        inside = (x >= 0) & (x < self.logits.shape[-1])
        index = torch.where(inside, x, 0).unsqueeze(-1)
        return within(inside, self.log_probs.gather(-1, index).squeeze(-1))

    @property
    def mean(self) -> Tensor:
        return self.log_probs.exp() @ self._values()

    @property
    def variance(self) -> Tensor:
        p, v = self.log_probs.exp(), self._values()
        return ((v - (p @ v).unsqueeze(-1)) ** 2 * p).sum(-1)

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        low = torch.zeros(self.logits.shape[:-1], dtype=torch.int64, device=self.logits.device)
        return low, low + self.logits.shape[-1] - 1

    @property
    def categories(self) -> int:
        return self.logits.shape[-1]

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Categorical):
            return super().between(other, strength)
        first, second = self.log_probs, other.log_probs
        possible = (first > -math.inf) & (second > -math.inf)
        logits = strength * first + (1 - strength) * second
        return Categorical(torch.where(possible, logits, -math.inf))

    def pinned(self, values: Tensor, mask: Tensor) -> Categorical:
        states = torch.arange(self.categories, device=self.logits.device)
        known = torch.where(states == values.unsqueeze(-1), 0.0, -math.inf).to(self.logits.dtype)
        return Categorical(torch.where(mask.unsqueeze(-1), known, self.logits))

    def site_table(self, x: Tensor, states: int) -> Tensor:
        return self.log_probs if self.categories == states else super().site_table(x, states)

    def relative_entropy(self, other: Law) -> Tensor:
        """KL(this ‖ other): all values at once if the other is a table too."""
        if not isinstance(other, Categorical) or other.logits.shape[-1] != self.logits.shape[-1]:
            return super().relative_entropy(other)
        log_p, log_q = self.log_probs.double(), other.log_probs.double()
        each = torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), 0.0)
        return by_row(each).sum(1)

    def excess(self, origin: Tensor) -> Tensor:
        return ((self._values() - origin.unsqueeze(-1)) * self.log_probs.exp()).sum(-1)


@dataclass(frozen=True, eq=False)
class Tilted(Categorical):
    """A table per site that was given its mean by exponential tilting.

    Attributes:
        logits: Log-probabilities, (batch, *event, S).
        origin: Where the mean counts from, (batch, *event); nothing lies below.
        log_above: Log of the mean above it, floored at log 1e-30.
    """

    origin: Tensor
    log_above: Tensor

    @classmethod
    def towards(cls, law: Table, origin: Tensor, log_above: Tensor) -> Tilted:
        """The table nearest to `law` whose mean above `origin` has this logarithm.

        Where no tilt of the table has it, as above its largest value, the mean is cut to what
        the table can have. The gradient of `excess` and `log_excess` goes to `log_above` alone,
        as the mean does not depend on the table; where it was cut too, so that training comes
        back. That of `log_prob` goes to the table alone, the mean being held.

        Args:
            law: The table, which gives nothing below `origin` a probability.
            origin: Where the mean counts from, (batch, *event).
            log_above: Log of the mean wanted above it, (batch, *event).
        """
        wanted = log_above.detach()
        logits, found = tilted(law.log_probs, origin, wanted.double().exp())
        found = found.to(wanted).clamp_min(LOG_TINY)
        return cls(logits, origin, log_above + (found - wanted))

    def excess(self, origin: Tensor) -> Tensor:
        return self.log_above.exp() + (self.origin - origin)

    def log_excess(self, origin: Tensor) -> Tensor:
        return self.log_above if origin is self.origin else super().log_excess(origin)


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

    def __post_init__(self) -> None:
        checks.whole(self.high, "high", least=0)

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
        return within(inside, inner.logsumexp(-1) - self._log_joint().logsumexp(-1))

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        k = Categorical(self._log_joint()).sample(generator=generator).unsqueeze(-1)
        centre = self.centres.gather(-1, k).squeeze(-1)
        scale = self.log_scales.gather(-1, k).squeeze(-1).exp()
        lower = (self.low - 0.5 - centre) / scale
        upper = (self.high + 0.5 - centre) / scale
        # Work in the tail where the distribution function is small, hence accurate.
        flip = lower + upper > 0
        lower, upper = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
        u = uniform(lower, generator).clamp(1e-7, 1 - 1e-7)
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

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, LogisticMixture):
            return super().between(other, strength)
        return self.table().between(other.table(), strength)

    def pinned(self, values: Tensor, mask: Tensor) -> Categorical:
        return self.table().pinned(values, mask)

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


doors.guard(__name__)
