r"""Schedules: how fast the clock of a reference process runs.

A schedule maps time t (0 = source, 1 = data) to the **survival** p(t), the
probability that a unit of the data is still there at t, and to the **mortality**
q(t) = 1 - p(t). Both are primary: q is computed from its own formula, because
1 - p loses all digits near the data. Any process with a clock uses the same
object, its elapsed time from the data being -log p.

================== ======================== =======================================
schedule           p(t)                     equal steps in t are equal steps in
================== ======================== =======================================
`LinearSchedule`   t                        survival
`CosineSchedule`   sin²(πt/2)               arcsin √p, the Fisher–Rao distance
`LogisticSchedule` sigmoid(L (2t - 1))      logit p, accumulated Fisher information
`SurvivalSchedule` a function of the user's whatever it says
================== ======================== =======================================

`LogisticSchedule` is the time grid of Blackout Diffusion (Santos et al., ICML 2023,
https://arxiv.org/abs/2305.11089), there with t_end = 15 for colour images and 10
for binarised MNIST.

All methods take a float or a tensor of times and return a tensor of the same
shape, computed in float64 and returned in the type of t (float64 for a float).

**Times are checked once, at the door.** That they lie in [0, 1] is asked of a tensor by a
reduction and a read of its result, for which a device has to finish its work. So
`Schedule.at` checks what it is given and returns a `Reading`: the same tensor, known to be
checked, which remembers what the schedule says of it. Who is given times reads them by `at`, or
by `ordered` if there are several, and passes the reading on; of a reading nothing is asked again.
`Transport.loss` makes one for a training step. A float is checked in Python, before it is a
tensor, so that a step of a sampler reads nothing from the device. What is computed from a
reading is a tensor like any other; times that are right by construction, such as those between
two readings, are made a `Reading` as they are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks

Time = float | Tensor
"""One time, or one per sample; a `Reading` if they have been checked."""


def _checked(t: Tensor) -> Tensor:
    """The times, or an error if one lies outside of [0, 1]."""
    # One reduction decides both bounds; NaN fails the comparison as well.
    if t.numel() and not _all((t >= 0) & (t <= 1)):
        raise _outside(t[~((t >= 0) & (t <= 1))].flatten()[0].item())
    return t


def _all(true: Tensor) -> bool:
    """Whether all of them are true: here times are read from their device, and nowhere else."""
    return bool(true.all())


def _outside(t: float) -> ValueError:
    return ValueError(f"time {t} is outside [0, 1]: 0 is the source, 1 the data")


class Reading(Tensor):
    """Times that are known to lie in [0, 1], and what a schedule says of them.

    A tensor like any other, made by `Schedule.at`. The same times in float64 (`double`) or more
    than once (`expand`) are a reading again; whatever else is made of it is a plain tensor.

    Attributes:
        schedule: The schedule.
        number: The time of all entries, if it was given as a number.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore
    schedule: Schedule
    number: float | None

    def __new__(cls, schedule: Schedule, t: Tensor, number: float | None = None) -> Reading:
        reading = t.as_subclass(cls)
        reading.schedule, reading.number = schedule, number
        return reading

    def __init__(self, schedule: Schedule, t: Tensor, number: float | None = None) -> None:
        """All is done by `__new__`."""

    @property
    def plain(self) -> Tensor:
        """The times, for those who know no readings."""
        return self.as_subclass(Tensor)

    def double(self) -> Reading:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same times in float64."""
        return self if self.dtype == torch.float64 else self._double

    @cached_property
    def _double(self) -> Reading:
        return Reading(self.schedule, self.plain.double(), self.number)

    def expand(self, *sizes: int) -> Reading:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The same times, one for each of so many samples."""
        t = self.plain.expand(*sizes)
        return self if t.shape == self.shape else Reading(self.schedule, t, self.number)

    @cached_property
    def survival(self) -> Tensor:
        """p(t), float64."""
        return self.schedule._survival(self.plain.double())

    @cached_property
    def mortality(self) -> Tensor:
        """1 - p(t), float64."""
        return self.schedule._mortality(self.plain.double())

    @cached_property
    def rate(self) -> Tensor:
        """dp/dt, float64."""
        return self.schedule._rate(self.plain.double())

    def precedes(self, later: Reading) -> bool:
        """Whether no time is after its counterpart in `later`."""
        if self.number == 0 or later.number == 1:
            return True
        if self.number is not None and later.number is not None:
            return self.number <= later.number
        return _all(self.plain.to(later.device) <= later)


