r"""The clock of chains: time elapsed from the data, τ(t) = -log p(t).

A chain with rate matrix Q, run on this clock, has x_t | x_s following
exp(Q (τ_t - τ_s)) for t <= s. What decays at rate 1 keeps the share p(t) of what
it was at the data, so one schedule serves thinning and chains alike. The source
has p = 0, τ = ∞, and the chain is stationary there, exactly: nothing below
divides by p(0) or forms an infinity times zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge.schedules import Schedule, Time, as_time

__all__ = ["elapsed", "instant", "shares", "speed"]

TINY = 1e-30  # floor of survival where its reciprocal is taken


def shares(schedule: Schedule, s: Time, t: Time) -> tuple[Tensor, Tensor]:
    """Kept and lost share, p_t/p_s and 1 - p_t/p_s, from s back to t <= s, in float64."""
    s, t = as_time(s).double(), as_time(t).double()
    whole = schedule.survival(s)
    lost = schedule.increment(t, s)
    still = lost <= 0  # no time passes; at the source itself this is 0/0
    scale = torch.where(still, 1.0, whole)
    return torch.where(still, 1.0, schedule.survival(t) / scale), lost.clamp_min(0) / scale


def elapsed(schedule: Schedule, s: Time, t: Time) -> Tensor:
    """Clock time log(p_s/p_t) from s back to t <= s, in float64; infinite if p_t = 0 < p_s."""
    kept, lost = shares(schedule, s, t)
    return torch.where(lost < 0.5, -torch.log1p(-lost.clamp_max(0.5)), -kept.log())


def speed(schedule: Schedule, t: Time) -> Tensor:
    """dτ/dt = p'/p, units of the clock per unit of time, in the type of t."""
    t = as_time(t)
    p = schedule.survival(t.double())
    return (schedule.rate(t.double()) / p.clamp_min(TINY)).to(t.dtype)


def instant(schedule: Schedule, clock: Tensor) -> Tensor:
    """The time at which the clock, -log p, shows this: float64."""
    clock = clock.double()
    return schedule.time((-clock).exp(), -torch.expm1(-clock)).clamp(0, 1)
