r"""Linear stochastic differential equations: drift, noise, and their integrals.

A linear SDE on its own clock r in [0, 1],

    dX = f(r) X dr + g(r) Γ^{1/2} dW,

is known by its gain and its variance over a piece of the clock,

    X_{r+d} | X_r ~ N(a X_r, v Γ),   log a = ∫_r^{r+d} f,   v = ∫_r^{r+d} a(u, r+d)² g(u)² du.

Both are asked for as functions of (r, d) with the length d given separately, so
that nothing cancels for short pieces: bridges divide such variances by one another.
A drift c beside f X (`LinearDiffusion.offset`) leaves both as they are and moves the mean
by c ∫_r^{r+d} a(u, r+d) du, the `shift`.

==================== ========================= ==============================
SDE                  f(r)                      g(r)²
==================== ========================= ==============================
`Brownian`           0                         σ²
`OrnsteinUhlenbeck`  α                         σ²
`VE`                 0                         d/dr σ_min² (σ_max/σ_min)^{2r}
`VP`                 -β(r)/2                   β(r) = β_min + r (β_max - β_min)
`SubVP`              -β(r)/2                   β(r) (1 - e^{-2 b(r)}),  b = ∫_0^r β
`Coefficients`       the user's                the user's
==================== ========================= ==============================

**Flows.** With σ = 0, of the first two, there is no noise. Bridges weigh their ends by ratios of
variances, which are those of any σ > 0 and so have a limit: an SDE that is `noiseless` states
its variances per unit of σ², and `LinearDiffusion` knows that there is none of them.

VE, VP and sub-VP are those of Song et al., https://arxiv.org/abs/2011.13456. With
d₁ = b(r+d) - b(r), sub-VP has v = (1 - e^{-d₁})(1 - e^{-2b(r) - d₁}) over a piece.
A time change is a `Schedule` of the process: r is its survival or its mortality.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import rule


class LinearSDE(ABC):
    """A linear SDE on its own clock. All tensors are float64, elementwise."""

    @property
    def noiseless(self) -> bool:
        """Whether there is no noise: `noise_rate` and `variance` then are per unit of it."""
        return False

    @abstractmethod
    def drift_rate(self, r: Tensor) -> Tensor:
        """f(r), per unit of clock."""

    @abstractmethod
    def noise_rate(self, r: Tensor) -> Tensor:
        """g(r)², per unit of clock."""

    @abstractmethod
    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        """Log a over [r, r + d]."""

    @abstractmethod
    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        """V over [r, r + d], with full relative accuracy in d."""

    def shift(self, r: Tensor, d: Tensor) -> Tensor:
        """∫ a(u, r + d) du over [r, r + d]: how far a constant drift of 1 moves the mean."""
        r, d = torch.broadcast_tensors(r, d)
        return _integral(lambda u, after: self.log_gain(u, after).exp(), r, d, rule(NODES))


NODES = 256  # of the Gauss–Legendre rule of a shift, as many as a variance takes at most
LARGEST = 300.0  # of |log gain|: e^{2 · 300} has to stay within float64


def _integral(
    function: Callable[[Tensor, Tensor], Tensor],
    r: Tensor,
    d: Tensor,
    quadrature: tuple[Tensor, Tensor],
) -> Tensor:
    """∫ function(u, r + d - u) du over [r, r + d]."""
    nodes, weights = (part.to(r.device) for part in quadrature)
    after = d.unsqueeze(-1) * (1 - nodes)
    u = r.unsqueeze(-1) + d.unsqueeze(-1) * nodes
    return d * (function(u, after) * weights).sum(-1)


def _finite(name: str, value: float) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, not {value!r}") from None


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (_finite(name, value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, not {value}")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not (_finite(name, value) and value >= 0 and (value == 0 or value**2 > 0)):
            raise ValueError(
                f"{name} must be positive and finite, its square too, or 0 for a flow without "
                f"noise, not {value}"
            )


def _expm1_over(z: Tensor) -> Tensor:
    """(e^z - 1)/z, 1 at z = 0."""
    return torch.where(z == 0, 1.0, torch.expm1(z) / torch.where(z == 0, 1.0, z))


def _square(sigma: float) -> float:
    """σ², 1 where there is no noise, of which variances are then stated."""
    return 1.0 if sigma == 0 else sigma**2


@dataclass(frozen=True)
class Brownian(LinearSDE):
    """dX = σ Γ^{1/2} dW; with σ = 0 straight lines."""

    sigma: float = 1.0

    def __post_init__(self) -> None:
        _not_negative(sigma=self.sigma)

    @property
    def noiseless(self) -> bool:
        return self.sigma == 0

    def drift_rate(self, r: Tensor) -> Tensor:
        return torch.zeros_like(r)

    def noise_rate(self, r: Tensor) -> Tensor:
        return torch.full_like(r, _square(self.sigma))

    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        return torch.zeros_like(d)

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        return _square(self.sigma) * d


@dataclass(frozen=True)
class OrnsteinUhlenbeck(LinearSDE):
    """dX = α X dr + σ Γ^{1/2} dW: mean-reverting for α < 0, repelling for α > 0.

    Its bridges are even in α: both signs give the same ones. With σ = 0 they are curves,
    sinh(α(1 - r))/sinh(α) of the start and sinh(αr)/sinh(α) of the end.
    """

    alpha: float
    sigma: float = 1.0

    def __post_init__(self) -> None:
        _not_negative(sigma=self.sigma)
        if not (_finite("alpha", self.alpha) and abs(self.alpha) <= LARGEST):
            raise ValueError(f"alpha must lie in [-300, 300], not {self.alpha}")

    @property
    def noiseless(self) -> bool:
        return self.sigma == 0

    def drift_rate(self, r: Tensor) -> Tensor:
        return torch.full_like(r, self.alpha)

    def noise_rate(self, r: Tensor) -> Tensor:
        return torch.full_like(r, _square(self.sigma))

    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        return self.alpha * d

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        return _square(self.sigma) * d * _expm1_over(2 * self.alpha * d)


@dataclass(frozen=True)
class VE(LinearSDE):
    """Variance exploding: no pull, noise of standard deviation from sigma_min to sigma_max."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        _positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min must be below sigma_max, not {self.sigma_min} >= {self.sigma_max}"
            )

    @property
    def _growth(self) -> float:
        return 2 * math.log(self.sigma_max / self.sigma_min)

    def drift_rate(self, r: Tensor) -> Tensor:
        return torch.zeros_like(r)

    def noise_rate(self, r: Tensor) -> Tensor:
        return self.sigma_min**2 * self._growth * (self._growth * r).exp()

    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        return torch.zeros_like(d)

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        return self.sigma_min**2 * (self._growth * r).exp() * torch.expm1(self._growth * d)


