"""Tables as objects, opened: their counts, the names beside them, and their covariates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows
from markovbridge.data.tables.format import is_a


class Opened(NamedTuple):
    """What a table has.

    Attributes:
        values: Counts or reals (N, features).
        row_names: Name of each row, or None.
        column_names: Name of each feature, or None.
        columns: Covariates by name, N values each.
    """

    values: Any
    row_names: Sequence[str] | None
    column_names: Sequence[str] | None
    columns: dict[str, Any]


def opened(table: Any, columns: Mapping[str, Any] | Sequence[str] | None) -> Opened:
    """What a table has: an array, a sparse matrix, a tensor, rows, AnnData, a data frame.

    Args:
        table: The table.
        columns: Further covariates by name, as a dictionary or a data frame; or, of a table that
            is a data frame, the names of those columns that are covariates. By default these are
            the ones that hold no numbers.

    Raises:
        TypeError: If it is no table, or columns are neither.
        ValueError: If a column that is named is not there.
    """
    if isinstance(columns, str) or not isinstance(columns, Iterable | None):
        raise TypeError(
            f"columns must be values by name, or names of columns, not {str(columns)[:40]!r}"
        )
    table_of = cast(Any, columns)  # a dictionary or a data frame, or else a list
    more = {str(k): table_of[k] for k in table_of} if hasattr(columns, "keys") else {}
    chosen = None if columns is None or hasattr(columns, "keys") else list(columns)
    if is_a(table, "AnnData"):
        obs = {str(name): table.obs[name] for name in table.obs.columns}
        kept = obs if chosen is None else {name: obs[name] for name in _there(chosen, obs)}
        rows, features = list(map(str, table.obs_names)), list(map(str, table.var_names))
        values = table.X if table.X is not None else np.zeros(table.shape, np.int32)
        values = values[:] if table.isbacked else values
        return Opened(values, rows, features, {**kept, **more})
    if is_a(table, "DataFrame"):
        if chosen is None:
            chosen = [name for name in table.columns if not _numbers(table[name])]
        kept = {str(name): table[name] for name in _there(chosen, table)}
        counts = table.drop(columns=chosen)
        rows = None if is_a(table.index, "RangeIndex") else list(map(str, table.index))
        return Opened(counts.to_numpy(), rows, list(map(str, counts.columns)), {**kept, **more})
    if chosen:
        raise ValueError(f"columns names {chosen[0]!r}, which an array has not: give their values")
    if not isinstance(table, np.ndarray | Tensor | Rows) and not sparse.issparse(table):
        raise TypeError(
            f"a {type(table).__name__} is no table; give an array, a sparse matrix, a tensor, a "
            "data frame or AnnData"
        )
    return Opened(table, None, None, more)


def _numbers(column: Any) -> bool:
    """Whether a column holds numbers, and so counts as far as one can see."""
    return is_a(column, "Series") and column.dtype.kind in "iufb"


def _there(names: Sequence[Any], table: Any) -> Sequence[Any]:
    """The names, if a table has them all."""
    for name in names:
        if name not in table:
            raise ValueError(f"columns names {name!r}, which the table does not have")
    return names


doors.guard(__name__, own=("columns",))
