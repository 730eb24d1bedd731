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

import math
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.exact.count_tables import BLOCK, LEAST, CountTables, apart

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
        self._last: tuple[Tensor, list[tuple[_Panel, Tensor, Tensor, Between]]] | None = None

    def score(self, x: Tensor, log_kept: Tensor, on: Tensor | None) -> Tensor:
        """As `CountTables.score`."""
        shape = self._tables.log_weights.shape
        found = torch.empty((len(x), *shape), dtype=torch.float64, device=x.device)
        for panel, rows, u, (between, scale) in self._groups(log_kept):
            mask = None if on is None else on[rows]
            seen = x[rows].double()
            if mask is not None:
                seen *= mask
            each = (between @ panel.score(seen, mask)).div_(scale)
            kept = u[:, 0] - self._tables.log_depths[0]
            found[rows] = each - (kept * seen.sum(1))[:, None, None]
        return found

    def ratio(self, weights: Tensor, log_kept: Tensor) -> Tensor:
        """As `CountTables.ratio` of the first power, in the type of the products."""
        shape = len(weights), len(self._tables.sizes)
        found = torch.empty(shape, dtype=self._dtype, device=weights.device)
        for panel, rows, u, (between, scale) in self._groups(log_kept):
            own = weights[rows] * (panel.lifted(u).unsqueeze(2) / scale)
            spread = (between.mT @ own).flatten(1).to(self._dtype)
            kept = (self._tables.log_depths[0] - u[:, :1]).exp()
            found[rows] = (spread @ panel.ratio).mul_(kept.to(self._dtype))
        return found

    def _groups(self, log_kept: Tensor) -> list[tuple[_Panel, Tensor, Tensor, Between]]:
        """Panels, the rows in each, u at their depths, and the way there; the last are kept."""
        if self._last is not None and self._last[0] is log_kept:
            return self._last[1]
        groups, kept = [], log_kept.clamp_min(self._least)
        edges = torch.tensor(self._edges, dtype=torch.float64, device=kept.device)
        which = (kept.unsqueeze(1) < edges).sum(1)
        for i, panel in enumerate(self._panels):
            rows = (which == i).nonzero().squeeze(1)
            if len(rows):
                u = kept[rows].unsqueeze(1) + self._tables.log_depths
                groups.append((panel, rows, u, panel.between(u)))
        self._last = log_kept, groups
        return groups


class _Panel:
    """Tables at Chebyshev's points of a range of u.

    Attributes:
        ratio: sigmoid(z) exp(-θ(u - u_0)), (points·K, d): of about one size along u, so that
            what is small keeps its digits.
    """

    def __init__(
        self, tables: CountTables, u: Tensor, at: float, lift: float, dtype: torch.dtype
    ) -> None:
        device, shape = tables.tilt.device, (len(u), *tables.tilt.shape)
        self._up, self._down = tables.linear(at)
        self._sizes, self._u = tables.sizes.to(dtype), u.to(device)
        self._lift, self._at = lift, at
        bend = torch.empty(shape, dtype=dtype, device=device)
        ratio = torch.empty_like(bend)
        for part in torch.arange(len(u)).split(max(1, BLOCK // tables.tilt.numel())):
            places = slice(int(part[0]), int(part[-1]) + 1)
            level, share = tables.tables(self._u[places], at, slice(None))
            share /= self.lifted(self._u[places])[:, None, None]
            bend[places], ratio[places] = level.to(dtype), share.to(dtype)
        self._bend, self.ratio = bend.flatten(0, 1).mT.contiguous(), ratio.flatten(0, 1)
        self._none = tables.sizes @ self._bend.double()  # what rows without counts have
        # Of the barycentric formula: alternating, half at the ends.
        self._signs = (-1.0) ** torch.arange(len(u), dtype=torch.float64, device=device)
        self._signs[[0, -1]] *= 0.5

    def lifted(self, u: Tensor) -> Tensor:
        """Exp(θ(u - u_0))."""
        return (self._lift * (u - self._at)).exp()

    def score(self, seen: Tensor, on: Tensor | None) -> Tensor:
        """Scores at the points, for p that is left in: (n, points, K) float64."""
        mask = None if on is None else on.double()
        shift, own, rest = apart(seen, mask, self._up, self._down)
        found = self._bent(seen, on).reshape(len(seen), len(self._u), -1) + own.unsqueeze(1)
        return found.add_((shift * self._u + rest).unsqueeze(2))

    def _bent(self, seen: Tensor, on: Tensor | None) -> Tensor:
        """Σ_j (x + r) bend, (n, points·K): the large product, of few counts by themselves."""
        few = seen.to(self._sizes.dtype)
        if on is None and seen.device.type == "cpu":
            row, site = few.nonzero(as_tuple=True)
            if len(row) < SPARSE * few.numel():
                first = torch.searchsorted(row, torch.arange(len(few)))
                sums = torch.nn.functional.embedding_bag(
                    site, self._bend, first, mode="sum", per_sample_weights=few[row, site]
                )
                return sums + self._none
        few = few + self._sizes
        return (few if on is None else few.mul_(on)) @ self._bend

    def between(self, u: Tensor) -> Between:
        """What takes values at the points to those at each u, by the barycentric formula.

        Returns:
            Weights (n, Q, points) float64, and what to divide by, (n, Q, 1).
        """
        away = u.unsqueeze(2) - self._u
        weights = self._signs / away.add_(1e-250)  # at a point itself
        return weights, weights.sum(2, keepdim=True)


def _points(low: float, high: float) -> Tensor:
    """Chebyshev's points of a range, rising, so many as are needed."""
    half = (high - low) / 2
    base = math.pi / half
    count = math.ceil(-math.log(ERROR) / math.log(base + math.sqrt(1 + base**2)))
    places = torch.arange(count, -1, -1, dtype=torch.float64) * (math.pi / count)
    return (low + high) / 2 + half * places.cos()


doors.guard(__name__)
