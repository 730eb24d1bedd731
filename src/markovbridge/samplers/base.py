"""What a sampler is: one step from x_t to x_s, towards the data.

`Transport.sample` loops over a grid of times, any grid. A model here is anything with a
`process`, a `coupling` and a `law(x, t)`: see `markovbridge.samplers.model`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.base import Process
from markovbridge.samplers.model import DataModel, Model


class Sampler(ABC):
    """One step of a walk from source to data."""

    @property
    def planned(self) -> bool:
        """Whether how it walks was measured for one model, as training does at its end."""
        return False

    @abstractmethod
    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x_s given x_t = x, for t < s: (batch, *event)."""

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        """The sampler of a walk from `start` to 1 in so many steps, and the times of its grid.

        The sampler is for this walk alone: it may remember what it has seen on the way.

        Args:
            model: What is walked by.
            steps: How many, or their times.
            start: Where they begin.
            walked: How many steps another sampler has made of the same walk, from the source.
        """
        return self, model.grid(steps, start)

    @abstractmethod
    def evaluations(self, steps: int) -> int | None:
        """Network evaluations in `steps` steps, None if that depends on chance."""


def instead(process: Process) -> str:
    """The samplers to take for a process when another one is refused, for its error message."""
    return " or ".join(process.samplers)


doors.guard(__name__)
