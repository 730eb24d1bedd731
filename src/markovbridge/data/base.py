r"""What a data set is, where one comes from, and how it is split.

A `Source` says where data come from; it is a frozen dataclass of plain values,
so a recipe can name it and a checkpoint can record it. `Source.load(split)`
reads a `Dataset`: samples `x` of shape (N, *event) with what is known of them. `x` is a
tensor or, for large tables of counts, `Rows` that become one batch by batch.

Splits are `"train"`, `"validation"`, `"test"` and `"all"`. A source with an
official test set keeps it, and may set part of its training set aside for
validation. Any other source is cut by `partition`: with a permutation π of
0..N-1 that is a pure function of (seed, N), the first n_t = round(N·test)
samples of π are the test set, the next n_v = round(N·validation) the
validation set, and the rest the training set. So the test set stays the same
when the size of the validation set changes, and the three never overlap.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from markovbridge import checks, doors
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows, taken, turned
from markovbridge.randomness import generator

__all__ = ["SPLITS", "Dataset", "Source", "check_counts", "partition"]

SPLITS = ("train", "validation", "test", "all")
COUNT_TYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples, with what is known of them.

    Attributes:
        x: Samples (N, *event), images channels first. Counts are uint8, int16,
            int32 or int64; reals are float32. `Rows` check their values when they are read.
        labels: Classes (N,), int64, or None.
        name: Name of the data set.
        split: The split these samples are, one of `SPLITS`.
        source: Where they come from: authors, year, address or path.
        licence: Licence of the data, or what is known of it.
        maximum: Largest admissible count, or None if counts are unbounded or x is real.
        label_names: Name of each class, or None.
        condition: What is told to the network of each sample, (N, C) float32, NaN where it
            is not known, or None.
        covariates: How `condition` was encoded, and how it is for new samples, or None.
        observed: Which entries are known, (N, *event) bool, x being 0 elsewhere; None for all.
            Such data are to be imputed, not to be trained on.
        row_names: Name of each sample, or None.
        column_names: Name of each feature, for samples of shape (N, features), or None.
        columns: What is known of each sample beside x, by name, N values each, as it was
            before it was encoded: the values of the covariates.

    Raises:
        TypeError: If x or labels has another type.
        ValueError: If a value is not admissible, or shapes do not match.
    """

    x: Tensor | Rows
    labels: Tensor | None
    name: str
    split: str
    source: str
    licence: str
    maximum: int | None = None
    label_names: tuple[str, ...] | None = None
    condition: Tensor | None = field(default=None, repr=False)
    covariates: Covariates | None = field(default=None, repr=False)
    observed: Tensor | None = field(default=None, repr=False)
    row_names: tuple[str, ...] | None = field(default=None, repr=False)
    column_names: tuple[str, ...] | None = field(default=None, repr=False)
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_split(self.split)
        if self.x.ndim < 2 or self.x.numel() == 0:
            raise ValueError(
                f"{self.name}: samples have shape {tuple(self.x.shape)}; give at least one, "
                "as (N, *event) with at least one axis after the first"
            )
        if isinstance(self.x, Tensor) and self.x.is_floating_point():
            self._check_reals(self.x)
        elif isinstance(self.x, Tensor):
            check_counts(self.x, self.maximum, name=self.name)
        if self.labels is not None:
            self._check_labels(self.labels)
        if self.condition is not None:
            self._check_condition(self.condition)
        if self.observed is not None and self.observed.shape != self.x.shape:
            raise ValueError(
                f"{self.name}: observed has shape {tuple(self.observed.shape)} beside samples of "
                f"shape {tuple(self.x.shape)}; give them the same"
            )
        columns = math.prod(self.shape)
        for names, expected in ((self.row_names, len(self.x)), (self.column_names, columns)):
            if names is not None and len(names) != expected:
                raise ValueError(
                    f"{self.name}: {len(names)} names are given for samples of shape "
                    f"{tuple(self.x.shape)}; give one name a row, and one a column"
                )
        for name, values in self.columns.items():
            if len(values) != len(self.x):
                raise ValueError(
                    f"{self.name}: {len(values)} values of {name!r} are given for {len(self.x)} "
                    "samples; give one a sample"
                )

    def _check_reals(self, x: Tensor) -> None:
        if x.dtype != torch.float32:
            raise TypeError(f"{self.name}: reals have type {x.dtype}; convert them with x.float()")
        if self.maximum is not None:
            raise ValueError(
                f"{self.name}: maximum={self.maximum} is for counts, but the samples are reals; "
                "leave it None, or give counts of an integer type"
            )
        bad = ~torch.isfinite(x)
        if bad.any():
            value, position = _first(x, bad)
            raise ValueError(
                f"{self.name}: x{position} is {value:g}; remove or replace what is not finite"
            )

    def _check_labels(self, labels: Tensor) -> None:
        if labels.dtype != torch.int64:
            raise TypeError(
                f"{self.name}: labels have type {labels.dtype}; convert them with labels.long()"
            )
        if labels.shape != self.x.shape[:1]:
            raise ValueError(
                f"{self.name}: labels have shape {tuple(labels.shape)} beside {len(self.x)} "
                f"samples; give one label a sample, shape ({len(self.x)},)"
            )
        top = None if self.label_names is None else len(self.label_names) - 1
        check_counts(labels, top, name=f"labels of {self.name}")

    def _check_condition(self, condition: Tensor) -> None:
        width = None if self.covariates is None else len(self.covariates.names)
        if condition.dtype != torch.float32 or condition.ndim != 2:
            raise TypeError(
                f"{self.name}: condition has type {condition.dtype} and shape "
                f"{tuple(condition.shape)}; give float32 of shape (N, C)"
            )
        if len(condition) != len(self.x) or width not in (None, condition.shape[1]):
            raise ValueError(
                f"{self.name}: condition has shape {tuple(condition.shape)} beside "
                f"{len(self.x)} samples and covariates of width {width}; give one row a sample"
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, the event shape."""
        return tuple(self.x.shape[1:])

    @property
    def known(self) -> Mapping[str, Any]:
        """What is known of each sample, by name, N values each.

        These are `columns`, what `condition` encodes, and as "label" the class: its name, or
        its number as text where classes have no names.
        """
        found: dict[str, Any] = {}
        if self.labels is not None:
            names, numbers = self.label_names, self.labels.tolist()
            found["label"] = [str(k) if names is None else names[k] for k in numbers]
        if self.condition is not None and self.covariates is not None:
            found |= self.covariates.decode(self.condition)
        return found | dict(self.columns)

    def rows(self, index: Tensor) -> Dataset:
        """Some samples with what is known of them, `index` being rising, int64 (k,)."""
        chosen = index.tolist()
        observed, names = self.observed, self.row_names
        return replace(
            self,
            x=taken(self.x, index),
            labels=None if self.labels is None else self.labels[index],
            condition=None if self.condition is None else self.condition[index],
            observed=None if observed is None else observed[index],
            row_names=None if names is None else tuple(names[i] for i in chosen),
            columns={name: picked(values, chosen) for name, values in self.columns.items()},
        )

    def turned(self, order: Tensor) -> Dataset:
        """The same samples, feature k of the result being feature order[k] of these."""
        observed, names = self.observed, self.column_names
        return replace(
            self,
            x=turned(self.x, order),
            observed=None if observed is None else observed[:, order],
            column_names=None if names is None else tuple(names[k] for k in order.tolist()),
        )


@dataclass(frozen=True)
class Source(ABC):
    """Where data come from. A frozen dataclass whose fields are plain values."""

    def __post_init__(self) -> None:
        checks.shares(getattr(self, "validation", 0.0), getattr(self, "test", 0.0))

    @abstractmethod
    def load(self, split: str = "train") -> Dataset:
        """Read one split, the same samples in the same order every time.

        Args:
            split: One of "train", "validation", "test" and "all".

        Returns:
            The samples of that split.

        Raises:
            FileNotFoundError: If files are missing; the message says what brings them.
            ValueError: If the split is unknown or empty, or a file is damaged.
        """


def picked(values: Any, chosen: Sequence[int]) -> list[Any]:
    """The values at some positions, of a list, an array or a column of a data frame."""
    listed = list(values)
    return [listed[i] for i in chosen]


def check_split(split: str) -> None:
    """Refuse a split that is not one of `SPLITS`.

    Raises:
        ValueError: If it is not.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")


def partition(
    n: int, split: str, *, validation: float = 0.0, test: float = 0.0, seed: int = 0
) -> Tensor:
    """Which of `n` samples belong to `split`; see the head of this module.

    Args:
        n: Number of samples.
        split: One of `SPLITS`.
        validation: Fraction of the samples set aside for validation, in [0, 1).
        test: Fraction of the samples set aside for testing, in [0, 1).
        seed: Seed of the permutation.

    Returns:
        Positions in 0..n-1, int64, in rising order.

    Raises:
        ValueError: If the split is unknown or empty, or a fraction is out of range.
    """
    check_split(split)
    checks.shares(validation, test)
    tested = round(n * test)
    validated = round(n * validation)
    order = torch.randperm(n, generator=generator("cpu", "partition", seed, n))
    chosen = {
        "all": order,
        "test": order[:tested],
        "validation": order[tested : tested + validated],
        "train": order[tested + validated :],
    }[split]
    if len(chosen) == 0:
        raise ValueError(
            f"the {split} split of {n} samples is empty with validation={validation} and "
            f"test={test}; change these fractions or choose another split"
        )
    return chosen.sort().values


def official(
    read: Callable[[str], tuple[Tensor, Tensor]], split: str, *, validation: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Samples and labels of a source that has an official training and test set.

    Args:
        read: Called with "train" or "test", returns that set's samples (N, *event) and
            labels (N,).
        split: One of `SPLITS`; "all" is the training set followed by the test set.
        validation: Fraction of the training set set aside for validation, in [0, 1).
        seed: Seed of that choice.

    Returns:
        The samples and labels of `split`.
    """
    check_split(split)
    if split == "test":
        return read("test")
    x, labels = read("train")
    if split == "all":
        x_test, labels_test = read("test")
        return torch.cat([x, x_test]), torch.cat([labels, labels_test])
    if split == "validation" and validation == 0:
        raise ValueError(
            "no samples are set aside for validation; set validation=0.1, say, to take a tenth "
            'of the training set, or use split="test"'
        )
    chosen = partition(len(x), split, validation=validation, seed=seed)
    return x[chosen], labels[chosen]


def smallest_type(maximum: int) -> torch.dtype:
    """The smallest type of counts that holds 0..maximum."""
    for dtype in COUNT_TYPES:
        if maximum <= torch.iinfo(dtype).max:
            return dtype
    raise ValueError(f"maximum={maximum} does not fit in 63 bits; counts are at most 2**63 - 1")


def check_counts(x: Tensor, maximum: int | None = None, *, name: str = "x") -> None:
    """Refuse what is not a tensor of counts in 0..maximum.

    Args:
        x: Counts of any shape, of type uint8, int16, int32 or int64.
        maximum: Largest admissible count, or None if there is none.
        name: What to call x in the message.

    Raises:
        TypeError: If x is no tensor or not of an integer type.
        ValueError: If a value is NaN, infinite, fractional, negative or above `maximum`; the
            message names the first one and its position.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name} is a {type(x).__name__}; counts are a torch.Tensor, see torch.as_tensor"
        )
    if x.dtype not in COUNT_TYPES and not x.is_floating_point():
        raise TypeError(
            f"{name} has type {x.dtype}; counts are uint8, int16, int32 or int64, "
            "so convert it with x.to(torch.int64)"
        )
    if x.numel() == 0:
        return
    if x.is_floating_point():
        _check_whole(x, name)
        _check_range(x, maximum, name)
        raise TypeError(
            f"{name} has type {x.dtype}; its values are whole, so convert it with "
            "x.to(torch.int64)"
        )
    lowest, highest = torch.stack(x.aminmax()).tolist()
    if lowest < 0 or (maximum is not None and highest > maximum):
        _check_range(x.long(), maximum, name)


def _check_whole(x: Tensor, name: str) -> None:
    """Refuse reals that are not whole numbers."""
    bad = ~torch.isfinite(x) | (x != x.floor())
    if bad.any():
        value, position = _first(x, bad)
        remedy = (
            "counts are whole numbers, so undo any scaling, or round"
            if math.isfinite(value)
            else "remove or replace missing values"
        )
        raise ValueError(f"{name}{position} is {value:g}; {remedy}")


def _check_range(x: Tensor, maximum: int | None, name: str) -> None:
    """Refuse values below 0 or above maximum."""
    bad = x < 0
    if maximum is not None:
        bad = bad | (x > maximum)
    if bad.any():
        value, position = _first(x, bad)
        if value < 0:
            raise ValueError(
                f"{name}{position} is {value:.15g}, but counts are never negative; "
                "undo any centring or scaling"
            )
        raise ValueError(
            f"{name}{position} is {value:.15g}, above the maximum {maximum}; "
            "raise the maximum or clip the counts"
        )


def _first(x: Tensor, bad: Tensor) -> tuple[float, list[int]]:
    """The first value of x where `bad` holds, in row-major order, and its position."""
    position = bad.nonzero()[0].tolist()
    return x[tuple(position)].item(), position


doors.guard(__name__)
