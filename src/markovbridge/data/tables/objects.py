"""Tables as scientists hold them in Python: arrays in, arrays out.

| in | out |
|---|---|
| numpy array, tensor | numpy array |
| scipy sparse matrix, `Rows` in memory | compressed sparse rows |
| pandas DataFrame | DataFrame with the same columns, and index |
| AnnData | AnnData with the same `var`, and `obs` |
| path of a file `CountTable` reads | AnnData of `.h5ad`, DataFrame of `.csv`, else as above |
| `CountTable`, for its options | the same |

An AnnData object may be backed by its file, a view, or have its counts in a layer or in `raw`.
Labels of a DataFrame are text to a model, and come out as what they were.

Whole-valued floats are counts. Fractional, negative and missing values are refused with the
first of them, unless missing ones are asked for: NaN then marks what was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import picked
from markovbridge.data.covariates import is_category
from markovbridge.data.rows import Rows
from markovbridge.data.sparse import SparseRows
from markovbridge.data.tables.another import another
from markovbridge.data.tables.format import Format, is_a
from markovbridge.data.tables.frames import cells
from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import as_block, compact, measured, strings, unmasked
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
        layer: The layer of an AnnData object or file that holds the counts; None for X, "raw"
            for `adata.raw`.
        covariates: Columns of a data frame or file that hold no counts but covariates, beside
            those that a `CountTable` names.
        known: Instead of `covariates`: the same, but neither they nor the layer need be there.
        missing: Whether entries may be missing: NaN.

    Raises:
        TypeError: If it is no table.
        ValueError: If a value is no count, naming it, or the table is empty.
    """
    if isinstance(table, TableObject):
        return table
    if isinstance(table, str | Path):
        table = CountTable(Path(table).expanduser(), layer=layer)
    if isinstance(table, CountTable):
        return _file(_of_layer(table, layer), covariates, known, missing)
    if known is not None:
        there = getattr(table, "columns", ())
        covariates = [name for name in known if name in there]
        layer = layer if is_a(table, "AnnData") and layer in layers_of(table) else None
    if layer is not None and not is_a(table, "AnnData"):
        raise ValueError(f"layer={layer!r} is of AnnData, not of a {type(table).__name__}")
    if isinstance(table, Rows):
        return TableObject(table, None, "sparse", {})
    if is_a(table, "AnnData"):
        return _anndata(table, layer, missing)
    if is_a(table, "DataFrame"):
        return _frame(table, covariates, missing)
    if sparse.issparse(table):
        return _read(table, "sparse", (None, None), {}, missing)
    if isinstance(table, Tensor):
        table = (table.double() if table.is_floating_point() else table).detach().cpu().numpy()
    values = np.asarray(unmasked(table))
    if values.ndim != 2:
        raise TypeError(
            f"a {type(table).__name__} of shape {values.shape} is no table; give (rows, features) "
            "as a numpy array, a sparse matrix, a DataFrame, AnnData or a path"
        )
    return _read(values, "array", (None, None), {}, missing)


@dataclass(frozen=True, eq=False)
class Parts:
    """What an object holds that is to be written as a table; reals too.

    Attributes:
        values: (N, features), as an array, a tensor, a sparse matrix or `Rows`.
        row_names: Name of each row, or None.
        column_names: Name of each feature, or None.
        columns: Covariates by name, N values each.
    """

    values: Any
    row_names: tuple[str, ...] | None = None
    column_names: tuple[str, ...] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


def parts_of(table: Any, covariates: Sequence[str] | None = None) -> Parts:
    """What an object holds that is to be written as a table.

    Args:
        table: The object.
        covariates: Names of the columns that are no counts, of a data frame or AnnData; None for
            those of a data frame that are categories, and for all of `obs`.

    Raises:
        TypeError: If it is no table.
        ValueError: If it has no such columns.
    """
    check_columns(table, covariates or ())
    if is_a(table, "AnnData"):
        chosen = table.obs.columns if covariates is None else covariates
        columns = {str(name): table.obs[name] for name in chosen}
        names = strings(table.obs_names), strings(table.var_names)
        if table.X is None:
            raise TypeError("the AnnData object has no X; give the matrix that is to be written")
        values = table.X.to_memory() if hasattr(table.X, "to_memory") else table.X
        return Parts(values, *names, columns)
    if is_a(table, "DataFrame"):
        text = [is_category(table.iloc[:, k]) for k in range(table.shape[1])]
        if all(text):  # booleans are counts where nothing else is
            text = [dtype.kind != "b" for dtype in table.dtypes]
        if covariates is not None:
            text = [name in covariates for name in table.columns]
        numbers = table.loc[:, [not t for t in text]]
        values = cells(numbers, "the data frame", "name it in columns, or drop it")
        columns = {str(name): table[name] for name in table.columns[text]}
        return Parts(values, strings(table.index), strings(numbers.columns), columns)
    if not (sparse.issparse(table) or isinstance(table, Tensor | Rows | np.ndarray)):
        raise TypeError(
            f"counts must be an array, a tensor, a sparse matrix, a data frame or AnnData, not a "
            f"{type(table).__name__}"
        )
    return Parts(table)


