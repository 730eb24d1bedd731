"""Laws of reals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance
from markovbridge.doors import checks
from markovbridge.laws.base import Law, SiteLaw
from markovbridge.laws.numbers import by_row


@dataclass(frozen=True, eq=False)
class Normal(SiteLaw):
    """Normal with mean `mean` and standard deviation `std`, both (batch, *event)."""

    loc: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        checks.parameter(self.std, "std", least=0)
        over = self.std.ndim <= self.loc.ndim and all(
            n in (1, m) for n, m in zip(self.std.shape[::-1], self.loc.shape[::-1], strict=False)
        )
        if not over:
            raise ValueError(
                f"std of shape {tuple(self.std.shape)} does not broadcast to loc of shape "
                f"{tuple(self.loc.shape)}: give one deviation for each number of loc"
            )

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(
            self.loc.shape, dtype=self.loc.dtype, device=self.loc.device, generator=generator
        )
        return self.loc + self.std * noise

    def site_log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.std
        return -0.5 * z**2 - self.std.log() - 0.5 * math.log(2 * math.pi)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Normal):
            return super().between(other, strength)
        return Normal(strength * self.loc + (1 - strength) * other.loc, self.std)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (self.std**2).expand_as(self.loc)


@dataclass(frozen=True, eq=False)
class Gaussian(Law):
    """Gaussian over the whole event: N(loc, scale² Γ).

    Attributes:
        loc: Mean, (batch, *event).
        scale: Standard deviation in units of Γ^{1/2}, () or (batch, 1, ..., 1).
        covariance: Γ.
    """

    loc: Tensor
    scale: Tensor
    covariance: Covariance

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self.loc + self.scale * self.covariance.sample(self.loc, generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of the whole event x: (batch,), nats.

        Raises:
            ValueError: If the law is a point, as bridges are at their ends.
        """
        if not bool((self.scale > 0).all()):
            raise ValueError(
                "a Gaussian without spread has no density: ask for it at a time at which the "
                "state is not certain"
            )
        z = (x - self.loc) / self.scale
        distance = by_row(z * self.covariance.solve(z)).sum(1)
        size = z[0].numel()
        logdet = self.covariance.logdet(z.shape[1:]) + size * math.log(2 * math.pi)
        return -0.5 * (distance + logdet) - size * self.scale.log().flatten()

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        site = self.covariance.variance(self.loc.shape[1:]).to(self.loc)
        return (self.scale**2 * site).expand_as(self.loc)

    def between(self, other: Law, strength: float) -> Law:
        if not isinstance(other, Gaussian):
            return super().between(other, strength)
        loc = strength * self.loc + (1 - strength) * other.loc
        return Gaussian(loc, self.scale, self.covariance)

    def relative_entropy(self, other: Law) -> Tensor:
        """KL(this ‖ other) for Gaussians of one Γ."""
        if not isinstance(other, Gaussian) or other.covariance != self.covariance:
            return super().relative_entropy(other)
        sites = self.loc[0].numel()
        first, second = self.scale.double().flatten(), other.scale.double().flatten()
        apart = self.loc - other.loc
        distance = by_row(apart * self.covariance.solve(apart)).double().sum(1)
        ratio = first / second
        # r² - 1 - log r², with x - log(1 + x) of its excess over 1.
        excess = (ratio - 1) * (ratio + 1)
        return 0.5 * (distance / second**2 + sites * (excess - excess.log1p()))


doors.guard(__name__)
