r"""What every reference process answers.

A reference is a Markov process on [0, 1] whose transitions and bridges are
tractable. Its bridge `x_t | x_s = x, x_u = y` is the one primitive: training
draws x_t from it, sampling draws x_s from it towards a drawn end. The bridge is
a product of transitions over a transition, so it reads the same whichever way
the process is stated (`direction`): from source to data ("forward"), or from
data to source ("noising").

Jump processes add the rates of the pinned process. The rates of the generative
process are their posterior average, E[rate(x, X_1, t) | x_t = x] (Santos et al.,
https://arxiv.org/abs/2305.11089; the mixture theorem of Peluchetti,
https://arxiv.org/abs/2312.14589, at generator level).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.laws.base import by_row
from markovbridge.processes.clock import Pace
from markovbridge.processes.supports import Support
from markovbridge.schedules import Schedule, Time

__all__ = [
    "Bounds",
    "DiscreteProcess",
    "JumpProcess",
    "Process",
    "jump_divergence",
    "log_divergence",
    "match",
]


def match(t: Tensor, x: Tensor) -> Tensor:
    """Reshape times, () or (batch,), so that they broadcast against x, (batch, *event)."""
    if t.ndim == 0:
        return t.to(x.device)
    if t.shape != x.shape[:1]:
        raise ValueError(
            f"times must be one number or one per sample ({x.shape[0]},), not {tuple(t.shape)}"
        )
    return t.to(x.device).reshape(-1, *[1] * (x.ndim - 1))


class Process(ABC):
    """Reference Markov process on [0, 1] with tractable transitions and bridges.

    States are (batch, *event); times are floats or (batch,) tensors. Laws come in the
    type of the times: float64 for Python floats.
    """

    schedule: Schedule
    direction: ClassVar[Literal["forward", "noising"]]
    dtype: ClassVar[torch.dtype]
    """The type of states."""
    states_are_called: ClassVar[tuple[str, ...]] = ("x", "y", "x1")
    """Arguments of methods that are states; see `markovbridge.doors`."""
    takes_anything: ClassVar[tuple[str, ...]] = ("__init__", "check", "project")
    """Methods whose argument may be any tensor."""
    support: Support | None = None
    """Coordinates of the data in which states are carried; None if states are the data."""
    start_within: ClassVar[str] = (
        "take the Cosine schedule, or Logistic(exact_ends=True), under which nothing of the data "
        "is left at t = 0"
    )
    """What to do where data start outside of the source."""

    @abstractmethod
    def transition(self, x: Tensor, s: Time, t: Time) -> Law:
        """The law of x_t given x_s = x, along `direction` (noising: s >= t)."""

    @abstractmethod
    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Law:
        """The law of x_t given x_s = x and x_u = y, for s <= t <= u."""

    @abstractmethod
    def noised(self, x1: Tensor) -> Law:
        """The law of x_0 given x_1 = x1: the coupling of time reversal."""

    @abstractmethod
    def source(self, like: Tensor) -> Law:
        """The law where sampling starts, in the shape of `like`."""

    @abstractmethod
    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rate of path KL between the process pinned at y and the model with `law`.

        Returns:
            (batch,), nats per unit of time, summed over sites. Its integral over [0, 1],
            averaged over x_t, bounds -log p(y) for a source that is known exactly.
        """

    @abstractmethod
    def standardise(self, x: Tensor, t: Time, mean: Tensor, variance: Tensor) -> Tensor:
        """Network features (batch, features, *event) of unit variance given t.

        Args:
            x: State at t, (batch, *event).
            t: Time.
            mean: Mean of the data, broadcastable to event.
            variance: Variance of the data, broadcastable to event.
        """

    @property
    @abstractmethod
    def features(self) -> int:
        """How many features per site `standardise` makes."""

    @abstractmethod
    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Return x as a state tensor, or raise an error that names the offending value."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Put a state a sampler overshot back into the state space."""

    def observed_time(self, survival: float) -> float:
        """The time at which a known share of units has survived.

        Raises:
            ValueError: If the share is not in (0, 1).
        """
        if not 0 < survival < 1:
            raise ValueError(f"survival must lie in (0, 1), not {survival}")
        p = torch.tensor(survival, dtype=torch.float64)
        return float(self.schedule.time(p, 1 - p))


class DiscreteProcess(Process):
    """A process on integers, site by site."""

    dtype: ClassVar[torch.dtype] = torch.int64
    additive: ClassVar[bool]
    """Whether states are amounts, so that several jumps of one step add up."""

    @property
    @abstractmethod
    def states(self) -> int | None:
        """How many values the data have at a site, 0 .. states-1; None if unbounded."""

    @abstractmethod
    def evidence(self, x: Tensor, t: Time) -> Tensor:
        """What x_t says of x_1: log p(x_t = x | x_1 = v) for each v, (batch, *event, states).

        Up to a term that is the same for all v. Bounded data only.
        """


class JumpProcess(DiscreteProcess):
    """A process that moves by jumps at exponential times, site by site."""

    pace: ClassVar[Pace] = "log"
    """The clock to leap by, in which the rates of the exact reverse change least."""

    @abstractmethod
    def moves(self, x: Tensor) -> Tensor:
        """The states a jump leads to, (batch, *event, jumps)."""

    @abstractmethod
    def rates(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rates of `moves` for the process pinned at x_1 = y, per unit of time.

        Returns:
            (batch, *event, jumps).
        """

    @abstractmethod
    def expected_rates(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """`rates` averaged over x_1 ~ law: the rates of the generative process."""

    def strengths(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """Rates of the generative process as leaps take them, (batch, *event, jumps).

        Per unit of time at the pace "log"; at the pace "survival" per unit of survival and times
        the mortality, which has a value where the rate per unit of time is 0/0.
        """
        return self.expected_rates(law, x, t)

    def resting(self, x: Tensor) -> Tensor | None:
        """The end towards which the process pinned there never leaves x; None if there is none."""
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
    # Where there is no jump an exact law may say log 0: no cost.
    none = pinned == 0
    ratio = torch.where(none, 0.0, log_model) - torch.where(none, 1.0, pinned).log()
    return torch.where(none, log_model.exp(), pinned * (torch.expm1(ratio) - ratio))


doors.guard(
    __name__,
    inside=(
        "log_divergence",
        "match",
        "jump_divergence",
    ),
)
