"""Tables as text, a line a row: `.csv` and `.tsv`, also compressed.

What a cell says is kept as it is written where it is a name: nan, NA and 007 are names like any
other, and so are two that are the same. Cells are separated as the suffix says; where the header
is one cell by that, and the first rows fall into as many cells as the header by another sign,
by that one. Decimals may follow a comma. A row has as many cells as the header, or one more, its
name, as R writes tables.
"""

from __future__ import annotations

import csv
import io
import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from markovbridge import doors
from markovbridge.data.tables.frames import MISSING, FrameFile, numbers
from markovbridge.storage.lazily import optional
from markovbridge.storage.reading import unpacked

BIOM = "# Constructed from biom file"  # what `biom convert` writes above the header
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}


class _Layout(NamedTuple):
    """How the rows of a file are laid out: the cells of its header and of its first row."""

    separator: str
    skipped: int
    header: list[str]
    row: list[str]

    @property
    def fits(self) -> bool:
        """Whether the row has as many cells as the header, or one more that names it."""
        return not self.row or len(self.row) in (len(self.header), len(self.header) + 1)


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

    def load(
        self,
        path: Path,
        rows: int | None = None,
        index: str | None = None,
        words: bool = False,
    ) -> Any:
        """See `FrameFile.load`."""
        pd = optional("pandas", "reading tables")
        found = self._layout(path)
        header, width = found.header, max(len(found.header), len(found.row))
        named = width > len(header)  # as R writes tables
        if not found.row:
            return pd.DataFrame([], columns=header)
        texts = _texts(header, named, index, range(width) if words else ())
        with warnings.catch_warnings(), unpacked(path) as stream:
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            frame = pd.read_csv(
                stream,
                sep=found.separator,
                header=None,
                names=range(width),
                skiprows=found.skipped,
                converters=dict.fromkeys(texts, str),
                # Not of names: newer pandas looks for missing ones among converted texts too.
                na_values={k: list(MISSING) for k in range(width) if k not in texts},
                keep_default_na=False,
                low_memory=False,
                nrows=rows,
            )
        if named and len(frame) and frame.iloc[:, -1].isna().all():
            raise ValueError(
                "each of its rows ends with a separator, which its header does not: remove that "
                "of the rows, or add one to the header"
            )
        last = frame.iloc[:, -1]
        if (last.isna() | (last == "")).any():  # pandas fills up what a row lacks
            _check_rows(path, found, width, rows)
        for k, dtype in enumerate(frame.dtypes):
            if dtype.kind == "O" and k not in texts:
                frame.isetitem(k, numbers(frame.iloc[:, k], found.separator != ","))
        if named:
            frame = frame.set_index(0)
        return frame.set_axis(header, axis=1)

    def dump(self, frame: Any, file: Path, named: bool, zipped: bool) -> None:
        """See `FrameFile.dump`."""
        how: Any = "gzip" if zipped else None
        frame.to_csv(file, sep=self.separator, index=named, compression=how)

    def _layout(self, path: Path) -> _Layout:
        """How a file is laid out.

        Raises:
            ValueError: If its first row is none of its header.
        """
        found = _look(path, self.separator)
        if not found.header:
            raise ValueError("it is empty")
        if len(found.header) == 1:
            others = [_look(path, sign) for sign in SEPARATORS if sign != self.separator]
            others = [o for o in others if o.fits and len(o.header) > 1 and len(o.row) > 1]
            found = others[0] if len(others) == 1 else found
        if not found.fits:
            raise ValueError(
                f"{path} has a header of {len(found.header):,} names, but a first row of "
                f"{len(found.row):,} cells, separated by {SEPARATORS[found.separator]}; give each "
                "column a name, and each row all cells"
            )
        return found


def _texts(header: list[str], named: bool, index: str | None, others: Iterable[int]) -> set[int]:
    """Positions of the columns that are kept as written: that of the row names, and `others`.

    Args:
        header: The names of the columns.
        named: Whether a column without a name, of the names of the rows, stands before them.
        index: The column that names the rows, None for the first.
        others: Further ones.
    """
    said = {header.index(index) + named} if index in header else set()
    return {*said, *([0] if named or not said else []), *others}


def _look(path: Path, separator: str) -> _Layout:
    """The header of a file and its first row, if a sign separates their cells."""
    with _lines(path) as lines:
        filled: list[list[str]] = []
        skipped = 0
        for words in csv.reader(lines, delimiter=separator):
            skipped += not filled
            comment = not filled and len(words) == 1 and words[0].startswith(BIOM)
            if words and not comment:
                filled.append(words)
            if len(filled) > 1:
                break
    header, row = [*filled, [], []][:2]
    return _Layout(separator, skipped, header, row)


def _check_rows(path: Path, layout: _Layout, width: int, rows: int | None) -> None:
    """Refuse a row that lacks cells, of the first `rows` ones, or of all.

    Raises:
        ValueError: If there is one.
    """
    with _lines(path) as lines:
        filled = (words for words in csv.reader(lines, delimiter=layout.separator) if words)
        header = next(words for words in filled if words == layout.header)
        for k, words in enumerate(itertools.islice(filled, rows)):
            if len(words) < width:
                more = " with its name" if width > len(header) else ""
                raise ValueError(
                    f"{path}: row {k} ({words[0][:40]}) has {len(words):,} cells of "
                    f"{width:,}{more}; give each row all cells, empty ones where none is known"
                )


def _lines(path: Path) -> io.TextIOWrapper:
    """A file as text, unpacked."""
    return io.TextIOWrapper(cast(Any, unpacked(path)), encoding="utf-8-sig", newline="")


doors.guard(__name__)
