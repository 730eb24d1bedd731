r"""Scores of a sample of a count table: `evaluate_counts`.

Rows are cells, documents or sites, columns are genes, words or species. Every figure is a
`Record` with its floor, as in `markovbridge.evaluation.metrics.evaluation`, of two kinds:

- **Features**, of all rows: agreement of means, variances, zero fractions and Fano factors
  with real data (`markovbridge.evaluation.metrics.features`), over the features seen in at least
  `seen` rows of the real data. Floors are those of `Floors`. Correlations are the one kind
  of figure here of which higher is better.

- **Laws**, of sets of equal size: energy distance, sliced Wasserstein distance, MMD, a
  classifier's AUC, the error of feature-feature correlations, and the Wasserstein distance
  of library sizes (totals of rows). All of them depend on the sizes of the two sets, and a
  classifier or an unbiased estimate must not meet the same row twice. So draw two sets A
  and B of m real rows without any in common, and m samples S: the figure is that of S
  against B, the floor that of A against B, both averages over the same draws. A perfect
  model meets its floor in expectation.

Distances are in a stated **space**: "log1p" (log(1 + count), the default: no single feature
of large counts decides), "counts", or "shares" (counts over the total of their row, blind to
library size). MMD is the root of the unbiased estimate, 0 where that is negative, with the
median distance of real rows as bandwidth. The classifier sees two numbers beside the
features: the logarithms of a row's total and of its number of features that are not 0.

A nearly empty table has few features that are seen in many rows, or none. What needs them is
undefined then, with the reason, and the rest is scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics.distances import energy_distance
from markovbridge.evaluation.metrics.evaluation import ENERGY, Record, check_meta, mean
from markovbridge.evaluation.metrics.extractors import RAW
from markovbridge.evaluation.metrics.features import LEAST as FEATURES
from markovbridge.evaluation.metrics.features import agreement, correlation_error, margins
from markovbridge.evaluation.metrics.floors import Floors
from markovbridge.evaluation.metrics.points import CountRows, check_same_width, draw_rows
from markovbridge.evaluation.metrics.reference import ignore
from markovbridge.evaluation.metrics.two_sample import (
    classifier_auc,
    median_distance,
    mmd,
    sliced_wasserstein,
)

Space = Literal["log1p", "counts", "shares"]

LIMIT = 20_000  # rows of either table that are looked at
LEAST = 20  # rows of real data that two sets are made of
PAIR = 2  # features that correlations of features are of
FIRST = 0.1  # share of the work that features, looked at first, are
CORRELATION = "correlation error"


def embed(x: Tensor, space: Space = "log1p") -> Tensor:
    """Counts in the space that distances are measured in, float32.

    Args:
        x: Counts, shape `(n, *event)`.
        space: "log1p", "counts" or "shares"; see the head of this module.

    Returns:
        Shape `(n, d)`. Shares of a row without counts are 0.
    """
    rows = x.flatten(1).float()
    if space == "log1p":
        return rows.log1p()
    if space == "shares":
        return rows / rows.sum(1, keepdim=True).clamp_min(1)
    if space != "counts":
        raise ValueError(f"space must be one of {', '.join(get_args(Space))}, not {space!r}")
    return rows


def evaluate_counts(
    samples: CountRows,
    reference: CountRows,
    *,
    space: Space = "log1p",
    seen: int | None = None,
    rows: int = 2000,
    limit: int = LIMIT,
    seed: int = 0,
    repeats: int = 5,
    meta: Mapping[str, Any],
    callback: Callable[[float], None] | None = None,
) -> list[Record]:
    """Score sampled rows of a count table against real ones.

    Args:
        samples: Counts `(n, *event)`: a tensor, an array, a scipy sparse matrix, or rows on
            disk; n >= 10.
        reference: Real counts `(N, *event)`, N >= 20.
        space: What distances are measured in.
        seen: Features are compared that are not zero in so many real rows; None takes 50, or
            a tenth of the rows if that is less.
        rows: Rows of each of the sets of equal size, at most: they cost the square of it.
        limit: Rows of either table that are looked at, at most, drawn at random.
        seed: Of all random choices here.
        repeats: Draws that floors, and figures of equal sets, are averaged over.
        meta: As of `markovbridge.evaluation.metrics.evaluate`.
        callback: Called with the share of the work that has been done since, 1 in all.

    Returns:
        One record per figure.

    Raises:
        ValueError: On events of different sizes, negative values, too few rows, or missing
            `meta`.
    """
    checks.turns(repeats, "repeats")
    facts = check_meta(meta)
    ours = draw_rows(samples, limit, "samples", seed).flatten(1)
    real = draw_rows(reference, limit, "reference", seed).flatten(1).to(ours.device)
    check_same_width(ours, real, ("samples", "reference"))
    for name, table in (("samples", ours), ("reference", real)):
        if bool((table < 0).any()):
            raise ValueError(f"{name} holds {table.min().item()}: counts cannot be negative")
    if len(ours) < LEAST // 2 or len(real) < LEAST:
        raise ValueError(
            f"an evaluation of counts needs at least {LEAST // 2} samples, {LEAST} real rows, got "
            f"{len(ours)} and {len(real)}"
        )
    if seen is None:
        seen = min(50, max(1, len(real) // 10))
    chosen = margins(real).seen >= seen
    where = f"{int(chosen.sum()):,} features in {seen}+ rows"
    floors = Floors(len(ours), len(real), seed, repeats)
    tell = callback or ignore
    return [
        *_features(ours, real, chosen, where, floors, facts, tell),
        *_laws(ours, real, chosen, where, space, rows, seed, repeats, facts, tell),
    ]


def _features(
    ours: Tensor,
    real: Tensor,
    chosen: Tensor,
    where: str,
    floors: Floors,
    facts: dict[str, Any],
    tell: Callable[[float], None],
) -> list[Record]:
    whole, few = margins(real), int(chosen.sum()) < FEATURES
    pairs = floors.repeats * (2 if floors.bootstrap else 1)

    def figures(one: Tensor, other: Tensor | None) -> dict[str, float]:
        against = whole if other is None else margins(other)
        found = {}
        for name, values in agreement(margins(one), against, chosen).items():
            found[f"{name}: log correlation"] = values.correlation
            found[f"{name}: median error"] = values.median_error
            found[f"{name}: largest error"] = values.largest_error
        tell(FIRST / (pairs + 1))
        return found

    value = figures(ours, None)
    draws = [figures(real[a], None if b is None else real[b]) for a, b in floors.draws()]
    halves = [figures(real[a], real[b]) for a, b in floors.halves()]
    records = []
    for name in value:
        half = mean([half[name] for half in halves]) if halves else None
        found = value[name], mean([draw[name] for draw in draws]), half
        known = [_defined(figure) for figure in found]
        statistic = name.partition(":")[0]
        records.append(
            Record(
                metric=name,
                value=known[0],
                floor=known[1],
                floor_method=floors.method,
                half_split=known[2],
                n=len(ours),
                n_reference=len(real),
                extractor=where,
                extractor_weights=None,
                undefined=None
                if known == list(found)
                else f"there are {where}, and a correlation takes {FEATURES}, an error 1"
                if few
                else f"the {statistic} of all features is the same in one of the two tables",
                **facts,
            )
        )
    return records


def _laws(
    ours: Tensor,
    real: Tensor,
    chosen: Tensor,
    where: str,
    space: Space,
    rows: int,
    seed: int,
    repeats: int,
    facts: dict[str, Any],
    tell: Callable[[float], None],
) -> list[Record]:
    size = min(len(ours), len(real) // 2, rows)
    name = RAW if space == "counts" else space
    bandwidth = median_distance(embed(real[_order(len(real), seed, "bandwidth")[:1000]], space))

    def discrepancy(a: Tensor, b: Tensor) -> float:
        return max(0.0, mmd(embed(a, space), embed(b, space), bandwidth=bandwidth)) ** 0.5

    def in_space(distance: Callable[..., float], **options: int) -> Callable[..., float]:
        return lambda a, b: distance(embed(a, space), embed(b, space), **options)

    several = int(chosen.sum()) >= PAIR
    measures: dict[tuple[str, str], Callable[[Tensor, Tensor], float]] = {
        (ENERGY, name): in_space(energy_distance),
        ("sliced Wasserstein distance", name): in_space(sliced_wasserstein, seed=seed),
        ("MMD", f"{name}, kernel of width {bandwidth:.3g}"): discrepancy,
        ("classifier AUC", name): lambda a, b: classifier_auc(
            _told(a, space), _told(b, space), seed=seed
        ),
        (CORRELATION, f"log1p, {where}"): lambda a, b: (
            correlation_error(embed(a[:, chosen]), embed(b[:, chosen])) if several else math.nan
        ),
        ("library-size distance", "log1p of totals"): lambda a, b: sliced_wasserstein(
            embed(_total(a)), embed(_total(b)), projections=1
        ),
    }
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in measures}
    for repeat in range(repeats):
        order = _order(len(real), seed, "real", repeat)
        a, b = real[order[:size]], real[order[size : 2 * size]]
        drawn = ours[_order(len(ours), seed, "samples", repeat)[:size]]
        for key, measure in measures.items():
            found[key].append((measure(drawn, b), measure(a, b)))
            tell((1 - FIRST) / (repeats * len(measures)))
    method = f"{size} reference rows against {size} others; mean of {repeats} draws, seed {seed}"
    return [
        Record(
            metric=metric,
            value=_defined(mean([value for value, _ in pairs])),
            floor=_defined(mean([floor for _, floor in pairs])),
            floor_method=method,
            half_split=None,
            n=size,
            n_reference=size,
            extractor=measured,
            extractor_weights=None,
            undefined=f"there are {where}, and correlations take {PAIR}"
            if metric == CORRELATION and not several
            else None,
            **facts,
        )
        for (metric, measured), pairs in found.items()
    ]


def _defined(value: float | None) -> float | None:
    """A figure, or None for what is no number."""
    return None if value is None or math.isnan(value) else value


def _order(n: int, *keys: int | str) -> Tensor:
    return torch.randperm(n, generator=generator("cpu", "counts", *keys))


def _total(x: Tensor) -> Tensor:
    return x.sum(1, keepdim=True)


def _told(x: Tensor, space: Space) -> Tensor:
    """What the classifier is given: the features, their sum, and how many are above 0."""
    beside = torch.cat([_total(x), _total(x > 0)], 1)
    return torch.cat([embed(x, space), embed(beside)], 1)


doors.guard(__name__)
