r"""Exponential tilting: the table nearest to a given one that has a given mean.

Tilted, a table π is π_η(v) ∝ π(v) exp(η v), and its mean E_η grows in η from the least value of
the support, a, to the largest, b. So η is bracketed from the start: with S values,

    E_η - a  <=  Σ_v (v - a) π_v/π_a exp(η (v - a)),

which is at most r = y - a if every term is at most r/S; and likewise from the other end. Inside
the bracket Newton's method runs on the logit of the mean,

    f(η) = log((E_η - a)/(b - E_η)) - log(r/s),      s = b - y,

nearly a straight line towards both ends. Between humps it is flat, and a step of Newton's leads
far away: a step that leaves the bracket or does not halve |f| is replaced by a bisection, so that
each turn halves one of two numbers. Everything runs in float64, in blocks of rows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors

TINY = 1e-30  # least distance of a mean from an end of the support at 0
TURNS = 400  # far more than the halvings there are in float64


def tilted(log_probs: Tensor, origin: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Tables tilted until their mean is as wanted.

    A mean that no tilt gives, outside of the support or on its ends, is cut to what the type of
    the table can tell from them.

    Args:
        log_probs: Normalised log-probabilities of 0 .. S-1, (..., S).
        origin: Where means count from, (...).
        wanted: Means, counted from the origin, (...) float64.

    Returns:
        Normalised log-probabilities of the tilted tables, (..., S), differentiable in those
        given with the mean held, and the logarithms of the means they have, counted from the
        origin, (...), without a gradient.

    Raises:
        FloatingPointError: If all numbers are finite and no tilt was found.
    """
    return _Tilt.apply(log_probs, origin, wanted)  # pyright: ignore[reportReturnType]


