"""What correlated noise costs, and how well it fits real images.

    python benchmarks/covariances.py
    python benchmarks/covariances.py --figure docs/images/covariance-fit.png

The first times draws of float32 fields on a single thread, best of some repetitions,
and fits the exponent p in seconds ~ (d log d)^p to four sizes of d sites. Those are
drawn in batches of as many sites, so that all are as large beside the caches. It fails
if a single field of 1024 x 1024 on torus or grid, or by mode, takes 0.5 s or more. Set-up, once
per size, is the eigenvalues or the factorisation.

The second fits kernels to Fashion-MNIST (training images scaled to [-1, 1], less their
mean) and to the 8x8 digits, prints the Gaussian log-likelihood of each in nats per
site, and draws the fits.
"""

import argparse
import math
import sys
import time

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import pad

from markovbridge.covariances import (
    GMRF,
    Cosine,
    Covariance,
    Dense,
    Exponential,
    Fit,
    Fourier,
    Grid,
    Isotropic,
    Kernel,
    Matern,
    Modal,
    PowerLaw,
    SquaredExponential,
    Torus,
    fit,
    plot,
)
from markovbridge.covariances.spectra import kernel_at
from markovbridge.data import IDX, Digits, Source
from markovbridge.doors.randomness import generator

SIZES = (256, 512, 1024, 2048)
LIMIT = 0.5  # seconds for 1024 x 1024
KERNEL = Matern(length=8.0, smoothness=1.0)
FRESH = Matern(length=8.5, smoothness=1.0)  # one whose eigenvalues are not yet known
OCTAVES = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25)  # variances of the bands of modes


def seconds(covariance: Covariance, like: Tensor, repetitions: int) -> tuple[float, float]:
    """Set-up, with the first draw, and the best of the draws after it."""
    times = []
    noise = generator("cpu", "benchmark")
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        covariance.sample(like, generator=noise)
        times.append(time.perf_counter() - start)
    return times[0] - min(times[1:]), min(times[1:])


