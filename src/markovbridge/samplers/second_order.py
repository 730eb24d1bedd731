r"""Second-order samplers: two evaluations a step, an error of the square of the step.

A first-order step freezes the law of x_1 for its whole length, so within it the
sites do not see each other move. Both samplers here go to an inner time, look again, and finish
the step with an extrapolated law: with the inner time a share θ of the way and
a = 1/(2θ(1 - θ)), the weights a and 1 - a make the average over the step right to first order
in its length.

- `Trapezoidal`, for amounts, with any law that has rates: the θ-trapezoidal leap that
  Anderson and Mattingly made for reaction networks (https://arxiv.org/abs/0912.2971).
  With ν_j the moves, λ_j their rates and h the length of the step,

      x_m = x_t + Σ_j ν_j Poisson(θh λ_j(x_t, t))
      x_s = x_m + Σ_j ν_j Poisson((1 - θ)h max(0, a λ_j(x_m, m) - (a - 1) λ_j(x_t, t)))

  all in the clock of the process (`JumpProcess.pace`). In the survival clock the rate
  E[x_1 - x]/(1 - p) of pure death is a martingale along the exact process, and so the right
  thing to extrapolate; so are those of a random walk and of pure birth. Where immigrants come
  and go, and in an urn, log p is the clock of bounded rates.

- `SecondOrderBridge`, for any jump process whose law has a table per site: what a
  site's own move from t to m says of its end is known exactly (Bayes), so the old
  law is first updated by it, π' ∝ π_t p(x_m | x_1)/p(x_t | x_1), and only what the
  other sites did is extrapolated: x_1 is drawn from the positive part of
  a π_m - (a - 1) π'.

Cutting off the negative part costs an order: after a jump elsewhere, of probability
O(h), it is O(1). What a step of length h needs to first order is not the table but the
rates of the next jump, one for each sort of move, and those of the uncut table are known:

    λ*_j = max(0, a λ_j(π_m) - (a - 1) λ_j(π'))      at (x_m, m), for each move j.

So amounts are put right by them. Under pure death there is one move, and an end that makes none
of it: the state itself. Where the rate of the cut table is too high, the site stays with
some probability; where too low, the table is mixed with its size-biased self. Other processes
have no end that makes no move, but a move that was made can be taken back: of the steps to the
one side that the bridge made the share λ*_j / λ_j is kept where λ_j is too high, and where it is
too low Poisson steps are added, which a table over ends could not always make. The last step,
onto the data, is left as it is: it is one step, and wrong by its square. Where nothing was cut
off nothing is changed. On exactly known laws of two sites (`benchmarks/second_order.py`) this
restores the second order, which cutting alone loses.

Categories are left as cut: their moves compete, and jumps of two sites in one part of a step,
which come too often by as much as was cut off, cannot be taken back one by one. There the order is
two where a jump elsewhere leaves a site more than half of its rates, and else one, with an error
that is a fraction of a first-order step's. The θ-trapezoidal leap can be made for categories as
well (Ren et al., https://arxiv.org/abs/2502.00234), is of the same orders, and has the larger
errors (`benchmarks/second_order_categories.py`): it extrapolates what a site's own move says, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Categorical, Law, Table
from markovbridge.laws.numbers import binomial
from markovbridge.processes.clock import cut
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers.base import Sampler, instead
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.model import DataModel, Model, Stated
from markovbridge.samplers.rates import leap, sound

TINY = 1e-30


def _check_theta(theta: float) -> None:
    if not 0 < theta < 1:
        raise ValueError(f"theta is the share of a step before the inner time, in (0, 1): {theta}")


def leaping(sampler: Sampler, model: Model) -> JumpProcess:
    """The process, or an error if its states are no amounts that leap."""
    process = model.process
    if not isinstance(process, JumpProcess):
        raise TypeError(
            f"{type(sampler).__name__} leaps amounts, which move by steps of a size at known "
            f"rates; {type(process).__name__} has none: take {instead(process)}"
        )
    if not process.additive:
        raise TypeError(
            f"{type(sampler).__name__} leaps amounts, whose jumps within a step add up; those of "
            f"a state of {type(process).__name__} compete, and what its own jump says of its end "
            f"is known and need not be extrapolated: take {instead(process)}"
        )
    return process


@dataclass(frozen=True)
class Trapezoidal(Sampler):
    """The θ-trapezoidal leap of rates, for any jump process whose states are amounts.

    Under pure death a law's mean is all it needs. Under other processes a step that starts at
    survival 0, where rates per unit of log p last for ever, is one of the bridge, and so is the
    one onto the data.

    Attributes:
        theta: Where the inner time lies. Any value in (0, 1) is of second order. On an
            exactly known two-pixel law 0.4 to 0.5 has the smallest error; networks trained on
            images prefer 0.25 to 0.4 (`benchmarks/second_order.py`, `benchmarks/quality.py`).
        thetas: The same for walks from the source in 1, 2, ... steps, as `transport.planning`
            finds them; of more steps the last of them. None are `theta` for all.
        powers: Of the error, in whose equal falls these walks step (`ErrorCurve.grid`). None are
            the error itself for all. Models that do not know their errors step as the schedule.
    """

    theta: float = 0.4
    thetas: tuple[float, ...] = ()
    powers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_theta(self.theta)
        for number, theta in enumerate(self.thetas):
            checks.number(theta, f"thetas[{number}]", above=0, below=1)
        for number, power in enumerate(self.powers):
            checks.number(power, f"powers[{number}]", above=0)

    @property
    def planned(self) -> bool:
        return bool(self.thetas or self.powers)

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Trapezoidal, Sequence[float]]:
        """The leap of a walk, with its inner time, and where it stops."""
        theta, power = self.theta, 1.0
        if not isinstance(steps, Tensor) and (walked or not start):
            theta = _of(self.thetas, steps + walked, theta)
            power = _of(self.powers, steps + walked, power)
        grid = model.grid(steps, start) if power == 1 else model.grid(steps, start, power)
        return replace(self, theta=theta, thetas=(), powers=()), grid

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        if not leaps(leaping(self, model), x, t, s):
            return Bridge().step(Stated(model), x, t, s, generator=generator)
        return self.leap(model, x, t, s, generator=generator)[0]

    def leap(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        law: Law | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step, and the rates at its beginning and its inner time.

        Args:
            model: What to walk by.
            x: State at t, (batch, *event).
            t: Where the step begins.
            s: Where it ends.
            law: That of x_1 given x_t = x, where it is known already.
            generator: Source of randomness.

        Returns:
            State (batch, *event), and rates per unit of the clock of the process, (batch,
            *event, jumps) twice.
        """
        process = leaping(self, model)
        parts = cut(process.schedule, process.pace, t, s, self.theta)
        early, late = parts.units
        law = model.law(x, t) if law is None else law
        first = sound(process.strengths(law, x, t), t) / early
        x_m = process.project(leap(process, x, first * parts.before, generator))
        law = model.law(x_m, parts.middle)
        second = sound(process.strengths(law, x_m, parts.middle), parts.middle) / late
        rates = self.extrapolate(first, second)
        return process.project(leap(process, x_m, rates * parts.after, generator)), first, second

    def extrapolate(self, first: Tensor, second: Tensor) -> Tensor:
        """The rates for the rest of a step, from those at both ends of its beginning."""
        return (weight(self.theta) * second - (weight(self.theta) - 1) * first).clamp_min(0)

    def evaluations(self, steps: int) -> int:
        """Two for each step; one for those that are steps of the bridge."""
        return 2 * steps


