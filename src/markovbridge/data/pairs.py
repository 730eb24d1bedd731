"""Pairs of one's own: what a transport starts from, and where each is to arrive.

Two folders of images, whose pairs have the same names (below the folder, endings aside); two
files of arrays, row i of one going with row i of the other; or one `.npz` file that holds both,
as x0 and x1. They are for the coupling `Paired`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from markovbridge import doors
from markovbridge.data.arrays import channels_first, existing, read_arrays, to_counts, to_reals
from markovbridge.data.base import Dataset, Source
from markovbridge.data.below import listed
from markovbridge.data.folders import ImageFolder, classes, require_pillow
from markovbridge.data.splits import partition
from markovbridge.storage.reading import array_file, reading

SUFFIXES = (".npz",)
NAMES = "x0", "x1"
REMEDY = (
    "give x0 and x1, a folder of images or an .npy or .npz file each, or as x0 an .npz file with "
    "arrays x0 and x1"
)


@dataclass(frozen=True)
class Pairs(Source):
    """Sources and data in pairs, of folders of images or files of arrays.

    Attributes:
        x0: What is started from: a folder of images, or an `.npy` or `.npz` file; without x1 an
            `.npz` file that holds both, as arrays x0 and x1.
        x1: Where they are to arrive, likewise.
        counts: Whether arrays are counts; False for reals, which become float32.
        maximum: Largest admissible count of arrays, or None if there is none.
        layout: Where images in arrays have their channels, "first" or "last"; see `Arrays`.
        size: Height and width of an image of a folder after resizing; see `ImageFolder`.
        crop: Height and width of the central square that is kept before, or None.
        channels: 3 for colour, 1 for grey, of images of folders.
        depth: Bits a channel of images of folders, 8 or 16.
        pattern: Which files below the folders are the images.
        validation: Fraction of the pairs set aside for validation.
        test: Fraction set aside for testing.
        seed: Seed of the split.
    """

    x0: Path
    x1: Path | None = None
    counts: bool = True
    maximum: int | None = None
    layout: Literal["first", "last"] | None = None
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
        self.images(self.x0)  # refuses what no folder of images can be read with

    @property
    def pairs(self) -> bool:
        """Yes: see `Source.pairs`."""
        return True

    def where(self) -> Path:
        """Where x1, or both, are; see `Source.where`."""
        found = Path()
        for path in (self.x0, self.x1):
            if path is not None:
                found = Path(path).expanduser()
                if not found.exists():
                    raise FileNotFoundError(f"there is no {found}; {REMEDY}")
        return found

    @property
    def remedy(self) -> str:
        """What to do if there are none; see `Source.remedy`."""
        return REMEDY

    def images(self, folder: Path) -> ImageFolder:
        """The images of a folder, read as those of the pairs are."""
        own = {"size": self.size, "crop": self.crop, "channels": self.channels}
        return ImageFolder(root=folder, depth=self.depth, pattern=self.pattern, **own)  # pyright: ignore[reportArgumentType]

    def load(self, split: str = "train") -> Dataset:
        """Read one split, x0 being `start`; see `Source.load`.

        Raises:
            ValueError: If an image or a row has no partner, or their shapes differ.
        """
        found = self.where()
        first = Path(self.x0).expanduser()
        if first.is_dir() is not found.is_dir():
            kinds = ["a folder" if path.is_dir() else "a file" for path in (first, found)]
            raise ValueError(f"{first} is {kinds[0]}, and {found} {kinds[1]}; {REMEDY}")
        if found.is_dir():
            return self._of_folders(split)
        with reading(found):
            return self._of_arrays(found, split)

    def _chosen(self, n: int, split: str) -> Tensor:
        return partition(n, split, validation=self.validation, test=self.test, seed=self.seed)

    def _of_folders(self, split: str) -> Dataset:
        require_pillow()
        if self.x1 is None:
            raise ValueError(f"{self.x0} is one folder; {REMEDY}")
        folders = [Path(path).expanduser() for path in (self.x0, self.x1)]
        images = [self.images(folder) for folder in folders]
        named = [_by_name(one.where(), one.files()) for one in images]
        for k, other in ((0, 1), (1, 0)):
            alone = [path for name, path in named[k].items() if name not in named[other]]
            if alone:
                raise ValueError(
                    f"{listed(alone)} {'has' if len(alone) == 1 else 'have'} no partner of the "
                    f"same name in {folders[other]}; move what has none away"
                )
        names = sorted(named[1])
        labels, label_names = classes(folders[1], [named[1][name] for name in names])
        chosen = self._chosen(len(names), split)
        wanted = [names[i] for i in chosen.tolist()]
        start, x = (
            one.read([files[name] for name in wanted])
            for one, files in zip(images, named, strict=True)
        )
        return Dataset(
            x=x,
            labels=None if labels is None else labels[chosen],
            name=folders[1].name,
            split=split,
            source=f"{folders[0]} to {folders[1]}",
            licence="unknown",
            maximum=images[1].maximum,
            label_names=label_names,
            start=start,
        )

    def _of_arrays(self, path: Path, split: str) -> Dataset:
        first = Path(self.x0).expanduser()
        if self.x1 is None:
            both, places = _both(path), [f"{path}: {name}" for name in NAMES]
        else:
            both = [read_arrays(existing(one), None, None)[0] for one in (first, path)]
            places = [str(first), str(path)]
        both = [
            channels_first(one, self.layout, place, "layout={}")
            for one, place in zip(both, places, strict=True)
        ]
        if both[0].shape != both[1].shape or both[0].ndim < 2 or not both[0].size:
            raise ValueError(
                f"{places[0]} has shape {both[0].shape} and {places[1]} has {both[1].shape}; "
                "pairs are two arrays (N, *event), row i of one going with row i of the other"
            )
        chosen = self._chosen(len(both[0]), split)
        start, x = (
            to_counts(one, self.maximum, place) if self.counts else to_reals(one)
            for one, place in zip(both, places, strict=True)
        )
        return Dataset(
            x=x[chosen],
            labels=None,
            name=path.stem,
            split=split,
            source=str(path) if self.x1 is None else f"{first} to {path}",
            licence="unknown",
            maximum=self.maximum,
            start=start[chosen],
        )


def _both(path: Path) -> list[np.ndarray]:
    """The arrays x0 and x1 of an `.npz` file."""
    with array_file(path) as content:
        if content.names is None or any(name not in content for name in NAMES):
            raise ValueError(f"{path} has no arrays x0 and x1; {REMEDY}")
        return [content[name] for name in NAMES]


def _by_name(folder: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Images by their names below a folder, endings aside.

    Raises:
        ValueError: If two have one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{found[name]} and {path} have one name; move one of them away")
        found[name] = path
    return found


doors.guard(__name__)
