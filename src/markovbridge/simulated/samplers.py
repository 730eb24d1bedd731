"""Samplers of a learned reverse: every jump at its time, or leaps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.simulated.ratios import Ratios
from markovbridge.simulated.walkers import Walker, chosen, jumps, leaps, times_of

LAST = 1e-4  # length of the last window, before the data


@dataclass(frozen=True)
class _Reversed(Walker):
    """A learned reverse, up in time."""

    model: Ratios
    windows: int = 1
    slack: float = 1.0
    upwards: bool = field(default=True, init=False)
    strict: bool = field(default=False, init=False)

    def rates(self, x: Tensor, t: Tensor) -> Tensor:
        rates = self.model.rates(x, t)
        if not bool(rates.isfinite().all()):
            bad = ~rates.isfinite().all(1)
            raise FloatingPointError(
                f"a reverse rate is not finite at t = {t[bad][0].item():.4g}: what the network "
                "says has come apart there; look at its weights"
            )
        return rates

    def possible(self, x: Tensor, t: Tensor, which: Tensor) -> Tensor:
        return chosen(self.model.dynamics.inward(x, t), which) > 0

    def jumped(self, x: Tensor, which: Tensor) -> Tensor:
        return chosen(self.model.dynamics.origins(x), which)

    def window(self, t: Tensor, stop: Tensor) -> Tensor:
        # 1 - t falls by a constant factor from window to window, and the last one ends at 1.
        passed = (1 - t).clamp_min(LAST).log() * (self.windows / math.log(LAST)) + 1e-9
        edge = 1 - torch.exp((passed.floor() + 1) * (math.log(LAST) / self.windows))
        return torch.minimum(torch.where(passed >= self.windows, 1.0, edge), stop)

    def bound(self, x: Tensor, t: Tensor, edge: Tensor) -> Tensor:
        ends = (self.rates(x, at).sum(1) for at in (t, edge))
        return self.slack * torch.maximum(*ends).clamp_min(1e-12)


@dataclass(frozen=True)
class Thinning:
    """Every jump at its time.

    What a network says in a state changes with time, so its rates are bounded in windows that
    become shorter towards the data, by `slack` times the larger one of the totals at its ends.
    Sampling is exact where that is a bound. A larger rate, if one is met, raises it.

    Attributes:
        windows: How many there are.
        slack: By how much a rate may exceed those at the ends.
        events: Rounds of proposals at most.
    """

    windows: int = 30
    slack: float = 1.3
    events: int = 10**6

    def __post_init__(self) -> None:
        checks.turns(self.windows, "windows")
        checks.turns(self.events, "events")
        checks.number(self.slack, "slack", least=1)

    def run(
        self,
        model: Ratios,
        x: Tensor,
        start: float = 0.0,
        stop: float = 1.0,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """States at `stop` from those at `start`, (batch, *event).

        Raises:
            ValueError: If 0 <= start <= stop <= 1 is not so.
            FloatingPointError: If a rate is not finite, or there are too many events.
        """
        walker = _Reversed(model, self.windows, self.slack)
        first, last = _ordered(x, start, stop)
        return jumps(walker, x, first, last, events=self.events, generator=generator)


@dataclass(frozen=True)
class Leaping:
    """Leaps, one call of the network each; first order in their length.

    Attributes:
        steps: How many leaps.
        power: From 0 to 1 they end at 1 - (1 - k/steps)^power: above 1 those near the data are
            shorter.
    """

    steps: int = 50
    power: float = 2.0

    def __post_init__(self) -> None:
        checks.turns(self.steps, "steps")
        checks.number(self.power, "power", least=1, most=8)

    def run(
        self,
        model: Ratios,
        x: Tensor,
        start: float = 0.0,
        stop: float = 1.0,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """States at `stop` from those at `start`, (batch, *event).

        Raises:
            ValueError: If 0 <= start <= stop <= 1 is not so.
            FloatingPointError: If a rate is not finite, or a leap has too many jumps.
        """
        first, last = ((1 - t) ** (1 / self.power) for t in _ordered(x, start, stop))
        share = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64, device=x.device)
        grid = 1 - torch.lerp(first, last, share.unsqueeze(1)) ** self.power
        return leaps(_Reversed(model), x, grid, generator)


def _ordered(x: Tensor, start: float, stop: float) -> tuple[Tensor, Tensor]:
    if start > stop:
        raise ValueError(f"a reverse runs up in time, not from {start} to {stop}")
    return times_of(start, x), times_of(stop, x)


doors.guard(__name__)
