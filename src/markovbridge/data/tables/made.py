"""Tables that are made, in the form of those that were given.

`Form` is what a table looks like beside its counts, so that samples of a model look as the table
did that it was fitted to: sparse if that was sparse, of its type, with its categories. What makes
it is told in `uns["markovbridge"]` of AnnData: which model, seed, sampler and version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor

from markovbridge import doors
from markovbridge.data.covariates import Covariates, is_missing
from markovbridge.data.meeting import LIBRARY
from markovbridge.data.tables.format import full
from markovbridge.data.tables.objects import TableObject
from markovbridge.data.tables.source import CountTable
from markovbridge.storage.lazily import optional

UNS = "markovbridge"  # the place in `uns` that says what made a table


@dataclass(frozen=True)
class Form:
    """How a table holds its values.

    Attributes:
        sparse: Whether AnnData keeps the counts without their zeros; None for whichever takes
            less room.
        dtype: Type of the counts in AnnData, such as "float32"; None for that of the values.
        layer: The layer of AnnData that has the counts, None for X alone.
        categorical: Names of the columns that pandas keeps as categories.
    """

    sparse: bool | None = None
    dtype: str | None = None
    layer: str | None = None
    categorical: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype is not None and np.dtype(self.dtype).kind not in "iufb":
            raise ValueError(
                f"dtype must be a type of numbers, such as 'float32', not {self.dtype!r}"
            )

    @classmethod
    def of(cls, table: TableObject, layer: str | None = None) -> Form:
        """That of a table which was given as an object.

        Args:
            table: The table.
            layer: The layer it was read from.
        """
        categorical = _categorical(table.columns)
        if table.kind != "anndata" or table.origin is None:
            return cls(layer=layer, categorical=categorical)
        values = table.origin.X if layer in (None, "raw") else table.origin.layers[layer]
        if values is None:
            return cls(layer=layer, categorical=categorical)
        thin = sparse.issparse(values) or hasattr(values, "format")  # or left in its file
        return cls(thin, str(values.dtype), layer, categorical)

    @classmethod
    def of_file(cls, source: CountTable, columns: Mapping[str, Any]) -> Form:
        """That of a table in a file, and of what was read beside its counts."""
        thin, kind = source.format.held(source.where(), source.layer)
        return cls(thin, kind, source.layer, _categorical(columns))

    def held(self, numbers: Any) -> Any:
        """Values (N, features), an array or sparse, as AnnData of this form keeps them.

        None is changed by it.
        """
        numbers = numbers.astype(self._type(numbers), copy=False)
        thin, known = self.sparse, sparse.issparse(numbers)
        if thin is None:
            filled = numbers.nnz if known else np.count_nonzero(numbers)
            thin = filled < 0.5 * math.prod(numbers.shape)
        if thin:
            return sparse.csr_matrix(numbers)
        return full(numbers)

    def _type(self, numbers: Any) -> np.dtype:
        """The type that such values are kept in: that of the form, if it holds them."""
        if self.dtype is None:
            return numbers.dtype
        values: Any = numbers.data if sparse.issparse(numbers) else numbers
        wanted, top = np.dtype(self.dtype), values.max(initial=0)
        if numbers.dtype.kind == "f":  # a mean, of which seven digits are enough
            return np.result_type(wanted, np.float32) if wanted.kind == "f" else np.dtype("f4")
        if wanted.kind == "f":
            return wanted if top <= 2 ** (np.finfo(wanted).nmant + 1) else np.dtype("f8")
        return wanted if wanted.kind in "iu" and top <= np.iinfo(wanted).max else numbers.dtype


def write_object(
    values: Tensor | sparse.csr_matrix,
    kind: str,
    *,
    column_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    columns: Mapping[str, Any] | None = None,
    like: TableObject | None = None,
    form: Form | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    told: Mapping[str, Any] | None = None,
) -> Any:
    """Values (N, features) as an object of a kind.

    Args:
        values: Counts or reals.
        kind: One of `objects.KINDS`.
        column_names: Name of each feature.
        row_names: Name of each row.
        columns: Covariates by name, N values each: `obs`, or columns before the counts.
        like: The table these values stand in for: its names and covariates are taken.
        form: How they are held.
        levels: Levels of the covariates that are categories, by their names.
        told: What made them, for `uns` of AnnData: see `provenance`.
    """
    if like is not None:
        row_names, column_names, columns = like.row_names, like.column_names, like.columns
    form = Form() if form is None else form
    numbers: Any = values.cpu().numpy() if isinstance(values, Tensor) else values
    if kind in ("array", "frame"):
        numbers = full(numbers)
    if kind == "array":
        return numbers
    if kind == "sparse":
        return sparse.csr_matrix(numbers)
    pd = optional("pandas", "a data frame")
    index = None if row_names is None else pd.Index(list(row_names))
    made = {} if levels is None else levels
    wanted = set(made) if kind == "anndata" else set(form.categorical)
    beside = {
        name: _categories(given, made.get(name)) if name in wanted else np.asarray(given)
        for name, given in (columns or {}).items()
    }
    if kind == "frame":
        names: Any = range(numbers.shape[1]) if column_names is None else list(column_names)
        if like is not None and like.origin is not None:  # its labels need not be text
            index, names = like.origin.index, like.origin.columns
            names = names[~names.isin([name for name in names if str(name) in beside])]
        counts = pd.DataFrame(numbers, index=index, columns=pd.Index(names))
        if not beside:
            return counts
        return pd.concat([pd.DataFrame(beside, index=counts.index), counts], axis=1)
    anndata = optional("anndata", "AnnData")
    inner = form.held(numbers)
    if like is not None and like.origin is not None:
        found = like.origin.to_memory() if like.origin.isbacked else like.origin.copy()
        found.X = inner
    else:
        names = _numbered(numbers.shape[1]) if column_names is None else column_names
        rows = _numbered(numbers.shape[0]) if index is None else index
        obs, var = pd.DataFrame(beside, index=rows), pd.DataFrame(index=names)
        found = anndata.AnnData(inner, obs=obs, var=var)
    if form.layer not in (None, "raw"):
        found.layers[form.layer] = inner
    if told is not None:
        found.uns[UNS] = {**found.uns.get(UNS, {}), **told}
    return found


def samples(
    values: Tensor | sparse.csr_matrix,
    kind: str,
    *,
    column_names: Sequence[str] | None,
    encoding: Covariates | None,
    given: Mapping[str, Any],
    form: Form | None = None,
    told: Mapping[str, Any] | None = None,
) -> Any:
    """Samples (N, features) as an object of a kind, with what is known of each.

    AnnData has a column of `obs` for each covariate of the model, a data frame one for each as
    soon as one is given; what is not given is missing.

    Args:
        values: The samples.
        kind: One of `objects.KINDS`.
        column_names: Name of each feature.
        encoding: The covariates of the model, or None.
        given: What the samples were conditioned on: one value by name, or N.
        form: How the table of the training holds its values.
        told: What made them: see `provenance`.
    """
    shape: Any = values.shape
    n, columns, levels = shape[0], {}, {}
    for one in () if encoding is None else encoding.columns:
        if one.name == LIBRARY or not (given or kind == "anndata"):
            continue
        value = given.get(one.name)
        single = isinstance(value, str) or not hasattr(value, "__len__")
        known = [value] * n if single else list(value)  # pyright: ignore[reportArgumentType]
        absent = None if one.levels else np.nan
        columns[one.name] = [absent if is_missing(v) else v for v in known]
        if one.levels:
            levels[one.name] = one.levels
    return write_object(
        values,
        kind,
        column_names=column_names,
        row_names=[f"sample {k}" for k in range(n)],
        columns=columns,
        form=form,
        levels=levels,
        told=told,
    )


def provenance(method: str, **facts: Any) -> dict[str, dict[str, Any]]:
    """What made a table, as it stands in `uns["markovbridge"]`: facts by the name of the method.

    Args:
        method: What was done: "sample", "restore", "impute".
        **facts: Text and numbers by name; None is left out.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    return {method: {"version": version(UNS), **known}}


def _categorical(columns: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the columns that pandas keeps as categories."""
    kinds = {name: getattr(column, "dtype", None) for name, column in columns.items()}
    return tuple(name for name, kind in kinds.items() if str(kind) == "category")


def _categories(values: Any, levels: Sequence[str] | None) -> Any:
    """Values as categories: the levels, if these are what the values are written as."""
    pd = optional("pandas", "categories")
    known = [None if is_missing(value) else value for value in values]
    text = all(value is None or isinstance(value, str) for value in known)
    if text and levels is not None:
        return pd.Categorical(known, categories=list(levels))
    return values.array if hasattr(values, "cat") else pd.Categorical(known)


def _numbered(n: int) -> list[str]:
    return [str(k) for k in range(n)]


doors.guard(__name__)
