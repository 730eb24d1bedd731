r"""Laws of units that give birth and die: how many descend from a number of them.

After a piece of time a unit has no descendants with probability α, and else n >= 1 of them with
probability (1 - β) β^(n-1) (Kendall 1948, https://doi.org/10.1214/aoms/1177730285). Of C units
those that have descendants are the founders; with k of them

    P(n, k | C)  =  C(C, k) (1 - α)^k α^(C-k) · C(n-1, k-1) (1 - β)^k β^(n-k).

Between a count y, from which all descend, and a count x two pieces later, let k of the y be
founders of x. What descends from them and has descendants in x grows from k to x as a pure birth
process does (the reconstructed process; Nee, May and Harvey 1994,
https://doi.org/10.1098/rstb.1994.0068), so that births come independently between given ends. All
others die out, and are geometric in number again. With primes for the second piece, no mark for
both, and g = β/(1 - β), the count in between is

    z  =  M + J + NB(size M + J + k, mean (M + J + k) g₁ α'(1 + g')/(1 + g))
    M  =  k + Binomial(x - k, g₁ (1 - α')/g)          born before, with descendants in x
    J  =      Binomial(y - k, (1 - α₁) g'/g)          of the others, those with descendants at z

which makes a draw a handful of binomials and a negative binomial, given k. Its weights are
log-concave in k, with log-ratios that fall by 2/k and more: seven roots of the mode and 20 more to
each side leave less than 1e-16.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.base import SiteLaw
from markovbridge.laws.counts import Binomial, NegativeBinomial
from markovbridge.laws.numbers import within
from markovbridge.laws.tables import BLOCK, Categorical

LOOKED_UP = 2**20  # largest count whose factorials are kept in a table


@dataclass(frozen=True, eq=False)
class Piece:
    """What becomes of a unit in a piece of time. All are broadcastable to the counts.

    Attributes:
        extinct: α, the probability that it has no descendants.
        surviving: 1 - α.
        growth: g = β/(1 - β), the mean number of further descendants if it has one.
    """

    extinct: Tensor
    surviving: Tensor
    growth: Tensor

    def doubled(self) -> tuple[Tensor, Tensor, Tensor]:
        """All three in float64."""
        return self.extinct.double(), self.surviving.double(), self.growth.double()


def _reach(mode: float) -> int:
    """How far from the mode there may be founders."""
    return math.ceil(7 * math.sqrt(mode)) + 20


def founders(
    descendants: Tensor, count: Tensor, piece: tuple[Tensor, Tensor, Tensor], given: Tensor
) -> tuple[Tensor, Tensor]:
    """How many of the units have descendants, given how many of either there are.

    Args:
        descendants: Counts after the time, (...).
        count: Counts before it, likewise.
        piece: α, 1 - α and g, float64, broadcastable.
        given: Where the factor (1 - α)(1 - β) of the first founder is left out, which is 0 where
            all die out for sure.

    Returns:
        Numbers of founders and their joint log-probabilities with the descendants, (..., W).
    """
    extinct, surviving, growth = (part.expand(count.shape).unsqueeze(-1) for part in piece)
    x, y = descendants.unsqueeze(-1), count.unsqueeze(-1)
    single, more = surviving / (1 + growth), growth / (1 + growth)
    most = torch.minimum(x, y).clamp_min(0)
    largest = int(most.max()) if most.numel() else 0
    # Where one founder more is as likely: (y - k)(x - k) = ι k (k + 1).
    iota = (extinct * more / single).nan_to_num(nan=0.0).clamp_max(1e18)
    total, product = (x + y + iota), x.double() * y
    root = (total**2 - 4 * (1 - iota) * product).clamp_min(0).sqrt()
    mode = (2 * product / (total + root).clamp_min(1e-30)).floor()
    mode = torch.minimum(mode.clamp_min(0).to(torch.int64), most)
    reach = _reach(float(mode.max())) if mode.numel() else 0
    if 2 * reach >= largest:
        k = torch.arange(largest + 1, device=count.device).expand(*count.shape, -1)
    else:
        k = mode + torch.arange(-reach, reach + 1, device=count.device)
    # Without descendants there are no founders, and with some there is one at least.
    possible = (k >= (x > 0)) & (k <= most) & (x >= 0)
    few = torch.where(possible, k, 0)
    tables = int(torch.maximum(x, y).max()) if x.numel() else 0
    table = None
    if tables <= LOOKED_UP:
        table = torch.lgamma(torch.arange(tables + 2, device=k.device, dtype=torch.float64) + 1)

    def factorial(n: Tensor) -> Tensor:
        n = n.clamp_min(0)
        return torch.lgamma(n.double() + 1) if table is None else table[n]

    joint = (
        factorial(y)
        - factorial(few)
        - factorial(y - few)
        + factorial(x - 1)
        - factorial(few - 1)
        - factorial(x - few)
        + torch.xlogy(few - (given.unsqueeze(-1) & (few > 0)).to(few.dtype), single)
        + torch.xlogy((y - few).clamp_min(0), extinct)
        + torch.xlogy((x - few).clamp_min(0), more)
    )
    return few, torch.where(possible, joint, -math.inf)


def _by_blocks(
    ask: Callable[..., Tensor], piece: Piece, x: Tensor, y: Tensor, given: Tensor
) -> Tensor:
    """What is made of the founders of each site, in blocks of bounded memory.

    Args:
        ask: Of numbers of founders and log-probabilities, (n, W), makes (n, ...).
        piece: The piece of time.
        x: Descendants, (...).
        y: Counts before, likewise.
        given: As for `founders`.
    """
    most = int(torch.minimum(x, y).clamp_min(0).max()) if x.numel() else 0
    rows = max(1, BLOCK // min(most + 1, 2 * _reach(most) + 1))
    fields = (x, y, given, *piece.doubled())
    flat = [field.expand(x.shape).reshape(-1).split(rows) for field in fields]
    parts = [ask(*founders(a, b, tuple(p), c)) for a, b, c, *p in zip(*flat, strict=True)]
    return torch.cat(parts).reshape(*x.shape, *parts[0].shape[1:])


def _total(k: Tensor, joint: Tensor) -> Tensor:
    return joint.logsumexp(-1)


def log_descendants(piece: Piece, count: Tensor, x: Tensor, given: Tensor) -> Tensor:
    """Log-probability of x descendants of so many units, float64.

    Without the factor (1 - α)(1 - β) of one founder where that is `given`.
    """
    count, x, given = torch.broadcast_tensors(count, x, given)
    return _by_blocks(_total, piece, x, count, given)


def _moments(k: Tensor, joint: Tensor) -> Tensor:
    peak = joint.amax(-1, keepdim=True)
    weights = (joint - peak.nan_to_num(neginf=0.0)).exp()
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-300)
    mean = (weights * k).sum(-1)
    variance = (weights * (k - mean.unsqueeze(-1)) ** 2).sum(-1)
    return torch.stack([mean, variance], -1)


def founder_moments(piece: Piece, count: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the founders, float64; 0 where x cannot descend from the count."""
    mean, variance = _by_blocks(_moments, piece, x, count, x > 0).unbind(-1)
    return mean, variance


