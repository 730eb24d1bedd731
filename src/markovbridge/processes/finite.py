r"""Chains on finitely many states: everything follows from transition probabilities.

A chain is stated from data to source. With P(s->t)[v, w] = P(x_t = w | x_s = v)
for t <= s, and v, w in 0 .. S-1,

    bridge        p(x_t = v | x_s = x, x_u = y)  ∝  P(u->t)[y, v] P(t->s)[v, x]
    pinned rate   λ_y(x -> x')  =  r(x' -> x) P(1->t)[y, x'] / P(1->t)[y, x] · p'/p
    model rate    λ(x -> x')    =  r(x' -> x) Σ_y g_y P(1->t)[y, x'] · p'/p,
                                   g_y = law(y) / P(1->t)[y, x]

where r are the rates of the chain on the clock of `processes.clock` (Santos et
al., https://arxiv.org/abs/2305.11089: the rate of the reverse process is that of
the chain times a ratio of marginals, and the ratio is a posterior average).

A process says how rows, columns and products with P are made, `log_rows`,
`log_columns` and `push`; the rest is here, once. `TableProcess` does it for those
that have whole tables P, one for each time. Rates that change with time are
those of the formulas at t: `inward` and `largest` are told it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Categorical, Law
from markovbridge.processes.base import DiscreteProcess, Setting
from markovbridge.processes.baselines import Baseline, Pairing, Values
from markovbridge.processes.clock import instant, match, speed
from markovbridge.processes.jumps import Bounds, JumpProcess
from markovbridge.processes.motion import Tables
from markovbridge.processes.schedules import Time

LOOKS = 65  # times at which the pace of the clock is looked at


class FiniteProcess(DiscreteProcess):
    """A chain on the states 0 .. size-1, from the data to the source."""

    noun: ClassVar[str] = "chain"

    ordered: bool
    """Whether states are amounts: one standardised number for the network, or one-hot."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many states the chain has; data take the first `states` of them."""

    @property
    @abstractmethod
    def states(self) -> int:
        """How many values the data have, 0 .. states-1."""

    @abstractmethod
    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log P(x_t = v | x_s = x) for each v and t <= s: (batch, *event, size)."""

    @abstractmethod
    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Log P(x_t = x | x_s = v) for each v and t <= s: (batch, *event, size)."""

    @abstractmethod
    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Σ_v weights_v P(x_t = w | x_s = v) for each w: (batch, *event, size)."""

    @abstractmethod
    def log_stationary(self) -> Tensor:
        """Log-probabilities of the law the chain forgets to, (size,) float64.

        Raises:
            ValueError: If it depends on where the chain started.
        """

    def usual(self) -> Tensor:
        """The law at t = 0 by which features are scaled, (size,) float64: the stationary one."""
        return self.log_stationary().exp()

    def transition(self, x: Tensor, s: Time, t: Time) -> Categorical:
        """The law of x_t given x_s = x, for t <= s.

        Raises:
            ValueError: If t > s: towards the data the law depends on the data.
        """
        t, s = self.schedule.ordered(t, s)
        return Categorical(self.log_rows(x, s, t))

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Categorical:
        """The law of x_t given x_s = x and x_u = y, for s <= t <= u.

        Raises:
            ValueError: If times are not ordered, or x cannot be reached from y.
        """
        s, t, u = self.schedule.ordered(s, t, u)
        logits = self.log_rows(y, u, t)
        logits += self.log_columns(x, t, s)
        impossible = logits.amax(-1) == -torch.inf
        if bool(impossible.any()):
            raise ValueError(
                f"there is no bridge between {x[impossible][0].item()} and "
                f"{y[impossible][0].item()}: the chain cannot go from the state at the later "
                "time to the state at the earlier one"
            )
        return Categorical(logits)

    def source(self, like: Tensor) -> Categorical:
        """The stationary law at every site."""
        logits = self.log_stationary().to(like.device, torch.float32)
        return Categorical(logits.expand(*like.shape, self.size))

    def evidence(self, x: Tensor, t: Time) -> Tensor:
        """Log P(x_t = x | x_1 = v) for each value v of the data: (batch, *event, states)."""
        return self.log_columns(x, 1.0, self.schedule.at(t))[..., : self.states]

    @property
    def features(self) -> int:
        """For ordered states the number, and whether it is none of the data's; else one-hot."""
        return 1 + (self.size > self.states) if self.ordered else self.size

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - m)/√v, or one-hot states scaled by the stationary law.

        A site shows the data with share p, else the stationary law (m_π, v_π over the values
        of the data, of total mass w): with k = p/(p + qw), m = kμ + (1-k)m_π and
        v = k(σ² + μ²) + (1-k)(v_π + m_π²) - m², exact for chains that keep or redraw and about
        right for others; v = k²σ² + (1-k²)v_π for additive ones, exact for Ehrenfest's urn.
        States the data never take, a mask, are zero, with a one beside it.
        """
        t = self.schedule.at(t)
        law = self.usual().to(x.device, torch.float32)
        if not self.ordered:
            spread = (law * (1 - law)).clamp_min(0.25 / self.size).sqrt()
            return ((F.one_hot(x, self.size) - law) / spread).movedim(-1, 1)
        values, shown = torch.arange(self.states, device=x.device), law[: self.states]
        weight = shown.sum()
        shown = shown / weight.clamp_min(1e-12)
        first, second = (shown * values).sum(), (shown * values**2).sum()
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).to(torch.float32)
        k = p / (p + q * weight).clamp_min(1e-12)
        mean, variance = setting.mean, setting.variance
        centre = k * mean + (1 - k) * first
        if self.additive:
            spread = k**2 * variance + (1 - k) * (1 + k) * (second - first**2)
        else:
            spread = k * (variance + mean**2) + (1 - k) * second - centre**2
        value = (x - centre) / spread.clamp_min(1e-6).sqrt()
        if self.size == self.states:
            return value.unsqueeze(1)
        other = x >= self.states
        return torch.stack([torch.where(other, 0.0, value), other.to(value.dtype)], 1)

    def project(self, x: Tensor) -> Tensor:
        """Cut at the first and last state, for samplers that add jumps up."""
        return x.clamp(0, self.size - 1)


class FiniteJumpProcess(FiniteProcess, JumpProcess):
    """A finite chain in continuous time. Its jumps lead to any state, unless it says else."""

    clocked: bool = True
    """Whether `inward` is per unit of the clock -log p, and constant on it, or of time."""

    @abstractmethod
    def inward(self, x: Tensor, t: Time) -> Tensor:
        """Rates of the chain at t from each of `moves(x)` into x: (batch, *event, jumps) float64.

        Per unit of the clock or, if not `clocked`, of time; 0 where the move is x itself.
        """

    def largest(self, x: Tensor, early: float, late: float) -> Tensor:
        """Upper bounds of `inward` between two times: (batch, *event, jumps) float64.

        Raises:
            TypeError: If rates change with time and the process states no bound of them.
        """
        if not self.clocked:
            raise TypeError(
                f"the rates of {type(self).__name__} change with time and it states no bound of "
                "them (`largest`), so its jumps cannot be simulated one by one: take Bridge()"
            )
        return self.inward(x, late)

    def moves(self, x: Tensor) -> Tensor:
        """All states, (batch, *event, size)."""
        return torch.arange(self.size, device=x.device).expand(*x.shape, self.size)

    def rates(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Rates of `moves` for the chain pinned at x_1 = y: (batch, *event, jumps)."""
        t = self.schedule.at(t)
        rows = self.log_rows(y, 1.0, t)
        here = rows.gather(-1, x.unsqueeze(-1))
        ratio = _take(rows, self.moves(x)) - torch.where(here == -torch.inf, torch.inf, here)
        return _exp(ratio) * self._clocked(x, t, ratio)

    def expected_rates(self, law: Law, x: Tensor, t: Time) -> Tensor:
        """`rates` averaged over x_1 ~ law, at the cost of one product with P per site."""
        t = self.schedule.at(t)
        log_law = law.site_table(x, self.states)
        seen = self.evidence(x, t).to(log_law)
        possible = (log_law > -torch.inf) & (seen > -torch.inf)
        log_g = torch.where(possible, log_law - seen, -torch.inf)
        top = log_g.detach().amax(-1, keepdim=True).clamp_min(-1e30)
        weights = F.pad((log_g - top).exp(), (0, self.size - self.states))
        ratio = _take(self.push(weights, 1.0, t), self.moves(x)) * _exp(top)
        return ratio * self._clocked(x, t, ratio)

    def bounds(self, high: float, low: float) -> Bounds:
        r"""Bounds on the total pinned rate while the clock runs from high down to low.

        For low <= τ <= high a state is kept with probability at least exp(-exit (τ - low)), so
        P_τ[y, x] >= e^{-exit_x (τ - low)} P_low[y, x] and P_τ[y, x'] <= e^{exit_x' (high - τ)}
        P_high[y, x']: the rate is at most
        r(x' -> x) e^{(exit_x + exit_x')(high - low)} P_high[y, x'] / P_low[y, x].
        Where rates change with time, r and exit are the largest of the window.
        """
        early, late = instant(self.schedule, torch.tensor([high, low]).double()).tolist()
        span, pace = (
            (high - low, 1.0) if self.clocked else (late - early, self._slowest(early, late))
        )
        x, y = torch.arange(self.size).unsqueeze(1), torch.arange(self.states).unsqueeze(1)
        inward = self.largest(x, early, late)[:, 0]
        moves = self.moves(x)[:, 0].clamp(0, self.size - 1)
        rates = torch.zeros(self.size, self.size, dtype=torch.float64)
        rates = rates.index_put_((moves, x.expand_as(moves)), inward, accumulate=True)
        exits = rates.sum(1)
        before, after = self.log_rows(y, 1.0, early)[:, 0], self.log_rows(y, 1.0, late)[:, 0]
        growth = (exits.unsqueeze(1) + exits[moves]) * span
        possible = (after > -torch.inf).unsqueeze(-1)
        log = torch.where(possible, before[:, moves] - after.unsqueeze(-1) + growth, -torch.inf)
        table = (inward * _exp(log)).sum(-1).amax(0) / pace
        return Bounds(lambda x: table.to(x.device)[x], float(table.max()))

    def _slowest(self, early: float, late: float) -> float:
        """A lower bound on the units of the clock per unit of time, between two times."""
        times = torch.linspace(early, late, LOOKS, dtype=torch.float64)
        # It falls with time under every schedule here; a function of the user's may do otherwise.
        return 0.95 * float(speed(self.schedule, times).min())

    def baseline(
        self, coupling: Pairing, x1: Tensor, x0: Tensor | None, end: float
    ) -> Baseline | None:
        """The histogram of the values, unless what is left at the source depends on the data."""
        if not self.clocked:  # survival says nothing of what is left
            return super().baseline(coupling, x1, x0, end)
        return (
            None
            if float(self.schedule.survival(0.0)) > 0
            else Values(self.evidence, self.states, x1)
        )

    def _clocked(self, x: Tensor, t: Tensor, like: Tensor) -> Tensor:
        inward = self.inward(x, t).to(like)
        if not self.clocked:
            return inward
        return inward * match(speed(self.schedule, t), x).to(like).unsqueeze(-1)


class TableProcess(FiniteProcess):
    """A finite chain that makes whole transition matrices, one for each pair of times."""

    @abstractmethod
    def tables(self, s: Tensor, t: Tensor) -> Tensor:
        """P(s->t) for pairs of times t <= s: (T,), (T,) to (T, size, size) float64."""

    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Rows of the tables, gathered for each site."""
        return Tables(self.schedule, self.size, self.tables).log_rows(x, s, t)

    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Columns of the tables, gathered for each site."""
        return Tables(self.schedule, self.size, self.tables).log_columns(x, s, t)

    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Products with the tables."""
        return Tables(self.schedule, self.size, self.tables).push(weights, s, t)


def _exp(log: Tensor) -> Tensor:
    """exp, with room to multiply: ratios of probabilities stay finite at impossible states."""
    return log.clamp_max(0.5 * math.log(torch.finfo(log.dtype).max)).exp()


def _take(values: Tensor, moves: Tensor) -> Tensor:
    """Values at the states of moves; all of them, in order, need no gathering."""
    if moves.shape[-1] == values.shape[-1]:
        return values
    return values.gather(-1, moves.clamp(0, values.shape[-1] - 1))


doors.guard(__name__)