def check_columns(table: Any, names: Sequence[str]) -> None:
    """Refuse names of columns that a data frame, or `obs` of AnnData, has not."""
    there = table.obs if is_a(table, "AnnData") else table if is_a(table, "DataFrame") else {}
    for name in names:
        if name not in there:
            raise ValueError(f"columns names {name!r}, which the table does not have")


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


def layers_of(table: Any) -> list[str]:
    """Names of the layers of an AnnData object; "raw" counts as one."""
    names = [name for name in table.layers if name is not None]  # newer anndata calls X so
    return [*names, *(["raw"] if table.raw is not None else [])]


def _anndata(table: Any, layer: str | None, missing: bool) -> TableObject:
    """What an AnnData object holds, in memory, backed by its file, or as a view of another."""
    others = [name for name in layers_of(table) if name != layer]
    have = f"; there are {', '.join(others) or 'none'}"
    if layer is not None and layer not in layers_of(table):
        raise ValueError(f"there is no layer {layer!r}{have}")
    origin, var = table, table.var
    if layer == "raw" and "raw" not in table.layers:
        values, var = table.raw.X, table.raw.var
        origin = optional("anndata", "AnnData").AnnData(obs=table.obs, var=var)
    else:
        values = table.X if layer is None else table.layers[layer]
    if values is None:
        raise ValueError(f"there is no X; name a layer{have}")
    if hasattr(values, "to_memory"):  # sparse, and in its file
        values = values.to_memory()
    if not sparse.issparse(values):
        values = np.asarray(values)
    remedy = f"take layer={' or '.join(map(repr, others))}" if others else "take raw counts"
    columns = {str(name): table.obs[name] for name in table.obs.columns}
    names = strings(table.obs_names), strings(var.index)
    return _read(values, "anndata", names, columns, missing, remedy, origin)


def _frame(frame: Any, covariates: Sequence[str], missing: bool) -> TableObject:
    for name in covariates:
        if name not in frame.columns:
            raise ValueError(f"the data frame has no column {name!r} for a covariate")
    columns = {str(name): frame[name] for name in covariates}
    counts = frame.drop(columns=list(covariates))
    kinds = {type(dtype).__name__ for dtype in counts.dtypes}
    if kinds == {"SparseDtype"} and all(dtype.fill_value == 0 for dtype in counts.dtypes):
        values = counts.sparse.to_coo()
    else:
        values = cells(counts, "the data frame", "name it in covariates, or drop it")
    names = strings(counts.index), strings(counts.columns)
    return _read(values, "frame", names, columns, missing, origin=frame)


def _of_layer(source: CountTable, layer: str | None) -> CountTable:
    """A source with the layer that holds the counts, unless it names one itself."""
    if layer is None or source.layer == layer:
        return source
    if source.layer is not None:
        raise ValueError(
            f"the layer is {layer!r}, and of the CountTable {source.layer!r}: name one of them"
        )
    return replace(source, layer=layer)


def _file(
    like: CountTable, covariates: Sequence[str], known: Sequence[str] | None, missing: bool
) -> TableObject:
    """What a file holds; what a source names as covariates is never a feature."""
    named = tuple(dict.fromkeys([*like.covariates, *covariates, *(known or ())]))
    if known is not None:
        source = another(like.path, named, like, obs=like.obs, key=like.key, missing=missing)
    else:
        source = replace(like, covariates=named, missing=missing)
    dataset = source.plain("all")
    kind = kind_of_file(source.format, dataset.x)
    names = dataset.row_names, dataset.column_names
    return TableObject(dataset.x, dataset.observed, kind, dataset.columns, *names)


def kind_of_file(form: Format, x: Tensor | Rows) -> str:
    """What a file of a format with such counts comes out as, one of `KINDS`."""
    return form.kind or ("sparse" if isinstance(x, Rows) else "array")


doors.guard(__name__)
