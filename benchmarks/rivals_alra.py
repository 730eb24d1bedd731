"""ALRA: zeros of a matrix filled by an approximation of low rank, with a threshold per column.

Linderman et al. 2022, "Zero-preserving imputation of single-cell RNA-seq data",
https://doi.org/10.1038/s41467-021-27729-z: the rank from the gaps between singular values, the
approximation by randomised SVD, its entries below the most negative one of their column taken for
zeros (the 0.1 % quantile of the column, by default there), the others brought to mean and
deviation that the entries above 0 had, and what was above 0 never set to 0.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr, svd
from scipy.stats import norm

MOST, NOISE = (
    100,
    0.8,
)  # singular values that are looked at, and from which share on they are noise
LEVEL = 1e-10  # how unlikely a gap must be among those of the noise
QUANTILE = 0.001
SCALE = 1e4  # what rows are normalised to


def randomised_svd(
    x: np.ndarray, rank: int, rounds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first singular vectors and values: (n, rank), (rank,), (rank, d).

    Halko, Martinsson and Tropp 2011, https://doi.org/10.1137/090771806, algorithm 4.4.
    """
    basis = x @ rng.standard_normal((x.shape[1], min(rank + 10, *x.shape)))
    for _ in range(rounds):
        basis = x @ qr(x.T @ qr(basis, mode="economic")[0], mode="economic")[0]
    left = qr(basis, mode="economic")[0]
    u, values, right = svd(left.T @ x, full_matrices=False)
    return (left @ u)[:, :rank], values[:rank], right[:rank]


def choose_rank(x: np.ndarray, rng: np.random.Generator) -> int:
    """The last singular value whose gap to the next is no gap of noise."""
    most = min(MOST, min(x.shape) - 1)
    first = max(0, int(NOISE * most) - 2)
    gaps = np.diff(randomised_svd(x, most, 2, rng)[1])
    noise = gaps[first:]
    if len(noise) < 2:
        return 1
    (clear,) = np.nonzero(norm.cdf(gaps, noise.mean(), noise.std(ddof=1)) < LEVEL)
    return int(clear.max()) + 1 if len(clear) else 1


def complete(x: np.ndarray, rank: int | None = None, seed: int = 0) -> np.ndarray:
    """The matrix completed.

    Args:
        x: Values of 0 or more, (n, d), in logarithms.
        rank: Of the approximation; None for `choose_rank`.
        seed: Of the random projections.
    """
    rng = np.random.default_rng(seed)
    rank = choose_rank(x, rng) if rank is None else rank
    u, values, right = randomised_svd(x, rank, 10, rng)
    near = (u * values) @ right
    near[near <= np.abs(np.quantile(near, QUANTILE, axis=0))] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, spread = _moments(near)
        mean_before, spread_before = _moments(x)
        factor = spread_before / spread
        scaled = near * factor + (mean_before - mean * factor)
    scaled = np.where(np.isfinite(factor), scaled, near)
    scaled = np.where(near == 0, 0, scaled).clip(0)
    return np.where((scaled == 0) & (x > 0), x, scaled)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the entries of each column that are not 0; NaN of too few."""
    count = (x != 0).sum(0)
    mean = x.sum(0) / count
    square = np.where(x != 0, (x - mean) ** 2, 0).sum(0)
    return mean, np.sqrt(square / np.where(count > 1, count - 1, np.nan))


def shares(rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """Relative abundances, (n, d), of counts (n, d)."""
    total = np.maximum(rows.sum(1, keepdims=True), 1)
    return np.expm1(complete(np.log1p(rows * (SCALE / total)), seed=seed))
