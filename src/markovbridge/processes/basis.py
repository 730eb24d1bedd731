r"""What the numbers of a linear diffusion multiply: states, or their modes.

The formulas of a linear SDE (`linear`) are those of one number, and hold for every mode of a
transform U that is independent of the others. So a weight is one of two things,

    ()  or (batch,)       the same for all modes: w x
    (1 or batch, bands)   one for each band of modes: U^T diag(w) U x

and who multiplies by it, divides by it, or draws noise of it asks the basis of the process:
`Whole` for the first, whose U is the identity, and `ByMode` for the second. Noise of weight w is
N(0, w Γ). Of all modes alike Γ is any covariance; by mode it has to be diagonal in U, so that
w Γ is U^T diag(w λ) U.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance, Isotropic, Transform
from markovbridge.covariances.base import check_condition
from markovbridge.covariances.spectral import eigenvalues
from markovbridge.laws import Gaussian, Law, ModalGaussian
from markovbridge.laws.numbers import by_row
from markovbridge.processes.clock import coefficient, match

Term = tuple[Tensor, Tensor]


class Basis(ABC):
    """How weights act on states (batch, *event)."""

    covariance: Covariance

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """U x."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """U^T z."""

    @abstractmethod
    def diagonal(self, weights: Tensor, x: Tensor) -> Tensor:
        """The diagonal of U^T diag(w) U for numbers in modes, broadcastable to x."""

    @abstractmethod
    def weigh(self, weight: Tensor, x: Tensor) -> Tensor:
        """A weight in the type of the state, broadcastable to it in modes."""

    @abstractmethod
    def lift(self, value: Tensor, x: Tensor) -> Tensor:
        """A state (batch, *event), or what broadcasts to the event of x, in modes."""

    @abstractmethod
    def power(self, x: Tensor) -> Tensor:
        """The variances of Γ in modes, in the type of x and broadcastable to it."""

    @abstractmethod
    def spectrum(self, variance: Tensor, x: Tensor) -> Tensor:
        """Variances of the data in modes, from those of sites and what the clocks know."""

    @abstractmethod
    def like_noise(self, variance: Tensor, x: Tensor) -> Tensor:
        """Variances of a source in modes, from those of sites."""

    def combine(self, *terms: Term, like: Tensor | None = None) -> Tensor:
        """Σ w x over the terms (w, x), each x of the shape of `like` or of its event."""
        return self.inverse(self._mixed(terms, terms[0][1] if like is None else like))

    def _mixed(self, terms: tuple[Term, ...], like: Tensor) -> Tensor:
        """The same in modes."""
        total, *others = (self.weigh(w, like) * self.lift(x, like) for w, x in terms)
        for other in others:
            total = total + other
        return total

    def over(self, x: Tensor, weight: Tensor, default: Tensor | None = None) -> Tensor:
        """X / w, or `default` where w is zero."""
        if default is None:
            return self.inverse(self.forward(x) / self.weigh(weight, x))
        none = weight == 0
        quotient = self.forward(x) / self.weigh(torch.where(none, 1.0, weight), x)
        where = self.weigh(none.double(), x) > 0
        return self.inverse(torch.where(where, self.lift(default, x), quotient))

    @abstractmethod
    def gaussian(self, deviation: Tensor, *terms: Term) -> Law:
        """N(Σ w x, deviation² Γ)."""

    @abstractmethod
    def noise(
        self, deviation: Tensor, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A draw of N(0, deviation² Γ) in the shape of `like`."""

    @abstractmethod
    def quadratic(self, weight: Tensor, x: Tensor) -> Tensor:
        """W |Γ^{-1/2} x|², (batch,), with a gradient in x that needs no way through a solver."""

    @abstractmethod
    def norm(self, weight: Tensor, x: Tensor) -> Tensor:
        """W |Γ^{-1/2} x|², (batch,), float64."""

    @abstractmethod
    def expected(self, mean: Tensor, spread: Tensor, variance: Tensor) -> Tensor:
        """E |Γ^{-1/2} z|²/variance of z ~ N(mean, spread Γ): (batch,), float64."""

    @abstractmethod
    def total(self, weight: Tensor, x: Tensor) -> Tensor:
        """The sum of w over all modes of an event of x: (rows,), or ()."""

    @abstractmethod
    def deviation(self, weight: Tensor, x: Tensor) -> Tensor:
        """The standard deviation of each site under N(0, w Γ), float64."""


