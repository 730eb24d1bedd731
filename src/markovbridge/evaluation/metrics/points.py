"""Any batch of events as rows of a matrix, without copying or converting it.

Every metric here is a function of two sets of points in R^d. A set arrives as
`(N, *event)`, often as uint8; it stays that way and is converted to float64 one
block of rows at a time, so that 60,000 images of 3,072 bytes never become
1.5 GB of doubles. In float64 the squares and products of 8-bit images are exact
integers.

Count tables may be sparse or on disk. `draw_rows` makes a dense table of as many of
their rows as a metric will look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator


class CountRows(Protocol):
    """Counts `(N, *event)`: a tensor, an array, a scipy sparse matrix, or rows on disk.

    Rows on disk are taken by a tensor of positions, as `markovbridge.data.Rows` are.
    """

    @property
    def shape(self) -> Any:
        """(N, *event)."""
        ...

    def __getitem__(self, index: Any, /) -> Any: ...


def draw_rows(x: CountRows, limit: int, name: str, seed: int = 0) -> Tensor:
    """Rows of a table as a dense tensor: all, or `limit` of them at random.

    Args:
        x: The table.
        limit: The most rows to take. They stay in the order that they have in the table.
        name: What to call it in an error.
        seed: Of the choice.

    Returns:
        Shape `(min(N, limit), *event)`, integers if the table holds whole numbers.
    """
    checks.unmasked(x, name)
    total = x.shape[0]
    index = torch.arange(total)
    if total > limit:
        order = torch.randperm(total, generator=generator("cpu", "rows", seed, total))
        index = order[:limit].sort().values
    if hasattr(x, "tocsr"):  # sparse
        rows = torch.from_numpy(x.tocsr()[index.numpy()].toarray())  # pyright: ignore[reportAttributeAccessIssue]
    elif isinstance(x, np.ndarray):
        rows = torch.from_numpy(x[index.numpy()])
    else:
        rows = x if isinstance(x, Tensor) and total <= limit else x[index]
    as_rows(rows, name)
    if rows.is_floating_point() and bool((rows == rows.round()).all()):
        rows = rows.to(torch.int32 if float(rows.abs().max()) < 2**31 else torch.int64)
    return rows


def as_rows(x: Tensor, name: str) -> Tensor:
    """View `x` of shape `(N, *event)` as `(N, d)`.

    Args:
        x: Any real or integer tensor with at least one item.
        name: What to call it in an error.

    Returns:
        A view (or, for a non-contiguous `x`, a copy) of shape `(N, d)`, same dtype.

    Raises:
        TypeError: If `x` is no tensor or is complex.
        ValueError: If `x` is empty, or holds NaN or infinity.
    """
    if not isinstance(x, Tensor) or x.is_complex():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a real or integer torch.Tensor, got {kind}")
    if x.ndim == 0 or x.numel() == 0:
        raise ValueError(f"{name} must hold at least one item, got shape {tuple(x.shape)}")
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} holds NaN or infinity; drop those items first")
    return x.reshape(x.shape[0], -1)


def check_same_width(a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    """Raise ValueError unless the rows of `a` and `b` have the same number of entries."""
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have events of the same size, "
            f"got {a.shape[1]} and {b.shape[1]} entries"
        )


def blocks(rows: Tensor, size: int, shift: Tensor | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield `(start, float64 block)` over the rows, `shift` (shape `(d,)`) subtracted."""
    for start in range(0, rows.shape[0], size):
        block = rows[start : start + size].to(torch.float64)
        yield start, block if shift is None else block - shift


doors.guard(__name__)
