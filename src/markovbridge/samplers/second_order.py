r"""Second-order samplers: two evaluations a step, an error of the square of the step.

A first-order step freezes the law of x_1 for its whole length, so within it the
sites do not see each other move. Both samplers here go to an inner time
m = p + θ(s - p) in the survival clock, look again, and finish the step with an
extrapolated law: writing a = 1/(2θ(1 - θ)), the weights a and 1 - a make the
average over the step right to first order in its length.

- `Trapezoidal`, for pure death with any head: the θ-trapezoidal leap that
  Anderson and Mattingly made for reaction networks (https://arxiv.org/abs/0912.2971),
  in the survival clock, where the birth hazard λ = E[x_1 - x]/(1 - p) of the exact
  process is a martingale and so the right thing to extrapolate:

      x_m = x_p + Poisson(λ_p(x_p) (m - p))
      x_s = x_m + Poisson(max(0, a λ_m(x_m) - (a - 1) λ_p(x_p)) (s - m))

- `SecondOrderBridge`, for any jump process whose law has a table per site: what a
  site's own move from t to m says of its end is known exactly (Bayes), so the old
  law is first updated by it, π' ∝ π_t p(x_m | x_1)/p(x_t | x_1), and only what the
  other sites did is extrapolated: x_1 is drawn from the positive part of
  a π_m - (a - 1) π'.

Cutting off the negative part costs an order: after a jump elsewhere, of probability
O(h), it is O(1). What a step of length h needs to first order is not the table but the
rate of the next jump, and for amounts that is the mean. So the mean is put back to
max(0, a y_m - (a - 1) y'), y the expected remaining count: where it is too high, the
site stays with some probability; where too low, the table is mixed with its size-biased
self. On an exactly known two-pixel law (`benchmarks/second_order.py`) this restores the
second order, which cutting alone loses from about ten evaluations on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge.laws import Categorical, Law, LogisticMixture
from markovbridge.processes.base import JumpProcess, Process
from markovbridge.processes.counts import PureDeath
from markovbridge.samplers.base import Model, Sampler, instead

__all__ = ["SecondOrderBridge", "Trapezoidal"]

TINY = 1e-30


def _check_theta(theta: float) -> None:
    if not 0 < theta < 1:
        raise ValueError(f"theta is the share of a step before the inner time, in (0, 1): {theta}")


def inner_time(process: Process, t: float, s: float, theta: float) -> float:
    """The time whose survival lies a share theta of the way from t to s."""
    schedule = process.schedule
    survival = (1 - theta) * schedule.survival(t) + theta * schedule.survival(s)
    mortality = (1 - theta) * schedule.mortality(t) + theta * schedule.mortality(s)
    return min(max(float(schedule.time(survival, mortality)), t), s)


@dataclass(frozen=True)
class Trapezoidal(Sampler):
    """The θ-trapezoidal leap of the mean, for pure death.

    Attributes:
        theta: Where the inner time lies. Any value in (0, 1) is of second order. On an
            exactly known two-pixel law 0.4 to 0.5 has the smallest error; networks trained on
            images prefer 0.25 to 0.4 (`benchmarks/second_order.py`, `benchmarks/quality.py`).
    """

    theta: float = 0.4

    def __post_init__(self) -> None:
        _check_theta(self.theta)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self.leap(model, x, t, s, condition=condition, generator=generator)[0]

    def leap(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step, and the hazards per unit of survival at its beginning and its inner time."""
        process, theta = model.process, self.theta
        if not isinstance(process, PureDeath):
            raise TypeError(
                f"{type(self).__name__} leaps pure death, not {type(process).__name__}: "
                f"take {instead(process)}"
            )
        schedule = process.schedule
        length = float(schedule.increment(t, s))
        middle = inner_time(process, t, s, theta)
        q_t, q_s = float(schedule.mortality(t)), float(schedule.mortality(s))
        q_m = (1 - theta) * q_t + theta * q_s

        first = model.law(x, t, condition).excess(x).clamp_min(0) / q_t
        x_m = x + torch.poisson(first * (theta * length), generator=generator).to(x.dtype)
        x_m = process.project(x_m)
        second = model.law(x_m, middle, condition).excess(x_m).clamp_min(0) / q_m
        rate = self.extrapolate(first, second)
        births = torch.poisson(rate * ((1 - theta) * length), generator=generator)
        return process.project(x_m + births.to(x.dtype)), first, second

    def extrapolate(self, first: Tensor, second: Tensor) -> Tensor:
        """The hazard for the rest of a step, from those at both ends of its beginning."""
        weight = 1 / (2 * self.theta * (1 - self.theta))
        return (weight * second - (weight - 1) * first).clamp_min(0)

    def evaluations(self, steps: int) -> int:
        """Two for each step."""
        return 2 * steps


