r"""Rows that are not dense: sparse in memory, or left in their file.

A table of counts is mostly zeros: 10,000 cells x 30,000 genes are 1.2 GB as int32 and a
tenth of that by its nonzero entries. `SparseRows` holds a compressed sparse row matrix;
`BackedRows` reads a file while training goes on.

A file is read in **chunks** of consecutive rows, because one row at a time would be slow.
Training therefore shuffles chunks, and rows only among `WINDOW` chunks at a time (see
`training.examples.Batches`), which announces the rows it will ask for one window ahead:
`prefetch` reads their chunks in one background thread. At most `KEPT` chunks stay in
memory, decoded and sparse. A chunk has about 2^17 stored values of 5 to 8 bytes, so that is
150 MB or less, whatever the size of the file; only rows of a million nonzero entries take
more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.compressed import check_matrix
from markovbridge.data.rows import WINDOW, Rows, check_places
from markovbridge.doors import checks

KEPT = 2 * WINDOW + 16

Block = sparse.csr_matrix | np.ndarray
"""Some rows of counts, (k, columns), in an integer type that torch has too."""


class SparseRows(Rows):
    """Counts in memory, of which only the nonzero ones are stored.

    Args:
        matrix: Compressed sparse rows (N, columns) of type uint8, int16, int32 or int64.

    Raises:
        ValueError: If an index in it is out of range.
    """

    def __init__(self, matrix: sparse.csr_matrix) -> None:
        self.matrix = check_matrix(matrix, "X")
        self.shape = torch.Size(cast(tuple[int, int], matrix.shape))
        self.dtype = torch.from_numpy(matrix.data[:0]).dtype

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        chosen = index if isinstance(index, slice) else index.numpy()
        return torch.from_numpy(self.matrix[chosen].toarray())

    def take(self, index: Tensor) -> SparseRows:
        """See `Rows.take`."""
        check_places(index, "index", len(self))
        return SparseRows(self.matrix[index.numpy()])

    def turned(self, order: Tensor) -> SparseRows:
        """See `Rows.turned`."""
        check_places(order, "order", self.shape[1])
        matrix = sparse.csr_matrix(self.matrix[:, order.numpy()])
        matrix.sort_indices()
        return SparseRows(matrix)


class Stored(Protocol):
    """A matrix of counts in a file, samples in rows."""

    shape: tuple[int, int]
    dtype: torch.dtype
    chunk: int

    def take(self, rows: np.ndarray) -> Block:
        """The rows at the rising positions `rows`, counts being checked."""
        ...


class BackedRows(Rows):
    """Counts that stay in their file; see the head of this module.

    Args:
        stored: The matrix in the file.
        chosen: Which of its rows these are, int64 (N,) in rising order; None for all.

    Attributes:
        stored: The matrix in the file.
    """

    def __init__(self, stored: Stored, chosen: Tensor | None = None) -> None:
        self.stored = stored
        self._chosen = None if chosen is None else chosen.numpy()
        n = stored.shape[0] if chosen is None else len(chosen)
        self.shape = torch.Size((n, stored.shape[1]))
        self.dtype = stored.dtype
        self.chunk = stored.chunk
        # One thread reads, so the file needs no lock; least recently used chunks come first.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="markovbridge-rows")
        self._kept: OrderedDict[int, Future[Block]] = OrderedDict()

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                block = self._reader.submit(self._read, start, max(start, stop))
                return self._dense(block.result())
            index = torch.arange(start, stop, step)
        rows = np.where(index.numpy() < 0, index.numpy() + len(self), index.numpy())
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"row {rows.max()} is asked for, but there are {len(self):,}")
        out = torch.zeros((len(rows), self.shape[1]), dtype=self.dtype)
        array, numbers = out.numpy(), rows // self.chunk
        order = np.argsort(numbers, kind="stable")
        for number, places in _groups(numbers[order], order):
            _scatter(self._get(number), rows[places] - number * self.chunk, array, places)
        return out

    def take(self, index: Tensor) -> BackedRows:
        """See `Rows.take`. Both read the file by the same thread."""
        chosen = index if self._chosen is None else torch.from_numpy(self._chosen)[index]
        made = BackedRows(self.stored, chosen)
        made._reader = self._reader
        return made

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, `size` at a time, the next being read meanwhile; none is kept."""
        checks.whole(size, "size", least=1)
        span = size * max(1, self.chunk // size)  # rows read at once, a multiple of the size
        ahead = [self._reader.submit(self._read, 0, min(span, len(self)))]
        for start in range(0, len(self), span):
            block, following = ahead.pop(), start + span
            if following < len(self):
                end = min(following + span, len(self))
                ahead.append(self._reader.submit(self._read, following, end))
            rows = block.result()
            for first in range(0, min(span, len(self) - start), size):
                yield self._dense(rows[first : first + size])

    def prefetch(self, index: Tensor) -> None:
        """Read the chunks of the rows at `index` in the background."""
        for number in np.unique(index.numpy() // self.chunk):
            self._ask(int(number))

    def _get(self, number: int) -> Block:
        return self._ask(number).result()

    def _ask(self, number: int) -> Future[Block]:
        """The chunk `number`, which may still be on its way."""
        if number not in self._kept:
            start = number * self.chunk
            stop = min(start + self.chunk, len(self))
            self._kept[number] = self._reader.submit(self._read, start, stop)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)[1].cancel()
        self._kept.move_to_end(number)
        return self._kept[number]

    def _read(self, start: int, stop: int) -> Block:
        rows = np.arange(start, stop) if self._chosen is None else self._chosen[start:stop]
        return self.stored.take(rows)

    def _dense(self, rows: Block) -> Tensor:
        array = rows.toarray() if isinstance(rows, sparse.csr_matrix) else rows
        return torch.from_numpy(array).to(self.dtype)


def _groups(numbers: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Runs of equal `numbers`, which are sorted: the number, and `order` over the run."""
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    for places, run in zip(np.split(order, cuts), np.split(numbers, cuts), strict=True):
        if len(run):
            yield int(run[0]), places


def _scatter(block: Block, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
    """out[places] = block[rows], out being zero there."""
    if not isinstance(block, sparse.csr_matrix):
        out[places] = block[rows]
        return
    starts = block.indptr[rows].astype(np.int64)
    lengths = block.indptr[rows + 1] - starts
    before = np.cumsum(lengths) - lengths
    values = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    out[np.repeat(places, lengths), block.indices[values]] = block.data[values]


doors.guard(__name__)
