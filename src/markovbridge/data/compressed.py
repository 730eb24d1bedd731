r"""Sparse matrices are looked through before anything works with them.

Compressed sparse rows are three arrays: `data` and `indices` hold the values and the columns
of the entries, row by row, and those of row r lie from `indptr[r]` to `indptr[r + 1]`. (By
column it is the same, the other way round.) Code in C trusts them: an index that is out of
range moves a count into another row, or writes outside of the memory it was given. So
nothing that came from a file, or from a user, goes there before it has been through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from markovbridge import doors

BLOCK = 2**22  # indices looked at at once
FORMATS = {  # how scipy stores a matrix: names of the arrays beside `data`
    "csr": ("indices", "indptr"),
    "csc": ("indices", "indptr"),
    "bsr": ("indices", "indptr"),
    "dia": ("offsets",),
    "coo": ("row", "col"),
}


class Layout:
    """What compressed rows or columns must be like.

    Args:
        shape: Rows and columns of the matrix.
        name: What to call it in messages, a file.
        by_column: Whether it is compressed by column.
        row_names: Name of each row, for messages.
        column_names: Name of each column, for messages.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        name: object,
        *,
        by_column: bool = False,
        row_names: Sequence[str] | None = None,
        column_names: Sequence[str] | None = None,
    ) -> None:
        self.shape, self.name = shape, name
        self._kinds = ("column", "row") if by_column else ("row", "column")
        self._names = {"row": row_names, "column": column_names}
        self._major, self._minor = shape[::-1] if by_column else shape

    def check_pointers(self, indptr: np.ndarray, stored: int) -> None:
        """Refuse `indptr` that do not bound the rows of `stored` entries, one after another.

        Raises:
            ValueError: If so, naming the first row that is wrong.
        """
        major = self._kinds[0]
        _check_type(indptr, f"{self.name}: indptr")
        if len(indptr) != self._major + 1:
            raise ValueError(
                f"{self.name} has {self._major:,} {major}s by its shape and names, but indptr "
                f"bounds {len(indptr) - 1:,}"
            )
        if indptr[0] != 0:
            raise ValueError(
                f"{self._place(0)} starts at entry {indptr[0]} of those that are stored; the "
                "first starts at 0"
            )
        bad = (indptr[1:] < indptr[:-1]) | (indptr[1:] > stored)
        if bad.any():
            at = int(bad.argmax())
            raise ValueError(
                f"{self._place(at)} claims the entries from {indptr[at]} to {indptr[at + 1]} of "
                f"{stored:,} that are stored; save the table again"
            )
        if indptr[-1] != stored:
            raise ValueError(
                f"{self._place(self._major - 1)} ends at entry {indptr[-1]}, but {stored:,} are "
                "stored; save the table again"
            )

    def check_indices(self, indices: np.ndarray, ends: np.ndarray, first: int = 0) -> None:
        """Refuse indices that lie outside of the matrix.

        Args:
            indices: Those of some consecutive rows.
            ends: Bounds of these rows among `indices`, as in `indptr`.
            first: The first of these rows.

        Raises:
            ValueError: If one is out of range, naming its row and column.
        """
        _check_type(indices, f"{self.name}: indices")
        at = _outside(indices, self._minor)
        if at is not None:
            row = first + int(np.searchsorted(ends, at, "right")) - 1
            major, minor = self._kinds
            raise ValueError(
                f"{self._place(row)} has an entry in {minor} {indices[at]}, but {minor}s are "
                f"0 to {self._minor - 1}; save the table again"
            )

    def _place(self, number: int) -> str:
        major = self._kinds[0]
        names = self._names[major] or ()
        known = f" ({names[number]})" if 0 <= number < len(names) else ""
        return f"{self.name}: {major} {number}{known}"


