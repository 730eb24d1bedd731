r"""Fitting a mixture of negative binomials to counts, by generalised EM.

A round takes responsibilities γ of all (q, k) for each row; for the profiles steps of iteratively
reweighted least squares, with weights γ/(r_j + s_q π_kj), which is exact for Poisson counts; for
the sizes Newton's steps in log r_j. It starts from EM of a mixture of multinomials. Each profile
is given half a count per feature in proportion to the pooled profile, so that no feature is
impossible; r lies within `SIZES`.

What makes it quick:

- depths lie on a grid, so that all sums over rows are products of matrices, in float32 for large
  tables: the scores by `count_tables`, and Σ γ x of each (q, k);
- rows are sorted by their totals, and a block of them meets only the depths that come into
  question for it, which the round before tells;
- what profiles and sizes need of the data is Σ γ x, Σ γ and how often each feature has each
  value, so that several steps of a round cost no look at the rows.

Values beyond `EXACT` are taken to 1 %, in the derivatives of log Γ(x + r) alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows, taken
from markovbridge.doors.randomness import generator
from markovbridge.exact.count_tables import BLOCK, CountTables, apart

SPACING, LEAST, MOST = 0.2, 8, 64  # of depths on a logarithmic scale, and how many
SIZES = (1e-3, 1e5)  # smallest and largest r
ROWS = 20_000  # rows that are fitted to, at most: of more, so many at random
AT_ONCE = 2**23  # numbers of a block of rows
KEPT = 2**26  # numbers of a table that stays dense in memory
EXACT = 100  # values up to which each is its own
FINE = 2**21  # numbers of a table that is worked with in float64
INNER = 2  # steps of profiles and sizes in a round
START = 15  # rounds of EM of the mixture of multinomials
FIRST = 4096  # rows that it is fitted to, at most
NEAR = 1.5  # how far depths may be from the totals of rows in the first round, in log
FAINT = 1e-8  # share of a block that makes a depth come into question


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a mixture consists of: see `CountMixture`.

    Attributes:
        log_weights: (Q, K) float64.
        depths: (Q,).
        profiles: (K, d).
        sizes: (d,).
    """

    log_weights: Tensor
    depths: Tensor
    profiles: Tensor
    sizes: Tensor

    def __post_init__(self) -> None:
        given, depths, profiles = vars(self), self.depths, self.profiles
        shapes = (*depths.shape, *profiles.shape[:1]), tuple(profiles.shape[1:])
        own = tuple(self.log_weights.shape), tuple(self.sizes.shape)
        if depths.ndim != 1 or profiles.ndim != 2 or own != shapes:
            told = ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
            raise ValueError(f"numbers are (Q, K), (Q,), (K, d) and (d,), not {told}")


