"""Noise in the style of photographs: a covariance fitted to patches of them, and its draws.

    python examples/photo_patches.py [--output photo_patches.png]
    python examples/photo_patches.py --package scikit_image-0.26.0-*.whl --patches patches.npy

A diffusion may have noise that is correlated over an image. `covariances.fit` finds, by maximum
likelihood, a Matérn kernel on a torus for space and a matrix for the colours (`Separable`), of
patches of two photographs that come with scikit-learn. Printed are nats a number beside those of
white noise; and the same fit to draws of what was fitted, which has to come back as it was.
The second command cuts five photographs of a wheel that `pip download --no-deps
scikit-image==0.26.0` brought (see its `skimage/data/README.txt`), and keeps the patches as a small
set of colour images: bytes (N, 3, 32, 32) in random order. Takes 20 s of one core.
"""

import argparse
import io
import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from markovbridge.covariances import Dense, Isotropic, Matern, Separable, Torus, fit

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def photos(package=None):
    """Photographs (height, width, 3): of scikit-learn, or of a wheel of scikit-image."""
    if package is None:
        return load_sample_images().images
    with zipfile.ZipFile(package) as wheel:
        files = [io.BytesIO(wheel.read(f"skimage/data/{name}")) for name in PHOTOS]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def patches(photo, size, stride):
    """All patches of a photograph (height, width, 3), (N, 3, size, size)."""
    windows = np.lib.stride_tricks.sliding_window_view(photo, (size, size), axis=(0, 1))
    return windows[::stride, ::stride].reshape(-1, 3, size, size)


def main(output=None, package=None, keep=None, size=32, stride=8):
    cut = np.concatenate([patches(photo, size, stride) for photo in photos(package)])
    cut = np.random.default_rng(0).permutation(cut)
    print(f"{len(cut):,} patches of {cut.shape[1:]}")
    if keep is not None:
        np.save(keep, cut)

    x = torch.from_numpy(cut).float() / 127.5 - 1
    x = x - x.mean((0, 2, 3), keepdim=True)
    start = Separable(Torus(Matern(0.1, 5.0, 1.0)), Dense(torch.eye(3)))
    found = fit(start, x, mean=torch.zeros(1))
    white = fit(Isotropic(1.0), x, method="likelihood", mean=torch.zeros(1))
    drawn = found.covariance.sample(
        torch.zeros(1000, 3, size, size), generator=torch.Generator().manual_seed(0)
    )
    again = fit(start, drawn, mean=torch.zeros(1))
    sites = math.prod(x.shape[1:])
    print(
        f"nats a number: white noise {white.log_likelihood / sites:.3f}, "
        f"Matérn in colours {found.log_likelihood / sites:.3f}"
    )
    kernel, same = found.covariance.space.kernel, again.covariance.space.kernel
    print(f"fitted to the patches: length {kernel.length:.2f}, smoothness {kernel.smoothness:.3f}")
    print(f"fitted to its own draws:      {same.length:.2f}             {same.smoothness:.3f}")
    if output is not None:
        draw(output, x, drawn, white.covariance, kernel)
    return white.log_likelihood / sites, found.log_likelihood / sites, kernel, same


def draw(output, x, drawn, white, kernel):
    import matplotlib.pyplot as plt

    noise = white.sample(drawn[:12], generator=torch.Generator().manual_seed(1))
    fitted = f"length {kernel.length:.1f}, ν = {kernel.smoothness:.2f}"
    columns = (
        ("patches of photographs", x),
        (f"Matérn noise in their colours:\n{fitted}", drawn),
        ("white noise of the same variance", noise),
    )
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.4), layout="constrained")
    for axis, (title, images) in zip(axes, columns, strict=True):
        tiles = torch.nn.functional.pad(images[:6], (1, 1, 1, 1), value=1.0)
        rows = tiles.reshape(2, 3, *tiles.shape[1:]).permute(0, 3, 1, 4, 2)
        shown = (0.5 + rows.reshape(2 * rows.shape[1], -1, 3) / 2).clamp(0, 1)
        axis.imshow(shown.numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.savefig(Path(output), dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="photo_patches.png")
    parser.add_argument("--package", type=Path, help="a scikit-image wheel to cut instead")
    parser.add_argument("--patches", type=Path, help="the .npy file to keep the patches in")
    given = parser.parse_args()
    main(given.output, given.package, given.patches)
