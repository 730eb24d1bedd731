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
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.covariates import described
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics.distances import Moments, feature_errors, pair_mean
from markovbridge.evaluation.metrics.extractors import RAW, Extractor, Pixels
from markovbridge.evaluation.metrics.inception import Inception
from markovbridge.evaluation.metrics.points import as_rows, check_same_width

DASH = "–"
ENERGY = "energy distance"
FRECHET = "Fréchet distance"
FEATURE_ERRORS = {
    "mean": "mean error (RMS over features)",
    "variance": "variance error (RMS over features)",
    "zeros": "zero-fraction error (RMS over features)",
}


@dataclass(frozen=True)
class Record:
    """One figure and its circumstances. Lower is better, but for correlations.

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

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as JSON takes them; `Record(**d)` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class Floors:
    """Random index pairs (play samples, play reference) into N reference items."""

    n: int
    total: int
    seed: int
    repeats: int

    @property
    def bootstrap(self) -> bool:
        return 2 * self.n > self.total

    @property
    def method(self) -> str:
        how = (
            f"bootstrap: {self.n} draws from the reference against it"
            if self.bootstrap
            else f"split: {self.n} reference items against the other {self.total - self.n}"
        )
        return f"{how}; mean of {self.repeats} draws, seed {self.seed}"

    def draws(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Pairs for the floor; None stands for the whole reference."""
        for repeat in range(self.repeats):
            rng = generator("cpu", self.seed, "floor", repeat)
            if self.bootstrap:
                yield torch.randint(self.total, (self.n,), generator=rng), None
            else:
                order = torch.randperm(self.total, generator=rng)
                yield order[: self.n], order[self.n :]

    def halves(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs for the half split; none where the floor is a split."""
        for repeat in range(self.repeats if self.bootstrap else 0):
            rng = generator("cpu", self.seed, "half split", repeat)
            order = torch.randperm(self.total, generator=rng)
            yield order[: self.total // 2], order[self.total // 2 :]


def evaluate(
    samples: Tensor,
    reference: Tensor,
    *,
    extractors: Sequence[Extractor] = (Pixels(),),
    seed: int = 0,
    repeats: int = 5,
    meta: Mapping[str, Any],
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

    Returns:
        One record per figure.

    Raises:
        ValueError: On different event sizes, NaN, too few items or missing `meta`.
    """
    checks.turns(repeats, "repeats")
    facts = check_meta(meta)
    reference = reference.to(samples.device)
    ours, real = as_rows(samples, "samples"), as_rows(reference, "reference")
    check_same_width(ours, real, ("samples", "reference"))
    n, total = len(ours), len(real)
    if n < 2 or total < 4:
        raise ValueError(
            f"an evaluation needs at least 2 samples and 4 reference items, got {n} and {total}"
        )
    floors = Floors(n, total, seed, repeats)

    def record(
        metric: str, extractor: str, hashed: str | None, figures: tuple[float, float, float | None]
    ) -> Record:
        value, floor, half_split = figures
        return Record(
            metric=metric,
            value=value,
            floor=floor,
            floor_method=floors.method,
            half_split=half_split,
            n=n,
            n_reference=total,
            extractor=extractor,
            extractor_weights=hashed,
            **facts,
        )

    records = [record(ENERGY, RAW, None, _energy(ours, real, floors))]
    for extractor in extractors:
        name = "FID" if isinstance(extractor, Inception) else FRECHET
        figures = _frechet(extractor(samples), extractor(reference), floors)
        records.append(record(name, extractor.name, extractor.weights, figures))
    for key, figures in _feature_errors(ours, real, floors).items():
        records.append(record(FEATURE_ERRORS[key], RAW, None, figures))
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


def _energy(ours: Tensor, real: Tensor, floors: Floors) -> tuple[float, float, float | None]:
    spread = pair_mean(real)
    value = max(0.0, 2 * pair_mean(ours, real) - pair_mean(ours) - spread)
    n, total = floors.n, floors.total
    distinct = spread * total / (total - 1)
    if not floors.bootstrap:
        return value, distinct * (1 / n + 1 / (total - n)), None
    half = total // 2
    return value, spread / n, distinct * (1 / half + 1 / (total - half))


def _frechet(ours: Tensor, real: Tensor, floors: Floors) -> tuple[float, float, float | None]:
    whole = Moments.of(real)

    def against(a: Tensor, b: Tensor | None) -> float:
        other = whole if b is None else Moments.of(real[b])
        return Moments.of(real[a]).frechet_distance(other)

    value = Moments.of(ours).frechet_distance(whole)
    floor = mean([against(a, b) for a, b in floors.draws()])
    halves = [against(a, b) for a, b in floors.halves()]
    return value, floor, mean(halves) if halves else None


def _feature_errors(
    ours: Tensor, real: Tensor, floors: Floors
) -> dict[str, tuple[float, float, float | None]]:
    def against(a: Tensor, b: Tensor | None) -> dict[str, float]:
        return feature_errors(real[a], real if b is None else real[b]).root_mean_square()

    values = feature_errors(ours, real).root_mean_square()
    draws = [against(a, b) for a, b in floors.draws()]
    halves = [against(a, b) for a, b in floors.halves()]
    return {
        key: (
            value,
            mean([draw[key] for draw in draws]),
            mean([half[key] for half in halves]) if halves else None,
        )
        for key, value in values.items()
    }


def table(records: Sequence[Record]) -> str:
    """Records as text for a terminal, those of equal circumstances under one heading.

    Args:
        records: From one evaluation or several.

    Returns:
        Lines of at most 99 characters, without a final newline.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        heading = (
            f"{samples_of(record)} against {record.n_reference:,} of {record.split}; "
            f"{record.weights} weights, {record.sampler}, {record.evaluations:g} evaluations, "
            f"seed {record.seed}"
        )
        groups.setdefault((heading, record.floor_method), []).append(record)
    parts = []
    for (heading, method), members in groups.items():
        halves = any(record.half_split is not None for record in members)
        rows = [("", "value", "floor", "half split")]
        for record in members:
            rows.append(
                (
                    label(record),
                    figure(record.value),
                    figure(record.floor),
                    "" if record.half_split is None else figure(record.half_split),
                )
            )
        width = max(len(row[0]) for row in rows)
        lines = [
            f"  {name:<{width}}  {value:>9}  {floor:>9}" + (f"  {half:>10}" if halves else "")
            for name, value, floor, half in rows
        ]
        reasons = dict.fromkeys(record.undefined for record in members if record.undefined)
        notes = [f"  {DASH} = undefined: {reason}" for reason in reasons]
        parts.append("\n".join([heading, *lines, *notes, f"  floor = {method}"]))
    return "\n\n".join(parts)


def figure(value: float | None) -> str:
    """Four digits of a figure; a dash where it is undefined."""
    return DASH if value is None else f"{value:.4g}"


def lower_is_better(record: Record) -> bool:
    """Whether a lower figure is better: of all metrics but correlations."""
    return not record.metric.endswith("log correlation")


def label(record: Record) -> str:
    """The metric and what it is measured in, for example "Fréchet distance (raw values)"."""
    if record.extractor == RAW and record.metric in (ENERGY, *FEATURE_ERRORS.values()):
        return record.metric  # of these it goes without saying
    hashed = f", {record.extractor_weights}" if record.extractor_weights else ""
    return f"{record.metric} ({record.extractor}{hashed})"


doors.guard(__name__, records=("Record", "Floors"), inside=("mean", "figure", "label"))
