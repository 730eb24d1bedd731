r"""What an evaluation comes to, in one sentence at the top of the page.

It is made of figures beside their floors, never of a figure alone:

- The area under a classifier's ROC curve (AUC) of n samples and n real rows that follow one law
  has the standard deviation s = √((2n + 1)/(12 n²)) (Mann and Whitney 1947,
  https://doi.org/10.1214/aoms/1177730491). Samples "cannot be told" if it is at most `SIGMAS` s
  above that of real rows. There are too few rows to tell if `SIGMAS` s are more than `COARSE`.
- Of the distances, the one that is most times its floor is named if that is more than `FAR`.
- The slope of fold changes between classes is named if it is more than `SIGMAS` standard errors
  off 1, and further than that of real rows.
- Of the features, the one whose mean differs by most standard errors,
  (m - m')/√(v (1/n + 1/N)) with v the variance over both tables, is named if that would come of
  chance alone in about `CHANCE` of such tables, whichever the feature (Bonferroni). With z that
  quantile of a normal law and g the skewness of m - m', the limit is z + g (z² - 1)/6 (Cornish and
  Fisher 1938) on the side of the long tail. Means of rare counts follow neither: only features are
  judged that are seen in enough rows, `judged`.

Without a classifier the energy distance speaks. With m the mean distance of two data, n new ones
have m (1/n + 1/N) from N on average; a bootstrap has m (N - 1)/N / n, and a split of the N into n
and the others m (1/n + 1/(N - n)). Each floor tells m, and so what new data would have.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from statistics import NormalDist
from typing import TypeGuard

import torch
from torch import Tensor

from markovbridge.evaluation.metrics import Record, margins
from markovbridge.evaluation.metrics.counts import CORRELATION
from markovbridge.evaluation.metrics.evaluation import ENERGY, SLOPE
from markovbridge.evaluation.metrics.features import Margins
from markovbridge.evaluation.report.html import number
from markovbridge.evaluation.report.run import Run

AUC = "classifier AUC"
DISTANCES = (ENERGY, "sliced Wasserstein distance", CORRELATION, "library-size distance")
SIGMAS = 2.0
FAR = 1.5
COARSE = 0.1  # `SIGMAS` s above which there are too few rows to tell
CHANCE = 0.05
ENOUGH = 10  # rows of either table that a feature is expected to be seen in, to be judged
COLUMNS = 500  # that are looked at together
PLENTY = 30  # rows of the smaller table that it is seen in, to be judged whatever is expected
SAME = "none has a mean that differs from that of the training rows by more than chance"
# How far samples are, up to how many times what new data would have.
NEARNESS = (
    (1.1, "as near to {} as"),
    (1.5, "nearly as near to {} as"),
    (float("inf"), "further from {} than"),
)
# How well a classifier tells samples, up to which AUC.
WORDS = ((0.6, "can hardly be told"), (0.8, "can be told"), (1.0, "are easily told"))


@dataclass(frozen=True)
class Difference:
    """The feature whose mean differs most between samples and real rows.

    Attributes:
        name: Its name.
        samples: Its mean in samples.
        real: Its mean in real rows.
        chance: Whether chance alone may make a feature differ that much.
    """

    name: str
    samples: float
    real: float
    chance: bool


def verdict(run: Run, training: Tensor | None) -> str:
    """The sentence as a paragraph; empty of runs that are not evaluated.

    Args:
        run: The run.
        training: Rows that samples are compared with, (N, d), or None if they are not here.
    """
    if run.evaluated and run.evaluated != run.samples_meta:
        note = "The evaluation is of other samples than these, so nothing is said of both."
        return f'<p class="verdict">{note}</p>'
    found = None
    if training is not None and run.samples is not None and run.samples.ndim == 2:
        found = most_different(run.samples, training, run.columns)
    text = sentence(run.records, found) or nearness(run.records)
    return f'<p class="verdict">{escape(text)}</p>' if text else ""


def most_different(
    samples: Tensor, real: Tensor, names: Sequence[str] | None = None
) -> Difference | None:
    """The feature whose mean differs by most standard errors, over how many chance allows.

    Args:
        samples: Counts (n, d), n >= 2.
        real: Counts (N, d), N >= 2.
        names: Of the features, or None for their numbers.

    Returns:
        None if no feature is seen in enough rows to be judged.
    """
    ours, theirs = margins(samples), margins(real)
    chosen = judged(ours, theirs).nonzero().flatten()
    if not len(chosen):
        return None
    n, total = ours.rows, theirs.rows
    means, real_means = ours.mean[chosen], theirs.mean[chosen]
    gap = means - real_means
    within = (n - 1) * ours.variance[chosen] + (total - 1) * theirs.variance[chosen]
    variance = (within + n * total / (n + total) * gap.square()) / (n + total - 1)
    score = gap / (variance * (1 / n + 1 / total)).sqrt().clamp_min(1e-300)
    middle = (n * means + total * real_means) / (n + total)
    skew = sum(_cubes(x, chosen, middle) for x in (samples, real)) / (n + total)
    skew = skew / variance.clamp_min(1e-300) ** 1.5
    skew = skew * (1 / n**2 - 1 / total**2) / (1 / n + 1 / total) ** 1.5
    normal = NormalDist().inv_cdf(1 - CHANCE / 2 / len(chosen))
    limit = normal + (skew * score.sign()).clamp_min(0) / 6 * (normal**2 - 1)
    place = int((score.abs() / limit).argmax())
    column = int(chosen[place])
    return Difference(
        f"feature {column}" if names is None else names[column],
        float(means[place]),
        float(real_means[place]),
        bool(score[place].abs() <= limit[place]),
    )


def _cubes(x: Tensor, columns: Tensor, middle: Tensor) -> Tensor:
    """Sums over rows of the cubes of x - middle, of some columns, a few of them at a time."""
    return torch.cat(
        [
            (x[:, some].double() - part).pow(3).sum(0)
            for some, part in zip(columns.split(COLUMNS), middle.split(COLUMNS), strict=True)
        ]
    )


def judged(samples: Margins, real: Margins) -> Tensor:
    """Which features are seen in enough rows for their means to be compared, (d,) bool.

    Those that one law for both tables shows in `ENOUGH` rows of either; and those that the smaller
    table shows in `PLENTY` rows, which one law for both would not do if it shows fewer than
    `ENOUGH`.
    """
    few = min(samples, real, key=lambda one: one.rows)
    expected = (samples.seen + real.seen) / (samples.rows + real.rows) * few.rows
    return (expected >= ENOUGH) | (few.seen >= PLENTY)


def sentence(records: Sequence[Record], difference: Difference | None) -> str:
    """What figures come to; empty if there is no classifier among them, or no AUC from 0 to 1.

    Args:
        records: Of one evaluation.
        difference: The feature that differs most, or None if that is not known.
    """
    auc = next((one for one in records if one.metric == AUC), None)
    if auc is None or not (_share(auc.value) and _share(auc.floor)):
        return ""
    chance = ((2 * auc.n + 1) / (12 * auc.n**2)) ** 0.5
    told = "cannot be told" if SIGMAS * chance <= COARSE else "are too few to be told"
    if auc.value - auc.floor > SIGMAS * chance:
        told = next((word for limit, word in WORDS if auc.value <= limit), WORDS[-1][1])
    given = f" given {auc.given}" if auc.given and auc.given not in auc.split else ""
    off = []
    ratios: dict[str, float] = {}
    undefined = False
    for one in records:
        if one.metric in DISTANCES:
            if _finite(one.value) and _finite(one.floor) and one.floor:
                ratios[one.metric] = max(one.value / one.floor, ratios.get(one.metric, 0.0))
            else:
                undefined = True
    worst = max(ratios, key=ratios.__getitem__, default=None)
    if worst is not None and ratios[worst] > FAR:
        off.append(f"the {worst}, {ratios[worst]:.1f} times its floor")
    slope = next((one for one in records if one.metric == SLOPE), None)
    if slope is not None and _finite(slope.value) and _finite(slope.error):
        real = abs(slope.floor - 1) if _finite(slope.floor) else 0.0
        if abs(slope.value - 1) > max(SIGMAS * slope.error, real):
            off.append(f"fold changes between classes, {slope.value:.2f} times the real ones")
    if difference is not None and not difference.chance:
        off.append(
            f"the mean of {difference.name}, {number(difference.samples, '.3g')} instead of "
            f"{number(difference.real, '.3g')} in training rows"
        )
    if off:
        one = len(off) == 1 and off[0].startswith("the ")
        rest = f"; off {'is' if one else 'are'} {_joined(off)}"
    else:
        which = "every distance is"
        if undefined:
            which = f"{' and '.join(f'the {name}' for name in ratios)} {_are(ratios)}"
        rest = f"; {which} within {FAR:g} times its floor" if ratios else ""
        if difference is not None:
            rest += f"{', and' if rest else ';'} of the features seen in enough rows, {SAME}"
    between = f"{auc.floor:.3f} between real rows"
    return (
        f"Samples{given} {told} from rows of {auc.split}: a classifier has an AUC of "
        f"{auc.value:.3f}, and of {between}{rest}."
    )


def nearness(records: Sequence[Record]) -> str:
    """What an energy distance comes to; empty if there is none, or no floor of it.

    Args:
        records: Of one evaluation.
    """
    one = next((one for one in records if one.metric == ENERGY), None)
    if one is None or not (_finite(one.value) and _finite(one.floor) and one.floor > 0):
        return ""
    new = of_new_data(one)
    ratio = one.value / new
    word = next(word for limit, word in NEARNESS if ratio <= limit)
    given = f" given {one.given}" if one.given and one.given not in one.split else ""
    rest = ""
    if ratio > FAR:
        rest = ": longer training, or more evaluations of the network, may bring them nearer"
    return (
        f"Samples{given} are {word.format(one.split)} new data would be: their energy distance is "
        f"{number(one.value, '.3g')}, and that of as many new data {number(new, '.3g')} on "
        f"average{rest}."
    )


def of_new_data(energy: Record) -> float:
    """The energy distance that n new data would have from the N reference items, on average."""
    assert energy.floor is not None
    n, total = energy.n, energy.n_reference
    if energy.half_split is not None:  # a bootstrap
        distance = energy.floor * n * total / (total - 1)
    else:
        distance = energy.floor / (1 / n + 1 / (total - n))
    return distance * (1 / n + 1 / total)


def _are(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are each"


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and isfinite(value)


def _share(value: float | None) -> TypeGuard[float]:
    return value is not None and 0 <= value <= 1


def _joined(parts: Sequence[str]) -> str:
    """Parts of a sentence, which have commas of their own."""
    *most, last = parts
    return f"{'; '.join(most)}; and {last}" if most else last
