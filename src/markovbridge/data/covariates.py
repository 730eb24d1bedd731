r"""Covariates as numbers: what is known of a sample beside its counts.

A continuous covariate becomes one number, (v - m) / s with mean m and standard deviation s
of the training samples. A categorical one with levels l_1 < l_2 < ... becomes one number a
level, 1 for its own and 0 for the others. A missing value is NaN in all of its numbers, which
networks take for "not given".

The encoding is plain values, so it is saved beside a model and new samples are encoded as
those of the training were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks

SHOWN = 12  # levels named in a message


@dataclass(frozen=True)
class Covariate:
    """One covariate and how it becomes numbers.

    Attributes:
        name: Its name.
        levels: Levels of a categorical covariate, sorted; empty for a continuous one.
        mean: Mean of a continuous covariate over the training samples.
        scale: Standard deviation likewise, 1 if it does not vary.
    """

    name: str
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.scale, "scale", above=0)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each of its numbers: "age", or "batch=a" and "batch=b"."""
        return tuple(f"{self.name}={level}" for level in self.levels) or (self.name,)

    @classmethod
    def fit(
        cls, name: str, values: Sequence[Any], training: Sequence[int], *, categorical: bool
    ) -> Covariate:
        """Learn the levels from all values, or mean and deviation from the `training` ones.

        Raises:
            ValueError: If it has no value at all, or a continuous one is not a finite number.
        """
        if categorical:
            levels = sorted({level_of(v) for v in values if not is_missing(v)}, key=_natural)
            if not levels:
                raise ValueError(f"covariate {name!r} has no value; leave it out")
            return cls(name, tuple(levels))
        numbers = _numbers(name, (values[i] for i in training))
        numbers = numbers[~numbers.isnan()]
        if len(numbers) == 0:
            raise ValueError(f"covariate {name!r} has no value in the training set; leave it out")
        spread = float(numbers.std(correction=0))
        scale = spread if spread > 1e-9 * max(1.0, float(numbers.abs().max())) else 1.0
        return cls(name, (), float(numbers.mean()), scale)

    def encode(self, values: Iterable[Any]) -> Tensor:
        """Numbers (n, len(names)), float32, of n values.

        Raises:
            ValueError: If a level is unknown, or a continuous value is no finite number.
        """
        if not self.levels:
            return ((_numbers(self.name, values) - self.mean) / self.scale).float()[:, None]
        places = {level: k for k, level in enumerate(self.levels)}
        missing = len(self.levels)
        table = torch.cat([torch.eye(missing), torch.full((1, missing), torch.nan)])
        rows = []
        for value in values:
            level = None if is_missing(value) else level_of(value)
            if level is not None and level not in places:
                known = ", ".join(self.levels[:SHOWN]) + (", ..." if missing > SHOWN else "")
                raise ValueError(
                    f"{level!r} is no known level of covariate {self.name!r}; its levels are "
                    f"{known}"
                )
            rows.append(missing if level is None else places[level])
        return table[torch.tensor(rows, dtype=torch.int64)]

    def decode(self, numbers: Tensor) -> list[Any]:
        """The n values that became numbers (n, len(names)); None where it was not known."""
        if not self.levels:
            values = (numbers[:, 0].double() * self.scale + self.mean).tolist()
            return [None if math.isnan(value) else value for value in values]
        missing = numbers.isnan().any(1).tolist()
        places = numbers.nan_to_num().argmax(1).tolist()
        return [None if no else self.levels[k] for no, k in zip(missing, places, strict=True)]


