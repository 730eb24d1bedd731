"""Known data sets: what they are, which files they need, where these lie, and what brings them.

Nothing is read here, and nothing needs torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from markovbridge.data.below import below
from markovbridge.data.locations import VARIABLE, locate

# Files of the MNIST family, plain or compressed.
IDX_SUFFIXES = ("", ".gz")
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR = "cifar-10-batches-py"
CIFAR_META = "batches.meta"
CIFAR_BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
IMAGES = "**/*"  # below the folder of an image data set
TABLES = {  # what brings the tables of counts
    "mouse-brain.h5ad": (
        "run `pip download --no-deps --no-binary scanpy scanpy==1.11.5` and then `markovbridge "
        "data unpack mouse-brain scanpy-1.11.5.tar.gz mouse-brain.h5ad`, in the folder that "
        f"{VARIABLE} names"
    ),
    "reuters.npz": (
        "run `pip download --no-deps lda==3.0.2` and then `markovbridge data unpack reuters "
        f"lda-3.0.2-*.whl reuters.npz`, in the folder that {VARIABLE} names"
    ),
}


def idx_missing(folder: Path) -> list[str]:
    """The files of `IDX_FILES` that a folder has neither plain nor compressed."""
    files = [file for part in IDX_FILES.values() for file in part]
    there = {f.name for f in folder.iterdir() if f.is_file()} if folder.is_dir() else set()
    return [f for f in files if not there & {f"{f}{suffix}" for suffix in IDX_SUFFIXES}]


def idx_remedy(name: str) -> str:
    """What brings a data set of the MNIST family, as the end of a sentence."""
    files = ", ".join(file for part in IDX_FILES.values() for file in part)
    packaged = (
        "run `apt-get install dataset-fashion-mnist`, or " if name == "fashion-mnist" else ""
    )
    return (
        f"{packaged}put {files} (plain or .gz) in ${VARIABLE}/{name} or in a folder given as root"
    )


def cifar_missing(folder: Path) -> list[str]:
    """The files of CIFAR-10 that are not in a folder."""
    files = [*CIFAR_BATCHES["train"], *CIFAR_BATCHES["test"], CIFAR_META]
    return [file for file in files if not (folder / file).is_file()]


def cifar_remedy() -> str:
    """What brings CIFAR-10, as the end of a sentence."""
    return (
        "fetch cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and "
        f"unpack it in ${VARIABLE}, or give the folder {CIFAR} as root"
    )


def images_missing(folder: Path, pattern: str = IMAGES) -> list[str]:
    """What a folder of images lacks."""
    found = folder.is_dir() and any(not file.hidden for file in below(folder, pattern))
    return [] if found else [f"files that match {pattern!r}"]


def images_remedy(name: str) -> str:
    """What brings a folder of images, as the end of a sentence."""
    here = f"${VARIABLE}/{name}"
    if name != "celeba":
        return f"put PNG or JPEG files in {here}, or give their folder as root"
    return (
        "fetch img_align_celeba.zip from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and "
        f"unpack it in {here}, or give its folder as root"
    )


def table_path(path: Path) -> Path:
    """The path, or if it is not there that in the folder of data sets, if it is there."""
    path = path.expanduser()
    if path.exists() or path.is_absolute() or not os.environ.get(VARIABLE):
        return path
    other = Path(os.environ[VARIABLE]).expanduser() / path
    return other if other.exists() else path


@dataclass(frozen=True)
class CatalogueEntry:
    """A known data set.

    Attributes:
        name: Its name.
        content: How many samples of which shape.
        folder: The folder or the table that holds it; None if it is inside this package.
        missing: Called with a folder, returns what of the data set is not in it; None for a
            table.
        remedy: What brings its files, as the end of a sentence.
    """

    name: str
    content: str
    folder: str | None = None
    missing: Callable[[Path], list[str]] | None = None
    remedy: str = ""

    def look(self) -> tuple[bool, Path | None, str]:
        """Whether its files are here, where they are, and what brings them if they are not."""
        if self.folder is None:
            return True, None, ""
        if self.missing is None:
            path = table_path(Path(self.folder))
            return (True, path, "") if path.is_file() else (False, None, self.remedy)
        try:
            return True, locate(self.folder, None, self.missing, self.remedy), ""
        except FileNotFoundError:
            return False, None, self.remedy


def _idx(name: str) -> CatalogueEntry:
    content = "70,000 of 1x28x28, counts 0..255"
    return CatalogueEntry(name, content, name, idx_missing, idx_remedy(name))


def _table(content: str, file: str) -> CatalogueEntry:
    return CatalogueEntry(Path(file).stem, content, file, None, TABLES[file])


CATALOGUE = (
    CatalogueEntry("digits", "1,797 of 1x8x8, counts 0..16"),
    _idx("fashion-mnist"),
    _idx("mnist"),
    CatalogueEntry(
        "cifar10", "60,000 of 3x32x32, counts 0..255", CIFAR, cifar_missing, cifar_remedy()
    ),
    CatalogueEntry(
        "celeba",
        "202,599 of 3x64x64, counts 0..255",
        "celeba",
        images_missing,
        images_remedy("celeba"),
    ),
    _table("10,000 cells x 1,000 genes, counts", "mouse-brain.h5ad"),
    _table("395 news items x 4,258 words, counts", "reuters.npz"),
)
