r"""Samplers: how to walk from the source (t = 0) to the data (t = 1).

A sampler implements one step, from x_t to x_s with t < s; `Transport.sample`
loops over a grid of times, any grid. A model here is anything with a `process`
and a `law(x, t, condition)`: a trained transport or an exact law.

- `Bridge` draws x_1 from the law, then x_s from the bridge towards it. With the
  exact joint law of x_1 it is exact at every number of steps, one included; with
  a law per site it is first order in the step. With a mean head it is, by the
  law the head gives the remaining count, the published samplers of Blackout
  Diffusion (https://arxiv.org/abs/2305.11089): "poisson" is their tau-leap, a
  thinned Poisson being Poisson, "nearest" their binomial bridge.
- `Gillespie` simulates every single birth at its exact time, by thinning of
  proposals (Ogata 1981). In the clock u = -log(1 - p) the births of the
  generative process come at rate Σ_i y_i(x, u), y = E[x_1 - x | x_t = x], and
  ∂_u y_i = -Σ_j Cov(m_i, m_j | x) gives a total that only decreases between
  events: propose after Exp(Σ y(x, u)), accept with Σ y(x, u') / Σ y(x, u).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from markovbridge.laws import Law
from markovbridge.processes.base import Process, match
from markovbridge.processes.counts import PureDeath

__all__ = ["Bridge", "Gillespie", "Model", "Sampler"]


class Model(Protocol):
    """What a sampler needs: a process, and the law of x_1 given x_t."""

    process: Process

    def law(self, x: Tensor, t: float | Tensor, condition: Tensor | None = None) -> Law:
        """The law of x_1 given x_t = x."""
        ...


class Sampler(ABC):
    """One step of a walk from source to data."""

    @abstractmethod
    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x_s given x_t = x, for t < s: (batch, *event)."""

    @abstractmethod
    def evaluations(self, steps: int) -> int | None:
        """Network evaluations in `steps` steps, None if that depends on chance."""


@dataclass(frozen=True)
class Bridge(Sampler):
    """Draw x_1 from the law, then x_s from the bridge towards it. The default."""

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        end = model.law(x, t, condition).sample(generator=generator)
        bridge = model.process.bridge(x, end, t, s, 1.0)
        # Cut after the bridge, not before: an end beyond the range still gives the
        # right law inside it, and the published leap does the same.
        return model.process.project(bridge.sample(generator=generator))

    def evaluations(self, steps: int) -> int:
        """One for each step."""
        return steps


@dataclass(frozen=True)
class Gillespie(Sampler):
    """Exact simulation of pure birth, event by event, whatever the grid.

    It costs about two network evaluations an event, so it suits low total counts. A
    learned mean may rise where the exact one cannot; the largest such ratio is warned of.
    """

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = model.process
        if not isinstance(process, PureDeath):
            raise TypeError(f"Gillespie simulates PureDeath, not {type(process).__name__}")
        schedule, batch = process.schedule, len(x)
        x = x.clone()
        clock = torch.full(
            (batch,), -float(schedule.mortality(t).log()), dtype=torch.float64, device=x.device
        )
        end = -float(schedule.mortality(s).log())  # infinite at the data
        # NaN marks a state whose total rate has not been evaluated since it last changed.
        bound = torch.full_like(clock, torch.nan)
        active = torch.ones(batch, dtype=torch.bool, device=x.device)
        worst = torch.ones((), dtype=torch.float64, device=x.device)
        while bool(active.any()):
            times = schedule.time(-torch.expm1(-clock), (-clock).exp())
            y = model.law(x, times, condition).excess(x).double()
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
