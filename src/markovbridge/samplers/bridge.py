r"""The bridge sampler: draw the end, then step the bridge towards it.

With the exact joint law of x_1 it is exact at every number of steps, one
included; with a law per site it is first order in the step. With a mean head it
is, by the law the head gives the remaining count, the published samplers of
Blackout Diffusion (https://arxiv.org/abs/2305.11089): "poisson" is their
tau-leap, a thinned Poisson being Poisson, "nearest" their binomial bridge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.model import Model, end_of


@dataclass(frozen=True)
class Bridge(Sampler):
    """Draw x_1 from the law, or jointly where the model can, then x_s from the bridge to it."""

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        end = end_of(model, x, t, generator=generator)
        bridge = model.process.bridge(x, end, t, s, 1.0)
        # Cut after the bridge, not before: an end beyond the range still gives the
        # right law inside it, and the published leap does the same.
        return model.process.project(bridge.sample(generator=generator))

    def evaluations(self, steps: int) -> int:
        """One for each step."""
        return steps


doors.guard(__name__)
