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
from markovbridge.data.tables.format import Format, is_a
from markovbridge.data.tables.frames import cells
from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import as_block, compact, measured, strings

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
    if layer is not None and not is_a(table, "AnnData"):
        raise ValueError(f"layer={layer!r} is of AnnData, not of a {type(table).__name__}")
    if isinstance(table, Rows):
        return TableObject(table, None, "sparse", {})
    if is_a(table, "AnnData"):
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
    if is_a(table, "DataFrame"):
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
