"""The loop that fits a reverse to data, and how its weights are kept.

Everything random is a function of (seed, step): the same call gives the same weights.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.simulated.dynamics import rows_of
from markovbridge.simulated.sources import StartLaw
from markovbridge.simulated.walks import Visits
from markovbridge.storage.files import read_bytes, write_bytes
from markovbridge.storage.reading import tensors
from markovbridge.transport.likelihood import Bound


class Learned(nn.Module, ABC):
    """A reverse process with weights."""

    source: StartLaw

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Event shape, without the batch."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @abstractmethod
    def paths(self, x1: Tensor, *, generator: torch.Generator | None = None) -> Visits:
        """Simulate noising paths from data (batch, *event), as the loss needs them."""

    @abstractmethod
    def loss_of(self, paths: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Loss of each path, (batch,)."""

    def loss(self, x1: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Loss of data (batch, *event), one path each: (batch,).

        Raises:
            ValueError: If x1 is not (batch, *event).
        """
        return self.loss_of(self.paths(x1, generator=generator), generator=generator)

    @abstractmethod
    def frames(
        self, x: Tensor | int, times: Sequence[float], *, generator: torch.Generator | None = None
    ) -> Tensor:
        """States on the way to the data, for pictures, or from an observed state.

        Args:
            x: States at the first of the times, (batch, *event), or how many to draw from the
                source, which is at t = 0.
            times: When, in increasing order.
            generator: Source of randomness.

        Returns:
            The states at these times, (times, batch, *event).
        """

    def _begun(
        self, x: Tensor | int, times: Sequence[float], rng: torch.Generator | None
    ) -> Tensor:
        """The states that `frames` starts from.

        Raises:
            ValueError: If they, or times, do not fit.
        """
        if not len(times):
            raise ValueError("times hold none: give one or more, in increasing order")
        if isinstance(x, Tensor):
            return rows_of(x, self.shape).to(self.device)
        if times[0] != 0:
            raise ValueError(
                f"the source is at t = 0, and the first of the times is {times[0]:g}: begin with "
                "0, or give the states to start from"
            )
        return self._sources(x, rng)

    def _sources(self, n: int, rng: torch.Generator | None) -> Tensor:
        """States to start from, (n, *event)."""
        x = self.source.sample(checks.whole(n, "n", least=0), generator=rng).to(self.device)
        return rows_of(x, self.shape, "the sample of the source")

    def _bound(self, x1: Tensor, paths: int, value: Callable[[Tensor], Tensor]) -> Bound:
        """Means over paths of the value of each, which is given rows of data, (rows,)."""
        checks.whole(paths, "paths", least=2)
        if not len(x1):
            raise ValueError("x1 holds no data point: give at least one row")
        most = max(1, ROWS // len(x1))
        found = []
        for first in range(0, paths, most):
            copies = min(most, paths - first)
            rows = x1.repeat(copies, *[1] * (x1.ndim - 1))
            found.append(value(rows).reshape(copies, len(x1)))
        values = torch.cat(found)
        return Bound(values.mean(0), values.std(0) / math.sqrt(paths), x1[0].numel())

    def save(self, path: str | Path) -> None:
        """Write the weights, as a safetensors file.

        The process is the user's own code, which no file holds: to read the weights, make the
        same model, and `load`.
        """
        state = {name: v.detach().cpu().contiguous().clone() for name, v in self._weights()}
        write_bytes(Path(path), save_tensors(state))

    def load(self, path: str | Path) -> None:
        """Read the weights that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or of another model.
        """
        path = Path(path)
        state = tensors(path, read_bytes(path))
        own = {name: tuple(v.shape) for name, v in self._weights()}
        found = {name: tuple(v.shape) for name, v in state.items()}
        if own != found:
            other = min(set(own.items()) ^ set(found.items()))[0]
            raise ValueError(
                f"{path} holds the weights of another model: {other} is "
                f"{found.get(other, 'missing')} in it and {own.get(other, 'missing')} here"
            )
        self.load_state_dict(state)

    def _weights(self) -> list[tuple[str, Tensor]]:
        return sorted(self.state_dict().items())


ROWS = 4096  # paths that a bound simulates together
AHEAD = 16  # steps whose paths are simulated together, which takes little longer than those of one

M = TypeVar("M", bound=Learned)


def fit(
    model: M,
    data: Tensor,
    steps: int = 2000,
    *,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> M:
    """Train a model in place: Adam, a rate that falls as a cosine, averaged weights at the end.

    Args:
        model: The model.
        data: Data, (N, *event).
        steps: Steps of the optimiser.
        batch_size: Data points of a step, drawn anew.
        learning_rate: Of the first step.
        seed: Of all that is random.

    Returns:
        The model, with weights averaged over about the last tenth of the steps.

    Raises:
        ValueError: If there are no data or nothing to train.
        FloatingPointError: If a loss is not finite, naming the step.
    """
    checks.turns(steps, "steps")
    checks.whole(batch_size, "batch_size", least=1)
    checks.number(learning_rate, "learning_rate", above=0)
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise ValueError("the model has no weights to train")
    if data.ndim < 1 or not len(data):
        raise ValueError("data hold no row: give at least one")
    device = weights[0].device
    data = data.to(device)
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    average = copy.deepcopy(weights)
    model.train()
    paths, first = None, 0
    for step in range(steps):
        rng = generator(device, seed, "simulated", step)
        if paths is None or step - first == AHEAD:
            first, count = step, min(AHEAD, steps - step) * batch_size
            rows = torch.randint(len(data), (count,), generator=rng, device=device)
            paths = model.paths(data[rows], generator=rng)
        start = (step - first) * batch_size
        loss = model.loss_of(paths.part(start, start + batch_size), generator=rng).mean()
        if not bool(loss.isfinite()):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {step}: take a smaller learning_rate"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 10.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.step()
        with torch.no_grad():
            share = max(1 / (step + 1), min(1.0, 10 / steps))
            for kept, new in zip(average, weights, strict=True):
                kept.lerp_(new, share)
    with torch.no_grad():
        for new, kept in zip(weights, average, strict=True):
            new.copy_(kept)
    return model.eval()


doors.guard(__name__)
