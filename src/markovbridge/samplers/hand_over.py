r"""From joint draws to leaps: what a sample will be, and then what its sites are.

A joint draw of the end (`JointHead`) is one bridge step of any length, as good as what was learned
of whole events; leaps of the mean are as good as their number. From the source, where all is
open, one or two joint draws do what takes many leaps; later, leaps are better than any draw that
a network makes. Where one ends and the other begins is measured: see `transport.planning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.model import DataModel, Model, Stated
from markovbridge.samplers.second_order import Trapezoidal

FIRST = 1e-9  # before which only a step from the source begins


@dataclass(frozen=True)
class HandOver(Sampler):
    """Bridge steps to jointly drawn ends until a time, and another sampler from there.

    Attributes:
        until: The time: steps that begin before it are of the bridge. By default the first one,
            from the source, alone.
        then: The sampler that goes on, from the law that the model states.
        plans: Times at which steps of the bridge end, for walks from the source in 1, 2, ...
            steps, as `transport.planning` finds them; of more steps those of the last, before 1.
            Where there are plans, a number of `steps` takes `until` from them, and `then` as it
            is in a walk of so many steps.
    """

    until: float = FIRST
    then: Sampler = field(default_factory=Trapezoidal)
    plans: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        checks.number(self.until, "until", least=0, most=1)
        if isinstance(self.then, HandOver):
            raise ValueError("then is the sampler to hand over to, and no HandOver itself")
        for number, plan in enumerate(self.plans, 1):
            times = [0.0, *plan]
            if any(t >= s for t, s in pairwise(times)) or times[-1] > 1 or len(plan) > number:
                raise ValueError(
                    f"plans[{number - 1}] is {plan}: of {number} steps at most as many times that "
                    "increase in (0, 1]"
                )
            if (times[-1] == 1) != (len(plan) == number):
                raise ValueError(
                    f"plans[{number - 1}] is {plan}: {number} steps end at 1, the last one of them"
                )

    @property
    def planned(self) -> bool:
        return bool(self.plans or self.then.planned)

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        """The sampler of a walk, and where it stops: as planned, for a number of steps."""
        if isinstance(steps, Tensor) or start > 0 or not self.plans or steps < 1:
            then, grid = self.then.plan(model, steps, start)
            return replace(self, then=then), grid
        return walk(model, steps, self._joint(steps), self.then)

    def _joint(self, steps: int) -> tuple[float, ...]:
        """Where the steps of the bridge end, of a walk from the source."""
        if steps <= len(self.plans):
            return self.plans[steps - 1]
        return tuple(t for t in self.plans[-1] if t < 1)

    def step(
        self,
        model: Model,
        x: Tensor,
        t: float,
        s: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        if t < self.until:
            return Bridge().step(model, x, t, s, generator=generator)
        return self.then.step(Stated(model), x, t, s, generator=generator)

    def evaluations(self, steps: int) -> int | None:
        """Of a walk from the source: one for each joint draw, and those of the other sampler."""
        if steps < 1:
            return 0
        if self.plans:
            joint = len(self._joint(steps))
        elif self.until > FIRST:
            return None  # as the grid has it
        else:
            joint = int(self.until > 0)
        later = self.then.evaluations(steps - joint) if steps > joint else 0
        return None if later is None else joint + later


def walk(
    model: DataModel, steps: int, joint: Sequence[float], then: Sampler
) -> tuple[HandOver, list[float]]:
    """The sampler of a walk from the source, and where it stops.

    Args:
        model: What is walked by.
        steps: How many steps there are.
        joint: Where those to jointly drawn ends stop, in (0, 1], increasing.
        then: The sampler of the others, as it plans them.
    """
    done = joint[-1] if joint else 0.0
    left = steps - len(joint)
    later: Sequence[float] = ()
    if left:
        then, later = then.plan(model, left, done, len(joint))
    return HandOver(done, then), [0.0, *joint, *later[1:]]


doors.guard(__name__)
