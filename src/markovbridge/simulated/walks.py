"""Simulation of the noising process, from the data down: exact, with its path; in leaps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.simulated.dynamics import JumpDynamics, stated, states_of
from markovbridge.simulated.walkers import Walker, Watch, chosen, jumps, leaps, times_of

EDGE = 1e-6  # by which rounding may put a time outside: those of float32 are


@dataclass(frozen=True)
class Noising(Walker):
    """A dynamics, down in time, with `windows` bounds on the way from 1 to 0."""

    dynamics: JumpDynamics
    windows: int = 1
    upwards: bool = field(default=False, init=False)
    strict: bool = field(default=True, init=False)

    def rates(self, x: Tensor, t: Tensor) -> Tensor:
        return stated(self.dynamics, x, t)

    def possible(self, x: Tensor, t: Tensor, which: Tensor) -> Tensor:
        return chosen(self.rates(x, t), which) > 0

    def jumped(self, x: Tensor, which: Tensor) -> Tensor:
        return chosen(self.dynamics.moves(x), which)

    def window(self, t: Tensor, stop: Tensor) -> Tensor:
        # An edge that rounding put above a multiple of 1/windows begins the next window.
        return torch.maximum(((t * self.windows - 1e-9).ceil() - 1) / self.windows, stop)

    def bound(self, x: Tensor, t: Tensor, edge: Tensor) -> Tensor:
        return self.dynamics.bound(x, t, edge).double()


@dataclass
class Visits:
    """States of simulated paths at some times.

    Attributes:
        times: When, (batch, points).
        states: The states then, (batch, points, *event).
    """

    times: Tensor
    states: Tensor

    def part(self, first: int, last: int) -> Self:
        """Those of the paths first .. last-1."""
        return replace(self, times=self.times[first:last], states=self.states[first:last])


@dataclass
class Path(Visits):
    """Noising paths from the data down, with all their jumps.

    Attributes:
        end: The states at the end, (batch, *event).
        rows: Which path each jump is of, (jumps,).
        when: Its time, (jumps,).
        which: The label of its move, (jumps,).
        after: The state that it led to, (jumps, *event).
    """

    end: Tensor
    rows: Tensor
    when: Tensor
    which: Tensor
    after: Tensor

    def part(self, first: int, last: int) -> Self:
        mine = (self.rows >= first) & (self.rows < last)
        jumps = {name: getattr(self, name)[mine] for name in ("when", "which", "after")}
        rows, end = self.rows[mine] - first, self.end[first:last]
        return replace(super().part(first, last), end=end, rows=rows, **jumps)


def walk(
    dynamics: JumpDynamics,
    x: Tensor,
    times: Tensor,
    start: float | Tensor = 1.0,
    stop: float | Tensor = 0.0,
    *,
    windows: int = 1,
    generator: torch.Generator | None = None,
) -> Path:
    """Simulate the noising process exactly, and keep what happened.

    Args:
        dynamics: The process.
        x: States at `start`, (batch, *event).
        times: When to look at states, (batch, points), from `stop` to `start`.
        start: Where to begin, a number or (batch,).
        stop: Where to end, likewise, not after `start`.
        windows: Into how many windows the time from 1 to 0 is cut, each with a bound of its
            own; more are faster where rates change much.
        generator: Source of randomness.

    Raises:
        ValueError: If shapes or times do not fit, or rates are none.
        RuntimeError: If a rate exceeds `dynamics.bound`.
    """
    x = states_of(dynamics, x)
    if times.ndim != 2 or len(times) != len(x):
        raise ValueError(f"times must be ({len(x)}, points), not {tuple(times.shape)}")
    first, last = (times_of(t, x).unsqueeze(1) for t in (start, stop))
    looks = times.to(x.device, torch.float64)
    if not bool(((looks >= last - EDGE) & (looks <= first + EDGE)).all()):
        raise ValueError(
            "times must lie between stop and start of their row: no path is elsewhere"
        )
    watch = Watch(x, torch.minimum(torch.maximum(looks, last), first))
    end = _simulated(dynamics, x, start, stop, windows, watch, generator)
    none = torch.zeros(0, dtype=torch.int64, device=x.device)
    return Path(
        watch.times,
        watch.states,
        end,
        torch.cat([none, *watch.rows]),
        torch.cat([none.double(), *watch.when]),
        torch.cat([none, *watch.which]),
        torch.cat([x[:0], *watch.after]),
    )


def simulate(
    dynamics: JumpDynamics,
    x: Tensor,
    start: float | Tensor = 1.0,
    stop: float | Tensor = 0.0,
    *,
    windows: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw states at `stop` given those at `start`, exactly: (batch, *event); see `walk`."""
    x = states_of(dynamics, x)
    return _simulated(dynamics, x, start, stop, windows, None, generator)


def leap(
    dynamics: JumpDynamics,
    x: Tensor,
    start: float = 1.0,
    stop: float = 0.0,
    *,
    steps: int = 50,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw states at `stop` given those at `start` in `steps` leaps: (batch, *event)."""
    checks.turns(steps, "steps")
    x = states_of(dynamics, x)
    first, last = times_of(start, x), times_of(stop, x)
    if start < stop:
        raise ValueError(f"noising runs down in time, not from {start} to {stop}")
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=x.device)
    return leaps(Noising(dynamics), x, torch.lerp(first, last, share.unsqueeze(1)), generator)


def _simulated(
    dynamics: JumpDynamics,
    x: Tensor,
    start: float | Tensor,
    stop: float | Tensor,
    windows: int,
    watch: Watch | None,
    generator: torch.Generator | None,
) -> Tensor:
    checks.turns(windows, "windows")
    first, last = times_of(start, x), times_of(stop, x)
    if bool((first < last).any()):
        raise ValueError("noising runs down in time: start must not be before stop")
    walker = Noising(dynamics, windows)
    return jumps(walker, x, first, last, watch=watch, generator=generator)


doors.guard(__name__)
