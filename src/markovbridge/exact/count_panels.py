r"""Scores and means of thinned counts where each row has a p of its own, by interpolation.

All that is asked of a row is a function of u = log p + log s, at its Q depths, as smooth as a
logistic. So log p is cut into a few panels, and for each of them functions are tabulated at
Chebyshev's points of the range of u that its rows may have. Scores of a row are made there, all
in one product of matrices, and the polynomial through them is read off at its depths; means go
back the same way: weights are spread over the points, and a product with the table of sigmoid(z)
follows.

A logistic has its poles at ±iπ. On a range of 2L the polynomial through n points errs by about
ρ^-n, with ρ = π/L + sqrt(1 + (π/L)²) (Trefethen, Approximation Theory and Approximation Practice,
chapter 8), from which n is chosen. Below the last panel nothing is seen of a row but what says
the same under all p.
"""

from __future__ import annotations

import copy
import math
import threading
import weakref
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.exact.count_tables import BLOCK, LEAST, CountTables

EDGES = (0.0, -2.0, -7.0)  # of log p, where panels begin
LIFTS = (0.5, 0.5, 1.0)  # θ of each panel: how fast means grow along u
ERROR = 1e-6  # of the polynomials
WIDE = 2**24  # entries of a table beyond which it is in float32
SPARSE = 0.15  # share of counts that are not 0 below which others are left out
FAINT = 1e-6  # m/r, and expected units of a row, below which p makes no difference


Between = tuple[Tensor, Tensor]
"""Weights of the barycentric formula, and their sums."""


