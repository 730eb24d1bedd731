r"""How the reverse rates are trained: both objectives bound -log p(data), in nats.

Each is an unbiased estimate of the same number, the path KL between the noising process and the
learned reverse, log p(source) left out. Times are drawn as t = 1 - (1 - u)², more of them near
the data, where rates change most, and weighted to stand for uniform ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import checks, doors
from markovbridge.simulated.ratios import Ratios
from markovbridge.simulated.walks import walk

__all__ = ["OneTime", "PathObjective", "WholePath", "times"]


def times(
    n: int,
    points: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Random times, one in each stratum, and their weights.

    Args:
        n: Rows.
        points: Times of a row.
        generator: Source of randomness.
        device: Where to make them.

    Returns:
        Times and weights, (n, points) float64: Σ_k weights_k f(times_k) has the mean ∫ f dt.
    """
    checks.whole(n, "n", least=0)
    checks.whole(points, "points", least=1)
    # The rows share the strata of a point, in random order.
    u = torch.rand(n, points, dtype=torch.float64, generator=generator, device=device)
    strata = torch.stack(
        [torch.randperm(n, generator=generator, device=device) for _ in range(points)], 1
    )
    u = (torch.arange(points, device=device) + (strata + u) / max(1, n)) / points
    return 1 - (1 - u) ** 2, 2 * (1 - u) / points


class PathObjective(ABC):
    """A loss of the reverse rates."""

    @abstractmethod
    def loss(
        self, model: Ratios, x1: Tensor, windows: int, generator: torch.Generator | None
    ) -> Tensor:
        """Loss of each data point, (batch,), from paths simulated with so many windows."""


@dataclass(frozen=True)
class OneTime(PathObjective):
    """The loss rate at random times: `Ratios.loss_rate`.

    Attributes:
        points: Times of a path.
        neighbours: Moves that are drawn at each time; None takes all, with less noise.
    """

    points: int = 4
    neighbours: int | None = 1

    def __post_init__(self) -> None:
        checks.whole(self.points, "points", least=1)
        if self.neighbours is not None:
            checks.whole(self.neighbours, "neighbours", least=1)

    def loss(
        self, model: Ratios, x1: Tensor, windows: int, generator: torch.Generator | None
    ) -> Tensor:
        t, weights = times(len(x1), self.points, generator=generator, device=x1.device)
        stop = t.amin(1) if len(t) else 0.0
        path = walk(model.dynamics, x1, t, stop=stop, windows=windows, generator=generator)
        states, at = path.states.flatten(0, 1), t.flatten()
        rate = model.loss_rate(states, at, self.neighbours, generator=generator)
        return (weights * rate.reshape(weights.shape)).sum(1)


@dataclass(frozen=True)
class WholePath(PathObjective):
    """The reverse-path log-likelihood of all jumps of a path: `Ratios.path_loss`.

    Attributes:
        points: Times at which the integral over the path is estimated.
    """

    points: int = 8

    def __post_init__(self) -> None:
        checks.whole(self.points, "points", least=1)

    def loss(
        self, model: Ratios, x1: Tensor, windows: int, generator: torch.Generator | None
    ) -> Tensor:
        t, weights = times(len(x1), self.points, generator=generator, device=x1.device)
        path = walk(model.dynamics, x1, t, windows=windows, generator=generator)
        return model.path_loss(path, weights)


doors.guard(__name__)
