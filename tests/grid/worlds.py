"""What the grid of pairs walks: small worlds whose laws are known, for every class of process.

A world is a process and a law of data on few states, with everything that a sampler should
reproduce worked out from its transition tables (`tests/processes`): the data, the data given
an observed state, given known sites, given a condition. `guided` laws, which are those of no
data, are the limit of ever shorter steps of the reverse process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import pairwise, product

import numpy as np
import torch

import markovbridge as mb
from markovbridge import exact, laws, processes
from markovbridge.laws import LOG_TINY
from markovbridge.samplers.known_sites import Observed
from problems_chains import random_rates

VALUES = 3  # of the data at a site: 0, 1, 2
CHAIN_STEPS = 48  # of the chain in discrete time


def joint(values, sites, seed):
    """A law of neighbours that are like each other, some values being rarer."""
    axes = np.meshgrid(*[np.arange(values)] * sites, indexing="ij")
    log = sum(-((b - a) ** 2) / 3 for a, b in zip(axes, axes[1:], strict=False))
    law = np.exp(log) * np.random.default_rng(seed).uniform(0.4, 1, axes[0].shape)
    return law / law.sum()


def _chain(size):
    return processes.FiniteChain(random_rates(size, 1) * 2)


def _driven(size):
    """Rates that change with time and do not commute, by which the start is forgotten."""
    early, late = random_rates(size, 1) * 14, random_rates(size, 2) * 5
    return processes.FiniteChain(lambda t: t * late + (1 - t) * early)


def _steps(size, k=CHAIN_STEPS):
    matrix = 0.9 * np.eye(size) + 0.1 / size
    return processes.DiscreteTimeChain(np.stack([matrix] * k))


# For every class of process on integers: instances, and states low .. low + states - 1 that hold
# all but a little of the mass.
INTEGERS: dict[type, Callable[[], list[tuple[processes.Process, int, int]]]] = {
    mb.PureDeath: lambda: [(mb.PureDeath(VALUES - 1), 0, VALUES), (mb.PureDeath(), 0, 10)],
    mb.UniformChain: lambda: [(mb.UniformChain(VALUES), 0, VALUES)],
    mb.AbsorbingChain: lambda: [
        (mb.AbsorbingChain(VALUES), 0, VALUES + 1),
        (mb.AbsorbingChain(VALUES, mask=0), 0, VALUES),
    ],
    mb.FiniteChain: lambda: [(_chain(VALUES), 0, VALUES), (_driven(VALUES), 0, VALUES)],
    mb.DiscretisedGaussianChain: lambda: [(mb.DiscretisedGaussianChain(VALUES), 0, VALUES)],
    mb.DiscreteTimeChain: lambda: [(_steps(VALUES), 0, VALUES)],
    mb.Ehrenfest: lambda: [(mb.Ehrenfest(VALUES - 1), 0, VALUES)],
    mb.BirthDeath: lambda: [
        (mb.BirthDeath(0.8, maximum=VALUES - 1), 0, 9),
        (mb.BirthDeath(0.8), 0, 9),
    ],
    mb.RandomWalk: lambda: [
        (mb.RandomWalk(0.5, centre=1, maximum=VALUES - 1), -4, 11),
        (mb.RandomWalk(0.5, centre=1), -4, 11),
    ],
    mb.PureBirth: lambda: [
        (mb.PureBirth(0.8, centre=1, maximum=VALUES - 1), 0, 9),
        (mb.PureBirth(0.8, centre=1), 0, 9),
    ],
    mb.LinearBirthDeath: lambda: [
        (mb.LinearBirthDeath(0.3, maximum=VALUES - 1), 0, 16),
        (mb.LinearBirthDeath(0.3), 0, 16),
    ],
    mb.Yule: lambda: [
        (mb.Yule(0.4, maximum=VALUES - 1), 0, 12),
        (mb.Yule(0.4), 0, 12),
    ],
}

CONDITIONS = 2  # labels of a world with conditions; unknown is an even mixture of them


@dataclass(eq=False)
class World:
    """A process, and laws of the data under each label of a condition."""

    process: processes.DiscreteProcess
    low: int
    states: int
    sites: int = 2
    tables: list[np.ndarray] = field(default_factory=list)
    _laws: dict = field(default_factory=dict)

    def __post_init__(self):
        if not self.tables:
            self.tables = [joint(VALUES, self.sites, seed) for seed in range(CONDITIONS)]

    def table(self, label=None):
        return np.mean(self.tables, 0) if label is None else self.tables[label]

    def transition(self, t):
        """p(x_t | x_1 = y) at a site, (VALUES, states)."""
        y = torch.arange(VALUES).unsqueeze(1).expand(VALUES, self.states)
        x = torch.arange(self.low, self.low + self.states).expand(VALUES, self.states)
        law = self.process.transition(y.contiguous(), 1.0, t)
        inside = x < (self.process.size or x.max() + 1)
        log = law.site_log_prob(torch.where(inside, x, 0))
        return torch.where(inside, log.double().exp(), 0.0).numpy()

    def between(self, s, t):
        """p(x_t | x_s) at a site for t <= s, (states, states)."""
        states = torch.arange(self.low, self.low + self.states)
        x, z = torch.meshgrid(states, states, indexing="ij")
        return self.process.transition(x, s, t).site_log_prob(z).double().exp().numpy()

    def posterior(self, x, t, label=None, known=()):
        """p(x_1 | x_t = x, and known sites): a table like that of the data."""
        law, each = self.given(dict(known), label), self.transition(t)
        for site, value in enumerate(x):
            shape = [1] * self.sites
            shape[site] = VALUES
            law = law * (each[:, value - self.low].reshape(shape) if site not in known else 1)
        return law / law.sum()

    def generated(self, label=None, known=()):
        """The law at 1 of the exact process started at the source: the data, if that is exact."""
        states = torch.arange(self.low, self.low + self.states)
        size = self.process.size
        inside = states[states < (self.low + self.states if size is None else size)]
        mass = self.process.source(inside).site_log_prob(inside).double().exp().numpy()
        mass = mass / mass.sum()
        starts = [i for i in range(len(mass)) if mass[i] > 1e-9]
        law = np.zeros([VALUES] * self.sites)
        free = [[*starts] if i not in known else [None] for i in range(self.sites)]
        for start in product(*free):
            weight = np.prod([mass[i] for i in start if i is not None])
            x = [self.low + (i or 0) for i in start]
            law += weight * self.posterior(x, 0.0, label, known)
        return law / law.sum()

    def given(self, known, label=None):
        """p(x_1 | x_1[i] = v for i, v in known)."""
        law = self.table(label).copy()
        for site, value in known.items():
            keep = np.zeros(VALUES)
            keep[value] = 1
            law = law * keep.reshape([VALUES if i == site else 1 for i in range(self.sites)])
        return law / law.sum()

    def data(self, n, generator, label=None):
        """Draws of x_1, (n, sites)."""
        flat = torch.tensor(self.table(label).flatten())
        rows = torch.multinomial(flat, n, True, generator=generator)
        return torch.tensor(np.stack(np.unravel_index(rows.numpy(), [VALUES] * self.sites), 1))

    def atoms(self, x, t, label, known):
        """The exact joint law of x_1 given x_t = x, and given known sites."""
        key = (label, tuple(sorted(known.items())))
        if key not in self._laws:
            law = torch.tensor(self.given(known, label))
            points = law.nonzero()
            self._laws[key] = exact.Empirical(self.process, points, law[tuple(points.mT)])
        return self._laws[key](x, t)


def known_sites(observed):
    """Known sites and values, which are the same for all rows here."""
    if observed is None:
        return {}
    where = observed.mask[0].nonzero().flatten().tolist()
    return {site: int(observed.values[0, site]) for site in where}


@dataclass(eq=False)
class Perfect:
    """A network that knows a world, seen through a head: called as an exact law is.

    Attributes:
        world: The world.
        head: Turns the joint law into what a perfect network with a head would say.
    """

    world: World
    head: Callable

    def __call__(self, x, t, condition=None, observed: Observed | None = None):
        label = None
        if condition is not None and not bool(condition.isnan().any()):
            label = int(condition[0, 0])
        known = known_sites(observed)
        if not bool((t == t[:1]).all()):
            return self.head(self.world, self.world.atoms(x, t, label, known), x, t)
        lowest = x.min()  # rows as numbers: few are distinct, of many draws
        base = (x.max() - lowest + 1) ** torch.arange(x.shape[1])
        codes, index = ((x - lowest) * base).sum(1).unique(return_inverse=True)
        few = codes.unsqueeze(1) // base % (base[1]) + lowest
        t = t[: len(few)]
        return rows(self.head(self.world, self.world.atoms(few, t, label, known), few, t), index)


def rows(law, index):
    """The law of each row, given those of distinct rows and which is whose."""
    if isinstance(law, laws.Atoms):
        return replace(law, log_weights=law.log_weights[index])
    if isinstance(law, torch.Tensor):
        return law[index]
    if is_dataclass(law):
        parts = {f.name: getattr(law, f.name) for f in fields(law) if f.init}
        parts = {
            name: rows(part, index)
            for name, part in parts.items()
            if is_dataclass(part) or (isinstance(part, torch.Tensor) and part.ndim > 1)
        }
        return replace(law, **parts)
    raise TypeError(f"no rows of {type(law).__name__}")


def setting(world):
    """What heads are told: the moments of a site."""
    values = torch.arange(VALUES, dtype=torch.float64)
    site = torch.tensor(world.table()).sum(tuple(range(1, world.sites)))
    mean = float(site @ values)
    variance = float(site @ values**2) - mean**2
    moments = torch.tensor([mean]).float(), torch.tensor([variance]).float()
    return processes.Setting(world.process, mb.Noised(), *moments)


def _unsoftplus(log):
    """What log_softplus(raw + CENTRE) turns into this."""
    return torch.log(torch.expm1(log.double().exp().clamp(1e-12, 50))) - np.log(np.e - 1)


def _scale(world, t, x):
    q = world.process.schedule.mortality(t).double().reshape(-1, 1)
    return (q.clamp_min(1e-30) * setting(world).mean.double()).log().expand(x.shape)


def through(head, raws):
    """A law made by a head from what a perfect network puts out: `raws(world, atoms, x, t)`."""

    def law(world, atoms, x, t):
        t = torch.as_tensor(t).expand(len(x))
        raw = raws(world, atoms, x, t)
        return head(setting(world), raw, x, t)

    return law


def table_raws(world, atoms, x, t):
    """Log-weights beside what x_t says."""
    table = atoms.sites(world.process.states).logits
    seen = world.process.evidence(x, t)
    raw = torch.where(table > -torch.inf, table - seen.clamp_min(-1e4), -1e4)
    return raw.clamp_min(-1e4).movedim(-1, 1).double()


def mean_raws(world, atoms, x, t):
    return _unsoftplus(atoms.log_excess(x) - _scale(world, t, x)).unsqueeze(1).float()


def two_means(world, atoms, x, t):
    """As `TwoMeansHead` states it, its links inverted."""
    up, down = world.process.expected_steps(atoms, x, t)
    tiny = np.exp(LOG_TINY)
    return world.process.stepped(x, up.clamp_min(tiny).log(), down.clamp_min(tiny).log())


def generator_matrix(world, law, t):
    """Rates of a model from state to state at t, made of what samplers ask for: (n, n)."""
    states, sites, process = world.states, world.sites, world.process
    axes = torch.meshgrid(*[torch.arange(world.low, world.low + states)] * sites, indexing="ij")
    every = torch.stack([axis.flatten() for axis in axes], 1)
    rates = process.expected_rates(law(every, t), every, t).double().clamp_min(0)
    moves = process.moves(every)
    matrix = torch.zeros(len(every), len(every), dtype=torch.float64)
    for site in range(sites):
        weight = states ** (sites - 1 - site)
        inside = (moves[:, site] >= world.low) & (moves[:, site] < world.low + states)
        apart = torch.where(inside, moves[:, site] - every[:, site : site + 1], 0)
        rows = torch.arange(len(every)).unsqueeze(1).expand_as(apart)
        matrix.index_put_((rows, rows + weight * apart), rates[:, site] * inside, True)
    matrix.fill_diagonal_(0)
    return matrix - torch.diag(matrix.sum(1))


def limit(world, law, start, t, pieces=40):
    """The law at the data of a walk from one state at t, in ever shorter steps: a table.

    Steps shrink with the time that is left; in each the rates are those of its middle, and the
    exponential acts on the law by its series.
    """
    left = np.geomspace(1 - t, 1e-5, pieces + 1)
    mass = torch.zeros(world.states**world.sites, dtype=torch.float64)
    index = 0
    for value in start:
        index = index * world.states + int(value) - world.low
    mass[index] = 1
    for a, b in zip(left, left[1:], strict=False):
        matrix = generator_matrix(world, law, float(1 - (a + b) / 2)) * float(a - b)
        parts = max(1, int(np.ceil(float(matrix.abs().max()) * 2)))
        for _ in range(parts):
            term = mass
            for k in range(1, 16):
                term = term @ matrix / (parts * k)
                mass = mass + term
    return mass.reshape([world.states] * world.sites).numpy()


def corrected(world, grid, size):
    """The law at the data of exact steps from the source, a corrector move after all but the last.

    Where the source is not what noise makes of the data, as that of `Yule`, moves change the law:
    they lead towards that of the data.
    """
    process, table = world.process, world.table()
    schedule, rows = process.schedule, world.states
    mass = process.source(torch.arange(world.low, world.low + rows))
    mass = mass.site_log_prob(torch.arange(world.low, world.low + rows)).double().exp().numpy()
    mass = np.multiply.outer(mass, mass) / mass.sum() ** 2
    for t, s in pairwise(grid):
        mass = _forward(world, table, mass, t, s)
        if s < 1:
            odds = float(schedule.survival(s) / schedule.mortality(s)) * (1 - size)
            r = float(schedule.time(*(torch.tensor(v / (1 + odds)) for v in (odds, 1.0))))
            noise = world.between(s, r)
            mass = _forward(world, table, noise.T @ mass @ noise, r, s)
    return mass[-world.low :][:VALUES, -world.low :][:, :VALUES]


def _forward(world, table, mass, t, s):
    """An exact step of two sites: x_1 given x_t, and then the bridge to it."""
    states, process = torch.arange(world.low, world.low + world.states), world.process
    seen = world.transition(t)  # (y, x)
    ends = np.einsum("ab,ai,bj->ijab", table, seen, seen)
    ends = ends / np.maximum(ends.sum((2, 3), keepdims=True), 1e-300)
    y, x = (torch.from_numpy(index) for index in (seen > 0).nonzero())
    z = states.expand(len(x), -1)
    start, end = (v.unsqueeze(1).expand_as(z) for v in (states[x], y))
    log = process.bridge(start, end, t, s, 1.0).site_log_prob(z).double()
    bridge = np.zeros((len(states), VALUES, len(states)))
    bridge[x.numpy(), y.numpy()] = log.exp().nan_to_num().numpy()
    return np.einsum("ij,ijab,iak,jbl->kl", mass, ends, bridge, bridge, optimize=True)


def chain_limit(world, law, start, t, steps):
    """The law at the data of a walk in discrete time, step by step: a table."""
    states, sites, process = world.states, world.sites, world.process
    axes = torch.meshgrid(*[torch.arange(states)] * sites, indexing="ij")
    every = torch.stack([axis.flatten() for axis in axes], 1)
    mass = torch.zeros([states] * sites, dtype=torch.float64)
    mass[tuple(start)] = 1
    times = [t + (1 - t) * k / steps for k in range(steps + 1)]
    x, y, z = torch.meshgrid(*[torch.arange(states)] * 3, indexing="ij")
    for a, b in pairwise(times):
        ends = law(every, a).log_probs.double().exp()  # (n, sites, ends)
        flat = [v.reshape(-1, 1) for v in (x, y, z)]
        each = process.bridge(flat[0], flat[1], a, b, 1.0).site_log_prob(flat[2]).double().exp()
        each = each.reshape([states] * 3).nan_to_num()
        moved = torch.einsum("nsy,nsyz->nsz", ends, each[every])
        onto = moved[:, 0]
        for site in range(1, sites):
            onto = (onto.unsqueeze(-1) * moved[:, site].unsqueeze(1)).flatten(1)
        mass = (mass.flatten() @ onto).reshape(mass.shape)
    return mass.numpy()
