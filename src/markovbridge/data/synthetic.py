r"""Made-up counts with structure, of any shape, for dry runs and tests.

Sample i of class k is a bump, one factor for each axis of the event:

    x_i = round( M · a_i · Π_axes exp(-(u - c_i)² / (2 · 0.2²)) ),

where u in [0, 1] is the position on the axis, a_i ~ U(0.5, 1) an amplitude and
c_i a centre, uniform within 0.1 of the centre of class k, which is uniform on
(0.2, 0.8). Positions lie at the middles of equal cells, so an axis of length
one has u = 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Source
from markovbridge.data.counts import smallest_type
from markovbridge.data.splits import partition
from markovbridge.doors.randomness import generator

WIDTH = 0.2


@dataclass(frozen=True)
class Synthetic(Source):
    """Bumps at random places, a pure function of the fields.

    Attributes:
        shape: Event shape, for images (channels, height, width).
        maximum: Largest count M.
        n: Number of samples before they are split.
        classes: Number of classes.
        validation: Fraction set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the samples and of the split.
    """

    shape: tuple[int, ...] = (1, 8, 8)
    maximum: int = 255
    n: int = 1000
    classes: int = 10
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape={self.shape} must name at least one axis, each of length > 0")
        for field in ("maximum", "n", "classes"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)} must be at least 1")

    def load(self, split: str = "train") -> Dataset:
        """Make one split; see `Source.load`."""
        chosen = partition(
            self.n, split, validation=self.validation, test=self.test, seed=self.seed
        )
        noise = generator("cpu", "synthetic", self.seed)
        labels = torch.arange(self.n) % self.classes
        centres = 0.2 + 0.6 * torch.rand(self.classes, len(self.shape), generator=noise)
        shifts = 0.2 * torch.rand(self.n, len(self.shape), generator=noise) - 0.1
        amplitudes = 0.5 + 0.5 * torch.rand(self.n, generator=noise)
        x = self._bumps((centres[labels] + shifts)[chosen], amplitudes[chosen])
        return Dataset(
            x=x,
            labels=labels[chosen],
            name="synthetic",
            split=split,
            source=repr(self),
            licence="none: made by markovbridge",
            maximum=self.maximum,
            label_names=tuple(str(k) for k in range(self.classes)),
        )

    def _bumps(self, centres: Tensor, amplitudes: Tensor) -> Tensor:
        """Bumps (n, *shape) at `centres` (n, axes) of heights M · `amplitudes` (n,)."""
        axes = len(self.shape)
        height = self.maximum * amplitudes.reshape(-1, *[1] * axes)
        for axis, size in enumerate(self.shape):
            u = (torch.arange(size) + 0.5) / size
            factor = torch.exp(-((u - centres[:, axis, None]) ** 2) / (2 * WIDTH**2))
            height = height * factor.reshape(-1, *[1] * axis, size, *[1] * (axes - axis - 1))
        return height.round().to(smallest_type(self.maximum))


def stand_in(source: Source, split: str = "train", n: int = 16) -> Synthetic:
    """`n` made-up samples of the shape and range of a source, whose files need not be here."""
    known = source.outline(split)
    return Synthetic(shape=known.shape, maximum=known.maximum, n=n)


doors.guard(__name__)
