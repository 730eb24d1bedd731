"""A random field is completed from a few noisy readings: draws, mean and error, exactly known.

    python examples/kriging.py [--output kriging.png]

A Gaussian field of Matérn covariance on a torus is read at 40 sites, with noise. Source and data
of the bridge are the readings (0 elsewhere) and the field; they are jointly Gaussian, so the law
of the bridge is known (`exact.Gaussian`), and what it carries the readings to are draws of the
field given them: conditional simulation. Its mean and its deviation are those of kriging, the best
linear guess, which one solve has as well: printed is how far 300 draws of 5 steps are from it,
beside the error that so many draws have by chance. Takes 6 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.covariances import Matern, Torus

NOISE = 0.1  # standard deviation of a reading


def main(output=None, side=18, readings=40, draws=300, steps=5):
    generator = torch.Generator().manual_seed(0)
    noise = Torus(Matern(variance=1.0, length=3.0, smoothness=1.5))
    event = (1, side, side)
    sites = side * side
    basis = torch.eye(sites, dtype=torch.float64).reshape(-1, *event)
    covariance = (noise @ basis).flatten(1)

    field = noise.sample(torch.zeros(1, *event), generator=generator)
    mask = torch.zeros(sites, dtype=torch.float64)
    mask[torch.randperm(sites, generator=generator)[:readings]] = 1.0
    read = mask.reshape(event) * (field + NOISE * torch.randn(field.shape, generator=generator))
    seen = mask[:, None] * mask * (covariance + NOISE**2 * torch.eye(sites))

    # The bridge: readings at t = 0, the field at t = 1, both Gaussian, noise of the same kind.
    process = mb.LinearDiffusion(mb.Brownian(0.5), noise)
    law = exact.Gaussian(
        process,
        torch.zeros(event),
        covariance,
        start_covariance=seen,
        cross=mask[:, None] * covariance,
        coupling=mb.Paired(preserve=True),
    )
    model = mb.Transport(process, law, shape=event)
    rows = read.float().expand(draws, *event)
    found = model.translate(rows, steps=steps, block=draws, generator=generator).double()

    # Kriging: E[field | readings] and its variance, by one solve.
    known = mask.bool()
    weights = torch.linalg.solve(seen[known][:, known], covariance[known]).mT
    mean = (weights @ read.double().flatten()[known]).reshape(event)
    variance = covariance.diagonal() - (weights * covariance[:, known]).sum(1)
    deviation = variance.sqrt().reshape(event)

    off = ((found.mean(0) - mean) / deviation).square().mean().sqrt()
    spread = (found.std(0) / deviation).square().mean().sqrt()
    chance = draws**-0.5
    error = float((mean - field).square().mean().sqrt())
    print(f"mean of the draws less kriging's, in its deviations: {float(off):.3f}")
    print(f"  by chance, of {draws} draws: {chance:.3f}")
    print(f"deviation of the draws over kriging's: {float(spread):.3f}")
    print(f"error of kriging: {error:.3f}, as it says: {float(variance.mean().sqrt()):.3f}")
    if output is not None:
        draw(output, field, read, mask, found, mean, deviation)
    return float(off), chance, float(spread)


def draw(output, field, read, mask, found, mean, deviation):
    import matplotlib.pyplot as plt

    hidden = torch.where(mask.reshape(read.shape[1:]) > 0, read[0].double(), torch.nan)
    pictures = (
        ("the field", field[0, 0]),
        ("readings", hidden[0]),
        ("one draw given them", found[0, 0]),
        ("another draw", found[1, 0]),
        ("mean of the draws", found.mean(0)[0]),
        ("kriging", mean[0]),
        ("deviation of the draws", found.std(0)[0]),
        ("of kriging", deviation[0]),
    )
    figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
    for k, (axis, (title, image)) in enumerate(zip(axes.T.flat, pictures, strict=True)):
        limits = {"vmin": -2.5, "vmax": 2.5} if k < 6 else {"vmin": 0, "vmax": 1}
        shown = axis.imshow(image.numpy(), cmap="RdBu_r" if k < 6 else "viridis", **limits)
        axis.set_title(title, fontsize=9)
        axis.set(xticks=[], yticks=[])
        if k in (5, 7):
            figure.colorbar(shown, ax=axes[:, k // 2], shrink=0.7, location="bottom")
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="kriging.png")
    main(parser.parse_args().output)
