"""Which real data play samples, and which the reference, where real data are scored against real.

With n samples and N reference items these are

- n <= N/2, *split*: n random reference items, and the other N - n;
- n > N/2, *bootstrap*: n draws with replacement, and the whole reference; beside it the *half
  split*, one random half of the reference and the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors.randomness import generator


@dataclass(frozen=True)
class Floors:
    """Random index pairs (play samples, play reference) into N reference items."""

    n: int
    total: int
    seed: int
    repeats: int

    @property
    def bootstrap(self) -> bool:
        return 2 * self.n > self.total

    @property
    def method(self) -> str:
        how = (
            f"bootstrap: {self.n} draws from the reference against it"
            if self.bootstrap
            else f"split: {self.n} reference items against the other {self.total - self.n}"
        )
        return f"{how}; mean of {self.repeats} draws, seed {self.seed}"

    def draws(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Pairs for the floor; None stands for the whole reference."""
        for repeat in range(self.repeats):
            rng = generator("cpu", self.seed, "floor", repeat)
            if self.bootstrap:
                yield torch.randint(self.total, (self.n,), generator=rng), None
            else:
                order = torch.randperm(self.total, generator=rng)
                yield order[: self.n], order[self.n :]

    def halves(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs for the half split; none where the floor is a split."""
        for repeat in range(self.repeats if self.bootstrap else 0):
            rng = generator("cpu", self.seed, "half split", repeat)
            order = torch.randperm(self.total, generator=rng)
            yield order[: self.total // 2], order[self.total // 2 :]


doors.guard(__name__, records=("Floors",))
