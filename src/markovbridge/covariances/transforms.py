r"""Transforms to modes, in which much noise and much data are independent.

A transform U, real and orthonormal, takes a batch of events to their modes and back, both in the
shape of the event. An operator that is diagonal in it is U^T diag(w) U, whatever w is.

**Bands.** Modes that share a clock, a level or a share of the power are a band. Numbers for
each band are (rows, bands), and `spread` makes them numbers for each mode.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from markovbridge import doors


class Transform(ABC):
    """An orthonormal transform of events, and the bands that its modes fall into."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """U x, of the shape of x, (batch, *event)."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """U^T z, the inverse of `forward`."""

    @abstractmethod
    def diagonal(self, weights: Tensor) -> Tensor:
        """The diagonal of U^T diag(w) U, for w of (batch, *event), in that shape."""

    def block(self, weights: Tensor, sites: Tensor) -> Tensor:
        """U^T diag(w) U between some sites only.

        Args:
            weights: w, (*event).
            sites: Which, of the flattened event, (m,) int64.

        Returns:
            (m, m), symmetric.
        """
        found = []
        for some in sites.split(64):
            unit = weights.new_zeros(len(some), weights.numel())
            unit.scatter_(1, some.unsqueeze(1), 1.0)
            columns = self.inverse(weights * self.forward(unit.reshape(-1, *weights.shape)))
            found.append(columns.flatten(1)[:, sites])
        made = torch.cat(found) if found else weights.new_zeros(0, 0)
        return (made + made.mT) / 2

    @property
    @abstractmethod
    def bands(self) -> int:
        """How many bands there are."""

    @abstractmethod
    def band(self, event: Sequence[int]) -> Tensor:
        """Which band each mode of the trailing axes of an event is in: int64, 0 .. bands-1."""

    def frequency(self, event: Sequence[int]) -> Tensor:
        """Waves a site of each mode, in the shape of `band`, float64.

        Raises:
            NotImplementedError: If its modes are no waves.
        """
        raise NotImplementedError(
            f"modes of {type(self).__name__} are no waves, and have no frequency: take Cosine(), "
            "Fourier() or Haar()"
        )

    def spread(self, weights: Tensor, x: Tensor) -> Tensor:
        """Numbers for each band, (rows, bands), as ones for each mode that broadcast to x.

        The result has the type of x.

        Raises:
            ValueError: If they are no numbers for each band and row.
        """
        if weights.shape[1:] != (self.bands,):
            raise ValueError(
                f"numbers for each band must be (rows, {self.bands}), not {tuple(weights.shape)}"
            )
        index = _index(self, tuple(x.shape[1:]), x.device)
        kind = x.dtype if x.is_floating_point() else torch.float32
        found = weights.to(x.device, kind)[:, index]
        return found.reshape(len(weights), *[1] * (x.ndim - 1 - index.ndim), *index.shape)

    def counts(self, event: Sequence[int]) -> Tensor:
        """How many modes of an event are in each band: (bands,), float64."""
        band = self.band(event)
        copies = math.prod(event) // band.numel()
        return copies * torch.bincount(band.flatten(), minlength=self.bands).double()

    def power(self, x: Tensor) -> Tensor:
        """The mean of squares of the modes of x in each band: (bands,), float64; 0 of none.

        Args:
            x: Rows less their mean, (n, *event).
        """
        square = torch.zeros(tuple(x.shape[1:]), dtype=torch.float64)
        for block in x.split(4096):
            square += self.forward(block).double().square().sum(0).cpu()
        return self.average(square / len(x))

    def average(self, values: Tensor) -> Tensor:
        """The mean over each band of numbers in modes, (*event): (bands,), float64; 0 of none."""
        event = values.shape
        total = torch.zeros(self.bands, dtype=torch.float64)
        total.index_add_(0, self.band(event).expand(event).flatten(), values.flatten())
        return total / self.counts(event).clamp_min(1)


@lru_cache(maxsize=64)
def _index(modes: Transform, event: tuple[int, ...], device: torch.device) -> Tensor:
    return modes.band(event).to(device)


@dataclass(frozen=True)
class Sites(Transform):
    """The sites themselves, all of one band: the modes of independent noise."""

    @property
    def bands(self) -> int:
        """One."""
        return 1

    def band(self, event: Sequence[int]) -> Tensor:
        return torch.zeros(tuple(event), dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def inverse(self, z: Tensor) -> Tensor:
        return z

    def diagonal(self, weights: Tensor) -> Tensor:
        return weights


doors.guard(__name__)
