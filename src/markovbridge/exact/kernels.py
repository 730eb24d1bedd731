r"""The exact output law of a sampler on a small state space, without Monte Carlo.

Given the law of x_1 at every state, what a sampler does in a step is known: each site moves on
its own given the states at which the sampler looks, so the law after a step that looks once is
Σ_x P(x) Π_i k_i(x'_i | x), and after one that looks again at x_m

    Σ_x P(x) Σ_{x_m} Π_i k_i(x_m,i | x) Π_i l_i(x'_i | x, x_m).

Chaining the steps of a grid gives the law of the samples, and its distance from the data law is
the error of the sampler with a perfect network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Law, SiteLaw
from markovbridge.processes.base import Process
from markovbridge.processes.clock import Cut, cut
from markovbridge.processes.jumps import JumpProcess
from markovbridge.samplers import (
    Bridge,
    Model,
    Sampler,
    SecondOrderBridge,
    TauLeaping,
    Trapezoidal,
)
from markovbridge.samplers.rates import sound
from markovbridge.samplers.second_order import leaps

PAIRS = 20_000  # of states followed at once
LEAST = 1e-14  # mass of a pair of states that is still followed
TAIL = 1e-13  # of a Poisson law that is left out


def bridge_kernel(
    process: Process,
    law: SiteLaw,
    x: Tensor,
    t: float,
    s: float,
    ends: int,
    *,
    values: Tensor | None = None,
) -> Tensor:
    """Probabilities of x_s at each site after one step of the bridge sampler.

    Args:
        process: The process, on the states 0, 1, 2, ..., the same at every site.
        law: Law of x_1 per site, given x_t = x.
        x: States at t, (batch, *event).
        t: Time now.
        s: Time after the step.
        ends: Values 0 .. ends-1 of x_1 carry the law (beyond, its mass is left out).
        values: States in a row whose probabilities are asked for, 0 .. ends-1 if None.

    Returns:
        (batch, *event, values): probabilities of x_s, after projection to the state space.
    """
    values = torch.arange(ends) if values is None else values
    weights = torch.stack([law.site_log_prob(torch.full_like(x, v)) for v in range(ends)], -1)
    weights = weights.double().exp().reshape(-1, ends)
    starts, which = x.reshape(-1).unique(return_inverse=True)
    # A bridge exists towards possible ends only.
    possible = torch.zeros(len(starts), ends).index_add_(0, which, (weights > 0).float()) > 0
    start, end = possible.nonzero(as_tuple=True)
    first = starts[start].unsqueeze(1).expand(-1, len(values))
    last = end.unsqueeze(1).expand(-1, len(values))
    bridge = process.bridge(first, last, t, s, 1.0)
    assert isinstance(bridge, SiteLaw)
    move = bridge.site_log_prob(values.expand_as(first)).double().exp()
    moved = weights.new_zeros(len(weights), len(values))
    for index in range(len(starts)):
        here = which == index
        moved[here] = weights[here][:, possible[index]] @ move[start == index]
    at = (process.project(values) - values[0]).clamp(0, len(values) - 1)
    kernel = torch.zeros_like(moved).index_add_(1, at, moved)
    return kernel.reshape(*x.shape, len(values))


def output_law(
    model: Model,
    grid: Sequence[float],
    *,
    states: int,
    sites: int,
    ends: int | None = None,
    start: Tensor | None = None,
    sampler: Sampler | None = None,
    low: int = 0,
) -> Tensor:
    """The law of a sampler's samples: a table (states,) * sites.

    Args:
        model: A process on integers and a law per site of x_1.
        grid: Times from where sampling starts to the data.
        states: Number of states per site, low .. low + states - 1, that hold the mass.
        sites: Number of sites; the table has states^sites entries.
        ends: How many values of x_1 to sum over, `states` if None: more for a law with mass
            above the maximum, fewer if the data have fewer.
        start: Law of the state at the first time, a table like the result; all at zero, the
            black state, if None.
        sampler: `Bridge` if None, or `TauLeaping`, `Trapezoidal` or `SecondOrderBridge`.
        low: The lowest state.

    Raises:
        TypeError: If what another sampler does is not known in this way.
    """
    sampler = Bridge() if sampler is None else sampler
    for name, value in (("states", states), ("sites", sites), ("ends", ends)):
        if value is not None:
            checks.whole(value, name, least=1)
    space = _Space(model, low, states, states if ends is None else ends)
    axes = torch.meshgrid(*[torch.arange(low, low + states)] * sites, indexing="ij")
    every = torch.stack([axis.reshape(-1) for axis in axes], -1)
    if start is None:
        mass = torch.zeros(states**sites, dtype=torch.float64)
        mass[int((every == 0).all(1).nonzero())] = 1.0
    else:
        mass = start.reshape(-1).double()
    for t, s in zip(grid, grid[1:], strict=False):
        alive = mass > 0
        x, weights = every[alive], mass[alive]
        parts = _looks_again(sampler, model.process, x, t, s)
        if parts is None:
            mass = _together(weights, space.once(sampler, x, t, s))
        else:
            mass = _twice(space, sampler, every, x, weights, (t, parts, s))
    lost = 1 - float(mass.sum())
    assert math.isclose(lost, 0, abs_tol=1e-6), f"mass {lost} lies outside what is summed"
    return mass.reshape((states,) * sites)


def _looks_again(
    sampler: Sampler, process: Process, x: Tensor, t: float, s: float
) -> float | None:
    """The inner time at which a step looks again, None if it does not."""
    if isinstance(sampler, Bridge | TauLeaping):
        return None
    if isinstance(sampler, SecondOrderBridge):
        return cut(process.schedule, "survival", t, s, sampler.theta).middle
    if not isinstance(sampler, Trapezoidal):
        raise TypeError(f"the output law of {type(sampler).__name__} is not known step by step")
    assert isinstance(process, JumpProcess)
    if not leaps(process, x, t, s):
        return None
    return cut(process.schedule, process.pace, t, s, sampler.theta).middle


def _together(weights: Tensor, kernel: Tensor) -> Tensor:
    """Σ_n weights_n Π_i kernel[n, i, .]: one axis for each site, flattened."""
    letters = "abcdefgh"[: kernel.shape[1]]
    spec = "z," + ",".join(f"z{c}" for c in letters) + "->" + letters
    return torch.einsum(spec, weights, *kernel.unbind(1)).reshape(-1)


def _twice(
    space: _Space,
    sampler: Sampler,
    every: Tensor,
    x: Tensor,
    weights: Tensor,
    times: tuple[float, float, float],
) -> Tensor:
    """The law after a step that looks again."""
    moved = torch.zeros(len(every), dtype=torch.float64)
    for rows in torch.arange(len(x)).split(max(1, 50 * PAIRS // len(every))):
        kernel = space.look(sampler, x[rows], times)
        pairs = torch.stack(
            [_together(torch.ones(1).double(), k.unsqueeze(0)) for k in kernel]
        ) * weights[rows].unsqueeze(1)
        row, column = (pairs > LEAST).nonzero(as_tuple=True)
        for part in torch.arange(len(row)).split(PAIRS):
            here, there = x[rows[row[part]]], every[column[part]]
            rest = space.rest(sampler, here, there, times)
            moved += _together(pairs[row[part], column[part]], rest)
    return moved


class _Space:
    """What samplers do to the states low .. low + states - 1 of a site."""

    def __init__(self, model: Model, low: int, states: int, ends: int) -> None:
        self.model, self.process, self.ends = model, model.process, ends
        self.values = torch.arange(low, low + states)

    def law(self, x: Tensor, t: float) -> Law:
        return self.model.law(x, t)

    def once(self, sampler: Sampler, x: Tensor, t: float, s: float) -> Tensor:
        """(n, sites, states) after a step that looks once."""
        law = self.law(x, t)
        still = float(self.process.schedule.survival(t)) == 0
        if not isinstance(sampler, TauLeaping) or still or s >= 1:
            return self._bridge(law, x, t, s)
        assert isinstance(self.process, JumpProcess)
        rates = sound(self.process.expected_rates(law, x, t), t)
        return self._land(x, _leapt(_still(x), self._by(x), rates * (s - t)))

    def look(self, sampler: Sampler, x: Tensor, times: tuple[float, float, float]) -> Tensor:
        """(n, sites, states) at the inner time."""
        t, middle, s = times
        law = self.law(x, t)
        if isinstance(sampler, SecondOrderBridge):
            return self._bridge(law.table(), x, t, middle)
        process, parts = self._cut(sampler, t, s)
        expected = sound(process.strengths(law, x, t), t) / parts.units[0] * parts.before
        return self._land(x, _leapt(_still(x), self._by(x), expected))

    def rest(
        self, sampler: Sampler, x: Tensor, x_m: Tensor, times: tuple[float, float, float]
    ) -> Tensor:
        """(n, sites, states) at the end of the step."""
        t, middle, s = times
        first, second = self.law(x, t), self.law(x_m, middle)
        if isinstance(sampler, SecondOrderBridge):
            assert isinstance(self.process, JumpProcess)
            rest = sampler.rest(
                self.process, first.table(), second.table(), x, x_m, (t, middle, s)
            )
            table = self._bridge(rest.end, x_m, middle, s)
            if rest.kept is None or rest.more is None:
                return table
            steps = _thinned(x_m, self.values, table, self._by(x_m), rest.kept)
            return self._land(x_m, _leapt(steps, self._by(x_m), rest.more))
        assert isinstance(sampler, Trapezoidal)
        process, parts = self._cut(sampler, t, s)
        rates = sampler.extrapolate(
            sound(process.strengths(first, x, t), t) / parts.units[0],
            sound(process.strengths(second, x_m, middle), middle) / parts.units[1],
        )
        return self._land(x_m, _leapt(_still(x_m), self._by(x_m), rates * parts.after))

    def _cut(self, sampler: Sampler, t: float, s: float) -> tuple[JumpProcess, Cut]:
        assert isinstance(self.process, JumpProcess) and isinstance(sampler, Trapezoidal)
        process = self.process
        return process, cut(process.schedule, process.pace, t, s, sampler.theta)

    def _by(self, x: Tensor) -> Tensor:
        assert isinstance(self.process, JumpProcess)
        return self.process.moves(x) - x.unsqueeze(-1)

    def _bridge(self, law: Law, x: Tensor, t: float, s: float) -> Tensor:
        assert isinstance(law, SiteLaw), "the output law needs a law per site"
        last = max(int(self.values[-1]) + 1, self.ends)
        values = torch.arange(int(self.values[0]), last)
        kernel = bridge_kernel(self.process, law, x, t, s, self.ends, values=values)
        return kernel[..., : len(self.values)]

    def _land(self, x: Tensor, steps: Tensor) -> Tensor:
        """Probabilities of states from those of displacements (n, sites, 2K + 1)."""
        k = (steps.shape[-1] - 1) // 2
        at = self.process.project(x.unsqueeze(-1) + torch.arange(-k, k + 1)) - self.values[0]
        inside = (at >= 0) & (at < len(self.values))
        out = steps.new_zeros(*x.shape, len(self.values))
        return out.scatter_add_(-1, torch.where(inside, at, 0), torch.where(inside, steps, 0.0))


def _still(x: Tensor) -> Tensor:
    """Probabilities of displacements -K .. K for K = 0: (n, sites, 1)."""
    return torch.ones(*x.shape, 1, dtype=torch.float64)


def _leapt(steps: Tensor, by: Tensor, expected: Tensor) -> Tensor:
    """Displacements after Poisson numbers of further steps of one, (n, sites, 2K + 1)."""
    most = float(expected.max()) if expected.numel() else 0.0
    jumps, tail = 0, 1.0
    while tail > TAIL:  # a bound on the Poisson tail beyond `jumps`, once beyond the mean
        jumps += 1
        over = jumps > most > 0
        tail = math.exp(jumps - most + jumps * math.log(most / jumps)) if over else float(most > 0)
    for move in range(by.shape[-1]):
        mean = expected[..., move].double()
        sign = by[..., move].sign()
        longer = steps.new_zeros(*steps.shape[:-1], steps.shape[-1] + 2 * jumps)
        forward, backward = longer.clone(), longer
        for n in range(jumps + 1):
            each = (torch.xlogy(torch.tensor(float(n)), mean) - mean - math.lgamma(n + 1)).exp()
            moved = steps * each.unsqueeze(-1)
            forward[..., jumps + n : jumps + n + steps.shape[-1]] += moved
            backward[..., jumps - n : jumps - n + steps.shape[-1]] += moved
        steps = torch.where(sign.unsqueeze(-1) > 0, forward, backward)
    return steps


def _thinned(x: Tensor, values: Tensor, table: Tensor, by: Tensor, kept: Tensor) -> Tensor:
    """Displacements of a table of states (n, sites, values), each of their steps kept or not."""
    reach = int(torch.maximum(x - values[0], values[-1] - x).max())
    steps = table.new_zeros(*x.shape, 2 * reach + 1)
    for index, value in enumerate(values.tolist()):
        apart = value - x
        share = torch.ones_like(table[..., 0])
        for move in range(by.shape[-1]):
            along = apart * by[..., move] > 0
            share = torch.where(along, kept[..., move].double(), share)
        far = apart.abs()
        for n in range(int(far.max()) + 1):
            rest = (far - n).clamp_min(0)
            ways = torch.lgamma(far + 1.0) - math.lgamma(n + 1) - torch.lgamma(rest + 1.0)
            each = ways.double().exp() * share**n * (1 - share) ** rest * (n <= far)
            at = (reach + apart.sign() * n).unsqueeze(-1)
            steps.scatter_add_(-1, at, (table[..., index] * each).unsqueeze(-1))
    return steps


doors.guard(__name__)
