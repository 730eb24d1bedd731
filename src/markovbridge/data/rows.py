"""Samples that become dense batch by batch.

`Rows` is what a `Dataset` and the training loop need of a tensor of samples: its shape, its
type, some of its rows as a dense tensor. `markovbridge.data.sparse` has the two kinds: sparse in
memory, and left in their file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.summary import Summary
from markovbridge.doors import checks

WINDOW = 64  # chunks of rows among which training shuffles: see `markovbridge.data.sparse`
PART = 2**19  # numbers that are made dense at once: few enough for a processor's cache


class Rows(ABC):
    """Counts (N, *event) of which some rows at a time become a dense tensor.

    Attributes:
        shape: (N, *event).
        dtype: Type of the dense rows, an integer type.
        chunk: How many consecutive rows are best read together; 1 if it makes no difference.
    """

    shape: torch.Size
    dtype: torch.dtype
    chunk: int = 1
    device = torch.device("cpu")
    _summary: Summary | None = None

    @abstractmethod
    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The rows at `index`, int64 (k,) or a slice, as a dense tensor (k, *event)."""

    def narrow(self, index: Tensor) -> Tensor:
        """The rows at `index`, int64 (k,), in a type that holds them, `dtype` or a smaller one."""
        return self[index]

    @abstractmethod
    def take(self, index: Tensor) -> Rows:
        """The rows at the rising positions `index`, int64 (k,), as rows of the same kind."""

    def held(self, index: Tensor) -> Tensor | Rows:
        """The rows at the rising positions `index`, int64 (k,), in memory, of the same `dtype`."""
        return self.take(index)

    def summary(self) -> Summary:
        """Sums and extremes of the counts (N, columns), found in one pass and remembered."""
        if self._summary is None:
            self._summary = self._summed()
        return self._summary

    def _summed(self) -> Summary:
        return Summary.of((part.numpy() for part in parts(self)), self.shape[1])

    def turned(self, order: Tensor) -> Rows:
        """The same rows (N, columns), column k of the result being column order[k] of these."""
        return TurnedRows(self, order)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes, that of the samples included."""
        return len(self.shape)

    def numel(self) -> int:
        """How many counts there are, zeros included."""
        return self.shape.numel()

    def is_floating_point(self) -> bool:
        """False: rows are counts."""
        return False

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time, as dense tensors."""
        checks.whole(size, "size", least=1)
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def prefetch(self, index: Tensor) -> None:  # noqa: B027  (what is in memory needs none)
        """Announce that the rows at `index` will be asked for soon."""


class TurnedRows(Rows):
    """Rows of which each has its columns in another order, wherever they are kept.

    Args:
        rows: The rows (N, columns).
        order: Column k of the result is column order[k] of these, int64 (columns,).
    """

    def __init__(self, rows: Rows, order: Tensor) -> None:
        check_places(order, "order", rows.shape[1])
        self._rows, self._order = rows, order
        self.shape, self.dtype, self.chunk = rows.shape, rows.dtype, rows.chunk

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self._rows[index][:, self._order]

    def narrow(self, index: Tensor) -> Tensor:
        """See `Rows.narrow`."""
        return self._rows.narrow(index)[:, self._order]

    def take(self, index: Tensor) -> TurnedRows:
        """See `Rows.take`."""
        return TurnedRows(self._rows.take(index), self._order)

    def held(self, index: Tensor) -> Tensor | Rows:
        """See `Rows.held`."""
        return turned(self._rows.held(index), self._order)

    def _summed(self) -> Summary:
        return self._rows.summary().turned(self._order)

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time, as dense tensors."""
        for part in self._rows.split(size):
            yield part[:, self._order]

    def prefetch(self, index: Tensor) -> None:
        """Announce that the rows at `index` will be asked for soon."""
        self._rows.prefetch(index)


def check_places(places: Tensor, name: str, size: int) -> None:
    """Refuse what are no positions among so many: libraries read memory that is not theirs.

    Raises:
        ValueError: If one is beyond, or they are no list of whole numbers.
    """
    if places.ndim != 1 or places.dtype is not torch.int64:
        raise ValueError(
            f"{name} must be positions (k,), int64, not {tuple(places.shape)} of {places.dtype}"
        )
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < size:
        raise ValueError(
            f"{name} must be positions from 0 to {size - 1}, not {int(places.min())} to "
            f"{int(places.max())}"
        )


def parts(x: Tensor | Rows) -> Iterator[Tensor]:
    """All samples in order, a few at a time: dense tensors of 2^19 numbers, or of one sample."""
    size = max(1, min(4096, PART // max(1, x.shape[1:].numel())))
    yield from x.split(size)


def totals(x: Tensor | Rows) -> Tensor:
    """Sum of each sample of counts (N, columns): (N,) int64."""
    if isinstance(x, Rows):
        return x.summary().totals
    return torch.cat([part.long().sum(1) for part in parts(x)])


def taken(x: Tensor | Rows, index: Tensor) -> Tensor | Rows:
    """The samples at the rising positions `index`, int64 (k,): rows stay rows."""
    return x.take(index) if isinstance(x, Rows) else x[index]


def turned(x: Tensor | Rows, order: Tensor) -> Tensor | Rows:
    """The same samples (N, columns), column k of the result being column order[k] of x."""
    return x.turned(order) if isinstance(x, Rows) else x[:, order].contiguous()


def dense(x: Tensor | Rows) -> Tensor:
    """All samples as a dense tensor, for what has to look at them all at once."""
    if isinstance(x, Tensor):
        return x
    found, start = torch.empty(x.shape, dtype=x.dtype), 0
    for part in parts(x):
        found[start : start + len(part)] = part
        start += len(part)
    return found


doors.guard(__name__)