class _Beta(LinearSDE):
    """What VP and sub-VP share: the rate β(r) = β_min + r (β_max - β_min)."""

    beta_min: float
    beta_max: float

    def __post_init__(self) -> None:
        _positive(beta_min=self.beta_min, beta_max=self.beta_max)
        if self.beta_min + self.beta_max > 2 * LARGEST:  # log gain is half of the elapsed b
            raise ValueError(
                f"beta_min + beta_max must be at most 600, not {self.beta_min + self.beta_max}"
            )

    def _beta(self, r: Tensor) -> Tensor:
        return self.beta_min + r * (self.beta_max - self.beta_min)

    def _elapsed(self, r: Tensor, d: Tensor) -> Tensor:
        """∫_r^{r+d} β."""
        return d * self._beta(r + d / 2)

    def drift_rate(self, r: Tensor) -> Tensor:
        return -self._beta(r) / 2

    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        return -self._elapsed(r, d) / 2


@dataclass(frozen=True)
class VP(_Beta):
    """Variance preserving: the SDE of denoising diffusion."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def noise_rate(self, r: Tensor) -> Tensor:
        return self._beta(r)

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        return -torch.expm1(-self._elapsed(r, d))


@dataclass(frozen=True)
class SubVP(_Beta):
    """Sub-variance-preserving: VP with less noise early."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def noise_rate(self, r: Tensor) -> Tensor:
        return self._beta(r) * -torch.expm1(-2 * self._elapsed(torch.zeros_like(r), r))

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        before, now = self._elapsed(torch.zeros_like(r), r), self._elapsed(r, d)
        return torch.expm1(-now) * torch.expm1(-2 * before - now)


