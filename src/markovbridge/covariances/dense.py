r"""Covariances without structure over space: isotropic, diagonal, dense.

`Dense` decomposes its matrix once, Γ = V diag(λ) Vᵀ, and takes Γ^p = V diag(λ^p) Vᵀ
from it: O(d³) to begin with, O(d²) per item after that, for events of up to a few
thousand sites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import (
    OPERATIONS,
    Covariance,
    SingularError,
    check_condition,
    check_real,
    white_noise,
)
from markovbridge.covariances.modes import Eigenvectors
from markovbridge.covariances.transforms import Sites, Transform
from markovbridge.doors import checks

Nested = Tensor | Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Isotropic(Covariance):
    """Independent noise of one variance: Γ = σ² I.

    Attributes:
        marginal: The variance σ² of every site, positive.
    """

    marginal: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.marginal < math.inf:
            raise ValueError(f"a variance must be positive, not {self.marginal}")

    def refined(self, factor: int, dimension: int) -> Isotropic:
        """White noise of the same variance at each site, and so another one in every wave.

        Of `factor` times as many sites along D axes a wave has the share factor^{-D} of before.
        """
        return self

    @property
    def modes(self) -> Transform:
        return Sites()

    @property
    def capabilities(self) -> frozenset[str]:
        return OPERATIONS

    def __matmul__(self, x: Tensor) -> Tensor:
        return check_real(x) * self.marginal

    def sqrt(self, x: Tensor) -> Tensor:
        return check_real(x) * math.sqrt(self.marginal)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        return check_real(x) / math.sqrt(self.marginal)

    def solve(self, x: Tensor) -> Tensor:
        return check_real(x) / self.marginal

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.sqrt(white_noise(like, generator))

    def logdet(self, event: Sequence[int]) -> float:
        return math.prod(event) * math.log(self.marginal)

    def variance(self, event: Sequence[int]) -> Tensor:
        return torch.full(tuple(event), float(self.marginal), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Diagonal(Covariance):
    """Independent noise, each site with its own variance.

    Attributes:
        variances: Non-negative, broadcastable to the event; a tensor or nested lists.
    """

    variances: Nested

    def __post_init__(self) -> None:
        variances = checks.numbers(self.variances, "variances")
        if not bool((variances.isfinite() & (variances >= 0)).all()):
            worst = variances[~(variances >= 0)] if variances.isfinite().all() else variances
            raise ValueError(
                "variances of Diagonal must be finite and not negative, "
                f"not {worst.flatten()[:4].tolist()}"
            )
        object.__setattr__(self, "variances", variances)

    @property
    def modes(self) -> Transform:
        return Sites()

    @property
    def capabilities(self) -> frozenset[str]:
        return OPERATIONS

    def __matmul__(self, x: Tensor) -> Tensor:
        return x * self._factors(x, 1.0)

    def sqrt(self, x: Tensor) -> Tensor:
        return x * self._factors(x, 0.5)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        return x * self._factors(x, -0.5)

    def solve(self, x: Tensor) -> Tensor:
        return x * self._factors(x, -1.0)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.sqrt(white_noise(like, generator))

    def logdet(self, event: Sequence[int]) -> float:
        variances = self.variance(event)
        self._check_positive()
        return float(variances.log().sum())

    def variance(self, event: Sequence[int]) -> Tensor:
        variances = self._tensor
        try:
            return variances.expand(tuple(event)).clone()
        except RuntimeError as error:
            raise ValueError(
                f"variances of shape {tuple(variances.shape)} do not fit events of shape "
                f"{tuple(event)}"
            ) from error

    @property
    def _tensor(self) -> Tensor:
        assert isinstance(self.variances, Tensor)
        return self.variances

    def _check_positive(self) -> None:
        zeros = int((self._tensor == 0).sum())
        if zeros:
            raise SingularError(
                f"Diagonal has {zeros} variances of zero, so it has no inverse: give those sites "
                "a small variance"
            )

    def _factors(self, x: Tensor, power: float) -> Tensor:
        check_real(x)
        if power < 0:
            self._check_positive()
        return (self.variance(x.shape[1:]) ** power).to(x)


@dataclass(frozen=True, eq=False)
class Dense(Covariance):
    """Any covariance matrix, over as many trailing axes as make up its size.

    For events (C, H, W) a matrix of H·W rows acts on each channel, one of C·H·W rows on
    the whole event. `sqrt` is symmetric.

    Attributes:
        matrix: (d, d), symmetric positive semidefinite; a tensor or nested lists. A
            negative eigenvalue is refused unless it is rounding, below d · eps of the
            largest, and then set to zero.
    """

    matrix: Nested
    # Eigenvalues in ascending order and eigenvectors in columns, float64.
    _decomposition: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = self.matrix.dtype if isinstance(self.matrix, Tensor) else torch.float64
        matrix = checks.numbers(self.matrix, "matrix")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.numel():
            raise ValueError(f"Dense needs a square matrix, not shape {tuple(matrix.shape)}")
        if not bool(matrix.isfinite().all()):
            raise ValueError("the matrix of Dense must be finite: it has NaN or infinite entries")
        asymmetry, largest = float((matrix - matrix.T).abs().max()), float(matrix.abs().max())
        if asymmetry > 1e-5 * largest:
            raise ValueError(
                f"the matrix of Dense must be symmetric, entries across the diagonal differ by "
                f"{asymmetry:.3g}: pass (matrix + matrix.T) / 2"
            )
        matrix = (matrix + matrix.T) / 2
        values, vectors = torch.linalg.eigh(matrix)
        eps = torch.finfo(given if given.is_floating_point else torch.float64).eps
        if float(values[0]) < -len(values) * eps * float(values[-1].abs()):
            raise ValueError(
                f"a covariance has no negative eigenvalue, this matrix has {values[0].item():.3g}"
            )
        if float(values[0]) < 0:
            # Without its rounding, the matrix is also accepted when read back in float64.
            values = values.clamp_min(0)
            matrix = vectors * values @ vectors.T
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "_decomposition", (values, vectors))

    @cached_property
    def modes(self) -> Transform:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Eigenvectors(self._decomposition[1].mT.flip(0).contiguous())

    @property
    def capabilities(self) -> frozenset[str]:
        return OPERATIONS

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._apply(x, 1.0)

    def sqrt(self, x: Tensor) -> Tensor:
        return self._apply(x, 0.5)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        return self._apply(x, -0.5)

    def solve(self, x: Tensor) -> Tensor:
        return self._apply(x, -1.0)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.sqrt(white_noise(like, generator))

    def logdet(self, event: Sequence[int]) -> float:
        copies = math.prod(self._copies(event))
        values = self._decomposition[0]
        self._check_condition(0.0, torch.float64)
        return copies * float(values.log().sum())

    def variance(self, event: Sequence[int]) -> Tensor:
        copies = self._copies(event)
        return self._tensor.diagonal().reshape(event[len(copies) :]).expand(*event).clone()

    @property
    def _tensor(self) -> Tensor:
        assert isinstance(self.matrix, Tensor)
        return self.matrix

    @cached_property
    def _powers(self) -> dict[tuple[float, torch.dtype, torch.device], Tensor]:
        """Powers of the matrix used so far."""
        return {}

    def _check_condition(self, power: float, dtype: torch.dtype) -> None:
        values = self._decomposition[0]
        smallest, largest = float(values[0]), float(values[-1])
        remedy = "add a small multiple of the identity to its matrix"
        check_condition(smallest, largest, power, dtype, "this Dense covariance", remedy)

    def _copies(self, event: Sequence[int]) -> tuple[int, ...]:
        """The leading axes of an event that the matrix does not mix."""
        size, event = len(self._tensor), tuple(event)
        for split in range(len(event), -1, -1):
            if math.prod(event[split:]) == size:
                return event[:split]
        raise ValueError(
            f"a matrix of {size} rows fits no trailing axes of events of shape {event}"
        )

    def _apply(self, x: Tensor, power: float) -> Tensor:
        check_real(x)
        self._copies(x.shape[1:])
        key = (power, x.dtype, x.device)
        if key not in self._powers:
            values, vectors = self._decomposition
            if power < 0:
                self._check_condition(power, x.dtype)
            root = vectors * values ** (power / 2)
            full = self._tensor if power == 1 else root @ root.T
            self._powers[key] = full.to(x.device, x.dtype)
        return (x.reshape(-1, len(self._tensor)) @ self._powers[key]).reshape(x.shape)


doors.guard(__name__, own=("matrix", "variances"))
