"""Joint processes that can be enumerated: moves of several sites, exact in everything.

States of the whole event are listed, and a chain runs on their numbers. To the chain an event is
one site, so that `FiniteChain`, its bridges, models, samplers, likelihoods and `exact.Reverse`
know nothing of sites, and need not: `number` turns events into states of the chain, `event` turns
them back. A few thousand states are the limit of the chain; some hundred, where rates change with
time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes import FiniteChain
from markovbridge.processes.finite import FiniteProcess
from markovbridge.processes.schedules import Schedule, SurvivalSchedule
from markovbridge.simulated.dynamics import JumpDynamics, rows_of, stated
from markovbridge.simulated.sources import positions

MOST = 4096
SAME = 1e-9  # relative difference of rates at two times that are one
# When rates are looked at: no period has all of them in step.
LOOKS = (0.5, 0.0, 1.0, *((k * (math.sqrt(5) - 1) / 2) % 1 for k in range(1, 30)))


@dataclass(frozen=True, eq=False)
class Enumerated:
    """A chain on listed events.

    Attributes:
        states: The events, (S, *event) whole numbers, none twice.
        chain: A process on 0 .. S-1.

    Raises:
        ValueError: If the chain has another number of states, or one is listed twice.
    """

    states: Tensor
    chain: FiniteProcess

    def __post_init__(self) -> None:
        if self.chain.size != len(self.states):
            raise ValueError(
                f"the chain has {self.chain.size} states, but {len(self.states)} are listed"
            )
        positions(self.states, self.states)

    @classmethod
    def of(
        cls, dynamics: JumpDynamics, start: Tensor, schedule: Schedule | None = None
    ) -> Enumerated:
        """The chain of a dynamics, on all states that it reaches.

        Args:
            dynamics: Any. Rates that change with time make a chain whose rates are a function of
                it, which has some hundred states at most.
            start: States to start from, (n, *event): all data.
            schedule: The clock; None is that of the dynamics itself, 1 - t at time t. Where rates
                change with time it says when training looks, and not how fast the chain moves.

        Raises:
            ValueError: If there are more than 4096 states, or rates that change with time take
                too much memory.
        """
        states = reachable(dynamics, start)
        clock = SurvivalSchedule(_left, _lost) if schedule is None else schedule
        first, *others = (stated(dynamics, states, _at(t, states)) for t in LOOKS)
        if all(torch.allclose(rates, first, rtol=SAME, atol=0) for rates in others):
            return cls(states, FiniteChain(rate_matrix(dynamics, states, 0.5), clock))
        return cls(states, FiniteChain(lambda t: rate_matrix(dynamics, states, t), clock))

    def number(self, x: Tensor) -> Tensor:
        """Events (batch, *event) as states of the chain, (batch, 1).

        Raises:
            ValueError: If one is not listed, naming it.
        """
        x = rows_of(x, tuple(self.states.shape[1:]))
        return positions(self.states.to(x.device), x).unsqueeze(1)

    def event(self, number: Tensor) -> Tensor:
        """States of the chain (batch, 1) as events, (batch, *event)."""
        return self.states.to(number.device)[self.chain.check(number).reshape(-1)]

    def law(self, x: Tensor) -> Tensor:
        """Shares of the listed states among events (batch, *event): (S,) float64."""
        counts = torch.bincount(self.number(x).squeeze(1), minlength=len(self.states)).double()
        return counts / counts.sum()


def reachable(dynamics: JumpDynamics, start: Tensor, most: int = MOST) -> Tensor:
    """All states that moves lead to, whatever the time, those of `start` among them.

    Args:
        dynamics: The process; which moves are possible is asked at times spread over [0, 1].
        start: States to start from, (n, *event).
        most: How many there may be.

    Returns:
        The states in lexical order, (S, *event).

    Raises:
        ValueError: If there are more.
    """
    checks.whole(most, "most", least=1)
    known = rows_of(start, dynamics.shape, "start").unique(dim=0)
    front = known
    while len(front):
        moves = dynamics.moves(front).flatten(0, 1)
        ever = torch.zeros(len(moves), dtype=torch.bool, device=front.device)
        for t in LOOKS:
            ever |= stated(dynamics, front, _at(t, front)).flatten() > 0
        found = moves[ever].unique(dim=0)
        new = found[positions(known, found, missing=True) < 0]
        known, front = torch.cat([known, new]), new
        if len(known) > most:
            raise ValueError(
                f"there are more than {most} states: they cannot be listed, but simulated"
            )
    return known.unique(dim=0)


def rate_matrix(dynamics: JumpDynamics, states: Tensor, t: float) -> Tensor:
    """Rates between listed states at time t, rows from, columns to; rows sum to 0: (S, S).

    Raises:
        ValueError: If a move leads to a state that is not listed, naming it.
    """
    rates = stated(dynamics, rows_of(states, dynamics.shape, "states"), _at(t, states))
    row, move = (rates > 0).nonzero(as_tuple=True)
    column = positions(states, dynamics.moves(states)[row, move])
    matrix = torch.zeros(len(states), len(states), dtype=torch.float64)
    matrix.index_put_((row, column), rates[row, move], accumulate=True)
    matrix.fill_diagonal_(0.0)
    return matrix - torch.diag(matrix.sum(1))


def _at(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64, device=x.device)


def _left(t: Tensor) -> Tensor:
    return torch.exp(t - 1)


def _lost(t: Tensor) -> Tensor:
    return -torch.expm1(t - 1)


doors.guard(__name__)
