"""Tests of draws at one level, by how many standard deviations they are off, and integrals."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from markovbridge import doors

LEVEL = 1e-5  # of every test of draws
FAR = float(stats.norm.isf(LEVEL / 2))
"""How many standard deviations draws may be off."""
LEAST = 5.0  # expected draws in a cell of chi-square


def deviations(p_value: float, tests: int = 1) -> float:
    """The smallest of several p-values as a number of standard deviations."""
    p_value = min(1.0, p_value * tests)
    return math.inf if p_value <= 0 else float(stats.norm.isf(p_value / 2))


def chi_square(draws: Tensor, values: Tensor, mass: Tensor) -> float:
    """The p-value of draws from a law on values, in increasing order.

    Args:
        draws: (n,).
        values: (K,).
        mass: Probability of each, (K,); what is missing to 1 is that of all other values.
    """
    mass = mass.double().clamp_min(0)
    draws = draws.contiguous()
    cells = torch.searchsorted(values, draws).clamp_max(len(values) - 1)
    inside = values[cells] == draws
    found = torch.bincount(cells[inside], minlength=len(values)).double().numpy()
    expected = len(draws) * mass.numpy()
    rest = max(0.0, len(draws) - expected.sum())
    found, expected = np.r_[found, float((~inside).sum())], np.r_[expected, rest]
    if found[expected < 1e-9].sum() > 0:
        return 0.0
    pooled, cell = [], np.zeros(2)
    for one in sorted(zip(expected, found, strict=True)):
        cell = cell + one
        if cell[0] >= LEAST:
            pooled.append(cell)
            cell = np.zeros(2)
    if not pooled:
        return 1.0
    pooled[-1] = pooled[-1] + cell
    expected, found = np.array(pooled).T
    if len(expected) < 2:
        return 1.0
    return float(stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue)


def normal_off(values: Tensor, wanted: float | Tensor) -> float:
    """By how many standard deviations means over draws are off, the farthest of them.

    Args:
        values: (n, ...).
        wanted: What they should be on average, broadcastable to (...).
    """
    n, values = len(values), values.double()
    apart = (values.mean(0) - wanted).abs()
    error = values.std(0) / math.sqrt(n)
    # Rounding of the draws themselves, which are float32 mostly.
    error = error + 1e-6 * (1 + values.abs().amax(0))
    z = (apart / error).nan_to_num(nan=math.inf)
    return deviations(float(2 * stats.norm.sf(float(z.max()))), z.numel())


def moments_off(draws: Tensor, mean: Tensor, variance: Tensor) -> float:
    """By how many standard deviations draws (n, ...) are off these moments (...)."""
    draws, mean = draws.double(), mean.double()
    return max(normal_off(draws, mean), normal_off((draws - mean) ** 2, variance.double()))


def trapezoid(values: Tensor, grid: Tensor) -> Tensor:
    """Integrals over the last axis; both (..., n), the grid even."""
    step = grid[..., 1] - grid[..., 0]
    return (values.sum(-1) - (values[..., 0] + values[..., -1]) / 2) * step


doors.guard(__name__, inside=("chi_square", "deviations", "moments_off", "normal_off"))
