r"""Feature by feature: do samples of a count table have the right margins and correlations?

Of each feature j, over rows: its mean m_j, variance v_j, share of zeros and Fano factor
v_j/m_j. Agreement with real data is summarised over the features that are seen (not zero)
in at least k rows of the real data, since of the others little is known, as

- the Pearson correlation of logarithms (values below half a row's worth, 1/(2n), count as
  that, so that a feature a model never makes is far off and not infinitely far);
- the median and the largest relative error |ours - real|/real.

Correlations between features are compared as

    sqrt( Σ_{j≠k} (c_jk - c'_jk)² / (d(d - 1)) ),

the Frobenius norm of the difference of the two correlation matrices, per pair of features. It
is formed block by block, so that neither matrix is ever held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.evaluation.metrics.distances import feature_statistics
from markovbridge.evaluation.metrics.points import as_rows, check_same_width

LEAST = 3  # features that a correlation over features is of
COLUMNS = 1024  # features whose correlations with as many others are held at a time


@dataclass(frozen=True, eq=False)
class Margins:
    """Statistics of each feature over rows, each `(d,)` float64.

    Attributes:
        mean: Means.
        variance: Unbiased variances.
        zeros: Shares of exact zeros.
        rows: How many rows they are of.
    """

    mean: Tensor
    variance: Tensor
    zeros: Tensor
    rows: int

    @property
    def fano(self) -> Tensor:
        """Variance over mean: 1 for Poisson counts, above it if over-dispersed; 1 at mean 0."""
        return torch.where(self.mean > 0, self.variance / self.mean.clamp_min(1e-300), 1.0)

    @property
    def seen(self) -> Tensor:
        """In how many rows each feature is not zero."""
        return ((1 - self.zeros) * self.rows).round()

    def named(self) -> dict[str, Tensor]:
        """The four statistics by name, in the order they are reported."""
        return {
            "mean": self.mean,
            "variance": self.variance,
            "zero fraction": self.zeros,
            "Fano factor": self.fano,
        }


def margins(x: Tensor) -> Margins:
    """Mean, variance, share of zeros and Fano factor of each feature of `x`, `(n, *event)`."""
    return Margins(*feature_statistics(x), rows=len(x))


@dataclass(frozen=True)
class Agreement:
    """How well one statistic of features agrees with real data.

    Attributes:
        correlation: Pearson correlation of logarithms; NaN if either never varies, or of fewer
            than `LEAST` features.
        median_error: Median relative error; NaN of no features.
        largest_error: Largest relative error; NaN of no features.
    """

    correlation: float
    median_error: float
    largest_error: float


def agreement(ours: Margins, real: Margins, features: Tensor) -> dict[str, Agreement]:
    """Compare the statistics of two tables over some features.

    Args:
        ours: Of samples.
        real: Of real data.
        features: Which features to compare, `(d,)` bool.

    Returns:
        An `Agreement` for each of "mean", "variance", "zero fraction" and "Fano factor".
    """
    if features.shape != real.mean.shape or features.dtype != torch.bool:
        raise ValueError(
            f"features must be bool of shape {tuple(real.mean.shape)}, one for each feature, got "
            f"{features.dtype} of shape {tuple(features.shape)}"
        )
    count, found = int(features.sum()), {}
    theirs = real.named()
    for name, values in ours.named().items():
        a, b = values[features], theirs[name][features]
        logs = [
            values.clamp_min(0.5 / table.rows).log() for values, table in ((a, ours), (b, real))
        ]
        x, y = (value - value.mean() for value in logs)
        # Of equal logarithms nothing is left but the rounding of their mean.
        norms = [float(v.norm()) for v in (x, y)]
        defined = count >= LEAST and min(norms) > 1e-9 * len(x) ** 0.5
        relative = (a - b).abs() / b.clamp_min(0.5 / real.rows)
        found[name] = Agreement(
            correlation=float(x @ y) / math.prod(norms) if defined else math.nan,
            median_error=float(relative.median()) if count else math.nan,
            largest_error=float(relative.max()) if count else math.nan,
        )
    return found


def correlation_error(a: Tensor, b: Tensor, *, columns: int = COLUMNS) -> float:
    """The Frobenius distance of two tables' correlation matrices, per pair of features.

    A feature that is constant in a table has correlation 0 with all others there.

    Args:
        a: One table, shape `(n, *event)`, n >= 2.
        b: The other, shape `(m, *event)`, m >= 2.
        columns: Features whose correlations with as many others are held at a time.

    Returns:
        Root mean square difference of the correlations of different features, in 0..2.
    """
    checks.whole(columns, "columns", least=1)
    ours, theirs = as_rows(a, "a"), as_rows(b, "b")
    check_same_width(ours, theirs, ("a", "b"))
    d = ours.shape[1]
    if d < 2 or min(len(ours), len(theirs)) < 2:
        raise ValueError(
            f"correlations need at least 2 features and 2 rows, got {d} features and "
            f"{min(len(ours), len(theirs))} rows"
        )
    total = 0.0
    for start in range(0, d, columns):
        first = [_standardised(table[:, start : start + columns]) for table in (ours, theirs)]
        for other in range(start, d, columns):
            second = first
            if other > start:
                second = [
                    _standardised(table[:, other : other + columns]) for table in (ours, theirs)
                ]
            one, two = (x.T @ y for x, y in zip(first, second, strict=True))
            squares = (one - two).double().square()
            if other == start:
                total += float(squares.sum() - squares.diagonal().sum())
            else:
                total += 2 * float(squares.sum())
    return (total / (d * (d - 1))) ** 0.5


def _standardised(columns: Tensor) -> Tensor:
    """Columns of mean 0 and norm 1, float32; constant ones are 0."""
    x = columns.double()
    x = x - x.mean(0)
    norm = x.norm(dim=0)
    return torch.where(norm > 1e-9 * len(x) ** 0.5, x / norm.clamp_min(1e-300), 0.0).float()


doors.guard(__name__, records=("Agreement", "Margins"))
