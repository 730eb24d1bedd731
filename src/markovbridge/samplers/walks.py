r"""Walks: from states at the first time of a grid to the data, in blocks.

Samples are made in blocks: block k draws from a generator that is a pure function of
(key, k), and the network always sees whole blocks, the last one filled up. So a sample
depends on the generator's state, its own index and the block size, and on nothing else: not
on how many are drawn, in how many processes, or on whether the work was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import MOST, Law
from markovbridge.processes.base import Process
from markovbridge.processes.schedules import Schedule, Time
from markovbridge.samplers import Sampler
from markovbridge.samplers.back import back, check_back
from markovbridge.samplers.extrapolation import capped, largest
from markovbridge.samplers.known_sites import Observed
from markovbridge.samplers.model import DataModel, Given


class BoundModel:
    """A model bound to what is given beside x_t, for samplers: a `Model`.

    Args:
        model: The model, whose law takes a `Given`.
        given: What is given.
        seen: Extremes of the training data, by which what is drawn is bounded.
    """

    def __init__(self, model: DataModel, given: Given, seen: Tensor | None = None) -> None:
        self.process, self.coupling, self.given = model.process, model.coupling, given
        self._model, self._seen = model, seen

    def law(self, x: Tensor, t: Time) -> Law:
        """The law of x_1 given x_t = x and all else that is known."""
        law = self._model.law(x, t, self.given)
        return capped(self.process, law, x, t, self._seen)

    def end(self, x: Tensor, t: Time, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw of x_1 given x_t = x, jointly if the model can."""
        if not getattr(self._model, "draws_jointly", False):
            return self.law(x, t).sample(generator=generator)
        end = self._model.end(x, t, self.given, generator=generator)  # pyright: ignore
        most, observed = largest(self.process, x, t, self._seen), self.given.observed
        if most is None:
            return end
        limited = torch.minimum(end, most.floor().to(end.dtype))
        return limited if observed is None else torch.where(observed.mask, end, limited)


def walk(
    model: BoundModel,
    x: Tensor,
    grid: Sequence[float],
    sampler: Sampler,
    *,
    generator: torch.Generator,
    callback: Callable[[float, Tensor], None] | None = None,
    rounds: int = 1,
) -> Tensor:
    """Walk from states at the first time of a grid to its last, the data.

    Known sites go along the bridge to their value, whatever the sampler makes of them. With
    `rounds` above 1, each step but the first is followed by as many moves less one: back by
    the reference and forward again.

    Returns:
        x_1, in the shape of x.

    Raises:
        FloatingPointError: If a state is not finite, which data would not show: NaN rounds to a
            count; or if counts grow beyond 2^40.
    """
    process = model.process
    checks.turns(rounds, "rounds")
    if rounds > 1:
        check_back(model)
    if callback is not None:
        callback(grid[0], x)
    for t, s in pairwise(grid):
        for left in reversed(range(rounds if t > grid[0] else 1)):
            y = sampler.step(model, x, t, s, generator=generator)
            if model.given.observed is not None:
                y = _held(process, x, y, model.given.observed, t, s, generator)
            x = back(model, y, s, t, generator) if left else y
        if s == grid[-1]:
            x = process.settled(x)
        if not x.is_floating_point() and bool((x.abs() > MOST).any()):
            raise FloatingPointError(
                f"the states grow without end: one is {int(x.abs().max()):.3g} after t = {t:.4g}. "
                "What the model says of x_1 has come apart: look at its weights, at guidance "
                "beyond 1, or take smaller steps"
            )
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise FloatingPointError(
                f"the states are not finite after t = {t:.4g}: look at the weights, at what the "
                "network gives there, or take smaller steps"
            )
        if callback is not None:
            callback(s, x)
    return x


def _held(
    process: Process,
    x: Tensor,
    y: Tensor,
    observed: Observed,
    t: float,
    s: float,
    generator: torch.Generator,
) -> Tensor:
    """x_s = y made from x_t = x, with known sites drawn from the bridge to their value.

    Leaps may step beyond a known value, from where no bridge leads to it. Of diffusions
    nothing is changed: there is always a way, and noise is correlated over the event.
    """
    mask = observed.mask
    if process.dtype.is_floating_point or not bool(mask.any()):
        return y
    start, end = x[mask].unsqueeze(1), observed.values[mask].unsqueeze(1)
    y = y.clone()
    y[mask] = process.bridge(start, end, t, s, 1.0).sample(generator=generator).squeeze(1)
    return y


def check_grid(schedule: Schedule, steps: int | Tensor, start: float) -> list[float]:
    """The times of a walk from `start` to 1: of the schedule, or those given.

    Raises:
        ValueError: If given times do not increase from `start` to 1.
    """
    if not isinstance(steps, Tensor):
        return schedule.grid(steps, start).tolist()
    grid = steps.double().flatten()
    if (
        len(grid) < 2
        or not bool((grid[1:] > grid[:-1]).all())
        or abs(float(grid[0]) - start) > 1e-6
        or float(grid[-1]) != 1.0
    ):
        raise ValueError(
            f"a grid must increase from {start} to 1, not {grid[:3].tolist()} ... "
            f"{grid[-3:].tolist()}"
        )
    return grid.tolist()


def rows(values: Tensor, index: int, block: int) -> Tensor:
    """The rows of a block, the last row standing in for those beyond the end.

    Raises:
        ValueError: If there is no such block.
    """
    n = len(values)
    if index >= blocks(n, block):
        raise ValueError(f"there is no block {index}: {n} samples take {blocks(n, block)}")
    chosen = torch.arange(index * block, (index + 1) * block, device=values.device)
    return values[chosen.clamp_max(n - 1)]


def check_rows(condition: Tensor | None, n: int | None) -> None:
    """Check that a condition is one of n samples, if either is known.

    Raises:
        ValueError: If it has another number of rows.
    """
    if condition is not None and n is not None and len(condition) != n:
        raise ValueError(f"condition has {len(condition)} rows for {n} samples")


def blocks(n: int, block: int) -> int:
    """How many blocks n samples take.

    Raises:
        ValueError: If there are less than none, or a block holds none.
    """
    return -(-checks.whole(n, "n", least=0) // checks.whole(block, "block", least=1))


doors.guard(__name__)
