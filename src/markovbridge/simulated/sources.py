"""What the reverse process starts from, at t = 0.

The noising process decides it: its stationary law, if it was run long enough, or what it makes of
the data. `Ends` draws the latter by simulation and knows no density, which a likelihood needs;
`Tabulated` and `OfLaw` know theirs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Law


class StartLaw(ABC):
    """A law of states at t = 0."""

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """States, (n, *event)."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probabilities of states (n, *event): (n,).

        Raises:
            TypeError: If this source has none.
        """
        raise TypeError(
            f"{type(self).__name__} knows no probabilities, and a likelihood needs those of the "
            "source: give a Tabulated or OfLaw source"
        )


@dataclass(frozen=True, eq=False)
class Ends(StartLaw):
    """States that a simulation makes of data, a data point drawn anew for each.

    Attributes:
        data: Data, (N, *event).
        simulate: (x, generator) to states at t = 0:
            `lambda x, g: simulate(dynamics, x, generator=g)`.
    """

    data: Tensor
    simulate: Callable[[Tensor, torch.Generator | None], Tensor]

    def __post_init__(self) -> None:
        if self.data.ndim < 1 or not len(self.data):
            raise ValueError("data hold no row: give at least one")

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        checks.whole(n, "n", least=0)
        rows = torch.randint(len(self.data), (n,), generator=generator, device=self.data.device)
        return self.simulate(self.data[rows], generator)


@dataclass(frozen=True, eq=False)
class OfLaw(StartLaw):
    """A law of this package.

    Attributes:
        law: The law of n rows: `lambda n: laws.Poisson(torch.full((n, 8), math.log(3)))`.
    """

    law: Callable[[int], Law]

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        return self.law(checks.whole(n, "n", least=0)).sample(generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.law(len(x)).log_prob(x).double()


@dataclass(frozen=True, eq=False)
class Tabulated(StartLaw):
    """A law on a list of states.

    Attributes:
        states: The states, (S, *event) whole numbers, none twice.
        probabilities: Their probabilities, (S,), of any positive sum.

    Raises:
        ValueError: If probabilities are negative, or not one for each state.
    """

    states: Tensor
    probabilities: Tensor

    def __post_init__(self) -> None:
        p = self.probabilities
        if p.shape != self.states.shape[:1]:
            raise ValueError(
                f"probabilities must be ({len(self.states)},), one for each state, not "
                f"{tuple(p.shape)}"
            )
        if not bool((p >= 0).all()) or not 0 < float(p.double().sum()) < math.inf:
            raise ValueError("probabilities must be at least 0 with a positive, finite sum")

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        checks.whole(n, "n", least=0)
        sums = self.probabilities.double().cumsum(0)
        u = torch.rand(n, dtype=torch.float64, generator=generator, device=sums.device)
        which = torch.searchsorted(sums, u * sums[-1], right=True)
        return self.states[which.clamp_max(len(sums) - 1)]

    def log_prob(self, x: Tensor) -> Tensor:
        p = self.probabilities.double()
        where = positions(self.states, x, missing=True)
        known = torch.where(where >= 0, p[where.clamp_min(0)] / p.sum(), 0.0)
        return known.log()


def positions(states: Tensor, x: Tensor, *, missing: bool = False) -> Tensor:
    """Where each of x is in a list of states, (n,).

    Args:
        states: (S, *event), none twice.
        x: (n, *event).
        missing: Whether what is not in the list is -1; else it is an error.

    Raises:
        ValueError: If a state is in the list twice, or x is not in it.
    """
    rows = x.flatten(1).to(states)
    both = torch.cat([states.flatten(1), rows])
    unique, code = both.unique(dim=0, return_inverse=True)
    where = torch.full((len(unique),), -1, dtype=torch.int64, device=states.device)
    own = code[: len(states)]
    where[own] = torch.arange(len(states), device=states.device)
    if len(own.unique()) < len(states):
        raise ValueError("states must be distinct: one is in the list twice")
    whole = (rows == x.flatten(1).to(states.device)).all(1)  # 0.5 is not listed where 0 is
    found = torch.where(whole, where[code[len(states) :]], -1)
    if not missing and bool((found < 0).any()):
        stranger = x[found < 0][0].tolist()
        raise ValueError(f"x holds {checks.shown(stranger)}, which is none of the states listed")
    return found


doors.guard(__name__)
