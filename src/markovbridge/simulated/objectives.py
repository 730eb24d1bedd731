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

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.simulated.ratios import Ratios
from markovbridge.simulated.walks import Path, walk


def times(
    n: int,
    points: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Random times, (n, points) float64: Σ_k weights_k f(times_k) has the mean ∫ f dt.

    Args:
        n: Rows.
        points: Times of a row, one in each stratum; the rows share a stratum likewise.
        generator: Source of randomness.
        device: Where to make them.
    """
    checks.whole(n, "n", least=0)
    checks.whole(points, "points", least=1)
    u = torch.rand(n, points, dtype=torch.float64, generator=generator, device=device)
    # In random order, so that the loss of each row, not of all only, has the right mean.
    strata = torch.rand(n, points, generator=generator, device=device).argsort(0)
    u = (torch.arange(points, device=device) + (strata + u) / max(1, n)) / points
    return 1 - (1 - u) ** 2


def weights(t: Tensor) -> Tensor:
    """What random times (n, points) stand for of the unit of time."""
    return 2 * (1 - t).sqrt() / t.shape[1]


class PathObjective(ABC):
    """A loss of the reverse rates."""

    @abstractmethod
    def paths(
        self, model: Ratios, x1: Tensor, windows: int, generator: torch.Generator | None
    ) -> Path:
        """Simulate what the loss needs, with so many windows."""

    @abstractmethod
    def loss(self, model: Ratios, path: Path, generator: torch.Generator | None) -> Tensor:
        """Loss of each path, (batch,)."""


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

    def paths(
        self, model: Ratios, x1: Tensor, windows: int, generator: torch.Generator | None
    ) -> Path:
        t = times(len(x1), self.points, generator=generator, device=x1.device)
        stop = t.amin(1)
        return walk(model.dynamics, x1, t, stop=stop, windows=windows, generator=generator)

    def loss(self, model: Ratios, path: Path, generator: torch.Generator | None) -> Tensor:
        states, t = path.states.flatten(0, 1), path.times.flatten()
        rate = model.loss_rate(states, t, self.neighbours, generator=generator)
        return (weights(path.times) * rate.reshape(path.times.shape)).sum(1)


@dataclass(frozen=True)
class WholePath(PathObjective):
    """The reverse-path log-likelihood of all jumps of a path: `Ratios.path_loss`.

    Attributes:
        points: Times at which the integral over the path is estimated.
    """

    points: int = 8

    def __post_init__(self) -> None:
        checks.whole(self.points, "points", least=1)

    def paths(
        self, model: Ratios, x1: Tensor, windows: int, generator: torch.Generator | None
    ) -> Path:
        t = times(len(x1), self.points, generator=generator, device=x1.device)
        return walk(model.dynamics, x1, t, windows=windows, generator=generator)

    def loss(self, model: Ratios, path: Path, generator: torch.Generator | None) -> Tensor:
        return model.path_loss(path, weights(path.times))


doors.guard(__name__, inside=("weights",))
