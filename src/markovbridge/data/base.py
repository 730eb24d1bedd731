"""What a data set is, and where one comes from.

A `Source` says where data come from; it is a frozen dataclass of plain values,
so a recipe can name it and a checkpoint can record it. `Source.load(split)`
reads a `Dataset`: samples `x` of shape (N, *event) with what is known of them. `x` is a
tensor or, for large tables of counts, `Rows` that become one batch by batch.

Splits are `"train"`, `"validation"`, `"test"` and `"all"`: `markovbridge.data.splits`.

A source also says whether its files are on this machine (`here`, `where`), what brings them
(`remedy`), and, for a rehearsal without them, what small made-up data may take their place
(`synthetic.stand_in`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.counts import check_counts
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows, taken, turned
from markovbridge.data.splits import check_split
from markovbridge.doors import checks

TOP = 255  # the largest count of what stands in for unbounded ones


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
        start: Where each sample is to be reached from, (N, *event), of a type that x may have,
            for data in pairs; or None.

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
    start: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_split(self.split)
        if self.x.ndim < 2 or self.x.numel() == 0:
            raise ValueError(
                f"{self.name}: samples have shape {tuple(self.x.shape)}; give at least one, "
                "as (N, *event) with at least one axis after the first"
            )
        self._check_values(self.x, "x", self.name)
        if self.start is not None:
            self._check_values(self.start, "start", f"start of {self.name}")
            if self.start.shape != self.x.shape:
                raise ValueError(
                    f"{self.name}: start has shape {tuple(self.start.shape)} beside samples of "
                    f"shape {tuple(self.x.shape)}; give each sample one"
                )
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

    def _check_values(self, x: Tensor | Rows, part: str, name: str) -> None:
        if isinstance(x, Tensor) and x.is_floating_point():
            self._check_reals(x, part)
        elif isinstance(x, Tensor):
            check_counts(x, self.maximum, name=name)

    def _check_reals(self, x: Tensor, part: str) -> None:
        if x.dtype != torch.float32:
            raise TypeError(f"{self.name}: reals have type {x.dtype}; convert them with x.float()")
        if self.maximum is not None:
            raise ValueError(
                f"{self.name}: maximum={self.maximum} is for counts, but the samples are reals; "
                "leave it None, or give counts of an integer type"
            )
        bad = ~torch.isfinite(x)
        if bad.any():
            position = bad.nonzero()[0].tolist()
            raise ValueError(
                f"{self.name}: {part}{position} is {x[tuple(position)].item():g}; remove or "
                "replace what is not finite"
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
            start=None if self.start is None else self.start[index],
        )

    def turned(self, order: Tensor) -> Dataset:
        """The same samples, feature k of the result being feature order[k] of these."""
        observed, names = self.observed, self.column_names
        return replace(
            self,
            x=turned(self.x, order),
            observed=None if observed is None else observed[:, order],
            start=None if self.start is None else self.start[:, order],
            column_names=None if names is None else tuple(names[k] for k in order.tolist()),
        )


@dataclass(frozen=True)
class Outline:
    """What is known of a data set before it is read.

    Attributes:
        shape: Shape of one sample.
        maximum: The largest count.
        covariates: How what is known of each sample is encoded, or None if nothing is.
    """

    shape: tuple[int, ...]
    maximum: int = TOP
    covariates: Covariates | None = None


@dataclass(frozen=True)
class Source(ABC):
    """Where data come from. A frozen dataclass whose fields are plain values.

    A source of one's own implements `load`. One with files also says `where` they are and the
    `remedy` if they are missing, and gives its `_outline` where that is known without them.
    """

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

    def where(self) -> Path | None:
        """The file or folder it reads; None if it needs none.

        Raises:
            FileNotFoundError: If there is none; the message says what brings it.
        """
        return None

    @property
    def remedy(self) -> str:
        """What brings its files, as the end of a sentence; empty if it needs none."""
        return ""

    @property
    def pairs(self) -> bool:
        """Whether its data come in pairs, with a `start` each, as the coupling `Paired` needs."""
        return False

    @property
    def here(self) -> bool:
        """Whether its files are on this machine. They are found by name, and not read."""
        try:
            self.where()
        except FileNotFoundError:
            return False
        return True

    def outline(self, split: str = "train") -> Outline:
        """What its data are like, told without reading them where that is known."""
        known = self._outline()
        if known is not None:
            return known
        data = self.load(split)
        return Outline(data.shape, data.maximum or TOP, data.covariates)

    def _outline(self) -> Outline | None:
        """What is known of its data without reading them; None if they have to be read."""
        return None


@dataclass(frozen=True)
class Derived(Source):
    """Data made of those of another source, whose files they need.

    Attributes:
        source: The other source.
    """

    source: Source

    def where(self) -> Path | None:
        """Where the other source is; see `Source.where`."""
        return self.source.where()

    @property
    def remedy(self) -> str:
        """What brings the other source; see `Source.remedy`."""
        return self.source.remedy

    @property
    def pairs(self) -> bool:
        """As of the other source; see `Source.pairs`."""
        return self.source.pairs

    def _outline(self) -> Outline | None:
        return self.source._outline()


def picked(values: Any, chosen: Sequence[int]) -> list[Any]:
    """The values at some positions, of a list, an array or a column of a data frame."""
    listed = list(values)
    return [listed[i] for i in chosen]


doors.guard(__name__, inside=("picked",))
