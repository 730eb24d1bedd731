"""Scores of the answers of `rivals.py`, each with its error and its floor.

**Samples** against held-out rows of validation and test, as many of each: the area under the ROC
curve of a linear and of a boosted classifier, by cross-validation in three parts, which see the
logarithms of counts and of a row's total and number of features; the accuracy of the nearest
neighbour (Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545). Both are 0.5 at best, and
their floor is that of training rows. Then `metrics.evaluate_counts` against the training rows.
Fold changes of classes (log ratio of the means of a class and of the other rows) in samples over
those in held-out rows, over features expected in `SEEN` held-out rows of a class and of the
others: the slope is 1 at best. Its denominator is less by the noise of the held-out fold changes
themselves, since an error in what is divided by flattens a slope (Fuller 1987,
https://doi.org/10.1002/9780470316665, 1.1); where they are half noise it is not told.

**Lost and hidden counts**: `metrics.held_out`, and how far the mean deviance of a row is from that
of the first method, with its paired standard error. What predicts 0 where something may be is
given a share of the average row, the one of least deviance on validation rows.

**Nats** of the first test rows, and the difference to the first method, paired.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from markovbridge.evaluation.metrics import (
    HeldOut,
    embed,
    evaluate_counts,
    held_out,
    nearest,
    poisson_deviance,
    spearman,
)
from markovbridge.evaluation.restoration import Restoration
from rivals_work import Task

REAL = "real rows"
SHARES = (0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1)  # of the average row
FOLDS = 3
SEEN, LEAST = 10, 5  # rows that a feature of a fold change is expected in; features of a slope
NOISE = 0.5  # share of the variance of held-out fold changes that may be their noise
ROUNDED = 19  # of means whose ranks are compared
BEST = {"lower": lambda v: v, "higher": lambda v: -v, "half": lambda v: abs(v - 0.5)}
RECORDS = {  # of `evaluate_counts`, and what is better of them
    "classifier AUC": "half",
    "energy distance": "lower",
    "correlation error": "lower",
    "library-size distance": "lower",
    "mean: log correlation": "higher",
    "variance: log correlation": "higher",
    "zero fraction: log correlation": "higher",
    "zero fraction: median error": "lower",
}

Answers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Figure:
    """One score.

    Attributes:
        group: "samples", "half the depth", "hidden entries", "nats" or "cost".
        metric: What is measured.
        method: Of what; `REAL` for the floor.
        value: The score.
        error: Its standard error, or that of the difference to the first method.
        better: "lower", "higher", "half" (nearer to 0.5), a nominal value, or None.
    """

    group: str
    metric: str
    method: str
    value: float
    error: float | None = None
    better: str | float | None = None

    def distance(self) -> float:
        """How far the score is from the best, for ranks."""
        if isinstance(self.better, float):
            return abs(self.value - self.better)
        return math.nan if self.better is None else BEST[self.better](self.value)


def told(rows: Tensor) -> np.ndarray:
    """What classifiers see: logarithms of counts, of the total, and of the features there are."""
    beside = torch.stack([rows.sum(1), (rows > 0).sum(1)], 1)
    return torch.cat([embed(rows), embed(beside)], 1).numpy()


def areas(a: Tensor, b: Tensor, seed: int) -> dict[str, float]:
    """Areas under the ROC curve of classifiers that tell rows of a from those of b."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = told(torch.cat([a, b])), np.repeat([1, 0], [len(a), len(b)])
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    kinds = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=300)),
        "boosted": HistGradientBoostingClassifier(max_iter=60, random_state=seed),
    }
    return {
        f"AUC, {name} classifier": float(
            roc_auc_score(y, cross_val_predict(kind, x, y, cv=parts, method="predict_proba")[:, 1])
        )
        for name, kind in kinds.items()
    }


def neighbour_accuracy(a: Tensor, b: Tensor) -> float:
    """How often the nearest other row, in logarithms, is of the same of two sets of one size."""
    rows = embed(torch.cat([a, b]))
    label = torch.arange(len(rows)) < len(a)
    index = nearest(rows, rows, k=2).index
    itself = index[:, 0] == torch.arange(len(rows))
    other = torch.where(itself, index[:, 1], index[:, 0])
    return float((label[other] == label).double().mean())


