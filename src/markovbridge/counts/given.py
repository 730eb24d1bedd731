"""A table that a fitted model is given: which counts they are, and in which order.

Features are matched by name. A table that lacks some of the model's, a panel of genes, can be
imputed: `panel` adds what it lacks as features of which nothing was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.counts.session import warn
from markovbridge.counts.told import by_name, matched
from markovbridge.data.covariates import Covariates
from markovbridge.data.meeting import hush, in_order, told
from markovbridge.data.rows import dense, turned
from markovbridge.data.tables.format import is_a
from markovbridge.data.tables.made import Form
from markovbridge.data.tables.objects import TableObject, layers_of
from markovbridge.data.tables.source import CountTable
from markovbridge.data.tables.table import unmasked

IMPUTE = "; impute(X) fills in those that X lacks"


@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table that a model is given.

    Attributes:
        table: The table, as it is.
        x: Its counts with features in the order of the model, (n, features) int64.
        order: For each feature of the model its position in the table; None if the same.
        form: How the table holds its values.
    """

    table: TableObject
    x: Tensor
    order: Tensor | None
    form: Form

    @classmethod
    def of(
        cls, table: TableObject, names: Sequence[str] | None, expected: int, form: Form
    ) -> GivenTable:
        """A table that a model of `expected` features is given, `names` being theirs.

        Raises:
            ValueError: If it has other features.
        """
        width = table.x.shape[1]
        if width != expected and (names is None or table.column_names is None):
            raise ValueError(
                f"X has {width} features, but CountModel is expecting {expected} features as input"
            )
        facts: dict[str, Any] = {"width": width, "expected": expected, "what": "X", "say": warn}
        order = in_order(table.column_names, names, lacking=IMPUTE, **facts)
        x = dense(table.x if order is None else turned(table.x, order)).long()
        return cls(table, x, order, form)

    def told(self, encoding: Covariates | None, covariates: Any) -> Tensor | None:
        """What the network is told of each row: what is given, else what X knows.

        That X does not know a covariate is said where X has a place for it: an array has none.
        """
        named = self.table.column_names is not None
        facts: dict[str, Any] = {"n": len(self.x), "what": "X", "say": warn if named else hush}
        return told(
            self.table.columns, encoding, by_name(covariates, self.table, encoding), **facts
        )

    def ordered(self, values: Tensor) -> Tensor:
        """Values (..., features) of the table in the order of the model."""
        return values if self.order is None else values[..., self.order]

    def back(self, values: Tensor) -> Tensor:
        """Values (..., features) of the model in the order of the table."""
        return values if self.order is None else values[..., self.order.argsort()]


def checked(X: Any, *, missing: bool = False) -> Any:
    """A plain array, a list or a sparse matrix as numbers (rows, features); all else as it is.

    Args:
        X: What a model is given.
        missing: Whether entries may be missing: NaN.

    Raises:
        TypeError: If it holds objects that are no numbers.
        ValueError: If it has no rows or features, or holds what cannot be counts.
    """
    if not sparse.issparse(X) and not isinstance(X, np.ndarray | list | tuple):
        return X
    values: Any = X if sparse.issparse(X) else np.asarray(unmasked(X))
    if getattr(values, "format", "csr") not in ("csr", "csc", "coo"):
        values = values.tocsr()
    if values.ndim != 2:
        raise ValueError(
            f"X has shape {values.shape}; give (rows, features): X.reshape(1, -1) is one row, "
            "X.reshape(-1, 1) one feature"
        )
    for size, what in zip(values.shape, ("sample", "feature"), strict=True):
        if size == 0:
            raise ValueError(
                f"X has 0 {what}(s) (shape={values.shape}) while a minimum of 1 is required."
            )
    if values.dtype.kind == "c":
        raise ValueError("Complex data not supported: counts are whole numbers")
    if values.dtype.kind == "O":
        text = next((v for v in values.flat if isinstance(v, str)), None)
        if text is not None:
            raise ValueError(f"X holds the text {text[:40]!r}; counts are numbers")
        values = values.astype(np.float64)  # says of what is no number that it is none
    cells = values.data if sparse.issparse(values) else values
    if values.dtype.kind == "f" and not missing and bool(np.isnan(cells).any()):
        raise ValueError(
            f"X has NaN{_first(values, np.isnan(cells))}: counts must all be there, so drop that "
            "row or feature; a fitted model fills it in by impute(X)"
        )
    # Of what is nearly 0 the reader says what it is.
    if values.dtype.kind in "if" and bool((cells < -0.5).any()):
        where = _first(values, cells < -0.5)
        raise ValueError(f"Negative values in data passed to CountModel{where}: take raw counts")
    return values


def layer_in(X: Any, layer: str | None) -> str | None:
    """The layer of X that has the counts: that of the model where X has it, else X itself.

    Samples of a model, and tables of other kinds, have no layers but the counts.
    """
    source = _source(X)
    if isinstance(X, CountTable):
        layer = X.layer or layer  # what was asked for, before that of the model
    if source is not None:
        there = source.format.layers(source.where())
    else:
        there = layers_of(X) if is_a(X, "AnnData") else []
    return layer if layer in there else None


