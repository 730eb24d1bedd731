r"""Tau-leaping: all jumps of a step at once, from the rates at its start.

With the rates λ_j of the generative process at (x, t) held for a step of length h,

    amounts      x + Σ_j n_j (x'_j - x),  n_j ~ Poisson(h λ_j)
    categories   at most one jump: with probability 1 - exp(-h Σλ), to j with λ_j / Σλ

site by site (Gillespie 2001; Campbell et al., tauLDR,
https://arxiv.org/abs/2205.14987, for diffusion models). It needs nothing but
`expected_rates`, so any head with the right means will do, and its error is of
first order in the step. `Bridge` is of first order too and exact for one site;
prefer it where the head gives a law that can be drawn from.

Two steps are not leaps but steps of the bridge. At survival 0 a chain is
stationary because it jumps infinitely often, so there is no rate to leap with;
and at the data rates of the kind 1/(1 - p) are not integrable, so what is left of
noise at the last inner time is removed by drawing x_1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers.base import Sampler, instead
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.model import Model, Stated
from markovbridge.samplers.rates import leap, sound


@dataclass(frozen=True)
class TauLeaping(Sampler):
    """Leap from the rates, for any jump process."""

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
        if not isinstance(process, JumpProcess):
            raise TypeError(
                f"TauLeaping needs rates, which {type(process).__name__} does not have: "
                f"take {instead(process)}"
            )
        if float(process.schedule.survival(t)) == 0 or s >= 1:
            return Bridge().step(Stated(model), x, t, s, generator=generator)
        rates = sound(process.expected_rates(model.law(x, t), x, t), t)
        return process.project(leap(process, x, rates * (s - t), generator))

    def evaluations(self, steps: int) -> int:
        """One for each step."""
        return steps


doors.guard(__name__)
