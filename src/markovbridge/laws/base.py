"""What a law is, and those made of others: certain values, and a law moved by an offset."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import LOG_TINY, by_row, weighted, within


class Law(ABC):
    """A batch of distributions, `(batch, *event)`."""

    means_only: ClassVar[bool] = False
    """Whether means are all that is known, so that draws may lie where the data cannot be."""

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

    @property
    def biased(self) -> bool:
        """Whether `excess` states on purpose what was predicted, and draws have another mean."""
        return False

    @property
    def window(self) -> tuple[Tensor, Tensor] | None:
        """Whole numbers between which all but about 1e-16 of the mass lies, for sums over them.

        Both (batch, *event), int64. None for reals and joint laws, and where it is not stated.
        """
        return None

    @property
    def categories(self) -> int | None:
        """How many values a table of the law has at each site, 0 .. categories-1; None without."""
        return None

    def table(self) -> Table:
        """The law as a table per site over 0 .. categories-1.

        Raises:
            TypeError: If it has none.
        """
        raise TypeError(
            f"a {type(self).__name__} law has no finite table per site: take CategoricalHead or "
            "LogisticMixtureHead, or Bridge(), or Trapezoidal() of pure death"
        )

    def between(self, other: Law, strength: float) -> Law:
        """The law at this strength, 1 being this one and 0 the other; see `transport.guidance`.

        Raises:
            TypeError: If there is none between laws of these kinds.
        """
        raise TypeError(
            f"guidance does not know what lies between a {type(self).__name__} and a "
            f"{type(other).__name__} law: sample with guidance=1"
        )

    def pinned(self, values: Tensor, mask: Tensor) -> Law:
        """This law, certain of the values where the mask is True. Tables stay tables."""
        return Pinned(self, values, mask)

    def site_table(self, x: Tensor, states: int) -> Tensor:
        """Log-probabilities over 0 .. states-1, each site on its own: (batch, *event, states).

        Args:
            x: A state, for the shape: (batch, *event).
            states: Number of values.

        Raises:
            TypeError: If the law says nothing of single sites.
        """
        raise TypeError(f"rates need a law per site or Atoms, not {type(self).__name__}")

    def log_average(self, news: Tensor, x: Tensor) -> Tensor:
        """Log E[exp Σ_sites news(X)], for news of each value, (batch, *event, states): (batch,).

        Args:
            news: What is known of each value of each site.
            x: A state, (batch, *event).
        """
        table = self.site_table(x, news.shape[-1]).double()
        return by_row((table + news).logsumexp(-1)).sum(1)

    def average(
        self, function: Callable[[Tensor], Tensor], x: Tensor, states: int | None
    ) -> Tensor:
        """E[f(X)], for a function of states that acts site by site: (batch, *event, ...).

        Args:
            function: Asked at states like x, at ends the law holds possible, else at x.
            x: A state, (batch, *event).
            states: How many values the law is over; None if they are unbounded.

        Raises:
            TypeError: If the law says nothing of single sites.
            ValueError: If it is over values without an end.
        """
        raise TypeError(f"rates need a law per site or Atoms, not {type(self).__name__}")

    def excess(self, origin: Tensor) -> Tensor:
        """E[X] - origin per site."""
        return self.mean - origin

    def log_excess(self, origin: Tensor) -> Tensor:
        """log(E[X] - origin) per site, floored at log 1e-30."""
        return self.excess(origin).clamp_min(math.exp(LOG_TINY)).log()

    def relative_entropy(self, other: Law) -> Tensor:
        """KL(this ‖ other) of the whole event: (batch,) float64 nats, infinite where it is.

        Raises:
            TypeError: If it is not implemented for laws of these kinds.
        """
        raise TypeError(
            f"the relative entropy of a {type(self).__name__} law from a {type(other).__name__} "
            "law is not implemented: this says nothing of whether it is finite"
        )

    def _log_excess(self, origin: Tensor, log_mean: Tensor) -> Tensor:
        """`log_excess` of a law that knows log E[X], which it is above 0."""
        return torch.where(origin == 0, log_mean, Law.log_excess(self, origin))

    def capped(self, most: Tensor) -> Law:
        """This law, with means above `most`, (batch, *event) float64, brought down to it.

        Itself where a law has no scale that could run away: tables, points, reals.
        """
        return self

    def multiplied(self, log_factor: Tensor) -> Law:
        """This law, its mean (of the excess of shifted ones) times exp(log_factor), (*event)."""
        raise _no_scale(self)


MOST_VALUES = 2**16  # of a table that is made value by value: those of 16 bits
UNBOUNDED = (
    "a table over x_1 needs bounded counts: set `maximum` of the process to the largest value of "
    "the data, or take TwoMeansHead"
)


def _no_scale(law: Law) -> TypeError:
    told = "means are prescribed to a MeanHead or a NegativeBinomialHead"
    return TypeError(f"a {type(law).__name__} law has no scale to multiply: {told}")


def _values(states: int) -> range:
    """The values 0 .. states-1, which a law is asked for one after the other."""
    if not 1 <= states <= MOST_VALUES:
        raise ValueError(
            f"a table of {states} values at each site is made one value after the other, for 1 to "
            f"{MOST_VALUES} of them: set `maximum` of the process to the largest value of the data"
        )
    return range(states)


class SiteLaw(Law):
    """A law whose sites are independent given its parameters."""

    @abstractmethod
    def site_log_prob(self, x: Tensor) -> Tensor:
        """Log-probability (or density) per site, (batch, *event), nats."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability (or density) of the whole event x: (batch,), nats."""
        return by_row(self.site_log_prob(x)).sum(1)

    def capped(self, most: Tensor) -> SiteLaw:
        return self

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        raise _no_scale(self)

    def site_table(self, x: Tensor, states: int) -> Tensor:
        each = [self.site_log_prob(torch.full_like(x, v)) for v in _values(states)]
        return torch.stack(each, -1)

    def average(
        self, function: Callable[[Tensor], Tensor], x: Tensor, states: int | None
    ) -> Tensor:
        if states is None:
            raise ValueError(UNBOUNDED)
        total = torch.zeros((), device=x.device)
        for v in _values(states):
            y = torch.full_like(x, v)
            weight = self.site_log_prob(y).exp()
            total = total + weighted(weight, function, x, y)
        return total

    def relative_entropy(self, other: Law) -> Tensor:
        """KL(this ‖ other), summed over the window of each site: (batch,) float64 nats."""
        if self.window is None or not isinstance(other, SiteLaw):
            return super().relative_entropy(other)
        low, high = self.window
        total = torch.zeros(low.shape, dtype=torch.float64, device=low.device)
        for step in range(int((high - low).max()) + 1 if low.numel() else 0):
            log_p = self.site_log_prob(low + step).double()
            p = torch.where(low + step <= high, log_p.exp(), 0.0)
            apart = log_p - other.site_log_prob(low + step).double()
            total = total + torch.where(p > 0, p * apart, 0.0)
        return by_row(total.clamp_min(0)).sum(1)

    def _near(self) -> tuple[Tensor, Tensor]:
        """The window of a sum of independent numbers of at most 1, a Poisson being many of them.

        At a distance d lies less than 2 exp(-d²/(2σ² + 2d/3)) (Bernstein), for d = 9σ + 40 at
        most 5e-18.
        """
        mean, deviation = self.mean.double(), self.variance.double().sqrt()
        reach = 9 * deviation + 40
        return (mean - reach).floor().long(), (mean + reach).ceil().long()


