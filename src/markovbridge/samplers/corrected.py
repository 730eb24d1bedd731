r"""Predictor and corrector: noise a little and remove it again, at the same time.

If x_s has the marginal f_s, so has what comes of carrying it back to r < s by the
reference, x_r ~ P(s->r), and forward again by the generative process: that is the
definition of both. So such a move leaves f_s invariant, at any size, up to the
error of the step from r to s; and it forgets errors made before. Of a walk from a known
state, an observed one or a source that is preserved, it must not forget that: there the way
back is the bridge between that state and x_s (`samplers.back`), and what is left invariant is
the law given the state. For small sizes
its generator is the sum of the noising and the reverse rates, the corrector of
Campbell et al. (tauLDR, https://arxiv.org/abs/2205.14987); for counts the units
that die and are born again are the attrition of CountsDiff
(https://arxiv.org/abs/2604.03779).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.samplers.back import back, check_back
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.model import DataModel, Model, given_of


@dataclass(frozen=True)
class Corrected(Sampler):
    """A sampler whose every step is followed by corrector moves.

    Attributes:
        sampler: Makes the steps, and the way forward of the corrector moves.
        moves: Corrector moves after each step; none after the last, at the data.
        size: The share of the odds of survival that a move gives up: with mortality q,
            p_r / q_r = (1 - size) p_s / q_s. Of a walk that starts at a known state no more is
            given up than was won since.

    Raises:
        ValueError: From `step`, under guidance, or a coupling that gives no way back.
        TypeError: From `step`, if the process gives none.
    """

    sampler: Sampler = field(default_factory=Bridge)
    moves: int = 1
    size: float = 0.1

    def __post_init__(self) -> None:
        if self.moves < 1:
            raise ValueError(f"moves must be at least 1, not {self.moves}")
        if not 0 < self.size < 1:
            raise ValueError(f"size must lie in (0, 1), not {self.size}")

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
        if given_of(model).guidance != 1:
            raise ValueError(
                "correctors noise a state by the reference and remove it by the model, which "
                "leaves its law alone if one is the reverse of the other; a guided model is the "
                f"reverse of none: take {type(self.sampler).__name__}() itself, or guidance=1"
            )
        check_back(model)
        x = self.sampler.step(model, x, t, s, generator=generator)
        if s >= 1:
            return x
        # Odds p/q: as share of survival alone a move would go back over most of the mortality
        # that is left, once little is, and a step over most of it is no short step.
        survival = process.schedule.survival(s) * (1 - self.size)
        mortality = process.schedule.mortality(s)
        total = survival + mortality
        r = float(process.schedule.time(survival / total, mortality / total))
        r = max(min(r, s), self._first(model))
        for _ in range(self.moves):
            x = back(model, x, s, r, generator)
            x = self.sampler.step(model, x, r, s, generator=generator)
        return x

    @property
    def planned(self) -> bool:
        return bool(self.sampler.planned)

    def plan(
        self, model: DataModel, steps: int | Tensor, start: float = 0.0, walked: int = 0
    ) -> tuple[Sampler, Sequence[float]]:
        """That of the sampler, each of whose steps is followed by moves."""
        sampler, grid = self.sampler.plan(model, steps, start, walked)
        return replace(self, sampler=sampler), grid

    def _first(self, model: Model) -> float:
        """The earliest time to go back to: where the walk began, if it must not be forgotten."""
        held = given_of(model).held
        return 0.0 if held is None else held[1]

    def evaluations(self, steps: int) -> int | None:
        """Those of the steps, and of the moves after all but the last."""
        own, one = self.sampler.evaluations(steps), self.sampler.evaluations(steps - 1)
        if own is None or one is None or steps < 1:
            return None if steps >= 1 else 0
        return own + (steps - 1) * self.moves * (own - one)


doors.guard(__name__)
