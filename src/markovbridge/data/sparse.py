r"""Rows that are not dense: sparse in memory, or left in their file.

A table of counts is mostly zeros: 10,000 cells x 30,000 genes are 1.2 GB as int32 and a
tenth of that by its nonzero entries. `SparseRows` holds a compressed sparse row matrix;
`BackedRows` reads a file while training goes on.

A file is read in **chunks** of consecutive rows, because one row at a time would be slow.
Training therefore shuffles chunks, and rows only among `WINDOW` chunks at a time (see
`training.examples.Batches`), which announces the rows it will ask for one window ahead:
`prefetch` reads their chunks in one background thread. The chunks of a window become one matrix,
once, from which a batch is taken by one index and made dense by one call. At most `KEPT` chunks
stay in memory, decoded and sparse. A chunk has about 2^17 stored values of 5 to 8 bytes, so that
is 150 MB or less, whatever the size of the file, and 60 MB more for a moment while a window is put
together; only rows of a million nonzero entries take more.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.compressed import check_matrix
from markovbridge.data.rows import WINDOW, Rows, check_places
from markovbridge.data.summary import BLOCK, Summary
from markovbridge.doors import checks

KEPT = 2 * WINDOW + 16
READERS = 2  # threads
AWAY, COMING = -2, -1  # of a chunk that is in no window
NONE = [np.zeros(0, np.uint8), np.zeros(0, np.int32)]

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
        return full(self.matrix[index if isinstance(index, slice) else index.numpy()])

    def take(self, index: Tensor) -> SparseRows:
        """See `Rows.take`."""
        check_places(index, "index", len(self))
        return SparseRows(self.matrix[index.numpy()])

    def _summed(self) -> Summary:
        n, columns = self.shape
        size = max(1, BLOCK * n // max(1, self.matrix.nnz))
        blocks = (self.matrix[start : start + size] for start in range(0, n, size))
        return Summary.of(blocks, columns)

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
        # HDF5 takes turns by itself; what is unpacked and checked in between goes side by side.
        self._reader = ThreadPoolExecutor(READERS, thread_name_prefix="markovbridge-rows")
        self._coming: OrderedDict[int, Future[Block]] = OrderedDict()
        self._windows: OrderedDict[int, _Window] = OrderedDict()  # least recently used first
        self._made = 0  # windows so far
        self._spare = NONE  # memory of the last window that was let go
        # Of each chunk: its window, or `AWAY` or `COMING`, and where it begins in that.
        self._window_of = np.full(-(-n // self.chunk), AWAY)
        self._begin = np.zeros_like(self._window_of)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                block = self._reader.submit(self._read, start, max(start, stop))
                return full(block.result()).to(self.dtype)
            index = torch.arange(start, stop, step)
        return self.narrow(index).to(self.dtype)

    def narrow(self, index: Tensor) -> Tensor:
        """See `Rows.narrow`."""
        rows, least = index.numpy(), int(index.min()) if len(index) else 0
        if least < -len(self) or len(rows) and rows.max() >= len(self):
            raise IndexError(f"row {rows.max()} is asked for, but there are {len(self):,}")
        rows = rows if least >= 0 else np.where(rows < 0, rows + len(self), rows)
        pieces = list(self._pieces(rows))
        if not pieces:
            return torch.zeros((0, self.shape[1]), dtype=self.dtype)
        if len(pieces) == 1:
            return pieces[0][1]
        dtype = max((piece.dtype for _, piece in pieces), key=lambda kind: kind.itemsize)
        out = torch.zeros((len(rows), self.shape[1]), dtype=dtype)
        for places, piece in pieces:
            out[torch.from_numpy(places)] = piece.to(dtype)
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
        for rows in self._blocks(size * max(1, self.chunk // size)):  # a multiple of the size
            for first in range(0, _length(rows), size):
                yield full(rows[first : first + size]).to(self.dtype)

    def held(self, index: Tensor) -> Tensor | Rows:
        """See `Rows.held`; sparse if the file is."""
        check_places(index, "index", len(self))
        chosen = index.numpy() if self._chosen is None else self._chosen[index.numpy()]
        block: Any = self._reader.submit(self.stored.take, chosen).result()
        kind = torch.empty(0, dtype=self.dtype).numpy().dtype
        return (
            SparseRows(block.astype(kind)) if sparse.issparse(block) else full(block.astype(kind))
        )

    def _summed(self) -> Summary:
        return Summary.of(self._blocks(self.chunk), self.shape[1])

    def _blocks(self, span: int) -> Iterator[Block]:
        """All rows in order, so many at a time, the next being read meanwhile."""
        ahead: deque[Future[Block]] = deque()
        for start in range(0, len(self) + READERS * span, span):
            if start < len(self):
                end = min(start + span, len(self))
                ahead.append(self._reader.submit(self._read, start, end))
            if start < READERS * span or not ahead:
                continue
            yield ahead.popleft().result()

    def prefetch(self, index: Tensor) -> None:
        """Read the chunks of the rows at `index` in the background."""
        self._ask(index.numpy() // self.chunk)

    def _pieces(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """The rows, dense, window by window: which of them, and what they are."""
        chunks = rows // self.chunk
        windows = self._window_of[chunks]
        if len(rows) and windows[0] >= 0 and (windows == windows[0]).all():  # as in training
            self._windows.move_to_end(int(windows[0]))
            yield np.arange(len(rows)), self._taken(rows, chunks)
            return
        for number in np.unique(windows[windows >= 0]).tolist():
            self._windows.move_to_end(number)
            places = np.flatnonzero(windows == number)
            yield places, self._taken(rows[places], chunks[places])
        lost = windows < 0
        while lost.any():
            self._assemble(np.unique(chunks[lost])[:WINDOW])
            made = next(reversed(self._windows))
            here = lost & (self._window_of[chunks] == made)  # those that were announced too
            places = np.flatnonzero(here)
            yield places, self._taken(rows[places], chunks[places])
            lost &= ~here

    def _taken(self, rows: np.ndarray, chunks: np.ndarray) -> Tensor:
        """Rows of the window that was used last, dense."""
        block = next(reversed(self._windows.values())).block
        return full(block[rows - chunks * self.chunk + self._begin[chunks]])

    def _ask(self, chunks: np.ndarray) -> None:
        """Have chunks read that are not here, nor on their way."""
        away = np.unique(chunks[self._window_of[chunks] == AWAY])
        for number in away.tolist():
            start = number * self.chunk
            stop = min(start + self.chunk, len(self))
            self._coming[number] = self._reader.submit(self._read, start, stop)
        self._window_of[away] = COMING
        if len(away):
            self._forget(len(self._coming))

    def _assemble(self, chunks: np.ndarray) -> None:
        """Make a window of some chunks and of all that were announced."""
        for number in chunks[self._window_of[chunks] == COMING].tolist():
            self._coming.move_to_end(number)  # not to be forgotten for those that are asked for
        self._ask(chunks)
        blocks = {number: self._coming[number].result() for number in chunks.tolist()}
        for number, future in self._coming.items():
            if number not in blocks and future.exception() is None:
                blocks[number] = future.result()
        for number in blocks:
            del self._coming[number]
        self._forget(len(self._coming) + len(blocks))
        numbers = np.array(list(blocks))
        sizes = list(map(_length, blocks.values()))
        self._begin[numbers] = np.cumsum([0, *sizes[:-1]])
        self._made += 1
        self._window_of[numbers] = self._made
        self._windows[self._made] = _Window(numbers, *self._stacked(list(blocks.values())))

    def _stacked(self, blocks: list[Any]) -> tuple[Block, list[np.ndarray]]:
        """Rows one below the other, and the memory they lie in.

        That of a window that was let go is used again, if there is one: what is new is slow.
        """
        if len(blocks) == 1:
            return blocks[0], NONE
        if isinstance(blocks[0], np.ndarray):
            return np.concatenate(blocks), NONE
        found: list[np.ndarray] = []
        memory: list[np.ndarray] = []
        for name, spare in zip(("data", "indices"), self._spare, strict=True):
            parts = [getattr(block, name) for block in blocks]
            size, kind = sum(map(len, parts)), np.result_type(*parts)
            fits = spare.dtype == kind and size <= len(spare) <= 2 * size
            memory.append(spare if fits else np.empty(size + size // 8, kind))
            found.append(memory[-1][:size])
            np.concatenate(parts, out=found[-1])
        self._spare = NONE
        lengths = np.concatenate([[0], *(np.diff(block.indptr) for block in blocks)])
        ends = lengths.cumsum(dtype=np.int32 if len(found[0]) < 2**31 else np.int64)
        shape = (len(ends) - 1, blocks[0].shape[1])
        return sparse.csr_matrix((*found, ends), shape=shape), memory

    def _forget(self, coming: int) -> None:
        """Let go of what was used longest ago, so that with what comes few enough are kept."""
        while self._windows and coming + sum(len(w.chunks) for w in self._windows.values()) > KEPT:
            _, window = self._windows.popitem(last=False)
            self._window_of[window.chunks] = AWAY
            self._spare = window.memory
        while len(self._coming) > KEPT:
            number, future = self._coming.popitem(last=False)
            future.cancel()
            self._window_of[number] = AWAY

    def _read(self, start: int, stop: int) -> Block:
        rows = np.arange(start, stop) if self._chosen is None else self._chosen[start:stop]
        return self.stored.take(rows)


def _length(block: Any) -> int:
    """How many rows there are."""
    return block.shape[0]


def full(block: Block) -> Tensor:
    """Counts as a dense tensor of their type."""
    return torch.from_numpy(block.toarray() if isinstance(block, sparse.csr_matrix) else block)


@dataclass(frozen=True, eq=False)
class _Window:
    """Some chunks of a file as one matrix.

    Attributes:
        chunks: Their numbers, in the order in which they lie in the matrix.
        block: Their rows.
        memory: What the values and columns of these lie in, `NONE` if it is not to be used again.
    """

    chunks: np.ndarray
    block: Block
    memory: list[np.ndarray]


doors.guard(__name__)
