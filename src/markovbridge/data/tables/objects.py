"""Tables as scientists hold them in Python: arrays in, arrays out.

| in | out |
|---|---|
| numpy array, tensor | numpy array |
| scipy sparse matrix, `Rows` in memory | compressed sparse rows |
| pandas DataFrame | DataFrame with the same columns, and index |
| AnnData | AnnData with the same `var`, and `obs` |
| path of a file `CountTable` reads | AnnData of `.h5ad`, DataFrame of `.csv`, else as above |

Whole-valued floats are counts. Fractional, negative and missing values are refused with the
first of them, unless missing ones are asked for: NaN then marks what was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import picked
from markovbridge.data.rows import Rows
from markovbridge.data.sparse import SparseRows
from markovbridge.data.tables.another import another
from markovbridge.data.tables.format import Format
from markovbridge.data.tables.frames import cells
from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import as_block, compact, measured, strings
from markovbridge.storage.lazily import optional

KINDS = ("array", "sparse", "frame", "anndata")
NAME = Path("X")  # what tables without a file are called in messages


@dataclass(frozen=True, eq=False)
class TableObject:
    """A table of counts that was given as an object.

    Attributes:
        x: Counts (N, features); 0 where not measured.
        observed: What was measured, (N, features) bool; None for all.
        kind: One of `KINDS`.
        columns: Covariates that came with the table, by name, N values each.
        row_names: Name of each row, or None.
        column_names: Name of each feature, or None.
        origin: The object itself, for what has to be copied from it.
    """

    x: Tensor | Rows
    observed: Tensor | None
    kind: str
    columns: Mapping[str, Any]
    row_names: tuple[str, ...] | None = None
    column_names: tuple[str, ...] | None = None
    origin: Any = None

    def rows(self, index: Tensor) -> TableObject:
        """Some of its rows, covariates included, as a table of its own."""
        chosen = index.tolist()
        return replace(
            self,
            x=self.x[index],
            observed=None if self.observed is None else self.observed[index],
            columns={name: picked(values, chosen) for name, values in self.columns.items()},
            row_names=None if self.row_names is None else tuple(self.row_names[i] for i in chosen),
            origin=None,
        )


def read_object(
    table: Any,
    *,
    layer: str | None = None,
    covariates: Sequence[str] = (),
    known: Sequence[str] | None = None,
    missing: bool = False,
) -> TableObject:
    """Read counts from an object, or from the file of that name.

    Args:
        table: See the head of this module; or a `TableObject`, which is returned.
        layer: The layer of an AnnData object or file that holds the counts; None for X.
        covariates: Columns of a data frame or file that hold no counts but covariates.
        known: Instead of `covariates`: the same, but they need not be there.
        missing: Whether entries may be missing: NaN.

    Raises:
        TypeError: If it is no table.
        ValueError: If a value is no count, naming it, or the table is empty.
    """
    if isinstance(table, TableObject):
        return table
    if isinstance(table, str | Path):
        return _file(Path(table), layer, covariates, known, missing)
    if known is not None:
        there = getattr(table, "columns", ())
        covariates = [name for name in known if name in there]
    if layer is not None and not _is(table, "AnnData"):
        raise ValueError(f"layer={layer!r} is of AnnData, not of a {type(table).__name__}")
    if isinstance(table, Rows):
        return TableObject(table, None, "sparse", {})
    if _is(table, "AnnData"):
        if layer is not None and layer not in table.layers:
            raise ValueError(f"there is no layer {layer!r}; there are {', '.join(table.layers)}")
        others = [name for name in table.layers if name != layer]
        remedy = f"take layer={' or '.join(map(repr, others))}" if others else "take raw counts"
        columns = {str(name): table.obs[name] for name in table.obs.columns}
        names = strings(table.obs_names), strings(table.var_names)
        values = table.X if layer is None else table.layers[layer]
        if not sparse.issparse(values):
            values = np.asarray(values)
        return _read(values, "anndata", names, columns, missing, remedy, table)
    if _is(table, "DataFrame"):
        return _frame(table, covariates, missing)
    if sparse.issparse(table):
        return _read(table, "sparse", (None, None), {}, missing)
    if isinstance(table, Tensor):
        table = table.cpu().numpy()
    values = np.asarray(table)
    if values.ndim != 2:
        raise TypeError(
            f"a {type(table).__name__} of shape {values.shape} is no table; give (rows, features) "
            "as a numpy array, a sparse matrix, a DataFrame, AnnData or a path"
        )
    return _read(values, "array", (None, None), {}, missing)


def write_object(
    values: Tensor,
    kind: str,
    *,
    column_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    columns: Mapping[str, Any] | None = None,
    like: TableObject | None = None,
) -> Any:
    """Values (N, features) as an object of a kind.

    Args:
        values: Counts or reals.
        kind: One of `KINDS`.
        column_names: Name of each feature.
        row_names: Name of each row.
        columns: Covariates by name, N values each: `obs`, or columns before the counts.
        like: The table these values stand in for: its names and covariates are taken.
    """
    if like is not None:
        row_names, column_names, columns = like.row_names, like.column_names, like.columns
    numbers = values.cpu().numpy()
    if kind == "array":
        return numbers
    if kind == "sparse":
        return sparse.csr_matrix(numbers)
    pd = optional("pandas", "a data frame")
    index = None if row_names is None else pd.Index(list(row_names))
    beside = {name: np.asarray(given) for name, given in (columns or {}).items()}
    if kind == "frame":
        if like is not None and _is(like.origin, "DataFrame"):
            index = like.origin.index
        names = range(numbers.shape[1]) if column_names is None else list(column_names)
        counts = pd.DataFrame(numbers, index=index, columns=pd.Index(names))
        if not beside:
            return counts
        return pd.concat([pd.DataFrame(beside, index=counts.index), counts], axis=1)
    anndata = optional("anndata", "AnnData")
    inner = (
        sparse.csr_matrix(numbers) if np.count_nonzero(numbers) < 0.5 * numbers.size else numbers
    )
    if like is not None and like.origin is not None:
        made = like.origin.copy()
        made.X = inner
        return made
    obs = pd.DataFrame(beside, index=index if index is not None else _numbered(len(numbers)))
    var = pd.DataFrame(index=_numbered(numbers.shape[1]) if column_names is None else column_names)
    return anndata.AnnData(inner, obs=obs, var=var)


def _numbered(n: int) -> list[str]:
    return [str(k) for k in range(n)]


def _is(table: Any, name: str) -> bool:
    """Whether it is such an object, told without importing its package."""
    return any(
        cls.__name__ == name and cls.__module__.split(".")[0] in ("pandas", "anndata")
        for cls in type(table).__mro__
    )


def _read(
    values: Any,
    kind: str,
    names: tuple[tuple[str, ...] | None, tuple[str, ...] | None],
    columns: Mapping[str, Any],
    missing: bool,
    remedy: str = "take raw counts",
    origin: Any = None,
) -> TableObject:
    if min(values.shape) == 0:
        raise ValueError(f"a table of shape {values.shape} has no counts")
    mask = None
    if missing and not sparse.issparse(values):
        values, mask = measured(values)
    observed = None if mask is None else torch.from_numpy(mask)
    block = as_block(values, NAME, *names, remedy=remedy)
    x = compact(block)
    # What came sparse stays sparse, large or small: it is made dense batch by batch.
    if kind == "sparse" and isinstance(x, Tensor):
        x = SparseRows(sparse.csr_matrix(block))
    return TableObject(x, observed, kind, columns, *names, origin)


def _frame(frame: Any, covariates: Sequence[str], missing: bool) -> TableObject:
    for name in covariates:
        if name not in frame.columns:
            raise ValueError(f"the data frame has no column {name!r} for a covariate")
    columns = {str(name): frame[name] for name in covariates}
    counts = frame.drop(columns=list(covariates))
    values = cells(counts, "the data frame", "name it in covariates, or drop it")
    names = strings(counts.index), strings(counts.columns)
    return _read(values, "frame", names, columns, missing, origin=frame)


def _file(
    path: Path,
    layer: str | None,
    covariates: Sequence[str],
    known: Sequence[str] | None,
    missing: bool,
) -> TableObject:
    path = path.expanduser()
    like = CountTable(path, layer=layer, covariates=tuple(covariates), missing=missing)
    source = like if known is None else another(path, known, like, missing=missing)
    dataset = source.plain("all")
    kind = kind_of_file(source.format, dataset.x)
    names = dataset.row_names, dataset.column_names
    return TableObject(dataset.x, dataset.observed, kind, dataset.columns, *names)


def kind_of_file(form: Format, x: Tensor | Rows) -> str:
    """What a file of a format with such counts comes out as, one of `KINDS`."""
    return form.kind or ("sparse" if isinstance(x, Rows) else "array")


doors.guard(__name__)
