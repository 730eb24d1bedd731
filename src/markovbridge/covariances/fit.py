r"""Fitting a covariance to data: maximum Gaussian likelihood, by spectrum or directly.

For centred data x_1 .. x_N on d sites and a covariance Γ = σ² R(θ), the Gaussian log
likelihood per item is

    -½ [ log det R + d log σ² + q/σ² + d log 2π ],    q = mean_n x_nᵀ R⁻¹ x_n,

maximal over σ² at q/d, which leaves the kernel's other parameters θ to a simplex search
over their logarithms. Two methods give log det R and q:

- "spectrum" (Whittle): Σ_j log s_j and Σ_j I_j/s_j, with I the data's mean periodogram
  and s what the covariance expects of it. The data enter once, then an evaluation costs
  one transform. For `Torus` this *is* the likelihood, since waves diagonalise Γ; for
  `Grid`, s = E[I_j] including leakage and aliasing (Sykulski et al., Biometrika 106:251,
  2019), a consistent estimate without a determinant.
- "likelihood": `logdet` and `solve` of the covariance, on all the data each time.

`Separable` alternates (Dutilleul, J. Stat. Comput. Simul. 64:105, 1999): given space,
the best matrix over channels is the mean of X Γ_space⁻¹ Xᵀ/|space|; given that, the
channels are whitened and space is fitted to them as to independent fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import Covariance, check_event
from markovbridge.covariances.dense import Dense, Isotropic
from markovbridge.covariances.gmrf import GMRF
from markovbridge.covariances.grid import Grid
from markovbridge.covariances.kernels import LARGEST_SMOOTHNESS, Kernel
from markovbridge.covariances.kronecker import Separable
from markovbridge.covariances.spectra import expected_periodogram, periodogram, torus_spectrum
from markovbridge.covariances.torus import Torus
from markovbridge.doors import checks

Method = Literal["spectrum", "likelihood"]

SPAN = 1e4  # how far, as a factor, a parameter may move from where it starts
ALTERNATIONS = 50
UNLIKELY = 1e300  # the loss where there is no likelihood: a search cannot subtract infinities


@dataclass(frozen=True, eq=False)
class Fit:
    """A covariance fitted to data.

    Attributes:
        covariance: The fitted covariance.
        log_likelihood: Gaussian log likelihood per item, nats; for "spectrum" on a `Grid`,
            Whittle's approximation of it.
        method: How it was fitted.
        items: How many items it was fitted to.
    """

    covariance: Covariance
    log_likelihood: float
    method: Method
    items: int


def fit(
    covariance: Covariance,
    data: Tensor | np.ndarray,
    *,
    method: Method = "spectrum",
    mean: Tensor | np.ndarray | None = None,
    fixed: tuple[str, ...] = (),
) -> Fit:
    """Fit a covariance to data, from the parameters it has to begin with.

    `Isotropic`, `Torus`, `Grid` and `GMRF` are fitted in the variance and the other
    parameters of their kernel, `Separable` in those of its space, one of these, and in a
    `Dense` matrix over channels.

    Args:
        covariance: What to fit, holding the starting values.
        data: (N, *event), N ≥ 2 unless `mean` is given; counts or reals, a tensor or array.
        method: "spectrum" for `Torus` and `Grid`, "likelihood" for all that have `solve`
            and `logdet`.
        mean: What to subtract, broadcastable to event; None is the data's mean per site.
        fixed: Names of kernel parameters that keep their values, such as ("smoothness",).

    Returns:
        The fit, in the units of `data`.

    Raises:
        ValueError: If data or names are unusable, if the data do not vary, or if a parameter
            runs away, naming it.
    """
    if method not in get_args(Method):
        raise ValueError(f'method must be "spectrum" or "likelihood", not {method!r}')
    x = centred(data, mean)
    if isinstance(covariance, Separable):
        return fit_separable(covariance, x, method, fixed)
    event = tuple(x.shape[1:])
    if method == "spectrum":
        dimension = getattr(covariance, "dimension", len(event))
        check_event(event, dimension)
        spectrum = periodogram(x, dimension)
    else:
        spectrum = None
    sites = math.prod(event)

    def terms(candidate: Covariance) -> tuple[float, float]:
        """Log det R and q for a candidate of variance 1."""
        if spectrum is not None:
            expected = expected_spectrum(candidate, tuple(spectrum.shape))
            copies = sites // spectrum.numel()
            return copies * float(expected.log().sum()), copies * float(
                (spectrum / expected).sum()
            )
        return candidate.logdet(event), float((x * candidate.solve(x)).double().sum() / len(x))

    def log_likelihood(logdet: float, q: float) -> float:
        value = -0.5 * (logdet + sites * (math.log(q / sites) + 1 + math.log(2 * math.pi)))
        return value if math.isfinite(value) else -math.inf

    unit = with_parameters(covariance, {variance_name(covariance): 1.0})
    best = search(unit, free_parameters(unit, fixed), lambda c: log_likelihood(*terms(c)))
    logdet, q = terms(best)
    fitted = with_parameters(best, {variance_name(best): q / sites})
    return Fit(fitted, log_likelihood(logdet, q), method, len(x))


def fit_separable(covariance: Separable, x: Tensor, method: Method, fixed: tuple[str, ...]) -> Fit:
    """Fit space and channels in turn, until the likelihood stands still."""
    if not isinstance(covariance.channels, Dense):
        name = type(covariance.channels).__name__
        raise ValueError(f"Separable is fitted with Dense over channels, not {name}")
    if x.ndim < 3:
        raise ValueError(f"Separable needs data (N, channels, *space), not {tuple(x.shape)}")
    count, sites = x.shape[1], math.prod(x.shape[2:])
    space, previous = covariance.space, -math.inf
    for _ in range(ALTERNATIONS):
        whitened = space.solve(x.flatten(0, 1)).reshape(x.shape)
        scatter = torch.einsum("ncs,nds->cd", x.flatten(2), whitened.flatten(2))
        matrix = (scatter + scatter.T) / (2 * len(x) * sites)
        # The two factors' scales are one number: the matrix has mean variance 1.
        channels = Dense(matrix * (count / matrix.trace()))
        white = channels.inverse_sqrt(x.flatten(2).movedim(1, 2)).movedim(2, 1).reshape(x.shape)
        zero = torch.zeros((), dtype=x.dtype, device=x.device)
        inner = fit(space, white.flatten(0, 1), method=method, mean=zero, fixed=fixed)
        space = inner.covariance
        current = count * inner.log_likelihood - 0.5 * sites * channels.logdet((count,))
        if current - previous < 1e-9 * abs(current):
            return Fit(Separable(space, channels), current, method, len(x))
        previous = current
    raise ValueError(f"space and channels did not settle in {ALTERNATIONS} alternations")


def as_tensor(values: Tensor | np.ndarray, name: str) -> Tensor:
    """A tensor of what may be an array, or an error."""
    if not isinstance(values, Tensor | np.ndarray):
        raise TypeError(f"{name} must be a tensor or a NumPy array, not {type(values).__name__}")
    return torch.as_tensor(checks.unmasked(values, name))


def centred(data: Tensor | np.ndarray, mean: Tensor | np.ndarray | None) -> Tensor:
    """The data less their mean, checked, in float64 unless they are float32."""
    data = as_tensor(data, "data to fit a covariance to")
    mean = None if mean is None else as_tensor(mean, "mean")
    if data.ndim < 2 or data.numel() == 0:
        raise ValueError(f"a fit needs data of shape (N, *event), not {tuple(data.shape)}")
    if len(data) < 2 and mean is None:
        raise ValueError("one item less its own mean is zero: give more items, or `mean`")
    x = data if data.dtype == torch.float32 else data.double()
    if not bool(x.isfinite().all()):
        raise ValueError("data to fit a covariance to must be finite: they hold NaN or infinity")
    x = x - (x.mean(0) if mean is None else mean.to(x))
    if not bool(x.any()):
        raise ValueError("the data do not vary about their mean: there is nothing to fit")
    return x


def variance_name(covariance: Covariance) -> str:
    """What the variance of a covariance is called."""
    return "marginal" if isinstance(covariance, Isotropic) else "variance"


def with_parameters(covariance: Covariance, values: dict[str, float]) -> Covariance:
    """The covariance with other values of its kernel's parameters."""
    if isinstance(covariance, Torus | Grid | GMRF):
        return replace(covariance, kernel=replace(covariance.kernel, **values))
    if isinstance(covariance, Isotropic):
        return replace(covariance, **values)
    raise ValueError(
        f"{type(covariance).__name__} has no parameters to fit: fit Isotropic, Torus, Grid, GMRF "
        "or Separable, or take the sample covariance, Dense(torch.cov(...))"
    )


