r"""Counts made binary.

With M the maximum of the source, `threshold` gives 1[x > threshold · M]; and
`bernoulli` draws 1 with probability x / M, once: the drawn images are the data
set, as in R. Salakhutdinov and I. Murray (2008), "On the quantitative analysis
of deep belief networks". The draw is exact: an integer uniform on 0..M-1 lies
below x with probability x / M.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset, Derived, Outline, Source
from markovbridge.data.rows import dense
from markovbridge.doors.randomness import generator

BLOCK = 1024  # samples drawn at once, so that the uniform integers stay small beside the data


@dataclass(frozen=True)
class Binarised(Derived):
    """Another source with counts 0 and 1.

    Attributes:
        source: Where the counts come from; they must have a maximum.
        method: "threshold" or "bernoulli".
        threshold: Fraction of the maximum above which a count becomes 1.
        seed: Seed of the Bernoulli draws; each split has draws of its own.
    """

    source: Source
    method: Literal["threshold", "bernoulli"] = "threshold"
    threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"threshold={self.threshold} must be a fraction of the maximum in [0, 1)"
            )

    @property
    def pairs(self) -> bool:
        """No: what the data are reached from is left as it is."""
        return False

    def _outline(self) -> Outline | None:
        inner = super()._outline()
        return None if inner is None else dataclasses.replace(inner, maximum=1)

    def load(self, split: str = "train") -> Dataset:
        """Read one split; see `Source.load`."""
        data = self.source.load(split)
        if data.maximum is None:
            raise ValueError(
                f"{data.name} has no largest count to binarise by; give its source a maximum"
            )
        x = dense(data.x)
        if self.method == "threshold":
            x = x > math.floor(self.threshold * data.maximum)
        else:
            x = self._draw(x, data.maximum, split)
        return dataclasses.replace(
            data, x=x.to(torch.uint8), name=f"{data.name}-binarised", maximum=1, start=None
        )

    def _draw(self, x: Tensor, maximum: int, split: str) -> Tensor:
        """One Bernoulli(x / maximum) draw for each entry, bool."""
        noise = generator("cpu", "binarised", self.seed, split)
        blocks = [
            torch.randint(maximum, block.shape, generator=noise, dtype=torch.int64) < block
            for block in x.split(BLOCK)
        ]
        return torch.cat(blocks)


doors.guard(__name__)
