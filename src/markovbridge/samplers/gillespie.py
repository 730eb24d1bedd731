r"""Gillespie: every single jump at its time, by thinning of proposals (Ogata 1981).

Any process that bounds its rates is simulated as in `samplers.thinning`, and one of unbounded
data, or of many states, by bounds that hold for a short while (`samplers.local_bounds`). One that
is `falling` needs no bound from outside. Under pure death, in the clock u = -log(1 - p), the
births of the generative process come at rate Σ_i y_i(x, u), y = E[x_1 - x | x_t = x], and
∂_u y_i = -Σ_j Cov(m_i, m_j | x) gives a total that only decreases between events: propose after
Exp(Σ y(x, u)), accept with Σ y(x, u') / Σ y(x, u).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors.checks import whole
from markovbridge.laws.numbers import by_row
from markovbridge.processes.clock import TINY, match
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.model import Model
from markovbridge.samplers.rates import Events, moved, sound
from markovbridge.samplers.thinning import simulate


@dataclass(frozen=True)
class Gillespie(Sampler):
    """Exact simulation, event by event, whatever the grid.

    For pure death it costs about two network evaluations an event, so it suits low total
    counts. A learned mean may rise where the exact one cannot; the largest such ratio is
    warned of, as is one under a process whose bounds are those of an exact law for a short while:
    `BirthDeath`, `LinearBirthDeath` and `RandomWalk` of unbounded data and chains on more than 512
    states, at about four evaluations an event. Other bounds hold for any x_1 and cost more; it is
    refused where there is none.

    Attributes:
        ends: Survival and mortality at which other processes are cut: a chain jumps infinitely
            often beyond. A step of the bridge is made there, its error of order `ends`². By a law
            of means alone, whose draws may leave the data, these are approached to `ends`².
        events: Most proposals for a sample in one step, each of them an evaluation. A learned
            or guided law may make counts that grow without end in a finite time.

    Raises:
        FloatingPointError: From `step`, if a rate is not finite or there are more proposals.
    """

    ends: float = 1e-3
    events: int = 100_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", whole(self.events, "events", least=1))
        if not 0 < self.ends < 0.5:
            raise ValueError(f"ends must lie in (0, 0.5), not {self.ends}")

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process, events = model.process, Events(self.events)
        if getattr(process, "falling", False):
            return falls(model, x, t, s, events, generator)
        return simulate(model, x, t, s, self.ends, events, generator)

    def evaluations(self, steps: int) -> None:
        """Unknown: about two for each event."""
        return None


def falls(
    model: Model,
    x: Tensor,
    t: float,
    s: float,
    events: Events,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw x_s given x_t = x, jump by jump, where the total rate only falls between jumps."""
    process = model.process
    assert isinstance(process, JumpProcess), "it has told that its rates fall"
    schedule, batch = process.schedule, len(x)
    x = x.clone()
    clock = torch.full(
        (batch,), -float(schedule.mortality(t).log()), dtype=torch.float64, device=x.device
    )
    # Not infinite at the data: a head floors its mean above 0, and given for ever even
    # the smallest rate makes births.
    end = -float(schedule.mortality(s).clamp_min(TINY).log())
    # NaN marks a state whose total rate has not been evaluated since it last changed.
    bound = torch.full_like(clock, torch.nan)
    active = torch.ones(batch, dtype=torch.bool, device=x.device)
    worst = torch.ones((), dtype=torch.float64, device=x.device)
    while bool(active.any()):
        events.count(x)
        times = schedule.time(-torch.expm1(-clock), (-clock).exp())
        y = process.strengths(model.law(x, times), x, times)
        y = sound(torch.where(match(active, y), y, 0.0), times).double()
        moves = process.moves(x)
        y = by_row(torch.where(process.project(moves) == moves, y, 0.0))
        total = y.sum(1)

        proposed = active & ~bound.isnan()
        u = torch.rand(batch, dtype=torch.float64, device=x.device, generator=generator)
        ratio = total / bound
        accepted = proposed & (u < ratio)
        worst = torch.maximum(worst, torch.where(proposed, ratio, 1.0).max())
        race = torch.empty_like(y).exponential_(generator=generator)
        x = torch.where(match(accepted, x), moved(x, moves, (y / race).argmax(1)), x)

        bound = torch.where(accepted, torch.nan, total)
        wait = torch.empty_like(clock).exponential_(generator=generator) / bound
        clock = torch.where(active & ~accepted, clock + wait, clock)
        active = active & (clock < end)
    if worst > 1.01:
        warnings.warn(
            f"the total rate of jumps rose by a factor {worst.item():.3f} between events, "
            "where an exact mean could only fall: the learned mean is inexact there, and "
            "so is this simulation",
            stacklevel=2,
        )
    return x


doors.guard(__name__, inside=("falls",))
