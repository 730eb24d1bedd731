r"""Covariances by their eigenvalues in known modes: Γ = U^T diag(λ) U.

- `Modal` states the power of each band of modes.
- `Power` is C^γ of a covariance C whose modes are known, its trace kept: γ = 1 is C itself, 0 is
  white noise, and a negative γ is noise of the opposite colour, quieter where C is strong.

Every operation is a transform, a multiplication and a transform back.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import (
    OPERATIONS,
    Covariance,
    check_condition,
    check_real,
    white_noise,
)
from markovbridge.covariances.transforms import Transform
from markovbridge.doors import checks

PROBE = 1e-6  # of the largest eigenvalue, what an operator may do beside its diagonal


class _Diagonalised(Covariance):
    """What covariances share that are known by modes and eigenvalues; `sqrt` is symmetric."""

    @abstractmethod
    def eigenvalues(self, event: Sequence[int]) -> Tensor:
        """λ of each mode, (*event), float64."""

    @property
    def capabilities(self) -> frozenset[str]:
        return OPERATIONS

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._raised(x, 1.0)

    def sqrt(self, x: Tensor) -> Tensor:
        return self._raised(x, 0.5)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        return self._raised(x, -0.5)

    def solve(self, x: Tensor) -> Tensor:
        return self._raised(x, -1.0)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        check_real(like)
        z = white_noise(like, generator)
        factors = _factors(self, tuple(z.shape[1:]), 0.5, z.dtype, z.device)
        return self.modes.inverse(factors * z)

    def logdet(self, event: Sequence[int]) -> float:
        values = self.eigenvalues(event)
        smallest, largest = float(values.min()), float(values.max())
        check_condition(smallest, largest, 0.0, values.dtype, str(self), "raise its floor")
        return float(values.log().sum())

    def variance(self, event: Sequence[int]) -> Tensor:
        return self.modes.diagonal(self.eigenvalues(event).unsqueeze(0))[0]

    def _raised(self, x: Tensor, power: float) -> Tensor:
        """Γ^power x."""
        check_real(x)
        factors = _factors(self, tuple(x.shape[1:]), power, x.dtype, x.device)
        return self.modes.inverse(factors * self.modes.forward(x))


@lru_cache(maxsize=32)
def _factors(
    covariance: _Diagonalised,
    event: tuple[int, ...],
    power: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """λ^power."""
    values = covariance.eigenvalues(event)
    if power < 0:
        smallest, largest = float(values.min()), float(values.max())
        name = f"the covariance {type(covariance).__name__}"
        check_condition(smallest, largest, power, dtype, name, "give each band some power")
    return (values**power).to(device, dtype)


@dataclass(frozen=True)
class Modal(_Diagonalised):
    """A covariance by the variance of its modes, the same for all of a band.

    As the level of a sampler (`StochasticHeun`) it says in which bands there is noise.

    Attributes:
        basis: The modes.
        variances: λ of each band, not negative.
    """

    basis: Transform
    variances: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.variances) != self.basis.bands:
            raise ValueError(
                f"variances must be one for each of the {self.basis.bands} bands of the modes, "
                f"not {len(self.variances)}"
            )
        if not all(math.isfinite(v) and v >= 0 for v in self.variances):
            raise ValueError(f"variances must be finite and not negative, not {self.variances}")

    @property
    def modes(self) -> Transform:
        return self.basis

    def eigenvalues(self, event: Sequence[int]) -> Tensor:
        like = torch.zeros(1, *event, dtype=torch.float64)
        values = torch.tensor([self.variances], dtype=torch.float64)
        return self.basis.spread(values, like)[0].expand(tuple(event)).clone()


@dataclass(frozen=True)
class Power(_Diagonalised):
    """C^γ with the trace of C: noise of the colour of C, of none, or of the opposite one.

    Attributes:
        base: C, a covariance whose modes are known: `Torus`, `GMRF`, `Dense`, `Modal`,
            `Diagonal` or `Isotropic`, such as one that was fitted to the data.
        exponent: γ; negative for noise that is quieter where C is strong.
        floor: Eigenvalues of C below this share of their mean count as it.
    """

    base: Covariance
    exponent: float = -0.25
    floor: float = 1e-3

    def __post_init__(self) -> None:
        checks.number(self.exponent, "exponent", least=-8, most=8)
        checks.number(self.floor, "floor", least=0)
        _ = self.base.modes  # or an error that says what to take

    @property
    def modes(self) -> Transform:
        return self.base.modes

    def eigenvalues(self, event: Sequence[int]) -> Tensor:
        values = eigenvalues(self.base, self.modes, event)
        floored = values.clamp_min(self.floor * float(values.mean()))
        if not float(floored.min()) > 0:
            raise ValueError(
                "Power has no power of a variance that is 0: give it a floor above 0, and a base "
                "that is not 0 in all modes, as of data that do not vary"
            )
        raised = floored**self.exponent
        return raised * (values.sum() / raised.sum())


def eigenvalues(covariance: Covariance, modes: Transform, event: Sequence[int]) -> Tensor:
    """The eigenvalues of a covariance in these modes, (*event), float64.

    Raises:
        ValueError: If they do not diagonalise it.
    """
    if isinstance(covariance, _Diagonalised) and covariance.modes is modes:
        return covariance.eigenvalues(event)
    event = tuple(event)
    probe = torch.stack(
        [
            torch.ones(event, dtype=torch.float64),
            torch.randn(event, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        ]
    )
    values, image = modes.forward(covariance @ modes.inverse(probe))
    off = float((image - values * probe[1]).abs().max())
    if not off <= PROBE * float(values.abs().max()) * float(probe[1].abs().max()):
        raise ValueError(
            f"the modes of {type(modes).__name__} do not diagonalise {type(covariance).__name__}: "
            "take its own, `covariance.modes`, a covariance that is Modal(modes, ...), or "
            "Isotropic() noise"
        )
    return values.clamp_min(0)


doors.guard(__name__, inside=("eigenvalues",))
