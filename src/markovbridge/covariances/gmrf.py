r"""Gaussian Markov random field: a sparse precision, Matérn in the limit.

A Matérn field on the plane solves the stochastic PDE (κ² - Δ)^{α/2} x = white noise, with
ν = α - D/2 and κ = √(2ν)/ℓ. On a grid, with K = κ² I + L and L the graph Laplacian of
nearest neighbours (reflecting boundaries), the precision

    Q = Γ⁻¹ = K^α / s,     s = σ² / v,     v = (2π)^{-D} ∫ (κ² + Σ_a 4 sin²(θ_a/2))^{-α} dθ,

is sparse for integer α, and v is the variance that K^{-α} has far from the
boundary, so that the interior has variance σ² exactly. Within about ℓ of the boundary it
is larger, nearly twice at an edge and four times in a corner. (Lindgren, Rue and Lindström,
J. R. Stat. Soc. B 73:423, 2011.)

Γ⁻¹ x and its root (even α) are differences of neighbours, O(d), on any device. Γ x and
samples need K⁻¹: one sparse Cholesky factorisation P K Pᵀ = Rᵀ R per grid, by
SuperLU's symmetric mode with minimum-degree ordering, and two triangular solves per
application, in float64 on the CPU. In two dimensions the factor takes O(d^{3/2})
operations and O(d log d) memory, a solve O(d log d).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import (
    OPERATIONS,
    Covariance,
    check_dimension,
    check_event,
    check_field,
    check_refined,
    white_noise,
)
from markovbridge.covariances.kernels import Matern
from markovbridge.covariances.modes import Cosine
from markovbridge.covariances.transforms import Transform

LARGEST_ORDER = 6  # beyond it, K^α is singular to float64 at any length of interest


@dataclass(frozen=True)
class GMRF(Covariance):
    """The lattice Matérn field on the last `dimension` axes; `sqrt` is symmetric for even α.

    Attributes:
        kernel: The Matérn kernel that the interior approaches as the length grows. Its
            smoothness ν makes α = ν + dimension/2 an integer: ν = 1, 2, ... in two
            dimensions, 1/2, 3/2, ... in one and three. Its variance holds far from the boundary.
        dimension: How many trailing axes of the event are space.
    """

    kernel: Matern
    dimension: int = 2

    def __post_init__(self) -> None:
        check_dimension(self.dimension)
        if not isinstance(self.kernel, Matern):
            raise TypeError(f"GMRF needs a Matern kernel, not {self.kernel!r}")
        order = self.kernel.smoothness + self.dimension / 2
        if order != int(order) or order > LARGEST_ORDER:
            allowed = [a - self.dimension / 2 for a in range(1, LARGEST_ORDER + 1)]
            raise ValueError(
                f"smoothness {self.kernel.smoothness:g} has no sparse precision in "
                f"{self.dimension} dimensions: take one of "
                + ", ".join(f"{nu:g}" for nu in allowed if nu > 0)
            )

    @property
    def order(self) -> int:
        """α, the power of K in the precision."""
        return int(self.kernel.smoothness + self.dimension / 2)

    @property
    def modes(self) -> Transform:
        return Cosine(self.dimension)

    def refined(self, factor: int, dimension: int) -> GMRF:
        """The Matérn field on the finer lattice, which is nearer to the kernel."""
        check_refined(factor, dimension, self.dimension)
        return replace(self, kernel=self.kernel.scaled(factor))

    @property
    def capabilities(self) -> frozenset[str]:
        return OPERATIONS

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._scale * self._solves(x, self.order)

    def sqrt(self, x: Tensor) -> Tensor:
        return math.sqrt(self._scale) * self._solves(x, self.order / 2)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        sizes = check_field(x, self.dimension)
        white = self._stencil(x, self.order // 2)
        if self.order % 2:
            # F = K^{-(α-1)/2} Pᵀ R⁻¹
            factor = factorise(self._inverse_square, sizes)
            white = through(white, math.prod(sizes), (factor.forward, factor.forward_transposed))
        return white / math.sqrt(self._scale)

    def solve(self, x: Tensor) -> Tensor:
        return self._stencil(x, self.order) / self._scale

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.sqrt(white_noise(like, generator))

    def logdet(self, event: Sequence[int]) -> float:
        copies, sizes = check_event(event, self.dimension)
        sites = math.prod(sizes)
        logdet = factorise(self._inverse_square, sizes).logdet
        return math.prod(copies) * (sites * math.log(self._scale) - self.order * logdet)

    def variance(self, event: Sequence[int]) -> Tensor:
        # On a full rectangle cosines diagonalise K: K = Φ diag(κ² + μ) Φᵀ, axis by axis.
        _, sizes = check_event(event, self.dimension)
        values = torch.full(sizes, self._inverse_square, dtype=torch.float64)
        for axis, n in enumerate(sizes):
            mu = 4 * (math.pi * torch.arange(n, dtype=torch.float64) / (2 * n)).sin().square()
            values = values + mu.reshape([-1 if a == axis else 1 for a in range(len(sizes))])
        diagonal = values**-self.order
        for n in sizes:
            # Contract the first axis of waves into a last one of sites.
            diagonal = diagonal.movedim(0, -1) @ cosines(n).square().T
        return (self._scale * diagonal).expand(*event).clone()

    @property
    def _inverse_square(self) -> float:
        """κ² = 2ν/ℓ²."""
        return 2 * self.kernel.smoothness / self.kernel.length**2

    @property
    def _scale(self) -> float:
        """s, so that Γ = s K^{-α}."""
        return self.kernel.variance / lattice_variance(
            self._inverse_square, self.order, self.dimension
        )

    def _stencil(self, x: Tensor, times: int) -> Tensor:
        """K^times x, by differences."""
        check_field(x, self.dimension)
        for _ in range(times):
            image = self._inverse_square * x
            for axis in range(x.ndim - self.dimension, x.ndim):
                # The flux between neighbours; none through the boundary.
                flux = x.diff(dim=axis)
                if flux.numel():
                    nothing = torch.zeros_like(x.narrow(axis, 0, 1))
                    image = image - torch.cat([nothing, flux, nothing], axis).diff(dim=axis)
            x = image
        return x

    def _solves(self, x: Tensor, times: float) -> Tensor:
        """K^{-times} x for whole `times`; for a half, the root of K⁻¹ is Pᵀ R⁻¹."""
        sizes = check_field(x, self.dimension)
        factor = factorise(self._inverse_square, sizes)
        root = [(factor.backward, factor.backward_transposed)] if times % 1 else []
        whole = [(factor.solve, factor.solve)] * int(times)
        return through(x, math.prod(sizes), *root, *whole)


class Factor:
    """The sparse Cholesky factor of K on one grid, P K Pᵀ = Rᵀ R, acting on columns (d, n).

    Attributes:
        logdet: log det K.
    """

    def __init__(self, inverse_square: float, sizes: tuple[int, ...]) -> None:
        from scipy.sparse.linalg import splu

        # SuperLU's L D Lᵀ, so that U = D Lᵀ and R = D^{-1/2} U.
        self._lu: Any = splu(
            precision(inverse_square, sizes),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        assert bool((self._lu.perm_r == self._lu.perm_c).all()), "SuperLU pivoted off the diagonal"
        self._upper = self._lu.U.tocsr()
        self._root = np.sqrt(self._upper.diagonal())[:, None]
        self._inverse_order = np.argsort(self._lu.perm_c)
        self.logdet = float(2 * np.log(self._root).sum())

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """K⁻¹ x."""
        return self._lu.solve(np.asfortranarray(columns))

    def backward(self, columns: np.ndarray) -> np.ndarray:
        """Pᵀ R⁻¹ x, which makes white noise of covariance K⁻¹."""
        from scipy.sparse.linalg import spsolve_triangular

        scaled = np.ascontiguousarray(columns * self._root)
        return spsolve_triangular(self._upper, scaled, lower=False)[self._lu.perm_c]

    def backward_transposed(self, columns: np.ndarray) -> np.ndarray:
        """R⁻ᵀ P x."""
        from scipy.sparse.linalg import spsolve_triangular

        ordered = np.ascontiguousarray(columns[self._inverse_order])
        return spsolve_triangular(self._upper.T.tocsr(), ordered, lower=True) * self._root

    def forward(self, columns: np.ndarray) -> np.ndarray:
        """R P x, the inverse of `backward`."""
        return (self._upper @ columns[self._inverse_order]) / self._root

    def forward_transposed(self, columns: np.ndarray) -> np.ndarray:
        """Pᵀ Rᵀ x."""
        return (self._upper.T @ (columns / self._root))[self._lu.perm_c]


Operator = Callable[[np.ndarray], np.ndarray]


class _Through(torch.autograd.Function):
    """A product of linear operators on float64 columns on the CPU; its gradient is another."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sites: int, steps: tuple[tuple[Operator, Operator], ...]
    ) -> Tensor:
        ctx.sites, ctx.steps = sites, steps
        columns = x.detach().double().cpu().reshape(-1, sites).numpy().T
        for step, _ in steps:
            columns = step(columns)
        return torch.from_numpy(np.ascontiguousarray(columns.T)).reshape(x.shape).to(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        transposed = [(back, step) for step, back in reversed(ctx.steps)]
        return through(gradients[0], ctx.sites, *transposed), None, None


def through(x: Tensor, sites: int, *steps: tuple[Operator, Operator]) -> Tensor:
    """Apply operators, one after the other, to the fields of x, `sites` numbers each.

    Args:
        x: Fields, differentiable.
        sites: Numbers of a field.
        *steps: Each operator with its transpose.
    """
    return _Through.apply(x, sites, steps)


@lru_cache(maxsize=8)
def factorise(inverse_square: float, sizes: tuple[int, ...]) -> Factor:
    """The factor of K on a grid of `sizes`."""
    return Factor(inverse_square, sizes)


def precision(inverse_square: float, sizes: tuple[int, ...]) -> Any:
    """K = κ² I + L on a grid, as a sparse matrix of scipy's."""
    from scipy import sparse

    total = inverse_square * sparse.identity(math.prod(sizes))
    for axis, n in enumerate(sizes):
        difference = sparse.eye(n - 1, n, k=1) - sparse.eye(n - 1, n)
        before, after = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
        along = sparse.kron(difference.T @ difference, sparse.identity(after))
        total = total + sparse.kron(sparse.identity(before), along)
    return sparse.csc_matrix(total)


@lru_cache(maxsize=64)
def lattice_variance(inverse_square: float, order: int, dimension: int) -> float:
    """The diagonal of (κ² + L)^{-α} on the infinite lattice.

    λ^{-α} = ∫ t^{α-1} e^{-λt} dt / Γ(α), and the heat kernel of the lattice at distance 0 is
    [e^{-2t} I₀(2t)]^D. With t = e^u the integrand decays at both ends, where the
    trapezoidal rule converges exponentially.
    """
    from scipy.special import ive

    u = np.arange(-40.0 / order, math.log(800.0 / inverse_square) + 0.02, 0.02)
    t = np.exp(u)
    integrand = t**order * np.exp(-inverse_square * t) * ive(0, 2 * t) ** dimension
    return float(integrand.sum() * 0.02 / math.gamma(order))


def cosines(n: int) -> Tensor:
    """The orthonormal cosine basis on n sites: (site, wave), float64."""
    site, wave = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)
    basis = (math.pi * (site[:, None] + 0.5) * wave / n).cos() * math.sqrt(2 / n)
    basis[:, 0] = 1 / math.sqrt(n)
    return basis


doors.guard(
    __name__,
    own=("kernel",),
    inside=("Factor", "cosines", "factorise", "lattice_variance", "precision", "through"),
)
