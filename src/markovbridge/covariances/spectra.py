r"""Waves on a grid: periodograms, and spectra that a kernel implies.

With X_j = Σ_s x_s e^{-i ω_j·s}, ω_j = 2π j/n per axis, over a grid of d sites, the
periodogram is I_j = |X_j|²/d. Three spectra of a kernel belong to it:

- `torus_spectrum`: the spectral density S at ω_j, scaled to the kernel's variance. It
  is the spectrum of a periodic, band-limited field, non-negative by construction.
- `circulant_eigenvalues`: the transform of k at distances on the torus, the
  eigenvalues of a circulant matrix. They may be negative: k is a covariance on the
  plane, not on the torus.
- `expected_periodogram`: E[I_j] of a field with covariance k on the grid, not
  periodic: the transform of k(u) Π_a (1 - |u_a|/n_a) over all lags u. It is S smoothed
  by Fejér's kernel with all its aliases, hence positive (Sykulski et al., Biometrika
  106:251, 2019, the "debiased Whittle likelihood"); as a circulant matrix it is the
  one nearest to the grid's covariance (T. Chan, SIAM J. Sci. Stat. Comput. 9:766, 1988).

All are float64 on the CPU; shapes are the spatial sizes, all frequencies, in the
order of the fast Fourier transform.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.kernels import Kernel


def euclidean(axes: Sequence[Tensor]) -> Tensor:
    """The norms of the grid points whose coordinates are `axes`."""
    squares = torch.zeros((), dtype=torch.float64)
    for position, axis in enumerate(axes):
        shape = [-1 if a == position else 1 for a in range(len(axes))]
        squares = squares + axis.double().square().reshape(shape)
    return squares.sqrt()


def wavenumbers(sizes: Sequence[int]) -> Tensor:
    """|ω_j| in radians per grid spacing."""
    return euclidean([2 * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) for n in sizes])


def kernel_at(kernel: Kernel, lags: Sequence[Tensor]) -> Tensor:
    """The kernel at the norms of integer lags, computed once per combination of |lags|."""
    table = kernel(euclidean([torch.arange(int(axis.abs().max()) + 1) for axis in lags]))
    for position, axis in enumerate(lags):
        table = table.index_select(position, axis.abs())
    return table


@lru_cache(maxsize=16)
def torus_spectrum(kernel: Kernel, sizes: tuple[int, ...]) -> Tensor:
    """S(ω_j) scaled so that its mean, the variance per site, is the kernel's."""
    density = kernel.spectrum(wavenumbers(sizes), len(sizes))
    return density * (kernel.variance / density.mean())


@lru_cache(maxsize=4)
def circulant_eigenvalues(kernel: Kernel, sizes: tuple[int, ...]) -> Tensor:
    """The eigenvalues of the circulant matrix of k at distances on a torus of `sizes`."""
    lags = [torch.minimum(torch.arange(m), m - torch.arange(m)) for m in sizes]
    # A copy: the real part alone would keep the imaginary one in memory.
    return torch.fft.fftn(kernel_at(kernel, lags)).real.clone()


@lru_cache(maxsize=16)
def expected_periodogram(kernel: Kernel, sizes: tuple[int, ...]) -> Tensor:
    """E[I_j] of a field with covariance k on a grid of `sizes`."""
    # Lags 0 .. n-1, then -n .. -1; those that differ by n are one wave.
    lags = [torch.cat([torch.arange(n), torch.arange(-n, 0)]) for n in sizes]
    weighted = kernel_at(kernel, lags)
    for position, (axis, n) in enumerate(zip(lags, sizes, strict=True)):
        shape = [-1 if a == position else 1 for a in range(len(sizes))]
        weighted = weighted * (1 - axis.abs().double() / n).reshape(shape)
    folded = weighted.reshape([part for n in sizes for part in (2, n)])
    return torch.fft.fftn(folded.sum(tuple(range(0, 2 * len(sizes), 2)))).real.clone()


def periodogram(x: Tensor, dimension: int) -> Tensor:
    """The periodogram over the last `dimension` axes of x, averaged over all axes before them.

    Transforms are in the dtype of x, float32 or float64; sums are float64.
    """
    axes = tuple(range(-dimension, 0))
    sizes = x.shape[-dimension:]
    total = torch.zeros(sizes, dtype=torch.float64)
    # A block at a time: 60,000 images in complex128 would take gigabytes.
    for block in x.reshape(-1, *sizes).split(4096):
        waves = torch.fft.fftn(block, dim=axes)
        total += torch.view_as_real(waves).square().double().sum((0, -1)).cpu()
    return total / x.numel()


doors.guard(__name__, inside=("euclidean", "kernel_at"))
