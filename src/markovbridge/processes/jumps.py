r"""Processes that jump: their rates, and the divergence of rates.

The rates of the generative process are those of the pinned one averaged over the end,
E[rate(x, X_1, t) | x_t = x].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.laws.numbers import by_row
from markovbridge.processes.base import DiscreteProcess
from markovbridge.processes.baselines import Baseline, Pairing, starting
from markovbridge.processes.clock import Pace
from markovbridge.processes.schedules import Time

LARGE, FEW = 2**16, 0.15  # rates of a table of which few are not 0, and that share


class JumpProcess(DiscreteProcess):
    """A process that moves by jumps at exponential times, site by site."""

    pace: ClassVar[Pace] = "log"
    """The clock to leap by, in which the rates of the exact reverse change least."""
    jumps: ClassVar[bool] = True
    falling: ClassVar[bool] = False
    """Whether the total of `strengths`, under an exact law, only falls from jump to jump.

    `Gillespie` then needs no `bounds`: the rate when it last looked is one.
    """

    growth: ClassVar[float | None] = None
    """How fast the rates of the exact reverse grow towards the data, beside what they are.

    With q(x -> x') the rates of the reference per unit of the clock τ = -log p and r(x) their
    sum, the largest of r(x') - r(x) - d log q(x' -> x)/dτ over the moves x -> x'. Between two
    jumps the total λ of the reverse then obeys -dλ/dτ <= (growth + λ) λ, from which `Gillespie`
    has bounds for a short while where `bounds` has none. None if it is not stated.
    """

    @property
    def local(self) -> bool:
        """Whether `Gillespie` is to bound rates for a short while, by `growths`.

        By default of unbounded data that state their `growth`: there are no `bounds`.
        """
        return self.states is None and self.growth is not None

    def growths(self, x: Tensor) -> Tensor | None:
        """`growth` by state: the largest over the moves out of each, (batch,) float64.

        By default what is true of all; None if that is not stated.
        """
        if self.growth is None:
            return None
        return torch.full((len(x),), self.growth, dtype=torch.float64, device=x.device)

    @abstractmethod
    def moves(self, x: Tensor) -> Tensor:
        """The states a jump leads to, (batch, *event, jumps)."""

    @abstractmethod
    def rates(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rates of `moves` for the process pinned at x_1 = y, per unit of time.

        Returns:
            (batch, *event, jumps).
        """

    def expected_rates(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """`rates` averaged over x_1 ~ law: the rates of the generative process.

        By default one value of x_1 after the other, at the cost of as many calls of `rates`.
        """
        return law.average(lambda y: self.rates(x, y, t), x, self.states)

    @property
    def samplers(self) -> tuple[str, ...]:
        """A sampler of second order, or of rates, and `Bridge`."""
        if self.additive:
            return ("Trapezoidal()", "Bridge()")
        return ("TauLeaping()" if self.states is None else "SecondOrderBridge()", "Bridge()")

    def pull(self, law: Law, x: Tensor, t: float) -> Tensor:
        """How often a site jumps, on average."""
        return self.expected_rates(law, x, t).double().sum(-1).mean()

    def strengths(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """Rates of the generative process as leaps take them, (batch, *event, jumps).

        Per unit of time at the pace "log"; at the pace "survival" per unit of survival and times
        the mortality, which has a value where the rate per unit of time is 0/0.
        """
        return self.expected_rates(law, x, t)

    def resting(self, x: Tensor) -> Tensor | None:
        """The end x_1 for which the pinned process stays at x; None if there is no such end."""
        return None

    def bounds(self, high: float, low: float) -> Bounds:
        """Bounds on the total pinned rate while the clock -log p runs from high down to low.

        Raises:
            TypeError: If the process states none.
        """
        raise TypeError(
            f"{type(self).__name__} states no bound of its rates (`bounds`), so its jumps cannot "
            "be simulated one by one: take Bridge()"
        )

    def baseline(
        self, coupling: Pairing, x1: Tensor, x0: Tensor | None, end: float
    ) -> Baseline | None:
        """The histogram of the values, if they are few."""
        reverses = x0 is None and coupling.reverses
        return starting(self.evidence, self.noised, self.states, x1, reverses)

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rate of path KL between the process pinned at y and the model: (batch,), nats."""
        each = jump_divergence(self.rates(x, y, t), self.expected_rates(law, x, t))
        return by_row(each).sum(1)


@dataclass(frozen=True)
class Bounds:
    """Upper bounds on the rate of leaving a state, whatever x_1, in a window of time.

    Attributes:
        of: Bounds for states (batch, *event), per unit of the clock -log p.
        worst: A bound typical of the most mobile state, to compare windows by.
    """

    of: Callable[[Tensor], Tensor]
    worst: float


def jump_divergence(pinned: Tensor, model: Tensor) -> Tensor:
    r"""Rate of path KL between jumps at two rates λ and μ: μ - λ + λ log(λ/μ), elementwise.

    Written as λ φ(μ/λ - 1), φ(δ) = δ - log(1 + δ), with a series around δ = 0: towards a
    source that has forgotten the data both rates grow without bound while their ratio
    tends to 1, and what is left is second order in δ.
    """
    alive = pinned > 0
    rate = torch.where(alive, pinned, 1.0)
    delta = (torch.where(alive, model, 1.0) - rate) / rate
    near = delta.abs() < 0.1
    # log(1 + δ) = 2 atanh(u), u = δ/(2 + δ), and δ - 2u = δ²/(2 + δ).
    small = torch.where(near, delta, 0.0)
    u = small / (2 + small)
    square = u**2
    tail = square * (1 / 5 + square * (1 / 7 + square * (1 / 9 + square / 11)))
    series = small**2 / (2 + small) - 2 * u * square * (1 / 3 + tail)
    # A model that rules a possible jump out is infinitely wrong: kept finite for training.
    large = torch.where(near, 1.0, delta).clamp_min(1e-30 - 1)
    ratio = torch.where(near, 1.0, model.clamp_min(1e-30) / rate)
    direct = large - ratio.log()
    return torch.where(alive, rate * torch.where(near, series, direct), model)


def log_divergence(pinned: Tensor, log_model: Tensor) -> Tensor:
    r"""The same, μ - λ + λ log(λ/μ), for a rate μ whose logarithm is given: elementwise.

    Written as λ (e^η - 1 - η), η = log μ - log λ. In float64 no digits are lost to the
    difference, however large λ is; as the gradient in log μ is μ - λ, it never vanishes where
    the model all but rules a jump out.
    """
    large = pinned.device.type == "cpu" and pinned.numel() >= LARGE  # others wait to be counted
    if large and int(pinned.count_nonzero()) < FEW * pinned.numel():
        # Of a wide table most are 0: the same, the others by themselves.
        places = pinned.nonzero(as_tuple=True)
        rate, own = pinned[places], log_model[places]
        ratio = own - rate.log()
        rest = log_model.index_put(places, torch.zeros_like(own)).exp()
        return rest.index_put(places, rate * (torch.expm1(ratio) - ratio))
    # Where there is no jump an exact law may say log 0: no cost.
    none = pinned == 0
    ratio = torch.where(none, 0.0, log_model) - torch.where(none, 1.0, pinned).log()
    return torch.where(none, log_model.exp(), pinned * (torch.expm1(ratio) - ratio))


doors.guard(__name__, inside=("jump_divergence", "log_divergence"))