def assemble(
    kind: str, parts: Mapping[str, np.ndarray], shape: Sequence[Any], name: object, **names: Any
) -> Any:
    """A scipy matrix of arrays that were stored, all of them checked first.

    Args:
        kind: How they store it, one of `FORMATS`.
        parts: `data` and the arrays of `FORMATS[kind]`.
        shape: Rows and columns.
        name: What to call the matrix in messages, a file.
        **names: `row_names` and `column_names`, for messages.

    Returns:
        The matrix, in that format; by rows if it was stored in blocks or diagonals.

    Raises:
        ValueError: If they are no such matrix, naming row and column.
    """
    if kind not in FORMATS:
        raise ValueError(f"{name} is stored as {kind!r}, which is none of {', '.join(FORMATS)}")
    size = _shape(shape, name)
    axes = {"bsr": 3, "dia": 2}.get(kind, 1)
    for part, wanted in (("data", axes), *((part, 1) for part in FORMATS[kind])):
        if parts[part].ndim != wanted:
            raise ValueError(f"{name}: {part} has shape {parts[part].shape}, not {wanted} axes")
    data = parts["data"]
    if data.dtype.kind not in "iufb":
        raise ValueError(f"{name}: its entries have type {data.dtype}; counts are numbers")
    if data.dtype.itemsize == 2 and data.dtype.kind == "f":
        data = data.astype(np.float32)  # scipy has no code for halves
    data = data.astype(data.dtype.newbyteorder("="), copy=False)  # nor for another byte order
    if kind == "coo":
        _check_entries(parts["row"], parts["col"], data, size, name, names)
        return sparse.coo_matrix((data, (_plain(parts["row"]), _plain(parts["col"]))), size)
    if kind == "dia":
        offsets = parts["offsets"]
        _check_type(offsets, f"{name}: offsets")
        if len(offsets) != len(data) or len(np.unique(offsets)) != len(offsets):
            raise ValueError(f"{name} has {len(data)} diagonals for the offsets {offsets[:9]}")
        outside = (offsets <= -size[0]) | (offsets >= size[1])
        if outside.any():
            raise ValueError(
                f"{name} has a diagonal from row {max(0, -int(offsets[outside][0]))}, column "
                f"{max(0, int(offsets[outside][0]))}, but {size[0]} rows and {size[1]} columns"
            )
        return sparse.csr_matrix(sparse.dia_matrix((data, _plain(offsets)), size))
    indices, indptr = parts["indices"], parts["indptr"]
    if len(indices) != len(data):
        raise ValueError(f"{name} has {len(data):,} entries and {len(indices):,} indices of them")
    inner, blocks = size, (1, 1)
    if kind == "bsr":
        blocks = data.shape[1:]
        if min(blocks) < 1 or size[0] % blocks[0] or size[1] % blocks[1]:
            raise ValueError(f"{name} of {size} cannot be stored in blocks of {blocks}")
        inner, names = (size[0] // blocks[0], size[1] // blocks[1]), {}
    layout = Layout(inner, name, by_column=kind == "csc", **names)
    layout.check_pointers(indptr, len(data))
    layout.check_indices(indices, indptr)
    made = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "bsr": sparse.bsr_matrix}[kind]
    matrix = made((data, _plain(indices), _plain(indptr)), shape=size)
    return sparse.csr_matrix(matrix) if kind == "bsr" else matrix


def check_matrix(matrix: Any, name: object, **names: Any) -> Any:
    """A scipy matrix that was given as an object, its arrays checked.

    Raises:
        ValueError: As `assemble`.
    """
    kind = str(matrix.format)
    if kind not in FORMATS:  # lists and dictionaries of Python, which scipy looks through itself
        return matrix
    parts = {part: np.asarray(getattr(matrix, part)) for part in ("data", *FORMATS[kind])}
    return assemble(kind, parts, matrix.shape, name, **names)


def _check_entries(
    rows: np.ndarray,
    columns: np.ndarray,
    data: np.ndarray,
    shape: tuple[int, int],
    name: object,
    names: Mapping[str, Any],
) -> None:
    """Refuse entries with a row and a column each that lie outside of the matrix."""
    if not len(rows) == len(columns) == len(data):
        raise ValueError(
            f"{name} has {len(data):,} entries, but {len(rows):,} rows and {len(columns):,} "
            "columns of them"
        )
    for values, size, what in ((rows, shape[0], "rows"), (columns, shape[1], "columns")):
        _check_type(values, f"{name}: {what}")
        at = _outside(values, size)
        if at is not None:
            raise ValueError(
                f"{name}: an entry lies in row {rows[at]}, column {columns[at]}, but {what} are "
                f"0 to {size - 1}; save the table again"
            )


def _shape(shape: Sequence[Any], name: object) -> tuple[int, int]:
    sizes = np.asarray(shape)
    if sizes.shape != (2,) or sizes.dtype.kind not in "iu" or (sizes < 0).any():
        raise ValueError(f"{name} has the shape {shape}; a table has rows and columns")
    return int(sizes[0]), int(sizes[1])


def _check_type(values: np.ndarray, what: str) -> None:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(
            f"{what} has type {values.dtype} and {values.ndim} axes; it must be a list of whole "
            "numbers"
        )


def _outside(values: np.ndarray, size: int) -> int | None:
    """The position of the first value that is not in 0 .. size - 1, or None."""
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK]
        if not 0 <= int(part.min()) <= int(part.max()) < size:
            return start + int(((part < 0) | (part >= size)).argmax())
    return None


def _plain(values: np.ndarray) -> np.ndarray:
    """Indices in a type, and a byte order, that scipy's own code takes."""
    return values if values.dtype in (np.int32, np.int64) else values.astype(np.int64)


doors.guard(__name__)
