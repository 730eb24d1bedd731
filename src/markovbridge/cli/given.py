"""Rows that a verb is given in a file of arrays, an image, or a folder of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.data import ImageFolder, Pairs, Source
from markovbridge.data.arrays import read_arrays
from markovbridge.data.folders import SUFFIXES as IMAGES
from markovbridge.data.tables.registry import is_table
from markovbridge.storage.reading import array_file

ALL = "**/*"


def read_rows(file: Path, key: str | None) -> Tensor:
    """Rows of an .npy or .npz file, (n, *event): int64 or float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no rows of numbers.
    """
    array, _ = read_arrays(file.expanduser(), key, None)
    if array.dtype.kind not in "iuf" or array.ndim < 2 or not array.size:
        raise ValueError(f"{file} holds no rows (n, *event) of numbers")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def is_images(file: Path) -> bool:
    """Whether a path is that of an image, or of a folder that is no table."""
    file, suffix = file.expanduser(), file.suffix.lower()
    return not is_table(file) and suffix != ".zarr" if file.is_dir() else suffix in IMAGES


def read_images(file: Path, like: Source | None, shape: tuple[int, ...]) -> Tensor:
    """Images of a file or a folder, (n, channels, height, width) int64, in order of their names.

    They are read as those that a run was trained on or, if these were no images of files, cropped
    to a central square and resized.

    Args:
        file: The image, or the folder.
        like: The data that the run was trained on, or None.
        shape: The event shape of the run.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If one cannot be read, or the run is not one of square images.
    """
    file = file.expanduser()
    folder = file if file.is_dir() else file.parent
    if isinstance(like, Pairs):
        like = like.images(folder)
    if isinstance(like, ImageFolder):
        found = dataclasses.replace(like, root=folder, name="images", pattern=ALL)
    elif len(shape) == 3 and shape[0] in (1, 3) and shape[1] == shape[2]:
        found = ImageFolder(root=folder, size=shape[1], channels=shape[0])
    else:
        raise ValueError(
            f"{file} holds images, and the run is one of events of shape {shape}; give an .npy "
            "or .npz file of such rows"
        )
    return found.read(found.files() if file.is_dir() else [file]).long()


def beside(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """What an .npz file knows of its rows: arrays of these names with one value a row."""
    if file.suffix.lower() != ".npz":
        return {}
    with array_file(file.expanduser()) as content:
        there = {name: content[name] for name in names if name in content}
    return {name: values.tolist() for name, values in there.items() if values.ndim == 1}
