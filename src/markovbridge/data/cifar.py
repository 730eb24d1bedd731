"""CIFAR-10 in its official form: six pickles, read without trusting them.

The folder `cifar-10-batches-py` holds `data_batch_1` .. `data_batch_5`,
`test_batch` and `batches.meta`, pickles of dictionaries written by Python 2:
`data` is an array (10000, 3072) of bytes, channels first, `labels` a list.

A pickle is a program, and an ordinary unpickler runs whatever it names. These
files name only how to rebuild a NumPy array, so `read_pickle` admits those few
names, and even these it hands out as `Recorded`, which only notes what it is
called with: nothing of NumPy, or of any other module, is called by the file. An
array is made at the end, from the recorded shape and bytes.

Source: A. Krizhevsky (2009), Learning multiple layers of features from tiny
images, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Outline, Source
from markovbridge.data.catalogue import (
    CIFAR,
    CIFAR_BATCHES,
    CIFAR_META,
    cifar_missing,
    cifar_remedy,
)
from markovbridge.data.locations import locate
from markovbridge.data.splits import official
from markovbridge.storage.reading import reading

EVENT = (3, 32, 32)
DAMAGED = ("is damaged", "unpack the archive again")
MEMO = ("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET")  # number the values
ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True)
class CIFAR10(Source):
    """60,000 colour images (3, 32, 32) of bytes in ten classes, 10,000 of them for testing.

    The folder is `root`, else $MARKOVBRIDGE_DATA/cifar-10-batches-py, else
    /usr/share/datasets/cifar-10-batches-py.

    Attributes:
        root: The folder cifar-10-batches-py, or None to look in the usual places.
        validation: Fraction of the training set set aside for validation.
        seed: Seed of that choice.
    """

    root: Path | None = None
    validation: float = 0.0
    seed: int = 0

    def where(self) -> Path:
        """The folder that holds the batches; see `Source.where`."""
        return locate(CIFAR, self.root, cifar_missing, self.remedy)

    @property
    def remedy(self) -> str:
        """What brings the files, as the end of a sentence."""
        return cifar_remedy()

    def _outline(self) -> Outline:
        return Outline(EVENT)

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`."""
        folder = self.where()
        with reading(folder / CIFAR_META, *DAMAGED):
            rows, names = read_meta(folder / CIFAR_META)

        def read(part: str) -> tuple[Tensor, Tensor]:
            batches = []
            for file in CIFAR_BATCHES[part]:
                with reading(folder / file, *DAMAGED):
                    batches.append(read_batch(folder / file, rows))
            images, labels = zip(*batches, strict=True)
            return torch.cat(images), torch.cat(labels)

        x, labels = official(read, split, validation=self.validation, seed=self.seed)
        return Dataset(
            x=x,
            labels=labels,
            name="cifar10",
            split=split,
            source="A. Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html",
            licence="none stated by its authors",
            maximum=255,
            label_names=names,
        )


def read_meta(path: Path) -> tuple[int, tuple[str, ...]]:
    """Number of images in a batch, and the name of each class.

    Raises:
        ValueError: If the file is damaged, or holds something else.
    """
    meta = read_pickle(path)
    rows = entry(meta, "num_cases_per_batch", path)
    names = entry(meta, "label_names", path)
    if not isinstance(rows, int) or not isinstance(names, list):
        raise ValueError(
            f"{path}: num_cases_per_batch={rows!r} must be an integer and label_names={names!r} "
            "a list; unpack the archive again"
        )
    return rows, tuple(text(name) for name in names)


