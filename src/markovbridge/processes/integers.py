"""Processes on integers whose jumps are one down and one up."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import LOG_TINY, Law, SiteLaw
from markovbridge.laws.sums import TwoMeans
from markovbridge.processes.base import Setting
from markovbridge.processes.clock import instant, speed
from markovbridge.processes.jumps import Bounds, JumpProcess
from markovbridge.processes.schedules import Time


class IntegerProcess(JumpProcess):
    """A process on integers whose jumps are one down and one up."""

    direction: ClassVar[Literal["forward", "noising"]] = "noising"
    additive: ClassVar[bool] = True
    lowest: ClassVar[int | None] = 0

    maximum: int | None
    """Largest value of the data, for heads that are tables; None if unbounded."""

    @abstractmethod
    def steps(self, x: Tensor, y: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Expected steps up and down from x_t = x to x_1 = y: (batch, *event) each."""

    @abstractmethod
    def step_rates(self, x: Tensor, up: Tensor, down: Tensor, t: Time) -> Tensor:
        """Rates of `moves` from x given expected steps: (batch, *event, 2), per unit of time."""

    @abstractmethod
    def guess(self, x: Tensor, t: Time, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Expected steps up and down as far as the mean of the data tells."""

    @abstractmethod
    def stepped(self, x: Tensor, log_up: Tensor, log_down: Tensor) -> TwoMeans:
        """A law of x_1 with these expected steps from x_t = x."""

    @abstractmethod
    def most_steps(self, x: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
        """The largest expected steps up and down while the clock -log p is in [low, high]."""

    def room(self, x: Tensor) -> Tensor:
        """The most steps down that counts x can take to the data: by default all of them."""
        return x

    def bounds(self, high: float, low: float) -> Bounds:
        """Bounds on the total pinned rate while the clock runs from high down to low."""
        early, late = instant(self.schedule, torch.tensor([high, low]).double())
        typical = torch.full((1, 1), 1 if self.maximum is None else self.maximum)

        def of(x: Tensor) -> Tensor:
            up, down = (steps.double() for steps in self.most_steps(x, high, low))
            # Per step rates are largest at the late end; immigration, at the early one.
            none = torch.zeros_like(up)
            rates, still, least = (
                self.step_rates(x, *steps, t) / speed(self.schedule, t)
                for steps, t in (((up, down), late), ((none, none), early), ((none, none), late))
            )
            return (rates + (still - least).clamp_min(0)).sum(-1)

        return Bounds(of, float(of(typical)))

    def closed_form(self, x: Tensor, t: Time, setting: Setting) -> TwoMeans:
        """Expected steps of counts whose mean is the best linear guess given x_t = x."""
        tiny = math.exp(LOG_TINY)
        mean = self.estimate(x, t, setting)
        if self.lowest is not None:
            mean = mean.clamp(self.lowest + 1e-6, self.maximum)
        up, down = (steps.clamp_min(tiny) for steps in self.guess(x, t, mean))
        return self.stepped(x, up.log(), down.log())

    @property
    def states(self) -> int | None:
        """Maximum + 1, None if unbounded."""
        return None if self.maximum is None else self.maximum + 1

    def _largest(self) -> int:
        """Largest value of the data, without which the way up to them has no bound."""
        if self.maximum is None:
            raise ValueError(
                f"the rates of {type(self).__name__} have no bound while the data have none: set "
                "`maximum` of the process to the largest value of the data, or take Trapezoidal() "
                "or Bridge()"
            )
        return self.maximum

    def moves(self, x: Tensor) -> Tensor:
        """One down, one up: (batch, *event, 2)."""
        return torch.stack([x - 1, x + 1], -1)

    def rates(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rates of `moves` for the process pinned at x_1 = y: (batch, *event, 2)."""
        return self.step_rates(x, *self.steps(x, y, t), t)

    def expected_rates(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """`rates` averaged over x_1 ~ law; with `TwoMeans`, those of its means."""
        return self.step_rates(x, *self.expected_steps(law, x, t), t)

    def between(self, first: Law, second: Law, x: Tensor, strength: float) -> Law:
        """Interpolates the logarithms of expected steps, if both laws state expected steps."""
        if not (isinstance(first, TwoMeans) and isinstance(second, TwoMeans)):
            return super().between(first, second, x, strength)
        up = strength * first.log_up + (1 - strength) * second.log_up
        down = strength * first.log_down + (1 - strength) * second.log_down
        return self.stepped(x, up, down)

    def pinned(self, law: Law, x: Tensor, t: Time, values: Tensor, mask: Tensor) -> Law:
        """Expected steps stay expected steps, to the values that are known."""
        pinned = super().pinned(law, x, t, values, mask)
        if not isinstance(law, TwoMeans):
            return pinned
        tiny = math.exp(LOG_TINY)
        up, down = (
            torch.where(mask, steps.clamp_min(tiny).log().to(log.dtype), log)
            for steps, log in zip(
                self.steps(x, values, t), (law.log_up, law.log_down), strict=True
            )
        )
        base = law.base.pinned(values, mask)
        assert isinstance(base, SiteLaw), "as it was"
        return TwoMeans(up, down, base)

    def expected_steps(self, law: Law, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """`steps` averaged over x_1 ~ law; with `TwoMeans`, its means."""
        if isinstance(law, TwoMeans):
            return law.log_up.exp(), law.log_down.exp()

        def steps(y: Tensor) -> Tensor:
            return torch.stack(self.steps(x, y, t), -1)

        up, down = law.average(steps, x, self.states).unbind(-1)
        return up, down

    @property
    def features(self) -> int:
        """One: the standardised state."""
        return 1

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """States as int64: integers, counts not negative."""
        if x.dtype == torch.bool or x.is_complex():
            raise TypeError(f"{name} must hold integers, not {x.dtype}")
        if x.is_floating_point():
            bad = ~(torch.isfinite(x) & (x == x.round()))
            if bool(bad.any()):
                raise ValueError(f"{name} holds {x[bad][0].item()}: this process needs integers")
        if self.lowest is not None and x.numel() and bool((x < self.lowest).any()):
            raise ValueError(f"{name} holds {x.min().item()}: counts cannot be negative")
        return x.to(torch.int64)

    def project(self, x: Tensor) -> Tensor:
        """Cut counts at zero."""
        return x if self.lowest is None else x.clamp_min(self.lowest)

    def settled(self, x: Tensor) -> Tensor:
        """Cut at 0 and `maximum`, if there is one, which states on the way may be beyond."""
        return x if self.maximum is None else x.clamp(0, self.maximum)


doors.guard(__name__)
