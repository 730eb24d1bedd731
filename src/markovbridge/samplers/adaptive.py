r"""Steps that choose themselves, for amounts.

Between the rates λ_p(x_p) and λ_m(x_m) of a θ-trapezoidal leap lies an estimate of what steps
cost. In the clock of the process (`JumpProcess.pace`), a step with rates frozen at its beginning
has the path KL ∫ D dm, with the rate

    D(m)  =  E Σ [λ_m log(λ_m/λ_p) - λ_m + λ_p].

Where rates are martingales over survival, as those of pure death, pure birth and the random walk
are, this is Φ(m) - Φ(p), Φ = E Σ λ log λ (`markovbridge.samplers.grids`).

Towards the data λ = y/q takes the values 0 and 1/q, so that D grows like -A log q; A is
estimated from the last step, and the next one, a share r of the clock q that is left, mortality
or -log p, costs

    A q [r + (1 - r) log(1 - r)]        nats: A q r²/2 for a short one, A q for all the rest.

r is chosen to make that the tolerance, from the average over all samples that step together. Known
sites of x_1 do not count: they go along the bridge to their value, whatever a leap makes of them.
The first step is a hundredth of the clock, or as long as it takes a sample to make one jump: until
the first jumps have been made rates tell nothing of what they will do to them.
Nothing is ever rejected: a step thrown away because of where it led would bias the samples, and
its evaluations are lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.laws.numbers import by_row
from markovbridge.processes.clock import cut, elapsed, instant
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.model import Model, Stated, given_of
from markovbridge.samplers.rates import sound
from markovbridge.samplers.second_order import Trapezoidal, leaping, leaps

FIRST = 0.01  # length of the first step, as a share of what remains, at most
ONE = 1.0  # jumps of a sample in it, at most: what those that follow do depends on the first
GROWTH = 4.0  # most that a step is longer, or shorter, than the one before
TINY = 1e-30


@dataclass(frozen=True)
class Adaptive(Sampler):
    """θ-trapezoidal leaps of lengths chosen by one tolerance, for jump processes of amounts.

    It makes its own steps between the times of the grid, so give it `steps=1`. They are the
    same for all samples of a block: a sample is a function of the generator's state, its index
    and the block size, as with any sampler.

    Attributes:
        tolerance: Path KL in nats per sample, summed over sites, that a step would cost with
            its hazards frozen. A leap is of second order and errs less. A quarter of it makes
            steps half as long.
        theta: As of `Trapezoidal`.

    Under processes whose clock is -log p, which is infinite at survival 0, the first step is one
    of the bridge, to a survival of 0.01.
    """

    tolerance: float = 0.1
    theta: float = Trapezoidal.theta

    def __post_init__(self) -> None:
        Trapezoidal(self.theta)
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, in nats, not {self.tolerance}")

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = leaping(self, model)
        leap, here = Trapezoidal(self.theta).leap, t
        if process.pace == "log" and float(process.schedule.survival(t)) == 0:
            here = min(_time(process, -math.log(FIRST)), s)
            x = Bridge().step(Stated(model), x, t, here, generator=generator)
            if here == s:
                return x
        left, after = _left(process, here), _left(process, s)
        law, open_sites = model.law(x, here), _open_sites(model)
        length = _first(process, law, x, here, left, open_sites)
        while True:
            last = left - length <= after * (1 + 1e-9)
            there = s if last else _time(process, left - length)
            if not leaps(process, x, here, there):
                bridge = Bridge()
                return bridge.step(Stated(model), x, here, there, generator=generator)
            x, first, second = leap(model, x, here, there, law=law, generator=generator)
            law = None
            if last:
                return x
            change = second * (second.clamp_min(TINY) / first.clamp_min(TINY)).log()
            growth = by_row(open_sites(change - second + first)).double().sum(1).mean()
            growth = max(float(growth), TINY) / -math.log1p(-self.theta * length / left)
            here, left = there, left - length
            longest = GROWTH * length
            length = min(
                max(left * _share(self.tolerance / (growth * left)), length / GROWTH), longest
            )
            length = min(length, left)

    def evaluations(self, steps: int) -> None:
        """Unknown: two for each step it takes."""
        return None


def _open_sites(model: Model) -> Callable[[Tensor], Tensor]:
    """What makes numbers of each jump, (batch, *event, jumps), 0 at known sites."""
    observed = given_of(model).observed
    if observed is None:
        return lambda each: each
    return lambda each: each.masked_fill(observed.mask.unsqueeze(-1), 0)


def _first(
    process: JumpProcess,
    law: Law,
    x: Tensor,
    t: float,
    left: float,
    open_sites: Callable[[Tensor], Tensor],
) -> float:
    """How long the first step is, with `left` of the clock left: ONE jump of a sample, or less."""
    longest = FIRST * left
    unit = cut(process.schedule, process.pace, t, _time(process, left - longest), 0.5).units[0]
    rates = open_sites(sound(process.strengths(law, x, t), t) / unit)
    return min(longest, ONE / max(float(by_row(rates).double().sum(1).mean()), TINY))


def _left(process: JumpProcess, t: float) -> float:
    """What is left of the clock of a process, until the data."""
    if process.pace == "survival":
        return float(process.schedule.mortality(t))
    return float(elapsed(process.schedule, 1.0, t))


def _time(process: JumpProcess, left: float) -> float:
    """When this much is left of it."""
    q = torch.tensor(left, dtype=torch.float64)
    if process.pace == "survival":
        return float(process.schedule.time(1 - q, q))
    return float(instant(process.schedule, q))


def _share(cost: float) -> float:
    """The r in (0, 1] with r + (1 - r) log(1 - r) = cost, 1 from cost 1 on."""
    if cost >= 1:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        r = (low + high) / 2
        low, high = (r, high) if r + (1 - r) * math.log1p(-r) < cost else (low, r)
    return (low + high) / 2


doors.guard(__name__)
