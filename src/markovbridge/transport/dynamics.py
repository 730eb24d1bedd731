r"""The dynamics of a trained model: its rates, its drift and its score, at any state and time.

    rates    E[λ(x, X_1, t) | x_t = x]             of the jumps to `process.moves(x)`
    drift    b(x, E[X_1 | x_t = x], t)             of a diffusion, whose b is affine in its end
    score    ∇ log of the density of x_t           of a linear diffusion
    frames   x_t at given times                    along sampled paths

The first two are those of the generative process (Santos et al.,
https://arxiv.org/abs/2305.11089; Peluchetti, https://arxiv.org/abs/2312.14589). The score is
that of x_t under the coupling, as far as it says what x_t is given x_1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings.base import linear
from markovbridge.processes.jumps import JumpProcess
from markovbridge.processes.reals import Diffusion
from markovbridge.processes.schedules import Time
from markovbridge.samplers.model import NOTHING, Given
from markovbridge.transport.draws import Sampling
from markovbridge.transport.options import DrawOptions


class Dynamics(Sampling):
    """What moves a model."""

    def rates(self, x: Tensor, t: Time, given: Given = NOTHING) -> Tensor:
        """Rates of the jumps from x to `process.moves(x)`, per unit of time, for 0 < t < 1.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            given: What else the law of x_1 is given.

        Returns:
            (batch, *event, jumps).

        Raises:
            TypeError: If the process does not jump.
        """
        process, (x, t) = self.process, self._asked(x, t)
        if not isinstance(process, JumpProcess):
            other = "its `drift`" if isinstance(process, Diffusion) else "`law`"
            raise TypeError(
                f"{type(process).__name__} has no rates, as it does not jump at exponential "
                f"times: ask the transport for {other}"
            )
        return process.expected_rates(self.law(x, t, given), x, t)

    def leaving(self, x: Tensor, t: Time, given: Given = NOTHING) -> Tensor:
        """Rate at which each site leaves its value, per unit of time: (batch, *event).

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample, 0 < t < 1.
            given: What else the law of x_1 is given.

        Raises:
            TypeError: If the process does not jump.
        """
        return self.rates(x, t, given).sum(-1)

    def change(self, x: Tensor, t: Time, given: Given = NOTHING) -> Tensor:
        """Mean change of each site by jumps, per unit of time: (batch, *event).

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample, 0 < t < 1.
            given: What else the law of x_1 is given.

        Raises:
            TypeError: If the process does not jump.
        """
        rates = self.rates(x, t, given)
        assert isinstance(self.process, JumpProcess), "it has rates"
        return ((self.process.moves(x) - x.unsqueeze(-1)) * rates).sum(-1)

    def drift(self, x: Tensor, t: Time, given: Given = NOTHING) -> Tensor:
        """Drift of the generative process at x, per unit of time, for t < 1.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            given: What else the law of x_1 is given.

        Returns:
            (batch, *event).

        Raises:
            TypeError: If the process is no diffusion.
            ValueError: At t = 1, where it is infinite.
        """
        process, (x, t) = self.process, self._asked(x, t)
        if not isinstance(process, Diffusion):
            other = "its `rates`" if isinstance(process, JumpProcess) else "`law`"
            raise TypeError(
                f"{type(process).__name__} has no drift, as it is no diffusion: ask the "
                f"transport for {other}"
            )
        return process.drift(x, self.law(x, t, given).mean.to(x.dtype), t)

    def score(self, x: Tensor, t: Time, given: Given = NOTHING) -> Tensor:
        """∇ log of the density of x_t at x, in the coordinates of the states.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            given: What else the law of x_1 is given.

        Returns:
            (batch, *event).

        Raises:
            TypeError: If the process is no linear diffusion.
            ValueError: If the coupling does not say what x_t is given x_1, or x_t is certain.
        """
        x, t = self._asked(x, t)
        try:
            process = linear(self.process)
        except ValueError as error:
            raise TypeError(
                f"the score of a model is known for a LinearDiffusion, not for "
                f"{type(self.process).__name__}: ask the transport for its `law`, `rates` or "
                "`drift`"
            ) from error
        if self.coupling.preserve:
            raise ValueError(
                "a transport that preserves its coupling knows the law of x_1 given x_0 as well, "
                "which says nothing of the density of x_t: train one with preserve=False"
            )
        kernel = self.coupling.kernel(process, t)
        end = self.law(x, t, given).mean.to(x.dtype)
        return process.covariance.solve(kernel.smoothed_score(x, end))

    def frames(
        self,
        x: Tensor | int,
        times: Sequence[float],
        *,
        generator: torch.Generator | None = None,
        **options: Unpack[DrawOptions],
    ) -> Tensor:
        """States at given times along sampled paths, which step from each to the next.

        Args:
            x: States at the first of the times, (n, *event), or how many to draw from the source.
            times: When, in increasing order, the last being 1.
            generator: Source of randomness.
            **options: As for `sample`, but for `steps` and `callback`.

        Returns:
            The states at these times, as data, (times, n, *event).

        Raises:
            ValueError: If times do not fit.
        """
        taken = sorted({"steps", "callback"} & options.keys())
        if taken:
            raise ValueError(f"`{taken[0]}` is what `times` are for: leave it out")
        if not len(times):
            raise ValueError("times must hold two or more, the last being 1, not none")
        kept: list[Tensor] = []
        options["steps"] = torch.tensor(times, dtype=torch.float64)
        options["callback"] = lambda t, x: kept.append(x)
        if isinstance(x, int):
            made = self.sample(x, generator=generator, **options)
        elif times[0] == 0:
            made = self.translate(x, generator=generator, **options)
        else:
            made = self.restore(x, times[0], generator=generator, **options)
        count = len(times)
        blocks = [torch.stack(kept[k : k + count]) for k in range(0, len(kept), count)]
        return torch.cat(blocks, 1)[:, : len(made)]

    def _asked(self, x: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """States of the shape of the model, and times that have been checked."""
        return self._shaped(x, "x"), self.process.schedule.at(t, x.device)


doors.guard(__name__)
