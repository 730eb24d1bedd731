"""Known data sets: which are on this machine, what brings the others, and what reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markovbridge import doors
from markovbridge.data.base import Source
from markovbridge.data.catalogue import CATALOGUE
from markovbridge.data.cifar import CIFAR10
from markovbridge.data.digits import Digits
from markovbridge.data.folders import ImageFolder
from markovbridge.data.idx import IDX
from markovbridge.data.tables import CountTable

SOURCES: dict[str, Source] = {
    "digits": Digits(),
    "fashion-mnist": IDX("fashion-mnist"),
    "mnist": IDX("mnist"),
    "cifar10": CIFAR10(),
    "celeba": ImageFolder(name="celeba", crop=140),
    "mouse-brain": CountTable(Path("mouse-brain.h5ad")),
    "reuters": CountTable(Path("reuters.npz")),
}


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
    found = ((entry, entry.look()) for entry in CATALOGUE)
    return [
        Availability(entry.name, entry.content, SOURCES[entry.name], *looked)
        for entry, looked in found
    ]


doors.guard(__name__)
