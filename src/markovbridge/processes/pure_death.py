r"""Counts: pure death, the process of Blackout Diffusion.

Stated from data to source, every unit of a count dies at the same rate,
independently; p(t) is the probability that it is still alive at t. With
p_s <= p_t <= p_u (time runs towards the data) and q = 1 - p,

    x_t | x_u          ~ Binomial(x_u, p_t / p_u)
    x_t | x_s, x_u     ~ x_s + Binomial(x_u - x_s, (p_t - p_s) / (p_u - p_s))

Read towards the data it is a pure birth process. Pinned at x_1 = y, births come
at rate (y - x) p'(t)/q(t) per site, which is affine in y: the posterior mean
E[x_1 | x_t] alone determines the generative process, whose rate is
E[x_1 - x_t | x_t] p'/q. The path KL between two such processes with expected
remaining counts m (pinned) and ŷ (model) has the rate

    p'/q · Σ_sites [ ŷ - m + m log(m/ŷ) ],

and its integral from a black source bounds -log p(x_1), with equality at the
true conditional mean (Santos et al., ICML 2023, https://arxiv.org/abs/2305.11089,
give theory and process; the bound is Girsanov's theorem for jump processes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import (
    BLOCK,
    Binomial,
    Delta,
    Law,
    NegativeBinomial,
    Poisson,
    Rounded,
    Shifted,
)
from markovbridge.laws.numbers import by_row
from markovbridge.processes.base import Setting
from markovbridge.processes.baselines import Baseline, Counts, Pairing
from markovbridge.processes.clock import TINY, Pace, match
from markovbridge.processes.jumps import JumpProcess, log_divergence
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time

EARLY, LATE = 24, 12  # times of `error_times` below survival SETTLED, and above
SETTLED = 0.1
FAR = 10.0  # of a logarithm that a network is told


@dataclass(frozen=True)
class PureDeath(JumpProcess):
    """Independent death of units: thinning of counts, with 0 as the source.

    >>> process = PureDeath(maximum=16)
    >>> law = process.transition(torch.tensor([[16]]), 1.0, 0.5)  # half of the units are left
    >>> round(float(law.mean), 3)
    8.0

    Attributes:
        maximum: Largest admissible count, None if unbounded.
        schedule: Survival over time.
    """

    maximum: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)
    direction: ClassVar[Literal["forward", "noising"]] = "noising"
    additive: ClassVar[bool] = True
    pace: ClassVar[Pace] = "survival"
    falling: ClassVar[bool] = True
    thins: ClassVar[bool] = True
    dies_out: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.maximum is not None and self.maximum < 1:
            raise ValueError(f"maximum must be at least 1 or None, not {self.maximum}")

    def transition(self, x: Tensor, s: Time, t: Time) -> Law:
        """Thinning: x_t | x_s = x ~ Binomial(x, p_t/p_s), for t <= s.

        Raises:
            ValueError: If t > s: towards the data the law depends on the data.
        """
        t, s = self.schedule.ordered(t, s)
        p_s = self.schedule.survival(s).clamp_min(TINY)
        kept = self.schedule.survival(t) / p_s
        lost = self.schedule.increment(t, s) / p_s
        return Binomial(x, match(kept, x), match(lost, x))

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Law:
        """x_t | x_s = x, x_u = y: x + Binomial(y - x, (p_t - p_s)/(p_u - p_s)).

        Raises:
            ValueError: If times are not ordered or x > y anywhere.
        """
        s, t, u = self.schedule.ordered(s, t, u)
        remaining = y - x
        if remaining.numel() and bool(remaining.min() < 0):
            raise ValueError(
                "a pure-death bridge cannot decrease: x at s exceeds y at u by "
                f"{-int(remaining.min())} at some site"
            )
        whole = self.schedule.increment(s, u).clamp_min(TINY)
        done = self.schedule.increment(s, t) / whole
        left = self.schedule.increment(t, u) / whole
        return Shifted(x, Binomial(remaining, match(done, x), match(left, x)))

    def source(self, like: Tensor) -> Law:
        """All zeros: the black image."""
        return Delta(torch.zeros_like(like))

    @property
    def states(self) -> int | None:
        """Maximum + 1, None if unbounded."""
        return None if self.maximum is None else self.maximum + 1

    def evidence(self, x: Tensor, t: Time) -> Tensor:
        """Log C(v, x) q^(v - x) for v >= x, less the largest: (batch, *event, maximum + 1).

        The factor p^x is the same for all v and dropped, so nothing vanishes at the source.
        Summed in float64, of terms up to v log v that cancel, and returned in the type of t.
        """
        if self.states is None:
            raise ValueError(
                "a table over x_1 needs bounded counts: set `maximum` of the process, or take "
                "MeanHead or NegativeBinomialHead"
            )
        t = self.schedule.at(t)
        log_q = match(self.schedule.mortality(t.double()), x).clamp_min(TINY).log()
        values = torch.arange(self.states, device=x.device)
        factorials = torch.lgamma(values.double() + 1)
        flat, log_q = x.reshape(-1, 1), log_q.expand(x.shape).reshape(-1, 1)
        out = torch.empty((len(flat), self.states), dtype=t.dtype, device=x.device)
        rows = max(1, BLOCK // self.states)
        for first in range(0, len(flat), rows):
            part = slice(first, first + rows)
            dead = values - flat[part]
            log = factorials - factorials[dead.clamp_min(0)] + dead * log_q[part]
            log = torch.where(dead >= 0, log, -torch.inf)
            out[part] = log - log.amax(-1, keepdim=True).nan_to_num(neginf=0)
        return out.reshape(*x.shape, self.states)

    def moves(self, x: Tensor) -> Tensor:
        """One more unit: (batch, *event, 1)."""
        return (x + 1).unsqueeze(-1)

    def hazard(self, t: Time) -> Tensor:
        """p'(t)/q(t): the rate at which each remaining unit is born, per unit of time."""
        t = self.schedule.at(t)
        return self.schedule.rate(t) / self.schedule.mortality(t).clamp_min(TINY)

    def rates(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Birth rates (y - x) p'/q of the process pinned at y, (batch, *event, 1)."""
        return ((y - x) * match(self.hazard(t), x)).unsqueeze(-1)

    def expected_rates(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """Birth rates E[x_1 - x] p'/q of the generative process, (batch, *event, 1)."""
        return (law.excess(x) * match(self.hazard(t), x)).unsqueeze(-1)

    def strengths(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """E[x_1 - x], (batch, *event, 1): over q it is a martingale along the exact process."""
        return law.excess(x).unsqueeze(-1)

    def resting(self, x: Tensor) -> Tensor:
        """Where nothing remains, nothing is born: x itself."""
        return x

    def baseline(
        self, coupling: Pairing, x1: Tensor, x0: Tensor | None, end: float
    ) -> Baseline | None:
        """Negative binomial counts, unless what is left at the source depends on the data."""
        if float(self.schedule.survival(0.0)) > 0:
            return None
        if x0 is None:
            x0 = coupling.pair(self, x1[:1]).expand(x1.shape)
        return Counts(self.schedule, x1, x0)

    def step_law(self, law: Law, x: Tensor, t: Tensor, s: Tensor) -> Shifted | None:
        """Of Poissons and negative binomials above x: thinned, both stay what they are.

        On all counts: what `project` cuts is left out, as mass above the maximum only makes a
        bound looser.
        """
        base = law.base if isinstance(law, Shifted) else None
        if isinstance(base, Rounded):
            raise ValueError(
                "a kernel around a rounded mean gives probability 0 to what it cannot reach, so "
                "its bound is infinite: take kernel='poisson', or the bound in continuous time "
                "(no steps)"
            )
        done = self.schedule.increment(t, s) / self.schedule.mortality(t)
        log_share = match(done.log(), x).to(torch.float64)
        if isinstance(base, Poisson):
            return Shifted(x, Poisson(base.log_rate.double() + log_share))
        if isinstance(base, NegativeBinomial):
            log_mean = base.log_mean.double() + log_share
            return Shifted(x, NegativeBinomial(log_mean, base.size.double()))
        return None

    def error_times(self, x1: Tensor) -> list[float]:
        """Closer together where counts have their first births."""
        births = float(x1.double().sum()) / len(x1)
        first = math.log10(min(0.1 / max(births, 1.0), SETTLED / 10))
        early = torch.logspace(first, math.log10(SETTLED), EARLY, dtype=torch.float64)
        late = torch.linspace(SETTLED, 1, LATE, dtype=torch.float64)[1:-1]
        p = torch.cat([early, late])
        times = self.schedule.time(p, 1 - p)
        return [0.0, *times[times > 0].tolist()]

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """p'/q Σ [ŷ - m + m log(m/ŷ)], with m = y - x and log ŷ = law.log_excess(x): (batch,).

        In float64 but for log ŷ: to counts of 10^9 it keeps the digits that log ŷ has.
        """
        log_model = law.log_excess(x)
        each = by_row(log_divergence((y - x).double(), log_model.double())).sum(1)
        hazard = self.hazard(t).to(each.device)
        return (hazard * each).to(torch.result_type(hazard, log_model))

    def closed_form(self, x: Tensor, t: Time, setting: Setting) -> Shifted:
        """Of negative binomial counts of size r: size r + x and mean qμ(r + x)/(r + pμ)."""
        t = self.schedule.at(t)
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).clamp_min(TINY).to(torch.float32)
        mean, size = setting.mean.clamp_min(1e-6), setting.size
        share = ((size + x) / (size + p * mean)).log()
        return Shifted(x, NegativeBinomial(q.log() + mean.log() + share, size + x))

    def standardise_base(self, law: Law, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """Log of E[x_1 - x] over qμ, what remains of counts that nothing is known of."""
        q = match(self.schedule.mortality(t), x).clamp_min(TINY).log().to(torch.float32)
        usual = q + setting.mean.clamp_min(1e-6).log()
        return (law.log_excess(x).float() - usual).clamp(-FAR, FAR).unsqueeze(1)

    @property
    def features(self) -> int:
        """One: the standardised count."""
        return 1

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - pμ) / sqrt(p²σ² + pqμ): thinning keeps pμ and adds its own variance."""
        t = self.schedule.at(t)
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).to(torch.float32)
        spread = p**2 * setting.variance + p * q * setting.mean
        return ((x - p * setting.mean) / spread.clamp_min(1e-12).sqrt()).unsqueeze(1)

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Counts as int64: integers, not negative, not above `maximum`."""
        if x.dtype == torch.bool or x.is_complex():
            raise TypeError(f"{name} must hold integer counts, not {x.dtype}")
        if x.is_floating_point():
            bad = ~(torch.isfinite(x) & (x == x.round()))
            if bool(bad.any()):
                raise ValueError(
                    f"{name} holds {x[bad][0].item()}, which is no count: pass integers "
                    "(normalised or log-transformed data are not counts)"
                )
        if x.numel() and bool((x < 0).any()):
            raise ValueError(f"{name} holds {x.min().item()}: counts cannot be negative")
        if self.maximum is not None and x.numel() and bool((x > self.maximum).any()):
            raise ValueError(
                f"{name} holds {x.max().item()}, above the maximum {self.maximum} of the "
                "process: raise `maximum`, or set it to None for unbounded counts"
            )
        return x.to(torch.int64)

    def project(self, x: Tensor) -> Tensor:
        """Cut counts at `maximum`."""
        return x if self.maximum is None else x.clamp_max(self.maximum)


doors.guard(__name__)
