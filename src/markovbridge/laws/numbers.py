"""What laws are computed with: draws of torch that refuse what it would not, and logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors

LOG_TINY = -69.0  # log of about 1e-30: the floor of log-means in float32
FEW = 0.25  # share of entries, up to which those that are not 0 are drawn alone
MOST = 2.0**40  # largest count that is drawn or walked: 1e12, beyond any data and far from 2^63


def by_row(x: Tensor) -> Tensor:
    """States (batch, *event) as (batch, sites): one site without an event, and no rows as well."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


@cache
def rule(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss–Legendre rule on [0, 1]: float64."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


T = TypeVar("T", bound=float | Tensor)


def repeated(value: T, factor: int, dimension: int) -> T:
    """A number, or one for each site, for `factor` times as many sites along the last axes.

    A site gives its number to `factor` sites along each of the last `dimension` axes, the first of
    which is where it is. Axes of one entry are left as they are.
    """
    if not isinstance(value, Tensor):
        return value
    found: Tensor = value
    for axis in range(max(0, value.ndim - dimension), value.ndim):
        if found.shape[axis] > 1:
            found = found.repeat_interleave(factor, axis)
    return found  # pyright: ignore[reportReturnType]


def uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1), one for each entry of `like`."""
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def stratified(n: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Uniform numbers in [0, 1), one in each n-th of it, (n,) float64.

    In random order: each alone is uniform, and not all together only.
    """
    u = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
    strata = torch.randperm(n, generator=generator, device=device)
    return (strata + u) / n


def poisson(mean: Tensor, generator: torch.Generator | None) -> Tensor:
    """Poisson draws, in the type of their means.

    Raises:
        FloatingPointError: If a mean is NaN, negative, or beyond 2^40.
    """
    if mean.numel() and not bool(((mean >= 0) & (mean <= MOST)).all()):
        bad = mean[~((mean >= 0) & (mean <= MOST))].flatten()[0].item()
        raise FloatingPointError(
            f"counts of mean {bad:g} cannot be drawn: what the model says of x_1 has come apart. "
            "Look at its weights, at guidance beyond 1, and whether the steps are too long"
        )
    return torch.poisson(mean, generator=generator)


def binomial(count: Tensor, probability: Tensor, generator: torch.Generator | None) -> Tensor:
    """Binomial draws, int64, the one place that asks torch for them.

    Args:
        count: Numbers of units, of any type, exact up to 2^53.
        probability: Floating point, broadcastable to count; rounding beyond 0 or 1 is cut.
        generator: Source of randomness.

    Raises:
        ValueError: If a count is NaN, infinite, negative or a fraction: torch would not come
            back from the first, and make something of the others. Or if a probability is NaN.
    """
    _check_units(count)
    if bool(probability.isnan().any()):
        raise ValueError("a probability of units is NaN: look at what it was made of")
    # torch wants float counts of the probability's type, has no half kernel and takes
    # probabilities above 1 silently. float32 is exact up to 2^24.
    dtype = torch.promote_types(probability.dtype, torch.float32)
    probability = probability.to(dtype).clamp(0, 1).expand_as(count)
    if count.device.type != "cpu" or int(count.count_nonzero()) > FEW * count.numel():
        return torch.binomial(count.to(dtype), probability, generator=generator).to(torch.int64)
    # Of none, none are drawn, and no random number is taken: on a CPU the draws are the same.
    found = torch.zeros(count.shape, dtype=torch.int64)
    places = count.nonzero(as_tuple=True)
    some = count[places].to(dtype), probability[places]
    found[places] = torch.binomial(*some, generator=generator).to(torch.int64)
    return found


def _check_units(count: Tensor) -> None:
    """Refuse numbers of units that are none."""
    if not count.numel():
        return
    if not count.is_floating_point() and int(count.min()) >= 0:
        return
    good = count >= 0  # NaN is not
    if count.is_floating_point():
        good &= (count <= 2.0**62) & (count == count.round())
    if not bool(good.all()):
        raise ValueError(
            f"there is no draw of {count[~good].flatten()[0].item():g} units: counts are "
            "whole numbers from 0, as int64"
        )


def within(support: Tensor, log_prob: Tensor) -> Tensor:
    """Log-probabilities, -inf outside of the support."""
    return torch.where(support, log_prob, -math.inf)


def times_log(k: Tensor, log: Tensor) -> Tensor:
    """K · log with 0 · (-inf) = 0."""
    return torch.where(k == 0, 0.0, k * torch.where(k == 0, 0.0, log))


def weighted(weight: Tensor, function: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Weight · f(y), 0 where the weight is, whatever f makes of an impossible end."""
    possible = weight > 0
    value = function(torch.where(possible, y, x))
    more = (1,) * (value.ndim - weight.ndim)
    weight, possible = weight.reshape(*weight.shape, *more), possible.reshape(*x.shape, *more)
    return weight * torch.where(possible, value, 0.0)


def log_cap(log_mean: Tensor, most: Tensor) -> Tensor:
    """Log-means, at most the logarithm of `most`; a cap that is not known, NaN, is none."""
    known = most.nan_to_num(math.inf, posinf=math.inf).clamp_min(math.exp(LOG_TINY))
    return torch.minimum(log_mean, known.log().to(log_mean.dtype))


doors.guard(
    __name__,
    inside=(
        "binomial",
        "by_row",
        "poisson",
        "repeated",
        "rule",
        "stratified",
        "times_log",
        "uniform",
        "weighted",
        "within",
    ),
)