@dataclass(frozen=True, eq=False)
class Whole(Basis):
    """Numbers: all modes alike, whatever Γ is."""

    covariance: Covariance = field(default_factory=Isotropic)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def inverse(self, z: Tensor) -> Tensor:
        return z

    def diagonal(self, weights: Tensor, x: Tensor) -> Tensor:
        return weights

    def weigh(self, weight: Tensor, x: Tensor) -> Tensor:
        return coefficient(weight, x)

    def lift(self, value: Tensor, x: Tensor) -> Tensor:
        return value

    def power(self, x: Tensor) -> Tensor:
        return self.covariance.variance(x.shape[1:]).to(x)

    def spectrum(self, variance: Tensor, x: Tensor) -> Tensor:
        return variance

    def like_noise(self, variance: Tensor, x: Tensor) -> Tensor:
        return variance

    def gaussian(self, deviation: Tensor, *terms: Term) -> Law:
        mean = self.combine(*terms)
        return Gaussian(mean, coefficient(deviation, mean), self.covariance)

    def noise(
        self, deviation: Tensor, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        z = self.covariance.sample(like, generator=generator)
        return coefficient(deviation, like) * z

    def quadratic(self, weight: Tensor, x: Tensor) -> Tensor:
        still = x.detach()
        solved = self.covariance.solve(still)
        # Its gradient, 2 Γ⁻¹ x, needs no way back through the solver.
        each = by_row(2 * x * solved - still * solved).sum(1)
        return weight.to(each) * each

    def norm(self, weight: Tensor, x: Tensor) -> Tensor:
        return weight * by_row(x * self.covariance.solve(x)).double().sum(1)

    def expected(self, mean: Tensor, spread: Tensor, variance: Tensor) -> Tensor:
        far = by_row(mean * self.covariance.solve(mean)).double().sum(1)
        return (far + spread * mean[0].numel()) / variance

    def total(self, weight: Tensor, x: Tensor) -> Tensor:
        return x[0].numel() * weight

    def deviation(self, weight: Tensor, x: Tensor) -> Tensor:
        site = self.covariance.variance(x.shape[1:]).to(x.device).double()
        return match(weight, x).sqrt() * site.sqrt()


@dataclass(frozen=True, eq=False)
class ByMode(Basis):
    """Numbers for each band of modes that diagonalise Γ.

    Attributes:
        covariance: Γ.
        modes: U.
        known: The variance of the data by mode of each band; None if it is not known, which
            counts as the same in all modes.
    """

    covariance: Covariance
    modes: Transform
    known: tuple[float, ...] | None = None
    _kept: dict[tuple[torch.Size, torch.dtype, torch.device], Tensor] = field(
        init=False, repr=False, default_factory=dict
    )
    _regular: set[tuple[torch.Size, torch.dtype]] = field(
        init=False, repr=False, default_factory=set
    )

    def forward(self, x: Tensor) -> Tensor:
        return self.modes.forward(x)

    def inverse(self, z: Tensor) -> Tensor:
        return self.modes.inverse(z)

    def diagonal(self, weights: Tensor, x: Tensor) -> Tensor:
        return self.modes.diagonal(weights.expand(-1, *x.shape[1:]))

    def _mixed(self, terms: tuple[Term, ...], like: Tensor) -> Tensor:
        self.power(like)  # or an error: means too are by mode only if Γ is
        return super()._mixed(terms, like)

    def weigh(self, weight: Tensor, x: Tensor) -> Tensor:
        return self.modes.spread(weight, x)

    def lift(self, value: Tensor, x: Tensor) -> Tensor:
        if value.ndim == x.ndim:
            return self.modes.forward(value)
        return self.modes.forward(value.to(x).expand(x.shape[1:]).unsqueeze(0))

    def power(self, x: Tensor) -> Tensor:
        kind = x.dtype if x.is_floating_point() else torch.float32
        key = (x.shape[1:], kind, x.device)
        if key not in self._kept:
            if isinstance(self.covariance, Isotropic):
                values = torch.tensor(self.covariance.marginal, dtype=torch.float64)
            else:
                values = eigenvalues(self.covariance, self.modes, x.shape[1:])
            self._kept[key] = values.to(x.device, kind)
        return self._kept[key]

    def regular(self, x: Tensor) -> Tensor:
        """`power`, to divide by.

        Raises:
            SingularError: If that would only amplify rounding.
        """
        power = self.power(x)
        key = (x.shape[1:], power.dtype)
        if key not in self._regular:
            smallest, largest = float(power.min()), float(power.max())
            check_condition(
                smallest,
                largest,
                -1.0,
                power.dtype,
                f"the covariance {type(self.covariance).__name__}",
                "give each band some power",
            )
            self._regular.add(key)
        return power

    def spectrum(self, variance: Tensor, x: Tensor) -> Tensor:
        if self.known is None:
            return variance.mean()
        return self.weigh(torch.tensor([self.known], dtype=torch.float64), x)

    def like_noise(self, variance: Tensor, x: Tensor) -> Tensor:
        power = self.power(x)
        return power * (variance.mean() / power.mean())

    def gaussian(self, deviation: Tensor, *terms: Term) -> Law:
        centre = self._mixed(terms, terms[0][1])
        spread = self.weigh(deviation, centre) * self.power(centre).sqrt()
        return ModalGaussian(centre, spread, self.modes)

    def noise(
        self, deviation: Tensor, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        z = torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
        return self.inverse(self.weigh(deviation, z) * self.power(z).sqrt() * z)

    def quadratic(self, weight: Tensor, x: Tensor) -> Tensor:
        z = self.forward(x)
        return by_row(self.weigh(weight, z) / self.regular(z) * z**2).sum(1)

    def norm(self, weight: Tensor, x: Tensor) -> Tensor:
        return self.quadratic(weight, x.double())

    def expected(self, mean: Tensor, spread: Tensor, variance: Tensor) -> Tensor:
        return self.norm(1 / variance, mean) + self.total(spread / variance, mean)

    def total(self, weight: Tensor, x: Tensor) -> Tensor:
        return weight @ self.modes.counts(x.shape[1:]).to(weight)

    def deviation(self, weight: Tensor, x: Tensor) -> Tensor:
        x = x.double()
        return self.diagonal(self.weigh(weight, x) * self.power(x), x).sqrt()


doors.guard(__name__, inside=("Basis", "ByMode", "Whole"))