class Schedule(ABC):
    """A clock: survival p(t) increasing from the source (t = 0) to the data (p(1) = 1)."""

    @abstractmethod
    def _survival(self, t: Tensor) -> Tensor:
        """P(t) for float64 t."""

    @abstractmethod
    def _mortality(self, t: Tensor) -> Tensor:
        """1 - p(t) for float64 t, accurate where p is close to 1."""

    @abstractmethod
    def _rate(self, t: Tensor) -> Tensor:
        """dp/dt for float64 t."""

    @abstractmethod
    def _time(self, p: Tensor, q: Tensor) -> Tensor:
        """The t with survival p and mortality q, in float64."""

    def at(self, t: Time, device: torch.device | str | None = None) -> Reading:
        """Times that have been checked to lie in [0, 1]; a reading is returned as it is.

        Args:
            t: A time, or a tensor of them; whole numbers become float32.
            device: Where the tensor of a time given as a float is made (in float64).

        Raises:
            ValueError: If one does not lie in [0, 1], naming it.
        """
        if isinstance(t, Reading):
            return t if t.schedule is self else Reading(self, t, t.number)
        if isinstance(t, Tensor):
            return Reading(self, _checked(t if t.is_floating_point() else t.to(torch.float32)))
        number = float(t)
        if not 0 <= number <= 1:
            raise _outside(number)
        return Reading(self, torch.tensor(number, dtype=torch.float64, device=device), number)

    def ordered(self, *times: Time) -> tuple[Reading, ...]:
        """Readings of times that do not decrease, on the device of the first one per sample.

        Raises:
            ValueError: If one does not lie in [0, 1], or if they decrease.
        """
        read = tuple(self.at(t) for t in times)
        device = next((t.device for t in read if t.ndim), None)
        if device is not None:
            read = tuple(
                t if t.device == device else Reading(self, t.plain.to(device), t.number)
                for t in read
            )
        if not all(earlier.precedes(later) for earlier, later in pairwise(read)):
            raise ValueError(
                "times must be ordered from the source, 0, to the data, 1, and here they are "
                + ", ".join(str(t.tolist()) for t in read)
            )
        return read

    def survival(self, t: Time) -> Tensor:
        """Survival p(t), the shape of t."""
        t = self.at(t)
        return t.survival.to(t.dtype)

    def mortality(self, t: Time) -> Tensor:
        """Mortality 1 - p(t), the shape of t, with full relative accuracy."""
        t = self.at(t)
        return t.mortality.to(t.dtype)

    def rate(self, t: Time) -> Tensor:
        """dp/dt, the shape of t, per unit of time."""
        t = self.at(t)
        return t.rate.to(t.dtype)

    def time(self, survival: Tensor, mortality: Tensor) -> Tensor:
        """The inverse: the time at which survival and mortality have these values."""
        return self._time(survival.double(), mortality.double()).to(survival.dtype)

    def increment(self, s: Time, t: Time) -> Tensor:
        """p(t) - p(s) without cancellation at either end."""
        device = next((v.device for v in (s, t) if isinstance(v, Tensor)), None)
        s, t = self.at(s, device), self.at(t, device)
        by_survival, by_mortality = t.survival - s.survival, s.mortality - t.mortality
        near_source = t.survival < 0.5
        gained = torch.where(near_source, by_survival, by_mortality)
        return gained.to(torch.promote_types(s.dtype, t.dtype))

    def mirrored(self) -> Schedule:
        """The clock of the process run backwards, from data to source: q(1 - t)."""
        return MirroredSchedule(self)

    def grid(self, steps: int, start: float = 0.0) -> Tensor:
        """Times of `steps` equal steps from `start` to the data: (steps + 1,), float64."""
        checks.whole(steps, "steps", least=1)
        checks.number(start, "start", least=0, below=1)
        checks.room(steps, f"steps = {steps} times", "take fewer")
        return torch.linspace(start, 1.0, steps + 1, dtype=torch.float64)


