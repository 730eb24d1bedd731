r"""Distances between two samples: Fréchet, energy, and errors feature by feature.

**Fréchet distance.** The squared 2-Wasserstein distance between the Gaussians
with the samples' means and covariances (Dowson and Landau 1982, J. Multivariate
Anal. 12:450; for images Heusel et al. 2017, https://arxiv.org/abs/1706.08500):

    |m_a - m_b|^2 + tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}

With A = F F^T and B = G G^T, factors that symmetric eigendecompositions give,
the last trace is the sum of the singular values of F^T G (the nuclear norm).
No square root of a general matrix is taken, nothing becomes complex, and a
covariance of low rank (fewer items than features) is no special case: its null
directions are left out. Covariances are unbiased (divided by n - 1).

Of more than `FACTORED` features an eigendecomposition takes long, and of fewer items than
features F is known without: F = (X - m)^T/(n - 1)^{1/2}. Against a covariance B of more items
the last trace is then that of (F^T B F)^{1/2}, a matrix of n x n, right to 1e-7 of itself.

**Energy distance.** Székely and Rizzo 2013, J. Stat. Plan. Inference 143:1249:

    2 E|X - Y| - E|X - X'| - E|Y - Y'|

with Euclidean norms of raw values. It is the V-statistic: each expectation runs
over all pairs, a point with itself included, so that the figure is the energy
distance of the two empirical laws, never negative, and zero only if they are
equal. No square root is taken.

Both are biased upwards in small samples. They mean something beside what real
data scores against real data at the same size; `evaluate` reports that floor with
each number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.evaluation.metrics.points import as_rows, blocks, check_same_width

BLOCK = 2048  # rows: one block of pairwise distances takes 32 MiB
FACTORED = 1024  # features whose covariance is factored by its eigenvectors in any case

Statistics = tuple[Tensor, Tensor, Tensor]  # mean, variance and share of zeros of each feature


@dataclass(frozen=True)
class Moments:
    """The mean and covariance of a sample, all that a Fréchet distance sees of it.

    Attributes:
        mean: Shape `(d,)`, float64.
        covariance: Shape `(d, d)`, float64, symmetric and positive semidefinite.
        thin: A factor F of shape `(d, n)`, n <= d, with F F^T the covariance, if one is known.
    """

    mean: Tensor
    covariance: Tensor
    thin: Tensor | None = None

    def __post_init__(self) -> None:
        d = self.mean.shape[0] if self.mean.ndim == 1 else -1
        if self.covariance.shape != (d, d):
            raise ValueError(
                "moments are a mean of shape (d,) and a covariance of shape (d, d), "
                f"got {tuple(self.mean.shape)} and {tuple(self.covariance.shape)}"
            )
        if self.mean.dtype != torch.float64 or self.covariance.dtype != torch.float64:
            raise TypeError("mean and covariance must be float64: call .double() on both")

    @classmethod
    def of(cls, features: Tensor, *, tell: Callable[[float], None] | None = None) -> Moments:
        """The sample mean and unbiased covariance.

        Args:
            features: Shape `(n, *event)`, n >= 2.
            tell: Called with the multiplications that were done.
        """
        rows = as_rows(features, "features")
        n, d = rows.shape
        if n < 2:
            raise ValueError(f"a covariance needs at least 2 items, got {n}")
        mean = torch.zeros(d, dtype=torch.float64, device=rows.device)
        for _, block in blocks(rows, BLOCK):
            mean += block.sum(0)
        mean /= n
        if d > FACTORED and n <= d:
            thin = (rows.to(torch.float64) - mean).T / (n - 1) ** 0.5
            return cls(mean, thin @ thin.T, thin)
        scatter = torch.zeros(d, d, dtype=torch.float64, device=rows.device)
        for _, block in blocks(rows, BLOCK, mean):
            for start in range(0, d, FACTORED):  # on and above the diagonal, in bands
                band = slice(start, start + FACTORED)
                scatter[band, start:].addmm_(block[:, band].T, block[:, start:])
            if tell is not None:
                tell(len(block) * d * d)
        for start in range(FACTORED, d, FACTORED):
            band = slice(start, start + FACTORED)
            scatter[band, :start] = scatter[:start, band].T
        return cls(mean, scatter / (n - 1))

    def without(self, out: Moments, total: int, n: int) -> Moments:
        """Those of the items that are not among n of all `total`, `out` being those of the n."""
        left = total - n
        if not 0 < n < total or left < 2:
            raise ValueError(f"{n} of {total} items leave {left}, and a covariance needs 2")
        mean = (total * self.mean - n * out.mean) / left
        scatter = (total - 1) * self.covariance - (n - 1) * out.covariance
        between = out.mean - mean
        scatter -= (n * left / total) * between.outer(between)
        return Moments(mean, scatter / (left - 1))

    @cached_property
    def factor(self) -> Tensor:
        """F of shape `(d, rank)` with F F^T the covariance."""
        if self.thin is not None:
            return self.thin
        values, vectors = torch.linalg.eigh(self.covariance)
        # Rounding leaves the null directions of a rank-deficient covariance with
        # eigenvalues of either sign of this size; their roots would be 1e8 times larger.
        tolerance = values[-1].clamp(min=0) * values.numel() * torch.finfo(values.dtype).eps
        if bool(values[0] < -100 * tolerance):
            raise ValueError(
                f"a covariance has no negative eigenvalue, this one has {values[0].item():.3g}"
            )
        keep = values > tolerance
        return vectors[:, keep] * values[keep].sqrt()

    def frechet_distance(self, other: Moments) -> float:
        """The Fréchet distance to `other`, in squared units of the features."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"the two sets have {self.mean.shape[0]} and {other.mean.shape[0]} features; "
                "use the same extractor for both"
            )
        overlap = self._overlap(other)
        spread = self.covariance.trace() + other.covariance.trace() - 2 * overlap
        return max(0.0, float((self.mean - other.mean).square().sum() + spread))

    def _overlap(self, other: Moments) -> Tensor:
        """The trace of (A^{1/2} B A^{1/2})^{1/2}."""
        if (self.thin is None) == (other.thin is None):
            return torch.linalg.svdvals(self.factor.T @ other.factor).sum()
        one, whole = (self, other) if other.thin is None else (other, self)
        thin = one.factor
        squares = torch.linalg.eigvalsh(thin.T @ whole.covariance @ thin)
        # As in `factor`: what rounding leaves of null directions has roots 1e8 times larger.
        tolerance = squares[-1].clamp(min=0) * squares.numel() * torch.finfo(squares.dtype).eps
        return squares[squares > tolerance].sqrt().sum()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance between two sets of features.

    Args:
        a: Features of one set, shape `(n, *event)`, n >= 2.
        b: Features of the other, shape `(m, *event)`, m >= 2.

    Returns:
        The distance, in squared units of the features.

    Raises:
        ValueError: On different event sizes, on NaN, on fewer than two items.
    """
    return Moments.of(a).frechet_distance(Moments.of(b))


def pair_mean(
    x: Tensor,
    y: Tensor | None = None,
    *,
    of: Callable[[Tensor], Tensor] = torch.sqrt,
    block: int = BLOCK,
    tell: Callable[[float], None] | None = None,
) -> float:
    """The mean over all pairs (x_i, y_j) of a function of |x_i - y_j|^2, in O(block^2) memory.

    Args:
        x: Shape `(n, *event)`.
        y: Shape `(m, *event)`; None means `x` itself, a point with itself (distance 0)
            included, at half the cost.
        of: The function of squared Euclidean distances; their root by default.
        block: Rows of `x` and `y` held in float64 at a time.
        tell: Called with the multiplications that were done.

    Returns:
        The mean; of distances, in units of x.
    """
    rows = as_rows(x, "x")
    others = rows if y is None else as_rows(y, "y").to(rows.device)
    check_same_width(rows, others, ("x", "y"))
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab loses digits if both lie far from the origin. A
    # shift by whole numbers prevents that and keeps the arithmetic of counts exact.
    shift = next(blocks(others, block))[1].mean(0).round()
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    for i, a in blocks(rows, block, shift):
        first = i if y is None else 0
        for j, b in blocks(others[first:], block, shift):
            squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.T)
            if y is None and j == 0:
                squares.fill_diagonal_(0)
            weight = 2 if y is None and j > 0 else 1  # a block off the diagonal stands for two
            total += weight * of(squares.clamp_(min=0)).sum()
            if tell is not None:
                tell(squares.numel() * rows.shape[1])
    return float(total) / (rows.shape[0] * others.shape[0])


def energy_distance(x: Tensor, y: Tensor, *, block: int = BLOCK) -> float:
    """The energy distance between two samples, 2 E|X-Y| - E|X-X'| - E|Y-Y'|.

    Takes O((n + m)^2 d) operations and O(block^2) memory, on the device of `x`.

    Args:
        x: One sample, shape `(n, *event)`, raw values of any dtype.
        y: The other, shape `(m, *event)`.
        block: Rows held in float64 at a time.

    Returns:
        The distance in units of x (not squared, and no square root taken).

    Raises:
        ValueError: On different event sizes or NaN.
    """
    checks.whole(block, "block", least=1)
    a = as_rows(x, "x")
    b = as_rows(y, "y").to(a.device)
    within = pair_mean(a, block=block) + pair_mean(b, block=block)
    return max(0.0, 2 * pair_mean(a, b, block=block) - within)


@dataclass(frozen=True)
class FeatureErrors:
    """Statistics of a sample minus those of the reference, feature by feature.

    Attributes:
        mean: Shape `(d,)`, float64: difference of means.
        variance: Shape `(d,)`: difference of (unbiased) variances.
        zeros: Shape `(d,)`: difference of the shares of exact zeros.
    """

    mean: Tensor
    variance: Tensor
    zeros: Tensor

    @classmethod
    def between(cls, ours: Statistics, theirs: Statistics) -> FeatureErrors:
        """Those of statistics, as `feature_statistics` gives them, minus others."""
        return cls(*(a - b for a, b in zip(ours, theirs, strict=True)))

    def root_mean_square(self) -> dict[str, float]:
        """Each error as one number: its root mean square over the features."""
        return {
            name: float(getattr(self, name).square().mean().sqrt())
            for name in ("mean", "variance", "zeros")
        }


def feature_statistics(x: Tensor) -> Statistics:
    """Mean, unbiased variance and share of zeros of each feature, each `(d,)` float64.

    Args:
        x: Shape `(n, *event)`, n >= 2.
    """
    rows = as_rows(x, "x")
    n, d = rows.shape
    if n < 2:
        raise ValueError(f"a variance needs at least 2 items, got {n}")
    mean, variance, zeros = torch.zeros(3, d, dtype=torch.float64, device=rows.device)
    for _, block in blocks(rows, BLOCK):
        mean += block.sum(0) / n
        zeros += (block == 0).sum(0) / n
    for _, block in blocks(rows, BLOCK, mean):
        variance += block.square().sum(0) / (n - 1)
    return mean, variance, zeros


def feature_errors(samples: Tensor, reference: Tensor) -> FeatureErrors:
    """Errors of the samples' means, variances and shares of zeros.

    Args:
        samples: Shape `(n, *event)`, n >= 2.
        reference: Shape `(m, *event)`, m >= 2.

    Returns:
        Signed differences, samples minus reference, each of shape `(d,)`.
    """
    ours_rows, theirs_rows = as_rows(samples, "samples"), as_rows(reference, "reference")
    check_same_width(ours_rows, theirs_rows, ("samples", "reference"))
    ours = feature_statistics(ours_rows)
    return FeatureErrors.between(ours, feature_statistics(theirs_rows.to(ours_rows.device)))


doors.guard(__name__, records=("FeatureErrors", "Moments"))
