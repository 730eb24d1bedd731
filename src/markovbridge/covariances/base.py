r"""What a covariance answers.

A covariance Γ is a symmetric positive semidefinite operator on events. It acts on
batches `(batch, *event)`, in the dtype (float32 or float64) and on the device of what
it acts on:

    cov @ x              Γ x
    cov.sample(like)     a draw of N(0, Γ) in the shape of `like`
    cov.sqrt(x)          F x, F square with F Fᵀ = Γ
    cov.inverse_sqrt(x)  F⁻¹ x: whitening, the inverse of `sqrt`
    cov.solve(x)         Γ⁻¹ x
    cov.logdet(event)    log det Γ, nats
    cov.variance(event)  the diagonal
    cov.modes            a transform that diagonalises it, if one is known

Not every covariance can do everything fast: `capabilities` names what it can, and
the rest raises NotImplementedError with an alternative. Nothing is approximated
silently.

Spatial covariances act on the last `dimension` axes of an event, (C, H, W) for
images, and treat the axes before them as independent copies; `Separable` correlates
those too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.transforms import Transform
from markovbridge.doors import checks

OPERATIONS = frozenset(  # what a covariance may be able to do
    {"matvec", "sample", "sqrt", "inverse_sqrt", "solve", "logdet", "variance"}
)


class SingularError(ValueError):
    """A covariance has no inverse, or none that is more than amplified rounding."""


class Covariance(ABC):
    """A symmetric positive semidefinite operator on events, applied to batches."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """Which of `OPERATIONS` this covariance has ("matvec" is `@`)."""

    @abstractmethod
    def __matmul__(self, x: Tensor) -> Tensor:
        """Γ x, shape and dtype of x, (batch, *event)."""

    @abstractmethod
    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """A draw of N(0, Γ) per item, in the shape (batch, *event), dtype and device of `like`."""

    @abstractmethod
    def sqrt(self, x: Tensor) -> Tensor:
        """F x for a square F with F Fᵀ = Γ; the class says if F is symmetric."""

    @abstractmethod
    def inverse_sqrt(self, x: Tensor) -> Tensor:
        """F⁻¹ x, the inverse of `sqrt`: white noise if x follows N(0, Γ)."""

    @abstractmethod
    def solve(self, x: Tensor) -> Tensor:
        """Γ⁻¹ x."""

    @abstractmethod
    def logdet(self, event: Sequence[int]) -> float:
        """Log det Γ on events of shape `event` (no batch axis), nats."""

    @abstractmethod
    def variance(self, event: Sequence[int]) -> Tensor:
        """The diagonal of Γ, shape `event`, float64 on the CPU."""

    @property
    def modes(self) -> Transform:
        """Modes that diagonalise it, whatever the event.

        Raises:
            NotImplementedError: If none are known.
        """
        raise unavailable(
            self, "modes", "take Torus, GMRF, Dense, Diagonal, Modal or Power, which have"
        )

    def refined(self, factor: int, dimension: int) -> Covariance:
        """The same noise where the last `dimension` axes have `factor` times as many sites.

        Of a kernel the lengths grow with the sites, and the physical domain stays.

        Raises:
            NotImplementedError: If it says nothing of what lies between its sites.
            ValueError: If it correlates another number of axes.
        """
        raise unavailable(
            self, "finer grid", "take Torus, Grid or GMRF, whose kernels say what is between sites"
        )

    def trace(self, event: Sequence[int]) -> float:
        """The sum of the variances."""
        return float(self.variance(event).sum())


def unavailable(covariance: Covariance, operation: str, alternative: str) -> NotImplementedError:
    """The error of an operation that a covariance does not have."""
    name = type(covariance).__name__
    return NotImplementedError(f"{name} has no {operation}: {alternative}")


def white_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Independent standard normals in the shape, dtype and device of `like`."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def check_real(x: Tensor) -> Tensor:
    """Return x if it is float32 or float64.

    Raises:
        TypeError: Otherwise: transforms and factorisations have no half-precision kernels.
    """
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"a covariance acts on float32 or float64, not {x.dtype}: call .float()")
    return x


def check_event(event: Sequence[int], dimension: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split an event into the axes before the spatial ones and the spatial ones.

    Raises:
        ValueError: If the event has fewer than `dimension` axes, or none of some length.
    """
    event = tuple(event)
    if len(event) < dimension or min(event, default=0) < 1:
        raise ValueError(
            f"events of shape {event} have no {dimension} spatial axes: "
            f"set `dimension` of the covariance to at most {len(event)}"
        )
    split = len(event) - dimension
    return event[:split], event[split:]


def check_field(x: Tensor, dimension: int) -> tuple[int, ...]:
    """Check a batch (batch, *event) and return its spatial sizes.

    Raises:
        TypeError: If x is not float32 or float64.
        ValueError: If x has too few axes.
    """
    check_real(x)
    if x.ndim == 0:
        raise ValueError("a covariance acts on (batch, *event), not on a single number")
    return check_event(x.shape[1:], dimension)[1]


def check_dimension(dimension: int) -> None:
    """Check a number of spatial axes.

    Raises:
        ValueError: If it is not 1, 2 or 3.
    """
    if dimension not in (1, 2, 3):
        raise ValueError(f"dimension, the number of spatial axes, must be 1 to 3, not {dimension}")


def check_refined(factor: int, dimension: int, own: int) -> None:
    """Check that the axes which are refined are those that a covariance correlates.

    Raises:
        ValueError: If they are not, or the factor is less than 1.
    """
    checks.whole(factor, "factor", least=1)
    if dimension != own:
        raise ValueError(
            f"this covariance is one of the last {own} axes of an event, and {dimension} are to "
            f"be refined: take one with dimension={dimension}"
        )


def check_condition(
    smallest: float,
    largest: float,
    power: float,
    dtype: torch.dtype,
    name: str,
    remedy: str = "take a rougher kernel or a shorter length",
) -> None:
    """Refuse a negative power of eigenvalues that would only amplify rounding.

    Raises:
        SingularError: If the condition number of Γ^power exceeds 1/eps of `dtype`.
    """
    condition = math.inf if smallest <= 0 else (largest / smallest) ** abs(power)
    if condition * torch.finfo(dtype).eps > 1:
        enough = condition * torch.finfo(torch.float64).eps <= 1
        raise SingularError(
            f"{name} is singular to {dtype}: its eigenvalues run from {smallest:.3g} to "
            f"{largest:.3g}; {remedy}" + (", or compute in float64" if enough else "")
        )


doors.guard(
    __name__,
    inside=(
        "check_condition",
        "check_dimension",
        "check_event",
        "check_field",
        "check_real",
        "check_refined",
        "unavailable",
        "white_noise",
    ),
)