def fold_changes(x: Tensor, classes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Log fold change of each class (classes, d), and the variance of each."""
    found, spread = [], []
    for c in np.unique(classes):
        inside = torch.from_numpy(classes == c)
        logs = []
        for part in (x[inside].double(), x[~inside].double()):
            mean = part.mean(0) + 0.5 / len(part)
            logs.append((mean.log(), part.var(0) / len(part) / mean**2))
        found.append(logs[0][0] - logs[1][0])
        spread.append(logs[0][1] + logs[1][1])
    return torch.stack(found), torch.stack(spread)


def slope(theirs: Tensor, noise: Tensor, ours: Tensor, keep: Tensor) -> tuple[float, float]:
    """Of ours over theirs, which have a noise of known variance; and its jackknife error.

    Args:
        theirs: Fold changes (classes, d), each class with an intercept of its own.
        noise: Their variances (classes, d).
        ours: Fold changes (classes, d).
        keep: Those that count, (classes, d) bool, 2 or more of each class.
    """
    n = keep.sum(1, keepdim=True).double()
    x, y = (
        torch.where(keep, v - torch.where(keep, v, 0).sum(1, keepdim=True) / n, 0)
        for v in (theirs, ours)
    )
    noise, lost = torch.where(keep, noise, 0), n / (n - 1)
    above, below = (x * y).sum(), (x * x).sum() - noise.sum()
    # Without feature j, sums of products of what is centred anew lose x_j y_j n/(n - 1).
    without = (above - (x * y * lost).sum(0)) / (below - (x * x * lost - noise).sum(0))
    without = without[keep.any(0)]
    d = len(without)
    error = ((d - 1) / d * (without - without.mean()).square().sum()).sqrt()
    return float(above / below), float(error)


def samples(task: Task, answers: Mapping[str, Answers], repeats: int) -> Iterator[Figure]:
    """Scores of samples."""
    train = torch.from_numpy(task["train"]).long()
    held = torch.from_numpy(np.concatenate([task["validation"], task["test"]])).long()
    made = {REAL: train}
    for name, found in answers.items():
        made |= {name: torch.from_numpy(found["samples"]).long()} if "samples" in found else {}
        if "encoded" in found:
            made[f"{name}, encoded"] = torch.from_numpy(found["encoded"]).long()
    size = min(len(held), *(len(rows) for rows in made.values()))
    for name, rows in made.items():
        scores: dict[str, list[float]] = {}
        for k in range(repeats):
            rng = torch.Generator().manual_seed(task.options["seed"] + k)
            b = held[torch.randperm(len(held), generator=rng)[:size]]
            a = rows[torch.randperm(len(rows), generator=rng)[:size]]
            for metric, value in areas(a, b, k).items():
                scores.setdefault(metric, []).append(value)
            scores.setdefault("accuracy of the nearest neighbour", []).append(
                neighbour_accuracy(a, b)
            )
        for metric, values in scores.items():
            yield Figure("samples", metric, name, sum(values) / repeats, better="half")
    yield from _records(task, train, made, repeats)
    for name, rows in made.items():
        total = rows.sum(1).double()
        zeros = float((rows == 0).double().mean())
        yield Figure("samples", "mean total of a row", name, float(total.mean()))
        yield Figure("samples", "deviation of totals", name, float(total.std()))
        yield Figure("samples", "share of zeros", name, zeros)
    if task.classed:
        yield from _fold_changes(task, train, held, answers)


def _records(
    task: Task, train: Tensor, made: Mapping[str, Tensor], repeats: int
) -> Iterator[Figure]:
    facts = {"weights": "raw", "sampler": "own", "evaluations": 0, "split": "train"}
    floor = None
    for name, rows in made.items():
        if name == REAL:
            continue
        seed = task.options["seed"]
        records = evaluate_counts(rows, train, repeats=repeats, meta={**facts, "seed": seed})
        for record in records:
            better = RECORDS.get(record.metric)
            if better is None or record.value is None:
                continue
            metric = record.metric.replace("classifier AUC", "AUC, small network")
            yield Figure("samples", metric, name, record.value, better=better)
            if floor in (None, name) and record.floor is not None:
                yield Figure("samples", metric, REAL, record.floor, better=better)
        floor = floor or name


def _fold_changes(
    task: Task, train: Tensor, held: Tensor, answers: Mapping[str, Answers]
) -> Iterator[Figure]:
    classes = np.concatenate([task.classes("validation"), task.classes("test")])
    theirs, noise = fold_changes(held, classes)
    # How many rows to expect each feature in, by the training rows: held-out ones must not choose.
    expected = [
        [
            (train[torch.from_numpy((task.classes("train") == c) == inside)] > 0).double().mean(0)
            * int(((classes == c) == inside).sum())
            for inside in (True, False)
        ]
        for c in np.unique(classes)
    ]
    keep = torch.stack([torch.minimum(*pair) >= SEEN for pair in expected])
    if len(keep) == 2:
        keep[1] = False  # the second class says again what the first does
    used = keep.sum(1) >= LEAST
    which = keep & used[:, None]
    if not which.any() or noise[which].mean() > NOISE * theirs[which].var():
        return
    made = {REAL: (train, task.classes("train"))} | {
        name: (torch.from_numpy(found["samples"]).long(), found["sample_classes"])
        for name, found in answers.items()
        if "samples" in found
    }
    for name, (rows, of_rows) in made.items():
        some = np.isin(of_rows, np.unique(classes))
        if not np.array_equal(np.unique(of_rows[some]), np.unique(classes)):
            continue
        ours, _ = fold_changes(rows[torch.from_numpy(some)], of_rows[some])
        value, error = slope(theirs[used], noise[used], ours[used], keep[used])
        yield Figure("samples", "slope of fold changes", name, value, error, 1.0)


def blended(
    guess: Tensor, average: Tensor, on_validation: Tensor, truth: Tensor, where: Tensor
) -> Tensor:
    """A prediction with so much of another mixed in as is best on validation rows.

    Args:
        guess: Of test rows, and
        average: what is mixed in, (n, d).
        on_validation: The two predictions of validation rows, (2, m, d).
        truth: Counts of validation rows, (m, d).
        where: Entries that count, (m, d) bool.
    """

    def error(share: float) -> float:
        mean = (1 - share) * on_validation[0] + share * on_validation[1]
        return float(poisson_deviance(mean[where], truth[where]).mean())

    share = min(SHARES, key=error)
    return (1 - share) * guess + share * average


def predictions(task: Task, answers: Mapping[str, Answers], kind: str) -> Iterator[Figure]:
    """Scores of predicted counts, "lost" or "imputed"; the first method is compared with.

    Most counts being 0 and tied, a rank correlation is higher the coarser means are, those of 19
    draws, say; so there is one of means that are equally coarse in all methods.
    """
    survival = task.options["survival"]
    truths, masks, averages = {}, {}, {}
    shares = torch.from_numpy(task["train"].mean(0)) + 1e-9
    for part in ("validation", "test"):
        x = torch.from_numpy(task[part]).long()
        kept = torch.from_numpy(task[f"kept_{part}"]).long()
        hidden = torch.from_numpy(task[f"hidden_{part}"])
        if kind == "lost":
            depth = kept.sum(1, keepdim=True) * (1 - survival) / survival / shares.sum()
            truths[part], masks[part] = x - kept, torch.ones_like(hidden)
        else:
            depth = (x * ~hidden).sum(1, keepdim=True) / (shares * ~hidden).sum(1, keepdim=True)
            truths[part], masks[part] = x, hidden
        # A row of which nothing was seen may still have something.
        averages[part] = depth.clamp_min(0.5 / len(x) / shares.sum()) * shares
    truth, where = truths["test"], masks["test"]
    group, first = ("half the depth" if kind == "lost" else "hidden entries"), None
    for name, found in answers.items():
        mean, draws = (found.get(key) for key in (kind, f"{kind}_draws"))
        if mean is None and draws is None:
            continue
        ties = torch.Generator().manual_seed(task.options["seed"])
        law = None
        if draws is not None:
            law = Restoration(torch.from_numpy(draws).long())
            law_score = held_out(law, truth, where, generator=ties)
        if mean is None:
            # One more draw, of the average row: where all draws are 0 the truth need not be.
            point = (law.draws.sum(0) + averages["test"]) / (len(law.draws) + 1)
            score = replace(law_score, deviance=held_out(point, truth, where).deviance)
        else:
            point = torch.from_numpy(mean).double()
            if f"{kind}_validation" in found:
                other = torch.from_numpy(found[f"{kind}_validation"]).double()
                both = torch.stack([other, averages["validation"]])
                point = blended(
                    point, averages["test"], both, truths["validation"], masks["validation"]
                )
            score = held_out(point, truth, where)
        by_row = torch.where(where, poisson_deviance(point, truth), 0).sum(1)
        by_row = by_row / where.double().sum(1).mean()
        first = by_row if first is None else first
        yield from _scores(group, name, score, None if law is None else law_score)
        coarse = spearman((point[where] * ROUNDED).round(), truth[where])
        yield Figure(group, f"Spearman of means to 1/{ROUNDED}", name, coarse, better="higher")
        gap = by_row - first
        if name != next(iter(answers)):
            yield _paired(group, f"deviance above that of {next(iter(answers))}", name, gap)


def _scores(group: str, name: str, score: HeldOut, law: HeldOut | None) -> Iterator[Figure]:
    yield Figure(group, "deviance", name, score.deviance, better="lower")
    yield Figure(group, "RMSE of means", name, score.rmse, better="lower")
    yield Figure(group, "Spearman", name, score.spearman, better="higher")
    if law is None:
        return
    if law.crps is not None:
        yield Figure(group, "CRPS", name, law.crps, better="lower")
    for held in law.coverage:
        metric = f"share in {held.level:.0%} intervals"
        yield Figure(group, metric, name, held.randomised, held.error, held.level)


def _paired(group: str, metric: str, name: str, gap: Tensor) -> Figure:
    error = float(gap.std()) / len(gap) ** 0.5
    return Figure(group, metric, name, float(gap.mean()), error, "lower")


def nats(answers: Mapping[str, Answers]) -> Iterator[Figure]:
    """Nats a row, and how many more than those of the first method."""
    known = {
        name: torch.from_numpy(found["nats"]).double()
        for name, found in answers.items()
        if "nats" in found
    }
    for name, values in known.items():
        yield Figure("nats", "nats a row", name, float(values.mean()), better="lower")
        if name != (first := next(iter(known))):
            yield _paired("nats", f"above those of {first}", name, values - known[first])


def costs(work: Mapping[str, Mapping]) -> Iterator[Figure]:
    """Seconds of the processor and peak memory."""
    for name, facts in work.items():
        for stage, (cpu, _) in facts["seconds"].items():
            yield Figure("cost", f"{stage}, CPU seconds", name, cpu)
        yield Figure("cost", "peak memory, MiB", name, facts["peak_mib"])
