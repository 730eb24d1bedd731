"""Ranges of data: coordinates in which the dynamics cannot leave them.

A diffusion moves over all of R. Data on (0, ∞) or (a, b) are carried in coordinates
z = φ(x) instead, site by site, and x = φ⁻¹(z) stays in its range whatever the sampler
does. `Process.check` encodes, `Transport.sample` and its like decode; everything in
between, statistics of the data included, lives in the coordinates.

What lies beyond the numbers of its type, or rounds to an end of the range, is decoded to the
nearest number inside, so that samples are data.

`RoundedSupport` is for counts as reals, which image diffusion is: the diffusion itself knows
nothing of whole numbers, and what it ends at is rounded and cut off. Its law is that of
the reals before; counts have processes of their own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors


class Support(ABC):
    """A range of data and its coordinates."""

    @abstractmethod
    def encode(self, x: Tensor, name: str = "x") -> Tensor:
        """Coordinates of data, or an error that names the value outside the range."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Data from coordinates, the inverse."""


@dataclass(frozen=True)
class PositiveSupport(Support):
    """Data on (0, ∞), carried as log x."""

    def encode(self, x: Tensor, name: str = "x") -> Tensor:
        if x.numel() and bool((x <= 0).any()):
            raise ValueError(
                f"{name} holds {x.min().item()}, outside (0, ∞): add an offset before, or take "
                "a process on all reals"
            )
        return x.log()

    def decode(self, z: Tensor) -> Tensor:
        real = torch.finfo(z.dtype)
        return z.exp().clamp(real.tiny, real.max)


@dataclass(frozen=True)
class IntervalSupport(Support):
    """Data on (low, high), carried as logit((x - low)/(high - low))."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"an interval needs low < high, not ({self.low}, {self.high})")

    def encode(self, x: Tensor, name: str = "x") -> Tensor:
        outside = (x <= self.low) | (x >= self.high)
        if x.numel() and bool(outside.any()):
            raise ValueError(
                f"{name} holds {x[outside][0].item()}, outside ({self.low}, {self.high}): widen "
                "the interval, or spread values on its ends inwards"
            )
        return (x - self.low).log() - (self.high - x).log()

    def decode(self, z: Tensor) -> Tensor:
        x = self.low + (self.high - self.low) * torch.sigmoid(z)
        low, high = z.new_tensor(self.low), z.new_tensor(self.high)
        # Beside an end at 0 the nearest number has lost its digits: the nearest with all of them.
        tiny = torch.finfo(z.dtype).tiny
        low = torch.maximum(low.nextafter(high), low + tiny)
        return x.clamp(low, torch.minimum(high.nextafter(low), high - tiny))


@dataclass(frozen=True)
class RoundedSupport(Support):
    """Counts 0 .. maximum, carried as reals between -1 and 1.

    Attributes:
        maximum: The largest count.
    """

    maximum: int = 255

    def __post_init__(self) -> None:
        if self.maximum < 1:
            raise ValueError(f"maximum must be at least 1, not {self.maximum}")

    def encode(self, x: Tensor, name: str = "x") -> Tensor:
        wrong = (x < 0) | (x > self.maximum) | (x != x.round())
        if x.numel() and bool(wrong.any()):
            raise ValueError(
                f"{name} holds {x[wrong][0].item():g}, which is no count in 0..{self.maximum}: "
                "set `maximum` of the support, or take a process without one for reals"
            )
        return x * (2 / self.maximum) - 1

    def decode(self, z: Tensor) -> Tensor:
        """The nearest counts, int64."""
        x = (z.double() + 1) * (self.maximum / 2)
        return x.round().clamp(0, self.maximum).to(torch.int64)


doors.guard(__name__)
