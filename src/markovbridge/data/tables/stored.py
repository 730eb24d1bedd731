"""Counts that stay in an HDF5 file, read a range of rows at a time.

AnnData's `.h5ad` and the `.h5` of 10x Genomics store compressed sparse rows: `data` and `indices`
of the nonzero entries in the order of their rows, and `indptr`, whose elements r and r + 1 bound
those of row r. 10x stores features in rows, compressed by column, which is the same thing. So any
range of rows is one range of `data` and one of `indices`, and a file larger than memory can be
trained on.

Sources: the on-disk format of AnnData,
https://anndata.readthedocs.io/en/stable/fileformat-prose.html; 10x Genomics' feature-barcode
matrix in HDF5, versions 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy import sparse

from markovbridge import doors
from markovbridge.data.compressed import Layout
from markovbridge.data.counts import whole
from markovbridge.data.sparse import Block
from markovbridge.data.tables import members
from markovbridge.data.tables.lists import StoredList
from markovbridge.data.tables.table import ABSENT, SPARSE, canonical, place
from markovbridge.storage.reading import afford, reading

CHUNK_VALUES = 2**17  # stored values that are read together
CHUNK_ROWS = 8192
SPAN = 2  # chunks that are read at once, where some of the rows between are not wanted


class StoredMatrix:
    """Counts (N, columns) in an HDF5 file; `take` reads some rows.

    Args:
        group: The group of compressed rows, or the dense array; its file stays open.
        shape: (N, columns).
        path: The file, for messages.
        row_names: Name of each row, for messages.
        column_names: Name of each column, for messages.
        remedy: What to do about values that are no counts.
        maximum: Largest admissible count, or None.
        chosen: Positions of the columns that are taken, rising; None for all. The others are
            read, and checked, as well.

    Raises:
        ValueError: If what is stored is no matrix of that shape. The column of each count is
            checked when it is read.

    Attributes:
        shape: (N, columns).
        dtype: An integer type that holds all counts.
        chunk: How many rows have about 2^17 stored values.
        stored: Values stored: the nonzero ones, or all in a dense array.
    """

    def __init__(
        self,
        group: Any,
        shape: tuple[int, int],
        *,
        path: Path,
        row_names: Sequence[str] | None,
        column_names: Sequence[str] | None,
        remedy: str,
        maximum: int | None = None,
        chosen: np.ndarray | None = None,
    ) -> None:
        self.shape = shape if chosen is None else (shape[0], len(chosen))
        self._full, self._chosen = shape, chosen
        self._group, self._path, self._remedy, self._maximum = group, path, remedy, maximum
        self._row_names, self._column_names = row_names, column_names
        self._dense = not hasattr(group, "keys")
        self._layout = Layout(shape, path, row_names=row_names, column_names=column_names)
        check_shape(group, shape, path)
        if self._dense:
            members.check_stored(group, path)
            values, self._ends = group, np.zeros(0, np.int64)
            self._parts = ()
        else:
            values, indices, pointers = (
                members.dataset(group, name, path) for name in ("data", "indices", "indptr")
            )
            if values.size != indices.size:
                raise ValueError(
                    f"{path}: {group.name} has {values.size:,} values and {indices.size:,} "
                    "indices of them"
                )
            ends = members.values(pointers, path)
            self._layout.check_pointers(ends, int(values.size))
            self._ends = ends.astype(np.int64)  # 8 bytes a row, less than its name takes
            self._parts = StoredList(values), StoredList(indices)
        self.stored = int(values.size)
        small = values.dtype.str[1:] in ("b1", "i1", "u1", "i2", "u2", "i4")
        self.dtype = torch.int32 if small else torch.int64
        per_row = max(1.0, self.stored / max(1, shape[0]))
        self.chunk = int(min(max(CHUNK_VALUES / per_row, 2), CHUNK_ROWS))
        # A dense array of mostly zeros is compressed as it is read.
        self._sparsely = self._dense and np.count_nonzero(group[: self.chunk]) < SPARSE * (
            min(self.chunk, shape[0]) * shape[1]
        )

    def take(self, rows: np.ndarray) -> Block:
        """The rows at the rising positions `rows`; memory besides them is two chunks.

        Raises:
            ValueError: If a value is no count, or its column is out of range, naming its row and
                column; or the file cannot be read.
        """
        with reading(self._path, "cannot be read", "save it again"):
            return self._take(rows)

    def _take(self, rows: np.ndarray) -> Block:
        blocks, start = [], 0
        while start < len(rows):
            first = int(rows[start])
            end = int(np.searchsorted(rows, first + SPAN * self.chunk))
            span = int(rows[end - 1]) + 1 - first
            block = self._read(first, first + span)
            block = block if span == end - start else block[rows[start:end] - first]
            blocks.append(block if self._chosen is None else block[:, self._chosen])
            start = end
        if not blocks:
            block = self._read(0, 0)
            return block if self._chosen is None else block[:, self._chosen]
        if len(blocks) == 1:
            return blocks[0]
        stack = np.concatenate if isinstance(blocks[0], np.ndarray) else sparse.vstack
        return cast(Block, stack(blocks))

    def close(self) -> None:
        """Close the file."""
        self._group.file.close()

    def _read(self, start: int, stop: int) -> Block:
        if self._dense:
            width = self._full[1]
            size = (stop - start) * width * self._group.dtype.itemsize
            afford(self._path, size, f"rows {start} to {stop}")
            values = self._group[start:stop].ravel()
            counts = self._whole(values, lambda at: (start + at // width, at % width))
            counts = counts.reshape(stop - start, width)
            return sparse.csr_matrix(counts) if self._sparsely else counts
        ends = self._ends[start : stop + 1]
        span = slice(int(ends[0]), int(ends[-1]))
        ends = ends - ends[0]
        values, columns = (part[span] for part in self._parts)
        self._layout.check_indices(columns, ends, start)

        def position(at: int) -> tuple[int, int]:
            return start + int(np.searchsorted(ends, at, "right")) - 1, int(columns[at])

        counts, shape = self._whole(values, position), (stop - start, self._full[1])
        small = np.int32 if max(*shape, len(columns)) < 2**31 else np.int64
        parts = (counts, columns.astype(small, copy=False), ends.astype(small))
        return canonical(sparse.csr_matrix(parts, shape=shape))

    def _whole(self, values: np.ndarray, position: Callable[[int], tuple[int, int]]) -> np.ndarray:
        """Checked counts, `position` being the row and column of each."""

        def where(at: int) -> str:
            row, column = position(at)
            return place(self._path, row, column, self._row_names, self._column_names)

        return whole(values, where, remedy=self._remedy, absent=ABSENT, maximum=self._maximum)


def check_shape(group: Any, shape: tuple[int, int], path: Path) -> None:
    """Refuse a matrix whose own shape is not that of the names of its rows and columns."""
    if hasattr(group, "keys"):
        attributes = group.attrs
        stated = attributes.get("shape", attributes.get("h5sparse_shape"))
        if stated is None and "shape" in group:  # 10x, features in rows
            stated = members.values(members.dataset(group, "shape", path), path)[::-1]
    else:
        stated = group.shape
    if stated is not None and (np.shape(stated) != (2,) or tuple(map(int, stated)) != shape):
        numbers = " x ".join(f"{int(n):,}" for n in np.ravel(stated))
        raise ValueError(
            f"{path}: {group.name} is of {numbers or 'no'} rows and columns, but there are names "
            f"of {shape[0]:,} rows and {shape[1]:,} columns"
        )


doors.guard(__name__)
