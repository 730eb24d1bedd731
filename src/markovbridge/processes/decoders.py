r"""Decoders: how the likelihood bound of a diffusion ends.

Path measures of diffusions are singular at the very end, so the path is stopped at a small
mortality and finished by a decoder p(data | x_end), whose expectation over x_end is part of
the bound (Kingma et al., https://arxiv.org/abs/2107.00630, end theirs so). Any decoder gives
a bound.

- **Reals**: the reference itself, x_1 ~ N(a x_end, v Γ). It is tight as the truncation goes
  to 0. Data carried in coordinates z = φ(x) (`supports`) have the density of z times |φ'|.
- **Counts as reals** (`RoundedSupport`): a count is a cell of coordinates, and the decoder gives
  the cell of each site its probability under N(a x_end, v Γ_ii). What is bounded is the log
  *probability* of the counts, in the units of every other process on counts. Where the noise
  that is left is far smaller than a cell nothing is gained but the errors of a network that
  does not know of cells, and where it is larger the decoder is lost: the path is stopped
  where its standard deviation is `CELL` cells.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import by_row
from markovbridge.processes.linear import LinearPaths
from markovbridge.processes.supports import RoundedSupport

TRUNCATION = 1e-4  # mortality at which the paths of reals are stopped
CELL = 0.25  # standard deviation at the stop, in cells
NODES = 40  # of the Gauss–Hermite rule over x_end


def truncation(process: LinearPaths, event: torch.Size) -> float:
    """The mortality at which paths are stopped."""
    if not isinstance(process.support, RoundedSupport):
        return TRUNCATION
    most = float(process.covariance.variance(event).max())
    wanted = (CELL * 2 / process.support.maximum) ** 2 / most

    def left(log_q: float) -> float:
        return float(process.piece(_time(process, math.exp(log_q)), 1.0)[1].max())

    low, high = math.log(1e-12), math.log(0.5)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) < wanted else (low, middle)
    return math.exp(low)


def _time(process: LinearPaths, mortality: float) -> Tensor:
    q = torch.tensor(mortality, dtype=torch.float64)
    return process.schedule.time(1 - q, q)


def decoder(process: LinearPaths, x0: Tensor, x1: Tensor, end: float) -> Tensor:
    """E[-log p(data | x_end)] given both ends of the path: (batch,) float64.

    Args:
        process: The reference.
        x0: Sources, (batch, *event), in coordinates.
        x1: Data points, likewise.
        end: Mortality at x_end.
    """
    t = _time(process, end).to(x1.device).expand(len(x1))
    gain, variance = process.piece(t, 1.0)
    # x_1 - a x_end is, given both ends, a Gaussian of this mean and variance (times Γ).
    start, weight, noise = process.weights(0.0, t, 1.0)
    mean = process.basis.combine((1 - gain * weight, x1), (-(gain * start), x0))
    if process.affine:
        none = process.bridged(torch.zeros_like(x1), 0.0, t, 1.0)
        mean = mean - process.carried(process.basis.combine((gain, none)), t, 1.0)
    spread = gain**2 * noise
    if isinstance(process.support, RoundedSupport):
        return _cells(process, process.support.maximum, x1, mean, spread, variance)
    far = process.basis.expected(mean, spread, variance)
    determinant = process.covariance.logdet(x1.shape[1:])
    determinant = determinant + process.basis.total((2 * math.pi * variance).log(), x1)
    return 0.5 * (far + determinant)


def _cells(
    process: LinearPaths,
    maximum: int,
    x1: Tensor,
    mean: Tensor,
    spread: Tensor,
    variance: Tensor,
) -> Tensor:
    """E[-log P(cell of x_1)], the sum over sites, by Gauss–Hermite quadrature."""
    x, mean = x1.double(), mean.double()
    deviation, scale = (process.basis.deviation(v, x) for v in (spread, variance))
    inside, infinity = 0.5 / maximum, torch.inf
    above = torch.where(x > 1 - inside, infinity, 1 / maximum)
    below = torch.where(x < inside - 1, infinity, 1 / maximum)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        off = mean + float(node) * deviation
        each = log_interval((off - below) / scale, (off + above) / scale)
        total = total - float(weight) * by_row(each).sum(1)
    return total


def log_interval(low: Tensor, high: Tensor) -> Tensor:
    """Log [Φ(high) - Φ(low)] for low < high, without cancellation in either tail."""
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    upper = torch.special.log_ndtr(high)
    return upper + torch.log1p(-(torch.special.log_ndtr(low) - upper).exp())


def log_volume(process: LinearPaths, data: Tensor) -> Tensor:
    """Log |dz/dx| of the coordinates z in which data x are carried, (batch,); 0 for counts."""
    support = process.support
    if support is None or isinstance(support, RoundedSupport):
        return torch.zeros(len(data), dtype=torch.float64)
    with torch.enable_grad():
        x = data.detach().double().requires_grad_()
        (slope,) = torch.autograd.grad(support.encode(x).sum(), x)
    return by_row(slope.log()).sum(1)


doors.guard(__name__)