def time_draws(repetitions: int) -> bool:
    torch.set_num_threads(1)
    print(f"float32 fields, {KERNEL}, one thread")
    print(f"\nmilliseconds per field, drawn {2 * max(SIZES) ** 2:,} sites at a time\n")
    print(f"{'':8}" + "".join(f"{f'{n} x {n}':>13}" for n in SIZES) + "   exponent of d log d")
    work = [n * n * math.log(n * n) for n in SIZES]
    families = {"white": Isotropic(), "torus": Torus(KERNEL), "grid": Grid(KERNEL)}
    for name, covariance in families.items():
        draws = []
        for n in SIZES:
            count = 2 * (max(SIZES) // n) ** 2
            draws.append(seconds(covariance, torch.zeros(count, n, n), repetitions)[1] / count)
        exponent = np.polyfit(np.log(work), np.log(draws), 1)[0]
        print(f"{name:8}" + "".join(f"{1e3 * draw:13.2f}" for draw in draws) + f"{exponent:12.2f}")
    met = True
    print("\nmilliseconds for a single field, and to set up the first time\n")
    for name, covariance, n in (
        ("torus", Torus(FRESH), 1024),
        ("grid", Grid(FRESH), 1024),
        ("cosine", Modal(Cosine(), OCTAVES), 1024),
        ("fourier", Modal(Fourier(), OCTAVES), 1024),
        ("gmrf", GMRF(FRESH), 256),
    ):
        setup, draw = seconds(covariance, torch.zeros(1, n, n), repetitions)
        print(f"{name:8}{f'{n} x {n}':>13}{1e3 * draw:13.2f}{1e3 * setup:13.2f}")
        met &= n < 1024 or draw < LIMIT
    print(f"\n1024 x 1024 under {LIMIT} s: {'yes' if met else 'NO'}")
    return met


def dense(kernel: Kernel, sizes: tuple[int, int]) -> Dense:
    """The matrix of a kernel on a small grid, for its exact likelihood."""
    rows, columns = (torch.arange(n) for n in sizes)
    table = kernel_at(kernel, [rows, columns])
    lags = [(axis[:, None] - axis).abs() for axis in (rows, columns)]
    blocks = table[lags[0][:, None, :, None], lags[1][None, :, None, :]]
    return Dense(blocks.reshape(math.prod(sizes), -1))


def log_likelihood(covariance: Covariance, x: Tensor) -> float:
    """Nats per site of centred data."""
    energy = float((x * covariance.solve(x)).double().sum() / len(x))
    d = x[0].numel()
    return -0.5 * (energy + covariance.logdet(x.shape[1:]) + d * math.log(2 * math.pi)) / d


def scaled(source: Source) -> Tensor:
    data = source.load("train")
    assert data.maximum is not None
    return data.x.float() * (2 / data.maximum) - 1


def fit_all(name: str, x: Tensor) -> dict[str, Fit]:
    """Fit every kernel that the data determine, and print the likelihoods."""
    print(f"\n{name}: {len(x)} images of {tuple(x.shape[1:])}, variance {x.var(0).mean():.3f}")
    print(f"{'':24}{'nats/site':>10}  parameters")
    centred = x - x.mean(0)
    fits = {}
    starts = {
        "torus, Matérn": (Torus(Matern(length=2.0, smoothness=1.0)), "spectrum"),
        "torus, exponential": (Torus(Exponential(length=2.0)), "spectrum"),
        "torus, sq. exponential": (Torus(SquaredExponential()), "spectrum"),
        "torus, power law": (Torus(PowerLaw()), "spectrum"),
        "grid, exponential": (Grid(Exponential(length=2.0), doublings=4), "spectrum"),
        "grid, Matérn": (Grid(Matern(length=2.0, smoothness=1.0), doublings=4), "spectrum"),
        "GMRF": (GMRF(Matern(length=2.0, smoothness=1.0)), "likelihood"),
        "isotropic": (Isotropic(), "likelihood"),
    }
    for label, (start, method) in starts.items():
        try:
            found = fit(start, x if method == "spectrum" else x[:10_000], method=method)
        except ValueError as error:
            print(f"{label:24}{'refused':>10}  {error}")
            continue
        covariance = found.covariance
        kernel = getattr(covariance, "kernel", covariance)
        values = ", ".join(f"{name} {value:.3g}" for name, value in vars(kernel).items())
        exact = dense(kernel, tuple(x.shape[-2:])) if label.startswith("grid") else covariance
        print(f"{label:24}{log_likelihood(exact, centred):10.4f}  {values}")
        fits[label] = found
    return fits


def show(panel: Axes, images: Tensor, title: str) -> None:
    """Eight images as one picture."""
    limit = float(images.abs().quantile(0.99))
    framed = pad(images.squeeze(1), (0, 1, 0, 1), value=math.nan).unflatten(0, (2, 4))
    panel.imshow(framed.movedim(2, 1).flatten(2).flatten(0, 1), "gray", vmin=-limit, vmax=limit)
    panel.set_title(title, fontsize="medium")
    panel.axis("off")


def draw_fits(path: str) -> None:
    figure = Figure(figsize=(9.6, 6), layout="constrained")
    sources = {"Fashion-MNIST": IDX("fashion-mnist"), "digits": Digits()}
    for row, (name, source) in zip(figure.subfigures(2, 1), sources.items(), strict=True):
        x = scaled(source)
        fits = fit_all(name, x)
        chosen = {k: fits[k] for k in ("torus, Matérn", "torus, power law", "GMRF")}
        row.suptitle(name)
        grid = row.add_gridspec(2, 3, width_ratios=(1, 1, 1.1))
        axes = [row.add_subplot(grid[:, column]) for column in (0, 1)]
        plot(x, chosen, axes=axes)
        noise = fits["torus, Matérn"].covariance.sample(x[:8], generator=generator("cpu", name))
        show(row.add_subplot(grid[0, 2]), (x - x.mean(0))[:8], "images less their mean")
        show(row.add_subplot(grid[1, 2]), noise, "noise, torus, Matérn")
    figure.savefig(path, dpi=72, pil_kwargs={"optimize": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--figure", metavar="PATH", help="fit the data sets and draw the fits")
    arguments = parser.parse_args()
    if arguments.figure:
        draw_fits(arguments.figure)
    elif not time_draws(arguments.repetitions):
        sys.exit(1)


if __name__ == "__main__":
    main()
