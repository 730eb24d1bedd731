"""Images in IDX files: MNIST, Fashion-MNIST and whatever else is stored that way.

An IDX file of unsigned bytes is, in order,

    2 bytes   zero
    1 byte    type: 8 = unsigned byte
    1 byte    number of axes d
    4·d bytes length of each axis, big-endian
    the rest  the values, last axis fastest.

It may be compressed with gzip. Files are checked by their header, their length
and, for the sets named below, their number of images: checksums would refuse
files that were only compressed anew, as Debian's are.

Format: Y. LeCun, C. Cortes and C. Burges, "The MNIST database". Fashion-MNIST:
H. Xiao, K. Rasul and R. Vollgraf (2017), https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Outline, Source
from markovbridge.data.catalogue import IDX_FILES, idx_missing, idx_remedy
from markovbridge.data.catalogue import IDX_SUFFIXES as SUFFIXES
from markovbridge.data.locations import locate
from markovbridge.data.splits import official
from markovbridge.storage.reading import DEFLATED, afford, reading, unpacked


@dataclass(frozen=True)
class IdxFiles:
    """What is known of a data set in this format.

    Attributes:
        sizes: Number of images of the training and of the test set.
        event: Height and width.
        label_names: Name of each class.
        source: Authors, year, address.
        licence: Its licence.
    """

    sizes: dict[str, int]
    event: tuple[int, int]
    label_names: tuple[str, ...]
    source: str
    licence: str


KNOWN = {
    "mnist": IdxFiles(
        sizes={"train": 60_000, "test": 10_000},
        event=(28, 28),
        label_names=tuple("0123456789"),
        source="Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits",
        licence="CC BY-SA 3.0",
    ),
    "fashion-mnist": IdxFiles(
        sizes={"train": 60_000, "test": 10_000},
        event=(28, 28),
        label_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        source="H. Xiao, K. Rasul and R. Vollgraf (2017), https://arxiv.org/abs/1708.07747",
        licence="MIT",
    ),
}


@dataclass(frozen=True)
class IDX(Source):
    """Grey images (1, height, width) of bytes with labels, from four IDX files.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, plain or with `.gz`, in the
    folder `root`, else in $MARKOVBRIDGE_DATA/`name`, else in /usr/share/datasets/`name`.

    Attributes:
        name: "mnist", "fashion-mnist", or any other name for files of your own.
        root: Folder of the files, or None to look in the usual places.
        validation: Fraction of the training set set aside for validation.
        seed: Seed of that choice.
    """

    name: str = "fashion-mnist"
    root: Path | None = None
    validation: float = 0.0
    seed: int = 0

    def where(self) -> Path:
        """The folder that holds the files; see `Source.where`."""
        return locate(self.name, self.root, idx_missing, self.remedy)

    @property
    def remedy(self) -> str:
        """What brings the files, as the end of a sentence."""
        return idx_remedy(self.name)

    def _outline(self) -> Outline | None:
        known = KNOWN.get(self.name)
        return None if known is None else Outline((1, *known.event))

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`."""
        folder = self.where()
        x, labels = official(
            lambda part: self._read(folder, part),
            split,
            validation=self.validation,
            seed=self.seed,
        )
        known = KNOWN.get(self.name)
        return Dataset(
            x=x,
            labels=labels,
            name=self.name,
            split=split,
            source=known.source if known else str(folder),
            licence=known.licence if known else "unknown",
            maximum=255,
            label_names=known.label_names if known else None,
        )

    def _read(self, folder: Path, part: str) -> tuple[Tensor, Tensor]:
        """Images (n, 1, height, width) and labels (n,) of the part "train" or "test"."""
        image_file, label_file = (find(folder, file) for file in IDX_FILES[part])
        images = read_idx(image_file, axes=3)
        labels = read_idx(label_file, axes=1)
        if len(images) != len(labels):
            raise ValueError(
                f"{image_file} has {len(images)} images but {label_file} {len(labels)} labels; "
                "fetch both again"
            )
        if self.name in KNOWN:
            known = KNOWN[self.name]
            expected = (known.sizes[part], *known.event)
            if tuple(images.shape) != expected:
                raise ValueError(
                    f"{image_file} holds images of shape {tuple(images.shape)}, but {self.name} "
                    f"has {expected}; fetch it again, or give files of your own another name"
                )
        return images.unsqueeze(1), labels.long()


def variants(folder: Path, file: str) -> tuple[Path, ...]:
    """The plain and the compressed path of `file`."""
    return tuple(folder / f"{file}{suffix}" for suffix in SUFFIXES)


def find(folder: Path, file: str) -> Path:
    """The plain file if there is one, else the compressed one."""
    plain, compressed = variants(folder, file)
    return plain if plain.is_file() else compressed


def read_idx(path: Path, *, axes: int) -> Tensor:
    """Read an IDX file of unsigned bytes.

    Args:
        path: The file; it is decompressed if its name ends in .gz.
        axes: Number of axes it must have.

    Returns:
        Its values, uint8, with `axes` axes.

    Raises:
        ValueError: If the file is damaged, truncated, or holds something else.
    """
    with reading(path, "is damaged", "fetch it again"), unpacked(path) as file:
        magic, start = bytes([0, 0, 8, axes]), 4 + 4 * axes
        header = file.read(start)
        if header[:4] != magic or len(header) < start:
            raise ValueError(
                f"{path} starts with the bytes {header[:4].hex() or 'none'}, but an IDX file of "
                f"unsigned bytes with {axes} axes starts with {magic.hex()}; fetch it again"
            )
        shape = [int(size) for size in np.frombuffer(header, ">u4", axes, offset=4)]
        expected = math.prod(shape)
        room = path.stat().st_size * (DEFLATED if path.suffix == ".gz" else 1)
        afford(path, 2 * min(expected, room), f"{expected:,} values of shape {tuple(shape)}")
        content = file.read(min(expected, room) + 1)
        if len(content) != expected:
            raise ValueError(
                f"{path} announces {expected} values of shape {tuple(shape)} but holds "
                f"{len(content)}{' or more' if len(content) > expected else ''}; fetch it again"
            )
        values = np.frombuffer(content, np.uint8).reshape(shape)
        return torch.from_numpy(values.copy())


doors.guard(__name__, inside=("IdxFiles", "find", "read_idx", "variants"))
