r"""Counts and integers that move up and down by one, without a bound.

Stated from data to source, with p(t) the survival and q = 1 - p:

============= ================================== =====================================
process       x_t given x_1                      reverse rates, per unit of time
============= ================================== =====================================
`BirthDeath`  Bin(x_1, p) + Poisson(Λq)          up p'/q E[D|x] + Λq p'/p, down p'/(pq) E[I|x]
`RandomWalk`  x_1 + Poisson(κq) - Poisson(κq)    up p'/q E[D|x],           down p'/q E[U|x]
`PureBirth`   x_1 + Poisson(κq)                  down p'/q E[x - x_1|x]
============= ================================== =====================================

`BirthDeath`: units die at rate 1 and immigrants arrive at rate Λ on the clock
-log p, so the source is Poisson(Λ); D are the units of the data that have died, I
the immigrants present. It is to counts what a variance-preserving diffusion is to
reals. `RandomWalk` steps up and down at rate κ each on the clock q, U and D being
the steps made; like the variance-exploding diffusion, and like `PureBirth`, it
has no stationary law. Its source is a stated approximation, good when 2κ is large
beside the variance of the data; bridges between given ends are exact in any case.

None of the rates is affine in x_1, but each is affine in the two conditional
means, of the steps up (D) and of the steps down (I or U) that lead from x_t to
x_1: two numbers per site are all a network has to know (`heads.TwoMeansHead`). The
integer bridges are in Count Bridges (https://arxiv.org/abs/2603.04730) for the
walk; the others follow the same way, from independent units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Binomial, Law, Poisson, Shifted
from markovbridge.laws.sums import (
    Convolved,
    Skellam,
    SkellamBridge,
    SurvivorBridge,
    TwoMeans,
    meetings,
    survivors,
)
from markovbridge.processes.base import Setting
from markovbridge.processes.clock import TINY, Pace, match, shares
from markovbridge.processes.integers import IntegerProcess
from markovbridge.processes.schedules import CosineSchedule, Reading, Schedule, Time


@dataclass(frozen=True)
class BirthDeath(IntegerProcess):
    """Death of units and immigration of new ones; the source is Poisson(immigration).

    Attributes:
        immigration: Mean Λ of the source: immigrants per lifetime of a unit. About the mean
            of the data is a sensible choice.
        maximum: Largest value of the data, None if unbounded. States between are unbounded.
        schedule: The share of the data's units still alive, over time.
    """

    immigration: float
    maximum: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)
    growth: ClassVar[float | None] = 1.0  # one unit more, one more that may die

    def __post_init__(self) -> None:
        _check_positive("immigration", self.immigration)
        _check_maximum(self.maximum)

    def _shares(self, x: Tensor, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        s, t = self.schedule.at(s), self.schedule.at(t)
        dtype = torch.result_type(s, t)
        kept, lost = shares(self.schedule, s, t)
        return match(kept.to(dtype), x), match(lost.to(dtype), x)

    def transition(self, x: Tensor, s: Time, t: Time) -> Convolved:
        """Survivors and immigrants: Bin(x, p_t/p_s) + Poisson(Λ(1 - p_t/p_s)), t <= s."""
        t, s = self.schedule.ordered(t, s)
        kept, lost = self._shares(x, s, t)
        arrived = (self.immigration * lost).log()
        return Convolved(Binomial(x, kept, lost), Poisson(arrived.expand(x.shape)))

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> SurvivorBridge:
        """x_t | x_s = x, x_u = y: survivors, and who had not died or had come by t."""
        s, t, u = self.schedule.ordered(s, t, u)
        kept_us, lost_us = self._shares(x, u, s)
        kept_ut, lost_ut = self._shares(x, u, t)
        kept_ts, lost_ts = self._shares(x, t, s)
        some = lost_us.clamp_min(TINY)
        return SurvivorBridge(
            start=x,
            end=y,
            survival=(kept_us, lost_us),
            log_arrived=(self.immigration * lost_us).log(),
            died=kept_ut * lost_ts / some,
            came=lost_ut * kept_ts / some,
            log_passing=(self.immigration * lost_ut * lost_ts).log(),
        )

    def source(self, like: Tensor) -> Poisson:
        """Poisson(Λ) at every site."""
        log = math.log(self.immigration)
        return Poisson(torch.full(like.shape, log, device=like.device, dtype=torch.float64))

    def steps(self, x: Tensor, y: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Units of y that have died, and immigrants in x."""
        kept, lost = self._shares(x, 1.0, t)
        values, joint = survivors(x, y, kept, lost, (self.immigration * lost).log())
        k = joint.softmax(-1) @ values.to(joint.dtype)
        return (y - k).clamp_min(0), (x - k).clamp_min(0)

    def step_rates(self, x: Tensor, up: Tensor, down: Tensor, t: Time) -> Tensor:
        """Down p'/(pq) I, up p'/q D + Λq p'/p."""
        t = self.schedule.at(t)
        hazard = match(self.schedule.rate(t) / self.schedule.mortality(t).clamp_min(TINY), up)
        survival = match(self.schedule.survival(t), up).clamp_min(TINY)
        q = match(self.schedule.mortality(t), up)
        back = hazard / survival
        return torch.stack([back * down, hazard * up + self.immigration * q**2 * back], -1)

    def guess(self, x: Tensor, t: Time, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Dead units qμ, and of x the share Λq/(pμ + Λq) immigrants."""
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).to(torch.float32)
        share = self.immigration * q / (p * mean + self.immigration * q).clamp_min(1e-12)
        return (q * mean).expand(x.shape), x * share

    def most_steps(self, x: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
        """All units of the data dead, all of x immigrants."""
        return torch.full_like(x, self._largest()), x

    def stepped(self, x: Tensor, log_up: Tensor, log_down: Tensor) -> TwoMeans:
        """Bin(x, 1 - I/x) survivors and Poisson(D) units that had died."""
        share = (log_down.exp() / x.clamp_min(1)).clamp(0, 1)
        return TwoMeans(
            log_up, log_down, Convolved(Binomial(x, 1 - share, share), Poisson(log_up))
        )

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - pμ - Λq) / sqrt(p²σ² + pqμ + Λq)."""
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).to(torch.float32)
        spread = p**2 * setting.variance + p * q * setting.mean + self.immigration * q
        centre = p * setting.mean + self.immigration * q
        return ((x - centre) / spread.clamp_min(1e-12).sqrt()).unsqueeze(1)


