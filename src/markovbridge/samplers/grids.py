r"""Step grids: where a sampler stops on its way. Each returns times for `steps=`.

    >>> import markovbridge as mb
    >>> process = mb.PureDeath(maximum=8)
    >>> x1 = torch.randint(0, 9, (64, 3))
    >>> transport = mb.Transport(process, mb.exact.Empirical(process, x1), shape=(3,))
    >>> samples = transport.sample(4, steps=measure(transport, x1).grid(20))

A number of steps, `steps=20`, is a grid of equal error where the model knows its errors, as
trained models of pure death do, and `uniform` in t, equal steps of the schedule's own clock,
where not. `like` steps as another schedule would. A tensor of increasing times is a grid of
the user's.

**Equal error.** What is left to decide at time t is the error of the best guess,
e(t)² = E|x_1 - E[x_1 | x_t]|². From one step to the next e falls by the same amount, or, where
`transport.planning` has found that better, a power of it. An
8-bit image of 57,000 units has half of its variance settled once ten of them are born. Steps
that are even in time cross that stretch in one, with one mean for all samples, which then look
alike. `measure` takes e(t) from a model and data, as the
root mean square of its own errors.

The cosine schedule is close to the best there is: on the exactly known two-pixel law
(`benchmarks/step_grids.py`) those far from it (`LogisticSchedule(15)`) have three to six times
its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes.base import Process
from markovbridge.processes.schedules import Schedule
from markovbridge.samplers.model import DataModel, Given

LEVEL = 1e-9  # of its whole, by which an error falls where it does not


def _check(steps: int, start: float) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if not 0 <= start < 1:
        raise ValueError(f"a grid starts in [0, 1), not at {start}")


def uniform(steps: int, start: float = 0.0) -> Tensor:
    """Equal steps in t: (steps + 1,) times from `start` to 1, float64."""
    _check(steps, start)
    return torch.linspace(start, 1.0, steps + 1, dtype=torch.float64)


def like(process: Process, schedule: Schedule, steps: int, start: float = 0.0) -> Tensor:
    """The times at which the process has the survival of another schedule's equal steps.

    Args:
        process: Whose times are wanted.
        schedule: Whose steps: CosineSchedule(), LinearSchedule(), LogisticSchedule(15), ...
        steps: How many.
        start: Time of the process at which to start.

    Returns:
        (steps + 1,) times, float64.
    """
    _check(steps, start)
    t = process.schedule.at(start)
    first = schedule.time(process.schedule.survival(t), process.schedule.mortality(t))
    grid = torch.linspace(float(first), 1.0, steps + 1, dtype=torch.float64)
    times = process.schedule.time(schedule.survival(grid), schedule.mortality(grid))
    return _closed(times, start)


@dataclass(frozen=True)
class ErrorCurve:
    """How far a model's best guess is from the data, over time.

    Attributes:
        times: From 0 to 1, increasing.
        errors: Root mean square of |x_1 - E[x_1 | x_t]| at these times, in units of the data,
            from what is unknown at the source down to 0.
    """

    times: tuple[float, ...]
    errors: tuple[float, ...]

    def grid(self, steps: int, start: float = 0.0, power: float = 1.0) -> Tensor:
        """Times between which a power of the error falls by equal amounts.

        Args:
            steps: How many.
            start: Where they begin, in [0, 1).
            power: Above 0; below 1 there are fewer steps at the source and more at the data.

        Returns:
            (steps + 1,), float64.
        """
        _check(steps, start)
        checks.number(power, "power", above=0)
        times, fallen = self._fallen(power)
        first = _interpolate(times, fallen, torch.tensor([start], dtype=torch.float64))
        wanted = torch.linspace(float(first), float(fallen[-1]), steps + 1, dtype=torch.float64)
        return _closed(_interpolate(fallen, times, wanted), start)

    def fallen(self, share: float) -> float:
        """The time at which the error has fallen by a share of what it was at the source."""
        checks.number(share, "share", least=0, most=1)
        times, fallen = self._fallen()
        return float(_interpolate(fallen, times, share * fallen[-1:]))

    def _fallen(self, power: float = 1.0) -> tuple[Tensor, Tensor]:
        """Times, and by how much a power of the error has fallen: never level, a time for each."""
        times = torch.tensor(self.times, dtype=torch.float64)
        errors = torch.tensor(self.errors, dtype=torch.float64).flip(0).cummax(0).values.flip(0)
        errors = errors**power
        fallen = errors[0] - errors
        return times, fallen + LEVEL * fallen[-1].clamp_min(LEVEL) * times


def _interpolate(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation of y, tabulated at increasing x."""
    piece = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    part = (at - x[piece - 1]) / (x[piece] - x[piece - 1])
    return y[piece - 1] + part * (y[piece] - y[piece - 1])


@torch.no_grad()
def measure(
    transport: DataModel,
    x1: Tensor,
    *,
    x0: Tensor | None = None,
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
) -> ErrorCurve:
    """The error of a model's best guess over time, along pinned paths to data.

    Args:
        transport: A model whose law has a mean.
        x1: Data, (n, *event): a hundred will do. The model looks 36 times at each.
        x0: Sources paired with x1, (n, *event); drawn from the coupling if None.
        condition: What to condition on, (n, ...).
        generator: Source of randomness on the device of the transport.
        block: How many states the model sees at once.
    """
    process = transport.process
    x1 = transport.check(x1, "x1").to(transport.device)
    _check_data(x1, condition)
    nodes = process.error_times(x1)
    square = torch.zeros(len(nodes), dtype=torch.float64)
    with transport.evaluating():
        for part in torch.arange(len(x1), device=x1.device).split(block):
            end = x1[part]
            told = None if condition is None else condition[part]
            if x0 is None:
                x = transport.coupling.sources(process, end, told, generator=generator)
            else:
                x = transport.check(x0[part], "x0").to(end.device)
            start = x if transport.coupling.preserve else None
            for number, (s, t) in enumerate(pairwise([0.0, *nodes])):
                if t > s:
                    x = process.bridge(x, end, s, t, 1.0).sample(generator=generator)
                law = transport.law(x, t, Given(told, start=start))
                square[number] += float(((end - law.mean).double() ** 2).sum())
    errors = (square / len(x1)).sqrt().tolist()
    return ErrorCurve((*nodes, 1.0), (*errors, 0.0))


def _check_data(x1: Tensor, condition: Tensor | None) -> None:
    if not len(x1):
        raise ValueError("x1 holds no data point")
    if condition is not None and len(condition) != len(x1):
        raise ValueError(f"condition has {len(condition)} rows for {len(x1)} data points")


def _closed(times: Tensor, start: float) -> Tensor:
    """The same times with exact ends."""
    times = times.clone()
    times[0], times[-1] = start, 1.0
    if not bool((times[1:] > times[:-1]).all()):
        raise ValueError(
            "some steps of this grid have no length: take fewer, or a schedule without jumps"
        )
    return times


doors.guard(__name__)
