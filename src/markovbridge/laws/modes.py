"""Gaussians whose modes are independent, each with a variance of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Transform
from markovbridge.laws.base import Law
from markovbridge.laws.numbers import by_row


@dataclass(frozen=True, eq=False)
class ModalGaussian(Law):
    """N(U^T centre, U^T diag(deviation²) U): independent normal modes.

    It is held in modes, so that a draw takes one transform.

    Attributes:
        centre: Means of the modes, (batch, *event).
        deviation: Their standard deviations, which broadcast to the same.
        modes: U.
    """

    centre: Tensor
    deviation: Tensor
    modes: Transform

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        like = self.centre
        z = torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
        return self.modes.inverse(like + self.deviation * z)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of the whole event x: (batch,), nats.

        Raises:
            ValueError: If a mode is certain, as all are at the ends of bridges.
        """
        if not bool((self.deviation > 0).all()):
            raise ValueError(
                "a Gaussian without spread has no density: ask for it at a time at which the "
                "state is not certain"
            )
        z = (self.modes.forward(x) - self.centre) / self.deviation
        deviation = self.deviation.expand_as(z)
        constant = 0.5 * z[0].numel() * math.log(2 * math.pi)
        return -0.5 * by_row(z**2).sum(1) - by_row(deviation.log()).sum(1) - constant

    @cached_property
    def mean(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.modes.inverse(self.centre)

    @property
    def variance(self) -> Tensor:
        return self.modes.diagonal((self.deviation**2).expand_as(self.centre))

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, ModalGaussian) or other.modes is not self.modes:
            return super().between(other, strength)
        centre = strength * self.centre + (1 - strength) * other.centre
        return ModalGaussian(centre, self.deviation, self.modes)

    def relative_entropy(self, other: Law) -> Tensor:
        """KL(this ‖ other) for Gaussians of the same modes."""
        if not isinstance(other, ModalGaussian) or other.modes is not self.modes:
            return super().relative_entropy(other)
        first, second = (law.deviation.double().expand_as(law.centre) for law in (self, other))
        ratio = first / second
        excess = (ratio - 1) * (ratio + 1)
        apart = (self.centre.double() - other.centre.double()) / second
        return 0.5 * by_row(apart**2 + excess - excess.log1p()).sum(1)


doors.guard(__name__)
