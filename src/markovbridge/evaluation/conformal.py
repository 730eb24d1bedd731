r"""Intervals that hold whatever the network: split-conformal correction of those of draws.

Of rows whose truth y is known, and which the model has not seen, the score of an entry with
interval [l, h] is how far the truth lies outside, in units of 1 + the length of the interval:

    s = max(l - y, y - h, 0)/(1 + h - l).

Intervals widened by w (1 + h - l) hold an entry if and only if s <= w. With one entry a row, w is
the ⌈(n + 1) c⌉-th smallest score of n rows. Entries of a row go together, so with several the row
is the unit: an entry of row i, which has N_i of them, weighs 1/((n + 1) N_i), and w is the least
score up to which the weights sum to c. If rows are exchangeable,

    P(an entry drawn from a new row lies in its interval) >= c,

exactly, for any model and any n >= c/(1 - c): the share of scores up to w, averaged over n + 1
exchangeable rows, is c at least, and leaving the new row out makes w larger only. (One entry:
Vovk, Gammerman & Shafer 2005; Romano, Patterson & Candès, https://arxiv.org/abs/1905.03222; rows
of several: Lee, Barber & Willett, https://arxiv.org/abs/2306.06342.) Ties, of which counts have
many, make it hold more often.

**Groups.** Features of like mean are corrected together, each group on its own, so that it holds
in each (Mondrian groups): a decade of the mean is a group, unless too few rows have an entry of
it, which joins the next. Groups depend on means of the training and on which entries are hidden,
not on the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.evaluation.restoration import Restoration

SPARE = 4  # times as many rows as it takes: what a group of its own has at least


@dataclass(frozen=True)
class Correction:
    """How far intervals are widened, for each level and group of features.

    Attributes:
        edges: Rising means at which one group of features ends and the next begins.
        levels: The levels.
        widening: For each level that of each group, in units of 1 + the length of an interval.
    """

    edges: tuple[float, ...]
    levels: tuple[float, ...]
    widening: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        for level in self.levels:
            checks.number(level, "a level", above=0, below=1)
        if list(self.edges) != sorted(self.edges):
            raise ValueError(f"edges must rise, not {self.edges}")
        if [len(each) for each in self.widening] != [len(self.edges) + 1] * len(self.levels):
            raise ValueError(
                f"a correction of {len(self.levels)} levels and {len(self.edges) + 1} groups has "
                f"a widening for each, not {self.widening}"
            )
        for widening in self.widening:
            for value in widening:
                checks.number(value, "a widening", least=0)

    def of(self, means: Tensor, hidden: Tensor | None = None) -> dict[float, Tensor]:
        """The `Restoration.widening` of features of these means.

        Args:
            means: Means of the training data, `event`.
            hidden: Entries that are not known, (n, *event) bool, all others being certain; all
                are not known if None.
        """
        group = groups(means, self.edges)
        found = {}
        for level, widening in zip(self.levels, self.widening, strict=True):
            each = torch.tensor(widening, dtype=torch.float64)[group]
            found[level] = each if hidden is None else torch.where(hidden, each, 0.0)
        return found


def groups(means: Tensor, edges: Sequence[float]) -> Tensor:
    """The group of each feature, int64 in the shape of `means`."""
    return torch.bucketize(means.cpu().double(), torch.tensor(edges, dtype=torch.float64))


def least_rows(level: float) -> int:
    """How many rows a correction of a level takes at least: level/(1 - level)."""
    checks.number(level, "a level", above=0, below=1)
    return math.ceil(level / (1 - level) - 1e-9)


def fit(
    restoration: Restoration,
    truth: Tensor,
    hidden: Tensor,
    means: Tensor,
    levels: Sequence[float],
) -> Correction:
    """The correction that rows of known truth ask for.

    Args:
        restoration: Draws of them; how it is corrected already does not matter.
        truth: What was hidden, (n, *event).
        hidden: Entries to look at, (n, *event) bool.
        means: Means of the training data, `event`.
        levels: The levels.

    Raises:
        ValueError: If too few rows have a hidden entry, with how many it takes.
    """
    need = max((least_rows(level) for level in levels), default=1)
    edges = _edges(means, hidden, SPARE * need)
    group = groups(means, edges).flatten()
    widening = []
    for level in levels:
        outside = _outside(restoration, truth, level).flatten(1)
        found = []
        for k in range(len(edges) + 1):
            ours = group == k
            found.append(_quantile(outside[:, ours], hidden.flatten(1)[:, ours], level))
        widening.append(tuple(found))
    return Correction(edges, tuple(levels), tuple(widening))


def _outside(restoration: Restoration, truth: Tensor, level: float) -> Tensor:
    """How far the truth lies outside of intervals, in units of 1 + their length."""
    low, high = (end.double() for end in restoration.interval(level, corrected=False))
    beyond = torch.maximum(low - truth.double(), truth.double() - high).clamp_min(0)
    return beyond / (1.0 + high - low)


def _quantile(scores: Tensor, where: Tensor, level: float) -> float:
    """The least score up to which the weights of those at `where`, (n, m) both, sum to a level."""
    entries = where.sum(1)
    rows = int((entries > 0).sum())
    if rows < least_rows(level):
        raise ValueError(
            f"a correction of level {level} takes at least {least_rows(level)} rows with a hidden "
            f"entry, not {rows}: give more rows, or a lower level"
        )
    weights = (1 / ((rows + 1) * entries.double())).unsqueeze(1).expand(scores.shape)[where]
    ordered, order = scores[where].sort()
    reached = weights[order].cumsum(0) >= level - 1e-9
    return float(ordered[int(reached.long().argmax())])


def _edges(means: Tensor, hidden: Tensor, rows: int) -> tuple[float, ...]:
    """Decades of the means, of which each group has an entry in so many rows, or there is one."""
    means, hidden = means.cpu().double().flatten(), hidden.cpu().flatten(1)
    positive = means[means > 0]
    if not len(positive):
        return ()
    low, high = (math.floor(math.log10(float(end))) for end in (positive.min(), positive.max()))
    edges: list[float] = []
    last = -math.inf
    for power in range(low + 1, high + 2):
        edge = 10.0**power if power <= high else math.inf
        inside = (means > last) & (means <= edge)
        if int(hidden[:, inside].any(1).sum()) >= rows:
            edges.append(edge)
            last = edge
    return tuple(edges[:-1])  # what is left above the last goes with it


doors.guard(__name__)
