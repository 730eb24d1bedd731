r"""Simulation: every jump at its time by thinning, or in leaps; of the noising and the reverse.

**Thinning.** While a walker stays in x its total rate is at most B in a window of time. Proposals
come at rate B and are accepted with probability (total rate)/B (Ogata 1981; Lewis & Shedler
1979); with rates that are constant in time nothing is rejected, which is Gillespie's algorithm.

**Leaps.** A step of length h freezes the rates a_m(x, t), draws Poisson(h Σ_m a_m) jumps with
labels ∝ a_m, and makes them one after the other, leaving out those that the jumps before them
made impossible. Each label comes Poisson(a_m h) times (Gillespie 2001), and no state is left that
is none.

Both run a `Walker`: down in time for noising, up for a learned reverse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import poisson

EVENTS = 10**6  # rounds of proposals, or jumps of a leap, before a simulation gives up
ROUNDING = 1e-9  # by how much a rate may exceed its bound


class Walker(ABC):
    """What is simulated."""

    upwards: bool
    strict: bool
    """Whether a rate above its bound is an error; else the bound is raised, and drawn again."""

    @abstractmethod
    def rates(self, x: Tensor, t: Tensor) -> Tensor:
        """Rates of all jumps, (batch, M) float64."""

    @abstractmethod
    def possible(self, x: Tensor, t: Tensor, which: Tensor) -> Tensor:
        """Whether jumps with these labels are possible, (batch,)."""

    @abstractmethod
    def jumped(self, x: Tensor, which: Tensor) -> Tensor:
        """States after jumps with these labels."""

    @abstractmethod
    def window(self, t: Tensor, stop: Tensor) -> Tensor:
        """Until when one bound shall hold, from t on, (batch,)."""

    @abstractmethod
    def bound(self, x: Tensor, t: Tensor, edge: Tensor) -> Tensor:
        """A bound on the total rate in x between t and edge, (batch,)."""


def chosen(values: Tensor, which: Tensor) -> Tensor:
    """The entry of each row with its label: (batch, M, ...) to (batch, ...)."""
    return values[torch.arange(len(values), device=values.device), which]


def drawn(rates: Tensor, generator: torch.Generator | None) -> Tensor:
    """A label of each row, with probability ∝ its rate, (batch,)."""
    return (rates / torch.empty_like(rates).exponential_(generator=generator)).argmax(1)


def times_of(t: float | Tensor, x: Tensor) -> Tensor:
    """Times as (batch,) float64 in [0, 1].

    Raises:
        ValueError: If one is outside.
    """
    t = torch.as_tensor(t, dtype=torch.float64, device=x.device)
    if t.ndim > 1 or (t.ndim == 1 and len(t) != len(x)):
        raise ValueError(f"times must be one number or ({len(x)},), not {tuple(t.shape)}")
    if not bool(((t >= 0) & (t <= 1)).all()):
        raise ValueError("times must lie in [0, 1]: 0 is the source, 1 the data")
    return t.expand(len(x)).clone()


class Watch:
    """Keeps the states at given times, and the jumps."""

    def __init__(self, x: Tensor, times: Tensor) -> None:
        self.times = times
        self.states = x.unsqueeze(1).expand(-1, times.shape[1], *x.shape[1:]).clone()
        self.rows, self.when, self.which, self.after = [], [], [], []

    def stay(self, rows: Tensor, x: Tensor, before: Tensor, after: Tensor) -> None:
        times = self.times[rows]
        seen = (times <= before.unsqueeze(1)) & (times >= after.unsqueeze(1))
        i, k = seen.nonzero(as_tuple=True)
        self.states[rows[i], k] = x[i]

    def jump(self, rows: Tensor, when: Tensor, which: Tensor, after: Tensor) -> None:
        self.rows.append(rows)
        self.when.append(when)
        self.which.append(which)
        self.after.append(after)


def jumps(
    walker: Walker,
    x: Tensor,
    start: Tensor,
    stop: Tensor,
    *,
    watch: Watch | None = None,
    events: int = EVENTS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run a walker from start to stop, (batch,) each, jump by jump.

    Raises:
        RuntimeError: If a rate exceeds a bound that was stated.
        FloatingPointError: If the end is not reached in so many rounds.
    """
    sign = 1.0 if walker.upwards else -1.0
    x, clock = x.clone(), start.clone()
    edge, limit = clock.clone(), torch.zeros_like(clock)
    stale = torch.ones_like(clock, dtype=torch.bool)
    for _ in range(events):
        live = (sign * (stop - clock) > 0).nonzero().squeeze(1)
        if not len(live):
            return x
        new = live[stale[live]]
        if len(new):
            edge[new] = walker.window(clock[new], stop[new])
            limit[new] = walker.bound(x[new], clock[new], edge[new])
            stale[new] = False
        before, end = clock[live], edge[live]
        wait = torch.empty_like(before).exponential_(generator=generator) / limit[live]
        after = before + sign * wait
        inside = sign * (end - after) > 0
        after = torch.where(inside, after, end)
        share = torch.zeros_like(after)
        asked = live[inside]
        rates = torch.zeros(0)
        if len(asked):
            rates = walker.rates(x[asked], after[inside])
            share[inside] = rates.sum(1) / limit[asked]
        over = share > 1 + ROUNDING
        if bool(over.any()):
            if walker.strict:
                raise RuntimeError(
                    f"the total rate is {share.max().item():.3g} times its bound at t = "
                    f"{after[share.argmax()].item():.4g}: state a larger `bound`, or take more "
                    "windows"
                )
            # The proposal of these rows is drawn again, under a bound that is high enough.
            limit[live[over]] *= 2 * share[over]
            after = torch.where(over, before, after)
        if watch is not None:
            watch.stay(live, x[live], before, after)
        clock[live] = after
        stale[live[~inside]] = True
        u = torch.rand(len(live), dtype=clock.dtype, device=x.device, generator=generator)
        taken = inside & ~over & (u < share)
        rows = live[taken]
        if len(rows):
            which = drawn(rates[taken[inside]], generator)
            x[rows] = walker.jumped(x[rows], which)
            stale[rows] = True
            if watch is not None:
                watch.jump(rows, clock[rows], which, x[rows])
    raise FloatingPointError(
        f"{events} proposals were made, and the end was not reached: rates are too large, or "
        "what a network says of them has come apart"
    )


def leaps(
    walker: Walker, x: Tensor, grid: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Run a walker over a grid of times, (steps + 1, batch), in leaps.

    Raises:
        FloatingPointError: If a leap has too many jumps to make them one by one.
    """
    x = x.clone()
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        rates = walker.rates(x, t)
        count = poisson(rates.sum(1) * (s - t).abs(), generator)
        most = int(count.max()) if len(count) else 0
        if most > EVENTS:
            raise FloatingPointError(
                f"a leap of length {(s - t).abs().max().item():.3g} has {most} jumps: take more "
                "steps"
            )
        for k in range(most):
            rows = (count > k).nonzero().squeeze(1)
            which = drawn(rates[rows], generator)
            good = walker.possible(x[rows], t[rows], which)
            rows, which = rows[good], which[good]
            x[rows] = walker.jumped(x[rows], which)
    return x


doors.guard(__name__, inside=("Walker", "Watch", "chosen", "drawn", "jumps", "leaps"))
