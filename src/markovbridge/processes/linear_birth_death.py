r"""The linear birth-death process: units that multiply and die, each at its own rate.

Stated from data to source, on the clock -log p, every unit gives birth at rate b and dies at rate
1 + b, so that the mean of a count decays as under pure death, E[x_t | x_1] = p x_1. Of one unit,
over a piece of time in which the share q = 1 - p_t/p_s is lost,

    no descendants      with probability  α = (1 + b) q/(1 + b q)
    n >= 1 of them      with probability  (1 - α) (1 - β) β^(n-1),    β = b q/(1 + b q)

(Kendall 1948, https://doi.org/10.1214/aoms/1177730285), and all units die out where the clock is
infinite: the source is 0. Without births it is pure death. With them counts vary more on the way,
Var[x_t | x_1] = (1 + 2b) p q x_1, and may be above those of the data.

Of x_1 = y units let K be those that have descendants in x_t (`laws.lineages`). Pinned at y the
process moves, per unit of the clock and with q = 1 - p(t),

    up    at rate  (y - K) p/(q (1 + b q)) + (x + K) b (1 + b) q/(1 + b q)
    down  at rate  (x - K) (1 + b q)/q

on average over K. Both are affine in the two conditional means, of the units of the data that have
died out (up) and of the units that were born (down), which are all a network has to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Binomial, Delta, Poisson, Shifted
from markovbridge.laws.lineages import (
    Descendants,
    LineageBridge,
    Piece,
    founder_moments,
    log_descendants,
)
from markovbridge.laws.sums import Convolved, TwoMeans
from markovbridge.processes.base import Setting
from markovbridge.processes.clock import TINY, match, shares
from markovbridge.processes.integers import IntegerProcess
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time


@dataclass(frozen=True)
class LinearBirthDeath(IntegerProcess):
    """Births and deaths in proportion to the count, which dies out: the source is 0.

    `BirthDeath` is another process: there units come from outside, at a rate of their own.

    Attributes:
        births: Births b of a unit per unit of the clock -log p, in which 1 + b of them die.
        maximum: Largest value of the data, None if unbounded. States between are unbounded.
        schedule: The share of the data's units that is left on average, over time.
    """

    births: float
    maximum: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)
    dies_out: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.number(self.births, "births", above=0)
        if self.maximum is not None and self.maximum < 1:
            raise ValueError(f"maximum must be at least 1 or None, not {self.maximum}")

    @property
    def growth(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With one unit more, one more that may die and one more that may give birth."""
        return 1 + 2 * self.births

    def _piece(self, x: Tensor, s: Time, t: Time) -> Piece:
        """What becomes of a unit from s back to t <= s."""
        s, t = self.schedule.at(s), self.schedule.at(t)
        dtype = torch.result_type(s, t)
        kept, lost = shares(self.schedule, s, t)
        grown = 1 + self.births * lost
        parts = ((1 + self.births) * lost / grown, kept / grown, self.births * lost)
        return Piece(*(match(part.to(dtype), x) for part in parts))

    def transition(self, x: Tensor, s: Time, t: Time) -> Descendants:
        """Binomial(x, 1 - α) founders, each with a geometric number of units, for t <= s."""
        t, s = self.schedule.ordered(t, s)
        return Descendants(x, self._piece(x, s, t))

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> LineageBridge:
        """x_t | x_s = x, x_u = y: the founders of x, and who came and went.

        Raises:
            ValueError: If times are not ordered, or x > 0 = y anywhere.
        """
        s, t, u = self.schedule.ordered(s, t, u)
        wrong = (x > 0) & (y == 0)
        if x.numel() and bool(wrong.any()):
            raise ValueError(
                f"nothing is born to no units: y at u is 0 and x at s is {x[wrong][0].item()} at "
                "some site: give a source of zeros where the data are 0"
            )
        first, second, whole = self._piece(x, u, t), self._piece(x, t, s), self._piece(x, u, s)
        return LineageBridge(x, y, first, second, whole)

    def source(self, like: Tensor) -> Delta:
        """All zeros: every population has died out."""
        return Delta(torch.zeros_like(like))

    def evidence(self, x: Tensor, t: Time) -> Tensor:
        """Log p(x_t = x | x_1 = v) for each v, up to a term that is the same for all v.

        Where x > 0 that is the factor of one founder, so that nothing vanishes at the source.
        """
        ends, t = self.ends(x), self.schedule.at(t)
        x = x.unsqueeze(-1)
        log = log_descendants(self._piece(ends, 1.0, t), ends, x, x > 0)
        return log.to(t.dtype)

    def steps(self, x: Tensor, y: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Units of y that have died out, and units of x beyond one for each that has not."""
        t = self.schedule.at(t)
        k, _ = founder_moments(self._piece(x, 1.0, t), y, x)
        return (y - k).clamp_min(0).to(t.dtype), (x - k).clamp_min(0).to(t.dtype)

    def step_rates(self, x: Tensor, up: Tensor, down: Tensor, t: Time) -> Tensor:
        """Down p'(1 + bq)/(pq) I, up p'/(q(1 + bq)) D + (2x - I) p' b(1 + b)q/(p(1 + bq))."""
        t = self.schedule.at(t)
        rate, survival = self.schedule.rate(t), self.schedule.survival(t).clamp_min(TINY)
        q = self.schedule.mortality(t)
        hazard, grown = rate / q.clamp_min(TINY), 1 + self.births * q
        passing = rate / survival * self.births * (1 + self.births) * q / grown
        back, again, passing = (
            match(part, up) for part in (hazard * grown / survival, hazard / grown, passing)
        )
        return torch.stack([back * down, again * up + passing * (2 * x - down).clamp_min(0)], -1)

    def guess(self, x: Tensor, t: Time, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Of Poisson data: the share α of the mean dead, and of x - 1 units a share born.

        With m founders on average that is mg/(mg + m - 1 + e^-m), g = bq: all, if they are few.
        """
        piece = self._piece(x, 1.0, t)
        extinct, surviving, growth = piece.doubled()
        m = (surviving * mean).clamp_min(TINY)
        share = m * growth / (m * growth + m + torch.expm1(-m)).clamp_min(TINY)
        dead = (extinct * mean).expand(x.shape).to(torch.float32)
        return dead, self.room(x) * share.clamp_max(1).to(torch.float32)

    def room(self, x: Tensor) -> Tensor:
        """All but one, from which they descend."""
        return (x - 1).clamp_min(0)

    def most_steps(self, x: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
        """All units of the data dead, all of x born."""
        return torch.full_like(x, self._largest()), x

    def stepped(self, x: Tensor, log_up: Tensor, log_down: Tensor) -> TwoMeans:
        """One founder and Bin(x - 1, 1 - I/(x - 1)) more, and Poisson(D) units that died out."""
        others = self.room(x)
        share = (log_down.exp() / others.clamp_min(1)).clamp(0, 1)
        dead = Convolved(Binomial(others, 1 - share, share), Poisson(log_up))
        return TwoMeans(log_up, log_down, Shifted((x > 0).to(x.dtype), dead))

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - pμ) / sqrt(p²σ² + (1 + 2b) pqμ)."""
        t = self.schedule.at(t)
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).to(torch.float32)
        spread = p**2 * setting.variance + (1 + 2 * self.births) * p * q * setting.mean
        return ((x - p * setting.mean) / spread.clamp_min(1e-12).sqrt()).unsqueeze(1)


doors.guard(__name__)