def _of(planned: Sequence[float], steps: int, usual: float) -> float:
    """What is planned for so many steps."""
    return planned[max(min(steps, len(planned)) - 1, 0)] if planned else usual


def weight(theta: float) -> float:
    """The weight a of what was seen at the inner time."""
    return 1 / (2 * theta * (1 - theta))


def leaps(process: JumpProcess, x: Tensor, t: float, s: float) -> bool:
    """Whether a step can be leapt; one of the bridge otherwise.

    Next to the data rates grow as 1/(1 - p) in states that the data do not have, and whoever is
    there has to leave it: only pure death, which cannot, leaps on to the end.
    """
    if process.pace == "log" and float(process.schedule.survival(t)) == 0:
        return False
    return s < 1 or process.resting(x) is not None


@dataclass(frozen=True)
class SecondOrderBridge(Sampler):
    """Second-order bridge step, for jump processes whose law has a table per site.

    Categories of which one decides another are drawn with a small error of first order.

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
        generator: torch.Generator | None = None,
    ) -> Tensor:
        process = model.process
        if not isinstance(process, JumpProcess) or process.states is None:
            maximum = "set its maximum, or " if isinstance(process, JumpProcess) else ""
            raise TypeError(
                "SecondOrderBridge needs a jump process with a bounded number of states, not "
                f"{type(process).__name__} as it is: {maximum}take {instead(process)}"
            )
        middle = cut(process.schedule, "survival", t, s, self.theta).middle
        first = model.law(x, t).table()
        x_m = process.bridge(x, first.sample(generator=generator), t, middle, 1.0).sample(
            generator=generator
        )
        second = model.law(x_m, middle).table()
        rest = self.rest(process, first, second, x, x_m, (t, middle, s))
        y = rest.end.sample(generator=generator)
        x_s = process.bridge(x_m, y, middle, s, 1.0).sample(generator=generator)
        return rest.put_right(process, x_m, x_s, generator)

    def rest(
        self,
        process: JumpProcess,
        first: Table,
        second: Table,
        x: Tensor,
        x_m: Tensor,
        times: tuple[float, float, float],
    ) -> Rest:
        """The rest of a step, from the laws at both ends of its beginning.

        Args:
            process: The process.
            first: Law of x_1 given x_t = x, (batch, *event).
            second: Law of x_1 given x_m.
            x: State at t.
            x_m: State at the inner time.
            times: Where the step began, the inner time, and where it ends.
        """
        t, middle, s = times
        # What x_m says of each site's end that x_t did not.
        news = process.evidence(x_m, middle) - process.evidence(x, t)
        old = torch.where(first.logits > -math.inf, first.logits + news, -math.inf)
        old = old.nan_to_num(nan=-math.inf).softmax(-1)
        new, a = second.log_probs.exp(), weight(self.theta)
        signed = a * new - (a - 1) * old
        mixed = signed.clamp_min(0)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        if not process.additive:
            return Rest(Categorical(mixed.log()))
        resting = process.resting(x_m)
        if resting is not None:
            return Rest(Categorical(_with_mean(mixed, signed, resting).log()))
        end = Categorical(mixed.log())
        if s >= 1:
            return Rest(end)
        parts = cut(process.schedule, process.pace, middle, s, 0.5)

        def rates(law: Table) -> Tensor:
            found = sound(process.strengths(law, x_m, middle), middle)
            return found / parts.units[0]

        made = rates(end)
        wanted = (a * rates(second) - (a - 1) * rates(Categorical(old.log()))).clamp_min(0)
        kept = (wanted / made.clamp_min(TINY)).clamp_max(1)
        more = (wanted - made).clamp_min(0) * (parts.before + parts.after)
        return Rest(end, kept, more)

    def evaluations(self, steps: int) -> int:
        """Two for each step."""
        return 2 * steps


@dataclass(frozen=True, eq=False)
class Rest:
    """What is left of a step after its inner time: a bridge, and what puts its rates right.

    Attributes:
        end: The law of the end to go towards.
        kept: Share of the steps of each move to keep, (batch, *event, jumps); None for all.
        more: Expected number of further jumps of each move, likewise.
    """

    end: Categorical
    kept: Tensor | None = None
    more: Tensor | None = None

    def put_right(
        self, process: JumpProcess, x: Tensor, moved: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """The state to end at, where the bridge went from x to `moved`."""
        if self.kept is None or self.more is None:
            return moved
        steps = process.moves(x) - x.unsqueeze(-1)
        made = (moved.unsqueeze(-1) - x.unsqueeze(-1)).div(steps, rounding_mode="floor")
        made = made.clamp_min(0)  # of the moves to the side it went to
        x = x + (binomial(made, self.kept, generator) * steps).sum(-1)
        return process.project(leap(process, x, self.more, generator))


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


doors.guard(__name__, inside=("leaping", "leaps", "weight"))
