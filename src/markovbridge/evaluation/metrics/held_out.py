r"""Entries that were hidden: how well are they predicted, and with how true an uncertainty?

For imputation, entries marked by a mask are hidden. For depth restoration there is
**molecular cross-validation** (Batson, Royer and Webber 2019,
https://doi.org/10.1101/786269): every unit of a count goes to one of two parts at random,

    kept ~ Binomial(x, p),    lost = x - kept,

a model sees the kept part and predicts the lost one. No ground truth is needed, and for
Poisson counts the two parts are independent given the rates.

A prediction is either one number per entry, taken for the mean, or a `Restoration`: draws
of each entry. Scores, over all hidden entries at once:

- Spearman's rank correlation of mean and truth, ties having their average rank;
- root mean square error of the mean;
- mean absolute error of the median of draws (each point its own score, Gneiting 2011,
  https://doi.org/10.1198/jasa.2011.r10138), or of the mean where that is all there is;
- Poisson deviance of the mean, 2 [y log(y/μ) - (y - μ)], infinite where 0 was predicted and
  something was there;
- CRPS, E|X - y| - E|X - X'|/2, estimated from D draws without bias ("fair", Ferro 2014,
  https://doi.org/10.1002/qj.2270), in units of counts: the absolute error of a law;
- coverage of central intervals, by `markovbridge.evaluation.restoration.coverage`.

The floors of these are the same scores of simple baselines: `exact.CountMixture`, and scaling
(`metrics.count_baselines`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.evaluation.restoration import Coverage, Restoration, coverage
from markovbridge.laws import Binomial


def thin(
    x: Tensor, survival: float, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Split counts into two parts, unit by unit.

    Args:
        x: Counts, any shape.
        survival: Probability of each unit to go to the first part, in (0, 1).
        generator: Source of randomness.

    Returns:
        The kept part, Binomial(x, survival), and the rest: both int64, and x in sum.
    """
    if not 0 < survival < 1:
        raise ValueError(f"survival must lie in (0, 1), not {survival}")
    if x.is_floating_point() or (x.numel() and bool((x < 0).any())):
        raise ValueError("x must hold counts: integers of 0 or more")
    probability = torch.full((), survival, dtype=torch.float64, device=x.device)
    kept = Binomial(x, probability).sample(generator=generator)
    return kept, x.to(torch.int64) - kept


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of all entries, ties having their average rank.

    NaN if either is constant.
    """
    from scipy.stats import rankdata  # half a second, which scores of images do without

    x, y = (rankdata(v.cpu().double().numpy().ravel()) for v in (a, b))
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else float("nan")


def poisson_deviance(mean: Tensor, truth: Tensor) -> Tensor:
    """2 [y log(y/μ) - (y - μ)] of each entry, float64; 0 if and only if μ = y.

    Args:
        mean: Predicted means μ >= 0.
        truth: Counts y, of the same shape.
    """
    mean, y = mean.double(), truth.double()
    if bool((mean < 0).any()):
        raise ValueError(f"a predicted mean is {float(mean.min()):g}; means are 0 or more")
    checks.parameter(y, "the truth", least=0)
    checks.parameter(mean, "a predicted mean", least=0)
    ratio = torch.where(y > 0, y / mean, 1.0)
    return 2 * (torch.xlogy(y, ratio) - (y - mean))


def crps(draws: Tensor, truth: Tensor) -> Tensor:
    """The continuous ranked probability score of each entry, float64, from draws, unbiased.

    Args:
        draws: (D, *shape), D >= 2.
        truth: `shape`.

    Returns:
        Fair estimates, which may be slightly negative where all draws are near the truth.
    """
    count = len(draws)
    if count < 2:
        raise ValueError(f"a fair CRPS needs at least 2 draws, got {count}")
    checks.parameter(draws, "a draw")
    checks.parameter(truth, "the truth")
    ordered = draws.double().sort(0).values
    # Σ_{i<j} |X_i - X_j| from order statistics: the k-th is above k others, below the rest.
    place = torch.arange(count, dtype=torch.float64, device=draws.device)
    between = torch.tensordot(2 * place - (count - 1), ordered, dims=1)
    off = (ordered - truth.double()).abs().mean(0)
    return off - between / (count * (count - 1))


@dataclass(frozen=True)
class HeldOut:
    """Scores of a prediction of hidden entries; see the head of this module.

    Attributes:
        entries: How many entries were hidden.
        spearman: Rank correlation; higher is better.
        rmse: Root mean square error.
        mae: Mean absolute error.
        deviance: Mean Poisson deviance.
        crps: Mean CRPS, None without draws.
        coverage: Of central intervals, empty without draws.
    """

    entries: int
    spearman: float
    rmse: float
    mae: float
    deviance: float
    crps: float | None = None
    coverage: tuple[Coverage, ...] = ()


def held_out(
    prediction: Tensor | Restoration,
    truth: Tensor,
    where: Tensor | None = None,
    *,
    levels: Sequence[float] = (0.5, 0.9),
    generator: torch.Generator | None = None,
) -> HeldOut:
    """Score a prediction of hidden entries.

    Means of a few draws are 0 where the truth need not be, and their deviance infinite. So
    for the deviance alone a `Restoration` of D draws has one more, the feature's average
    over all rows and draws.

    Args:
        prediction: Predicted means, (n, *event); or draws, whose entries that were not
            hidden do not matter.
        truth: The counts, (n, *event).
        where: Which entries were hidden, (n, *event) bool; all if None.
        levels: Of the intervals whose coverage is measured.
        generator: Source of randomness for ties in `coverage`.
    """
    if where is None:
        where = torch.ones_like(truth, dtype=torch.bool)
    draws = prediction.draws if isinstance(prediction, Restoration) else None
    mean = prediction.mean if isinstance(prediction, Restoration) else prediction.double()
    if mean.shape != truth.shape or where.shape != truth.shape or not bool(where.any()):
        raise ValueError(
            f"prediction {tuple(mean.shape)}, truth {tuple(truth.shape)} and where "
            f"{tuple(where.shape)} must have one shape, and where mark at least one entry"
        )
    checks.parameter(truth[where], "the truth", least=0)
    hidden, point, safe = truth[where].double(), mean, mean
    if draws is not None:
        point = draws.double().quantile(0.5, dim=0)
        safe = (mean * len(draws) + mean.mean(0)) / (len(draws) + 1)
    return HeldOut(
        entries=len(hidden),
        spearman=spearman(mean[where], hidden),
        rmse=float((mean[where] - hidden).square().mean().sqrt()),
        mae=float((point[where] - hidden).abs().mean()),
        deviance=float(poisson_deviance(safe[where], hidden).mean()),
        crps=None if draws is None else float(crps(draws[:, where], hidden).mean()),
        coverage=()
        if not isinstance(prediction, Restoration)
        else tuple(coverage(prediction, truth, levels, where=where, generator=generator)),
    )


def held_out_table(scores: Mapping[str, HeldOut]) -> str:
    """Scores of several predictions of the same entries as text, one a line.

    Raises:
        ValueError: If there are none.
    """
    if not scores:
        raise ValueError("scores must be those of one prediction or more, not of none")
    levels = [c.level for c in next((s.coverage for s in scores.values() if s.coverage), ())]
    names = ["Spearman", "RMSE", "MAE", "deviance", "CRPS", *(f"in {c:.0%}" for c in levels)]
    width = max(map(len, scores))
    lines = [" " * width + "".join(f"{name:>10}" for name in names)]
    for name, found in scores.items():
        values = [found.spearman, found.rmse, found.mae, found.deviance, found.crps]
        values += [c.randomised for c in found.coverage] or [None] * len(levels)
        cells = "".join(f"{'' if v is None else f'{v:.4f}':>10}" for v in values)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)


doors.guard(__name__, records=("HeldOut",))
