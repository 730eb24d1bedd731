"""Known data sets: which are on this machine, and what brings the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markovbridge import doors
from markovbridge.data.base import Source
from markovbridge.data.cifar import CIFAR10
from markovbridge.data.digits import Digits
from markovbridge.data.folders import ImageFolder
from markovbridge.data.idx import IDX
from markovbridge.data.tables import CountTable

__all__ = ["Availability", "available"]

KNOWN: tuple[tuple[str, str, Source], ...] = (
    ("digits", "1,797 of 1x8x8, counts 0..16", Digits()),
    ("fashion-mnist", "70,000 of 1x28x28, counts 0..255", IDX("fashion-mnist")),
    ("mnist", "70,000 of 1x28x28, counts 0..255", IDX("mnist")),
    ("cifar10", "60,000 of 3x32x32, counts 0..255", CIFAR10()),
    ("celeba", "202,599 of 3x64x64, counts 0..255", ImageFolder(name="celeba", crop=140)),
    ("mouse-brain", "10,000 cells x 1,000 genes, counts", CountTable(Path("mouse-brain.h5ad"))),
    ("reuters", "395 news items x 4,258 words, counts", CountTable(Path("reuters.npz"))),
)


@dataclass(frozen=True)
class Availability:
    """Whether a known data set is on this machine.

    Attributes:
        name: Name of the data set.
        content: How many samples of which shape.
        source: The source that reads it.
        present: Whether its files are here. They are found by name; `source.load` checks them.
        path: The folder they are in, or their file, or None.
        remedy: What brings them, or an empty string if they are here.
    """

    name: str
    content: str
    source: Source
    present: bool
    path: Path | None
    remedy: str


def available() -> list[Availability]:
    """The known data sets, those on this machine and those not."""
    return [check(name, content, source) for name, content, source in KNOWN]


def check(name: str, content: str, source: Source) -> Availability:
    """Look for one data set, without reading it."""
    if not source.here:
        return Availability(name, content, source, False, None, source.remedy)
    return Availability(name, content, source, True, source.where(), "")


doors.guard(__name__)
