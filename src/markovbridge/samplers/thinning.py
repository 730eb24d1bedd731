r"""Exact simulation of a jump process whose rates are known only by asking.

On the clock τ = -log p, which runs down towards the data, proposals come at a
constant rate B and are accepted with probability λ/B, λ being the total rate of
the generative process at that instant (Ogata 1981; Lewis & Shedler 1979). It is
exact if λ <= B. A bound that holds for *any* law of x_1, learned ones included:
the rates are averages over x_1 of pinned rates, so their maximum over x_1 will
do, which a process states for a window of time (`bounds`). Windows are short
enough for the bound to be no more than about `SLACK` times what it is at their
start. Where data are unbounded there is no such maximum, and for chains on many states it would be
one of all pairs of them: there windows are those of `samplers.local_bounds`.

A chain jumps infinitely often where its survival is 0, and may do so at the data,
so time is cut at survival and at mortality `ends`; what lies beyond is one step
of the bridge each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import by_row
from markovbridge.processes.clock import instant, match, speed
from markovbridge.processes.jumps import Bounds, JumpProcess
from markovbridge.processes.schedules import Schedule
from markovbridge.samplers import local_bounds
from markovbridge.samplers.base import instead
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.model import Model, Stated
from markovbridge.samplers.rates import Events, moved, sound

SLACK = 2.0  # by how much a window may loosen the bound
FLAT = 0.98  # a window this short, as a ratio of clocks, is short enough in any case


def simulate(
    model: Model,
    x: Tensor,
    t: float,
    s: float,
    ends: float,
    events: Events,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw x_s given x_t = x, jump by jump.

    Raises:
        TypeError: If the process states no bound of its rates.
        ValueError: If it has none, its data being unbounded, and states no `growth` either.
        RuntimeError: If a rate exceeds the bound: the law is not one of x_1.
        FloatingPointError: If a rate is not finite, or there are too many jumps.
    """
    process = model.process
    if not isinstance(process, JumpProcess):
        raise TypeError(
            f"{type(process).__name__} states no bound of its rates, so its jumps cannot be "
            f"simulated one by one: take {instead(process)}"
        )
    schedule = process.schedule
    first = max(t, _time(schedule, ends))
    if t < first:
        x = Bridge().step(Stated(model), x, t, min(first, s), generator=generator)
    last = min(s, _time(schedule, 1 - ends))
    # A law by means alone leaves the data if it takes the last jump: make it before.
    if first < s and last < s and model.law(x, first).means_only:
        last = min(s, _time(schedule, 1 - ends**2))
    if first < last:
        x = x.clone()
        clock, stop = _clock(schedule, first), _clock(schedule, last)
        if process.local:
            x = local_bounds.run(model, process, x, clock, stop, events, generator)
            clock = stop
        while clock > stop:
            low, bounds = _window(process, clock, stop)
            x = _jumps(model, process, x, clock, low, bounds, events, generator)
            clock = low
    if last < s and first < s:
        x = Bridge().step(Stated(model), x, max(first, last), s, generator=generator)
    return process.project(x)


def _time(schedule: Schedule, survival: float) -> float:
    p = torch.tensor(survival, dtype=torch.float64)
    return float(schedule.time(p, 1 - p))


def _clock(schedule: Schedule, t: float) -> float:
    return -math.log1p(-float(schedule.mortality(t)))


def _window(process: JumpProcess, high: float, stop: float) -> tuple[float, Bounds]:
    """The end of a window that starts at clock `high`, and the bound within."""
    tight = process.bounds(high, max(stop, FLAT * high))
    ratio = 0.5
    while True:
        low = max(stop, ratio * high)
        bounds = process.bounds(high, low)
        if ratio >= FLAT or bounds.worst <= SLACK * tight.worst:
            return low, bounds
        ratio = math.sqrt(ratio)


def _jumps(
    model: Model,
    process: JumpProcess,
    x: Tensor,
    high: float,
    low: float,
    bounds: Bounds,
    events: Events,
    generator: torch.Generator | None,
) -> Tensor:
    """Run one window."""
    clock = torch.full((len(x),), high, dtype=torch.float64, device=x.device)
    while True:
        limit = by_row(bounds.of(x)).sum(1)
        wait = torch.empty_like(clock).exponential_(generator=generator) / limit
        clock = torch.where(clock > low, clock - wait, clock)
        active = clock > low
        if not bool(active.any()):
            return x
        times = instant(process.schedule, clock.clamp(low, high))
        events.count(x)
        rates = process.expected_rates(model.law(x, times), x, times)
        rates = sound(torch.where(match(active, rates), rates, 0.0), times).double()
        rates = rates / match(speed(process.schedule, times), rates)
        each = by_row(rates)
        share = each.sum(1) / limit
        if bool((active & (share > 1 + 1e-6)).any()):
            raise RuntimeError(
                f"a rate is {share[active].max().item():.3g} times its bound over all x_1: "
                "the law puts mass where the data cannot be"
            )
        u = torch.rand(len(x), dtype=torch.float64, device=x.device, generator=generator)
        accepted = active & (u < share)
        race = torch.empty_like(each).exponential_(generator=generator)
        jumped = moved(x, process.moves(x), (each / race).argmax(1))
        x = torch.where(match(accepted, x), jumped, x)


doors.guard(__name__)
