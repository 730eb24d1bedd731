r"""Jump processes stated by their moves: any event, any number of sites in one move.

The noising process runs from t = 1, the data, to t = 0, the source. It has M labelled moves.
Move m leads from x to moves(x)[m] at rate rates(x, t)[m], per unit of t; a move that is not
possible in x has rate 0. A label leads from different states to different states, so that a move
can be undone: origins(x)[m] is the state from which move m leads to x. The reverse process undoes
moves, so its jumps have the same labels:

    noising   x          -> moves(x)[m]     at rate  r_m(x, t)
    reverse   x          -> origins(x)[m]   at rate  λ_m(x, t)
    inward    origins(x)[m] -> x            at rate  r_m(origins(x)[m], t)

The exact reverse is λ_m(x, t) = inward_m(x, t) f_t(origins(x)[m]) / f_t(x), f_t being the law of
the noised data (Santos et al., https://arxiv.org/abs/2305.11089). Particles that hop, reactions
and epidemics are `Reactions`; what is flipped or exchanged is its own origin, and is a subclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks


class JumpDynamics(ABC):
    """A jump process on whole events, from the data (t = 1) to the source (t = 0)."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Event shape, without the batch."""

    @property
    @abstractmethod
    def labels(self) -> int:
        """How many moves there are, M."""

    @abstractmethod
    def moves(self, x: Tensor) -> Tensor:
        """Where each move leads: (batch, M, *event). Any state where the rate is 0."""

    @abstractmethod
    def origins(self, x: Tensor) -> Tensor:
        """Where each move leads from to x: (batch, M, *event). Any state where there is none."""

    @abstractmethod
    def rates(self, x: Tensor, t: Tensor) -> Tensor:
        """Rate of each move at times t (batch,), per unit of t: (batch, M), 0 if impossible."""

    def possible(self, x: Tensor) -> Tensor:
        """Whether these are states, (batch,): `origins` may name what is none."""
        return torch.ones(len(x), dtype=torch.bool, device=x.device)

    def inward(self, x: Tensor, t: Tensor) -> Tensor:
        """Rate at which each move leads to x, (batch, M).

        The default asks for all M rates at each of M origins. State it where M is large.
        """
        origins = self.origins(x).flatten(0, 1)
        possible = self.possible(origins)
        at = origins[possible]
        which = torch.arange(self.labels, device=x.device).repeat(len(x))[possible]
        times = t.repeat_interleave(self.labels)[possible]
        found = torch.zeros(len(origins), dtype=torch.float64, device=x.device)
        if len(at):
            rates = stated(self, at, times)
            found[possible] = rates.gather(1, which.unsqueeze(1)).squeeze(1)
        return found.reshape(len(x), self.labels)

    def bound(self, x: Tensor, late: Tensor, early: Tensor) -> Tensor:
        """A bound on the total rate in x while time runs from late down to early, (batch,).

        The default is the larger one of the totals at both ends, right where rates are monotone
        in t, constant ones included. A simulation that finds a larger one stops.
        """
        ends = (stated(self, x, t).sum(1) for t in (late, early))
        return torch.maximum(*ends)

    @property
    def features(self) -> int:
        """How many numbers `encode` gives about each entry of the event."""
        return 2

    def encode(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network sees: (batch, features, *event) float32.

        The default is the state, and how near the data are: log10(1 - t + 0.001), as score
        ratios grow like 1/(1 - t) where data are points.
        """
        near = torch.log10(1 - t + 1e-3).to(torch.float32)
        near = near.reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)
        return torch.stack([x.to(torch.float32), near], 1)


@dataclass(frozen=True, eq=False)
class Reactions(JumpDynamics):
    """Moves that add fixed changes to the state, within bounds.

    Chemical reactions with their stoichiometry, epidemics, and particles that hop: a change
    holds -1 where a particle leaves and 1 where it arrives.

    Attributes:
        changes: What each move adds, (M, *event) whole numbers.
        propensities: (x, t) to rates (batch, M), at least 0, for states x (batch, *event) and
            times t (batch,). Asked at states only; a move that leaves the bounds has rate 0
            whatever it says.
        least: Smallest entry of a state.
        most: Largest entry of a state; None is no limit.
        allowed: Further condition on states, (batch, *event) to (batch,) booleans.

    Raises:
        ValueError: If there is no move, or one that changes nothing.
    """

    changes: Tensor
    propensities: Callable[[Tensor, Tensor], Tensor]
    least: int = 0
    most: int | None = None
    allowed: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.changes.ndim < 2 or self.changes.dtype != torch.int64:
            raise ValueError(
                "changes must be whole numbers (moves, *event) as int64, not "
                f"{tuple(self.changes.shape)} of {self.changes.dtype}"
            )
        still = ~(self.changes != 0).flatten(1).any(1)
        if not len(self.changes) or bool(still.any()):
            raise ValueError(
                "each move must change something: leave out "
                f"{still.nonzero().flatten().tolist()} of {len(self.changes)} changes"
            )
        if self.most is not None and self.most <= self.least:
            raise ValueError(f"most must be above least = {self.least}, not {self.most}")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.changes.shape[1:])

    @property
    def labels(self) -> int:
        return len(self.changes)

    def moves(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1) + self.changes.to(x.device)

    def origins(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1) - self.changes.to(x.device)

    def possible(self, x: Tensor) -> Tensor:
        inside = x >= self.least
        if self.most is not None:
            inside = inside & (x <= self.most)
        inside = inside.flatten(1).all(1)
        return inside if self.allowed is None else inside & self.allowed(x)

    def rates(self, x: Tensor, t: Tensor) -> Tensor:
        stays = self.possible(self.moves(x).flatten(0, 1)).reshape(len(x), self.labels)
        return torch.where(stays, self._asked(x, t), 0.0)

    def inward(self, x: Tensor, t: Tensor) -> Tensor:
        # Of a move that leads to x nobody has to ask whether it leads to a state.
        origins = self.origins(x).flatten(0, 1)
        possible = self.possible(origins)
        which = torch.arange(self.labels, device=x.device).repeat(len(x))[possible]
        rates = self._asked(origins[possible], t.repeat_interleave(self.labels)[possible])
        found = torch.zeros(len(origins), dtype=torch.float64, device=x.device)
        found[possible] = rates.gather(1, which.unsqueeze(1)).squeeze(1)
        return found.reshape(len(x), self.labels)

    def _asked(self, x: Tensor, t: Tensor) -> Tensor:
        rates = self.propensities(x, t)
        if not isinstance(rates, Tensor) or rates.shape != (len(x), self.labels):
            raise ValueError(
                f"propensities must return rates {(len(x), self.labels)}, (batch, moves), not "
                f"{checks.shown(getattr(rates, 'shape', rates))}"
            )
        return rates.double()


def stated(dynamics: JumpDynamics, x: Tensor, t: Tensor) -> Tensor:
    """The rates of a dynamics, (batch, M) float64, checked to be rates.

    Raises:
        ValueError: If they are of another shape, negative or not finite.
    """
    rates = dynamics.rates(x, t)
    if rates.shape != (len(x), dynamics.labels):
        raise ValueError(
            f"rates of {type(dynamics).__name__} must be {(len(x), dynamics.labels)}, "
            f"(batch, moves), not {tuple(rates.shape)}"
        )
    good = rates.isfinite() & (rates >= 0)
    if not bool(good.all()):
        row, move = (int(i) for i in (~good).nonzero()[0])
        raise ValueError(
            f"the rate of move {move} of {type(dynamics).__name__} is "
            f"{rates[row, move].item():g} at t = {t[row].item():.4g}: rates must be finite and at "
            "least 0, and 0 where a move is impossible"
        )
    return rates.double()


def rows_of(x: Tensor, shape: tuple[int, ...], name: str = "x") -> Tensor:
    """The states, which must be (batch, *shape).

    Raises:
        ValueError: If they are not.
    """
    if x.ndim < 1 or tuple(x.shape[1:]) != shape:
        raise ValueError(f"{name} must be {('batch', *shape)}, not {tuple(x.shape)}")
    return x


def states_of(dynamics: JumpDynamics, x: Tensor, name: str = "x") -> Tensor:
    """States of a dynamics, (batch, *event).

    Raises:
        ValueError: If they are none, naming the first that is not.
    """
    bad = ~dynamics.possible(rows_of(x, dynamics.shape, name))
    if bool(bad.any()):
        raise ValueError(
            f"{name} holds {checks.shown(x[bad][0].tolist())}, which is no state of "
            f"{type(dynamics).__name__}: see its `possible`"
        )
    return x


doors.guard(__name__, inside=("rows_of", "stated", "states_of"))