@dataclass(frozen=True)
class MirroredSchedule(Schedule):
    """Another schedule run backwards: survival p(t) is its mortality at 1 - t."""

    composed: ClassVar[bool] = True  # of another, by its `mirrored`

    schedule: Schedule

    def mirrored(self) -> Schedule:
        """The schedule itself: there and back."""
        return self.schedule

    def _survival(self, t: Tensor) -> Tensor:
        return self.schedule._mortality(1 - t)

    def _mortality(self, t: Tensor) -> Tensor:
        return self.schedule._survival(1 - t)

    def _rate(self, t: Tensor) -> Tensor:
        return self.schedule._rate(1 - t)

    def _time(self, p: Tensor, q: Tensor) -> Tensor:
        return 1 - self.schedule._time(q, p)


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """Survival p(t) = t."""

    def _survival(self, t: Tensor) -> Tensor:
        return t

    def _mortality(self, t: Tensor) -> Tensor:
        return 1 - t

    def _rate(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def _time(self, p: Tensor, q: Tensor) -> Tensor:
        return torch.where(p < 0.5, p, 1 - q)


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Survival p(t) = sin²(πt/2): constant Fisher–Rao speed, the default.

    At equal numbers of steps its sampling error is a fourth or fifth of the
    logistic grid's (`benchmarks/sampler_error.py`).
    """

    def _survival(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2)) ** 2

    def _mortality(self, t: Tensor) -> Tensor:
        return torch.sin((1 - t) * (math.pi / 2)) ** 2

    def _rate(self, t: Tensor) -> Tensor:
        return (math.pi / 2) * torch.sin(torch.where(t < 0.5, t, 1 - t) * math.pi)

    def _time(self, p: Tensor, q: Tensor) -> Tensor:
        return torch.atan2(p.sqrt(), q.sqrt()) * (2 / math.pi)


@dataclass(frozen=True)
class LogisticSchedule(Schedule):
    """Logit survival linear in t: the grid of Blackout Diffusion.

    Attributes:
        t_end: Length of the noising process in its own time (death rate 1 per unit),
            so that p at the source is exp(-t_end).
        exact_ends: True moves the ends to survival exactly 0 and 1. False is the grid
            as published, which starts from a black image although survival there is
            exp(-t_end): with t_end = 15 one CIFAR-10 image in nine would not be black.
            Survival at the data is 1 either way.
    """

    t_end: float = 15.0
    exact_ends: bool = True

    def __post_init__(self) -> None:
        checks.instance(self.t_end, Real, "t_end")
        if not self.t_end > math.log(2):
            raise ValueError(
                f"t_end must exceed log 2 (survival below 1/2 at the source), not {self.t_end}"
            )
        checks.number(self.t_end, "t_end", most=700)  # beyond, exp(-t_end) is 0

    @property
    def span(self) -> float:
        """The largest logit, -logit(exp(-t_end))."""
        return self.t_end + math.log1p(-math.exp(-self.t_end))

    def _survival(self, t: Tensor) -> Tensor:
        p = torch.sigmoid(self.span * (2 * t - 1))
        p = torch.where(t >= 1, 1.0, p)
        return torch.where(t <= 0, 0.0, p) if self.exact_ends else p

    def _mortality(self, t: Tensor) -> Tensor:
        q = torch.sigmoid(self.span * (1 - 2 * t))
        q = torch.where(t >= 1, 0.0, q)
        return torch.where(t <= 0, 1.0, q) if self.exact_ends else q

    def _rate(self, t: Tensor) -> Tensor:
        return 2 * self.span * self._survival(t) * self._mortality(t)

    def _time(self, p: Tensor, q: Tensor) -> Tensor:
        return ((p.log() - q.log()) / self.span + 1).mul(0.5).clamp(0, 1)


@dataclass(frozen=True)
class SurvivalSchedule(Schedule):
    """A schedule given by a function of the user's.

    Attributes:
        function: Maps float64 times to survival; strictly increasing, differentiable by
            autograd, with function(0) >= 0 and function(1) = 1.
        complement: 1 - function(t), for accuracy near the data. Without it mortality is
            1 - p in float64, which holds about 1e-16 absolutely.

    A function cannot be written to a configuration: `Transport.from_pretrained` needs the
    process as an argument then.
    """

    function: Callable[[Tensor], Tensor]
    complement: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        t = torch.linspace(0, 1, 1001, dtype=torch.float64)
        p = self.function(t)
        if p.shape != t.shape or not bool(torch.isfinite(p).all()):
            raise ValueError("the survival function must return one finite value per time")
        if not bool((p[1:] > p[:-1]).all()):
            at = t[:-1][p[1:] <= p[:-1]][0].item()
            raise ValueError(f"the survival function must increase, but does not at t = {at:.3f}")
        if p[0] < 0 or abs(p[-1].item() - 1) > 1e-12:
            raise ValueError(
                "the survival function must run from p(0) >= 0 to p(1) = 1, "
                f"not from {p[0].item()} to {p[-1].item()}"
            )

    def _survival(self, t: Tensor) -> Tensor:
        return self.function(t)

    def _mortality(self, t: Tensor) -> Tensor:
        if self.complement is not None:
            return self.complement(t)
        return (1 - self.function(t)).clamp_min(0)

    def _rate(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            (rate,) = torch.autograd.grad(self.function(t).sum(), t)
        return rate

    def _time(self, p: Tensor, q: Tensor) -> Tensor:
        low, high = torch.zeros_like(p), torch.ones_like(p)
        for _ in range(60):  # 2^-60 is beyond float64 on [0, 1]
            middle = (low + high) / 2
            below = torch.where(p < 0.5, self._survival(middle) < p, self._mortality(middle) > q)
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


doors.guard(__name__, own=("t_end",), inside=("Reading",))