class _Tilt(torch.autograd.Function):
    """The gradient is that of the implicit function η(π) at a mean that is held."""

    @staticmethod
    def forward(
        ctx: Any, log_probs: Tensor, origin: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        size = log_probs.shape[-1]
        flat, out = log_probs.reshape(-1, size), torch.empty_like(log_probs).reshape(-1, size)
        log_means = torch.empty_like(wanted).reshape(-1)
        # Blocks that stay in the cache of a CPU.
        rows = max(1, (2**22 if log_probs.is_cuda else 2**17) // size)
        blocks = zip(
            flat.split(rows),
            origin.expand(wanted.shape).reshape(-1).split(rows),
            wanted.reshape(-1).split(rows),
            strict=True,
        )
        for index, (log, start, mean) in enumerate(blocks):
            part = slice(index * rows, index * rows + len(log))
            table, found = _tilt(log.double(), start, mean, torch.finfo(log.dtype).eps)
            out[part], log_means[part] = table.to(out), found
        out = out.reshape(log_probs.shape)
        ctx.save_for_backward(out)
        log_means = log_means.reshape(wanted.shape)
        ctx.mark_non_differentiable(log_means)
        return out, log_means

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator's doing
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (log,) = ctx.saved_tensors
        p = log.exp()
        values = torch.arange(log.shape[-1], device=log.device, dtype=log.dtype)
        centred = values - (p @ values).unsqueeze(-1)
        variance = torch.linalg.vecdot(p * centred, centred).unsqueeze(-1)
        gradient = gradients[0]
        # d log π_η(v) = d log π(v) + (v - E) dη less its mean, dη = -Σ p (v - E) d log π / Var.
        along = torch.linalg.vecdot(gradient, centred).unsqueeze(-1)
        slope = torch.where(variance > 0, along / variance, 0.0)
        both = torch.addcmul(gradient.sum(-1, keepdim=True), slope, centred)
        return torch.addcmul(gradient, p, both, value=-1), None, None


def _tilt(log: Tensor, origin: Tensor, wanted: Tensor, digits: float) -> tuple[Tensor, Tensor]:
    """Tables (N, S) tilted to the means wanted, (N,), and the logarithms of those they have.

    Args:
        log: Normalised log-probabilities, float64.
        origin: Where means count from.
        wanted: Means.
        digits: The relative accuracy asked for. A mean may be as near to an end of the support
            as eight times that, relative to the end.
    """
    possible = log > -math.inf
    values = torch.arange(log.shape[-1], device=log.device, dtype=log.dtype)
    low = torch.where(possible, values, math.inf).amin(-1)
    width = torch.where(possible, values, -math.inf).amax(-1) - low
    above = low - origin  # counted from the origin, as the mean wanted
    room = (8 * digits * above.abs()).clamp_min(TINY)
    top = (8 * digits * (above + width).abs()).clamp_min(TINY)
    below = torch.minimum((wanted - above).clamp_min(room), width - top)
    beyond = torch.minimum((above + width - wanted).clamp_min(top), width - room)
    target = below.log() - beyond.log()

    # Every value is at least 1 from the next: what bounds the worst of the terms bounds all.
    reach = math.log(log.shape[-1]) + width.log()
    ends = torch.stack([low, low + width], -1).nan_to_num(0).clamp(0, len(values) - 1)
    first, last = log.gather(-1, ends.long()).unbind(-1)
    most = log.amax(-1)
    lower = (below.log() - reach + first - most).clamp_max(0)
    upper = -(beyond.log() - reach + last - most).clamp_max(0)
    # So much rounding is left in a logit of sums whose terms have logarithms of this size.
    size = torch.where(possible, log, 0.0).amin(-1).abs() + width
    enough = digits + 4 * torch.finfo(log.dtype).eps * size

    distance = torch.where(possible, values - low.unsqueeze(-1), 0.0)
    tilt = torch.zeros_like(wanted)
    # A single value has no tilt, nor has what is not finite: it stays as it is, for all to see.
    rows = ((width > room + top) & torch.isfinite(target)).nonzero().squeeze(-1)
    former = torch.full_like(wanted, math.inf)
    for _ in range(TURNS):
        if not len(rows):
            break
        whole = len(rows) == len(tilt)
        tables = (log, distance) if whole else (log[rows], distance[rows])
        at = tilt[rows]
        error, slope = _logit(*tables, width[rows], at)
        error = error - target[rows]
        lower[rows] = torch.where(error < 0, at, lower[rows])
        upper[rows] = torch.where(error > 0, at, upper[rows])
        left, right = lower[rows], upper[rows]
        newton, middle = at - error / slope, (left + right) / 2
        good = (newton > left) & (newton < right) & (error.abs() < 0.5 * former[rows])
        former[rows] = error.abs()
        # Where no number lies between the ends of the bracket, no tilt is nearer.
        done = (error.abs() <= enough[rows]) | (middle <= left) | (middle >= right)
        tilt[rows] = torch.where(done, at, torch.where(good, newton, middle))
        rows = rows[~done]
    if len(rows):
        one = rows[0]
        raise FloatingPointError(
            f"no tilt was found that gives a table of the values {float(low[one]):g} to "
            f"{float(low[one] + width[one]):g} the mean {float(origin[one] + wanted[one]):g}"
        )
    table = torch.addcmul(log, tilt.unsqueeze(-1), distance).log_softmax(-1)
    mean = torch.linalg.vecdot(table.exp(), distance) + above
    return table, mean.log()


def _logit(log: Tensor, distance: Tensor, width: Tensor, tilt: Tensor) -> tuple[Tensor, Tensor]:
    """Log of E/(width - E) at a tilt, E being the mean distance, and its derivative: (N,) each."""
    p = torch.addcmul(log, tilt.unsqueeze(-1), distance).softmax(-1)
    weighed = p * distance
    below = weighed.sum(-1)
    beyond = (width - below).clamp_min(0)  # never negative by rounding
    spread = torch.linalg.vecdot(weighed, distance) - below**2
    return below.log() - beyond.log(), spread * (1 / below + 1 / beyond)


doors.guard(__name__)