class SortedCounts:
    """Rows that a mixture is fitted to, sorted by their totals.

    Args:
        x: Counts, (n, *event).
        most: Rows that are looked at, `ROWS` if None; of more, so many at random.
        seed: Of these.
        columns: Features that are looked at, rising; all if None.

    Attributes:
        columns: As given.
        total: Of each row, rising, (n,) float64.
        sum: Of each feature, (d,) float64.
        feature: A feature, for each of its values but 0, rising, (pairs,).
        value: The value, (pairs,) float64.
        times: How often the feature has it, (pairs,) float64.
    """

    def __init__(
        self,
        x: Tensor | Rows,
        most: int | None = None,
        seed: int = 0,
        columns: Tensor | None = None,
    ) -> None:
        most = ROWS if most is None else most
        if len(x) > most:
            order = torch.randperm(len(x), generator=generator("cpu", seed, "rows"))
            x = taken(x, order[:most].sort().values.to(x.device))
        self._x, self.columns = x, columns
        self._d = x.shape[1:].numel() if columns is None else len(columns)
        size = len(x) * self._d
        self._dtype = torch.float64 if size <= FINE else torch.float32
        self._order = torch.arange(len(x), device=x.device)
        self._dense: Tensor | None = None
        totals, self.sum, pairs = [], torch.zeros(self._d, dtype=torch.float64), []
        self.sum = self.sum.to(x.device)
        for _, block in self.blocks():
            totals.append(block.sum(1, dtype=torch.float64))
            self.sum += block.sum(0, dtype=torch.float64)
            pairs.append(_pairs(block))
        total = torch.cat(totals)
        self.total, self._order = total.sort(stable=True)
        key, times = _merged(pairs)
        self.feature, self.value, self.times = *_unpaired(key), times
        if size <= KEPT:
            self._dense = torch.cat([block for _, block in self.blocks()])

    def __len__(self) -> int:
        return len(self._order)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of rows, (rows, d), dense."""
        size = max(1, min(512, AT_ONCE // self._d))
        for first in range(0, len(self._order), size):
            part = slice(first, min(first + size, len(self._order)))
            yield part, self.rows(part)

    def rows(self, index: slice | Tensor) -> Tensor:
        """Some of the rows, in the order of their totals."""
        if self._dense is not None:
            return self._dense[index]
        found = self._x[self._order[index]].flatten(1)
        return (found if self.columns is None else found[:, self.columns]).to(self._dtype)


BASE, FINENESS = 2**12, 100.0  # of values in a key; bins of a factor e


def _pairs(block: Tensor) -> tuple[Tensor, Tensor]:
    """Keys of (feature, value) for all that is not 0, and how often each is there."""
    _, column = (index := block.nonzero(as_tuple=True))
    value = block[index].double()
    beyond = EXACT + ((value.clamp_min(EXACT) / EXACT).log() * FINENESS).round()
    code = torch.where(value <= EXACT, value, beyond).long()
    key, times = (column * BASE + code).unique(return_counts=True)
    return key, times.double()


def _unpaired(key: Tensor) -> tuple[Tensor, Tensor]:
    """Feature and value of a key."""
    code = (key % BASE).double()
    beyond = EXACT * ((code - EXACT) / FINENESS).exp()
    return key // BASE, torch.where(code <= EXACT, code, beyond)


def _merged(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Distinct keys of several blocks, and how often each is there."""
    keys, times = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    key, which = keys.unique(return_inverse=True)
    return key, torch.zeros(len(key), dtype=torch.float64, device=key.device).index_add_(
        0, which, times
    )


def fit(
    x: SortedCounts,
    components: int,
    *,
    size_factors: bool,
    rounds: int,
    tolerance: float,
    prior: float,
    seed: int,
    sizes: Tensor | None = None,
    start: Numbers | None = None,
) -> Numbers:
    """The numbers of a mixture; see `CountMixture.fit`.

    Args:
        x: The counts.
        components: Profiles.
        size_factors: Whether rows differ in depth.
        rounds: Of EM, at most.
        tolerance: Nats per row by which a round must be better, or fitting ends.
        prior: Counts that each profile is given per feature.
        seed: Of the rows that profiles start from.
        sizes: Where sizes start.
        start: Where all starts.
    """
    if start is None:
        start = _start(x, components, size_factors, prior, seed, sizes)
    model, depth = start, float(x.total.sum()) if size_factors else float(len(x))
    pooled = (x.sum + prior) / depth
    windows, before = None, -math.inf
    for _ in range(rounds):
        sums = _Sums.over(model, x, windows)
        if sums.nats - before < tolerance * len(x):
            break
        before, windows = sums.nats, sums.windows
        model = _improved(model, sums, x, prior, prior / pooled)
    return model


def widened(numbers: Numbers, narrow: SortedCounts, wide: SortedCounts, prior: float) -> Numbers:
    """Numbers for all features, of those that were fitted to some of them.

    Args:
        numbers: The numbers of some features.
        narrow: The rows that they were fitted to.
        wide: The same rows with all features, of which the others get their pooled profile.
        prior: Counts that a profile is given per feature.
    """
    total, columns = wide.total.sum(), narrow.columns
    share = narrow.total.sum() / total
    profiles = ((wide.sum + prior) / total).repeat(len(numbers.profiles), 1)
    sizes = torch.ones_like(wide.sum)
    profiles[:, columns], sizes[columns] = numbers.profiles * share, numbers.sizes
    return Numbers(numbers.log_weights, numbers.depths / share, profiles, sizes)


