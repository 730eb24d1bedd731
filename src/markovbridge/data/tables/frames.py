"""Tables of rows with names: `.csv`, `.tsv` and `.parquet`.

Every column holds counts, besides the names of the rows, the covariates, and what is to be
ignored. The first column names the rows if its header is empty, as data frames are written,
or if it holds text and is no covariate.
"""

from __future__ import annotations

import csv
import io
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from markovbridge import doors
from markovbridge.data.tables.format import Format, Request, Writer, full, index, is_a
from markovbridge.data.tables.table import Table, as_block, measured, strings
from markovbridge.storage.lazily import optional
from markovbridge.storage.reading import afford, reading, unpacked


class FrameFile(Format):
    """A table with a header, which pandas reads and writes."""

    kind = "frame"
    options = frozenset({"ignore", "transpose", "missing"})

    @abstractmethod
    def load(self, path: Path, rows: int | None = None) -> Any:
        """The file as a data frame; if it is text, the first so many rows."""

    @abstractmethod
    def dump(self, frame: Any, file: Path, named: bool, zipped: bool) -> None:
        """Write a data frame, with its row names if they are `named`."""

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`."""
        with reading(path, "cannot be read as a table"):
            loaded = self.load(path)
        frame, named = _named(loaded, request.covariates)
        if request.transpose:
            frame, named = frame.T, True
        for name in request.ignore:
            if name not in frame.columns:
                raise ValueError(f"{path} has no column {name!r} to ignore")
        frame = frame.drop(columns=list(request.ignore))
        kept = [name for name in frame.columns if name in request.covariates]
        counts = frame.drop(columns=kept)
        if counts.shape[0] == 0 or counts.shape[1] == 0:
            raise ValueError(
                f"{path} has {counts.shape[0]} rows and {counts.shape[1]} columns left"
            )
        # A row of text among the others makes text of all numbers.
        if request.transpose and any(dtype.kind not in "iufb" for dtype in counts.dtypes):
            counts = counts.apply(_numbers)
        values = cells(counts, str(path), "name it in covariates or in ignore")
        values, observed = measured(values) if request.missing else (values, None)
        rows = strings(frame.index) if named else None
        features = strings(counts.columns)
        block = as_block(values, path, rows, features, maximum=request.maximum)
        return Table(block, rows, features, {str(name): frame[name] for name in kept}, observed)

    def covariates(
        self, path: Path, names: Sequence[str] | None, n: int, wanted: Sequence[str], table: Path
    ) -> dict[str, Any]:
        """Columns of a table of covariates, in the order of the samples `names`.

        Args:
            path: The file, with a row a sample.
            names: Names of the samples, matched with those of the rows; or None, for rows that
                are in the order of the samples.
            n: How many samples there are.
            wanted: The columns that will be used, and so do not name rows.
            table: The file of the samples, for messages.

        Raises:
            ValueError: If a sample is missing, or is there twice.
        """
        with reading(path, "cannot be read as a table"):
            loaded = self.load(path)
        frame, named = _named(loaded, wanted)
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

    def columns(self, path: Path, transpose: bool = False) -> tuple[str, ...]:
        """Names of its columns, or of its rows if these are the features.

        That of the names themselves may be among them.
        """
        with reading(path, "cannot be read as a table"):
            frame = self.load(path, None if transpose else 0)
        return strings(_named(frame, ())[0].index if transpose else frame.columns)

    def writers(
        self,
        path: Path,
        table: Table,
        layers: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
    ) -> dict[Path, Writer]:
        """A table with a header, and names of the rows in its first column if there are any."""
        pd = optional("pandas", "writing tables")
        values = full(table.matrix)
        named = table.row_names is not None
        rows = pd.Index(index(table.row_names, len(values)), name=None) if named else None
        features = index(table.column_names, values.shape[1])
        frame = _joined(pd.DataFrame(values, index=rows, columns=features), table.columns)
        # The name written to does not end as that of the table, which tells whether to compress.
        zipped = path.suffix.lower() == ".gz"
        return {path: lambda file: self.dump(frame, file, named, zipped)}

    def whole(self, path: Path, table: Any) -> dict[Path, Writer] | None:
        """A data frame as it is, with the names of its rows if it has any."""
        if not is_a(table, "DataFrame"):
            return None
        named, zipped = not is_a(table.index, "RangeIndex"), path.suffix.lower() == ".gz"
        made = table.rename(columns=str)
        made.index = made.index.astype(str) if named else made.index
        return {path: lambda file: self.dump(made, file, named, zipped)}


class TextTable(FrameFile):
    """Text, a line a row.

    Args:
        suffix: What its files are called by.
        separator: What stands between two cells.
    """

    zipped = True

    def __init__(self, suffix: str, separator: str) -> None:
        self.suffix = self.written_as = suffix
        self.separator = separator

    def load(self, path: Path, rows: int | None = None) -> Any:
        """See `FrameFile.load`."""
        pd = optional("pandas", "reading tables")
        self._check_widths(path)
        with warnings.catch_warnings(), unpacked(path) as stream:
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            return pd.read_csv(stream, sep=self.separator, low_memory=False, nrows=rows)

    def dump(self, frame: Any, file: Path, named: bool, zipped: bool) -> None:
        """See `FrameFile.dump`."""
        how: Any = "gzip" if zipped else None
        frame.to_csv(file, sep=self.separator, index=named, compression=how)

    def _check_widths(self, path: Path) -> None:
        """Refuse a table whose first row has more cells than its header names.

        One more is the name of the row, as R writes tables; of several, pandas would make names
        of rows in many levels, and move the counts.
        """
        text = cast(Any, unpacked(path))
        with io.TextIOWrapper(text, encoding="utf-8-sig", newline="") as lines:
            filled = (words for words in csv.reader(lines, delimiter=self.separator) if words)
            names, words = next(filled, []), next(filled, [])
        if len(words) > len(names) + 1:
            raise ValueError(
                f"{path} has a header of {len(names):,} names, but a first row of {len(words):,} "
                "cells; give each column a name"
            )


class ParquetTable(FrameFile):
    """Parquet, a column after another."""

    suffix = written_as = ".parquet"

    def load(self, path: Path, rows: int | None = None) -> Any:
        """See `FrameFile.load`."""
        pd = optional("pandas", "reading tables")
        parquet = optional("pyarrow.parquet", "reading .parquet files")
        with parquet.ParquetFile(path) as file:
            about = file.metadata
            size = about.num_rows * max(1, about.num_columns)
        afford(path, 8 * size, f"{about.num_rows:,} rows of {about.num_columns:,} columns")
        return pd.read_parquet(path, engine="pyarrow")

    def dump(self, frame: Any, file: Path, named: bool, zipped: bool) -> None:
        """See `FrameFile.dump`."""
        optional("pyarrow", "writing .parquet files")
        frame.to_parquet(file, engine="pyarrow", index=named)


def cells(counts: Any, name: str, remedy: str) -> np.ndarray:
    """The cells of a data frame as numbers.

    Args:
        counts: The data frame.
        name: What to call it in messages.
        remedy: What to do about a column that holds no numbers.

    Raises:
        ValueError: If a column holds none.
    """
    for k, (column, dtype) in enumerate(counts.dtypes.items()):
        if dtype.kind not in "iufb":
            values = counts.iloc[:, k]  # by position, for names may occur twice
            sample = next((v for v in values if isinstance(v, str)), values.iloc[0])
            raise ValueError(
                f"{name}: column {str(column)!r} holds {str(sample)[:40]!r}, which is no count; "
                f"{remedy}"
            )
    values = counts.to_numpy()
    if values.dtype.kind not in "iufb":  # pandas' own types, with its own missing values
        values = counts.to_numpy(np.float64, na_value=np.nan)
    return values


def _joined(counts: Any, columns: Mapping[str, Any]) -> Any:
    """A data frame with further columns before its own.

    Raises:
        ValueError: If a name occurs twice.
    """
    before = {name: np.asarray(values) for name, values in columns.items()}
    for name in before:
        if name in counts.columns:
            raise ValueError(f"a table cannot have two columns called {name!r}; rename one")
    pd = optional("pandas", "a data frame")
    return pd.concat([pd.DataFrame(before, index=counts.index), counts], axis=1)


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