@dataclass(frozen=True)
class Covariates:
    """How the covariates of a data set become the condition of a network.

    Attributes:
        columns: Each covariate, in the order of their numbers.
    """

    columns: tuple[Covariate, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each number of the condition."""
        return tuple(name for column in self.columns for name in column.names)

    @classmethod
    def fit(
        cls, columns: Mapping[str, Any], training: Sequence[int], *, categorical: Iterable[str]
    ) -> Covariates | None:
        """Learn how columns are encoded, in their order; None if there are none.

        Args:
            columns: Values by name, one a sample.
            training: Positions of the samples that continuous ones are standardised by.
            categorical: Names of those that are categories; the others are continuous.

        Raises:
            ValueError: As `Covariate.fit`.
        """
        chosen = set(categorical)
        fitted = tuple(
            Covariate.fit(name, list(values), training, categorical=name in chosen)
            for name, values in columns.items()
        )
        return cls(fitted) if fitted else None

    def encode(self, table: Mapping[str, Any], n: int | None = None) -> Tensor:
        """The condition (n, C), float32, of n samples.

        Args:
            table: Values of each covariate by its name: n of them, or one for all samples.
                A covariate that is left out is missing in all samples; so are None and NaN.
                A dictionary or a data frame.
            n: How many samples; needed if `table` has one value each only.

        Raises:
            ValueError: If a name or a level is unknown, or lengths differ.
        """
        known = [column.name for column in self.columns]
        for name in table:
            if name not in known:
                raise ValueError(
                    f"{name!r} is no covariate of this model; it knows {', '.join(known)}"
                )
        given = {name: one_each(table[name], name) for name in table}
        lengths = {name: len(v) for name, v in given.items() if not _is_single(v)}
        if n is not None:
            checks.whole(n, "n", least=0)
        n = n if n is not None else next(iter(lengths.values()), 1)
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"covariate {name!r} has {length} values for {n} samples")
        encoded = []
        for column in self.columns:
            values = given.get(column.name)
            encoded.append(column.encode([values] * n if _is_single(values) else list(values)))  # pyright: ignore[reportArgumentType]
        return torch.cat(encoded, 1) if encoded else torch.empty(n, 0)

    def decode(self, condition: Tensor) -> dict[str, list[Any]]:
        """The values of each covariate by its name, of a condition (n, C); None if not known."""
        sizes = [len(column.names) for column in self.columns]
        parts = condition.split(sizes, 1)
        return {c.name: c.decode(part) for c, part in zip(self.columns, parts, strict=True)}


def described(condition: Mapping[str, Any] | None, guidance: float = 1.0) -> str:
    """What samples were conditioned on, in words: "label=3, guidance 2"; empty for nothing."""
    if not condition:
        return ""
    parts = [
        f"{name}={'unknown' if is_missing(value) else value}" for name, value in condition.items()
    ]
    return ", ".join([*parts, *([] if guidance == 1 else [f"guidance {guidance:g}"])])


def is_missing(value: Any) -> bool:
    """Whether a value stands for "not known": None, NaN, or what pandas uses."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return isinstance(value, Real) and math.isnan(value)


def one_each(values: Any, name: str) -> Any:
    """Values of a covariate, tensors and masked arrays as lists; a single one as it is.

    Raises:
        ValueError: If they are a table.
    """
    if getattr(values, "ndim", 0) > 1:
        shape = tuple(values.shape)
        raise ValueError(f"covariate {name!r} has shape {shape}; give one value a sample")
    if isinstance(values, Tensor):
        return values.detach().cpu().tolist()
    if isinstance(values, np.ma.MaskedArray):
        return values.tolist()
    return values[()] if isinstance(values, np.ndarray) and values.ndim == 0 else values


def is_category(values: Any) -> bool:
    """Whether values are categories: text, booleans, dates, or what is said to be; else numbers.

    Args:
        values: A list, an array, or a column of a data frame of any type; some may be missing.
    """
    dtype = getattr(values, "dtype", None)
    if type(dtype).__name__ == "CategoricalDtype":
        return True
    kind = getattr(dtype, "kind", "O")
    if kind != "O":
        return kind not in "iuf"
    return not all(
        is_missing(value) or (isinstance(value, Real) and not isinstance(value, bool))
        for value in values
    )


def _is_single(value: Any) -> bool:
    return isinstance(value, str) or not hasattr(value, "__len__")


def level_of(value: Any) -> str:
    """How a level is written.

    Whole numbers have no point, 1 and 1.0 being the same; midnight is a date alone, whatever
    package it is of.
    """
    if isinstance(value, np.datetime64):
        value = value.astype("M8[us]").item()
    if isinstance(value, datetime):
        value = value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Real) and not isinstance(value, bool) and float(value).is_integer():
        return str(int(float(value)))
    return str(value)


def _natural(level: str) -> tuple[int, float, str]:
    """Levels that are numbers come first, in the order of numbers."""
    try:
        return 0, float(level), level
    except ValueError:
        return 1, 0.0, level


def _numbers(name: str, values: Iterable[Any]) -> Tensor:
    """Values as float64, missing ones NaN."""
    out = []
    for value in values:
        try:
            number = math.nan if is_missing(value) else float(value)
        except (TypeError, ValueError):
            number = math.inf
        if math.isinf(number):
            raise ValueError(f"covariate {name!r} has the value {value!r}, which is no number")
        out.append(number)
    return torch.tensor(out, dtype=torch.float64)


doors.guard(__name__)
