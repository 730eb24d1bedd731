"""Matrices without names in them: Matrix Market files, and NumPy's `.npz`.

10x Genomics writes a folder: `matrix.mtx.gz` with features in rows, and beside it
`barcodes.tsv.gz` with the names of its columns and `features.tsv.gz` (`genes.tsv` before
version 3) with those of its rows. Such a folder is read with samples in rows. Names beside
`sample1_matrix.mtx` may begin with `sample1_` too, and beside `counts.mtx` with `counts_`.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import scipy.io

from markovbridge import doors
from markovbridge.data.compressed import FORMATS, assemble
from markovbridge.data.tables.table import Table, as_block, known, strings, unique
from markovbridge.files import naming
from markovbridge.reading import ArrayFile, afford, array_file, reading, unpacked

__all__ = ["beginning", "matrix_file", "read_mtx", "read_npz"]

ROW_NAMES, COLUMN_NAMES = "row_names", "column_names"


def matrix_file(folder: Path) -> Path | None:
    """The Matrix Market file in a folder as 10x Genomics writes it, or None."""
    for name in ("matrix.mtx.gz", "matrix.mtx"):
        if (folder / name).is_file():
            return folder / name
    return None


def read_mtx(path: Path, *, transpose: bool, maximum: int | None) -> Table:
    """A Matrix Market file with the names beside it.

    Args:
        path: The `.mtx` or `.mtx.gz` file.
        transpose: Whether features are in rows, for a file without names beside it; with
            them it is seen.
        maximum: Largest admissible count, or None.

    Raises:
        ValueError: If the file is damaged, or names do not fit the matrix.
    """
    with reading(path, "cannot be read as a Matrix Market file"):
        matrix = _market(path)
    samples = _beside(path, "barcodes")
    features = _beside(path, "features") or _beside(path, "genes")
    rows = None if samples is None else tuple(line[0] for line in samples)
    columns = None
    if features is not None:
        ids = tuple(line[0] for line in features)
        columns = unique(tuple(line[min(1, len(line) - 1)] for line in features), ids)
    expected = (None if rows is None else len(rows), None if columns is None else len(columns))
    if expected == (None, None):
        turned = transpose
    else:
        fits = [
            all(want in (None, size) for want, size in zip(expected, shape, strict=True))
            for shape in (matrix.shape, matrix.shape[::-1])
        ]
        if not any(fits):
            raise ValueError(
                f"{path} has {matrix.shape[0]:,} x {matrix.shape[1]:,} entries, but beside it are "
                f"{expected[0]} barcodes and {expected[1]} features"
            )
        turned = fits[1]  # of a square matrix, features are in rows, as 10x writes it
    if turned:
        matrix = matrix.T
    return Table(as_block(matrix, path, rows, columns, maximum=maximum), rows, columns)


def read_npz(
    path: Path,
    key: str | None,
    *,
    columns: Sequence[str],
    transpose: bool,
    missing: bool,
    maximum: int | None,
) -> Table:
    """A NumPy file: a scipy sparse matrix, or one of its arrays.

    Args:
        path: The `.npz` file. Arrays `row_names` and `column_names` in it name the samples
            and the features.
        key: Name of the array of counts; None if it is the only one with two axes.
        columns: Names of arrays (N,) that are covariates.
        transpose: Whether features are in rows.
        missing: Whether entries of an array may be NaN.
        maximum: Largest admissible count, or None.

    Raises:
        ValueError: If the file is damaged, or has no such array.
    """
    with array_file(path, named=True) as content:
        held = content.names or ()
        if "format" in held and key is None:
            matrix = _stored(content, path)
        else:
            tables = [name for name in held if len(content.shape(name)) == 2]
            if key is None and len(tables) == 1:
                key = tables[0]
            matrix = content[key] if key is not None and key in held else None
        named = {
            name: strings(_list(content, name, path))
            for name in (ROW_NAMES, COLUMN_NAMES)
            if name in held
        }
        given = {name: _list(content, name, path) for name in columns if name in held}
    if matrix is None or matrix.ndim != 2:
        raise ValueError(
            f"{path} has {'no single array' if key is None else f'no array {key!r}'} of two axes; "
            f"give key, one of {', '.join(held)}"
        )
    if transpose:
        matrix = matrix.T
    rows, features = named.get(ROW_NAMES), named.get(COLUMN_NAMES)
    for names, size in zip((rows, features), matrix.shape, strict=True):
        if names is not None and len(names) != size:
            raise ValueError(f"{path} has {len(names)} names for {size} rows or columns")
    matrix, observed = known(matrix) if missing else (matrix, None)
    block = as_block(matrix, path, rows, features, maximum=maximum)
    return Table(block, rows, features, given, observed)


def _stored(content: ArrayFile, path: Path) -> Any:
    """A sparse matrix as scipy.sparse.save_npz stores it."""
    kind = content["format"].item()
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    shape = content["shape"]
    if shape.shape == (2,) and shape.dtype.kind in "iu":
        afford(path, 16 * int(shape.max()), f"the shape {tuple(shape.tolist())}")
    coordinates = kind == "coo" and "coords" in content  # of scipy's arrays
    parts = {} if coordinates else {name: content[name] for name in FORMATS.get(kind, ())}
    if coordinates:
        parts = dict(zip(("row", "col"), content["coords"], strict=True))
    return assemble(kind, {"data": content["data"], **parts}, shape.ravel().tolist(), path)


def _list(content: ArrayFile, name: str, path: Path) -> np.ndarray:
    """An array of names or covariates, one a row or column."""
    values = content[name]
    if values.ndim != 1:
        raise ValueError(f"{path}: array {name!r} has shape {values.shape}; give a list")
    return values


def _market(path: Path) -> Any:
    """The matrix in a Matrix Market file: an array, or entries with a row and a column each."""
    if path.suffix.lower() == ".gz":
        # scipy's reader ends the process where a stream that it reads raises an error.
        with tempfile.TemporaryDirectory(prefix="markovbridge-") as folder:
            plain = Path(folder) / "matrix.mtx"
            with unpacked(path) as stream, naming(plain), plain.open("wb") as file:
                shutil.copyfileobj(stream, file, 2**20)
            return _plain_market(plain, path)
    return _plain_market(path, path)


def _plain_market(plain: Path, path: Path) -> Any:
    """The matrix in a plain file, which is called `path` in messages."""
    # scipy makes room for what the header claims, so that is looked at before.
    rows, columns, entries, form, field, _ = scipy.io.mminfo(str(plain))
    if field == "complex":
        raise ValueError(f"{path}: its entries are complex; counts are whole numbers")
    cells = int(entries) if form == "coordinate" else int(rows) * int(columns)
    room, least = plain.stat().st_size, 4 if form == "coordinate" else 2
    if least * cells > room + least:  # "1 1" and the end of the line, or "0" and it
        raise ValueError(f"{path} claims {cells:,} entries, but has {room:,} bytes; save it again")
    afford(path, 24 * cells + 16 * (int(rows) + int(columns)), "what its header claims")
    return scipy.io.mmread(str(plain))


def beginning(path: Path) -> str:
    """What the names of the files beside a Matrix Market file begin with."""
    stem = path.name.removesuffix(".gz").removesuffix(".mtx")
    return stem.removesuffix("matrix") if stem.endswith("matrix") else f"{stem}_"


def _beside(path: Path, kind: str) -> list[list[str]] | None:
    """The cells of each line of the names beside a matrix, or None if there are none."""
    for start in dict.fromkeys((beginning(path), "")):
        for suffix in (".tsv.gz", ".tsv"):
            file = path.with_name(f"{start}{kind}{suffix}")
            if file.is_file():
                with (
                    reading(file, "cannot be read as a list of names"),
                    io.TextIOWrapper(cast(Any, unpacked(file)), encoding="utf-8") as lines,
                ):
                    return [line.rstrip("\n").split("\t") for line in lines if line.strip()]
    return None


doors.guard(__name__)
