"""A photograph is restored from a tenth of its light by a closed form: nothing is trained.

    python examples/restored_photograph.py [--output restored_photograph.png]

Counts of which each unit is kept with probability p are a state of pure death, so that walking on
from them draws the whole counts given the thinned ones. What the walk asks for is E[x_1 | x_t];
`exact.LinearCounts` guesses each pixel linearly from its neighbours, from nothing but mean and
covariance of 16 x 16 patches of another photograph. Printed are errors beside those of the input
over p and of its patch means, and the share of the truth in 90 % intervals: less than that, as
edges are no Gaussian affair; a network that corrects the closed form mends it.
Takes 10 s of one core.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_image

import markovbridge as mb
from markovbridge.evaluation.restoration import coverage, restore, thin
from markovbridge.exact import FitLinearCounts

SIDE = 16  # of a patch


def grey(name):
    """A photograph that comes with scikit-learn, at half its size: (height, width), 0 .. 255."""
    photo = torch.from_numpy(np.array(load_sample_image(name))).float().mean(2)
    return torch.nn.functional.avg_pool2d(photo[None], 2)[0].round().long()


def cut(photo, stride):
    """Patches (n, 1, SIDE, SIDE)."""
    return photo.unfold(0, SIDE, stride).unfold(1, SIDE, stride).reshape(-1, 1, SIDE, SIDE)


def joined(patches, columns):
    """Patches that lie side by side as one image."""
    rows = patches.reshape(-1, columns, SIDE, SIDE).transpose(1, 2)
    return rows.reshape(-1, columns * SIDE)


def main(output=None, survival=0.1, draws=19, columns=7, stride=3):
    process = mb.PureDeath(maximum=255)
    law = FitLinearCounts()(process, cut(grey("flower.jpg"), stride))
    model = mb.Transport(process, law, shape=(1, SIDE, SIDE))

    width = columns * SIDE
    photo = grey("china.jpg")[60 : 60 + width, 35 : 35 + width]
    truth = cut(photo, SIDE)
    seen = thin(truth, survival)
    generator = torch.Generator().manual_seed(0)
    options = {"steps": 10, "sampler": mb.Trapezoidal(), "block": 512}
    found = restore(model, seen, survival=survival, draws=draws, generator=generator, **options)
    (held,) = coverage(found, truth, (0.9,), generator=generator)
    guesses = {
        "input / p": seen / survival,
        "mean of each patch / p": seen.double().mean((1, 2, 3), keepdim=True) / survival,
        "one draw": found.draws[0],
        f"mean of {draws} draws": found.mean,
    }
    errors = {k: float((x - truth).double().square().mean().sqrt()) for k, x in guesses.items()}
    print(f"root mean squared error at {survival:.0%} of the light")
    for name, error in errors.items():
        print(f"  {name:<24}{error:6.1f}")
    print(f"truth inside 90 % by rank: {held.randomised:.1%} ± {held.error:.1%}")
    if output is not None:
        del guesses["mean of each patch / p"]
        pictures = [
            (f"{name}: error {errors[name]:.0f}", joined(x, columns))
            for name, x in guesses.items()
        ]
        draw(output, [*pictures, ("truth", photo)])
    return errors, held.randomised


def draw(output, pictures):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(8, 2.3), layout="constrained")
    for axis, (title, image) in zip(axes, pictures, strict=True):
        axis.imshow(image.numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="restored_photograph.png")
    main(parser.parse_args().output)
