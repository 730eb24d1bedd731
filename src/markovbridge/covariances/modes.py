r"""Modes: cosines, waves, wavelets, eigenvectors.

| modes | rows of U | diagonalise |
|---|---|---|
| `Cosine` | cosines, reflecting edges (DCT-II) | `GMRF`, and nearly images |
| `Fourier` | cos + sin of waves on the torus (Hartley) | `Torus` |
| `Haar` | Haar's wavelets, axis by axis | |
| `Eigenvectors` | any orthonormal vectors | the `Dense` matrix whose they are |
| `Grouped` | those of another | as that |

Waves fall into bands by their length, whatever the size of the grid; `Eigenvectors` are a band
each, and `Grouped` says it mode by mode.

The Hartley transform is the real part of Fourier's less the imaginary one: it is its own inverse,
and an operator that weighs the waves ω and -ω alike is the same in both (R. N. Bracewell, The
Hartley transform, Oxford 1986). The cosine transform goes by the fast Fourier transform on long
axes (J. Makhoul, IEEE Trans. ASSP 28:27, 1980) and by its matrix on short ones.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import check_dimension, check_event, check_field, check_real
from markovbridge.covariances.spectra import euclidean
from markovbridge.covariances.transforms import Transform
from markovbridge.doors import checks

SHORT = 256  # sites along an axis up to which its matrix takes no longer than a fast transform
OCTAVES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)  # waves a site


@dataclass(frozen=True)
class _Waves(Transform):
    """What modes share that are waves on the last `dimension` axes."""

    dimension: int = 2
    edges: tuple[float, ...] = OCTAVES

    def __post_init__(self) -> None:
        check_dimension(self.dimension)
        edges = tuple(float(edge) for edge in self.edges)
        rising = all(a < b for a, b in itertools.pairwise((0.0, *edges)))
        if not (rising and all(map(math.isfinite, edges))):
            raise ValueError(
                f"edges of bands must rise from above 0, in waves a site, not {self.edges}"
            )
        object.__setattr__(self, "edges", edges)

    @property
    def bands(self) -> int:
        """One more than there are edges."""
        return len(self.edges) + 1

    def band(self, event: Sequence[int]) -> Tensor:
        edges = torch.tensor(self.edges, dtype=torch.float64)
        return torch.bucketize(self.frequency(event), edges, right=True)

    def frequency(self, event: Sequence[int]) -> Tensor:
        sizes = check_event(event, self.dimension)[1]
        return euclidean([self._along(n) for n in sizes])

    @abstractmethod
    def _along(self, n: int) -> Tensor:
        """Waves a site along an axis of n sites."""


@dataclass(frozen=True)
class _Matrices(_Waves):
    """What modes share that are products of those of each axis."""

    def forward(self, x: Tensor) -> Tensor:
        check_field(x, self.dimension)
        for axis in range(-self.dimension, 0):
            x = self._axis(x, axis)
        return x

    def inverse(self, z: Tensor) -> Tensor:
        check_field(z, self.dimension)
        for axis in range(-self.dimension, 0):
            z = self._back(z, axis)
        return z

    def diagonal(self, weights: Tensor) -> Tensor:
        check_field(weights, self.dimension)
        for axis in range(-self.dimension, 0):
            square = self._matrix(weights.shape[axis], weights.dtype, weights.device) ** 2
            weights = (weights.movedim(axis, -1) @ square).movedim(-1, axis)
        return weights

    def _axis(self, x: Tensor, axis: int) -> Tensor:
        matrix = self._matrix(x.shape[axis], x.dtype, x.device)
        return x @ matrix.mT if axis == -1 else (x.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)

    def _back(self, z: Tensor, axis: int) -> Tensor:
        matrix = self._matrix(z.shape[axis], z.dtype, z.device)
        return z @ matrix if axis == -1 else (z.movedim(axis, -1) @ matrix).movedim(-1, axis)

    @abstractmethod
    def _matrix(self, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The transform of an axis of n sites, (mode, site)."""


