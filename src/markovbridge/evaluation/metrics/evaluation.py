"""Scores of a sample set, each with what one has to know to read it.

A distance alone says little: it depends on how many samples were drawn, against
which data, in which features, with which weights and sampler, and it is biased
upwards in small sets. So every figure is a `Record` that carries all of these
and the **floor**: what real data scores against real data.

With n samples and N reference items the floor is

- n <= N/2, *split*: n random reference items against the other N - n. That side is
  smaller by n than the one samples meet, so this overestimates a little;
- n > N/2, *bootstrap*: n draws with replacement from the reference against the
  reference. These play a perfect model of the reference's empirical law; fresh real
  data would score more. So the **half split**, one random half of the reference
  against the other, is given as well: real data at half the size, which
  overestimates. A perfect model lies between the two.

Floors are averages over `repeats` random draws. That of the energy distance is
the exact expectation: with M = E|Y - Y'| over all N^2 pairs of the reference, a
bootstrap scores M/n on average, and a split into a and b items scores
M N/(N-1) (1/a + 1/b).

The energy distance of few samples to many real data would spend its time on all pairs of these.
It looks at 10,000 reference items at most, or as many as there are samples; what a record calls
`n_reference` then, and `split`, is that sample of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from markovbridge import doors
from markovbridge.data.covariates import described
from markovbridge.doors import checks
from markovbridge.evaluation.metrics.distances import (
    BLOCK,
    FeatureErrors,
    Moments,
    feature_statistics,
    pair_mean,
)
from markovbridge.evaluation.metrics.extractors import RAW, Extractor, Pixels
from markovbridge.evaluation.metrics.floors import Floors
from markovbridge.evaluation.metrics.inception import Inception
from markovbridge.evaluation.metrics.points import as_rows, check_same_width
from markovbridge.evaluation.metrics.reference import Reference
from markovbridge.evaluation.metrics.work import Work
from markovbridge.storage.config import at_a_glance

Figures = tuple[float, float, float | None]  # value, floor, half split

QUICK = 256  # rows at once of few samples against many: what fits into a processor's cache
DASH = "–"
ENERGY = "energy distance"
FRECHET = "Fréchet distance"
SLOPE = "fold-change slope"
FEATURE_ERRORS = {
    "mean": "mean error (RMS over features)",
    "variance": "variance error (RMS over features)",
    "zeros": "zero-fraction error (RMS over features)",
}


@dataclass(frozen=True)
class Record:
    """One figure and its circumstances. Lower is better, but for correlations and slopes.

    Attributes:
        metric: "energy distance", "Fréchet distance", "FID", "mean error ...".
        value: The figure; None if it is undefined.
        floor: The average figure of real data against real data; None likewise.
        floor_method: How the floor was made, with its numbers.
        half_split: The figure of one half of the real data against the other, where the
            floor is a bootstrap; None where the floor is a split itself.
        n: Samples.
        n_reference: Reference items.
        split: The reference, for example "train".
        extractor: What the distance is measured in.
        extractor_weights: "sha256:..." or None.
        weights: The model's: "ema" or "raw".
        sampler: How the samples were drawn.
        evaluations: Network evaluations per sample.
        seed: Of the sampler.
        undefined: Why a figure is None, or None if all are numbers.
        given: What the samples were conditioned on, such as "label=3"; empty for nothing.
        guidance: How strongly that acted.
        error: Standard error of the figure, where it has one.
    """

    metric: str
    value: float | None
    floor: float | None
    floor_method: str
    half_split: float | None
    n: int
    n_reference: int
    split: str
    extractor: str
    extractor_weights: str | None
    weights: str
    sampler: str
    evaluations: float
    seed: int
    undefined: str | None = None
    given: str = ""
    guidance: float = 1.0
    error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as JSON takes them; `Record(**d)` is the way back."""
        return asdict(self)