def free_parameters(covariance: Covariance, fixed: tuple[str, ...]) -> dict[str, float]:
    """Names and values of the parameters to search over; the variance is known given these."""
    kernel = getattr(covariance, "kernel", None)
    values = {}
    if isinstance(kernel, Kernel):
        values = {f.name: float(getattr(kernel, f.name)) for f in fields(kernel)}
        del values["variance"]
    for name in fixed:
        if name not in values:
            raise ValueError(
                f"fixed names {name!r}; the parameters beside the variance are "
                + (", ".join(values) or "none")
            )
    if isinstance(covariance, GMRF):
        # Only half or whole numbers have a sparse precision.
        fixed = (*fixed, "smoothness")
    return {name: value for name, value in values.items() if name not in fixed}


def expected_spectrum(covariance: Covariance, sizes: tuple[int, ...]) -> Tensor:
    """What a covariance expects of the periodogram."""
    if isinstance(covariance, Torus):
        return torus_spectrum(covariance.kernel, sizes)
    if isinstance(covariance, Grid):
        return expected_periodogram(covariance.kernel, sizes)
    raise ValueError(
        f'{type(covariance).__name__} has no spectrum to fit by: pass method="likelihood"'
    )


def search(
    covariance: Covariance, free: dict[str, float], objective: Callable[[Covariance], float]
) -> Covariance:
    """The covariance with the free parameters that maximise the objective."""
    first = objective(covariance)
    if not math.isfinite(first):
        raise ValueError(
            f"the data have no likelihood under {covariance}: start from a shorter length or a "
            "rougher kernel"
        )
    if not free:
        return covariance
    from scipy.optimize import minimize

    def at(logs: np.ndarray) -> Covariance:
        values = {name: math.exp(v) for name, v in zip(free, logs, strict=True)}
        return with_parameters(covariance, values)

    def loss(logs: np.ndarray) -> float:
        try:
            value = objective(at(logs))
        except ValueError:  # singular to the data's dtype: no likelihood
            return UNLIKELY
        return -value if math.isfinite(value) else UNLIKELY

    start = np.log(list(free.values()))
    low, high = start - math.log(SPAN), start + math.log(SPAN)
    for i, name in enumerate(free):
        if name == "smoothness":
            high[i] = math.log(LARGEST_SMOOTHNESS)
    result = minimize(
        loss,
        start,
        method="Nelder-Mead",
        bounds=list(zip(low, high, strict=True)),
        options={
            "initial_simplex": np.vstack([start, start + 0.4 * np.eye(len(start))]),
            "xatol": 1e-5,
            "fatol": 1e-9 * abs(first),
            "maxiter": 1000,
        },
    )
    for name, value, least, most in zip(free, result.x, low, high, strict=True):
        if not least + 1e-3 < value < most - 1e-3:
            raise ValueError(
                f"the fit of {covariance} ran away to {name} = {math.exp(value):.3g}: the data do "
                f'not determine it. Pass fixed=("{name}",), or take another kernel'
            )
    if not result.success:
        raise ValueError(f"the fit of {covariance} did not converge: {result.message}")
    return at(result.x)


doors.guard(
    __name__,
    own=("data",),
    inside=(
        "as_tensor",
        "centred",
        "expected_spectrum",
        "fit_separable",
        "free_parameters",
        "search",
        "variance_name",
        "with_parameters",
    ),
)
