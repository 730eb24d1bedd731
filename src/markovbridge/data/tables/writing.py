"""Counts and results go back where scientists look.

- `write_table`: a new table, synthetic cells for example, in the format of its suffix.
- `write_results`: results of the shape of a table, restored depth or imputed means with
  their intervals for example. In an `.h5ad` they are layers beside the counts and all else
  that the file had; an `.npz` has an array for each; other formats have a file for each.

What these write, `CountTable` reads. Files appear complete or not at all: they are written
under another name and then renamed. Existing ones are replaced only with `overwrite=True`.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from scipy import io, sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.meeting import in_order
from markovbridge.data.rows import Rows
from markovbridge.data.rows import dense as to_dense
from markovbridge.data.tables.hdf5 import StoredMatrix
from markovbridge.data.tables.matrices import beginning
from markovbridge.data.tables.source import CountTable, kind_of, suffix_of
from markovbridge.data.tables.table import SPARSE, optional
from markovbridge.files import naming, put, written_together
from markovbridge.locks import locked

__all__ = ["write_results", "write_table"]

Values = Tensor | Rows | np.ndarray | sparse.spmatrix
Writer = Callable[[Path], None]


@dataclass(frozen=True)
class _Names:
    """What stands around the cells of a table."""

    rows: Sequence[str] | None
    features: Sequence[str] | None
    columns: Mapping[str, Any]


def write_table(
    path: str | Path,
    counts: Values,
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    layers: Mapping[str, Values] | None = None,
    obsm: Mapping[str, Values] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a table in the format of its suffix.

    Args:
        path: The file: `.h5ad`, `.csv`, `.tsv`, `.parquet`, `.npz` or `.mtx`; `.csv`, `.tsv`
            and `.mtx` may end in `.gz`. Matrix Market files are written as by 10x Genomics,
            features in rows, with names beside them.
        counts: (N, features); reals too.
        row_names: Name of each row.
        column_names: Name of each column.
        columns: Covariates by name, N values each: `obs` of an `.h5ad` file, columns before
            the counts of a table, arrays of an `.npz`, a table beside an `.mtx`.
        layers: Further matrices of the same shape by name; `.h5ad` only.
        obsm: Arrays (N, k) by name; `.h5ad` only.
        overwrite: Replace files that exist.

    Returns:
        The files written.

    Raises:
        FileExistsError: If a file exists and `overwrite` is false.
        ImportError: If a package is missing that writes it.
        InUseError: If another process writes the same.
        ValueError: If the suffix is unknown, or shapes do not match.
    """
    path, matrix = Path(path).expanduser(), _matrix(counts)
    n, width = matrix.shape
    suffix = _writable(path, layers, obsm)
    _check_shapes(layers, (n, width))
    _check_shapes(obsm, (n,))
    for names, size in ((row_names, n), (column_names, width), *((c, n) for c in _all(columns))):
        if names is not None and len(names) != size:
            raise ValueError(f"{len(names)} names or values are given for {size} in {path}")
    around = _Names(row_names, column_names, dict(columns or {}))
    if suffix == ".h5ad":
        return _write({path: _anndata(matrix, around, layers or {}, obsm or {})}, overwrite)
    if suffix == ".npz":
        return _write({path: _npz({"counts": matrix}, around)}, overwrite)
    if suffix == ".mtx":
        return _write(_market(path, matrix, around), overwrite)
    return _write({path: _frame(path, matrix, around)}, overwrite)


