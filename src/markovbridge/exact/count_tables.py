r"""What a mixture of negative binomials says of thinned counts: scores and means by products.

Under survival p the mean of component (q, k) is m = p s_q π_kj and the size r_j stays. With

    z_qkj  =  u + a_kj,    u = log p + log s_q,    a = log π - log r,

log NB(x; m, r) is, but for what q and k do not enter, x z - (x + r) softplus(z), and the mean of
what was lost asks for sigmoid(z) = m/(r + m). Both are functions of u alone, so that tables over u
serve every depth and every p, and all scores are one product of matrices.

**Digits.** The terms of a row cancel: x z is of the size of the total times log m. So from
-softplus(z) is taken its tangent at a typical z̄_j, that of the pooled profile at a u nearby,

    bend_kj(u)  =  β_j z + γ_j - softplus(z)  <=  0,    β = sigmoid(z̄),

which vanishes there to second order; what is left is linear in u and a, a product with K + 2
columns in float64. Then float32 will do in the large product, to counts of 10^6.

**Two ways.** Where few times are asked for of few components, tables are made at their p, in
float64. Where each row has its own time, as in training, or components are more than the points
of tables that serve every p, `count_panels` has these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors

FEW = 4  # distinct times for which tables are made at their p
MOST = 256  # components of which they are made, about as many as tables for every p have points
ROWS = 1024  # rows at once
BLOCK = 2**21  # entries of a table that is made at once
LEAST = -69.0  # log of the least p, about 1e-30


class CountTables:
    """The numbers of a mixture, and tables of them at given p.

    Args:
        log_weights: log w, (Q, K), normalised.
        depths: s, (Q,).
        profiles: π, (K, d).
        sizes: r, (d,).
    """

    def __init__(
        self, log_weights: Tensor, depths: Tensor, profiles: Tensor, sizes: Tensor
    ) -> None:
        self.log_weights, self.sizes = log_weights.double(), sizes.double()
        self.log_depths = depths.double().log()
        self.tilt = profiles.double().log() - self.sizes.log()  # a, (K, d)
        weights = self.log_weights.exp()
        self.centre = float((weights.sum(1) * self.log_depths).sum())
        self._pooled = (weights.sum(0) @ profiles.double()).log() - self.sizes.log()
        self._made: dict[float, tuple[Tensor, Tensor]] = {}

    def few(self, log_kept: Tensor) -> bool:
        """Whether so many times are few enough for tables at each p, and so are components."""
        if self.log_weights.numel() > MOST:
            return False
        return len(log_kept) <= FEW or len(log_kept.unique()) <= FEW

    def score(
        self, x: Tensor, log_kept: Tensor, known: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Log Π_j NB(x_j; p s_q π_kj, r_j)/p^x, but for Γ(x + r)/(Γ(r) x!): (n, Q, K) float64.

        Args:
            x: Counts, (n, d).
            log_kept: log p, (n,) float64.
            known: Counts of p = 1 and which sites have them in place of x, (n, d) both.
        """
        if known is None:
            return self._score(x, log_kept, None)
        values, mask = known
        ends = self._score(values, torch.zeros_like(log_kept), mask)
        return ends + self._score(x, log_kept, ~mask)

    def _score(self, x: Tensor, log_kept: Tensor, on: Tensor | None) -> Tensor:
        """Scores of the sites that are `on`, (n, d) bool; of all if None."""
        shape = self.log_weights.shape
        found = torch.empty((len(x), *shape), dtype=torch.float64, device=x.device)
        for p, rows in _alike(log_kept.clamp_min(LEAST)):
            u = p + self.log_depths
            up, down = self.linear(p + self.centre)
            for part in rows.split(ROWS):
                mask = None if on is None else on[part].double()
                seen = x[part].double() if mask is None else x[part] * mask
                shift, own, rest = apart(seen, mask, up, down)
                large = torch.zeros(len(part), self.log_weights.numel(), dtype=torch.float64)
                large = large.to(x.device)
                for columns in self._columns():
                    bend, _ = self._at(p, columns)
                    here = seen[:, columns] + self.sizes[columns]
                    if mask is not None:
                        here = here * mask[:, columns]
                    large = large + here @ bend.mT
                line = shift * u + rest - p * seen.sum(1, keepdim=True)  # (n, Q)
                found[part] = line.unsqueeze(2) + own.unsqueeze(1) + large.reshape(-1, *shape)
        return found

    def ratio(self, weights: Tensor, log_kept: Tensor, power: int = 1) -> Tensor:
        """Σ_qk weight (s π/(r + p s π))^power: (n, d) float64.

        Args:
            weights: Of the components, (n, Q, K) float64.
            log_kept: log p, (n,) float64.
            power: 1 or 2.
        """
        flat = weights.flatten(1)
        found = torch.empty(len(flat), len(self.sizes), dtype=torch.float64, device=flat.device)
        for p, rows in _alike(log_kept.clamp_min(LEAST)):
            for columns in self._columns():
                _, ratio = self._at(p, columns)
                found[rows, columns] = flat[rows] @ (ratio * math.exp(-p)) ** power
        return found

    def chosen(self, q: Tensor, k: Tensor, log_kept: Tensor) -> Tensor:
        """Log of s π/(r + p s π) of one component for each row, (n, d) float64."""
        log_kept = log_kept.clamp_min(LEAST).unsqueeze(1)
        z = log_kept + self.log_depths[q].unsqueeze(1) + self.tilt[k]
        return F.logsigmoid(z) - log_kept

    def above(self, maximum: int) -> float:
        """A bound on the mass that lies above a count at some site, by Chernoff's inequality."""
        total, k = 0.0, maximum + 1.0
        for log_depth, weights in zip(self.log_depths, self.log_weights.exp(), strict=True):
            mean = (log_depth + self.tilt).exp() * self.sizes
            gain = (k + self.sizes) * ((k + self.sizes) / (mean + self.sizes)).log()
            tail = torch.where(mean < k, (gain - k * (k / mean).log()).exp(), 1.0)
            total += float(weights @ tail.sum(1))
        return total

    def linear(self, at: float) -> tuple[Tensor, Tensor]:
        """What tangents at the pooled z̄ of u = `at` leave: see `apart`.

        Returns:
            What counts are multiplied by, and what is taken off for each site: (d, K + 2)
            float64, the coefficients of u, of each profile, and of nothing.
        """
        slope, level = (value.unsqueeze(1) for value in self._tangents(at))
        tilt = self.tilt.mT
        up = torch.cat([1 - slope, (1 - slope) * tilt, -level], 1)
        down = torch.cat([slope, slope * tilt, level], 1)
        return up, down * self.sizes.unsqueeze(1)

    def tables(self, u: Tensor, at: float, columns: slice) -> tuple[Tensor, Tensor]:
        """`bend`, with tangents at `at`, and sigmoid(z) at each u: (len(u), K, columns)."""
        slope, level = (value[columns] for value in self._tangents(at))
        z = u[:, None, None] + self.tilt[:, columns]
        tail = (-z.abs()).exp()
        bend = slope * z + level - (z.clamp_min(0) + tail.log1p())
        return bend, torch.where(z > 0, 1.0, tail) / (1 + tail)

    def _tangents(self, at: float) -> tuple[Tensor, Tensor]:
        """β and γ, (d,)."""
        typical = at + self._pooled
        slope = typical.sigmoid()
        return slope, F.softplus(typical, threshold=700) - slope * typical

    def _columns(self) -> Iterator[slice]:
        """Blocks of features."""
        size = max(1, BLOCK // self.log_weights.numel())
        for first in range(0, len(self.sizes), size):
            yield slice(first, first + size)

    def _at(self, log_kept: float, columns: slice) -> tuple[Tensor, Tensor]:
        """`bend` and sigmoid(z) at one p, (Q·K, columns); of small tables the last two stay."""
        whole = self.log_weights.numel() * len(self.sizes) <= BLOCK
        if whole and log_kept in self._made:
            return self._made[log_kept]
        u = log_kept + self.log_depths
        bend, ratio = self.tables(u, log_kept + self.centre, columns)
        made = bend.flatten(0, 1), ratio.flatten(0, 1)
        if whole:
            if len(self._made) == 2:
                del self._made[next(iter(self._made))]
            self._made[log_kept] = made
        return made


def apart(
    seen: Tensor, on: Tensor | None, up: Tensor, down: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The linear part of scores: what u is multiplied by, what profiles add, and the rest.

    Args:
        seen: Counts, 0 where they do not count, (n, d) float64.
        on: Which sites count, (n, d) float64; all if None.
        up: See `CountTables.linear`, (d, K + 2).
        down: Likewise.

    Returns:
        (n, 1), (n, K) and (n, 1).
    """
    off = down.sum(0) if on is None else on @ down
    each = seen @ up - off
    return each[:, :1], each[:, 1:-1], each[:, -1:]


def _alike(values: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Distinct values, and the rows that have them."""
    distinct, which = values.unique(return_inverse=True)
    for i, value in enumerate(distinct.tolist()):
        yield value, (which == i).nonzero().squeeze(1)


doors.guard(__name__, inside=("apart",))
