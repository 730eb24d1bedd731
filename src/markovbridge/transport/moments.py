"""Mean and variance of data, which the numbers of a model are relative to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows, parts
from markovbridge.doors import checks
from markovbridge.samplers.extrapolation import floor


def statistics(
    x: Tensor | np.ndarray | Rows | Iterable[Tensor],
    per: Literal["site", "channel", "all"] = "site",
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a data set, for standardising a network's input.

    Args:
        x: Data, (N, *event), or a few samples at a time; for a process with a `support`,
            `process.check(data)`.
        per: Over the data alone ("site"), over positions too ("channel", event[0] being
            the channel), or over everything ("all").

    Returns:
        Mean and variance, float32, broadcastable to event. The variance, and the mean of
        counts, are floored (`extrapolation.floor`), so that no site that never varies blows up.
    """
    if isinstance(x, np.ndarray):
        x = torch.as_tensor(x)
    total, square, count, n, counts = 0.0, 0.0, 0, 0, False
    if isinstance(x, Rows) and per == "site":
        found, n, count, counts = x.summary(), len(x), len(x), True
        total, square, x = found.sums[None], found.squares[None], ()
    for part in parts(x) if isinstance(x, Tensor | Rows) else x:
        checks.instance(part, Tensor, "a part of the data", "give a tensor (N, *event)")
        axes = {"site": [0], "channel": [0, *range(2, part.ndim)], "all": list(range(part.ndim))}
        axes, counts, n = axes[per], not part.is_floating_point(), n + len(part)
        part = part.double()
        total = total + part.sum(axes, keepdim=True)
        square = square + (part**2).sum(axes, keepdim=True)
        count += part.numel() // max(1, torch.as_tensor(total).numel())
    if n < 2:
        raise ValueError(f"statistics need at least 2 samples, not {n}")
    mean = torch.as_tensor(total)[0] / count
    variance = torch.as_tensor(square)[0] / count - mean**2
    if counts:
        mean = mean.clamp_min(floor(float(mean.abs().mean()), counts))
    variance = variance.clamp_min(floor(float(variance.mean()), counts))
    return mean.float(), variance.float()


doors.guard(__name__)
