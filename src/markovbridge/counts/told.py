r"""What is told to a network of each row of a table: its covariates, and its library size.

Covariates are given in one of four forms, the same to every method, and `by_name` makes one of
them: names of columns of the table, a dictionary of values, a data frame, a series. The rows of
frames and series are matched with those of the table by their names, if they have any.

The library size, the total of a row, is told by its logarithm, as one more covariate named
`LIBRARY`: differences of depth are ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.counts.session import warn
from markovbridge.data.covariates import Covariates, is_category, one_each
from markovbridge.data.meeting import LIBRARY
from markovbridge.data.tables.objects import TableObject
from markovbridge.doors import checks


def named(covariates: Any) -> list[str]:
    """The names of columns, if covariates are a list of names; empty if they are values.

    Raises:
        TypeError: If covariates are in none of the forms.
    """
    if covariates is None or hasattr(covariates, "keys"):
        return []
    if isinstance(covariates, str):
        raise TypeError(
            f"covariates is the text {covariates!r}; give a list of names, or values by name"
        )
    names = list(covariates) if isinstance(covariates, Iterable) else [covariates]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"covariates has {str(name)[:40]!r} for a name; give names of columns, values by "
                "name as a dictionary, or a data frame"
            )
    return names


def by_name(
    covariates: Any, table: TableObject | None, encoding: Covariates | None = None
) -> dict[str, Any]:
    """Covariates as values by name: one for all rows, or one a row.

    Args:
        covariates: Names of columns of the table, values by name, a data frame, a series, None.
        table: The table, or None if there is none.
        encoding: Those that a model knows: of a data frame, other columns are left out, unless
            it has none of these.

    Raises:
        TypeError: If they are in none of these forms.
        ValueError: If the table does not have them, or has other rows.
    """
    names = named(covariates)
    if names and table is None:
        raise ValueError(
            f"there is no table to take {names} from: give values by name, such as "
            f"covariates={{{names[0]!r}: ...}}"
        )
    if table is not None and names:
        for name in names:
            if name not in table.columns:
                raise ValueError(
                    f"the table has no covariate {name!r}; its columns are "
                    f"{', '.join(table.columns) or 'none'}"
                )
        return {name: table.columns[name] for name in names}
    if not hasattr(covariates, "keys"):
        return {}
    if hasattr(covariates, "to_frame"):  # a series, whose keys are names of rows
        if covariates.name is None:
            raise ValueError(
                "covariates is a series without a name: give a dictionary, {'batch': series}"
            )
        covariates = {covariates.name: covariates}
    found = {str(name): covariates[name] for name in covariates}
    if hasattr(covariates, "iloc") and encoding is not None:
        known = [column.name for column in encoding.columns if column.name in found]
        found = {name: found[name] for name in known or found}
    rows = None if table is None else table.row_names
    return {
        name: matched(one_each(values, name), rows, f"covariate {name!r}")
        for name, values in found.items()
    }


def matched(values: Any, labels: Sequence[str] | None, what: str, kind: str = "row") -> Any:
    """Values of a frame or series in the order of the rows, or features, of X, by their names.

    What has no names, or numbers for names of which X has none, is in the order of X.

    Args:
        values: The values; all else than a frame or a series comes back as it is.
        labels: Names of the rows or features of X; None if it has none.
        what: What to call the values in a message.
        kind: "row" or "feature".

    Raises:
        ValueError: If X has a name that they do not have.
    """
    index = getattr(values, "index", None)
    if labels is None or not hasattr(values, "iloc") or _is_default(index):
        return values
    own = [str(label) for label in index]  # pyright: ignore[reportOptionalIterable]
    if own == list(labels):
        return values
    places = {label: k for k, label in enumerate(own)}
    lost = next((label for label in labels if label not in places), None)
    if not places.keys() & set(labels) and (_are_numbers(own) or _are_numbers(labels)):
        return values
    if lost is not None or len(places) < len(own):
        has = f"no {kind} {lost!r}" if lost is not None else "names that occur twice"
        raise ValueError(
            f"{what} has {has}: give values by the names of the {kind}s of X or, if they are in "
            "its order, without names: .to_numpy()"
        )
    wanted = set(labels)
    if [label for label in own if label in wanted] != list(labels):
        warn(f"the {kind}s of {what} are not in the order of X: they are matched by name")
    return values.iloc[[places[label] for label in labels]]


def _is_default(index: Any) -> bool:
    """Whether an index is the one that pandas gives to what has none: 0, 1, 2 and so on."""
    return type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)


def _are_numbers(labels: Iterable[str]) -> bool:
    return all(label.lstrip("-").replace(".", "", 1).isdecimal() for label in labels)


def encoded(
    beside: Mapping[str, Any],
    totals: Tensor,
    library_size: bool,
    categorical: Iterable[str] = (),
) -> tuple[Covariates | None, Tensor | None]:
    """Covariates of the training rows, the library size, if it is one, being the last of them.

    Args:
        beside: Values by name, one a row.
        totals: Totals of the rows.
        library_size: Whether the network is told them.
        categorical: Those that are categories although they are numbers.

    Raises:
        ValueError: If there are more or fewer values than rows, or none that can be encoded.
    """
    n = len(totals)
    for name in categorical:
        if name not in beside:
            raise ValueError(
                f"categorical names {name!r}, which is none of the covariates "
                f"{', '.join(beside) or '(there are none)'}"
            )
    for name, values in beside.items():
        length = 1 if isinstance(values, str) or not hasattr(values, "__len__") else len(values)
        if length != n:
            raise ValueError(f"covariate {name!r} has {length} values for {n} samples")
    levels = {name for name, values in beside.items() if is_category(values)}
    columns = {name: list(values) for name, values in beside.items()}
    if library_size:
        columns[LIBRARY] = logs(totals.tolist())
        levels.discard(LIBRARY)
    encoding = Covariates.fit(columns, range(n), categorical=levels.union(categorical))
    return encoding, None if encoding is None else encoding.encode(columns, n)


def count(given: Mapping[str, Any]) -> int:
    """How many rows covariates are for: as many as there are values, 1 if each has one."""
    lengths = [len(v) for v in given.values() if hasattr(v, "__len__") and not isinstance(v, str)]
    return max(lengths, default=1)


def depths(library_size: float | Sequence[float], n: int) -> Any:
    """Logarithms of totals that are asked for, one or n.

    Raises:
        ValueError: If one is not positive, or there are more or fewer than n.
    """
    single = np.ndim(library_size) == 0
    totals: Any = [library_size] if single else library_size
    if not single and len(totals) != n:
        raise ValueError(f"library_size has {len(totals)} values for {n} samples; give one or {n}")
    for total in totals:
        checks.number(total, "library_size", above=0)
    return logs(library_size)


def logs(totals: float | Sequence[float]) -> Any:
    """Logarithms of library sizes, those of empty rows as of 1; NaN stays unknown."""
    if np.ndim(totals) == 0:
        return _log(totals)
    return [_log(total) for total in totals]  # pyright: ignore[reportGeneralTypeIssues]


def prescribed_means(means: Any, names: Sequence[str] | None, expected: int) -> Tensor:
    """Means that are asked for, (features,) float64 in the order of the model; NaN is free.

    Args:
        means: A number for each feature, or numbers by the names of some.
        names: Names of the features of the model, or None.
        expected: How many there are.

    Raises:
        ValueError: If a name is not known, or there are not as many numbers as features.
    """
    if hasattr(means, "keys"):
        places = {name: k for k, name in enumerate(names or ())}
        found = torch.full((expected,), math.nan, dtype=torch.float64)
        for name in means.keys():
            if str(name) not in places:
                raise ValueError(
                    f"means names {name!r}, which is no feature of the model"
                    + ("" if names else ": it has no names, so give a number for each feature")
                )
            found[places[str(name)]] = float(means[name])
        return found
    values = torch.as_tensor(np.asarray(means, dtype=np.float64))
    if tuple(values.shape) != (expected,):
        raise ValueError(
            f"means has shape {tuple(values.shape)}; give a number for each of the {expected:,} "
            "features, or numbers by name"
        )
    return values


def _log(total: Any) -> float:
    if isinstance(total, Real) and math.isnan(total):
        return math.nan
    return math.log(max(checks.number(total, "a library size", least=0), 1.0))


doors.guard(__name__, own=("covariates", "means"))
