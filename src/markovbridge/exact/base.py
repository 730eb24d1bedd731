"""What an exact law is: it says the law of x_1 given x_t, for one process and one coupling."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.couplings.base import check_made_for, unknown
from markovbridge.data.rows import Rows
from markovbridge.laws import Law
from markovbridge.processes.base import DiscreteProcess, Process
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time
from markovbridge.samplers.known_sites import Observed


class DataLaw(ABC):
    """A law of the data whose posterior under the process is known.

    It holds for one process and one coupling, and carries both: `Transport` takes its coupling
    from here and refuses another. A subclass says its coupling as a field, a class attribute or
    a property, which is checked where the class is defined.
    """

    process: Process
    coupling: Coupling
    """Which source goes with the data: what the posterior was made for."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not any(
            "coupling" in vars(base) or "coupling" in inspect.get_annotations(base)
            for base in cls.__mro__
            if base is not DataLaw
        ):
            raise TypeError(
                f"{cls.__name__} does not say its coupling: give it an attribute `coupling`, such "
                "as `coupling = Noised()` for time reversal"
            )

    uses_known: bool = False
    """Whether `given_known` uses what is known of other sites."""

    more_features: int = 0
    """Numbers of each entry that a network which corrects it is told beside what any process
    tells of a base law; see `more`."""

    def more(self, law: Any) -> Tensor:
        """What else a network is told of a law of x_1 given x_t that it corrects.

        Args:
            law: What this law says at some states and times.

        Returns:
            (batch, more_features, *event) float32.
        """
        raise TypeError(f"{type(self).__name__} has nothing to tell beside its laws")

    @abstractmethod
    def marginal(self, x: Tensor, t: Time) -> Law:
        """The law of x_t, in the shape of x (whose values do not matter)."""

    @abstractmethod
    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        """The law of x_1 given x_t = x."""

    def given_known(
        self, x: Tensor, t: Time, observed: Observed, condition: Tensor | None = None
    ) -> Law:
        """The law of x_1 given x_t = x and the sites of x_1 that are known.

        By default that given x_t alone: what is known of other sites is not used. Who asks makes
        the known sites certain (`known_sites.pinned`).

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            observed: What is known of x_1.
            condition: As for the law given x_t alone.
        """
        return self(x, t, condition)

    def given_start(
        self, x: Tensor, t: Time, start: Tensor, condition: Tensor | None = None
    ) -> Law:
        """The law of x_1 given x_0 = start and x_t = x, which preserves a coupling.

        Under time reversal, and from one point, x_0 says nothing that x_t does not.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            start: Where each path started, (batch, *event).
            condition: As for the law given x_t alone.

        Raises:
            TypeError: If it is not worked out for this law.
        """
        if self.coupling.pinned and not self.coupling.preserve:
            return self(x, t, condition)
        raise TypeError(
            f"the law of x_1 given x_0 and x_t is not worked out for {type(self).__name__} under "
            f"{type(self.coupling).__name__}: take Empirical or Gaussian, or preserve=False"
        )

    def log_passing(self, x: Tensor, t: Time, start: Tensor) -> Tensor:
        """Log p(x_t = x | x_0 = start), by which mixtures weigh their components: (batch,).

        Raises:
            TypeError: If it is not worked out for this law.
        """
        raise TypeError(
            f"the law of x_t given x_0 is not worked out for {type(self).__name__}: take a "
            "mixture of Empirical or Gaussian laws"
        )

    def refined(self, factor: int, dimension: int) -> DataLaw:
        """The same data where the last `dimension` axes have `factor` times as many sites.

        Raises:
            NotImplementedError: If it is a law of the sites of one grid.
        """
        raise NotImplementedError(
            f"{type(self).__name__} is a law of the sites of one grid, and of no finer one: take "
            'base=None or "moments" (or GaussianField for fields)'
        )

    def check(self, process: Process, coupling: Coupling) -> None:
        """Check that it is used with the process and the coupling that it holds for.

        Raises:
            ValueError: If it is not.
        """
        check_made_for("exact law", (self.process, self.coupling), process, coupling)


class Pairs(Coupling):
    """The coupling of a law of pairs (x_0, x_1): x_0 is drawn from its law given x_1.

    Args:
        law: The law of the data, whose `marginal` at t = 0 is the source, and which has
            `reversed()`, the law of the same pairs with source and data exchanged.
    """

    def __init__(self, law: Any) -> None:
        self._law = law

    @cached_property
    def _reversed(self) -> DataLaw:
        return self._law.reversed()

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._reversed(x1, 0.0).sample(generator=generator)

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return self._law.marginal(like, 0.0).sample(generator=generator)

    def given_end(self, process: Process, x1: Tensor, t: Time) -> Law:
        raise unknown(self)

    def kernel(self, process: Process, t: Time) -> GivenEnd:
        raise unknown(self)

    def moments(self, process: Process, x: Tensor) -> tuple[Tensor, Tensor]:
        source = self._law.marginal(x[:1], 0.0)
        return source.mean[0], source.variance[0]


def check_states(x: Tensor, event: Sequence[int]) -> None:
    """Check that x is a batch of states of this event shape.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If it has another shape.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"states must be a tensor (batch, *event), not {type(x).__name__}")
    if x.ndim == 0 or x.shape[1:] != tuple(event):
        raise ValueError(
            f"states have the shape (batch, {', '.join(map(str, event))}) of the data, not "
            f"{tuple(x.shape)}"
        )


def check_thinned(process: Process, what: str, remedy: str) -> int | None:
    """Check that a process thins counts to none, as `PureDeath` does.

    Args:
        process: The process.
        what: What asks for it, and why.
        remedy: What to do under another.

    Returns:
        The most that a count can be; None if there is no such.

    Raises:
        TypeError: If it does not.
    """
    if not (process.thins and process.dies_out and isinstance(process, DiscreteProcess)):
        raise TypeError(f"{what} under PureDeath, not under {type(process).__name__}: {remedy}")
    return None if process.states is None else process.states - 1


def check_table(x: Tensor | Rows, components: int) -> None:
    """Refuse rows that so many components cannot be fitted to.

    Args:
        x: Counts, (n, *event).
        components: How many.

    Raises:
        ValueError: If they are no counts, or too few.
    """
    if isinstance(x, Tensor):
        if x.is_complex() or (x.is_floating_point() and not bool(torch.isfinite(x).all())):
            raise ValueError("x holds NaN, infinity or complex numbers; counts are whole numbers")
        if x.numel() and bool((x < 0).any()):
            raise ValueError(f"x holds {x.min().item()}: counts cannot be negative")
    if x.ndim < 2 or not x.shape[1:].numel():
        raise ValueError(f"x must be counts (n, *event), not of shape {tuple(x.shape)}")
    if len(x) < 2 or not 1 <= components <= len(x):
        raise ValueError(f"{len(x)} rows cannot be fitted by {components} components")


def check_start(start: Tensor, x: Tensor) -> None:
    """Check that `start` is a source state for each of the states x.

    Raises:
        ValueError: If it has another shape.
    """
    if start.shape != x.shape:
        raise ValueError(
            f"start is where each path began, of the shape {tuple(x.shape)} of x, not "
            f"{tuple(start.shape)}"
        )


doors.guard(__name__)