@dataclass(frozen=True)
class Cosine(_Matrices):
    """The cosine transform of the last `dimension` axes, whose edges reflect.

    Attributes:
        dimension: How many trailing axes of the event are space.
        edges: Where bands end, in waves a site, ascending; by default octaves.
    """

    def _along(self, n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float64) / (2 * n)

    def _matrix(self, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return _cosines(n, dtype, device)

    def _axis(self, x: Tensor, axis: int) -> Tensor:
        n = x.shape[axis]
        if n <= SHORT:
            return super()._axis(x, axis)
        x = x.movedim(axis, -1)
        turned = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
        waves = torch.fft.fft(turned) * _turn(n, x.dtype, x.device).conj()
        return waves.real.movedim(-1, axis)

    def _back(self, z: Tensor, axis: int) -> Tensor:
        n = z.shape[axis]
        if n <= SHORT:
            return super()._back(z, axis)
        z = z.movedim(axis, -1)
        sine = torch.cat([torch.zeros_like(z[..., :1]), z[..., 1:].flip(-1)], -1)
        scale = _turn(n, z.dtype, z.device)
        waves = torch.complex(z, -sine) * scale / scale.abs() ** 2
        # The first wave has a scale of its own, and no partner.
        turned = torch.fft.ifft(waves).real
        x = torch.empty_like(turned)
        half = (n + 1) // 2
        x[..., ::2], x[..., 1::2] = turned[..., :half], turned[..., half:].flip(-1)
        return x.movedim(-1, axis)


@lru_cache(maxsize=32)
def _cosines(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal cosines on n sites, (wave, site)."""
    site, wave = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)
    basis = (math.pi * (site + 0.5) * wave[:, None] / n).cos() * math.sqrt(2 / n)
    basis[0] = 1 / math.sqrt(n)
    return basis.to(device, dtype)


@lru_cache(maxsize=32)
def _turn(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """e^{iπk/2n} times the scale of wave k."""
    wave = torch.arange(n, dtype=torch.float64)
    scale = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64)
    scale[0] = 1 / math.sqrt(n)
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return torch.polar(scale, math.pi * wave / (2 * n)).to(device, kind)


@dataclass(frozen=True)
class Haar(_Matrices):
    """Haar's wavelets along each of the last `dimension` axes, of 2, 4, 8, ... sites.

    A wavelet over 2^j sites counts as one wave of that length.

    Attributes:
        dimension: How many trailing axes of the event are space.
        edges: Where bands end, in waves a site, ascending; by default octaves.
    """

    def _along(self, n: int) -> Tensor:
        _check_halves(n)
        order = torch.arange(n, dtype=torch.float64)
        return torch.where(order > 0, 2 ** order.clamp_min(1).log2().floor(), 0.0) / n

    def _matrix(self, n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return _wavelets(n, dtype, device)


@lru_cache(maxsize=32)
def _wavelets(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal wavelets on n sites, (wavelet, site), coarse ones first."""
    _check_halves(n)
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < n:
        fine = torch.eye(len(matrix), dtype=torch.float64)
        sums = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
        steps = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
        matrix = torch.cat([torch.kron(matrix, sums), torch.kron(fine, steps)]) / math.sqrt(2)
    return matrix.to(device, dtype)


def _check_halves(n: int) -> None:
    if n & (n - 1):
        raise ValueError(f"Haar's wavelets need axes of 1, 2, 4, 8, ... sites, not {n}")


@dataclass(frozen=True)
class Fourier(_Waves):
    """The waves of a torus, as cos + sin, on the last `dimension` axes (Hartley's transform).

    Attributes:
        dimension: How many trailing axes of the event are space.
        edges: Where bands end, in waves a site, ascending; by default octaves.
    """

    def _along(self, n: int) -> Tensor:
        return torch.fft.fftfreq(n, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        check_field(x, self.dimension)
        waves = torch.fft.fftn(x, dim=self._axes, norm="ortho")
        return waves.real - waves.imag

    def inverse(self, z: Tensor) -> Tensor:
        return self.forward(z)

    def diagonal(self, weights: Tensor) -> Tensor:
        # (cos θ + sin θ)² = 1 + sin 2θ, and the sines of ω and -ω cancel where weights are alike.
        sizes = check_field(weights, self.dimension)
        waves = torch.fft.fftn(weights, dim=self._axes)
        mean, sines = waves.real, waves.imag
        for axis, n in zip(self._axes, sizes, strict=True):
            mean = mean.narrow(axis, 0, 1)
            twice = 2 * torch.arange(n, device=weights.device) % n
            sines = sines.index_select(axis, twice)
        return (mean - sines) / math.prod(sizes)

    def block(self, weights: Tensor, sites: Tensor) -> Tensor:
        # As in `diagonal`: cosines of the difference of two sites, sines of their sum.
        sizes = check_field(weights.unsqueeze(0), self.dimension)
        waves = torch.fft.fftn(weights, dim=self._axes) / math.prod(sizes)
        split = weights.ndim - self.dimension
        place = torch.unravel_index(sites, weights.shape)
        copy, inside = [p.unsqueeze(1) for p in place[:split]], place[split:]
        apart, sums = (
            tuple((p.unsqueeze(1) + sign * p) % n for p, n in zip(inside, sizes, strict=True))
            for sign in (-1, 1)
        )
        found = waves.real[(*copy, *apart)] - waves.imag[(*copy, *sums)]
        for axis in copy:
            found = torch.where(axis == axis.mT, found, 0.0)
        return found

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.dimension, 0))


@dataclass(frozen=True, eq=False)
class Eigenvectors(Transform):
    """Orthonormal vectors over as many trailing axes as make up their length, a band each.

    Attributes:
        vectors: (d, d), a vector in each row, such as the eigenvectors of the covariance of the
            data (`Eigenvectors.of`); a tensor or nested lists.
    """

    vectors: Tensor | Sequence[Sequence[float]]
    _kept: dict[tuple[torch.dtype, torch.device], Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = checks.numbers(self.vectors, "vectors")
        square = vectors.ndim == 2 and vectors.shape[0] == vectors.shape[1] and vectors.numel()
        if not square:
            raise ValueError(
                f"Eigenvectors needs a square matrix, not shape {tuple(vectors.shape)}"
            )
        off = float((vectors @ vectors.mT - torch.eye(len(vectors)).double()).abs().max())
        if not off <= 1e-5:
            raise ValueError(
                f"rows of vectors must be orthonormal, but products of them are off by {off:.3g}: "
                "take Eigenvectors.of(covariance matrix)"
            )
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "_kept", {})

    @classmethod
    def of(cls, matrix: Tensor) -> Eigenvectors:
        """Those of a symmetric matrix (d, d), such as a covariance, the largest value first."""
        matrix = checks.numbers(matrix, "matrix")
        return cls(torch.linalg.eigh((matrix + matrix.mT) / 2)[1].mT.flip(0).contiguous())

    @property
    def bands(self) -> int:
        """As many as there are vectors."""
        return len(self.vectors)

    def band(self, event: Sequence[int]) -> Tensor:
        return torch.arange(self.bands).reshape(self._sizes(event))

    def _sizes(self, event: Sequence[int]) -> tuple[int, ...]:
        """The trailing axes of an event that the vectors go over."""
        for split in range(len(event), -1, -1):
            if math.prod(event[split:]) == self.bands:
                return tuple(event[split:])
        raise ValueError(
            f"vectors of {self.bands} numbers fit no trailing axes of events of shape "
            f"{tuple(event)}"
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._apply(x, self._matrix(x).mT)

    def inverse(self, z: Tensor) -> Tensor:
        return self._apply(z, self._matrix(z))

    def diagonal(self, weights: Tensor) -> Tensor:
        return self._apply(weights, self._matrix(weights) ** 2)

    def _apply(self, x: Tensor, matrix: Tensor) -> Tensor:
        self._sizes(x.shape[1:])
        return (x.reshape(-1, self.bands) @ matrix).reshape(x.shape)

    def _matrix(self, x: Tensor) -> Tensor:
        check_real(x)
        key = (x.dtype, x.device)
        if key not in self._kept:
            assert isinstance(self.vectors, Tensor)
            self._kept[key] = self.vectors.to(x.device, x.dtype)
        return self._kept[key]


@dataclass(frozen=True, eq=False)
class Grouped(Transform):
    """Modes in bands of one's own.

    Attributes:
        basis: The transform.
        index: Which band each mode is in, whole numbers from 0 on in the shape of the trailing
            axes that the transform goes over; a tensor or nested lists.
    """

    basis: Transform
    index: Tensor | Sequence[float] | Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        index = checks.numbers(self.index, "index")
        whole = index.numel() and bool((index == index.round()).all()) and float(index.min()) >= 0
        if not whole:
            raise ValueError("index must hold the number of a band for each mode: 0, 1, 2, ...")
        object.__setattr__(self, "index", index.long())

    @property
    def _bands(self) -> Tensor:
        assert isinstance(self.index, Tensor)
        return self.index

    @property
    def bands(self) -> int:
        """One more than the last that is named."""
        return int(self._bands.max()) + 1

    def band(self, event: Sequence[int]) -> Tensor:
        shape = self.basis.band(event).shape
        if shape != self._bands.shape:
            raise ValueError(
                f"index has shape {tuple(self._bands.shape)}, but modes of events "
                f"{tuple(event)} have {tuple(shape)}"
            )
        return self._bands

    def frequency(self, event: Sequence[int]) -> Tensor:
        return self.basis.frequency(event)

    def forward(self, x: Tensor) -> Tensor:
        return self.basis.forward(x)

    def inverse(self, z: Tensor) -> Tensor:
        return self.basis.inverse(z)

    def diagonal(self, weights: Tensor) -> Tensor:
        return self.basis.diagonal(weights)

    def block(self, weights: Tensor, sites: Tensor) -> Tensor:
        return self.basis.block(weights, sites)


doors.guard(__name__, own=("vectors", "index"))
