"""How to draw, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from torch import Tensor

from markovbridge.samplers import Sampler


class DrawOptions(TypedDict, total=False):
    """How to draw: what `sample`, `restore`, `translate` and `impute` take, by name.

    Attributes:
        steps: Number of steps, on the grid of `error_curve` if there is one and of the schedule
            if not; or the grid itself: increasing times (steps + 1,), the last being 1. By
            default 50 steps.
        sampler: How to step; by default, or if None, `default_sampler()`.
        condition: What to condition on, (n, C), NaN being unknown: such as
            `transport.covariates.encode({"label": 3}, n)`.
        guidance: How strongly the condition acts, 1 by default; other than 1, each evaluation
            is one of twice as many states.
        block: How many samples the network sees at once, 64 by default. Memory grows with it.
            It is part of what determines a sample, the batch shape changing roundings.
        callback: Called with (time, states) after every step of every block, and with the
            states at the start.
    """

    steps: int | Tensor
    sampler: Sampler | None
    condition: Tensor | None
    guidance: float
    block: int
    callback: Callable[[float, Tensor], None] | None
