"""What every format of count tables becomes: counts, names and covariates.

Samples are in rows and features in columns. Counts are checked where they are read: the
first value that is none is named with its row and column, and with what it usually means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.compressed import check_matrix
from markovbridge.data.counts import NUMPY, check_total, smallest_type, whole
from markovbridge.data.rows import Rows
from markovbridge.data.sparse import Block, SparseRows, Stored

SMALL = 2**26  # bytes: a table that takes no more than this is held dense
SPARSE = 0.2  # share of nonzero entries below which compressed rows take less room
ABSENT = (
    "counts must all be there: drop that row or column, or have it filled in: impute(X) of a "
    "fitted model takes it, a CountTable with missing=True"
)


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it was read.

    Attributes:
        matrix: Counts (N, columns) in memory, or in their file.
        row_names: Name of each row, or None.
        column_names: Name of each column, or None.
        columns: Further columns by name, N values each: possible covariates.
        observed: Which counts are known, (N, columns) bool, the others being 0; None for all.
    """

    matrix: Block | Stored
    row_names: Sequence[str] | None = None
    column_names: Sequence[str] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    observed: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """How many samples and features there are."""
        return cast(tuple[int, int], self.matrix.shape)

    def take(self, rows: np.ndarray) -> Block:
        """The counts of the rows at rising positions, from the file if they were left in it."""
        if isinstance(self.matrix, np.ndarray | sparse.csr_matrix):
            return self.matrix[rows]
        return self.matrix.take(rows)

    def close(self) -> None:
        """Close the file, if the counts were left in it."""
        close = getattr(self.matrix, "close", None)
        if close is not None:
            close()


def unmasked(values: Any) -> Any:
    """A masked array with NaN for what it hides; all else as it is."""
    if not isinstance(values, np.ma.MaskedArray) or not np.ma.is_masked(values):
        return values
    kept = values.astype(np.float64) if values.dtype.kind in "iub" else values
    return np.ma.filled(kept, np.nan)


def measured(matrix: Any) -> tuple[Any, np.ndarray | None]:
    """A matrix with 0 in place of NaN, and a mask of what was measured.

    Returns:
        The matrix, and (N, columns) bool, False where it was NaN; None if it never was.
    """
    if matrix.dtype.kind != "f":
        return matrix, None
    if sparse.issparse(matrix):
        entries = sparse.coo_matrix(matrix)
        gone = np.isnan(entries.data)
        observed = np.ones(matrix.shape, dtype=bool)
        observed[entries.row[gone], entries.col[gone]] = False
        entries.data[gone] = 0
        return (entries, observed) if gone.any() else (matrix, None)
    gone = np.isnan(matrix)
    return (np.where(gone, 0, matrix), ~gone) if gone.any() else (matrix, None)


def as_block(
    matrix: Any,
    path: Path,
    row_names: Sequence[str] | None,
    column_names: Sequence[str] | None,
    *,
    remedy: str = "store the raw counts",
    maximum: int | None = None,
) -> Block:
    """A matrix in memory as checked counts: an array, or compressed rows.

    Args:
        matrix: A numpy array (N, columns) or a scipy sparse matrix.
        path: Where it is from, for messages.
        row_names: Name of each row, for messages.
        column_names: Name of each column, for messages.
        remedy: What to do about values that are no counts.
        maximum: Largest admissible count, or None.
    """
    if sparse.issparse(matrix):
        checked = check_matrix(matrix, path, row_names=row_names, column_names=column_names)
        if checked.format == "coo":
            checked = _summed(checked, path, row_names, column_names, remedy, maximum)
        csr = sparse.csr_matrix(checked)

        def at(position: int) -> str:
            row = int(np.searchsorted(csr.indptr, position, "right")) - 1
            return place(path, row, int(csr.indices[position]), row_names, column_names)

        data = whole(csr.data, at, remedy=remedy, absent=ABSENT, maximum=maximum)
        return canonical(sparse.csr_matrix((data, csr.indices, csr.indptr), shape=csr.shape))
    width = matrix.shape[1]
    values = whole(
        np.ascontiguousarray(matrix).ravel(),
        lambda position: place(path, *divmod(position, width), row_names, column_names),
        remedy=remedy,
        absent=ABSENT,
        maximum=maximum,
    )
    return values.reshape(matrix.shape)


def _summed(
    matrix: Any,
    path: Path,
    row_names: Sequence[str] | None,
    column_names: Sequence[str] | None,
    remedy: str,
    maximum: int | None,
) -> Any:
    """Entries with a row and a column each as checked counts, in a type that holds their sums.

    Those of one place are added when they become rows, so each is looked at before.
    """

    def at(position: int) -> str:
        row, column = int(matrix.row[position]), int(matrix.col[position])
        return place(path, row, column, row_names, column_names)

    counts = whole(matrix.data, at, remedy=remedy, absent=ABSENT, maximum=maximum).astype(np.int64)
    check_total(counts)
    return sparse.coo_matrix((counts, (matrix.row, matrix.col)), shape=matrix.shape)


def canonical(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same counts with each row in the order of its columns, and no column twice."""
    if block.has_canonical_format:
        return block
    check_total(block.data)
    wide: Any = block.astype(np.int64)  # sums may not fit in the type of the terms
    wide.sum_duplicates()
    return wide.astype(NUMPY[smallest_type(int(wide.max()))])


def compact(block: Block) -> Tensor | Rows:
    """Counts as the samples of a data set: a tensor if small or full, else compressed rows."""
    cells = math.prod(cast(tuple[int, int], block.shape))
    width = block.dtype.itemsize
    filled = block.nnz if isinstance(block, sparse.csr_matrix) else np.count_nonzero(block)
    if cells * width <= SMALL or filled > SPARSE * cells:
        full = block.toarray() if isinstance(block, sparse.csr_matrix) else block
        return torch.from_numpy(np.ascontiguousarray(full))
    return SparseRows(sparse.csr_matrix(block))


def place(
    path: Path,
    row: int,
    column: int,
    row_names: Sequence[str] | None,
    column_names: Sequence[str] | None,
) -> str:
    """What to call an entry: its file, row and column, counted from 0, and their names."""
    beside = f" ({row_names[row]})" if row_names is not None else ""
    below = f" ({column_names[column]})" if column_names is not None else ""
    return f"{path}: row {row}{beside}, column {column}{below}"


def strings(values: Any) -> tuple[str, ...]:
    """Names as text, from text or bytes.

    Raises:
        ValueError: If a name has a zero in it, as text of two bytes a letter has.
    """
    names = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values)
    odd = next((name for name in names if "\0" in name), None)
    if odd is not None:
        raise ValueError(f"the name {odd[:40]!r} has a zero in it; save names as UTF-8")
    return names


def unique(names: Sequence[str], others: Sequence[str] | None) -> tuple[str, ...]:
    """Names of which those that occur twice are followed by what tells them apart."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    if others is None or len(seen) == len(names):
        return tuple(names)
    return tuple(
        name if seen[name] == 1 else f"{name} ({other})"
        for name, other in zip(names, others, strict=True)
    )


doors.guard(__name__)
