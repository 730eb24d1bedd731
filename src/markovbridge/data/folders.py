"""Images in a folder: CelebA, or photographs of one's own.

Each file is decoded, turned as its camera says, laid on white where it is
transparent, cropped to a central square, resized to `size` with an antialiased
bilinear filter, and kept as bytes. No file that matches `pattern` is skipped:
one that is no image is an error that names it. Nothing is written to disk.

CelebA, 178x218, at 64x64 as in Y. Song et al. (2021),
https://arxiv.org/abs/2011.13456: the central 140x140 pixels, resized. Data:
Z. Liu, P. Luo, X. Wang and X. Tang (2015),
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Outline, Source
from markovbridge.data.catalogue import images_missing, images_remedy
from markovbridge.data.locations import locate
from markovbridge.data.splits import partition
from markovbridge.storage.reading import reading

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}
DEEP = ("F", "I")  # modes of more than eight bits a channel

CELEBA = (
    "Z. Liu, P. Luo, X. Wang and X. Tang (2015), "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    "non-commercial research only",
)


@dataclass(frozen=True)
class ImageFolder(Source):
    """PNG and JPEG files below a folder, as bytes (channels, size, size).

    Images in several sub-folders are labelled by the first folder below the root.

    Attributes:
        root: The folder, or None for $MARKOVBRIDGE_DATA/`name`.
        name: Name of the data set; "celeba" is known by its authors and licence.
        size: Height and width of an image after resizing.
        crop: Height and width of the central square that is kept before resizing, or None for
            the largest.
        channels: 3 for colour, 1 for grey.
        pattern: Which files below the root are the images.
        validation: Fraction set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the split.
    """

    root: Path | None = None
    name: str = "images"
    size: int = 64
    crop: int | None = None
    channels: int = 3
    pattern: str = "**/*"
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in MODES:
            raise ValueError(f"channels={self.channels} must be 3 for colour or 1 for grey")
        if self.size < 1 or (self.crop is not None and self.crop < 1):
            raise ValueError(f"size={self.size} and crop={self.crop} must be at least 1 pixel")

    def where(self) -> Path:
        """The folder that holds the images; see `Source.where`."""
        return locate(self.name, self.root, self._missing, self.remedy)

    @property
    def remedy(self) -> str:
        """What brings the files, as the end of a sentence."""
        return images_remedy(self.name)

    def _missing(self, folder: Path) -> list[str]:
        return images_missing(folder, self.pattern)

    def _outline(self) -> Outline:
        return Outline((self.channels, self.size, self.size))

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`.

        Raises:
            ImportError: If Pillow is not installed.
        """
        require_pillow()
        folder = self.where()
        paths = self._paths(folder)
        labels, label_names = classes(folder, paths)
        chosen = partition(
            len(paths), split, validation=self.validation, test=self.test, seed=self.seed
        )
        source, licence = CELEBA if self.name == "celeba" else (str(folder), "unknown")
        return Dataset(
            x=self._read([paths[i] for i in chosen.tolist()]),
            labels=None if labels is None else labels[chosen],
            name=self.name,
            split=split,
            source=source,
            licence=licence,
            maximum=255,
            label_names=label_names,
        )

    def _paths(self, folder: Path) -> list[Path]:
        """The images, in the order of their names, which no machine changes."""
        paths = [path for path in folder.glob(self.pattern) if not path.is_dir()]
        paths.sort(key=lambda path: path.relative_to(folder).as_posix())
        for path in paths:
            if path.suffix.lower() not in SUFFIXES:
                raise ValueError(
                    f"{path} is neither PNG nor JPEG; move it away, or name the images with "
                    "pattern='**/*.jpg', say"
                )
        return paths

    def _read(self, paths: list[Path]) -> Tensor:
        """Images (len(paths), channels, size, size), decoded by a few threads."""
        x = torch.empty(len(paths), self.channels, self.size, self.size, dtype=torch.uint8)

        def read(item: tuple[int, Path]) -> None:
            i, path = item
            x[i] = torch.from_numpy(self._decode(path))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(read, enumerate(paths)):
                pass
        return x

    def _decode(self, path: Path) -> np.ndarray:
        """One image (channels, size, size), bytes."""
        from PIL import Image

        with reading(path, "cannot be read as PNG or JPEG", "fetch it again or move it away"):
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                image.load()
            if image.mode.startswith(DEEP):
                raise ValueError(
                    f"{path} has mode {image.mode}, more than eight bits a channel; convert it to "
                    "eight bits"
                )
            square = self._square(upright(image), path).convert(MODES[self.channels])
            small = square.resize((self.size, self.size), Image.Resampling.BILINEAR)
            pixels = np.array(small).reshape(self.size, self.size, self.channels)
            return pixels.transpose(2, 0, 1)

    def _square(self, image: Image.Image, path: Path) -> Image.Image:
        """The central square of side `crop`, or the largest."""
        side = min(image.size) if self.crop is None else self.crop
        if side > min(image.size):
            raise ValueError(
                f"{path} is {image.width}x{image.height}, too small for crop={side}; lower crop "
                "or leave it None"
            )
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))


def require_pillow() -> None:
    """Say what to install where Pillow is missing.

    Raises:
        ImportError: If it is.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError("reading image files needs Pillow; run `pip install Pillow`") from error


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its camera says, and lay it on white where it is transparent."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def classes(folder: Path, paths: list[Path]) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Labels (n,) and their names by the first folder below `folder`, None for a single one.

    Raises:
        ValueError: If some images lie in a sub-folder and some do not.
    """
    places = [path.relative_to(folder).parts for path in paths]
    groups = [parts[0] if len(parts) > 1 else "" for parts in places]
    names = sorted(set(groups))
    if len(names) == 1:
        return None, None
    if names[0] == "":
        raise ValueError(
            f"{paths[groups.index('')]} lies in {folder} itself, but other images in its "
            "sub-folders, which name classes; move it, or name the images with pattern='*.jpg', "
            "say"
        )
    return torch.tensor([names.index(group) for group in groups]), tuple(names)


doors.guard(__name__, inside=("classes", "require_pillow", "upright"))
