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
from torch import Tensor

from markovbridge import checks, doors
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.meeting import LIBRARY, in_order, told
from markovbridge.data.rows import dense, turned
from markovbridge.data.tables.objects import TableObject

__all__ = ["LIBRARY", "Given", "chosen", "encoded", "logs"]


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
    beside: Mapping[str, Any], totals: Tensor | None
) -> tuple[Covariates | None, Tensor | None]:
    """Covariates of the training rows, the library size being the last of them."""
    columns, values, n = [], dict(beside), 0
    for name, given in beside.items():
        given = list(given)
        kind = np.asarray(given).dtype.kind
        n = len(given)
        columns.append(Covariate.fit(name, given, range(n), categorical=kind not in "iuf"))
    if totals is not None:
        values[LIBRARY], n = logs(totals.tolist()), len(totals)
        columns.append(Covariate.fit(LIBRARY, values[LIBRARY], range(n), categorical=False))
    if not columns:
        return None, None
    encoding = Covariates(tuple(columns))
    return encoding, encoding.encode(values, n)


@dataclass(frozen=True, eq=False)
class Given:
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
    def of(cls, table: TableObject, names: Sequence[str] | None, expected: int) -> Given:
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