class CountPanels:
    """Tables of a mixture that serve every p.

    Args:
        tables: The mixture.
        dtype: Of the large products; float32 for tables that are too large in float64.
    """

    def __init__(self, tables: CountTables, dtype: torch.dtype) -> None:
        means = (tables.log_depths.max() + tables.tilt).exp()
        most = max(1.0, float(means.max()), float((means * tables.sizes).sum(1).max()))
        self._least = max(LEAST, math.log(FAINT / most))
        edges = [*(edge for edge in EDGES if edge > self._least), self._least]
        ends = [
            (float(low + tables.log_depths.min()), float(high + tables.log_depths.max()))
            for high, low in pairwise(edges)
        ]
        points = [_points(low, high) for low, high in ends]
        large = sum(map(len, points)) * tables.tilt.numel() > WIDE
        self._dtype = torch.float32 if large else dtype
        self._tables, self._edges = tables, edges[1:-1]
        self._panels = [
            _Panel(tables, u, tables.centre + sum(pair) / 2, lift, self._dtype)
            for u, pair, lift in zip(points, pairwise(edges), LIFTS[-len(points) :], strict=True)
        ]
        self._down = torch.cat([panel.down for panel in self._panels], 1)
        self._ends = self._panels[0].between(tables.log_depths[None])  # where p is 1
        self._last: tuple[Tensor, list[tuple[int, tuple[Tensor, Tensor, Between]]]] | None = None

    def score(
        self, x: Tensor, log_kept: Tensor, known: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """As `CountTables.score`."""
        found = torch.empty((len(x), *self._tables.log_weights.shape), dtype=torch.float64)
        found = found.to(x.device)
        told = None if known is None else _Told(self._panels, self._down, *known)
        seen = _Counts(x if known is None else x.masked_fill(known[1], 0))
        for i, (rows, u, there) in self._groups(log_kept):
            each = self._panels[i].score(seen.of(rows))
            if told is not None:
                told.take(each, i, rows)
            kept = u[:, 0] - self._tables.log_depths[0]
            found[rows] = _read(each, there) - (kept * seen.units[rows])[:, None, None]
        if told is not None:
            told.add(found, self._ends)
        return found

    def ratio(self, weights: Tensor, log_kept: Tensor) -> Tensor:
        """As `CountTables.ratio` of the first power, in the type of the products."""
        shape = len(weights), len(self._tables.sizes)
        found = torch.empty(shape, dtype=self._dtype, device=weights.device)
        for i, (rows, u, (between, scale)) in self._groups(log_kept):
            panel = self._panels[i]
            own = weights[rows] * (panel.lifted(u).unsqueeze(2) / scale)
            spread = (between.mT @ own).flatten(1).to(self._dtype)
            kept = (self._tables.log_depths[0] - u[:, :1]).exp()
            found[rows] = (spread @ panel.ratio).mul_(kept.to(self._dtype))
        return found

    def _groups(self, log_kept: Tensor) -> list[tuple[int, tuple[Tensor, Tensor, Between]]]:
        """Panels, the rows in each, u at their depths, and the way there; the last are kept."""
        last = self._last  # read once: another thread may ask as well
        if last is not None and last[0] is log_kept:
            return last[1]
        groups, kept = [], log_kept.clamp_min(self._least)
        edges = torch.tensor(self._edges, dtype=torch.float64, device=kept.device)
        which = (kept.unsqueeze(1) < edges).sum(1)
        for i, panel in enumerate(self._panels):
            rows = (which == i).nonzero().squeeze(1)
            if len(rows):
                u = kept[rows].unsqueeze(1) + self._tables.log_depths
                groups.append((i, (rows, u, panel.between(u))))
        self._last = log_kept, groups
        return groups


class MadeTables:
    """All that is made of the numbers of a mixture.

    What it answers never changes and it is large, so copies of a law, such as that of averaged
    weights, hold the same one: `MadeTables.of` finds it.

    Args:
        numbers: Log-weights, depths, profiles and sizes, as `CountTables` takes them.

    Attributes:
        tables: At given p.
    """

    def __init__(self, numbers: Sequence[Tensor]) -> None:
        self._numbers = [value.detach().clone() for value in numbers]
        self.tables = CountTables(*self._numbers)
        self._panels: dict[torch.dtype, CountPanels] = {}

    @classmethod
    def of(cls, numbers: Sequence[Tensor]) -> MadeTables:
        """Those of these numbers, of any law that is alive, or new ones."""
        with _lock:
            for one in _alive:
                if one._has(numbers):
                    return one
            made = cls(numbers)
            _alive.add(made)
            return made

    def _has(self, numbers: Sequence[Tensor]) -> bool:
        return all(
            a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
            for a, b in zip(self._numbers, numbers, strict=True)
        )

    def panels(self, dtype: torch.dtype) -> CountPanels:
        """Tables for many times, of products in this type, made when they are first asked for."""
        if dtype not in self._panels:
            self._panels[dtype] = CountPanels(self.tables, dtype)
        return self._panels[dtype]


_alive: weakref.WeakSet[MadeTables] = weakref.WeakSet()
_lock = threading.Lock()


class _Panel:
    """Tables at Chebyshev's points of a range of u.

    Attributes:
        sizes: r, (d,) in the type of the products.
        down: What the linear part takes off for each site, (d, K + 2) float64.
        ratio: sigmoid(z) exp(-θ(u - u_0)), (points·K, d): of about one size along u, so that
            what is small keeps its digits.
    """

    def __init__(
        self, tables: CountTables, u: Tensor, at: float, lift: float, dtype: torch.dtype
    ) -> None:
        device, shape = tables.tilt.device, (len(u), *tables.tilt.shape)
        self._up, self.down = tables.linear(at)
        self.sizes, self._u = tables.sizes.to(dtype), u.to(device)
        self._lift, self._at = lift, at
        bend = torch.empty(shape, dtype=dtype, device=device)
        ratio = torch.empty_like(bend)
        none = torch.empty(shape[:2], dtype=torch.float64, device=device)
        for part in torch.arange(len(u)).split(max(1, BLOCK // tables.tilt.numel())):
            places = slice(int(part[0]), int(part[-1]) + 1)
            level, share = tables.tables(self._u[places], at, slice(None))
            share /= self.lifted(self._u[places])[:, None, None]
            bend[places], ratio[places] = level.to(dtype), share.to(dtype)
            none[places] = bend[places].double() @ tables.sizes
        self._bend, self.ratio = bend.flatten(0, 1).mT.contiguous(), ratio.flatten(0, 1)
        # What rows without counts have.
        self._none, self._off = none.flatten(), self.down.sum(0)
        # Of the barycentric formula: alternating, half at the ends.
        self._signs = (-1.0) ** torch.arange(len(u), dtype=torch.float64, device=device)
        self._signs[[0, -1]] *= 0.5

    def lifted(self, u: Tensor) -> Tensor:
        """Exp(θ(u - u_0))."""
        return (self._lift * (u - self._at)).exp()

    def score(self, seen: _Counts) -> Tensor:
        """Scores of counts of all sites at the points, for p that is left in: (n, points, K)."""
        line = seen.plain.double() @ self._up - self._off
        if seen.few:
            return self.joined(line, seen @ self._bend + self._none)
        return self.joined(line, (seen.plain.to(self.sizes.dtype) + self.sizes) @ self._bend)

    def counted(self, seen: _Counts) -> Tensor:
        """What counts add to the score of a row without them."""
        return self.joined(seen @ self._up, seen @ self._bend)

    def share(self, line: Tensor, weighed: Tensor) -> Tensor:
        """What some sites have in the score of a row without counts.

        Args:
            line: 1 for these sites and 0 for the others, (n, d), times `down`.
            weighed: Sizes of these sites and 0 for the others, (n, d) in the type of products.
        """
        return self.joined(-line, weighed @ self._bend)

    def joined(self, line: Tensor, bent: Tensor) -> Tensor:
        """Linear and bent parts together, (n, points, K) float64."""
        found = bent.double().unflatten(1, (len(self._u), line.shape[1] - 2))
        found = found + line[:, None, 1:-1]
        return found.add_((line[:, :1] * self._u + line[:, -1:]).unsqueeze(2))

    def between(self, u: Tensor) -> Between:
        """What takes values at the points to those at each u, by the barycentric formula.

        Returns:
            Weights (n, Q, points) float64, and what to divide by, (n, Q, 1).
        """
        away = u.unsqueeze(2) - self._u
        weights = self._signs / away.add_(1e-250)  # at a point itself
        return weights, weights.sum(2, keepdim=True)


class _Counts:
    """Counts that tables are multiplied by, few of them by themselves.

    Args:
        seen: (n, d).

    Attributes:
        plain: As given.
        units: Of each row, (n,) float64.
    """

    def __init__(self, seen: Tensor) -> None:
        self.units, self.plain = seen.sum(1, dtype=torch.float64), seen
        self._sparse: tuple[Tensor, Tensor, Tensor] | None = None  # site, count, how many a row
        if seen.device.type == "cpu":
            row, site = seen.nonzero(as_tuple=True)
            if len(row) < SPARSE * seen.numel():
                many = torch.bincount(row, minlength=len(seen))
                self._row, self._sparse = row, (site, seen[row, site], many)

    @property
    def few(self) -> bool:
        """Whether few of them are not 0."""
        return self._sparse is not None

    def of(self, rows: Tensor) -> _Counts:
        """Some of the rows, rising."""
        some = copy.copy(self)
        some.units, some.plain = self.units[rows], self.plain[rows]
        if self._sparse is not None:
            site, count, many = self._sparse
            inside = torch.zeros(len(many), dtype=torch.bool)
            inside[rows] = True
            own = inside[self._row]
            some._sparse = site[own], count[own], many[rows]
        return some

    def __matmul__(self, table: Tensor) -> Tensor:
        """Counts times a table (d, columns), in its type."""
        if self._sparse is None:
            return self.plain.to(table.dtype) @ table
        site, count, many = self._sparse
        first = many.cumsum(0) - many
        return torch.nn.functional.embedding_bag(
            site, table, first, mode="sum", per_sample_weights=count.to(table.dtype)
        )


class _Told:
    """What known ends of sites say, and what is then not to be said of these.

    The mask is multiplied by the first panel once, which serves ends and most of the times.

    Args:
        panels: All of them; p = 1 lies in the first.
        down: `down` of all panels, beside one another.
        values: Ends, (n, d).
        mask: Which sites are known, (n, d) bool.
    """

    def __init__(self, panels: list[_Panel], down: Tensor, values: Tensor, mask: Tensor) -> None:
        self._panels, self._rows = panels, mask.any(1).nonzero().squeeze(1)
        self._place = torch.full((len(mask),), -1, device=mask.device)
        self._place[self._rows] = torch.arange(len(self._rows), device=mask.device)
        mask = mask[self._rows]
        self._lines = (mask.double() @ down).chunk(len(panels), 1)
        self._weighed = mask.to(panels[0].sizes.dtype).mul_(panels[0].sizes)
        self._first = panels[0].share(self._lines[0], self._weighed)
        self._values = _Counts(values[self._rows].mul_(mask))

    def take(self, each: Tensor, i: int, rows: Tensor) -> None:
        """Take what known sites have without counts off the scores of some rows in a panel."""
        place = self._place[rows]
        own = (place >= 0).nonzero().squeeze(1)
        place = place[own]
        if i == 0:
            each[own] -= self._first[place]
        else:
            each[own] -= self._panels[i].share(self._lines[i][place], self._weighed[place])

    def add(self, found: Tensor, ends: Between) -> None:
        """Add the score of the ends, read off at p = 1."""
        found[self._rows] += _read(self._panels[0].counted(self._values).add_(self._first), ends)


def _read(each: Tensor, there: Between) -> Tensor:
    """Values at the points read off elsewhere."""
    between, scale = there
    return (between @ each).div_(scale)


def _points(low: float, high: float) -> Tensor:
    """Chebyshev's points of a range, rising, so many as are needed."""
    half = (high - low) / 2
    base = math.pi / half
    count = math.ceil(-math.log(ERROR) / math.log(base + math.sqrt(1 + base**2)))
    places = torch.arange(count, -1, -1, dtype=torch.float64) * (math.pi / count)
    return (low + high) / 2 + half * places.cos()


doors.guard(__name__)