def evaluate(
    samples: Tensor,
    reference: Tensor,
    *,
    extractors: Sequence[Extractor] = (Pixels(),),
    seed: int = 0,
    repeats: int = 5,
    meta: Mapping[str, Any],
    cache: str | Path | None = None,
    callback: Callable[[float], None] | None = None,
) -> list[Record]:
    """Score samples against real data.

    Gives the energy distance in raw values, a Fréchet distance per extractor, and the
    errors of means, variances and shares of zeros. Everything is computed on the device
    of `samples`, in float64.

    Args:
        samples: Shape `(n, *event)`, n >= 2.
        reference: Real data, shape `(N, *event)`, N >= 4.
        extractors: What Fréchet distances are measured in.
        seed: Of the floors.
        repeats: Random draws that a floor averages.
        meta: How the samples were made: `weights` ("ema" or "raw"), `sampler`,
            `evaluations` and `seed`; and `split`, the reference's; `condition` by name and
            `guidance`, if there were any. Other entries are ignored.
        cache: A folder where statistics of a large reference, and its floors, are kept for the
            next time; see `markovbridge.evaluation.metrics.reference`. None keeps nothing.
        callback: Called with the share of the work that has been done since, 1 in all.

    Returns:
        One record per figure.

    Raises:
        ValueError: On different event sizes, NaN, too few items or missing `meta`.
    """
    checks.turns(repeats, "repeats")
    facts = check_meta(meta)
    reference = reference.to(samples.device)
    ours, rows = as_rows(samples, "samples"), as_rows(reference, "reference")
    check_same_width(ours, rows, ("samples", "reference"))
    n, total = len(ours), len(rows)
    if n < 2 or total < 4:
        raise ValueError(
            f"an evaluation needs at least 2 samples and 4 reference items, got {n} and {total}"
        )
    work = Work(callback)
    real = Reference(reference, None if cache is None else Path(cache), work.did)
    floors = Floors(n, total, seed, repeats)
    work.plan(real, floors, extractors)

    def record(
        metric: str, extractor: str, hashed: str | None, figures: Figures, **other: Any
    ) -> Record:
        value, floor, half_split = figures
        told: dict[str, Any] = {"floor_method": floors.method, "n_reference": total, **facts}
        return Record(
            metric=metric,
            value=value,
            floor=floor,
            half_split=half_split,
            n=n,
            extractor=extractor,
            extractor_weights=hashed,
            **(told | other),
        )

    some = real.some(n)
    fewer = Floors(n, len(some), seed, repeats)
    other: dict[str, Any] = {"floor_method": fewer.method, "n_reference": len(some)}
    if len(some) < total:
        other["split"] = f"{facts['split']}, drawn at random from {total:,}"
    figures = _energy(ours, some, real.spread(n), fewer, QUICK if real.large else BLOCK)
    records = [record(ENERGY, RAW, None, figures, **other)]
    for extractor in extractors:
        name = "FID" if isinstance(extractor, Inception) else FRECHET
        figures = _frechet(extractor(samples), extractor, real, floors)
        records.append(record(name, extractor.name, extractor.weights, figures))
    for key, figures in _feature_errors(ours, real, floors).items():
        records.append(record(FEATURE_ERRORS[key], RAW, None, figures))
    work.finish()
    return records


