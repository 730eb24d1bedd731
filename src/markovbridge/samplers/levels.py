r"""Levels of noise: how much of it a sampler of diffusions adds, where, and when.

With v the velocity of the probability flow and p_t the marginals,

    dX = [ v(X, t) + ½ Γ_ε(t) ∇log p_t(X) ] dt + Γ_ε(t)^{1/2} dW

has the marginals p_t whatever the symmetric positive semidefinite Γ_ε(t) is, as
∇·(½ Γ_ε p ∇log p) = ½ ∇·(Γ_ε ∇p). Of a diffusion with noise g_t² Γ (by mode, G_t = U^T g² U)

    a number λ        Γ_ε = λ² g_t² Γ                   1 is the process itself, 0 the flow
    a covariance A    Γ_ε = G_t^{1/2} A G_t^{1/2}       g_t² A without modes

so that a model of white noise may be sampled with noise in some bands only (`Modal`), or of any
colour, and with other noise at other times (`Levels`).
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.reals import Diffusion


class Level(ABC):
    """A level that changes with time."""

    @abstractmethod
    def at(self, t: float) -> float | Covariance:
        """The level of a step that leaves at t: a number λ >= 0, or A."""


@dataclass(frozen=True, eq=False)
class Levels(Level):
    """Levels one after the other.

    Attributes:
        levels: Numbers λ >= 0 or covariances A, one more than there are times.
        times: When each but the first begins, rising, in (0, 1).
    """

    levels: tuple[float | Covariance, ...]
    times: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.times) + 1:
            raise ValueError(
                f"levels must be one more than the {len(self.times)} times between them, not "
                f"{len(self.levels)}"
            )
        if not all(a < b for a, b in pairwise((0.0, *self.times, 1.0))):
            raise ValueError(f"times of levels must rise, within (0, 1), not {self.times}")
        for level in self.levels:
            if not isinstance(level, Covariance):
                check_number(level, least=0.0)

    def at(self, t: float) -> float | Covariance:
        return self.levels[bisect.bisect_right(self.times, t)]


def check_level(level: float | Covariance | Level) -> None:
    """Check what a sampler is given as its level; see `check_number` for a number."""
    if not isinstance(level, Covariance | Level):
        check_number(level)


def level_at(level: float | Covariance | Level, t: float) -> float | Covariance:
    """The level of a step that leaves at t."""
    return level.at(t) if isinstance(level, Level) else level


def check_number(level: float, least: float | None = None) -> None:
    """Check a level that is a number.

    Raises:
        ValueError: If it is not finite, or not positive (not negative, if `least` is 0).
        TypeError: If it is no number.
    """
    if isinstance(level, bool) or not isinstance(level, Real):
        raise TypeError(
            f"level must be a number, a covariance such as Modal(...), or a Level, not {level!r}"
        )
    enough = level >= least if least is not None else level > 0
    if not (enough and level < math.inf):
        raise ValueError(
            f"level must be positive and finite, not {level}: without noise take ProbabilityFlow()"
        )


def corrected(process: Diffusion, level: float | Covariance, score: Tensor, t: float) -> Tensor:
    """What a level takes from the drift of the process, ½ (g² Γ - Γ_ε) ∇log p: (batch, *event).

    Args:
        process: The process.
        level: λ or A.
        score: Γ ∇log p_t, likewise.
        t: Time.
    """
    if not isinstance(level, Covariance):
        return process.damp(score, t, 1 - level**2)
    process, root = _known(process), process.diffusion(t)
    gradient = process.basis.combine((root, process.covariance.solve(score)))
    return process.damp(score, t, 1.0) - 0.5 * process.basis.combine((root, level @ gradient))


def shaken(
    process: Diffusion,
    level: float | Covariance,
    x: Tensor,
    t: float,
    s: float,
    generator: torch.Generator | None,
) -> Tensor:
    """The noise of a step from t to s, in the shape of x."""
    if not isinstance(level, Covariance):
        return process.shake(x, t, s, level=level, generator=generator)
    drawn = level.sample(x, generator=generator)
    return _known(process).basis.combine(((s - t) ** 0.5 * process.diffusion(t), drawn))


def _known(process: Diffusion) -> LinearDiffusion:
    if not isinstance(process, LinearDiffusion):
        raise TypeError(
            "a covariance as level needs the noise of a LinearDiffusion, which "
            f"{type(process).__name__} does not state: take a number"
        )
    return process


doors.guard(__name__, inside=("check_level", "check_number", "corrected", "level_at", "shaken"))
