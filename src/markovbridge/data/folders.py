"""Images in a folder: CelebA, photographs of one's own, or counts of a microscope.

Each file is decoded, turned as its camera says, laid on white where it is
transparent, cropped to a central square, resized to `size` with an antialiased
bilinear filter, and kept as bytes or, with `depth` 16, as counts 0..65535. No file
that matches `pattern` is skipped: one that is no image is an error that names it, and
ten of them are named at once. Links are followed, hidden files and folders left out with
a warning (`markovbridge.data.below`). Nothing is written to disk.

CelebA, 178x218, at 64x64 as in Y. Song et al. (2021),
https://arxiv.org/abs/2011.13456: the central 140x140 pixels, resized. Data:
Z. Liu, P. Luo, X. Wang and X. Tang (2015),
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Outline, Source
from markovbridge.data.below import again, below, listed
from markovbridge.data.catalogue import images_missing, images_remedy
from markovbridge.data.counts import smallest_type
from markovbridge.data.locations import locate
from markovbridge.data.splits import partition
from markovbridge.storage.reading import reading

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}
UNREADABLE = "cannot be read as PNG or JPEG", "fetch it again or move it away"

CELEBA = (
    "Z. Liu, P. Luo, X. Wang and X. Tang (2015), "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    "non-commercial research only",
)


@dataclass(frozen=True)
class ImageFolder(Source):
    """PNG and JPEG files below a folder, as counts (channels, size, size).

    Images in several sub-folders are labelled by the first folder below the root.

    Attributes:
        root: The folder, or None for $MARKOVBRIDGE_DATA/`name`.
        name: Name of the data set; "celeba" is known by its authors and licence.
        size: Height and width of an image after resizing.
        crop: Height and width of the central square that is kept before resizing, or None for
            the largest.
        channels: 3 for colour, 1 for grey.
        depth: Bits a channel: 8 for counts 0..255, or 16 for PNG files of 16 bits, counts
            0..65535, which the process has to allow.
        pattern: Which files below the root are the images, hidden ones being none.
        validation: Fraction set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the split.
    """

    root: Path | None = None
    name: str = "images"
    size: int = 64
    crop: int | None = None
    channels: int = 3
    depth: Literal[8, 16] = 8
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
        return Outline((self.channels, self.size, self.size), self.maximum)

    @property
    def maximum(self) -> int:
        """The largest count that an image can hold."""
        return 2**self.depth - 1

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`.

        Raises:
            ImportError: If Pillow is not installed.
        """
        require_pillow()
        folder = self.where()
        paths = self.files()
        labels, label_names = classes(folder, paths)
        chosen = partition(
            len(paths), split, validation=self.validation, test=self.test, seed=self.seed
        )
        source, licence = CELEBA if self.name == "celeba" else (str(folder), "unknown")
        return Dataset(
            x=self.read([paths[i] for i in chosen.tolist()]),
            labels=None if labels is None else labels[chosen],
            name=self.name,
            split=split,
            source=source,
            licence=licence,
            maximum=self.maximum,
            label_names=label_names,
        )

    def files(self) -> list[Path]:
        """The images, in the order of their names, which no machine changes.

        Raises:
            FileNotFoundError: If there are none.
            ValueError: If a file that matches is neither PNG nor JPEG.
        """
        folder = self.where()
        found = list(below(folder, self.pattern))
        paths = [file.path for file in found if not file.hidden]
        paths.sort(key=lambda path: path.relative_to(folder).as_posix())
        others = [path for path in paths if not _is_image(path)]
        if others:
            one = len(others) == 1
            raise ValueError(
                f"{listed(others)} {'is' if one else 'are'} neither PNG nor JPEG; move "
                f"{'it' if one else 'them'} away, or name the images with pattern='**/*.jpg', say"
            )
        hidden = [file.path for file in found if file.hidden]
        hidden = [path for path in hidden if path.is_dir() or _is_image(path)]
        if hidden:
            warnings.warn(f"left out what is hidden: {listed(hidden)}", stacklevel=3)
        twice = again(paths)
        if twice:
            are = "is" if len(twice) == 1 else "are"
            warnings.warn(
                f"{listed(twice)} {are} taken once more: links lead to images that are there "
                "already; move the links away to take each once",
                stacklevel=3,
            )
        return paths

    def read(self, paths: Sequence[Path]) -> Tensor:
        """Images (len(paths), channels, size, size), decoded by a few threads.

        Raises:
            ValueError: If some cannot be read, naming ten of them.
        """
        shape = len(paths), self.channels, self.size, self.size
        x = torch.empty(shape, dtype=smallest_type(self.maximum))

        def read(item: tuple[int, Path]) -> ValueError | None:
            i, path = item
            try:
                x[i] = torch.from_numpy(self._decode(path))
            except ValueError as error:
                return error
            return None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            bad = [error for error in pool.map(read, enumerate(paths)) if error is not None]
        if len(bad) == 1:
            raise bad[0]
        if bad:
            told = [str(error).removesuffix(f"; {UNREADABLE[1]}") for error in bad]
            raise ValueError(
                f"{len(bad)} of {len(paths)} images are of no use: {listed(told)}; fetch them "
                "again or move them away"
            )
        return x

    def _decode(self, path: Path) -> np.ndarray:
        """One image (channels, size, size), bytes or int32."""
        from PIL import Image

        from markovbridge.data.deep import is_deep, read_deep, resized

        with reading(path, *UNREADABLE):
            deep = is_deep(path)
            if deep is not (self.depth == 16):
                raise ValueError(self._other_depth(path))
            if deep:
                counts = read_deep(path, self.channels, turned)
                height, width, _ = counts.shape
                left, top, right, bottom = self._square(width, height, path)
                return resized(counts[top:bottom, left:right], self.size).transpose(2, 0, 1)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                image.load()
            whole = upright(image)
            square = whole.crop(self._square(*whole.size, path)).convert(MODES[self.channels])
            small = square.resize((self.size, self.size), Image.Resampling.BILINEAR)
            pixels = np.array(small).reshape(self.size, self.size, self.channels)
            return pixels.transpose(2, 0, 1)

    def _other_depth(self, path: Path) -> str:
        """What is said of an image of other bits than `depth`."""
        if self.depth == 16:
            return f"{path} has 8 bits a channel; leave depth=8, or store all images in 16 bits"
        return (
            f"{path} has 16 bits a channel, of which depth=8 would lose half; give depth=16 for "
            "counts 0..65535, or convert it to eight bits"
        )

    def _square(self, width: int, height: int, path: Path) -> tuple[int, int, int, int]:
        """The central square of side `crop`, or the largest: left, top, right, bottom."""
        side = min(width, height) if self.crop is None else self.crop
        if side > min(width, height):
            raise ValueError(
                f"{path} is {width}x{height}, too small for crop={side}; lower crop "
                "or leave it None"
            )
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side


def require_pillow() -> None:
    """Say what to install where Pillow is missing.

    Raises:
        ImportError: If it is.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError("reading image files needs Pillow; run `pip install Pillow`") from error


def turned(image: Image.Image) -> Image.Image:
    """Turn an image as its camera says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its camera says, and lay it on white where it is transparent."""
    from PIL import Image

    image = turned(image)
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


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


doors.guard(__name__, inside=("classes", "require_pillow", "turned", "upright"))
