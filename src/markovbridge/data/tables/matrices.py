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
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.io

from markovbridge import doors
from markovbridge.data.compressed import FORMATS, assemble
from markovbridge.data.tables.table import Table, as_block, known, strings, unique
from markovbridge.files import naming
from markovbridge.reading import ArrayFile, afford, array_file, reading, unpacked

__all__ = ["beginning", "matrix_file", "read_mtx", "read_npz"]

ROW_NAMES, COLUMN_NAMES = "row_names", "column_names"
BANNERS = (b"%%MatrixMarket", b"%MatrixMarket")
WHOLE = b"0123456789+- \t\r\n"
REAL = WHOLE + b".eEdDnNaAiIfFtTyY"  # with the letters of nan and infinity
WORDS = {"pattern": 2}  # of an entry: its row, its column, and but for these its value


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
    features = _beside(path, "features")
    if features is None:
        features = _beside(path, "genes")
    rows = None if samples is None else _names(samples, 0)
    columns = None if features is None else unique(_names(features, 1), _names(features, 0))
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
                + " and ".join(
                    f"{len(found.lines)} {what} ({found.file})"
                    for found, what in ((samples, "barcodes"), (features, "features"))
                    if found is not None
                )
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
        if matrix is None or matrix.ndim != 2:
            raise ValueError(
                f"{path} has {'no single array' if key is None else f'no array {key!r}'} of two "
                f"axes; give key, one of {', '.join(held)}"
            )
        if transpose:
            matrix = matrix.T
        sizes = {ROW_NAMES: matrix.shape[0], COLUMN_NAMES: matrix.shape[1]}
        named = {
            name: strings(_list(content, name, path, size))
            for name, size in sizes.items()
            if name in held
        }
        each = sizes[ROW_NAMES]
        given = {name: _list(content, name, path, each) for name in columns if name in held}
    rows, features = named.get(ROW_NAMES), named.get(COLUMN_NAMES)
    matrix, observed = known(matrix) if missing else (matrix, None)
    block = as_block(matrix, path, rows, features, maximum=maximum)
    return Table(block, rows, features, given, observed)


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


def _market(path: Path) -> Any:
    """The matrix in a Matrix Market file: an array, or entries with a row and a column each."""
    with unpacked(path) as stream:
        if not stream.read(16).startswith(BANNERS):
            raise ValueError("it does not begin with %%MatrixMarket")
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
    _check_words(plain, path, field, int(entries) if form == "coordinate" else None)
    return scipy.io.mmread(str(plain))


def _check_words(plain: Path, path: Path, field: str, entries: int | None) -> None:
    """Refuse numbers that scipy's reader would cut, pass over or fall over.

    Args:
        plain: The file.
        path: What to call it.
        field: Of its header: "integer", "real", "pattern", ...
        entries: How many entries follow the sizes; None for an array.

    Raises:
        ValueError: If there is a character of no number, or more numbers than belong there.
    """
    with plain.open("rb") as file:
        while (line := file.readline(2**16)).startswith(b"%") or line.isspace():
            if b"\0" in line:
                raise ValueError(f"{path} holds {line[:20]!r} before its numbers")
        words, inside = 0, False
        while block := file.read(2**22):
            other = block.translate(None, WHOLE if field == "integer" else REAL)
            if other:
                raise ValueError(
                    f"{path} is of field {field} and holds {other[:1]!r} among its numbers; save "
                    "it again"
                )
            text = np.frombuffer(block, np.uint8) > ord(" ")
            words += np.count_nonzero(text[1:] > text[:-1]) + int(text[0] and not inside)
            inside = bool(text[-1])
    expected = None if entries is None else WORDS.get(field, 3) * entries
    if expected is not None and words != expected:
        raise ValueError(
            f"{path} claims {entries:,} entries, which are {expected:,} numbers, but holds "
            f"{words:,}; save it again"
        )


def beginning(path: Path) -> str:
    """What the names of the files beside a Matrix Market file begin with."""
    stem = path.name.removesuffix(".gz").removesuffix(".mtx")
    return stem.removesuffix("matrix") if stem.endswith("matrix") else f"{stem}_"


class _Beside(NamedTuple):
    """Names beside a matrix: their file, and the cells of each line of it."""

    file: Path
    lines: list[list[str]]


def _names(found: _Beside, cell: int) -> tuple[str, ...]:
    """The cell that names each line, or its last if it has fewer."""
    with reading(found.file):
        return strings(line[min(cell, len(line) - 1)] for line in found.lines)


def _beside(path: Path, kind: str) -> _Beside | None:
    """The names beside a matrix, or None if there are none."""
    for start in dict.fromkeys((beginning(path), "")):
        for suffix in (".tsv.gz", ".tsv"):
            file = path.with_name(f"{start}{kind}{suffix}")
            if file.is_file():
                with (
                    reading(file, "cannot be read as a list of names"),
                    io.TextIOWrapper(cast(Any, unpacked(file)), encoding="utf-8-sig") as lines,
                ):
                    cells = [line.rstrip("\n").split("\t") for line in lines if line.strip()]
                    return _Beside(file, cells)
    return None


doors.guard(__name__)
