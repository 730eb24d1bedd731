r"""Stationary isotropic kernels: covariance as a function of distance.

A kernel is k(r), r in grid spacings, and its spectral density over D axes,

    S(ω) = ∫ k(|x|) e^{-i ω·x} dx,      k(0) = (2π)^{-D} ∫ S(|ω|) dω,

ω in radians per grid spacing. S ≥ 0 (Bochner) is what makes a kernel a covariance.

| kernel | k(r) / σ² | S(ω) ∝ |
|---|---|---|
| `Exponential` | e^{-r/ℓ} | (1 + ℓ²ω²)^{-(D+1)/2} |
| `Matern` | 2^{1-ν}/Γ(ν) z^ν K_ν(z), z = √(2ν) r/ℓ | (2ν + ℓ²ω²)^{-(ν+D/2)} |
| `SquaredExponential` | e^{-r²/2ℓ²} | e^{-ℓ²ω²/2} |
| `PowerLaw` | none | ω^{-α} |

ν counts mean-square derivatives: the exponential is Matérn with ν = 1/2, the squared
exponential its limit ν → ∞. Source: Rasmussen and Williams, Gaussian Processes for
Machine Learning (2006), section 4.2.1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks

LARGEST_SMOOTHNESS = 30.0  # beyond it, K_ν overflows; the squared exponential is near


@dataclass(frozen=True)
class Kernel(ABC):
    """A stationary isotropic covariance function.

    Attributes:
        variance: σ² = k(0), positive.
    """

    variance: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{field.name} of a kernel must be a number, not {value!r}")
            if not 0 < value < math.inf:
                raise ValueError(f"{field.name} of a kernel must be positive, not {value}")
            # 4 and 4.0 are the same kernel: one configuration, one cache entry.
            object.__setattr__(self, field.name, float(value))

    @abstractmethod
    def __call__(self, r: Tensor) -> Tensor:
        """k(r) for distances r ≥ 0 in grid spacings, float64, any shape."""

    @abstractmethod
    def spectrum(self, omega: Tensor, dimension: int) -> Tensor:
        """S(ω) over `dimension` axes, for ω ≥ 0 in radians per grid spacing, float64."""

    def scaled(self, factor: float) -> Self:
        """The same covariance where grid spacings are 1/factor of these: k(r/factor).

        Its `length` is multiplied; a kernel of yours with other lengths states its own.
        """
        checks.number(factor, "factor", above=0)
        length = getattr(self, "length", None)
        if length is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no length that grows with the grid: define `scaled`, "
                "which gives k(r/factor)"
            )
        return replace(self, **{"length": factor * length})


@dataclass(frozen=True)
class Exponential(Kernel):
    """σ² e^{-r/ℓ}: continuous, nowhere differentiable fields.

    Attributes:
        variance: σ².
        length: ℓ in grid spacings.
    """

    length: float = 1.0

    def __call__(self, r: Tensor) -> Tensor:
        return self.variance * (-r / self.length).exp()

    def spectrum(self, omega: Tensor, dimension: int) -> Tensor:
        return matern_spectrum(omega, dimension, self.variance, self.length, 0.5)


@dataclass(frozen=True)
class Matern(Kernel):
    """Matérn: fields with `smoothness` mean-square derivatives.

    Attributes:
        variance: σ².
        length: ℓ in grid spacings.
        smoothness: ν, in (0, 30].
    """

    length: float = 1.0
    smoothness: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoothness > LARGEST_SMOOTHNESS:
            raise ValueError(
                f"smoothness of Matern must be at most {LARGEST_SMOOTHNESS:g}, not "
                f"{self.smoothness:g}: use SquaredExponential"
            )

    def __call__(self, r: Tensor) -> Tensor:
        nu = self.smoothness
        z = math.sqrt(2 * nu) / self.length * r
        if nu == 0.5:
            return self.variance * (-z).exp()
        if nu == 1.5:
            return self.variance * (1 + z) * (-z).exp()
        if nu == 2.5:
            return self.variance * (1 + z + z * z / 3) * (-z).exp()
        from scipy.special import kv

        positive = z.clamp_min(torch.finfo(torch.float64).tiny)
        bessel = torch.from_numpy(kv(nu, positive.double().cpu().numpy())).to(r.device)
        correlation = 2 ** (1 - nu) / math.gamma(nu) * positive**nu * bessel
        return self.variance * torch.where(z > 0, correlation, 1.0)

    def spectrum(self, omega: Tensor, dimension: int) -> Tensor:
        return matern_spectrum(omega, dimension, self.variance, self.length, self.smoothness)


@dataclass(frozen=True)
class SquaredExponential(Kernel):
    """σ² e^{-r²/2ℓ²}: infinitely smooth, and hence nearly singular on any grid finer than ℓ.

    Attributes:
        variance: σ².
        length: ℓ in grid spacings.
    """

    length: float = 1.0

    def __call__(self, r: Tensor) -> Tensor:
        return self.variance * (-0.5 * (r / self.length) ** 2).exp()

    def spectrum(self, omega: Tensor, dimension: int) -> Tensor:
        volume = (math.sqrt(2 * math.pi) * self.length) ** dimension
        return self.variance * volume * (-0.5 * (self.length * omega) ** 2).exp()


@dataclass(frozen=True)
class PowerLaw(Kernel):
    """S(ω) ∝ ω^{-α}, without a length of its own: α near 2 for natural images.

    (Field, J. Opt. Soc. Am. A 4:2379, 1987.) The variance of such a field depends on the
    largest and smallest wave that fit, so that it exists on a `Torus` only, which
    normalises it to `variance`. The mean of the field, the wave of ω = 0, is given the
    power of the longest wave.

    Attributes:
        variance: σ² on the torus.
        exponent: α.
    """

    exponent: float = 2.0

    def scaled(self, factor: float) -> PowerLaw:
        """The same: it has no length."""
        checks.number(factor, "factor", above=0)
        return self

    def __call__(self, r: Tensor) -> Tensor:
        raise NotImplementedError(
            "PowerLaw has no covariance as a function of distance, because its variance depends "
            "on the size of the grid: use it with Torus, or take Matern"
        )

    def spectrum(self, omega: Tensor, dimension: int) -> Tensor:
        positive = omega > 0
        if not bool(positive.any()):
            return torch.full_like(omega, self.variance)
        longest = omega[positive].min()
        return self.variance * (torch.where(positive, omega, longest) / longest) ** -self.exponent


def matern_spectrum(
    omega: Tensor, dimension: int, variance: float, length: float, smoothness: float
) -> Tensor:
    """The spectral density of the Matérn kernel over `dimension` axes."""
    half, nu = dimension / 2, smoothness
    inverse_square = 2 * nu / length**2
    log_scale = (
        math.log(variance)
        + dimension * math.log(2)
        + half * math.log(math.pi)
        + math.lgamma(nu + half)
        - math.lgamma(nu)
        + nu * math.log(inverse_square)
    )
    return (log_scale - (nu + half) * (inverse_square + omega * omega).log()).exp()


doors.guard(__name__, inside=("matern_spectrum",))
