"""How to draw, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Protocol, TypedDict

from torch import Tensor

from markovbridge.samplers import Sampler
from markovbridge.samplers.model import DataModel


class WalkedModel(DataModel, Protocol):
    """A model that knows which sampler to take if none is named."""

    def default_sampler(self) -> Sampler:
        """The sampler."""
        ...


def planned(
    model: WalkedModel, sampler: Sampler | None, steps: int | Tensor, start: float
) -> tuple[Sampler, Sequence[float]]:
    """The sampler of a walk from `start`, and the times where it stops.

    Raises:
        TypeError: If `sampler` or `steps` is something else.
    """
    sampler = model.default_sampler() if sampler is None else sampler
    if not isinstance(sampler, Sampler):
        given = f"the class {sampler.__name__}" if isinstance(sampler, type) else repr(sampler)
        raise TypeError(f"sampler must be an object such as Bridge(), not {given}")
    if not isinstance(steps, Integral | Tensor):
        raise TypeError(
            f"steps must be a whole number, or a tensor of increasing times, not {steps!r}"
        )
    return sampler.plan(model, steps, start)


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
