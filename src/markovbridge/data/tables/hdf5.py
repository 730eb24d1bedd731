"""AnnData's `.h5ad` and the `.h5` of 10x Genomics, read a range of rows at a time.

Both store compressed sparse rows: `data` and `indices` of the nonzero entries in the order
of their rows, and `indptr`, whose elements r and r + 1 bound those of row r. 10x stores
features in rows, compressed by column, which is the same thing. So any range of rows is one
range of `data` and one of `indices`, and a file larger than memory can be trained on.

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

from markovbridge.data.rows import Block
from markovbridge.data.tables.table import (
    SPARSE,
    Table,
    as_block,
    canonical,
    known,
    optional,
    place,
    strings,
    unique,
    whole,
)

__all__ = ["StoredMatrix", "read_10x_h5", "read_h5ad"]

CHUNK_VALUES = 2**17  # stored values that are read together
CHUNK_ROWS = 8192


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
    ) -> None:
        self.shape = shape
        self._group, self._path, self._remedy, self._maximum = group, path, remedy, maximum
        self._row_names, self._column_names = row_names, column_names
        self._dense = not hasattr(group, "keys")
        values = group if self._dense else group["data"]
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
        """The rows at the rising positions `rows`; memory besides them is one chunk.

        Raises:
            ValueError: If a value is no count, naming its row and column.
        """
        blocks, start = [], 0
        while start < len(rows):
            first = int(rows[start])
            end = int(np.searchsorted(rows, first + self.chunk))
            span = int(rows[end - 1]) + 1 - first
            block = self._read(first, first + span)
            blocks.append(block if span == end - start else block[rows[start:end] - first])
            start = end
        if not blocks:
            return self._read(0, 0)
        if len(blocks) == 1:
            return blocks[0]
        stack = np.concatenate if isinstance(blocks[0], np.ndarray) else sparse.vstack
        return cast(Block, stack(blocks))

    def close(self) -> None:
        """Close the file."""
        self._group.file.close()

    def _read(self, start: int, stop: int) -> Block:
        if self._dense:
            width = self.shape[1]
            values = self._group[start:stop].ravel()
            counts = self._whole(values, lambda at: (start + at // width, at % width))
            counts = counts.reshape(stop - start, width)
            return sparse.csr_matrix(counts) if self._sparsely else counts
        ends = self._group["indptr"][start : stop + 1].astype(np.int64)
        span = slice(int(ends[0]), int(ends[-1]))
        ends -= ends[0]
        columns = self._group["indices"][span]

        def position(at: int) -> tuple[int, int]:
            return start + int(np.searchsorted(ends, at, "right")) - 1, int(columns[at])

        counts = self._whole(self._group["data"][span], position)
        return canonical(
            sparse.csr_matrix((counts, columns, ends), shape=(stop - start, self.shape[1]))
        )

    def _whole(self, values: np.ndarray, position: Callable[[int], tuple[int, int]]) -> np.ndarray:
        """Checked counts, `position` being the row and column of each."""

        def where(at: int) -> str:
            row, column = position(at)
            return place(self._path, row, column, self._row_names, self._column_names)

        return whole(values, where, remedy=self._remedy, maximum=self._maximum)


def read_h5ad(
    path: Path,
    layer: str | None,
    *,
    columns: bool,
    missing: bool = False,
    maximum: int | None = None,
) -> Table:
    """The counts of an AnnData file.

    Args:
        path: The file.
        layer: Name of a layer, None for X, or "raw" for `adata.raw`.
        columns: Whether to read `obs` as well.
        missing: Whether entries may be NaN; the matrix is then read at once.
        maximum: Largest admissible count, or None.

    Raises:
        ValueError: If there is no such layer.
    """
    file = _open(path, "h5ad")
    layers = list(file["layers"]) if "layers" in file else []
    others = [*layers, *(["raw"] if "raw" in file else [])]
    where = {None: "X", "raw": "raw/X", **{name: f"layers/{name}" for name in layers}}.get(layer)
    if where is None or where not in file:
        found = ", ".join(others) or "none"
        raise ValueError(
            f"{path} has no {'X' if layer is None else f'layer {layer!r}'}; name one of its "
            f"layers: {found}"
        )
    rows, features = _index(file["obs"]), _index(file["raw/var" if layer == "raw" else "var"])
    others = [name for name in others if name != layer]
    remedy = (
        f"take the raw counts, which may be in layer={' or '.join(map(repr, others))}"
        if others
        else "store the raw counts, as a layer for example"
    )
    group = file[where]
    obs: dict[str, Any] = {}
    if columns:
        frame = optional("anndata.io", "reading obs of an .h5ad file").read_elem(file["obs"])
        obs = {str(name): frame[name] for name in frame.columns}
    facts: dict[str, Any] = {"row_names": rows, "column_names": features, "remedy": remedy}
    facts.update(path=path, maximum=maximum)
    kind = str(group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", "")))
    shape = (len(rows), len(features))
    observed = None
    by_column = kind.startswith("csc")
    if missing or by_column:
        # By column, no range of rows lies together: all of it is read at once.
        values: Any
        if hasattr(group, "keys"):
            form = sparse.csc_matrix if by_column else sparse.csr_matrix
            values = form(tuple(group[name][:] for name in ("data", "indices", "indptr")), shape)
        else:
            values = group[:]
        if missing:
            values, observed = known(values)
        matrix = as_block(values, **facts)
        file.close()
    else:
        matrix = StoredMatrix(group, shape, **facts)
    return Table(matrix, rows, features, obs, observed)


def read_10x_h5(path: Path, key: str | None, maximum: int | None) -> Table:
    """The counts of a 10x Genomics file, all kinds of features together.

    Args:
        path: The file.
        key: The genome, for a file of version 2 with several; None if there is one.
        maximum: Largest admissible count, or None.

    Raises:
        ValueError: If it is no such file, or has several genomes and none is named.
    """
    file = _open(path, "10x .h5")
    found = [name for name in file if hasattr(file[name], "keys") and "barcodes" in file[name]]
    if not found:
        raise ValueError(
            f"{path} is no feature-barcode matrix of 10x Genomics: it has {', '.join(file)}"
        )
    if key is None and len(found) == 1:
        key = found[0]
    if key not in found:
        raise ValueError(f"{path} holds {', '.join(found)}; name one of them as key, not {key!r}")
    group = file[key]
    names, ids = ("gene_names", "genes") if "genes" in group else ("features/name", "features/id")
    rows = strings(group["barcodes"][:])
    features = unique(strings(group[names][:]), strings(group[ids][:]))
    matrix = StoredMatrix(
        group,
        (len(rows), len(features)),
        path=path,
        row_names=rows,
        column_names=features,
        remedy="store the raw counts",
        maximum=maximum,
    )
    return Table(matrix, rows, features)


def _open(path: Path, what: str) -> Any:
    h5py = optional("h5py", f"reading {what} files")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read as an HDF5 file ({error}); save it again") from (
            error
        )


def _index(frame: Any) -> tuple[str, ...]:
    """Row names of a stored data frame."""
    if hasattr(frame, "keys"):
        return strings(frame[frame.attrs["_index"]][:])
    return strings(frame[frame.dtype.names[0]])  # a structured array, in files before 2020
