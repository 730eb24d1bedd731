r"""What a network is asked, and what its head makes of the answer.

The network sees what a process says of x_t, what a base law says of x_1, x_0 where it is kept,
known sites, and noise, where a head makes ends of it. `law` is what the head states of x_1 given
x_t; `end` draws x_1, of all sites jointly if the head can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.processes import Setting
from markovbridge.processes.schedules import Reading, Time
from markovbridge.samplers.known_sites import pinned
from markovbridge.samplers.model import NOTHING, Given
from markovbridge.transport.bases import Named, base_of
from markovbridge.transport.contract import ask
from markovbridge.transport.dynamics import Dynamics
from markovbridge.transport.guidance import guided


class Asked(Dynamics):
    """A network, its head and what it corrects: the law of x_1 given x_t."""

    network: Callable[..., Any]
    base: Named
    autocast: torch.dtype | None

    @property
    def setting(self) -> Setting:
        """What the numbers of the network are relative to."""
        return Setting(self.process, self.coupling, self.mean, self.variance)

    def law(self, x: Tensor, t: Time, given: Given = NOTHING) -> Law:
        """The law of x_1 given x_t = x.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            given: What else is given: a condition and how strongly it acts, known sites, x_0.
        """
        t = self.process.schedule.at(t, x.device).expand(len(x))
        return self.said(x, t, given)

    @property
    def conditions_itself(self) -> bool:
        uses = self.head is None and not self.coupling.preserve
        return uses and bool(getattr(self.network, "uses_known", False))

    @property
    def draws_jointly(self) -> bool:
        """Whether `end` draws all sites of x_1 jointly, and not from `law`."""
        return self.head is not None and self.head.noise > 0

    def end(
        self,
        x: Tensor,
        t: Time,
        given: Given = NOTHING,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """One draw of x_1 given x_t = x: of the law, or of all sites jointly, if the head can.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            given: What else is given, as for `law`. Guidance acts on two ends of one noise.
            generator: Source of randomness.
        """
        if self.head is None or not self.draws_jointly:
            return self.law(x, t, given).sample(generator=generator)
        t = self.process.schedule.at(t, x.device).expand(len(x))
        law = self.said(x, t, given, self.noise(x, generator))
        drawn = self.head.whole(law, x).sample(generator=generator)
        observed = given.observed
        if observed is None:
            return drawn
        return torch.where(observed.mask, observed.values.to(drawn.dtype), drawn)

    def noise(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """What a head makes ends of: (batch, noise, *event)."""
        assert self.head is not None
        shape = (len(x), self.head.noise, *self.shape)
        return torch.randn(shape, device=x.device, generator=generator)

    def said(self, x: Tensor, t: Reading, given: Given, noise: Tensor | None = None) -> Law:
        """The law that the head makes of the network's answer, or the end that it makes of noise.

        Args:
            x: States, (batch, *event).
            t: Times, (batch,).
            given: What else is given.
            noise: What the head makes an end of, (batch, noise, *event).
        """
        condition, guidance, observed = given.condition, given.guidance, given.observed
        if guidance == 1:
            (law,) = self._laws(x, t, [condition], given, noise)
        elif condition is None:
            raise ValueError(f"guidance is {guidance}, but there is no condition to follow")
        else:
            condition = condition.float()
            both = [condition, torch.full_like(condition, torch.nan)]
            first, second = self._laws(x, t, both, given, noise)
            law = guided(self.process, x, first, second, guidance)
        return law if observed is None else pinned(self.process, x, t, law, observed)

    def _laws(
        self,
        x: Tensor,
        t: Reading,
        conditions: Sequence[Tensor | None],
        given: Given,
        noise: Tensor | None = None,
    ) -> list[Law]:
        """What the network says of x_1 under each of several conditions, in one call.

        Shown noise, (batch, noise, *event), it says what the end is that is made of it.
        """
        if self.head is None:
            shown = self.masking is not None and not self.conditions_itself
            more = (given.observed,) if shown else ()
            law: Any = self.network
            told: tuple[Any, ...] = (x, t.plain)
            if self.coupling.preserve:
                law, told = self.network.given_start, (*told, self._start(given))  # pyright: ignore
            elif self.conditions_itself and given.observed is not None:
                law, told = self.network.given_known, (*told, given.observed)  # pyright: ignore
            return [law(*told, condition, *more) for condition in conditions]
        asked = conditions if base_of(self.base).conditional else conditions[:1]
        settings = [self._setting(x, t, condition, given) for condition in asked]
        seen = [self._features(x, t, given, setting, noise) for setting in settings]
        if len(asked) < len(conditions):  # what is said and seen is the same of all
            settings, seen = settings * len(conditions), seen * len(conditions)
        times, condition = t.plain.float(), conditions[0]
        if len(conditions) > 1:
            times = times.repeat(len(conditions))
            condition = torch.cat([c for c in conditions if c is not None])
        features = seen[0] if len(seen) == 1 else torch.cat(seen)
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            raw = ask(self.network, features, times, condition, self.head.outputs(self.process))
        made = self.head if noise is None else self.head.from_noise
        parts = raw.float().split(len(x))
        return [made(setting, part, x, t) for setting, part in zip(settings, parts, strict=True)]

    @torch.no_grad()
    def _setting(self, x: Tensor, t: Reading, condition: Tensor | None, given: Given) -> Setting:
        """What the network's numbers are relative to at x_t = x: the base law included."""
        setting = self.setting
        law = base_of(self.base).law(setting, x, t, condition, given)
        return setting if law is None else replace(setting, base=law)

    def _features(
        self, x: Tensor, t: Tensor, given: Given, setting: Setting, noise: Tensor | None
    ) -> Tensor:
        """What the network sees: x_t, the base law, x_0 if it is kept, known sites, noise."""
        parts = [setting.standardise(x, t), *base_of(self.base).shown(setting, x, t)]
        if self.coupling.preserve:
            parts.append(setting.standardise(self._start(given), 0.0))
        if self.masking is not None:
            observed = given.observed
            if observed is None:  # as `Observed.features` has it where nothing is known
                shape = len(x), self.masking.features(self.process), *x.shape[1:]
                parts.append(torch.zeros(shape, device=x.device))
            else:
                parts.append(observed.features(setting))
        if self.head is not None and self.head.noise:
            shape = len(x), self.head.noise, *self.shape
            parts.append(parts[0].new_zeros(shape) if noise is None else noise)
        seen = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return seen.to(self.mean.dtype)

    def _start(self, given: Given) -> Tensor:
        """x_0, which has to be given where the coupling is preserved."""
        if given.start is None:
            raise ValueError("this transport preserves its coupling: it needs x_0 as `start`")
        return given.start


doors.guard(__name__)
