r"""What is told to a network of each row of a table: its covariates, and its library size.

The library size, the total of a row, is told by its logarithm, as one more covariate named
`LIBRARY`: differences of depth are ratios.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from markovbridge import checks, doors
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.tables.objects import TableObject

__all__ = ["LIBRARY", "chosen", "encoded", "known", "logs"]

LIBRARY = "log_library_size"


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


def known(
    table: TableObject, encoding: Covariates | None, covariates: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Covariates by name: those given, or those that come with a table."""
    if covariates is not None:
        return covariates
    names = [] if encoding is None else [column.name for column in encoding.columns]
    return {name: table.columns[name] for name in names if name in table.columns}


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
