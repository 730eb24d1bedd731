r"""The choice of noise and of clocks by mode, from data, and a picture of it.

Of Gaussian data with variance S in a mode the best guess of x_1 given x_t is linear, and leaves

    E(t) = S n/(κ² S + n),      n = λ v, x_t given x_1 ~ N(κ x_1, v Γ), λ that of Γ,

so that a band is half decided when n/κ² = S. `opposite` is noise of a power of the covariance of
the data, by which bands are decided further apart in time, coarse ones first. `even_clocks`
decides them one after the other, the strongest first, each when those before it have been: the
time of a band is the middle of its share of the variance of the data, and the total error falls
evenly in t. `plot_bands` draws E/S over band and time.

Data that are not Gaussian are decided earlier than that: the best guess is not linear. A trained
`model` is asked in place of the linear guess, along pinned paths to data,

    E(t) = E|U x_1 - U E[x_1 | x_t]|²   of each band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.couplings.base import check_made_for, linear
from markovbridge.covariances import Covariance, Dense, Isotropic, Power, Transform
from markovbridge.covariances.spectral import eigenvalues
from markovbridge.processes import BandClocks, LinearDiffusion, Process
from markovbridge.processes.schedules import Reading
from markovbridge.samplers.model import DataModel, Given
from markovbridge.storage.captions import axes, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SITES = 4096  # of which a covariance matrix is made at most
FAR = 16.0  # times are looked at as far as odds of e^±16
TIMES = 4001
LOOKS = 32  # steps between times at which a model is asked
ASKED = 256  # rows of data that a model is asked of at most
LEAST = 1e-6  # of the power of the strongest band, below which there is nothing to decide


def opposite(x: Tensor, exponent: float = -0.25, *, base: Covariance | None = None) -> Power:
    """Noise of covariance C^γ, C being that of the data, and of their total variance.

    Args:
        x: Data in the coordinates of the process, (n, *event).
        exponent: γ, negative for noise that is quieter where the data are strong. -1/4 pays on
            images of 8 x 8, and not on larger ones: docs/measured/bridges.md.
        base: C, such as a fitted `Torus`; by default the covariance of all sites.

    Raises:
        ValueError: If there are too many sites for that.
    """
    if base is None:
        flat = x.flatten(1).double()
        if flat.shape[1] > SITES:
            raise ValueError(
                f"the covariance of {flat.shape[1]:,} sites is too large a matrix: fit a kernel, "
                "covariances.fit(Torus(Matern()), x).covariance, and pass it as base"
            )
        base = Dense(torch.cov(flat.mT))
    return Power(base, exponent)


def even_clocks(
    process: LinearDiffusion,
    coupling: Coupling,
    modes: Transform,
    x: Tensor,
    *,
    model: DataModel | None = None,
    generator: torch.Generator | None = None,
) -> BandClocks:
    """Clocks by which the error of the best guess falls evenly, strong bands first.

    Args:
        process: The diffusion without modes.
        coupling: One under which the law of x_t given x_1 is known.
        modes: What its bands are.
        x: Data in the coordinates of the process, (n, *event).
        model: A trained model of this process and coupling, whose guess is taken in place of the
            best linear one: 33 calls of the network, each of at most 256 rows of x.
        generator: Source of randomness of the paths that the model is shown, on its device.

    Returns:
        What `LinearDiffusion(..., modes=modes, clocks=...)` takes; of images, `.between()` of it.

    Raises:
        ValueError: If the process has modes already, the model is of another process or coupling,
            or the law is not known.
    """
    if process.modes is not None:
        raise ValueError("process has modes already: choose clocks for one without")
    event = x.shape[1:]
    spectrum, counts = modes.power(x - x.mean(0)), modes.counts(event)
    if not float(spectrum.max()) > 0:
        raise ValueError("x does not vary, and no band of it is to be decided: give more rows")
    power = spectrum.clamp_min(LEAST * float(spectrum.max()))
    odds = torch.linspace(-FAR, FAR, TIMES, dtype=torch.float64)
    p, q = odds.sigmoid(), (-odds).sigmoid()
    times = Reading(process.schedule, process.schedule.time(p, q))
    own = _halved(odds, _left(process, coupling, modes, power, event, times))
    if model is not None:
        # Where the guess of the model is never so good, as of weak bands, that of the linear one.
        looks = slice(None, None, TIMES // LOOKS)
        left = _asked(process, coupling, modes, power, x, times[looks], model, generator)
        asked = _halved(odds[looks], left)
        own = torch.where(asked.isnan(), own, asked)
    order = power.argsort(descending=True)
    share = counts[order] * power[order]
    until = share.cumsum(0) / share.sum()
    wanted = torch.empty_like(until)
    wanted[order] = (until - share / share.sum() / 2).clamp(1e-6, 1 - 1e-6)
    clock = process.schedule.survival(wanted).log() - process.schedule.mortality(wanted).log()
    found = (own - clock).exp().clamp(1e-9, 1e9)
    return BandClocks(tuple(found.tolist()), tuple(spectrum.tolist()))


def _halved(odds: Tensor, left: Tensor) -> Tensor:
    """Where each band is down to half of what it began with, (bands,); NaN where it never is."""
    half = left[:, 0] / 2
    never = ~(left <= half[:, None]).any(1)
    after = (left <= half[:, None]).double().argmax(1).clamp_min(1)
    before = after - 1
    row = torch.arange(len(left))
    high, low = left[row, before], left[row, after]
    part = ((high - half) / (high - low).clamp_min(1e-300)).clamp(0, 1)
    return torch.where(never, math.nan, odds[before].lerp(odds[after], part))


@torch.no_grad()
def _asked(
    process: Process,
    coupling: Coupling,
    modes: Transform,
    spectrum: Tensor,
    x: Tensor,
    times: Tensor,
    model: DataModel,
    generator: torch.Generator | None,
) -> Tensor:
    """E/S at each time by the guess of a model, (bands, times)."""
    check_made_for("model", (model.process, model.coupling), process, coupling)
    x1 = x[:: -(-len(x) // ASKED)].to(model.device, torch.float32)
    left = []
    with model.evaluating():
        for t in times.tolist():
            x0 = coupling.pair(process, x1, generator=generator)
            x_t = process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
            law = model.law(x_t, t, Given(start=x0 if coupling.preserve else None))
            left.append(modes.power((x1 - law.mean).double().cpu()) / spectrum)
    return torch.stack(left, 1)


def _left(
    process: LinearDiffusion,
    coupling: Coupling,
    modes: Transform,
    spectrum: Tensor,
    event: Sequence[int],
    times: Tensor,
) -> Tensor:
    """E/S at each time, (bands, times)."""
    kernel = coupling.kernel(process, times)
    columns = len(times), -1
    gain, noise = kernel.gain.reshape(columns), kernel.variance.reshape(columns)
    covariance = process.covariance
    if isinstance(covariance, Isotropic):
        own = torch.full((modes.bands,), float(covariance.marginal), dtype=torch.float64)
    else:
        own = modes.average(eigenvalues(covariance, modes, event))
    noise = noise * own
    # Where x_t is certain and says nothing of x_1, as at a point, all is open.
    left = torch.where((gain == 0) & (noise == 0), 1.0, noise)
    return (left / (gain**2 * spectrum + left)).mT


def plot_bands(
    process: Process,
    coupling: Coupling,
    x: Tensor,
    *,
    modes: Transform | None = None,
    times: Sequence[float] | None = None,
    model: DataModel | None = None,
    generator: torch.Generator | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of each band that x_t leaves open to the best guess, over time.

    Args:
        process: A linear diffusion, with modes or without.
        coupling: One under which the law of x_t given x_1 is known.
        x: Data in the coordinates of the process, (n, *event).
        modes: Bands to look at where the process has none; by default those of its covariance.
        times: When; by default 101 times.
        model: A trained model of this process and coupling, whose guess is taken in place of the
            best linear one, of 256 rows of x or fewer.
        generator: Source of randomness of the paths that the model is shown, on its device.
        ax: Axes to draw on; by default new ones.

    Raises:
        ValueError: If the law of x_t is not known, or the model is of another process or coupling.
    """
    process = linear(process)
    modes = process.modes or modes or process.covariance.modes
    when = list(times) if times is not None else torch.linspace(0, 1, 101).tolist()
    spectrum = modes.power(x - x.mean(0)).clamp_min(1e-12)
    at = process.schedule.at(torch.tensor(when, dtype=torch.float64))
    if model is None:
        left = _left(process, coupling, modes, spectrum, x.shape[1:], at)
    else:
        left = _asked(process, coupling, modes, spectrum, x, at, model, generator)
    order = spectrum.argsort(descending=True)
    order = order[modes.counts(x.shape[1:])[order] > 0]
    says = f"What x_t leaves open of {len(order):,} bands: {named(process)}, {named(coupling)}"
    ax = axes(ax, f"{says}, {len(x):,} data", (6, 3.6))
    bands = range(len(order) + 1)
    middle = [(a + b) / 2 for a, b in zip(when[:-1], when[1:], strict=True)]
    edges = [when[0], *middle, when[-1]]
    image = ax.pcolormesh(edges, bands, left[order].numpy(), vmin=0, vmax=1, cmap="viridis")
    assert ax.figure is not None
    ax.figure.colorbar(image, ax=ax, label="share that is open")
    ax.invert_yaxis()
    ax.set(xlabel="t", ylabel="band, the strongest first")
    return ax


doors.guard(__name__)
