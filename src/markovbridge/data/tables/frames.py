"""Tables of rows with names: `.parquet` here, `.csv` and `.tsv` in `text.py`.

Every column holds counts, besides the names of the rows, the covariates, and what is to be
ignored. The first column names the rows if its header is empty, as data frames are written,
or if it holds text and is no covariate. If it holds numbers that look like names, all of them
different, it has to be said whether they are.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from markovbridge import doors
from markovbridge.data.covariates import is_category, is_missing
from markovbridge.data.tables.beside import in_order, matched, unmatched
from markovbridge.data.tables.format import Format, Request, Writer, full, index, is_a
from markovbridge.data.tables.table import Table, as_block, measured, strings
from markovbridge.storage.lazily import optional
from markovbridge.storage.reading import afford, reading

COMMA = re.compile(r"[-+]?\d+(,\d+)?")  # a number, whose decimals may follow a comma
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+")  # which this may be, or not
NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?")
NAMES = re.compile(r"(^|[^a-z])(id|index|barcode|cell|sample|name|row)s?([^a-z]|$)")
BLANK = ("", "index", "__index_level_0__")  # headers of a column of names
MISSING = (  # what a cell of counts, or of covariates, says where nothing is known
    *("", " ", "NA", "N/A", "n/a", "nan", "NaN", "-nan", "-NaN", "<NA>", "null", "NULL", "None"),
    *("#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
FEW = 10  # numbers that may all differ by chance


class FrameFile(Format):
    """A table with a header, which pandas reads and writes."""

    kind = "frame"
    options = frozenset({"index", "ignore", "transpose", "missing"})

    @abstractmethod
    def load(
        self,
        path: Path,
        rows: int | None = None,
        index: str | None = None,
        words: bool = False,
    ) -> Any:
        """The file as a data frame.

        Args:
            path: The file.
            rows: If it is text, the first so many.
            index: The column that names the rows, None for the first: if the file is text, this
                column is, as it is written.
            words: If it is text, whether all columns are.
        """

    @abstractmethod
    def dump(self, frame: Any, file: Path, named: bool, zipped: bool) -> None:
        """Write a data frame, with its row names if they are `named`."""

    def read(self, path: Path, request: Request) -> Table:
        """See `Format.read`."""
        with reading(path, "cannot be read as a table"):
            loaded = self.load(path, index=request.index)
        beside = () if request.transpose else (*request.covariates, *request.ignore)
        frame, named = _named(loaded, path, beside, request.index)
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
            counts = counts.apply(numbers)
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
            frame = self.load(path)
            # These rows hold no counts: what has the names of the samples is that of the rows.
            written = None if names is None else self.load(path, words=True)
        found = None
        if names is not None:
            found = matched(frame, written, names, wanted, path, table)
        if found is None:
            frame, named = _named(frame, path, wanted, None, ask=False)
            if named and names is not None:
                raise unmatched(frame, names, path, table)
            found = in_order(frame, names, n, path, table)
        return {str(name): found[name] for name in found.columns}

    def columns(self, path: Path, transpose: bool = False) -> tuple[str, ...]:
        """Names of its columns, or of its rows if these are the features.

        That of the names themselves may be among them.
        """
        with reading(path, "cannot be read as a table"):
            frame = self.load(path, None if transpose else 0)
        if not transpose:
            return strings(frame.columns)
        pd = optional("pandas", "reading tables")
        named = not isinstance(frame.index, pd.RangeIndex) or not len(frame.columns)
        return strings(frame.index if named else frame.iloc[:, 0])

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

    def as_it_is(self, path: Path, table: Any) -> dict[Path, Writer] | None:
        """A data frame as it is, with the names of its rows if it has any."""
        if not is_a(table, "DataFrame"):
            return None
        for axis, names in (("index", table.index), ("columns", table.columns)):
            if names.nlevels > 1:
                raise ValueError(
                    f"the {axis} of the data frame has {names.nlevels} levels, and that of a "
                    f"{self.suffix} table has one; join them: frame.{axis} = frame.{axis}.map(str)"
                )
        named, zipped = not is_a(table.index, "RangeIndex"), path.suffix.lower() == ".gz"
        made = table.rename(columns=str)
        made.index = made.index.astype(str) if named else made.index
        return {path: lambda file: self.dump(made, file, named, zipped)}


class ParquetTable(FrameFile):
    """Parquet, a column after another."""

    suffix = written_as = ".parquet"

    def load(
        self,
        path: Path,
        rows: int | None = None,
        index: str | None = None,
        words: bool = False,
    ) -> Any:
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
        twice = frame.columns[frame.columns.duplicated()]
        if len(twice):
            raise ValueError(
                f"two columns are called {str(twice[0])!r}, which .parquet does not hold; rename "
                "one, or write .csv"
            )
        frame.to_parquet(file, engine="pyarrow", index=named)


def cells(counts: Any, name: str, remedy: str) -> np.ndarray:
    """The cells of a data frame as numbers; booleans are some if there is nothing else.

    Args:
        counts: The data frame.
        name: What to call it in messages.
        remedy: What to do about a column that holds no numbers.

    Raises:
        ValueError: If a column holds none.
    """
    pd = optional("pandas", "a data frame")
    counts = counts.copy(deep=False)
    for k, dtype in enumerate(counts.dtypes):
        if dtype.kind == "O" and not is_category(counts.iloc[:, k]):
            counts.isetitem(k, pd.to_numeric(counts.iloc[:, k]))
    kinds = {dtype.kind for dtype in counts.dtypes}
    for k, (column, dtype) in enumerate(counts.dtypes.items()):
        if dtype.kind not in "iuf" and kinds != {"b"}:
            values = counts.iloc[:, k]  # by position, for names may occur twice
            sample = next((v for v in values if isinstance(v, str)), values.iloc[0])
            if THOUSANDS.fullmatch(str(sample).strip()):
                remedy = "it may be a decimal or thousands: write numbers without commas"
            raise ValueError(
                f"{name}: column {str(column)!r} holds {str(sample)[:40]!r}, which is no count; "
                f"{remedy}"
            )
    values = counts.to_numpy()
    if values.dtype.kind in "iufb":
        return values
    # Types of pandas' own, with missing values of their own.
    if "f" not in kinds and not counts.isna().to_numpy().any():
        return counts.to_numpy(np.uint64 if "i" not in kinds else np.int64)
    return counts.to_numpy(np.float64, na_value=np.nan)


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


def numbers(column: Any, commas: bool = True) -> Any:
    """A column as numbers if it holds nothing else; decimals may follow a comma.

    What may be a decimal or thousands, such as 1,000, stays the text that it is. So do booleans,
    which are categories whether or not some are missing.

    Args:
        column: The column.
        commas: Whether a comma stands for a point, as it cannot where it separates cells.
    """
    pd = optional("pandas", "reading tables")
    if column.dtype.kind != "O":  # of dates it would make numbers
        return column
    if any(isinstance(value, bool | np.bool_) for value in column):
        return column
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        words = [str(value).strip() for value in column if not pd.isna(value)]
    if not commas or not all(map(COMMA.fullmatch, words)) or any(map(THOUSANDS.fullmatch, words)):
        return column
    points = column.map(lambda value: str(value).replace(",", "."), na_action="ignore")
    return pd.to_numeric(points)


def _named(
    frame: Any, path: Path, beside: Sequence[str], index: str | None, ask: bool = True
) -> tuple[Any, bool]:
    """The frame with its row names as index, and whether it has any.

    Args:
        frame: The frame, whose first column may be text because it may be names.
        path: The file.
        beside: Names of columns that hold something else.
        index: The column that names the rows; "" for none; None to see it.
        ask: Whether to refuse numbers that look like names, rather than to keep them.

    Raises:
        ValueError: If there is no such column, or it cannot be seen whether there is one.
    """
    pd = optional("pandas", "reading tables")
    columns = [str(name) for name in frame.columns]
    if index:
        if index not in columns:
            raise ValueError(f"{path} has no column {index!r} to name its rows by")
        return _set(frame, columns.index(index)), True
    if not isinstance(frame.index, pd.RangeIndex):  # as a parquet file may store it
        return frame, True
    if not columns:
        return frame, False
    first, kept = columns[0], columns[0] in beside or index == ""
    blank = first.startswith("Unnamed:") or first in BLANK
    values = frame.iloc[:, 0]
    if values.dtype.kind == "O":
        values = numbers(values.where(~values.isin(MISSING)))
    if not kept and (blank or values.dtype.kind not in "iufb"):
        odd = None if blank or not ask else _odd_among_numbers(values)
        if odd is not None:
            raise ValueError(
                f"{path}: its first column {first!r} holds {odd!r}, and most of its cells may be "
                f"counts or names of the rows: say index={first!r} if they are names, "
                f"ignore=[{first!r}] to leave them out, or write numbers without commas and "
                "nothing else if they are counts"
            )
        return _set(frame, 0), True
    others = [k for k in range(1, len(columns)) if columns[k] not in beside]
    if not kept and ask and _like_names(first, values, frame.iloc[:, others]):
        raise ValueError(
            f"{path}: its first column {first!r} holds {len(values):,} different numbers, "
            f"which may be names of the rows rather than counts: say index={first!r} if they "
            f"are, ignore=[{first!r}] to leave them out, or index='' if they are counts"
        )
    frame.isetitem(0, values)
    return frame, False


def _set(frame: Any, position: int) -> Any:
    """A frame whose column at a position names its rows."""
    names = frame.iloc[:, position]
    others = [k for k in range(len(frame.columns)) if k != position]
    return frame.iloc[:, others].set_axis(names.to_numpy(), axis=0)


def _odd_among_numbers(values: Any) -> str | None:
    """The first cell that is no number, of a column of text most cells of which may be counts."""
    words = [str(value).strip() for value in values if not is_missing(value)]
    odd = [word for word in words if not NUMBER.fullmatch(word) or THOUSANDS.fullmatch(word)]
    counted = sum(word in ("True", "False") or bool(THOUSANDS.fullmatch(word)) for word in odd)
    most = 2 * (len(words) - len(odd) + counted) > len(words)
    return odd[0][:40] if odd and most else None


def _like_names(name: str, values: Any, others: Any) -> bool:
    """Whether a column of numbers looks like names of the rows: whole, and all different.

    That counts are all different is rare, but where all columns are so. It is taken for names
    by what the column is called, where the rows are numbered, or where no other column is so.
    """
    n, width = others.shape
    if n < 3 or not width or not values.is_unique:
        return False
    known = values.dropna().to_numpy(np.float64)  # NA may be a name as well
    if (known != np.floor(known)).any():
        return False
    if NAMES.search(re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()):
        return True
    if n < FEW:
        return False
    numbered = len(known) == n and bool((np.diff(known) == 1).all())
    return numbered or not any(others.iloc[:, k].is_unique for k in range(width))


doors.guard(__name__, inside=("numbers",))
