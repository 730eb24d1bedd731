"""Small colour images for want of a larger set: patches of five photographs.

    pip download --no-deps scikit-image==0.26.0
    python examples/photo_patches.py scikit_image-0.26.0-*.whl patches.npy

Cuts the astronaut, the cat, the coffee, the motorcycle and the rocket that come inside the
package (most of them in the public domain or CC0; see its `skimage/data/README.txt`) into
patches of 32 x 32 that begin every 8 pixels: bytes (N, 3, 32, 32), in random order. Neighbours
overlap and there are five scenes in all, so a model of them shows how a method fares with the
spectrum and the colours of photographs, not how it generalises.

Nothing is downloaded here: the first argument is the file that pip brought.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def patches(photo, size, stride):
    """All patches of a photograph (height, width, 3), (N, 3, size, size)."""
    windows = np.lib.stride_tricks.sliding_window_view(photo, (size, size), axis=(0, 1))
    return windows[::stride, ::stride].reshape(-1, 3, size, size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="the scikit-image wheel")
    parser.add_argument("output", type=Path, help="the .npy file to write")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--stride", type=int, default=8)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.package) as wheel:
        photos = [
            np.asarray(Image.open(io.BytesIO(wheel.read(f"skimage/data/{name}"))).convert("RGB"))
            for name in PHOTOS
        ]
    cut = np.concatenate([patches(x, arguments.size, arguments.stride) for x in photos])
    np.save(arguments.output, np.random.default_rng(0).permutation(cut))
    print(f"wrote {arguments.output}: {cut.shape[0]:,} patches of {cut.shape[1:]}")
