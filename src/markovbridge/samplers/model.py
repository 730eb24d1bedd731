r"""What a model is, to all who ask one: samplers, likelihoods, restoration, grids.

A sampler steps a `Model`: a process, a coupling, and the law of x_1 given x_t. What the law is
given beside x_t is one object, `Given`, so that it travels as one: a condition and how strongly
it acts, the start of the walk, known sites of x_1. `given` of a model is what it is bound to
already; `markovbridge.samplers.walks.BoundModel` binds.

What takes data asks a `DataModel`, which checks them too. `Transport` is both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings.base import Coupling
from markovbridge.data.covariates import Covariates
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.processes.schedules import Time
from markovbridge.samplers.known_sites import Observed


@dataclass(frozen=True, eq=False)
class Given:
    """All that a law of x_1 is given beside x_t.

    Attributes:
        condition: Numbers about each sample, (batch, C), NaN being unknown; see
            `markovbridge.transport.guidance`.
        guidance: How strongly the condition acts: 1 as learned, 0 not at all, and more than 1
            beyond what was learned.
        start: x_0, (batch, *event), which a transport that preserves its coupling needs.
        observed: Known sites of x_1, whose law is certain.
        held: A state (batch, *event) and its time, from which a walk started and which samplers
            that go back must not forget; None if it was drawn from the source.
    """

    condition: Tensor | None = None
    guidance: float = 1.0
    start: Tensor | None = None
    observed: Observed | None = None
    held: tuple[Tensor, float] | None = None

    def rows(self, chosen: Tensor) -> Given:
        """What is given of some rows of the batch, by their positions."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[chosen]

        known, held = self.observed, self.held
        return Given(
            cut(self.condition),
            self.guidance,
            cut(self.start),
            None if known is None else Observed(known.values[chosen], known.mask[chosen]),
            None if held is None else (held[0][chosen], held[1]),
        )


NOTHING = Given()


class Model(Protocol):
    """What a sampler steps: process, coupling, and the law of x_1 given x_t.

    It may have a `given` as well, which is what the law is bound to, and an
    `end(x, t, generator=...)`, which draws x_1 where the law does not know all of it.
    """

    process: Process
    coupling: Coupling

    def law(self, x: Tensor, t: Time) -> Law:
        """The law of x_1 given x_t = x."""
        ...


class DataModel(Protocol):
    """A model that data are brought to."""

    process: Process
    coupling: Coupling
    covariates: Covariates | None
    shape: tuple[int, ...]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def law(self, x: Tensor, t: Time, given: Given = NOTHING) -> Law:
        """The law of x_1 given x_t = x and what else is given."""
        ...

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Data (batch, *event) as states of the process, or an error that names the value."""
        ...

    def grid(self, steps: int | Tensor, start: float = 0.0, power: float = 1.0) -> Sequence[float]:
        """The times of a walk from `start` to 1; see `ErrorCurve.grid`."""
        ...

    def evaluating(self) -> AbstractContextManager[None]:
        """Dropout off inside, the mode as it was afterwards."""
        ...


def end_of(model: Model, x: Tensor, t: Time, *, generator: torch.Generator | None) -> Tensor:
    """One draw of x_1 given x_t = x: of all sites jointly, where the model has `end` for it."""
    joint = getattr(model, "end", None)
    if joint is None:
        return model.law(x, t).sample(generator=generator)
    return joint(x, t, generator=generator)


class Stated:
    """A model whose ends are drawn from its law, whatever else it can draw: a `Model`.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.process, self.law, self.given = model.process, model.law, given_of(model)
        # Steps do without, and models of tests and guides may have none.
        self.coupling: Coupling = getattr(model, "coupling", None)  # pyright: ignore


def given_of(model: object) -> Given:
    """What a model is bound to; nothing if it does not say."""
    return getattr(model, "given", NOTHING)


doors.guard(__name__, inside=("end_of", "given_of"))
