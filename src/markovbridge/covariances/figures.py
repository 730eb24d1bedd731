r"""Fitted covariances beside the data: power over wavenumber, covariance over distance.

Left, the periodogram averaged over waves of about the same length; right, the
covariance of two sites averaged over pairs at about the same distance,

    c(u) = mean over items n and sites s of x_n(s) x_n(s + u),

each for the data as dots and for every fit as a line. Power at ω = 0 is left out. A
fit's own power is exact for `Torus` and `Grid`, else the mean over draws; its
covariance over distance is seen from the centre of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import Covariance, check_event
from markovbridge.covariances.fit import Fit, centred, expected_spectrum
from markovbridge.covariances.grid import Grid
from markovbridge.covariances.spectra import euclidean, periodogram, wavenumbers
from markovbridge.covariances.torus import Torus
from markovbridge.doors.randomness import generator
from markovbridge.storage.captions import wrapped
from markovbridge.storage.lazily import optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

DRAWS = 1024


def plot(
    data: Tensor,
    fits: Mapping[str, Fit],
    *,
    dimension: int = 2,
    mean: Tensor | None = None,
    axes: Sequence[Axes] | None = None,
) -> Figure | SubFigure:
    """Draw fits beside the data they were fitted to.

    Args:
        data: (N, *event), as passed to `fit`.
        fits: The fits by label.
        dimension: How many trailing axes of the event are space.
        mean: What to subtract from the data; None is their mean per site.
        axes: Two axes to draw on; None makes a figure.

    Returns:
        The figure; `figure.savefig(path)` writes it.

    Raises:
        ModuleNotFoundError: Without matplotlib.
    """
    figures = optional("matplotlib.figure", "drawing fits")
    tickers = optional("matplotlib.ticker", "drawing fits")
    x = centred(data, mean)
    event = tuple(x.shape[1:])
    sizes = check_event(event, dimension)[1]
    if axes is None:
        figure = figures.Figure(figsize=(8, 3.4), layout="constrained")
        kinds = " x ".join(str(size) for size in event)
        says = f"Covariances fitted to {len(x):,} data of {kinds}: {', '.join(fits)}"
        figure.suptitle(wrapped(says, 8), fontsize="small")
        axes = [figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)]
    power, distance = axes

    waves = wavenumbers(sizes)
    longest = 2 * math.pi / max(sizes)
    power.plot(*by_norm(waves, periodogram(x, dimension), longest, longest / 2), "k.")
    lags, products = lag_covariance(x, dimension)
    distance.plot(*by_norm(lags, products, 1.0, most=0.75 * min(sizes)), "k.", label="data")
    for label, fitted in fits.items():
        spectrum = model_spectrum(fitted.covariance, x, sizes)
        power.plot(*by_norm(waves, spectrum, longest, longest / 2), label=label)
        lags, products = model_covariance(fitted.covariance, event, sizes)
        distance.plot(*by_norm(lags, products, 1.0), label=label)
    power.set(xscale="log", yscale="log", xlabel="wavenumber (radians per site)", ylabel="power")
    power.xaxis.set_minor_formatter(tickers.NullFormatter())
    distance.set(xlabel="distance (sites)", ylabel="covariance")
    distance.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    distance.legend(frameon=False)
    return power.figure


def by_norm(
    norms: Tensor, values: Tensor, step: float, least: float = 0.0, most: float = math.inf
) -> tuple[list[float], list[float]]:
    """Means of norms and values over rings of a given width, for norms within limits."""
    chosen = (norms >= least) & (norms <= most)
    ring = (norms[chosen] / step).round().long()
    count = torch.bincount(ring).double()
    x = torch.bincount(ring, norms[chosen].double()) / count
    y = torch.bincount(ring, values[chosen].double()) / count
    kept = count > 0
    return x[kept].tolist(), y[kept].tolist()


def lag_covariance(x: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """|u| and c(u) over all lags u of the grid, each (2n, ...)."""
    sizes = x.shape[-dimension:]
    padding = [length for n in reversed(sizes) for length in (0, n)]
    sites = math.prod(sizes)
    products, pairs = (
        torch.fft.ifftn(periodogram(torch.nn.functional.pad(field, padding), dimension)).real
        for field in (x, torch.ones(1, *sizes, dtype=torch.float64))
    )
    lags = euclidean([torch.cat([torch.arange(n), torch.arange(-n, 0)]) for n in sizes])
    # A lag of n sites has no pairs.
    seen = (pairs * 2**dimension * sites).round() > 0
    return lags.where(seen, math.inf), torch.where(seen, products / pairs, 0.0)


def model_spectrum(covariance: Covariance, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The periodogram that a covariance expects, exactly or as the mean of draws."""
    if isinstance(covariance, Torus | Grid):
        return expected_spectrum(covariance, sizes)
    like = torch.empty(DRAWS, *x.shape[1:], dtype=torch.float64)
    draws = covariance.sample(like, generator=generator("cpu", "covariance fit"))
    return periodogram(draws, len(sizes))


def model_covariance(
    covariance: Covariance, event: tuple[int, ...], sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """|u| and the covariance with the central site, averaged over the axes before space."""
    copies = math.prod(event) // math.prod(sizes)
    centre = tuple(n // 2 for n in sizes)
    sources = torch.zeros(copies, copies, *sizes, dtype=torch.float64)
    sources[(slice(None), slice(None), *centre)] = torch.eye(copies, dtype=torch.float64)
    images = (covariance @ sources.reshape(copies, *event)).reshape(copies, copies, *sizes)
    lags = euclidean([torch.arange(n) - c for n, c in zip(sizes, centre, strict=True)])
    return lags, images.diagonal(dim1=0, dim2=1).mean(-1)


doors.guard(__name__, inside=("by_norm", "lag_covariance", "model_covariance", "model_spectrum"))
