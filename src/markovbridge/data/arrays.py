"""Arrays of one's own: `.npy` and `.npz` files, read without pickle.

Counts are often stored as floating-point numbers. They are taken where every
value is a whole number, and kept in the smallest integer type that holds them;
anything else is refused with the first offending value. Reals are asked for
with `counts=False`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Source
from markovbridge.data.counts import named, whole
from markovbridge.data.splits import partition
from markovbridge.storage.reading import array_file, reading

SUFFIXES = (".npy", ".npz")
CHANNELS = (1, 3, 4)  # of images: grey, colour, and colour with transparency
REMEDY = "give the path of an .npy or .npz file"


@dataclass(frozen=True)
class Arrays(Source):
    """Samples (N, *event) from a NumPy file.

    Attributes:
        path: The `.npy` or `.npz` file.
        key: Name of the array of samples in an `.npz` file; None if it holds only one, or
            for an `.npy` file.
        labels: Name of the array of labels (N,) in an `.npz` file, or None.
        counts: Whether the samples are counts; False for reals, which become float32.
        maximum: Largest admissible count, or None if there is none.
        validation: Fraction set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the split.
        channels: Where images (N, a, b, c) have their channels: "first" or "last", which are
            then put first. It must be said if c is 1, 3 or 4, and a is not.
    """

    path: Path
    key: str | None = None
    labels: str | None = None
    counts: bool = True
    maximum: int | None = None
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0
    channels: Literal["first", "last"] | None = None

    def where(self) -> Path:
        """The file; see `Source.where`."""
        return existing(Path(self.path).expanduser())

    @property
    def remedy(self) -> str:
        """What to do if there is none; see `Source.remedy`."""
        return REMEDY

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`."""
        path = self.where()
        with reading(path):
            return self._load(path, split)

    def _load(self, path: Path, split: str) -> Dataset:
        samples, labels = read_arrays(path, self.key, self.labels)
        if samples.ndim < 2 or samples.size == 0:
            raise ValueError(
                f"{path} holds samples of shape {samples.shape}; store at least one, as "
                "(N, *event) with at least one axis after the first"
            )
        samples = channels_first(samples, self.channels, str(path))
        chosen = partition(
            len(samples), split, validation=self.validation, test=self.test, seed=self.seed
        )
        x = to_counts(samples, self.maximum, str(path)) if self.counts else to_reals(samples)
        if labels is not None:
            if labels.shape != samples.shape[:1]:
                raise ValueError(
                    f"{path} holds {len(samples)} samples but labels of shape {labels.shape}; "
                    "store one label a sample"
                )
            labels = to_counts(labels, None, f"{path}: {self.labels}").long()[chosen]
        return Dataset(
            x=x[chosen],
            labels=labels,
            name=path.stem,
            split=split,
            source=str(path),
            licence="unknown",
            maximum=self.maximum,
        )


def existing(path: Path) -> Path:
    """The path of an array, if there is a file.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; {REMEDY}")
    return path


def read_arrays(
    path: Path, key: str | None, labels: str | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays called `key` and `labels` of a NumPy file; see `Arrays`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds objects, or has no array of that name.
    """
    with array_file(existing(path)) as content:
        if content.names is None:
            if key is not None or labels is not None:
                raise ValueError(
                    f"{path} holds one array without a name, so leave key={key!r} and "
                    f"labels={labels!r} None, or store an .npz file"
                )
            return content[None], None
        if key is None and len(content.names) == 1:
            key = content.names[0]
        for name in [key] if labels is None else [key, labels]:
            if name is None or name not in content:
                raise ValueError(
                    f"{path} has no array {name!r}; give key, and labels if there are any, from "
                    f"{', '.join(content.names)}"
                )
        return content[key], None if labels is None else content[labels]


def channels_first(
    samples: np.ndarray,
    channels: Literal["first", "last"] | None,
    name: str,
    give: str = "channels={}",
) -> np.ndarray:
    """Samples (N, *event) with the channels of images in front; see `Arrays`.

    Args:
        samples: The samples.
        channels: Where they have their channels.
        name: What to call them in a message.
        give: How `channels` is given, with {} for the value.

    Raises:
        ValueError: If nothing is said and the channels of images look like the last axis, or
            they are said to be last of what are no images.
    """
    if channels == "last":
        if samples.ndim != 4:
            raise ValueError(
                f"{name} holds samples of shape {samples.shape[1:]}, which are no images with "
                f"channels last; leave {give.format(None)}"
            )
        return np.ascontiguousarray(np.moveaxis(samples, -1, 1))
    seen = samples.ndim == 4 and samples.shape[-1] in CHANNELS
    if channels is None and seen and samples.shape[1] not in CHANNELS:
        raise ValueError(
            f"{name} holds samples of shape {samples.shape[1:]}, which look like images with "
            f"their channels last; give {give.format(repr('last'))}, or 'first' if they are what "
            "they say"
        )
    return samples


def to_counts(values: np.ndarray, maximum: int | None, name: str) -> Tensor:
    """Counts in the smallest type of `Dataset` that holds them and `maximum`.

    Args:
        values: Whole numbers of any integer or real type.
        maximum: Largest admissible count, or None.
        name: What to call them in a message.

    Raises:
        TypeError: If the values are not numbers.
        ValueError: If they are not counts in 0..maximum.
    """
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{name} has type {values.dtype}; store counts as integers")
    counts = whole(values.ravel(), named(name, values.shape), maximum=maximum)
    return torch.from_numpy(counts.reshape(values.shape))


def to_reals(values: np.ndarray) -> Tensor:
    """Real numbers as float32.

    Raises:
        TypeError: If the values are not numbers.
    """
    if values.dtype.kind not in "iuf":
        raise TypeError(f"samples have type {values.dtype}; store reals as floating-point numbers")
    with np.errstate(over="ignore"):  # what overflows is refused with its position later
        return torch.from_numpy(values.astype(np.float32))


INSIDE = ("channels_first", "existing", "read_arrays", "to_counts", "to_reals")
doors.guard(__name__, inside=INSIDE)
