"""Matrix Market files, `.mtx`, with names in files beside them.

10x Genomics writes a folder: `matrix.mtx.gz` with features in rows, and beside it
`barcodes.tsv.gz` with the names of its columns and `features.tsv.gz` (`genes.tsv` before
version 3) with those of its rows. Such a folder is read with samples in rows. Names beside
`sample1_matrix.mtx` may begin with `sample1_` too, and beside `counts.mtx` with `counts_`.
"""

from __future__ import annotations

import gzip
import inspect
import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.io
from scipy import sparse

from markovbridge import doors
from markovbridge.data.tables.format import Format, Request, Writer, index
from markovbridge.data.tables.kinds import of_kind, several
from markovbridge.data.tables.table import Table, as_block, strings, unique
from markovbridge.data.tables.text import TextTable
from markovbridge.storage.files import naming, put
from markovbridge.storage.reading import afford, reading, unpacked

BANNERS = (b"%%MatrixMarket", b"%MatrixMarket")
WHOLE = b"0123456789+- \t\r\n"
REAL = WHOLE + b".eEdDnNaAiIfFtTyY"  # with the letters of nan and infinity
WORDS = {"pattern": 2}  # of an entry: its row, its column, and but for these its value
OBS = TextTable(".tsv", "\t")  # the format of covariates beside a matrix


def matrix_file(folder: Path) -> Path | None:
    """The Matrix Market file in a folder as 10x Genomics writes it, or None."""
    for name in ("matrix.mtx.gz", "matrix.mtx"):
        if (folder / name).is_file():
            return folder / name
    return None


class MatrixMarket(Format):
    """A Matrix Market file, or a folder with one, with names in files beside it.

    Of a file without names `transpose` says whether features are in rows; with them it is seen.
    """

    suffix, written_as = ".mtx", ".mtx.gz"
    zipped = True
    options = frozenset({"transpose", "features"})

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`."""
        path = _file(path)
        with reading(path, "cannot be read as a Matrix Market file"):
            matrix = _market(path)
        samples, features = _beside(path, "barcodes"), _features(path)
        rows = None if samples is None else _names(samples, 0)
        columns = None if features is None else unique(_names(features, 1), _names(features, 0))
        expected = (None if rows is None else len(rows), None if columns is None else len(columns))
        if expected == (None, None):
            turned = request.transpose
        else:
            fits = [
                all(want in (None, size) for want, size in zip(expected, shape, strict=True))
                for shape in (matrix.shape, matrix.shape[::-1])
            ]
            if not any(fits):
                raise ValueError(
                    f"{path} has {matrix.shape[0]:,} x {matrix.shape[1]:,} entries, but beside it "
                    "are "
                    + " and ".join(
                        f"{len(found.lines)} {what} ({found.file})"
                        for found, what in ((samples, "barcodes"), (features, "features"))
                        if found is not None
                    )
                )
            turned = fits[1]  # of a square matrix, features are in rows, as 10x writes it
        if turned:
            matrix = matrix.T
        block = as_block(matrix, path, rows, columns, maximum=request.maximum)
        chosen = of_kind(None if features is None else _kinds(features), request.features, path)
        if chosen is not None and columns is not None:
            block, columns = block[:, chosen], tuple(columns[k] for k in chosen.tolist())
        return Table(block, rows, columns)

    def writers(
        self,
        path: Path,
        table: Table,
        layers: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
    ) -> dict[Path, Writer]:
        """See `Format.writers`: features in rows, the names beside it, and the matrix last."""
        zipped = ".gz" if path.suffix.lower() == ".gz" else ""
        start = beginning(path)
        n, width = table.shape
        rows, features = index(table.row_names, n), index(table.column_names, width)
        described = [f"{name}\t{name}\tCounts" for name in features]
        files = {
            path.with_name(f"{start}barcodes.tsv{zipped}"): _lines(rows, zipped),
            path.with_name(f"{start}features.tsv{zipped}"): _lines(described, zipped),
        }
        if table.columns:
            known = Table(np.empty((n, 0)), rows, [], table.columns)
            files |= OBS.writers(path.with_name(f"{start}obs.tsv{zipped}"), known)

        def write(file: Path) -> None:
            opened = gzip.open if zipped else open
            with opened(file, "wb") as target:
                scipy.io.mmwrite(target, sparse.coo_matrix(cast(Any, table.matrix).T))

        return {**files, path: write}

    def kinds(self, path: Path) -> tuple[str, ...]:
        """See `Format.kinds`."""
        features = _features(_file(path))
        return () if features is None else tuple(several(_kinds(features)))

    def beside(self, path: Path) -> Path | None:
        """See `Format.beside`."""
        path = _file(path)
        names = (path.with_name(f"{beginning(path)}obs.tsv{zipped}") for zipped in (".gz", ""))
        return next((name for name in names if name.is_file()), None)


def _file(path: Path) -> Path:
    """The Matrix Market file that a path stands for, itself or in the folder that it is."""
    found = matrix_file(path) if path.is_dir() else path
    assert found is not None
    return found


def _lines(names: Sequence[str], zipped: str) -> Writer:
    """What writes names, one a line."""
    text = "".join(f"{name}\n" for name in names).encode()
    return lambda file: put(file, gzip.compress(text) if zipped else text)


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
    # From version 1.20 on scipy makes arrays where it made matrices, and warns of it before.
    asked = "spmatrix" in inspect.signature(scipy.io.mmread).parameters
    return scipy.io.mmread(str(plain), **({"spmatrix": True} if asked else {}))


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


def _features(path: Path) -> _Beside | None:
    """The names of features beside a matrix, as either version of 10x Genomics calls them."""
    found = _beside(path, "features")
    return _beside(path, "genes") if found is None else found


def _kinds(features: _Beside) -> list[str] | None:
    """The kind of each feature, in the third cell of its line; None if a line has none."""
    lines = features.lines
    return [line[2].strip() for line in lines] if all(len(line) > 2 for line in lines) else None


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


doors.guard(__name__, inside=("beginning",))
