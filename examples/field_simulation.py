"""A field of 256 x 256 sites, simulated given 200 of them: noise decides how few looks it takes.

    python examples/field_simulation.py [--output field_simulation.png]

A Gaussian field of Matérn covariance is known at scattered sites. Its law given them and a state
on the way from noise is known (`exact.GaussianField`, by fast Fourier transforms), so `impute`
draws the rest without training: conditional simulation. `Bridge` draws it exactly, in one step.
What a trained network would state is the mean alone, and steps by means (`Midpoint`) have an error
that depends on the noise. With white noise each wave is decided at a time of its own, long ones
first, and few steps meet few of these times; with noise of the covariance of the field all are
decided alike. Printed is the deviation of draws over that of kriging, the best linear guess, and
how much neighbours differ, over how much they should. Takes 9 s of one core.
"""

import argparse
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge import couplings, exact
from markovbridge.covariances import Isotropic, Matern, Torus
from markovbridge.samplers.known_sites import Observed

FIELD = Torus(Matern(variance=1.0, length=12.0, smoothness=1.5))
NOISES = {"white noise": Isotropic(1.0), "noise of the field": FIELD}
FROM_NOISE = mb.Independent(couplings.Gaussian(correlated=True))


def model_of(noise, event):
    process = mb.LinearDiffusion(mb.Brownian(0.5), noise)
    return mb.Transport(process, exact.GaussianField(process, FIELD, 0.0, FROM_NOISE), shape=event)


def roughness(x, beside):
    """How much neighbours that are both unknown differ, root mean square."""
    return float((x[..., 1:] - x[..., :-1])[..., beside].double().square().mean().sqrt())


def main(output=None, side=256, known=200, draws=20, counts=(1, 2, 3, 5)):
    generator = torch.Generator().manual_seed(0)
    event = (1, side, side)
    field = FIELD.sample(torch.zeros(1, *event), generator=generator)
    mask = torch.zeros(side * side, dtype=torch.bool)
    mask[torch.randperm(side * side, generator=generator)[:known]] = True
    mask = mask.reshape(1, *event)

    # Kriging: the same law, where the state says nothing, as at a point from which paths start.
    still = exact.GaussianField(mb.LinearDiffusion(), FIELD, coupling=mb.Dirac())
    law = still.given_known(torch.zeros(1, *event).double(), 0.0, Observed(field.double(), mask))
    mean, deviation = law.mean[0], law.variance[0].sqrt()
    hidden = ~mask[0, 0]
    beside = hidden[:, 1:] & hidden[:, :-1]

    def drawn(noise, **options):
        made = model_of(noise, event).impute(
            field.expand(draws, *event), mask, generator=generator, block=draws, **options
        )
        spread = made.double().std(0)[0][hidden] / deviation[0][hidden]
        return made, float(spread.square().mean().sqrt()), roughness(made[:, 0], beside)

    exactly, spread, rough = drawn(FIELD, steps=1, sampler=mb.Bridge())
    off = ((exactly.double().mean(0) - mean) / deviation)[0][hidden].square().mean().sqrt()
    print(f"one exact step: mean less kriging's, in its deviations: {float(off):.3f}")
    print(f"  by chance, of {draws} draws: {draws**-0.5:.3f}")
    print(f"  deviation over kriging's: {spread:.3f}")
    few, found = {}, {name: [] for name in NOISES}
    for name, noise in NOISES.items():
        for steps in counts:
            made, spread, between = drawn(noise, steps=steps, sampler=mb.Midpoint())
            found[name].append((spread, between / rough))
            if steps == counts[-2]:
                few[name] = made
            print(
                f"{name}, {2 * steps} evaluations: deviation {spread:.3f} of kriging's, "
                f"neighbours differ by {between / rough:.3f} of what they should"
            )
    if output is not None:
        pictures = (field[0, 0], exactly[0, 0], mean[0], deviation[0], few)
        draw(output, pictures, mask[0, 0], counts, found)
    return float(off), draws**-0.5, found


def draw(output, pictures, mask, counts, found):
    import matplotlib.pyplot as plt

    field, exactly, mean, deviation, few = pictures
    shown = {
        "the field, and what is known": field,
        "a draw, one exact step": exactly,
        f"white noise, {2 * counts[-2]} evaluations": few["white noise"][0, 0],
        "its mean: kriging": mean,
        "its deviation": deviation,
        f"noise of the field, {2 * counts[-2]} evaluations": few["noise of the field"][0, 0],
    }
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.6), layout="constrained")
    for axis, (title, image) in zip(axes[:, :3].flat, shown.items(), strict=True):
        sure = title == "its deviation"
        limits = {"vmin": 0, "vmax": 1} if sure else {"vmin": -2.5, "vmax": 2.5}
        colours = plt.get_cmap("viridis" if sure else "RdBu_r", 8)  # few, for a small file
        axis.imshow(image.numpy(), cmap=colours, interpolation="nearest", **limits)
        axis.set_title(title, fontsize=9)
        axis.set(xticks=[], yticks=[])
    row, column = mask.nonzero().T
    axes[0, 0].scatter(column, row, s=1.5, c="black")
    for axis, what, title in (
        (axes[0, 3], 0, "deviation, over kriging's"),
        (axes[1, 3], 1, "difference of neighbours, over\nwhat it should be"),
    ):
        for name, values in found.items():
            axis.plot([2 * steps for steps in counts], [v[what] for v in values], "o-", label=name)
        axis.axhline(1, color="grey", lw=0.8)
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="evaluations", ylim=(0, None))
    axes[0, 3].legend(fontsize=8)
    figure.savefig(Path(output), dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="field_simulation.png")
    main(parser.parse_args().output)