def write_results(
    source: CountTable,
    path: str | Path,
    results: Mapping[str, Values],
    *,
    split: str = "all",
    n: int | None = None,
    obsm: Mapping[str, Values] | None = None,
    column_names: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write results of the shape of a table, with its names.

    Args:
        source: The table.
        path: The file; its suffix need not be that of the table. If it is the table itself,
            an `.h5ad`, `overwrite=True` adds to it.
        results: Matrices (N, features) by name, N being the rows of the split. Of several,
            `cells.csv` becomes `cells_NAME.csv`.
        split: The rows they belong to.
        n: Only the first so many of these; None for all.
        obsm: Arrays (N, k) by name; `.h5ad` only.
        column_names: Names of the features of the results, which need not be in the order of
            the table: there they are put in that order. None if they are in it.
        overwrite: Replace files, and layers, that exist.

    Returns:
        The files written.

    Raises:
        FileExistsError: If a file exists and `overwrite` is false.
        ImportError: If a package is missing that writes it.
        InUseError: If another process writes the same.
        ValueError: If there are no results, or shapes do not match.
    """
    path, origin = Path(path).expanduser(), source.file()
    suffix = _writable(path, None, obsm)
    if not results and not obsm:
        raise ValueError("there are no results to write")
    table = source.read()
    matrix, (total, width) = cast(Any, table.matrix), table.shape
    chosen = source.positions(total, split).numpy()[:n]
    _check_shapes(results, (len(chosen), width))
    _check_shapes(obsm, (len(chosen),))
    order = in_order(
        column_names, table.column_names, width=width, expected=width, what="results", say=_hush
    )
    if order is not None:
        results = {name: _matrix(values)[:, order.numpy()] for name, values in results.items()}
    try:
        if suffix == ".h5ad" and kind_of(origin) == ".h5ad" and source.layer != "raw":
            some = None if len(chosen) == total else chosen
            writer = _extended(origin, some, results, obsm or {}, overwrite)
            return _write({path: writer}, overwrite)
        rows = None if table.row_names is None else [table.row_names[i] for i in map(int, chosen)]
        columns = {name: np.asarray(values)[chosen] for name, values in table.columns.items()}
        around = _Names(rows, table.column_names, columns)
        if suffix == ".h5ad":
            taken = isinstance(matrix, StoredMatrix)
            counts = matrix.take(chosen) if taken else matrix[chosen]
            return _write({path: _anndata(counts, around, results, obsm or {})}, overwrite)
    finally:
        table.close()
    if suffix == ".npz":
        return _write({path: _npz({k: _matrix(v) for k, v in results.items()}, around)}, overwrite)
    writers: dict[Path, Writer] = {}
    for name, values in results.items():
        stem, dot, rest = path.name.partition(".")
        file = path if len(results) == 1 else path.with_name(f"{stem}_{name}{dot}{rest}")
        if suffix == ".mtx":
            writers.update(_market(file, _matrix(values), around))
        else:
            writers[file] = _frame(file, _matrix(values), around)
    return _write(writers, overwrite)


def _hush(_: str) -> None:
    """Say nothing: results are to be in the order of their table."""


def _writable(path: Path, layers: Any, obsm: Any) -> str:
    """The suffix of a file that can be written with such parts."""
    suffix = suffix_of(path)
    if suffix == ".h5":
        raise ValueError(f"{path} would be a file of 10x Genomics; write an .h5ad file instead")
    for name, parts in (("layers", layers), ("obsm", obsm)):
        if parts and suffix != ".h5ad":
            raise ValueError(f"{name} has its place in .h5ad files; {path} is none")
    return suffix


def _all(columns: Mapping[str, Sequence[Any]] | None) -> Iterable[Sequence[Any]]:
    return (columns or {}).values()


def _check_shapes(parts: Mapping[str, Values] | None, expected: tuple[int, ...]) -> None:
    """Refuse matrices of which the first axes are not as `expected`."""
    for name, values in (parts or {}).items():
        shape = tuple(values.shape)
        if len(shape) != 2 or shape[: len(expected)] != expected:
            wanted = " x ".join(map(str, expected if len(expected) == 2 else (*expected, "k")))
            raise ValueError(f"{name!r} has shape {shape}; give {wanted}")


def _matrix(values: Values) -> Any:
    """As a numpy array, or compressed rows if it is sparse or mostly zeros."""
    if isinstance(values, Tensor | Rows):
        values = to_dense(values).detach().cpu().numpy()
    if sparse.issparse(values):
        matrix: Any = sparse.csr_matrix(values)
    else:
        matrix = np.asarray(values)
        if np.count_nonzero(matrix) < SPARSE * matrix.size:
            matrix = sparse.csr_matrix(matrix)
    if matrix.dtype.kind == "f":
        return matrix.astype(np.float32)
    return matrix if matrix.dtype.itemsize == 8 else matrix.astype(np.int32)  # as others write it


def _full(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def _index(names: Sequence[str] | None, n: int) -> list[str]:
    return [str(k) for k in range(n)] if names is None else [str(name) for name in names]


def _anndata(
    counts: Any, around: _Names, layers: Mapping[str, Values], obsm: Mapping[str, Values]
) -> Writer:
    """A new AnnData file."""
    anndata = optional("anndata", "writing .h5ad files")
    pd = optional("pandas", "writing .h5ad files")
    n, width = counts.shape
    table = anndata.AnnData(
        _matrix(counts),
        obs=pd.DataFrame(dict(around.columns), index=_index(around.rows, n)),
        var=pd.DataFrame(index=_index(around.features, width)),
        layers={name: _matrix(values) for name, values in layers.items()},
        obsm={name: _full(_matrix(values)) for name, values in obsm.items()},
    )
    return lambda file: table.write_h5ad(file, compression="gzip")


def _extended(
    origin: Path,
    chosen: np.ndarray | None,
    layers: Mapping[str, Values],
    obsm: Mapping[str, Values],
    overwrite: bool,
) -> Writer:
    """A copy of some rows of an AnnData file, all if None, with more layers and arrays."""
    anndata = optional("anndata", "writing .h5ad files")
    h5py = optional("h5py", "writing .h5ad files")
    parts = {f"layers/{name}": _matrix(values) for name, values in layers.items()}
    parts |= {f"obsm/{name}": _full(_matrix(values)) for name, values in obsm.items()}

    def write(file: Path) -> None:
        if chosen is None:
            shutil.copyfile(origin, file)  # however large the file is, it is never in memory
        else:
            backed = anndata.read_h5ad(origin, backed="r")
            some = backed[chosen].to_memory()
            backed.file.close()
            some.write_h5ad(file, compression="gzip")
        with h5py.File(file, "r+") as content:
            for name, matrix in parts.items():
                if name in content and not overwrite:
                    raise FileExistsError(
                        f"{origin} has {name} already; choose another name, or overwrite it"
                    )
                options = {"compression": "gzip"}
                anndata.io.write_elem(content, name, matrix, dataset_kwargs=options)

    return write


def _npz(matrices: Mapping[str, Any], around: _Names) -> Writer:
    """A NumPy file: one sparse matrix as scipy keeps it, or arrays."""
    arrays: dict[str, Any] = {name: np.asarray(v) for name, v in around.columns.items()}
    # Objects would be pickled: text becomes arrays of text.
    arrays = {k: v.astype(str) if v.dtype.kind == "O" else v for k, v in arrays.items()}
    if around.rows is not None:
        arrays["row_names"] = np.array(around.rows, dtype=str)
    if around.features is not None:
        arrays["column_names"] = np.array(around.features, dtype=str)
    only = next(iter(matrices.values()))
    if len(matrices) == 1 and sparse.issparse(only):
        parts: dict[str, Any] = {
            "format": np.array(b"csr"),
            "shape": np.array(only.shape),
            **{name: getattr(only, name) for name in ("data", "indices", "indptr")},
        }
    else:
        parts = {name: _full(matrix) for name, matrix in matrices.items()}
    for name in parts:
        if name in arrays:
            raise ValueError(f"an .npz file cannot have two arrays called {name!r}; rename one")

    def write(file: Path) -> None:
        with file.open("wb") as opened:
            np.savez_compressed(opened, **parts, **arrays)

    return write


def _data_frame(around: _Names, cells: np.ndarray) -> Any:
    pd = optional("pandas", "writing tables")
    index = None if around.rows is None else pd.Index(_index(around.rows, len(cells)), name=None)
    counts = pd.DataFrame(cells, index=index, columns=_index(around.features, cells.shape[1]))
    before = {name: np.asarray(values) for name, values in around.columns.items()}
    for name in before:
        if name in counts.columns:
            raise ValueError(f"a table cannot have two columns called {name!r}; rename one")
    return pd.concat([pd.DataFrame(before, index=counts.index), counts], axis=1)


def _frame(path: Path, matrix: Any, around: _Names) -> Writer:
    """A table with a header, and names of the rows in its first column if there are any."""
    frame = _data_frame(around, _full(matrix))
    named = around.rows is not None
    if suffix_of(path) == ".parquet":
        optional("pyarrow", "writing .parquet files")
        return lambda file: frame.to_parquet(file, engine="pyarrow", index=named)
    separator = "\t" if suffix_of(path) == ".tsv" else ","
    # The name written to does not end as that of the table, which tells whether to compress.
    zipped: Any = "gzip" if path.suffix.lower() == ".gz" else None
    return lambda file: frame.to_csv(file, sep=separator, index=named, compression=zipped)


def _market(path: Path, matrix: Any, around: _Names) -> dict[Path, Writer]:
    """A Matrix Market file, features in rows, with the names beside it; the matrix last."""
    zipped = ".gz" if path.suffix.lower() == ".gz" else ""
    start = beginning(path)
    n, width = matrix.shape
    files: dict[Path, Writer] = {}

    def lines(names: Sequence[str]) -> Writer:
        text = "".join(f"{name}\n" for name in names).encode()
        return lambda file: _bytes(file, text, zipped)

    features = [f"{name}\t{name}\tCounts" for name in _index(around.features, width)]
    files[path.with_name(f"{start}barcodes.tsv{zipped}")] = lines(_index(around.rows, n))
    files[path.with_name(f"{start}features.tsv{zipped}")] = lines(features)
    if around.columns:
        beside = path.with_name(f"{start}obs.tsv{zipped}")
        named = _Names(_index(around.rows, n), [], around.columns)
        files[beside] = _frame(beside, np.empty((n, 0)), named)

    def write(file: Path) -> None:
        opened = gzip.open if zipped else open
        with opened(file, "wb") as target:
            io.mmwrite(target, sparse.coo_matrix(matrix.T))

    return {**files, path: write}


def _bytes(file: Path, text: bytes, zipped: str) -> None:
    put(file, gzip.compress(text) if zipped else text)


def _write(writers: Mapping[Path, Writer], overwrite: bool) -> list[Path]:
    """Write files under other names, then rename them all."""
    for path in writers:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already; choose another file, or overwrite it")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    with ExitStack() as stack:
        for path in writers:
            stack.enter_context(locked(path.parent, path.name))
        fresh = stack.enter_context(written_together(list(writers)))
        for file, (path, write) in zip(fresh, writers.items(), strict=True):
            with naming(path):
                write(file)
    return list(writers)


doors.guard(__name__)
