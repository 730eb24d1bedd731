"""Counts and results go back where scientists look.

- `write_table`: a new table, synthetic cells for example, in the format of its suffix.
- `write_results`: results of the shape of a table, restored depth or imputed means with
  their intervals for example. In an `.h5ad` they are layers beside the counts and all else
  that the file had; an `.npz` has an array for each; other formats have a file for each.

What these write, `CountTable` reads. Files appear complete or not at all: they are written
under another name and then renamed. Existing ones are replaced only with `overwrite=True`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np

from markovbridge import doors
from markovbridge.data.meeting import hush, in_order
from markovbridge.data.tables.format import Format, Values, Writer, is_a, plain
from markovbridge.data.tables.h5ad import AnnDataFile
from markovbridge.data.tables.objects import check_columns, parts_of
from markovbridge.data.tables.registry import format_named
from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import Table
from markovbridge.storage.files import naming, written_together
from markovbridge.storage.locks import locked


def write_table(
    path: str | Path,
    counts: Any,
    *,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[Any]] | Sequence[str] | None = None,
    layers: Mapping[str, Values] | None = None,
    obsm: Mapping[str, Values] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a table in the format of its suffix.

    Args:
        path: The file: `.h5ad`, `.csv`, `.tsv`, `.parquet`, `.npz` or `.mtx`; `.csv`, `.tsv`
            and `.mtx` may end in `.gz`. Matrix Market files are written as by 10x Genomics,
            features in rows, with names beside them.
        counts: (N, features), reals too: an array, a tensor, a sparse matrix, `Rows`; or AnnData
            or a data frame, whose names and covariates are taken where none are given. Columns
            of a data frame that hold no numbers are covariates, as booleans beside numbers. To an
            `.h5ad` file AnnData goes with all that it has, and a data frame to a table as it is.
        row_names: Name of each row.
        column_names: Name of each column.
        columns: Covariates by name, N values each: `obs` of an `.h5ad` file, columns before
            the counts of a table, arrays of an `.npz`, a table beside an `.mtx`. Or the names of
            those columns of a data frame, or of `obs`, that are covariates.
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
    path, own = Path(path).expanduser(), (row_names, column_names, columns, layers, obsm)
    form, more, chosen = _writable(path, layers, obsm), *_columns(columns)
    as_it_is = None if any(part is not None for part in own) else form.as_it_is(path, counts)
    if as_it_is is not None:
        return _write(as_it_is, overwrite)
    if isinstance(form, AnnDataFile) and is_a(counts, "AnnData"):
        check_columns(counts, chosen or ())
        given = Table(np.broadcast_to(0, counts.shape), row_names, column_names, more)
        _check(path, given, layers, obsm)
        kept = None if chosen is None else list(chosen)
        parts = _plain(layers), _plain(obsm)
        return _write(form.whole(path, counts, given, kept, *parts), overwrite)
    held = parts_of(counts, chosen)
    row_names = held.row_names if row_names is None else row_names
    column_names = held.column_names if column_names is None else column_names
    table = Table(plain(held.values), row_names, column_names, {**held.columns, **more})
    _check(path, table, layers, obsm)
    parts = _plain(layers), _plain(obsm)
    return _write(form.writers(path, table, *parts), overwrite)


def write_results(
    source: CountTable,
    path: str | Path,
    results: Mapping[str, Values],
    *,
    split: str = "all",
    n: int | None = None,
    obsm: Mapping[str, Values] | None = None,
    column_names: Sequence[str] | None = None,
    uns: Mapping[str, Any] | None = None,
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
        uns: What is to be told of them, by name, in `uns` of an `.h5ad` file; dictionaries join
            those that are there.
        overwrite: Replace files, and layers, that exist.

    Returns:
        The files written.

    Raises:
        FileExistsError: If a file exists and `overwrite` is false.
        ImportError: If a package is missing that writes it.
        InUseError: If another process writes the same.
        ValueError: If there are no results, or shapes do not match.
    """
    path, origin = Path(path).expanduser(), source.where()
    form = _writable(path, None, obsm)
    if not results and not obsm:
        raise ValueError("there are no results to write")
    table = source.read()
    (total, width), names = table.shape, table.column_names
    chosen = source.positions(total, split).numpy()[:n]
    _check_shapes(results, (len(chosen), width))
    _check_shapes(obsm, (len(chosen),))
    order = in_order(column_names, names, width=width, expected=width, what="results", say=hush)
    made, arrays = _plain(results), _plain(obsm)
    if order is not None:
        made = {name: values[:, order.numpy()] for name, values in made.items()}
    try:
        if isinstance(form, AnnDataFile) and form is source.format and source.layer != "raw":
            some = None if len(chosen) == total else chosen
            told = form.extended(origin, some, made, arrays, uns or {}, overwrite)
            return _write({path: told}, overwrite)
        rows = None if table.row_names is None else [table.row_names[i] for i in map(int, chosen)]
        columns = {name: np.asarray(values)[chosen] for name, values in table.columns.items()}
        if isinstance(form, AnnDataFile):
            beside = Table(plain(table.take(chosen)), rows, names, columns)
            return _write(form.writers(path, beside, made, arrays, uns), overwrite)
        around = Table(next(iter(made.values())), rows, names, columns)
        return _write(form.several(path, around, made), overwrite)
    finally:
        table.close()


def _columns(columns: Any) -> tuple[dict[str, Any], list[str] | None]:
    """Covariates that are given by name, and names of those that a table has; None for all."""
    if columns is None:
        return {}, None
    if hasattr(columns, "keys"):
        return {str(name): columns[name] for name in columns}, None
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise TypeError(
            f"columns must be values by name, or names of columns, not {str(columns)[:40]!r}"
        )
    return {}, list(columns)


def _writable(path: Path, layers: Any, obsm: Any) -> Format:
    """The format of a file that can be written with such parts."""
    form = format_named(path)
    if form.instead:
        raise ValueError(f"{path} would be {form.instead}")
    for name, parts in (("layers", layers), ("obsm", obsm)):
        if parts and not form.layered:
            raise ValueError(f"{name} has its place in .h5ad files; {path} is none")
    return form


def _plain(matrices: Mapping[str, Values] | None) -> dict[str, Any]:
    return {name: plain(values) for name, values in (matrices or {}).items()}


def _check(path: Path, table: Table, layers: Any, obsm: Any) -> None:
    """Refuse what is given in a shape that is not that of the table."""
    n, width = table.shape
    _check_shapes(layers, (n, width))
    _check_shapes(obsm, (n,))
    for names, size in (
        (table.row_names, n),
        (table.column_names, width),
        *((values, n) for values in table.columns.values()),
    ):
        if names is not None and len(names) != size:
            raise ValueError(f"{len(names)} names or values are given for {size} in {path}")


def _check_shapes(parts: Mapping[str, Values] | None, expected: tuple[int, ...]) -> None:
    """Refuse matrices of which the first axes are not as `expected`."""
    for name, values in (parts or {}).items():
        shape = tuple(cast(Any, values).shape)
        if len(shape) != 2 or shape[: len(expected)] != expected:
            wanted = " x ".join(map(str, expected if len(expected) == 2 else (*expected, "k")))
            raise ValueError(f"{name!r} has shape {shape}; give {wanted}")


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


doors.guard(__name__, own=("counts", "columns"))
