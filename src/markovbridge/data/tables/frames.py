"""Tables of rows with names: `.csv`, `.tsv` and `.parquet`.

Every column holds counts, besides the names of the rows, the covariates, and what is to be
ignored. The first column names the rows if its header is empty, as data frames are written,
or if it holds text and is no covariate.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from markovbridge import doors
from markovbridge.data.tables.table import Table, as_block, known, optional, strings
from markovbridge.reading import afford, reading, unpacked

__all__ = ["header", "read_covariates", "read_frame"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_frame(
    path: Path,
    *,
    columns: Sequence[str] = (),
    ignore: Sequence[str] = (),
    transpose: bool = False,
    missing: bool = False,
    maximum: int | None = None,
) -> Table:
    """A table whose cells are counts.

    Args:
        path: The file.
        columns: Names of columns that are no counts but covariates.
        ignore: Names of columns, rows if transposed, that are left out.
        transpose: Whether the file has features in rows and samples in columns.
        missing: Whether cells may be empty.
        maximum: Largest admissible count, or None.

    Raises:
        ValueError: If a column is not there, or a value is no count.
    """
    frame, named = _named(_load(path), columns)
    if transpose:
        frame, named = frame.T, True
    for name in ignore:
        if name not in frame.columns:
            raise ValueError(f"{path} has no column {name!r} to ignore")
    frame = frame.drop(columns=list(ignore))
    kept = [name for name in frame.columns if name in columns]
    counts = frame.drop(columns=kept)
    if counts.shape[0] == 0 or counts.shape[1] == 0:
        raise ValueError(f"{path} has {counts.shape[0]} rows and {counts.shape[1]} columns left")
    # A row of text among the others makes text of all numbers.
    if transpose and any(dtype.kind not in "iufb" for dtype in counts.dtypes):
        counts = counts.apply(_numbers)
    for k, (name, dtype) in enumerate(counts.dtypes.items()):
        if dtype.kind not in "iufb":
            column = counts.iloc[:, k]  # by position, for names may occur twice
            sample = next((v for v in column if isinstance(v, str)), column.iloc[0])
            raise ValueError(
                f"{path}: column {str(name)!r} holds {str(sample)[:40]!r}, which is no count; "
                "name it in covariates or in ignore"
            )
    values = counts.to_numpy()
    if values.dtype.kind not in "iufb":  # pandas' own types, with its own missing values
        values = counts.to_numpy(np.float64, na_value=np.nan)
    values, observed = known(values) if missing else (values, None)
    rows = strings(frame.index) if named else None
    features = strings(counts.columns)
    block = as_block(values, path, rows, features, maximum=maximum)
    return Table(block, rows, features, {str(name): frame[name] for name in kept}, observed)


def read_covariates(
    path: Path, names: Sequence[str] | None, n: int, wanted: Sequence[str], table: Path
) -> dict[str, Any]:
    """Columns of a table of covariates, in the order of the samples `names`.

    Args:
        path: A `.csv`, `.tsv` or `.parquet` file with a row a sample.
        names: Names of the samples, matched with those of the rows; or None, for rows that
            are in the order of the samples.
        n: How many samples there are.
        wanted: The columns that will be used, and so do not name rows.
        table: The file of the samples, for messages.

    Raises:
        ValueError: If a sample is missing, or is there twice.
    """
    frame, named = _named(_load(path), wanted)
    if named and names is not None:
        frame.index = frame.index.astype(str)
        twice = frame.index[frame.index.duplicated()]
        if len(twice):
            raise ValueError(f"{path} has the row {twice[0]!r} twice; keep one of them")
        missing = [name for name in names if name not in frame.index]
        if missing:
            raise ValueError(
                f"{path} has no row for sample {missing[0]!r} of {table}, nor for "
                f"{len(missing) - 1:,} others; its rows are matched by their names"
            )
        frame = frame.loc[list(names)]
    elif len(frame) != n:
        raise ValueError(
            f"{path} has {len(frame):,} rows for {n:,} samples of {table}; give one a "
            "sample, in their order, or name the rows of both tables"
        )
    return {str(name): frame[name] for name in frame.columns}


def header(path: Path, *, transpose: bool = False) -> tuple[str, ...]:
    """Names of the columns of a table, or of its rows if these are the features.

    That of the names themselves may be among them.
    """
    if transpose:
        return strings(_named(_load(path), ())[0].index)
    return strings(_load(path, rows=0).columns)


def _load(path: Path, rows: int | None = None) -> Any:
    """The file as a pandas data frame; of text files the first so many rows."""
    pd = optional("pandas", "reading tables")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    with reading(path, "cannot be read as a table"):
        if suffixes[-1:] == [".parquet"]:
            parquet = optional("pyarrow.parquet", "reading .parquet files")
            with parquet.ParquetFile(path) as file:
                about = file.metadata
                cells = about.num_rows * max(1, about.num_columns)
            afford(path, 8 * cells, f"{about.num_rows:,} rows of {about.num_columns:,} columns")
            return pd.read_parquet(path, engine="pyarrow")
        separator = SEPARATORS[suffixes[-2 if suffixes[-1:] == [".gz"] else -1]]
        _check_widths(path, separator)
        with warnings.catch_warnings(), unpacked(path) as stream:
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            return pd.read_csv(stream, sep=separator, low_memory=False, nrows=rows)


def _check_widths(path: Path, separator: str) -> None:
    """Refuse a table whose first row has more cells than its header names.

    One more is the name of the row, as R writes tables; of several, pandas would make names
    of rows in many levels, and move the counts.
    """
    with io.TextIOWrapper(cast(Any, unpacked(path)), encoding="utf-8-sig", newline="") as lines:
        filled = (cells for cells in csv.reader(lines, delimiter=separator) if cells)
        names, cells = next(filled, []), next(filled, [])
    if len(cells) > len(names) + 1:
        raise ValueError(
            f"{path} has a header of {len(names):,} names, but a first row of {len(cells):,} "
            "cells; give each column a name"
        )


def _numbers(column: Any) -> Any:
    """A column as numbers if it holds nothing else."""
    try:
        return optional("pandas", "reading tables").to_numeric(column)
    except (ValueError, TypeError):
        return column


def _named(frame: Any, columns: Sequence[str]) -> tuple[Any, bool]:
    """The frame with its row names as index, and whether it has any."""
    pd = optional("pandas", "reading tables")
    if not isinstance(frame.index, pd.RangeIndex):  # a parquet file may store it
        return frame, True
    first = frame.columns[0] if len(frame.columns) else ""
    blank = str(first).startswith("Unnamed:") or first in ("", "index", "__index_level_0__")
    text = len(frame.columns) and frame[first].dtype.kind not in "iufb" and first not in columns
    if blank or text:
        return frame.set_index(first), True
    return frame, False


doors.guard(__name__)
