r"""Exact simulation of a jump process whose rates have no bound, by bounds for a short while.

On the clock τ = -log p, which runs down towards the data, let the reference jump from x to x'
at rate q(x -> x') and leave x at rate r(x). Its reverse jumps from x to x' at
λ(x -> x') = q(x' -> x) f(x')/f(x), f being the law of x_τ, whose master equation says that

    -d log f(x)/dτ = r(x) - λ(x)    and    -d log f(x')/dτ <= r(x'),    λ(x) = Σ λ(x -> x').

At a fixed state the total therefore grows no faster than -dλ/dτ = (c + λ) λ, with c the `growth`
of the process, or that at the state (`JumpProcess.growths`), however the data are distributed.
Over the next log(1 + c/2λ)/c of the clock that is at most 2λ + c, λ being what it is now. So:
look, propose at this rate within this window, and accept with the share that the rate then has of
it (Ogata 1981); at the end of the window, and after each proposal, look again. About four
evaluations an event, whatever the rate.

A learned law need not be that of any data, nor is one under a coupling that is no time reversal:
its rates may exceed the bound, which is warned of.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import by_row
from markovbridge.processes.clock import instant, match, speed
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers.model import Model
from markovbridge.samplers.rates import Events, moved, sound


def run(
    model: Model,
    process: JumpProcess,
    x: Tensor,
    high: float,
    low: float,
    events: Events,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run the generative process from x while the clock -log p falls from high to low.

    Raises:
        TypeError: If the process does not state its `growth`.
        FloatingPointError: If a rate is not finite, or there are too many jumps.
    """
    clock = torch.full((len(x),), high, dtype=torch.float64, device=x.device)
    # NaN marks a state that has not been looked at since it last changed.
    bound, proposed = torch.full_like(clock, torch.nan), torch.zeros_like(clock, dtype=torch.bool)
    worst = torch.ones((), dtype=torch.float64, device=x.device)
    active = clock > low
    while bool(active.any()):
        events.count(x)
        growth = process.growths(x)
        if growth is None:
            raise TypeError(
                f"{type(process).__name__} does not state how fast its rates grow (`growth`), so "
                "that they have no bound for a while either: take Bridge()"
            )
        times = instant(process.schedule, clock.clamp(low, high))
        rates = process.expected_rates(model.law(x, times), x, times)
        rates = sound(torch.where(match(active, rates), rates, 0.0), times).double()
        each = by_row(rates / match(speed(process.schedule, times), rates))
        total = each.sum(1)

        share = torch.where(proposed, total / bound, 0.0)
        worst = torch.maximum(worst, share.max())
        u = torch.rand(len(x), dtype=torch.float64, device=x.device, generator=generator)
        accepted = u < share
        race = torch.empty_like(each).exponential_(generator=generator)
        jumped = moved(x, process.moves(x), (each / race).argmax(1))
        x = torch.where(match(accepted, x), jumped, x)

        bound = 2 * total + growth
        window = torch.log1p(growth / (2 * total)) / growth
        wait = torch.empty_like(clock).exponential_(generator=generator) / bound
        looked = active & ~accepted
        clock = torch.where(looked, clock - torch.minimum(wait, window), clock)
        active = clock > low
        proposed = looked & active & (wait < window)
    if worst > 1.01:
        warnings.warn(
            f"the total rate of jumps rose to {worst.item():.3f} times what it can be under an "
            "exact law: what the model says of x_1 is inexact there, and so is this simulation",
            stacklevel=2,
        )
    return x


doors.guard(__name__, inside=("run",))
