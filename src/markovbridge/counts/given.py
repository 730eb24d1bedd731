r"""What is told to a network of each row of a table: its covariates, and its library size.

The library size, the total of a row, is told by its logarithm, as one more covariate named
`LIBRARY`: differences of depth are ratios.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.covariates import Covariates, is_category
from markovbridge.data.meeting import LIBRARY, in_order, told
from markovbridge.data.rows import dense, turned
from markovbridge.data.tables.objects import TableObject
from markovbridge.doors import checks


def chosen(
    table: TableObject, covariates: Sequence[str] | Mapping[str, Any] | None
) -> dict[str, Any]:
    """Covariates of the rows to fit to, by name."""
    if covariates is None:
        return {}
    if isinstance(covariates, str):
        raise TypeError(f"covariates is the text {covariates!r}; give a list of names")
    if hasattr(covariates, "keys"):
        return {str(name): covariates[name] for name in covariates}  # pyright: ignore
    for name in covariates:
        if name not in table.columns:
            raise ValueError(
                f"the table has no covariate {name!r}; its columns are "
                f"{', '.join(table.columns) or 'none'}"
            )
    return {name: table.columns[name] for name in covariates}


def encoded(
    beside: Mapping[str, Any], totals: Tensor, library_size: bool
) -> tuple[Covariates | None, Tensor | None]:
    """Covariates of the training rows, the library size, if it is one, being the last of them.

    Raises:
        ValueError: If there are more or fewer values than rows, or none that can be encoded.
    """
    n = len(totals)
    text = {name for name, given in beside.items() if is_category(given)}
    columns = {name: list(given) for name, given in beside.items()}
    for name, values in columns.items():
        if len(values) != n:
            raise ValueError(f"covariate {name!r} has {len(values)} values for {n} samples")
    if library_size:
        columns[LIBRARY] = logs(totals.tolist())
        text.discard(LIBRARY)
    encoding = Covariates.fit(columns, range(n), categorical=text)
    return encoding, None if encoding is None else encoding.encode(columns, n)


@dataclass(frozen=True, eq=False)
class GivenTable:
    """A table that a model is given.

    Attributes:
        table: The table, as it is.
        x: Its counts with features in the order of the model, (n, features) int64.
        order: For each feature of the model its position in the table; None if the same.
    """

    table: TableObject
    x: Tensor
    order: Tensor | None

    @classmethod
    def of(cls, table: TableObject, names: Sequence[str] | None, expected: int) -> GivenTable:
        """A table that a model of `expected` features is given, `names` being theirs."""
        width = table.x.shape[1]
        facts: dict[str, Any] = {"width": width, "expected": expected, "what": "X", "say": _warn}
        order = in_order(table.column_names, names, **facts)
        return cls(
            table, dense(table.x if order is None else turned(table.x, order)).long(), order
        )

    def told(
        self, encoding: Covariates | None, covariates: Mapping[str, Any] | None
    ) -> Tensor | None:
        """What the network is told of each row: what is given by name, else what X knows.

        That X does not know a covariate is said where X has a place for it: an array has none.
        """
        named = self.table.column_names is not None
        facts: dict[str, Any] = {"n": len(self.x), "what": "X", "say": _warn if named else _hush}
        return told(self.table.columns, encoding, covariates, **facts)

    def ordered(self, values: Tensor) -> Tensor:
        """Values (..., features) of the table in the order of the model."""
        return values if self.order is None else values[..., self.order]

    def back(self, values: Tensor) -> Tensor:
        """Values (..., features) of the model in the order of the table."""
        return values if self.order is None else values[..., self.order.argsort()]


def depths(library_size: float | Sequence[float]) -> Any:
    """Logarithms of totals that are asked for, one or several.

    Raises:
        ValueError: If one is not positive.
    """
    totals = [library_size] if np.ndim(library_size) == 0 else library_size
    for total in totals:  # pyright: ignore[reportGeneralTypeIssues]
        checks.number(total, "library_size", above=0)
    return logs(library_size)


def repeated(values: Mapping[str, Any], n: int) -> dict[str, list[Any]]:
    """N values by name, of one for all rows or n."""
    return {
        name: [v] * n if isinstance(v, str) or not hasattr(v, "__len__") else list(v)
        for name, v in values.items()
    }


def measured(table: TableObject, observed: Any) -> Tensor:
    """What was measured of a table, (n, features) bool, by its missing entries and by a mask.

    Raises:
        ValueError: If nothing is missing, or the mask is none of this table.
    """
    mask = table.observed
    if observed is not None:
        given = np.asarray(observed)
        if given.dtype != bool and not np.isin(given, (0, 1)).all():
            raise ValueError(
                "observed must hold True (measured) and False (to be drawn), and holds other "
                "values: give table.notna(), say"
            )
        given = torch.from_numpy(given.astype(bool))
        if tuple(given.shape) != tuple(table.x.shape):
            raise ValueError(f"observed has shape {tuple(given.shape)}, X {tuple(table.x.shape)}")
        mask = given if mask is None else mask & given
    if mask is None:
        raise ValueError("nothing is missing in X: mark entries by NaN, or give `observed`")
    return mask


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # where a method of the model was called


def _hush(_: str) -> None:
    """Say nothing."""


def logs(totals: float | Sequence[float]) -> Any:
    """Logarithms of library sizes, those of empty rows as of 1; NaN stays unknown."""
    if np.ndim(totals) == 0:
        return _log(totals)
    return [_log(total) for total in totals]  # pyright: ignore[reportGeneralTypeIssues]


def _log(total: Any) -> float:
    if isinstance(total, Real) and math.isnan(total):
        return math.nan
    return math.log(max(checks.number(total, "a library size", least=0), 1.0))


doors.guard(__name__, own=("covariates",))