def _start(
    x: SortedCounts,
    components: int,
    size_factors: bool,
    prior: float,
    seed: int,
    sizes: Tensor | None,
) -> Numbers:
    """Depths from library sizes, profiles from a mixture of multinomials, sizes of 1."""
    depth = x.total.clamp_min(1) if size_factors else torch.ones_like(x.total)
    depths = torch.ones_like(depth[:1])
    if size_factors:
        low, high = float(depth[0].log()) - 0.5, float(depth[-1].log()) + 0.5
        count = min(MOST, max(LEAST, 1 + math.ceil((high - low) / SPACING)))
        depths = torch.linspace(low, high, count, dtype=torch.float64, device=depth.device).exp()
    pooled = (x.sum + prior) / depth.sum()
    shares, profiles = torch.ones_like(depth[:1]), pooled[None]
    if components > 1:
        shares, profiles = _multinomials(x, depth, pooled, components, prior, seed)
    nearest = (depth.log()[:, None] - depths.log()).abs().argmin(1)
    heights = torch.bincount(nearest, minlength=len(depths)).double() + 0.1
    weights = heights[:, None] * shares
    sizes = torch.ones_like(pooled) if sizes is None else sizes
    return Numbers((weights / weights.sum()).log(), depths, profiles, sizes)


def _multinomials(
    x: SortedCounts, depth: Tensor, pooled: Tensor, components: int, prior: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Weights (K,) and profiles (K, d) of a mixture of multinomials, by EM from rows."""
    order = torch.randperm(len(x), generator=generator("cpu", seed, "profiles"))
    order = order.to(depth.device)
    first, some = order[:components], order[: max(FIRST, components)].sort().values
    # A row alone is too sparse a profile: it counts as much as the pooled one.
    strength = depth[first, None]
    profiles = (x.rows(first).double() + strength * pooled) / (2 * strength)
    shares = torch.full_like(profiles[:, 0], 1 / components)
    for _ in range(START):
        counts, weights = torch.zeros_like(profiles), torch.zeros_like(shares)
        exposure = torch.zeros_like(shares)
        logs = (profiles / pooled).log()
        for part in some.split(512):
            rows, size = x.rows(part), depth[part]
            nats = (rows @ logs.mT.to(rows)).double() - size[:, None] * profiles.sum(1)
            gamma = (nats + shares.log()).softmax(1)
            counts += (gamma.mT.to(rows) @ rows).double()
            weights += gamma.sum(0)
            exposure += gamma.mT @ size
        shares = (weights + 1) / (len(some) + components)
        profiles = (counts + prior) / (exposure[:, None] + prior / pooled)
        profiles.clamp_min_(1e-30)
    return shares, profiles


@dataclass(frozen=True, eq=False)
class _Sums:
    """What a round of EM needs of the data.

    Attributes:
        nats: Log-likelihood, but for what no parameter enters.
        weights: Σ_i γ, (Q, K).
        counts: Σ_i γ x, (Q·K, d).
        windows: First and last depth that comes into question for each block of rows.
    """

    nats: float
    weights: Tensor
    counts: Tensor
    windows: list[tuple[int, int]]

    @classmethod
    def over(cls, model: Numbers, x: SortedCounts, windows: list[tuple[int, int]] | None) -> _Sums:
        tables = CountTables(model.log_weights, model.depths, model.profiles, model.sizes)
        (q, k), d = model.log_weights.shape, len(model.sizes)
        u, bend = tables.log_depths, None
        up, down = tables.linear(tables.centre)
        weights = torch.zeros(q * k, dtype=torch.float64, device=u.device)
        counts = torch.zeros(q * k, d, dtype=torch.float64, device=u.device)
        r, count, value = model.sizes[x.feature], x.times, x.value
        nats, found = float((count * (torch.lgamma(value + r) - torch.lgamma(r))).sum()), []
        for i, (part, rows) in enumerate(x.blocks()):
            if bend is None:
                bend = _bend(tables, rows.dtype)
            low, high = _near(u, x.total[part]) if windows is None else windows[i]
            own = slice(low * k, high * k)
            shift, each, rest = apart(rows.double(), None, up, down)
            line = (shift * u[low:high] + rest).unsqueeze(2) + each.unsqueeze(1)
            large = (rows + model.sizes.to(rows)) @ bend[own].mT
            joint = line.flatten(1) + large + model.log_weights[low:high].flatten()
            nats += float(joint.logsumexp(1).sum())
            gamma = joint.softmax(1)
            weights[own] += gamma.sum(0)
            counts[own] += gamma.mT.to(rows) @ rows
            seen = (gamma.sum(0).reshape(-1, k).sum(1) > FAINT * len(rows)).nonzero()
            first, last = low + int(seen[0]), low + int(seen[-1])
            found.append((max(0, first - 1), min(q, last + 2)))
        return cls(nats, weights.reshape(q, k), counts, found)


def _near(log_depths: Tensor, totals: Tensor) -> tuple[int, int]:
    """Depths that are near the totals of a block: the first, and the one after the last."""
    if len(log_depths) == 1:
        return 0, 1
    least, most = float(totals[0].clamp_min(1).log()), float(totals[-1].clamp_min(1).log())
    near = (log_depths > least - NEAR) & (log_depths < most + NEAR)
    places = near.nonzero()
    return int(places[0]), int(places[-1]) + 1


def _bend(tables: CountTables, dtype: torch.dtype) -> Tensor:
    """`bend` at all depths, (Q·K, d)."""
    (q, k), d = tables.log_weights.shape, len(tables.sizes)
    found = torch.empty(q, k, d, dtype=dtype, device=tables.sizes.device)
    for columns in _columns(q * k, d):
        bend, _ = tables.tables(tables.log_depths, tables.centre, columns)
        found[:, :, columns] = bend.to(dtype)
    return found.flatten(0, 1)


def _columns(rows: int, d: int) -> Iterator[slice]:
    """Blocks of features."""
    size = max(1, BLOCK // rows)
    for first in range(0, d, size):
        yield slice(first, min(first + size, d))


def _improved(model: Numbers, sums: _Sums, x: SortedCounts, prior: float, rest: Tensor) -> Numbers:
    """Better weights, profiles and sizes, given the sums; `rest` is the exposure of the prior."""
    shares = sums.weights + 0.1
    profiles, sizes = model.profiles.clone(), model.sizes.clone()
    many = sums.weights.unsqueeze(2)  # (Q, K, 1)
    depth = model.depths[:, None, None]
    for part in _columns(sums.weights.numel(), len(sizes)):
        counts = sums.counts[:, part].reshape(*sums.weights.shape, -1)
        ends = torch.tensor([part.start, part.stop], device=x.feature.device)
        first, last = torch.searchsorted(x.feature, ends).tolist()
        pairs = x.feature[first:last] - part.start, x.value[first:last], x.times[first:last]
        here, r = profiles[:, part], sizes[part]
        for _ in range(INNER):
            shrunk = r / (r + depth * here)
            exposure = (many * depth * shrunk).sum(0) + rest[part]
            here = ((counts * shrunk).sum(0) + prior) / exposure
            r = _resized(r, depth * here, counts, many, pairs)
        profiles[:, part], sizes[part] = here, r
    return Numbers((shares / shares.sum()).log(), model.depths, profiles, sizes)


def _resized(
    r: Tensor, means: Tensor, counts: Tensor, many: Tensor, pairs: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Sizes after a step in log r: Newton's where the likelihood is concave, else uphill."""
    feature, value, times = pairs
    own = r[feature]
    each = times * (torch.digamma(value + own) - torch.digamma(own))
    bent = times * (torch.polygamma(1, value + own) - torch.polygamma(1, own))
    inverse = (r + means).reciprocal()
    # Of r log(r/(r + m)) + x log(1/(r + m)), summed with weights γ.
    part = (many * r + counts) * inverse
    slope = (many * (1 - torch.log1p(means / r)) - part).sum((0, 1)).index_add(0, feature, each)
    bend = many * (1 / r - 2 * inverse) + part * inverse
    bend = bend.sum((0, 1)).index_add(0, feature, bent)
    slope = r * slope
    bend = slope + r * r * bend
    step = torch.where(bend < 0, -slope / bend, slope.sign()).nan_to_num(0.0).clamp(-1, 1)
    return (r.log() + step).exp().clamp(*SIZES)


doors.guard(__name__, inside=("fit", "widened"))
