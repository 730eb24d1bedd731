"""Rates as every sampler takes them: finite, not negative, and few enough jumps to be counted.

The rates of a generative process are averages over x_1, and averages by floating point, by two
networks that were guided apart, or by one that has come apart, need not be rates. Samplers ask
here, and nowhere else, so that rounding below zero is no rate at all and everything worse stops
with a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import by_row, poisson
from markovbridge.processes.jumps import JumpProcess


@dataclass
class Events:
    """Counts the proposals of a step, and stops at a number of them.

    Attributes:
        most: That number.
    """

    most: int
    made: int = 0

    def count(self, x: Tensor) -> None:
        """One more, of states x.

        Raises:
            FloatingPointError: If that is too many.
        """
        self.made += 1
        if self.made > self.most:
            raise FloatingPointError(
                f"{self.most} jumps were proposed within one step, up to a state of "
                f"{int(x.abs().max())}, and the end of the step was not reached: what the model "
                "says of x_1 may have come apart, as it can under guidance beyond 1. Take a "
                "sampler of steps such as Bridge(), or, if there are truly so many, raise "
                "`events` of Gillespie"
            )


def sound(rates: Tensor, t: float | Tensor) -> Tensor:
    """The rates, those that rounding put below 0 at 0.

    Args:
        rates: Rates of a generative process, per unit of any clock.
        t: When, for the error: a time, or one per sample.

    Raises:
        FloatingPointError: If one is infinite or NaN.
    """
    rates = rates.clamp_min(0)  # NaN stays what it is
    if not bool(rates.isfinite().all()):
        when = torch.as_tensor(t)
        bad = by_row(~rates.isfinite()).any(1)
        when = when if when.ndim == 0 else when[bad.to(when.device)][0]
        raise FloatingPointError(
            f"a rate is not finite at t = {float(when):.4g}: what the model says of x_1 has come "
            "apart there. Look at its weights, and at guidance: beyond 1 the rates of two laws "
            "that do not belong together can grow without bound"
        )
    return rates


def leap(
    process: JumpProcess, x: Tensor, expected: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Jumps of a step, given the expected number of each, (batch, *event, jumps)."""
    moves = process.moves(x)
    if process.additive:
        jumps = poisson(expected, generator).to(x.dtype)
        return x + ((moves - x.unsqueeze(-1)) * jumps).sum(-1)
    # Competing exponentials: the first to ring jumps, if it rings within the step.
    rings = torch.empty_like(expected).exponential_(generator=generator) / expected
    first, which = rings.nan_to_num(nan=torch.inf).min(-1)
    return torch.where(first < 1, moves.gather(-1, which.unsqueeze(-1)).squeeze(-1), x)


def moved(x: Tensor, moves: Tensor, which: Tensor) -> Tensor:
    """States after one jump each, `which` counting the jumps of all sites, (batch,)."""
    target = by_row(moves).gather(1, which.unsqueeze(1))
    site = (which // moves.shape[-1]).unsqueeze(1)
    return by_row(x).scatter(1, site, target).reshape(x.shape)


doors.guard(__name__, inside=("moved",))
