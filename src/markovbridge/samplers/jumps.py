r"""Gillespie: every single jump at its time, by thinning of proposals (Ogata 1981).

Any process that bounds its rates is simulated as in `samplers.thinning`. Pure death
needs no bound from outside. In the clock u = -log(1 - p) the births of the generative
process come at rate Σ_i y_i(x, u), y = E[x_1 - x | x_t = x], and
∂_u y_i = -Σ_j Cov(m_i, m_j | x) gives a total that only decreases between
events: propose after Exp(Σ y(x, u)), accept with Σ y(x, u') / Σ y(x, u).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.checks import whole
from markovbridge.model import Model
from markovbridge.processes.base import match
from markovbridge.processes.counts import TINY, PureDeath
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.rates import sound
from markovbridge.samplers.thinning import Events, simulate

__all__ = ["Gillespie"]


@dataclass(frozen=True)
class Gillespie(Sampler):
    """Exact simulation, event by event, whatever the grid.

    For pure death it costs about two network evaluations an event, so it suits low total
    counts. A learned mean may rise where the exact one cannot; the largest such ratio is
    warned of. Other processes cost more, as their bounds hold for any x_1; it is refused where
    there is no bound.

    Attributes:
        ends: Survival and mortality at which other processes are cut: a chain jumps infinitely
            often beyond. A step of the bridge is made there, its error of order `ends`².
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
        process = model.process
        if not isinstance(process, PureDeath):
            return simulate(model, x, t, s, self.ends, Events(self.events), generator)
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
        events = Events(self.events)
        while bool(active.any()):
            events.count(x)
            times = schedule.time(-torch.expm1(-clock), (-clock).exp())
            y = model.law(x, times).excess(x)
            y = sound(torch.where(match(active, y), y, 0.0), times).double()
            if process.maximum is not None:
                y = torch.where(x < process.maximum, y, 0.0)
            y = y.reshape(batch, -1)
            total = y.sum(1)

            proposed = active & ~bound.isnan()
            u = torch.rand(batch, dtype=torch.float64, device=x.device, generator=generator)
            ratio = total / bound
            accepted = proposed & (u < ratio)
            worst = torch.maximum(worst, torch.where(proposed, ratio, 1.0).max())
            race = torch.empty_like(y).exponential_(generator=generator)
            site = (y / race).argmax(1, keepdim=True)
            birth = torch.zeros_like(y, dtype=x.dtype).scatter_(1, site, 1).reshape(x.shape)
            x = x + birth * match(accepted, x)

            bound = torch.where(accepted, torch.nan, total)
            wait = torch.empty_like(clock).exponential_(generator=generator) / bound
            clock = torch.where(active & ~accepted, clock + wait, clock)
            active = active & (clock < end)
        if worst > 1.01:
            warnings.warn(
                f"the total birth rate rose by a factor {worst.item():.3f} between events, "
                "where an exact mean could only fall: the learned mean is inexact there, and "
                "so is this simulation",
                stacklevel=2,
            )
        return x

    def evaluations(self, steps: int) -> None:
        """Unknown: about two for each event."""
        return None


doors.guard(__name__)
