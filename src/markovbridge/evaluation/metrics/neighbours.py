"""Nearest training items: is it generating, or remembering?

A model that stores its training set scores perfectly on every distance between
distributions. So look at the training item nearest to each sample (Euclidean
distance of raw values), and at the share of exact copies. The distances mean
something beside those of *real* items: `nearest(test, train)` for held-out data,
or, without any, column 1 of `nearest(train, train, k=2)`, whose column 0 is each
item itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.evaluation.metrics.points import as_rows, blocks, check_same_width


@dataclass(frozen=True)
class Neighbours:
    """The k nearest training items of each sample, nearest first.

    Attributes:
        distance: Shape `(n, k)`, float64, Euclidean, in raw units.
        index: Shape `(n, k)`, int64, positions in the training set.
    """

    distance: Tensor
    index: Tensor

    @property
    def copies(self) -> float:
        """The share of samples that equal a training item in every entry."""
        return float((self.distance[:, 0] == 0).double().mean())


def nearest(
    samples: Tensor,
    training: Tensor,
    *,
    k: int = 1,
    block: int = 1024,
    callback: Callable[[float], None] | None = None,
) -> Neighbours:
    """Find the training items nearest to each sample, by exhaustive search.

    Args:
        samples: Shape `(n, *event)`, any real or integer dtype.
        training: Shape `(m, *event)`, m >= k.
        k: Neighbours per sample.
        block: Rows held in float64 at a time.
        callback: Called with the share of the work that has been done since, 1 in all.

    Returns:
        Distances and indices of shape `(n, k)`, on the device of `samples`. Among
        equally near integer items, the first block that has one wins.

    Raises:
        ValueError: On different event sizes, NaN, or k outside 1..m.
    """
    rows = as_rows(samples, "samples")
    stored = as_rows(training, "training").to(rows.device)
    check_same_width(rows, stored, ("samples", "training"))
    if not 1 <= k <= stored.shape[0]:
        raise ValueError(f"k must lie in 1..{stored.shape[0]}, the training items, got {k}")
    distances, indices = [], []
    for _, a in blocks(rows, block):
        squares = torch.empty(len(a), 0, dtype=torch.float64, device=a.device)
        index = torch.empty(len(a), 0, dtype=torch.int64, device=a.device)
        for start, b in blocks(stored, block):
            new = b.square().sum(1) - 2 * (a @ b.T)  # + |a|^2, the same for all of a row
            here = torch.arange(start, start + len(b), device=a.device).expand(len(a), -1)
            squares, order = torch.cat([squares, new], 1).topk(
                min(k, squares.shape[1] + len(b)), largest=False
            )
            index = torch.cat([index, here], 1).gather(1, order)
            if callback is not None:
                callback(len(a) * len(b) / (len(rows) * len(stored)))
        # Once more from the differences: exact, so that a copy has distance exactly 0.
        found = stored[index].to(torch.float64)
        distances.append((a[:, None] - found).square().sum(2).sqrt())
        indices.append(index)
    return Neighbours(torch.cat(distances), torch.cat(indices))


doors.guard(__name__)