def check_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Record` that say how samples were made.

    Raises:
        ValueError: If one is missing, or weights are neither "ema" nor "raw".
    """
    keys = ("weights", "sampler", "evaluations", "seed", "split")
    missing = [key for key in keys if key not in meta]
    if missing:
        raise ValueError(
            f"meta lacks {', '.join(missing)}; a figure must say with which weights, sampler, "
            "evaluations and seed its samples were made, and the split they are compared with"
        )
    if meta["weights"] not in ("ema", "raw"):
        raise ValueError(f"meta['weights'] must be 'ema' or 'raw', got {meta['weights']!r}")
    facts = {key: meta[key] for key in keys}
    guidance = float(meta.get("guidance", 1.0))
    return {**facts, "given": described(meta.get("condition")), "guidance": guidance}


def samples_of(record: Record) -> str:
    """The samples of a record, in words: "64 samples given label=3, guidance 2,"."""
    if not record.given:
        return f"{record.n:,} samples"
    strength = "" if record.guidance == 1 else f", guidance {record.guidance:g}"
    return f"{record.n:,} samples given {record.given}{strength},"


def mean(values: list[float]) -> float:
    """The arithmetic mean of floats."""
    return sum(values) / len(values)


def _energy(ours: Tensor, some: Tensor, spread: float, floors: Floors, block: int) -> Figures:
    value = max(0.0, 2 * pair_mean(ours, some, block=block) - pair_mean(ours) - spread)
    n, total = floors.n, floors.total
    distinct = spread * total / (total - 1)
    if not floors.bootstrap:
        return value, distinct * (1 / n + 1 / (total - n)), None
    half = total // 2
    return value, spread / n, distinct * (1 / half + 1 / (total - half))


def _frechet(ours: Tensor, extractor: Extractor, real: Reference, floors: Floors) -> Figures:
    value = Moments.of(ours).frechet_distance(real.moments(extractor))

    def figures(one: Tensor, other: Tensor | None) -> list[float]:
        return [real.frechet(extractor, one, other)]

    floor, halves = real.floor(extractor, FRECHET, floors, figures)
    return value, floor[0], None if halves is None else halves[0]


def _feature_errors(ours: Tensor, real: Reference, floors: Floors) -> dict[str, Figures]:
    def figures(one: Tensor, other: Tensor | None) -> list[float]:
        return list(real.errors(one, other).root_mean_square().values())

    values = FeatureErrors.between(feature_statistics(ours), real.statistics()).root_mean_square()
    floor, halves = real.floor(None, "errors of features", floors, figures)
    return {
        key: (value, floor[k], None if halves is None else halves[k])
        for k, (key, value) in enumerate(values.items())
    }


def table(records: Sequence[Record]) -> str:
    """Records as text for a terminal, those of equal circumstances under one heading.

    Args:
        records: From one evaluation or several.

    Returns:
        Lines of at most 99 characters, without a final newline.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        heading = (
            f"{samples_of(record)} against {record.n_reference:,} of {record.split}; "
            f"{record.weights} weights, {at_a_glance(record.sampler)}, "
            f"{record.evaluations:g} evaluations, seed {record.seed}"
        )
        key = (heading, record.sampler, record.floor_method)  # two samplers may look alike
        groups.setdefault(key, []).append(record)
    parts = []
    for (heading, _, method), members in groups.items():
        halves = any(record.half_split is not None for record in members)
        rows = [("", "value", "floor", "half split")]
        for record in members:
            rows.append(
                (
                    label(record),
                    figure(record.value, record.error),
                    figure(record.floor),
                    "" if record.half_split is None else figure(record.half_split),
                )
            )
        width = max(len(row[0]) for row in rows)
        wide = max(9, *(len(row[1]) for row in rows))
        lines = [
            f"  {name:<{width}}  {value:>{wide}}  {floor:>9}" + (f"  {half:>10}" if halves else "")
            for name, value, floor, half in rows
        ]
        reasons = dict.fromkeys(record.undefined for record in members if record.undefined)
        notes = [f"  {DASH} = undefined: {reason}" for reason in reasons]
        parts.append("\n".join([heading, *lines, *notes, f"  floor = {method}"]))
    return "\n\n".join(parts)


def figure(value: float | None, error: float | None = None) -> str:
    """Four digits of a figure, and its error if it has one; a dash where it is undefined."""
    told = DASH if value is None else f"{value:.4g}"
    return told if error is None else f"{told} ± {error:.2g}"


def lower_is_better(record: Record) -> bool:
    """Whether a lower figure is better: of all metrics but correlations and slopes."""
    return not record.metric.endswith("log correlation") and record.metric != SLOPE


def label(record: Record) -> str:
    """The metric and what it is measured in, for example "Fréchet distance (raw values)"."""
    if record.extractor == RAW and record.metric in (ENERGY, *FEATURE_ERRORS.values()):
        return record.metric  # of these it goes without saying
    hashed = f", {record.extractor_weights}" if record.extractor_weights else ""
    return f"{record.metric} ({record.extractor}{hashed})"


doors.guard(__name__, records=("Record",), inside=("mean", "figure", "label"))