@dataclass(frozen=True)
class SecondOrderBridge(Sampler):
    """Second-order bridge step, for jump processes whose law has a table per site.

    Attributes:
        theta: Where the inner time lies, in (0, 1). 1/2 extrapolates least.
    """

    theta: float = 0.5

    def __post_init__(self) -> None:
        _check_theta(self.theta)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = model.process
        if not isinstance(process, JumpProcess) or process.states is None:
            maximum = "set its maximum, or " if isinstance(process, JumpProcess) else ""
            raise TypeError(
                "SecondOrderBridge needs a jump process with a bounded number of states, not "
                f"{type(process).__name__} as it is: {maximum}take {instead(process)}"
            )
        middle = inner_time(process, t, s, self.theta)
        first = tabulate(model.law(x, t, condition))
        x_m = process.bridge(x, first.sample(generator=generator), t, middle, 1.0).sample(
            generator=generator
        )
        second = tabulate(model.law(x_m, middle, condition))
        end = self.extrapolate(process, first, second, x, x_m, t, middle)
        y = end.sample(generator=generator)
        return process.bridge(x_m, y, middle, s, 1.0).sample(generator=generator)

    def extrapolate(
        self,
        process: JumpProcess,
        first: Categorical,
        second: Categorical,
        x: Tensor,
        x_m: Tensor,
        t: float,
        middle: float,
    ) -> Categorical:
        """The law of x_1 for the rest of a step, from the laws at both ends of its beginning.

        Args:
            process: The process.
            first: Law of x_1 given x_t = x, (batch, *event).
            second: Law of x_1 given x_m.
            x: State at t.
            x_m: State at the inner time.
            t: Where the step began.
            middle: The inner time.
        """
        # What x_m says of each site's end that x_t did not.
        news = process.evidence(x_m, middle) - process.evidence(x, t)
        old = torch.where(first.logits > -math.inf, first.logits + news, -math.inf)
        old = old.nan_to_num(nan=-math.inf).softmax(-1)
        new = second.log_probs.exp()
        weight = 1 / (2 * self.theta * (1 - self.theta))
        mixed = (weight * new - (weight - 1) * old).clamp_min(0)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        if process.additive:
            mixed = _with_mean(mixed, weight * new - (weight - 1) * old, x_m)
        return Categorical(mixed.log())

    def evaluations(self, steps: int) -> int:
        """Two for each step."""
        return 2 * steps


def _with_mean(table: Tensor, signed: Tensor, x: Tensor) -> Tensor:
    """A table over ends, changed so that its mean is that of `signed`, but at least x."""
    values = torch.arange(table.shape[-1], device=x.device)
    above = (values - x.unsqueeze(-1)).clamp_min(0).to(table.dtype)
    wanted = (signed * above).sum(-1, keepdim=True).clamp_min(0)
    size = table * above
    mean = size.sum(-1, keepdim=True).clamp_min(TINY)
    # Too high: stay, with some probability. Too low: mix with the size-biased table.
    moving = (wanted / mean).clamp_max(1)
    stay = torch.nn.functional.one_hot(x, table.shape[-1]).to(table.dtype)
    lower = moving * table + (1 - moving) * stay
    size = size / mean
    gain = (size * above).sum(-1, keepdim=True) - mean
    biased = ((wanted - mean) / gain.clamp_min(TINY)).clamp(0, 1)
    return torch.where(wanted < mean, lower, (1 - biased) * table + biased * size)


def tabulate(law: Law) -> Categorical:
    """The law as a table per site."""
    if isinstance(law, Categorical):
        return law
    if isinstance(law, LogisticMixture):
        return law.table()
    raise TypeError(
        f"a {type(law).__name__} law has no finite table per site: "
        "take the Categorical or LogisticMixture head, or Bridge(), or Trapezoidal() of pure death"
    )
