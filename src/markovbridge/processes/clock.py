r"""The clock of chains: time elapsed from the data, τ(t) = -log p(t).

A chain with rate matrix Q, run on this clock, has x_t | x_s following
exp(Q (τ_t - τ_s)) for t <= s. What decays at rate 1 keeps the share p(t) of what
it was at the data, so one schedule serves thinning and chains alike. The source
has p = 0, τ = ∞, and the chain is stationary there, exactly: nothing below
divides by p(0) or forms an infinity times zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.schedules import Schedule, Time

Pace = Literal["survival", "log"]
"""The clock in which the rates of an exact reverse process change least: p, or log p."""

TINY = 1e-30  # floor of what vanishes at an end of time, where it is divided by


def match(t: Tensor, x: Tensor) -> Tensor:
    """Reshape times, () or (batch,), so that they broadcast against x, (batch, *event)."""
    if t.ndim == 0:
        return t.to(x.device)
    if t.shape != x.shape[:1]:
        raise ValueError(
            f"times must be one number or one per sample ({x.shape[0]},), not {tuple(t.shape)}"
        )
    return t.to(x.device).reshape(-1, *[1] * (x.ndim - 1))


def coefficient(value: Tensor, x: Tensor) -> Tensor:
    """Coefficients, () or (batch,), in the type of the state and broadcastable to it."""
    dtype = x.dtype if x.is_floating_point() else torch.float32
    return match(value, x).to(dtype)


def shares(schedule: Schedule, s: Time, t: Time) -> tuple[Tensor, Tensor]:
    """Kept and lost share, p_t/p_s and 1 - p_t/p_s, from s back to t <= s, in float64."""
    s, t = schedule.at(s).double(), schedule.at(t).double()
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
    t = schedule.at(t)
    p = schedule.survival(t.double())
    return (schedule.rate(t.double()) / p.clamp_min(TINY)).to(t.dtype)


def instant(schedule: Schedule, clock: Tensor) -> Tensor:
    """The time at which the clock, -log p, shows this: float64."""
    clock = clock.double()
    return schedule.time((-clock).exp(), -torch.expm1(-clock)).clamp(0, 1)


@dataclass(frozen=True)
class Cut:
    """A step from t to s, cut in two at an inner time.

    Attributes:
        middle: The inner time.
        before: Units of the clock from t to the inner time.
        after: Units of the clock from there to s.
        units: What `JumpProcess.strengths` are to be divided by, at t and at the inner time,
            to be rates per unit of the clock.
    """

    middle: float
    before: float
    after: float
    units: tuple[float, float]


def cut(schedule: Schedule, pace: Pace, t: float, s: float, share: float) -> Cut:
    """The step from t to s, cut after this share of its length in a clock."""
    if pace == "survival":
        length = float(schedule.increment(t, s))
        survival = (1 - share) * schedule.survival(t) + share * schedule.survival(s)
        early, late = float(schedule.mortality(t)), float(schedule.mortality(s))
        left = (1 - share) * early + share * late
        mortality = (1 - share) * schedule.mortality(t) + share * schedule.mortality(s)
        middle = min(max(float(schedule.time(survival, mortality)), t), s)
        return Cut(middle, share * length, (1 - share) * length, (early, left))
    length = float(elapsed(schedule, s, t))
    clock = elapsed(schedule, 1.0, s) + (1 - share) * length
    middle = min(max(float(instant(schedule, clock)), t), s)
    units = float(speed(schedule, t)), float(speed(schedule, middle))
    return Cut(middle, share * length, (1 - share) * length, units)


doors.guard(__name__, inside=("coefficient", "match"))