def _source(X: Any) -> CountTable | None:
    """The file that X is, or names."""
    if isinstance(X, str | Path):
        return CountTable(Path(X).expanduser())
    return X if isinstance(X, CountTable) else None


def with_origin(table: TableObject, X: Any, layer: str | None) -> TableObject:
    """A table with what its file knows of all rows and features, to be given back with results."""
    source = _source(X)
    if source is None or layer == "raw":  # whose features are others
        return table
    return replace(table, origin=source.format.around(source.where()))


def form_of(table: TableObject, X: Any, layer: str | None) -> Form:
    """How a table holds its values.

    Args:
        table: The table.
        X: What it was read from.
        layer: The layer that it was read from.
    """
    source = _source(X)
    if source is None:
        return Form.of(table, layer)
    if isinstance(X, CountTable):
        layer = layer_in(X, layer)
    return Form.of_file(replace(source, layer=layer), table.columns)


def panel(
    table: TableObject, names: Sequence[str] | None, observed: Any, *, whole: bool = False
) -> tuple[TableObject, Tensor]:
    """A table with all features of a model, and what was measured of it, (n, features) bool.

    Args:
        table: The table; NaN where an entry is missing.
        names: Names of the features of the model, or None.
        observed: A mask of what was measured, of all entries or of all features; or None.
        whole: Whether nothing need be missing.

    Raises:
        ValueError: If nothing is missing, or the mask is none of this table.
    """
    known = set(table.column_names or ())
    lacking = [] if table.column_names is None else [n for n in names or () if n not in known]
    if lacking and len(known) < len(table.column_names or ()):
        twice = next(n for n, k in Counter(table.column_names).items() if k > 1)
        raise ValueError(
            f"X has the feature {twice!r} several times, and lacks {lacking[0]!r} and "
            f"{len(lacking) - 1:,} others: keep one of each name"
        )
    mask = _measured(table, observed)
    if mask is None and not lacking and not whole:
        raise ValueError("nothing is missing in X: mark entries by NaN, or give `observed`")
    if mask is None:
        mask = torch.ones(tuple(table.x.shape), dtype=torch.bool)
    if not lacking or not known <= set(names or ()):
        return table, mask  # with features that the model does not know it is refused later
    nothing = torch.zeros(len(mask), len(lacking), dtype=torch.bool)
    x = dense(table.x)
    wider = replace(
        table,
        x=torch.cat([x, nothing.to(x.dtype)], 1),
        observed=None,
        column_names=(*(table.column_names or ()), *lacking),
        origin=_widened(table.origin, lacking),
    )
    return wider, torch.cat([mask, nothing], 1)


def _widened(origin: Any, lacking: Sequence[str]) -> Any:
    """A frame, or AnnData without its values, with more features, of which nothing is known."""
    if not hasattr(origin, "var_names"):
        return None if origin is None else origin.reindex(columns=[*origin.columns, *lacking])
    import anndata

    var = origin.var.reindex([*origin.var_names, *lacking])
    values = sparse.csr_matrix((origin.n_obs, len(var)), dtype=np.float32)
    made = anndata.AnnData(values, obs=origin.obs.copy(), var=var)
    made.obsm.update(origin.obsm)
    made.uns.update(origin.uns)
    return made


def _measured(table: TableObject, observed: Any) -> Tensor | None:
    """What was measured of a table, by its missing entries and by a mask; None for all."""
    mask = table.observed
    if observed is None:
        return mask
    if hasattr(observed, "columns"):
        if len(observed) != 1:  # which holds for all rows
            observed = matched(observed, table.row_names, "observed")
        observed = matched(observed.T, table.column_names, "observed", "feature").T
    else:
        observed = matched(observed, table.column_names, "observed", "feature")
    given = np.asarray(observed.toarray() if sparse.issparse(observed) else observed)
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
        raise ValueError(
            "observed must hold True (measured) and False (to be drawn), and holds other "
            "values: give table.notna(), say"
        )
    given = torch.from_numpy(given.astype(bool))
    shape = tuple(table.x.shape)
    if tuple(given.shape) not in (shape, shape[1:], (1, shape[1])):
        raise ValueError(
            f"observed has shape {tuple(given.shape)}, X {shape}: give a value for each entry, or "
            "one for each feature"
        )
    given = given.expand(shape)
    return given if mask is None else mask & given


def _first(values: Any, bad: np.ndarray) -> str:
    """Where the first of the marked values is, in words."""
    if sparse.issparse(values):
        entries, at = sparse.coo_array(values), int(np.flatnonzero(bad)[0])
        return f" in row {entries.row[at]}, feature {entries.col[at]}"
    row, column = (int(k) for k in np.argwhere(bad)[0])
    return f" in row {row}, feature {column}"


doors.guard(__name__, own=("covariates", "observed"))
