"""Some classes of a labelled data set, such as one side of a translation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from markovbridge import doors
from markovbridge.data.base import Dataset, Derived, Source


@dataclass(frozen=True)
class Selected(Derived):
    """Those samples of another source whose label is one of `labels`.

    Attributes:
        source: Where the samples come from; they must have labels.
        labels: The classes to keep. Labels keep their numbers.
    """

    source: Source
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels:
            raise ValueError("labels must name at least one class to keep")

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`.

        Raises:
            ValueError: If the samples have no labels, or none of them is chosen.
        """
        data = self.source.load(split)
        if data.labels is None:
            raise ValueError(f"{data.name} has no labels to select by")
        kept = torch.isin(data.labels, torch.tensor(self.labels))
        chosen = ", ".join(map(str, self.labels))
        if not bool(kept.any()):
            raise ValueError(
                f"no sample of {data.name}, split {split}, has a label among {chosen}; its labels "
                f"are {int(data.labels.min())} to {int(data.labels.max())}"
            )
        some = data.rows(kept.nonzero()[:, 0])
        return dataclasses.replace(some, name=f"{data.name} [{chosen}]")


doors.guard(__name__)
