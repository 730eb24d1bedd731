r"""Fold changes between classes, in samples against data: does a condition act as strongly?

Of class k and feature j, x_jk is the logarithm of the mean in the class over that in all other
classes, in data; y_jk the same in samples (of two classes there is one such ratio). A model that
knows its classes has y = x but for chance, so the slope of y over x is 1; below 1 classes are too
much alike.

Both have errors. The delta method gives those of x the variance

    v = s²/(n m²) of the class + that of the others,     m = (sum + 1/2)/n,

u likewise those of y; features weigh w = 1/(u + v), and a depth that all features of a class
share is no difference: from x and y their means over the features of the class are taken, by these
weights. Least squares of y on x would still give less than the slope, as errors of x count as
differences between classes that are none. So their sum C is taken away (Fuller, Measurement Error
Models, 1987, section 3.1),

    slope = Σ w x y / (Σ w x² - C),     C = Σ w (variance of x).

Features of the same rows err together. So the variances in C, and the standard error of the slope,
are those of a jackknife over rows: one of 20 parts of the rows of each class, of both tables, is
left out in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.covariates import is_missing, level_of
from markovbridge.data.rows import Rows, parts, taken
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics.evaluation import SLOPE, Record, check_meta, mean
from markovbridge.evaluation.metrics.reference import ignore

PARTS = 20  # of the rows of a class, of which one is left out in turn
LEAST = 20  # rows of a class, in either table
COUNTS = 10  # that the rows of the smallest class hold of a feature on average, at least
FEATURES = 3  # that a slope is of


@dataclass(frozen=True)
class FoldChanges:
    """How fold changes between classes in samples go with those in data.

    Attributes:
        slope: 1 of a perfect model; NaN if there are too few rows or features, or classes do
            not differ.
        error: Its standard error.
        classes: Classes that were compared.
        features: Features.
    """

    slope: float
    error: float
    classes: int
    features: int


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over the rows of each class k and part g: count (K, G), total and squares (K, G, d)."""

    count: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor | Rows, kind: Tensor, classes: int) -> _Sums:
        """Those of rows whose kind is 0 .. classes - 1; others are left out."""
        d = math.prod(x.shape[1:])
        part = torch.zeros_like(kind)
        for k in range(classes):
            ours = kind == k
            part[ours] = torch.arange(int(ours.sum())) % PARTS
        cell = torch.where(kind >= 0, kind * PARTS + part, classes * PARTS)
        shape = (classes * PARTS + 1, d)
        total = torch.zeros(shape, dtype=torch.float64)
        squares, start = torch.zeros_like(total), 0
        for rows in parts(x):
            values = rows.cpu().flatten(1).double()
            at = cell[start : start + len(rows)]
            total.index_add_(0, at, values)
            squares.index_add_(0, at, values.square())
            start += len(rows)
        count = torch.bincount(cell, minlength=shape[0]).double()[:-1]
        inner = (classes, PARTS)
        return cls(
            count.unflatten(0, inner),
            total[:-1].unflatten(0, inner),
            squares[:-1].unflatten(0, inner),
        )

    def without(self, part: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the classes, (K,) and (K, d), without one part."""
        kept = torch.arange(PARTS) != (-1 if part is None else part)
        return (
            self.count[:, kept].sum(1),
            self.total[:, kept].sum(1),
            self.squares[:, kept].sum(1),
        )


def fold_changes(
    samples: Tensor | Rows,
    sample_classes: Sequence[Any],
    reference: Tensor | Rows,
    reference_classes: Sequence[Any],
) -> FoldChanges:
    """Compare fold changes between classes in samples with those in data.

    Args:
        samples: Counts (n, *event).
        sample_classes: The class of each; those of which it is not known do not count.
        reference: Counts (N, *event).
        reference_classes: The class of each.

    Returns:
        Of the classes with `LEAST` rows in both, and the features of which the smallest class
        holds `COUNTS` on average.

    Raises:
        ValueError: If there are more or fewer classes than rows, or events differ.
    """
    for name, x, kinds in (
        ("samples", samples, sample_classes),
        ("reference", reference, reference_classes),
    ):
        if len(kinds) != len(x):
            raise ValueError(f"{name} has {len(x)} rows and {len(kinds)} classes")
    if samples.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"samples and reference must have the same event, not {tuple(samples.shape[1:])} and "
            f"{tuple(reference.shape[1:])}"
        )
    names = [_named(kinds) for kinds in (sample_classes, reference_classes)]
    levels = sorted({name for name in names[0] if name is not None})
    levels = [k for k in levels if min(each.count(k) for each in names) >= LEAST]
    if len(levels) < 2:
        return FoldChanges(math.nan, math.nan, len(levels), 0)
    places: dict[str | None, int] = {level: k for k, level in enumerate(levels)}
    ours, real = (
        _Sums.of(x, torch.tensor([places.get(name, -1) for name in each]), len(levels))
        for x, each in zip((samples, reference), names, strict=True)
    )
    count, total, _ = real.without(None)
    chosen = total.sum(0) / count.sum() * count.min() >= COUNTS
    features = int(chosen.sum())
    if features < FEATURES:
        return FoldChanges(math.nan, math.nan, len(levels), features)

    x, v = _ratios(*real.without(None), chosen)
    y, u = _ratios(*ours.without(None), chosen)
    weight = 1 / (u + v)
    left = [[_ratios(*one.without(k), chosen)[0] for k in range(PARTS)] for one in (real, ours)]
    xs, ys = (_centred(torch.stack(each), weight) for each in left)  # (parts, K, d)
    chance = float((weight * (xs - xs.mean(0)).square().sum(0)).sum()) * (PARTS - 1) / PARTS
    slope = _slope(_centred(x, weight), _centred(y, weight), weight, chance)
    more = chance * PARTS / (PARTS - 1)
    each = torch.tensor([_slope(*one, weight, more) for one in zip(xs, ys, strict=True)]).double()
    error = ((each - each.mean()).square().sum() * (PARTS - 1) / PARTS).sqrt()
    if bool(error.isnan()):  # without some of the rows nothing is left that is not chance
        slope = math.nan
    return FoldChanges(slope, float(error), len(levels), features)


def _ratios(
    count: Tensor, total: Tensor, squares: Tensor, chosen: Tensor
) -> tuple[Tensor, Tensor]:
    """Log ratios of each class to the others, and their variances: (K, d) or, of two, (1, d)."""
    total, squares = total[:, chosen], squares[:, chosen]
    n = torch.stack([count, count.sum() - count]).unsqueeze(2)
    sums = torch.stack([total, total.sum(0) - total])
    square = torch.stack([squares, squares.sum(0) - squares])
    middle = (sums + 0.5) / n
    spread = (square - sums.square() / n).clamp_min(0) / (n - 1)
    spread = torch.where(sums > 0, spread, middle)  # of what was never seen, as of a Poisson count
    variance = (spread / (n * middle.square())).sum(0)
    ratio = middle[0].log() - middle[1].log()
    rows = 1 if len(count) == 2 else len(count)
    return ratio[:rows], variance[:rows]


def _centred(x: Tensor, weight: Tensor) -> Tensor:
    """Values (..., K, d) less their mean over features."""
    return x - (weight * x).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)


def _slope(x: Tensor, y: Tensor, weight: Tensor, chance: float) -> float:
    """The slope of y over x, of whose squares so much is chance; NaN if they are nothing else."""
    signal = float((weight * x.square()).sum()) - chance
    return float((weight * x * y).sum()) / signal if signal > 0 else math.nan


def evaluate_fold_changes(
    samples: Tensor | Rows,
    sample_classes: Sequence[Any],
    reference: Tensor | Rows,
    reference_classes: Sequence[Any],
    *,
    name: str,
    seed: int = 0,
    repeats: int = 5,
    meta: Mapping[str, Any],
    callback: Callable[[float], None] | None = None,
) -> Record:
    """The slope of fold changes as a `Record`, beside that of real halves.

    Args:
        samples: Counts (n, *event).
        sample_classes: The class of each.
        reference: Real counts (N, *event).
        reference_classes: The class of each.
        name: What the classes are called, such as "cell type".
        seed: Of the halves.
        repeats: Random halves that the floor averages.
        meta: As of `evaluate`.
        callback: Called with the share of the work that has been done since, 1 in all.
    """
    facts, tell = check_meta(meta), callback or ignore
    checks.turns(repeats, "repeats")
    found = fold_changes(samples, sample_classes, reference, reference_classes)
    tell(1 / (repeats + 1))
    floors = []
    for repeat in range(repeats):
        rng = generator("cpu", "fold changes", seed, repeat)
        order = torch.randperm(len(reference), generator=rng)
        half = len(order) // 2
        sides = [index.sort().values for index in (order[:half], order[half:])]
        told = []
        for index in sides:
            told += [taken(reference, index), [reference_classes[i] for i in index.tolist()]]
        floors.append(fold_changes(*told).slope)
        tell(1 / (repeats + 1))
    undefined = math.isnan(found.slope)
    known = [one for one in floors if not math.isnan(one)]
    return Record(
        metric=SLOPE,
        value=None if undefined else found.slope,
        error=None if undefined else found.error,
        floor=mean(known) if known else None,
        floor_method=f"one half of the real rows against the other, mean of {repeats} draws, seed "
        f"{seed}",
        half_split=None,
        n=len(samples),
        n_reference=len(reference),
        extractor=f"{found.features:,} features, {found.classes} classes of {name}",
        extractor_weights=None,
        undefined=f"a slope takes 2 classes of {LEAST} rows in both tables, {FEATURES} features "
        f"of {COUNTS} counts in the smallest, and classes that differ"
        if undefined
        else None,
        **facts,
    )


def _named(kinds: Sequence[Any]) -> list[str | None]:
    return [None if is_missing(kind) else level_of(kind) for kind in kinds]


doors.guard(__name__, records=("FoldChanges",))