@dataclass(frozen=True)
class Coefficients(LinearSDE):
    """The user's own f(r) and g(r), smooth functions on the clock [0, 1].

    f is replaced by its Chebyshev interpolant, whose antiderivative is exact; variances are
    Gauss–Legendre sums over the piece asked for, so that short pieces keep their accuracy.
    Both are refined until they agree to 1e-13 at construction, or refused.

    Attributes:
        f: Pull, maps float64 clock times to numbers of the same shape.
        g: Noise, likewise; g² must be smooth and positive inside (0, 1).

    Functions cannot be written to a configuration: `Transport.from_pretrained` needs the
    process as an argument then.
    """

    f: Callable[[Tensor], Tensor]
    g: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        r = torch.linspace(0, 1, 257, dtype=torch.float64)
        for name, function in (("f", self.f), ("g", self.g)):
            if not callable(function):
                raise TypeError(
                    f"{name} must be a function of clock times, such as torch.ones_like, not "
                    f"{function!r}"
                )
            try:
                value = function(r)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(
                    f"{name} must map a tensor of times to one value for each, by functions of "
                    f"torch, and fails: {error}"
                ) from error
            if not isinstance(value, Tensor) or value.shape != r.shape:
                raise ValueError(f"{name} must map a tensor of times to one value for each")
            if value.requires_grad:
                raise ValueError(
                    f"{name} needs gradients, but a reference is not learned: detach what it uses"
                )
            if not bool(torch.isfinite(value**2).all()):
                raise ValueError(f"{name} must be finite on [0, 1], and so must its square")
        if not bool((self.noise_rate(r)[1:-1] > 0).all()):
            raise ValueError("g must not vanish inside (0, 1): the bridge would have no noise")
        gain = self.log_gain(torch.zeros_like(r), r)
        if float(gain.max() - gain.min()) > LARGEST:
            raise ValueError(
                "f pulls too hard for float64: its integral over any piece of the clock must lie "
                f"in [-300, 300], but varies by {float(gain.max() - gain.min()):.4g}"
            )
        _ = self._quadrature  # refuse what cannot be resolved, now

    def drift_rate(self, r: Tensor) -> Tensor:
        return self.f(r)

    def noise_rate(self, r: Tensor) -> Tensor:
        return self.g(r) ** 2

    @cached_property
    def _antiderivative(self) -> Tensor:
        """Chebyshev coefficients in 2r - 1 of the antiderivative of f."""
        for count in (16, 32, 64, 128, 256, 512, 1024):
            nodes = np.polynomial.chebyshev.chebpts1(count)
            values = self.f(torch.from_numpy((nodes + 1) / 2)).numpy()
            terms = np.polynomial.chebyshev.chebvander(nodes, count - 1)
            series = terms.T @ values * (2 / count)
            series[0] /= 2
            size = max(float(np.abs(series).max()), 1.0)
            if float(np.abs(series[-count // 8 :]).max()) <= 1e-14 * size:
                return torch.from_numpy(np.polynomial.chebyshev.chebint(series, scl=0.5))
        raise ValueError(
            "f is not smooth enough for a polynomial of degree 1023: give a smooth function "
            "of the clock, and let a Schedule hold the sharp part as a time change"
        )

    @cached_property
    def _quadrature(self) -> tuple[Tensor, Tensor]:
        """Nodes and weights of the Gauss–Legendre rule on [0, 1]."""
        previous = None
        whole = torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
        length = torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64)
        for count in (16, 32, 64, 128, 256):
            found = rule(count)
            value = self._integrate(whole, length, found)
            if previous is not None and bool(((value / previous - 1).abs() <= 1e-13).all()):
                return found
            previous = value
        raise ValueError(
            "the variance of this SDE could not be integrated to 1e-13 with 256 nodes: give "
            "smooth f and g², and let a Schedule hold the sharp part as a time change"
        )

    def _integrate(self, r: Tensor, d: Tensor, nodes: tuple[Tensor, Tensor]) -> Tensor:
        def noise(u: Tensor, after: Tensor) -> Tensor:
            return (2 * self.log_gain(u, after)).exp() * self.noise_rate(u)

        return _integral(noise, r, d, nodes)

    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        return _chebyshev(self._antiderivative, r + d) - _chebyshev(self._antiderivative, r)

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        r, d = torch.broadcast_tensors(r, d)
        return self._integrate(r, d, self._quadrature)


def _chebyshev(coefficients: Tensor, r: Tensor) -> Tensor:
    """Σ_k c_k T_k(2r - 1), by Clenshaw's recurrence."""
    z = 2 * r - 1
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    for c in reversed(coefficients[1:].tolist()):
        first, second = 2 * z * first - second + c, first
    return z * first - second + float(coefficients[0])


doors.guard(__name__)
