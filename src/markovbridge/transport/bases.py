"""What a network corrects, as an object: nothing, the moments of the data, or a law of them.

The user's word, and what is saved, is None, "moments" or the law itself; `base_of` makes the
object of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.exact.base import DataLaw
from markovbridge.heads import Head
from markovbridge.laws import Law
from markovbridge.processes import Process, Setting
from markovbridge.processes.schedules import Reading
from markovbridge.samplers.model import Given

Named = DataLaw | Literal["moments"] | None
"""What a user names."""


class Base(ABC):
    """What a network corrects; by default nothing that it would be shown, or told a condition."""

    conditional: bool = False
    """Whether it may depend on the condition."""

    @abstractmethod
    def kept(self, process: Process, coupling: Coupling, head: Head | None) -> Named:
        """The base of a model with this head: None where there is none to start from.

        Raises:
            ValueError: If it was asked for and cannot be corrected.
        """

    def refined(self, factor: int, dimension: int) -> Named:
        """The base of the model on a finer grid, see `DataLaw.refined`; by default none."""
        return None

    @abstractmethod
    def law(
        self, setting: Setting, x: Tensor, t: Reading, condition: Tensor | None, given: Given
    ) -> Law | None:
        """The law of x_1 given x_t = x that is corrected."""

    def features(self, process: Process) -> int:
        """How many features per site show a network what it says."""
        return 0

    def shown(self, setting: Setting, x: Tensor, t: Tensor) -> list[Tensor]:
        """These features, (batch, features, *event), where there are any."""
        return []


@dataclass(frozen=True)
class NoBase(Base):
    """The head's own start."""

    def kept(self, process: Process, coupling: Coupling, head: Head | None) -> Named:
        return None

    def law(
        self, setting: Setting, x: Tensor, t: Reading, condition: Tensor | None, given: Given
    ) -> Law | None:
        return None


@dataclass(frozen=True)
class MomentsBase(Base):
    """Independent sites with mean and variance of the data, where process and head know them."""

    def kept(self, process: Process, coupling: Coupling, head: Head | None) -> Named:
        return "moments" if head is not None and head.starts_from_moments else None

    def refined(self, factor: int, dimension: int) -> Named:
        return "moments"

    def law(
        self, setting: Setting, x: Tensor, t: Reading, condition: Tensor | None, given: Given
    ) -> Law | None:
        return setting.process.closed_form(x, t, setting)


@dataclass(frozen=True, eq=False)
class LawBase(Base):
    """A law of the data whose posterior is known."""

    data: DataLaw
    conditional = True

    def kept(self, process: Process, coupling: Coupling, head: Head | None) -> Named:
        if head is None or not head.corrects:
            name = "an exact law" if head is None else type(head).__name__
            raise ValueError(
                f"{name} corrects no base law, and {type(self.data).__name__} is given as one: "
                "take base=None (--base null), or another head, such as MeanHead"
            )
        self.data.check(process, coupling)
        return self.data

    def refined(self, factor: int, dimension: int) -> Named:
        return self.data.refined(factor, dimension)

    def law(
        self, setting: Setting, x: Tensor, t: Reading, condition: Tensor | None, given: Given
    ) -> Law | None:
        if given.observed is None:
            return self.data(x, t.plain, condition)
        return self.data.given_known(x, t.plain, given.observed, condition)

    def features(self, process: Process) -> int:
        return process.base_features + self.data.more_features

    def shown(self, setting: Setting, x: Tensor, t: Tensor) -> list[Tensor]:
        assert setting.base is not None, "as `law` gives one"
        told = [setting.process.standardise_base(setting.base, x, t, setting)]
        return [*told, self.data.more(setting.base)] if self.data.more_features else told


def base_of(named: Named) -> Base:
    """The object that a user's word stands for."""
    if named is None:
        return NoBase()
    return MomentsBase() if isinstance(named, str) else LawBase(named)


doors.guard(__name__)
