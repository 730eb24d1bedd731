"""Second order on categories, exactly: what jumps that compete leave of it, without Monte Carlo.

    python benchmarks/second_order_categories.py

Two sites of three categories that are alike with odds 1 : ε, a perfect network with a table for
each. A step is a matrix over pairs of states, the sum over where it looked again, so that the law
of the samples is a product of matrices. Printed are total variation to the data and the order from
each number of steps to the next, of three samplers:

- `Bridge`, one look a step;
- `SecondOrderBridge`, two;
- the θ-trapezoidal leap as it would be for categories, two: a site jumps once at most before the
  inner time and once after it, with rates extrapolated at sites that have not moved and those of
  the inner time, times a, at those that have; at both ends of time a step of the bridge.

Both of second order are so where nothing has to be cut off at 0, that is where a jump elsewhere
leaves the rates of a site more than half of what they were (ε = 0.7). Where it leaves less, what
is cut off is an error of first order. Positive weights alone would not do: sites that leap on
their own jump together with probability h²(θ² + (1 - θ)²) λμ, and it is the subtraction that takes
it back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import exact
from markovbridge.laws import Categorical, Table
from markovbridge.processes.clock import cut
from markovbridge.samplers import SecondOrderBridge
from markovbridge.samplers.second_order import weight

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from problems_chains import random_rates

VALUES = 3
STEPS = (4, 8, 16, 32, 64)
EARLIEST = 1e-9
ODDS = (0.7, 0.5, 0.3, 0.02)
CHAINS = {
    "uniform": lambda: mb.UniformChain(VALUES),
    "absorbing": lambda: mb.AbsorbingChain(VALUES),
    "rates": lambda: mb.FiniteChain(random_rates(VALUES, 1) * 2),
    "grey levels": lambda: mb.DiscretisedGaussianChain(VALUES),
}


def data_law(odds: float) -> Tensor:
    """The law of the data, (VALUES, VALUES)."""
    law = torch.full((VALUES, VALUES), odds, dtype=torch.float64).fill_diagonal_(1.0)
    law = law * torch.tensor([1.0, 2.0, 0.7]).double().unsqueeze(1)
    return law / law.sum()


class World:
    """A chain, the states of its two sites, and what a perfect network says of them."""

    def __init__(self, process: mb.FiniteChain | mb.UniformChain, odds: float) -> None:
        self.process, self.size, self.data = process, process.size, data_law(odds)
        self.states = torch.cartesian_prod(*[torch.arange(self.size)] * 2)
        points = torch.cartesian_prod(*[torch.arange(VALUES)] * 2)
        self._law = exact.Empirical(process, points, self.data.flatten(), states=VALUES)

    def law(self, t: float) -> Table:
        """Tables of x_1 at every state."""
        t = max(t, EARLIEST)  # at 0 a chain that masks has states which no data come to
        return self._law(self.states, torch.tensor(t, dtype=torch.float64)).table()

    def bridge(self, t: float, s: float) -> Tensor:
        """p(x_s | x_t, x_1) of a site: (x_t, x_1, x_s); 0 where there is none."""
        out = torch.zeros(self.size, VALUES, self.size, dtype=torch.float64)
        at = [torch.tensor(u, dtype=torch.float64) for u in (t, s, 1.0)]
        for x in range(self.size):
            for y in range(VALUES):
                try:
                    law = self.process.bridge(torch.tensor([[x]]), torch.tensor([[y]]), *at)
                except ValueError:
                    continue
                out[x, y] = law.log_probs[0, 0].exp()
        return out

    def rates(self, t: float) -> Tensor:
        """Rates of every state to every value of a site, per unit of time."""
        x, at = self.states, torch.tensor(t, dtype=torch.float64)
        found = self.process.expected_rates(self.law(t), x, at)
        moves, out = self.process.moves(x), torch.zeros(*x.shape, self.size).double()
        out.scatter_add_(-1, moves, torch.where(moves == x.unsqueeze(-1), 0.0, found.double()))
        return out


def both(sites: Tensor) -> Tensor:
    """Laws of two sites that move on their own, (n, 2, S) to (n, S²)."""
    return torch.einsum("na,nb->nab", sites[:, 0], sites[:, 1]).flatten(1)


def bridge_step(world: World, t: float, s: float) -> Tensor:
    """`Bridge` from t to s: a matrix over pairs of states."""
    ends = world.law(t).log_probs.exp()
    return both(torch.einsum("niy,niyz->niz", ends, world.bridge(t, s)[world.states]))


def second_step(world: World, t: float, s: float) -> Tensor:
    """`SecondOrderBridge`, likewise."""
    sampler, n = SecondOrderBridge(), len(world.states)
    middle = cut(world.process.schedule, "survival", t, s, sampler.theta).middle
    look, first, second = bridge_step(world, t, middle), world.law(t), world.law(middle)
    a, b = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    likely = (look.flatten() > 0).nonzero().flatten()
    a, b = a[likely], b[likely]
    rest = sampler.rest(
        world.process,
        Categorical(first.logits[a]),
        Categorical(second.logits[b]),
        world.states[a],
        world.states[b],
        (t, middle, s),
    )
    after = world.bridge(middle, s)[world.states[b]]
    moved = both(torch.einsum("niy,niyz->niz", rest.end.log_probs.exp(), after))
    out = torch.zeros(n, n, dtype=torch.float64)
    return out.index_add_(0, a, look.flatten()[likely].unsqueeze(1) * moved)


def leap(x: Tensor, expected: Tensor) -> Tensor:
    """Laws of sites that jump once at most, (n, 2) and (n, 2, S) to (n, 2, S)."""
    total = expected.sum(-1, keepdim=True)
    jumped = expected / total.clamp_min(1e-300) * -torch.expm1(-total)
    return jumped.scatter(-1, x.unsqueeze(-1), (-total).exp())


def trapezoidal_step(world: World, t: float, s: float, theta: float = 0.5) -> Tensor:
    """The θ-trapezoidal leap, likewise."""
    if t == 0 or s >= 1:
        return bridge_step(world, t, s)
    n, a = len(world.states), weight(theta)
    parts = cut(world.process.schedule, "log", t, s, theta)
    first, second = (
        world.rates(u) / unit for u, unit in zip((t, parts.middle), parts.units, strict=True)
    )
    look = both(leap(world.states, first * parts.before))
    x, x_m = world.states.repeat_interleave(n, 0), world.states.repeat(n, 1)
    old, new = first.repeat_interleave(n, 0), second.repeat(n, 1, 1)
    still = (x == x_m).unsqueeze(-1)
    rates = (a * new - torch.where(still, (a - 1) * old, 0.0)).clamp_min(0)
    rates = rates.scatter(-1, x_m.unsqueeze(-1), 0.0)
    return torch.einsum("xm,xms->xs", look, both(leap(x_m, rates * parts.after)).reshape(n, n, n))


SAMPLERS: dict[str, Callable[[World, float, float], Tensor]] = {
    "Bridge": bridge_step,
    "SecondOrderBridge": second_step,
    "trapezoidal": trapezoidal_step,
}


def error(world: World, step: Callable[[World, float, float], Tensor], steps: int) -> float:
    """Total variation between the samples and the data."""
    source = world.process.source(torch.zeros(1, 2, dtype=torch.int64)).log_probs.double().exp()
    mass, grid = both(source)[0], world.process.schedule.grid(steps).tolist()
    for t, s in zip(grid, grid[1:], strict=False):
        mass = mass @ step(world, t, s)
    wanted = torch.zeros(world.size, world.size, dtype=torch.float64)
    wanted[:VALUES, :VALUES] = world.data
    return float((mass.reshape(wanted.shape) - wanted).abs().sum() / 2)


def main() -> None:
    for name, make in CHAINS.items():
        for odds in ODDS:
            world = World(make(), odds)
            for sampler, step in SAMPLERS.items():
                found = [error(world, step, n) for n in STEPS]
                orders = [math.log2(a / b) for a, b in zip(found, found[1:], strict=False)]
                print(
                    f"{name:12} {odds:5} {sampler:18}"
                    + "".join(f"{v:10.2e}" for v in found)
                    + "   order"
                    + "".join(f"{v:6.2f}" for v in orders),
                    flush=True,
                )


if __name__ == "__main__":
    main()