def _more(k: Tensor, growth: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws of as many geometric numbers of this mean."""
    log_mean = (k * growth.double()).log()
    size = k.clamp_min(1).double()
    return NegativeBinomial(log_mean, size).sample(generator=generator)


@dataclass(frozen=True, eq=False)
class Descendants(SiteLaw):
    """How many descend from a number of units after a piece of time.

    Attributes:
        count: The units, integer, (batch, *event).
        piece: What becomes of each.
    """

    count: Tensor
    piece: Piece

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        k = Binomial(self.count, self.piece.surviving).sample(generator=generator)
        return k + _more(k, self.piece.growth, generator)

    def site_log_prob(self, x: Tensor) -> Tensor:
        none = torch.zeros_like(x, dtype=torch.bool)
        log = log_descendants(self.piece, self.count, x.clamp_min(0), none)
        return within(x >= 0, log.to(self.mean.dtype))

    @property
    def mean(self) -> Tensor:
        return self.count * (self.piece.surviving * (1 + self.piece.growth))

    @property
    def variance(self) -> Tensor:
        g = self.piece.growth
        return self.mean * (g + (1 + g) * self.piece.extinct)

    @property
    def window(self) -> tuple[Tensor, Tensor]:
        # Chernoff: at most E[s^n] s^-w lies from w on, here e^-41, with s = β^(-1/2).
        extinct, surviving, growth = self.piece.doubled()
        root = (growth / (1 + growth)).sqrt().clamp_min(1e-8)
        each = (extinct + surviving * (1 + root) / root).log()
        most = (41 + self.count * each) / -root.log()
        return torch.zeros_like(self.count), most.ceil().long().expand(self.count.shape)


@dataclass(frozen=True, eq=False)
class LineageBridge(SiteLaw):
    """A count of units that give birth and die, between two counts: see the module.

    Attributes:
        start: Count after both pieces, (batch, *event).
        end: Count before them, from which all descend.
        first: From `end` to the time asked for.
        second: From there to `start`.
        whole: Both.
    """

    start: Tensor
    end: Tensor
    first: Piece
    second: Piece
    whole: Piece

    def _chances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Chances that a birth lies in the first piece; that another lives; that one passes."""
        _, first_surviving, first = self.first.doubled()
        extinct, surviving, second = self.second.doubled()
        growth = self.whole.growth.double()
        some = torch.where(growth > 0, growth, 1.0)
        born = torch.where(growth > 0, first * surviving / some, 0.0)
        lived = torch.where(growth > 0, first_surviving * second / some, 0.0)
        passing = first * extinct * (1 + second) / (1 + growth)
        return born, lived, passing

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        def draw(k: Tensor, joint: Tensor) -> Tensor:
            index = Categorical(joint).sample(generator=generator).unsqueeze(-1)
            return k.gather(-1, index).squeeze(-1)

        k = _by_blocks(draw, self.whole, self.start, self.end, self.start > 0)
        born, lived, passing = self._chances()
        m = k + Binomial(self.start - k, born).sample(generator=generator)
        m = m + Binomial(self.end - k, lived).sample(generator=generator)
        return m + _more(m + k, passing, generator)

    def site_log_prob(self, x: Tensor) -> Tensor:
        given, z = self.start > 0, x.clamp_min(0)
        log = (
            log_descendants(self.first, self.end, z, given)
            + log_descendants(self.second, z, self.start, given)
            - log_descendants(self.whole, self.end, self.start, given)
        )
        first, second, whole = (
            part.growth.double().log1p() for part in (self.first, self.second, self.whole)
        )
        log = log + torch.where(given, 2 * (whole - first - second), 0.0)
        return within((x >= 0) & ~(given & (z == 0)), log.to(self.whole.growth.dtype))

    @property
    def mean(self) -> Tensor:
        k, _ = founder_moments(self.whole, self.end, self.start)
        born, lived, passing = self._chances()
        m = k + (self.start - k) * born + (self.end - k) * lived
        return (m + (m + k) * passing).to(self.whole.growth.dtype)

    @property
    def variance(self) -> Tensor:
        k, spread = founder_moments(self.whole, self.end, self.start)
        born, lived, passing = self._chances()
        m = k + (self.start - k) * born + (self.end - k) * lived
        each = (self.start - k) * born * (1 - born) + (self.end - k) * lived * (1 - lived)
        within_k = (1 + passing) * (passing * (m + k) + (1 + passing) * each)
        slope = (1 - born - lived) * (1 + passing) + passing
        return (within_k + slope**2 * spread).to(self.whole.growth.dtype)


doors.guard(__name__, inside=("founder_moments", "founders", "log_descendants"))
