r"""Stationary covariance on the torus, by the fast Fourier transform.

A stationary covariance on a periodic grid is block circulant: waves diagonalise it,
Γ = F* diag(λ) F, and every power costs two transforms, O(d log d), with no matrix
formed. The eigenvalues are λ_j ∝ S(ω_j), the kernel's spectral density at the waves
that fit on the torus, scaled so that every site has the kernel's variance. They are
non-negative by construction.

Two things differ from the kernel on the plane. Opposite edges are neighbours. And
waves shorter than two sites are left out, which smooths rough kernels at the scale of
one site: with `Exponential(length=8)` on 64 x 64 neighbours correlate by 0.917 instead
of e^{-1/8} = 0.882. Where that matters, take `Grid`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import (
    OPERATIONS,
    Covariance,
    check_condition,
    check_dimension,
    check_event,
    check_field,
    check_refined,
    white_noise,
)
from markovbridge.covariances.kernels import Kernel
from markovbridge.covariances.modes import Fourier
from markovbridge.covariances.spectra import torus_spectrum
from markovbridge.covariances.transforms import Transform


@dataclass(frozen=True)
class Torus(Covariance):
    """A kernel on the last `dimension` axes, taken as periodic; `sqrt` is symmetric.

    Attributes:
        kernel: The kernel; its lengths are in grid spacings.
        dimension: How many trailing axes of the event are space.
    """

    kernel: Kernel
    dimension: int = 2

    def __post_init__(self) -> None:
        check_dimension(self.dimension)
        if not isinstance(self.kernel, Kernel):
            raise TypeError(f"Torus needs a kernel such as Matern(), not {self.kernel!r}")

    @property
    def modes(self) -> Transform:
        return Fourier(self.dimension)

    def refined(self, factor: int, dimension: int) -> Torus:
        """The kernel on the finer torus.

        The variance of a site stays, and the finer grid has shorter waves: the longer ones lose
        the share of the variance that these have.
        """
        check_refined(factor, dimension, self.dimension)
        return replace(self, kernel=self.kernel.scaled(factor))

    @property
    def capabilities(self) -> frozenset[str]:
        return OPERATIONS

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._power(x, 1.0)

    def sqrt(self, x: Tensor) -> Tensor:
        return self._power(x, 0.5)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        return self._power(x, -0.5)

    def solve(self, x: Tensor) -> Tensor:
        return self._power(x, -1.0)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.sqrt(white_noise(like, generator))

    def logdet(self, event: Sequence[int]) -> float:
        copies, sizes = check_event(event, self.dimension)
        spectrum = torus_spectrum(self.kernel, sizes)
        smallest, largest = float(spectrum.min()), float(spectrum.max())
        check_condition(smallest, largest, 0.0, spectrum.dtype, str(self))
        return math.prod(copies) * float(spectrum.log().sum())

    def variance(self, event: Sequence[int]) -> Tensor:
        check_event(event, self.dimension)
        return torch.full(tuple(event), self.kernel.variance, dtype=torch.float64)

    def _power(self, x: Tensor, power: float) -> Tensor:
        """Γ^power x."""
        sizes = check_field(x, self.dimension)
        axes = tuple(range(-self.dimension, 0))
        factors = half_spectrum(self.kernel, sizes, power, x.dtype, x.device)
        return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * factors, s=sizes, dim=axes)


@lru_cache(maxsize=32)
def half_spectrum(
    kernel: Kernel, sizes: tuple[int, ...], power: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """λ^power at the waves that a real transform keeps.

    Raises:
        ValueError: If `power` is negative and Γ^power is singular to `dtype`.
    """
    spectrum = torus_spectrum(kernel, sizes)
    if power < 0:
        smallest, largest = float(spectrum.min()), float(spectrum.max())
        check_condition(smallest, largest, power, dtype, f"the torus covariance of {kernel}")
    kept = spectrum[..., : sizes[-1] // 2 + 1]
    return (kept**power).to(device, dtype)


doors.guard(__name__, own=("kernel",), inside=("half_spectrum",))
