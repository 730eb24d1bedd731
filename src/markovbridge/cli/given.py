"""Rows that a verb is given in a file of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.data.arrays import read_arrays
from markovbridge.storage.reading import array_file


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


def beside(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """What an .npz file knows of its rows: arrays of these names with one value a row."""
    if file.suffix.lower() != ".npz":
        return {}
    with array_file(file.expanduser()) as content:
        there = {name: content[name] for name in names if name in content}
    return {name: values.tolist() for name, values in there.items() if values.ndim == 1}