class Table(SiteLaw):
    """A law per site that states the probability of each of its values."""

    logits: Tensor
    """Unnormalised log-probabilities, (batch, *event, categories)."""

    @property
    def log_probs(self) -> Tensor:
        """Normalised log-probabilities, (batch, *event, categories)."""
        return self.logits.log_softmax(-1)

    def table(self) -> Table:
        return self


@dataclass(frozen=True, eq=False)
class Delta(SiteLaw):
    """All mass at `value`."""

    value: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.value.clone()

    def site_log_prob(self, x: Tensor) -> Tensor:
        return within(x == self.value, torch.zeros(x.shape, device=x.device))

    @property
    def mean(self) -> Tensor:
        return self.value.to(torch.promote_types(self.value.dtype, torch.float32))

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.mean)

    @property
    def window(self) -> tuple[Tensor, Tensor] | None:
        return None if self.value.is_floating_point() else (self.value, self.value)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Delta):
            return super().between(other, strength)
        return Delta(strength * self.value + (1 - strength) * other.value)

    def relative_entropy(self, other: Law) -> Tensor:
        """Of points: 0 where they are the same, else infinite."""
        if not isinstance(other, Delta):
            return super().relative_entropy(other)
        apart = by_row(self.value != other.value).any(1)
        return torch.where(apart, math.inf, 0.0).double()

    def excess(self, origin: Tensor) -> Tensor:
        return (self.value - origin).to(self.mean)  # whole numbers first, of any size


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

    @property
    def biased(self) -> bool:
        return self.base.biased

    @property
    def window(self) -> tuple[Tensor, Tensor] | None:
        window = self.base.window
        return None if window is None else (window[0] + self.offset, window[1] + self.offset)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Shifted):
            return super().between(other, strength)
        base = self.base.between(other.base, strength)
        assert isinstance(base, SiteLaw), "as both are"
        return Shifted(self.offset, base)

    def excess(self, origin: Tensor) -> Tensor:
        return self.base.excess(origin - self.offset)

    def log_excess(self, origin: Tensor) -> Tensor:
        return self.base.log_excess(origin - self.offset)

    def capped(self, most: Tensor) -> SiteLaw:
        return Shifted(self.offset, self.base.capped(most - self.offset))

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return Shifted(self.offset, self.base.multiplied(log_factor))


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

    def multiplied(self, log_factor: Tensor) -> SiteLaw:
        return Pinned(self.base.multiplied(log_factor), self.values, self.mask)

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
