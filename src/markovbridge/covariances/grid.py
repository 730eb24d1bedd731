r"""Stationary covariance on a grid, exactly, by circulant embedding.

On a grid of n sites per axis (not periodic) a kernel's covariance is the corner block
of a circulant matrix on a torus of m ≥ 2(n - 1) sites, where the distance between any
two sites of the grid is the same. The circulant's eigenvalues λ come from one
transform. Then

    Γ x         = [F* diag(λ) F (x padded by zeros)] on the grid,
    a draw      = [Re F (√(λ/m^D) (z₁ + i z₂))] on the grid,   and Im a second one,

both exact, both O(d log d): provided no λ is negative. If one is, the torus is doubled,
which helps as the kernel has decayed further by then; if the limit is reached, the
covariance is refused with the numbers. (Dietrich and Newsam, SIAM J. Sci. Comput.
18:1088, 1997; Wood and Chan, J. Comput. Graph. Stat. 3:409, 1994.)

There is no fast square root and no determinant: the factor that draws samples maps
m^D numbers to n^D, and the block of a root is not the root of the block. `solve` is
by conjugate gradients, preconditioned with the circulant nearest to Γ, in float64 to a
stated residual.
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
    Covariance,
    check_dimension,
    check_event,
    check_field,
    check_refined,
    unavailable,
)
from markovbridge.covariances.kernels import Kernel
from markovbridge.covariances.spectra import circulant_eigenvalues, expected_periodogram


@dataclass(frozen=True)
class Embedding:
    """A torus that holds a grid.

    Attributes:
        sizes: Sites of the torus per axis.
        smallest: Smallest eigenvalue there, non-negative up to rounding.
        tried: All tori tried, in order, with their smallest eigenvalues.
    """

    sizes: tuple[int, ...]
    smallest: float
    tried: tuple[tuple[tuple[int, ...], float], ...]


@dataclass(frozen=True)
class Grid(Covariance):
    """A kernel on the last `dimension` axes, not periodic.

    Attributes:
        kernel: The kernel; its lengths are in grid spacings.
        dimension: How many trailing axes of the event are space.
        doublings: How often the torus, about 2 n sites per axis, may be doubled.
        tolerance: `solve` stops at |Γ y - x| ≤ tolerance · |x|, for each field.
        iterations: `solve` gives up, with an error, after so many steps.
    """

    kernel: Kernel
    dimension: int = 2
    doublings: int = 2
    tolerance: float = 1e-9
    iterations: int = 1000

    def __post_init__(self) -> None:
        check_dimension(self.dimension)
        if not isinstance(self.kernel, Kernel):
            raise TypeError(f"Grid needs a kernel such as Matern(), not {self.kernel!r}")
        if self.doublings < 0:
            raise ValueError(f"doublings must be at least 0, not {self.doublings}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be in (0, 1), not {self.tolerance}")

    def refined(self, factor: int, dimension: int) -> Grid:
        """The kernel on the finer grid: every `factor`-th site of a draw has the law of before."""
        check_refined(factor, dimension, self.dimension)
        return replace(self, kernel=self.kernel.scaled(factor))

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"matvec", "sample", "solve", "variance"})

    def embedding(self, event: Sequence[int]) -> Embedding:
        """The torus that events of shape `event` are embedded in.

        Raises:
            ValueError: If every torus up to the limit has a negative eigenvalue, with all of
                them in the message.
        """
        return embed(self.kernel, check_event(event, self.dimension)[1], self.doublings)

    def __matmul__(self, x: Tensor) -> Tensor:
        sizes = check_field(x, self.dimension)
        torus = embed(self.kernel, sizes, self.doublings).sizes
        spectrum = embedded_spectrum(self.kernel, torus, 1.0, x.dtype, x.device)
        half = spectrum[..., : torus[-1] // 2 + 1]
        return crop(filtered(x, half, torus), sizes)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        sizes = check_field(like, self.dimension)
        torus = embed(self.kernel, sizes, self.doublings).sizes
        roots = embedded_spectrum(self.kernel, torus, 0.5, like.dtype, like.device)
        fields = like.numel() // math.prod(sizes)
        # torch's complex normals have variance 1/2 in each part.
        noise = torch.randn(
            ((fields + 1) // 2, *torus),
            dtype=torch.complex64 if like.dtype == torch.float32 else torch.complex128,
            device=like.device,
            generator=generator,
        )
        noise *= roots * math.sqrt(2 / math.prod(torus))
        waves = crop(torch.fft.fftn(noise, dim=tuple(range(-self.dimension, 0))), sizes)
        return torch.cat([waves.real, waves.imag])[:fields].reshape(like.shape)

    def solve(self, x: Tensor) -> Tensor:
        """Γ⁻¹ x by preconditioned conjugate gradients, in float64.

        Raises:
            ArithmeticError: If the residual does not reach `tolerance`, with what it reached.
            ValueError: If x is not finite.
        """
        sizes = check_field(x, self.dimension)
        if not bool(x.isfinite().all()):
            raise ValueError("what Grid is to solve for must be finite: it holds NaN or infinity")
        target = x.double().reshape(-1, *sizes)
        nearest = expected_periodogram(self.kernel, sizes)
        inverse = (1 / nearest[..., : sizes[-1] // 2 + 1]).to(x.device)
        norm = target.flatten(1).norm(dim=1)
        solution, residual = torch.zeros_like(target), target
        direction = preconditioned = filtered(residual, inverse, sizes)
        energy = inner(residual, preconditioned)
        for _ in range(self.iterations):
            image = self @ direction
            step = ratio(energy, inner(direction, image))
            solution = solution + step * direction
            residual = residual - step * image
            if bool((residual.flatten(1).norm(dim=1) <= 0.5 * self.tolerance * norm).all()):
                break
            preconditioned = filtered(residual, inverse, sizes)
            previous, energy = energy, inner(residual, preconditioned)
            direction = preconditioned + ratio(energy, previous) * direction
        # The recursion drifts from the true residual by rounding: judge by the latter.
        error = (target - self @ solution).flatten(1).norm(dim=1)
        if not bool((error <= self.tolerance * norm).all()):
            reached = float(torch.where(norm > 0, error / norm, 0.0).max())
            raise ArithmeticError(
                f"conjugate gradients reached a relative residual of {reached:.2g}, not "
                f"{self.tolerance:g}, for {self.kernel} on {sizes}: raise `tolerance` or "
                "`iterations`, or take a rougher kernel or a shorter length"
            )
        return solution.to(x.dtype).reshape(x.shape)

    def variance(self, event: Sequence[int]) -> Tensor:
        check_event(event, self.dimension)
        return torch.full(tuple(event), self.kernel.variance, dtype=torch.float64)

    def sqrt(self, x: Tensor) -> Tensor:
        raise unavailable(self, "sqrt", "draw with `sample`, or take Torus or GMRF")

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        raise unavailable(self, "inverse_sqrt", "use `solve`, or take Torus or GMRF")

    def logdet(self, event: Sequence[int]) -> float:
        raise unavailable(self, "logdet", "take Torus, GMRF, or Dense for small events")


@lru_cache(maxsize=64)
def embed(kernel: Kernel, sizes: tuple[int, ...], doublings: int) -> Embedding:
    """The first torus without a negative eigenvalue."""
    torus = tuple(fast_size(max(1, 2 * (n - 1))) for n in sizes)
    tried = []
    for _ in range(doublings + 1):
        spectrum = circulant_eigenvalues(kernel, torus)
        smallest, largest = float(spectrum.min()), float(spectrum.max())
        tried.append((torus, smallest))
        # The transform's rounding: smooth kernels have eigenvalues that are zero to float64.
        rounding = torch.finfo(torch.float64).eps * math.log2(spectrum.numel() + 1) * largest
        if smallest >= -rounding:
            return Embedding(torus, smallest, tuple(tried))
        torus = tuple(2 * m if m > 1 else 1 for m in torus)
    numbers = ", ".join(f"{'x'.join(map(str, m))}: {value:.5g}" for m, value in tried)
    raise ValueError(
        f"{kernel} on a grid of {'x'.join(map(str, sizes))} has no circulant embedding within "
        f"{doublings} doublings; the smallest eigenvalues are {numbers}. Shorten the length, "
        "raise `doublings`, or take Torus or GMRF"
    )


def fast_size(least: int) -> int:
    """The smallest even number (or 1) from `least` on without prime factors above 5."""
    size = least
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and (size % 2 == 0 or size == 1):
            return size
        size += 1


@lru_cache(maxsize=8)
def embedded_spectrum(
    kernel: Kernel, torus: tuple[int, ...], power: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """λ^power on an accepted torus; what `embed` took for rounding counts as zero."""
    return (circulant_eigenvalues(kernel, torus).clamp_min(0) ** power).to(device, dtype)


def filtered(x: Tensor, half: Tensor, torus: tuple[int, ...]) -> Tensor:
    """x, padded to the torus, filtered by the half spectrum."""
    axes = tuple(range(-len(torus), 0))
    return torch.fft.irfftn(torch.fft.rfftn(x, s=torus, dim=axes) * half, s=torus, dim=axes)


def crop(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The corner of the given sizes."""
    return x[(..., *(slice(n) for n in sizes))]


def inner(x: Tensor, y: Tensor) -> Tensor:
    """Inner products per field, broadcastable to x."""
    product = (x * y).flatten(1).sum(1)
    return product.reshape(-1, *[1] * (x.ndim - 1))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their ratio, 0 where the denominator vanished: that field is solved."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)


doors.guard(
    __name__,
    own=("kernel",),
    inside=("crop", "embed", "embedded_spectrum", "fast_size", "filtered", "inner", "ratio"),
)