class _Walk(IntegerProcess):
    """Steps at a constant rate on the clock q = 1 - p: no stationary law."""

    pace: ClassVar[Pace] = "survival"
    rate: float
    centre: int

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)
        _check_maximum(self.maximum)

    def _log_steps(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log of the expected steps, each way, from s back to t <= s."""
        s, t = self.schedule.at(s), self.schedule.at(t)
        gone = self.schedule.increment(t.double(), s.double()).clamp_min(0)
        dtype = torch.result_type(s, t)
        return match((self.rate * gone).log().to(dtype), x)

    def _portions(self, x: Tensor, s: Reading, t: Reading, u: Reading) -> tuple[Tensor, Tensor]:
        """Shares of the time from s to u that lie before and after t."""
        dtype = torch.result_type(s + t, u)
        s, t, u = s.double(), t.double(), u.double()
        whole = self.schedule.increment(s, u).clamp_min(TINY)
        before, after = self.schedule.increment(s, t), self.schedule.increment(t, u)
        return match((before / whole).to(dtype), x), match((after / whole).to(dtype), x)

    def source(self, like: Tensor) -> Law:
        """The law of x_0 for data at `centre`: approximate, see the module."""
        return self.transition(torch.full_like(like, self.centre), 1.0, 0.0)

    def step_rates(self, x: Tensor, up: Tensor, down: Tensor, t: Time) -> Tensor:
        """p'/q times the expected steps."""
        t = self.schedule.at(t)
        hazard = self.schedule.rate(t) / self.schedule.mortality(t).clamp_min(TINY)
        return torch.stack([down, up], -1) * match(hazard, up).unsqueeze(-1)

    def strengths(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """The expected steps: over q they are martingales along the exact process."""
        up, down = self.expected_steps(law, x, t)
        return torch.stack([down, up], -1)


@dataclass(frozen=True)
class RandomWalk(_Walk):
    """Steps of one up and down at the same rate, on all integers.

    Attributes:
        rate: Expected steps κ each way from data to source; the walk spreads by √(2κ).
        centre: Where the source is centred; about the mean of the data.
        maximum: Largest value of the data, whose values then are 0 .. maximum; None if
            unbounded. States between are unbounded either way.
        schedule: One minus the share of the steps made, over time.
    """

    rate: float
    centre: int = 0
    maximum: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)
    lowest: ClassVar[int | None] = None
    growth: ClassVar[float | None] = 1.0  # constant over survival, which grows so over its log

    def transition(self, x: Tensor, s: Time, t: Time) -> Skellam:
        """State x + Poisson - Poisson, each of mean κ(p_s - p_t), for t <= s."""
        t, s = self.schedule.ordered(t, s)
        log_steps = self._log_steps(x, s, t)
        return Skellam(x, log_steps, log_steps)

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> SkellamBridge:
        """x_t | x_s = x, x_u = y: the steps of the whole walk, thinned."""
        s, t, u = self.schedule.ordered(s, t, u)
        before, after = self._portions(x, s, t, u)
        return SkellamBridge(x, y, self._log_steps(x, u, s).to(before), before, after)

    def steps(self, x: Tensor, y: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Steps up and down of the walk from x to y."""
        apart, log_steps = y - x, self._log_steps(x, 1.0, t)
        m, joint = meetings(apart, log_steps, log_steps)
        pairs = (joint.softmax(-1) * m).sum(-1)
        return pairs + apart.clamp_min(0), pairs + (-apart).clamp_min(0)

    def guess(self, x: Tensor, t: Time, mean: Tensor) -> tuple[Tensor, Tensor]:
        """As many steps each way as the walk makes."""
        steps = self._log_steps(x, 1.0, t).exp().expand(x.shape).to(torch.float32)
        return steps, steps

    def most_steps(self, x: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
        """The way to the farthest value of the data, and κq pairs of steps besides."""
        top, pairs = self._largest(), -self.rate * math.expm1(-high)
        return (top - x).clamp_min(0) + pairs, x.clamp_min(0) + pairs

    def stepped(self, x: Tensor, log_up: Tensor, log_down: Tensor) -> TwoMeans:
        """State x plus a difference of Poissons."""
        return TwoMeans(log_up, log_down, Skellam(x, log_up, log_down))

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - μ) / sqrt(σ² + 2κq)."""
        spread = setting.variance + 2 * self._log_steps(x, 1.0, t).exp().to(torch.float32)
        return ((x - setting.mean) / spread.clamp_min(1e-12).sqrt()).unsqueeze(1)


class Births(_Walk):
    """Units appear on the way to the source and never leave; how fast is left to subclasses.

    Between given ends the new units come independently, each at a time that is uniform on the
    clock q, whether they come at a constant rate or are born to those that are there.
    """

    start_within: ClassVar[str] = (
        "units only come on the way to the source, so set `centre` to the least value of the data"
    )

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Shifted:
        """x_t | x_s = x, x_u = y: y + Binomial(x - y, (p_u - p_t)/(p_u - p_s)).

        Raises:
            ValueError: If times are not ordered or y > x anywhere.
        """
        s, t, u = self.schedule.ordered(s, t, u)
        new = x - y
        if new.numel() and bool(new.min() < 0):
            raise ValueError(
                "a pure-birth bridge cannot increase towards the data: y at u exceeds x at s by "
                f"{-int(new.min())} at some site"
            )
        before, after = self._portions(x, s, t, u)
        return Shifted(y, Binomial(new, after, before))

    def steps(self, x: Tensor, y: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """None up, x - y down."""
        down = (x - y).clamp_min(0).to(self.schedule.at(t).dtype)
        return torch.zeros_like(down), down

    def most_steps(self, x: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
        """None up, all of x down."""
        return torch.zeros_like(x), x

    def stepped(self, x: Tensor, log_up: Tensor, log_down: Tensor) -> TwoMeans:
        """Each unit is of the data with the same probability: Binomial(x, 1 - down/x)."""
        share = (log_down.exp() / x.clamp_min(1)).clamp(0, 1)
        return TwoMeans(
            torch.full_like(log_up, -torch.inf), log_down, Binomial(x, 1 - share, share)
        )


@dataclass(frozen=True)
class PureBirth(Births):
    """Units appear at a constant rate and never leave: counts with a dark current.

    Attributes:
        rate: Expected new units κ from data to source.
        centre: The source is `centre` + Poisson(κ); about the mean of the data.
        maximum: Largest value of the data, None if unbounded.
        schedule: One minus the share of the new units that have come, over time.
    """

    rate: float
    centre: int = 0
    maximum: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)

    def transition(self, x: Tensor, s: Time, t: Time) -> Shifted:
        """State x + Poisson(κ(p_s - p_t)), for t <= s."""
        t, s = self.schedule.ordered(t, s)
        return Shifted(x, Poisson(self._log_steps(x, s, t).expand(x.shape)))

    def guess(self, x: Tensor, t: Time, mean: Tensor) -> tuple[Tensor, Tensor]:
        """None up; down the share κq/(μ + κq) of x."""
        new = self._log_steps(x, 1.0, t).exp().to(torch.float32)
        return torch.zeros_like(x, dtype=torch.float32), x * (new / (mean + new).clamp_min(1e-12))

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - μ - κq) / sqrt(σ² + κq)."""
        new = self._log_steps(x, 1.0, t).exp().to(torch.float32)
        spread = (setting.variance + new).clamp_min(1e-12).sqrt()
        return ((x - setting.mean - new) / spread).unsqueeze(1)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, not {value}")


def _check_maximum(maximum: int | None) -> None:
    if maximum is not None and maximum < 1:
        raise ValueError(f"maximum must be at least 1 or None, not {maximum}")


doors.guard(__name__)
