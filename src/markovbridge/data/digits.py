"""The UCI 8x8 digits, the data set that comes inside this package.

Each image counts the ink in the 4x4 blocks of a 32x32 bitmap, so its pixels are
true counts in 0..16. These are the 1,797 images of the test part of "Optical
Recognition of Handwritten Digits", written by 13 people.

Source: E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49,
CC BY 4.0; see `digits.LICENSE` beside this file.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch

from markovbridge import doors
from markovbridge.data.base import Dataset, Source
from markovbridge.data.splits import partition


@dataclass(frozen=True)
class Digits(Source):
    """1,797 handwritten digits of shape (1, 8, 8), counts 0..16, ten classes.

    Attributes:
        validation: Fraction set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the split. `split="all"` gives every image in the published order.
    """

    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`."""
        packed = resources.files("markovbridge.data").joinpath("digits.npz").read_bytes()
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            x = torch.from_numpy(arrays["x"])
            labels = torch.from_numpy(arrays["labels"]).long()
        chosen = partition(
            len(x), split, validation=self.validation, test=self.test, seed=self.seed
        )
        return Dataset(
            x=x[chosen],
            labels=labels[chosen],
            name="digits",
            split=split,
            source="E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49",
            licence="CC BY 4.0",
            maximum=16,
            label_names=tuple("0123456789"),
        )


doors.guard(__name__)
