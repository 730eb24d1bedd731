"""Rows of a table of covariates, matched with samples by their names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markovbridge import doors
from markovbridge.data.covariates import is_missing, level_of
from markovbridge.storage.lazily import optional


def matched(
    frame: Any,
    written: Any,
    names: Sequence[str],
    wanted: Sequence[str],
    path: Path,
    table: Path,
) -> Any:
    """The rows of the samples `names` in their order; None if nothing names any of them.

    Whichever column holds all names is that of the names: the index, then the first column,
    then another.

    Args:
        frame: The table of covariates.
        written: The same, its cells as they are written.
        names: Names of the samples.
        wanted: The columns that will be used, and so do not name rows.
        path: The file, for messages.
        table: The file of the samples, for messages.

    Raises:
        ValueError: If a sample is missing, or is there twice.
    """
    pd = optional("pandas", "reading tables")
    places = [k for k, name in enumerate(map(str, frame.columns)) if name not in wanted]
    found: list[tuple[int | None, list[str]]] = [(k, _words(written.iloc[:, k])) for k in places]
    if not isinstance(frame.index, pd.RangeIndex):  # as a parquet file may store it
        found.insert(0, (None, _words(frame.index)))
    asked = set(names)
    shared = [(len(asked & set(words)), place, words) for place, words in found]
    holding = [(place, words) for n, place, words in shared if n == len(asked)]
    for place, words in holding:
        if len([word for word in words if word in asked]) == len(asked):
            rows = {word: k for k, word in enumerate(words)}
            kept = [k for k in range(len(frame.columns)) if k != place]
            return frame.iloc[[rows[name] for name in names], kept]
    for _, words in holding:
        twice = next(name for name in names if words.count(name) > 1)
        raise ValueError(f"{path} has the row {twice!r} twice; keep one of them")
    most, place, words = max(shared, key=lambda one: one[0], default=(0, None, []))
    if most:
        where = "" if place is None else f" in column {str(frame.columns[place])!r}"
        raise ValueError(_absent(words, names, path, table, where))
    return None


def in_order(frame: Any, names: Sequence[str] | None, n: int, path: Path, table: Path) -> Any:
    """The rows as they stand, where nothing names a sample; a warning says so of named ones.

    Args:
        frame: The table of covariates, by its row names if it has any.
        names: Names of the samples, or None.
        n: How many samples there are.
        path: The file, for messages.
        table: The file of the samples, for messages.

    Raises:
        ValueError: If there are not as many rows as samples.
    """
    if len(frame) != n:
        raise ValueError(
            f"{path} has {len(frame):,} rows for {n:,} samples of {table}; give one a "
            "sample, in their order, or name the rows of both tables"
        )
    if names is not None:
        warnings.warn(
            f"{path} names no sample of {table}, so its rows are taken in their order; add a "
            "column with the names of the samples to have them matched",
            stacklevel=2,
        )
    return frame


def unmatched(frame: Any, names: Sequence[str], path: Path, table: Path) -> ValueError:
    """The error where no row has the name of a sample."""
    return ValueError(_absent(_words(frame.index), names, path, table, ""))


def _absent(
    words: Sequence[str], names: Sequence[str], path: Path, table: Path, where: str
) -> str:
    there = set(words)
    missing = [name for name in names if name not in there]
    return (
        f"{path} has no row for sample {missing[0]!r} of {table}, nor for "
        f"{len(missing) - 1:,} others; its rows are matched by their names{where}"
    )


def _words(values: Any) -> list[str]:
    """Values as names: whole numbers without a point."""
    if values.dtype.kind == "f":
        return [str(value) if is_missing(value) else level_of(value) for value in values]
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]


doors.guard(__name__, inside=("matched", "in_order", "unmatched"))
