"""NumPy's `.npz`: a sparse matrix as scipy keeps it, or arrays, and names beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from markovbridge import doors
from markovbridge.data.compressed import FORMATS, assemble
from markovbridge.data.tables.format import Format, Request, Writer, full
from markovbridge.data.tables.table import Table, as_block, measured, strings
from markovbridge.storage.files import put_arrays
from markovbridge.storage.reading import ArrayFile, afford, array_file

ROW_NAMES, COLUMN_NAMES = "row_names", "column_names"


class NumpyArchive(Format):
    """A NumPy archive; arrays `row_names` and `column_names` in it name samples and features.

    Covariates are arrays (N,); `key` names the array of counts, if several have two axes.
    """

    suffix = ".npz"
    options = frozenset({"key", "transpose", "missing"})

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`."""
        key = request.key
        with array_file(path, named=True) as content:
            held = content.names or ()
            if "format" in held and key is None:
                matrix = _stored(content, path)
            else:
                tables = [name for name in held if len(content.shape(name)) == 2]
                if key is None and len(tables) == 1:
                    key = tables[0]
                matrix = content[key] if key is not None and key in held else None
            if matrix is None or matrix.ndim != 2:
                raise ValueError(
                    f"{path} has {'no single array' if key is None else f'no array {key!r}'} of "
                    f"two axes; give key, one of {', '.join(held)}"
                )
            if request.transpose:
                matrix = matrix.T
            sizes = {ROW_NAMES: matrix.shape[0], COLUMN_NAMES: matrix.shape[1]}
            named = {
                name: strings(_list(content, name, path, size))
                for name, size in sizes.items()
                if name in held
            }
            each, wanted = sizes[ROW_NAMES], request.covariates
            known = {name: _list(content, name, path, each) for name in wanted if name in held}
        rows, features = named.get(ROW_NAMES), named.get(COLUMN_NAMES)
        matrix, observed = measured(matrix) if request.missing else (matrix, None)
        block = as_block(matrix, path, rows, features, maximum=request.maximum)
        return Table(block, rows, features, known, observed)

    def columns(self, path: Path, transpose: bool = False) -> tuple[str, ...]:
        """Names of its arrays."""
        with array_file(path, named=True) as content:
            return content.names or ()

    def writers(
        self,
        path: Path,
        table: Table,
        layers: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
    ) -> dict[Path, Writer]:
        """See `Format.writers`."""
        return self.several(path, table, {"counts": table.matrix})

    def several(self, path: Path, table: Table, matrices: Mapping[str, Any]) -> dict[Path, Writer]:
        """What writes matrices into one file; one alone, if it is sparse, as scipy keeps it."""
        arrays: dict[str, Any] = {name: np.asarray(v) for name, v in table.columns.items()}
        # Objects would be pickled: text becomes arrays of text.
        arrays = {k: v.astype(str) if v.dtype.kind == "O" else v for k, v in arrays.items()}
        for name, names in ((ROW_NAMES, table.row_names), (COLUMN_NAMES, table.column_names)):
            if names is not None:
                arrays[name] = np.array(names, dtype=str)
        only = next(iter(matrices.values()))
        if len(matrices) == 1 and sparse.issparse(only):
            parts: dict[str, Any] = {
                "format": np.array(b"csr"),
                "shape": np.array(only.shape),
                **{name: getattr(only, name) for name in ("data", "indices", "indptr")},
            }
        else:
            parts = {name: full(matrix) for name, matrix in matrices.items()}
        for name in parts:
            if name in arrays:
                raise ValueError(
                    f"an .npz file cannot have two arrays called {name!r}; rename one"
                )

        def write(file: Path) -> None:
            put_arrays(file, {**parts, **arrays})

        return {path: write}


def _stored(content: ArrayFile, path: Path) -> Any:
    """A sparse matrix as scipy.sparse.save_npz stores it."""
    kind = content["format"].item()
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    shape = content["shape"] if content.shape("shape") == (2,) else np.zeros(0)
    if shape.dtype.kind in "iu":
        afford(path, 16 * int(shape.max()), f"the shape {tuple(shape.tolist())}")
    coordinates = kind == "coo" and "coords" in content  # of scipy's arrays
    parts = {} if coordinates else {name: content[name] for name in FORMATS.get(kind, ())}
    if coordinates:
        parts = dict(zip(("row", "col"), content["coords"], strict=True))
    return assemble(kind, {"data": content["data"], **parts}, shape.ravel().tolist(), path)


def _list(content: ArrayFile, name: str, path: Path, size: int) -> np.ndarray:
    """An array of names or covariates, one for each of so many rows or columns."""
    shape, kind = content.shape(name), content.dtype(name).kind
    if kind not in "SUiufbM":
        raise ValueError(f"{path}: array {name!r} is none of text, numbers or dates")
    if shape != (size,):
        raise ValueError(
            f"{path}: array {name!r} has shape {shape}, but there are {size:,} rows or columns "
            "for it to name; give one value for each"
        )
    return content[name]


doors.guard(__name__)