def read_batch(path: Path, rows: int) -> tuple[Tensor, Tensor]:
    """Images (rows, 3, 32, 32) uint8 and labels (rows,) int64 of one batch.

    Raises:
        ValueError: If the file is damaged, or holds something else.
    """
    batch = read_pickle(path)
    images = entry(batch, "data", path)
    labels = entry(batch, "labels", path)
    if not isinstance(images, np.ndarray) or images.shape != (rows, math.prod(EVENT)):
        shape = getattr(images, "shape", type(images).__name__)
        raise ValueError(
            f"{path}: data is {shape}, expected an array {(rows, math.prod(EVENT))}; "
            "unpack the archive again"
        )
    if (
        not isinstance(labels, list)
        or len(labels) != rows
        or not all(isinstance(label, int) for label in labels)
    ):
        raise ValueError(
            f"{path}: labels must be a list of {rows} integers; unpack the archive again"
        )
    return torch.from_numpy(images.reshape(rows, *EVENT)), torch.tensor(labels)


def entry(content: Any, key: str, path: Path) -> Any:
    """The value of `key`, written by Python 2 as bytes or by Python 3 as text."""
    if isinstance(content, dict):
        for name in (key.encode(), key):
            if name in content:
                return content[name]
    raise ValueError(
        f"{path} has no entry {key!r}, so it is not CIFAR-10; unpack the archive again"
    )


def text(name: Any) -> str:
    """Text, whichever Python wrote it."""
    return name.decode() if isinstance(name, bytes) else str(name)


def read_pickle(path: Path) -> Any:
    """Read a pickle of plain values and arrays of bytes, and refuse any other.

    Args:
        path: The file.

    Returns:
        What it holds: dictionaries, lists, tuples, numbers, text, bytes (a `str` of Python 2
        too) and uint8 arrays.

    Raises:
        ValueError: If the file is damaged, or names anything but how to rebuild an array.
    """
    content = path.read_bytes()
    with reading(path, *DAMAGED):
        _check_sizes(content)
        value = Restricted(io.BytesIO(content), path).load()
        if isinstance(value, dict):
            return {name: _array(part) for name, part in value.items()}
        return _array(value)


def _check_sizes(content: bytes) -> None:
    """Refuse a pickle that makes the unpickler allocate more than it holds.

    Raises:
        ValueError: If it numbers its values beyond its length, or announces more than follows.
    """
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name in MEMO and isinstance(argument, int) and argument > len(content):
            raise ValueError(f"at byte {position} it names value {argument:,} of its own")


class Restricted(pickle.Unpickler):
    """An unpickler that knows the names in `ADMITTED` and no others.

    Args:
        file: The pickle.
        path: What to call it in messages.
    """

    def __init__(self, file: io.BytesIO, path: Path) -> None:
        super().__init__(file, encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> Recorded:
        """What stands for an admitted name, made anew, so that no pickle leaves a trace in it."""
        if (module, name) not in ADMITTED:
            raise ValueError(
                f"{self._path} is refused: it names {module}.{name}, which no CIFAR-10 file does; "
                "do not open it with an ordinary unpickler, and fetch the data from its authors"
            )
        return Recorded(name)


class Recorded:
    """What a pickle says of an object, in place of the object.

    Attributes:
        name: What the pickle calls.
        arguments: What it calls it with.
        state: What it would give the object afterwards.
    """

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "encode":  # with which Python 3 writes bytes under protocol 2
            characters, encoding = arguments
            if encoding not in ("latin1", b"latin1"):
                raise ValueError(f"encoding {encoding!r} is not latin1")
            return characters.encode("latin1")
        return Recorded(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _array(value: Any) -> Any:
    """A value, or the array that was recorded: (version, shape, type, column-major, bytes)."""
    if not isinstance(value, Recorded):
        return value
    if value.name != "_reconstruct" or not isinstance(value.state, tuple):
        raise ValueError(f"it holds {value.name}, where an array belongs")
    _, shape, dtype, column_major, content = value.state
    if not isinstance(dtype, Recorded) or dtype.arguments[:1] not in ((b"u1",), ("u1",)):
        raise ValueError("an array is of another type than 'u1'")
    order = "F" if column_major else "C"
    return np.frombuffer(content, np.uint8).reshape(shape, order=order).copy()


doors.guard(
    __name__,
    inside=("Recorded", "Restricted", "entry", "read_batch", "read_meta", "read_pickle", "text"),
)
