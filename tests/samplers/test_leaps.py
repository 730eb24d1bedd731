"""Gillespie, tau-leaping and correctors with exact posteriors, against the data law."""

import numpy as np
import pytest
import torch

from markovbridge import PureDeath, exact, processes
from markovbridge.laws import Atoms, Categorical
from markovbridge.samplers import Bridge, Corrected, Gillespie, TauLeaping
from markovbridge.samplers.rates import leap
from markovbridge.samplers.thinning import Events, simulate
from problems import assert_follows
from problems_chains import CHAINS, UNBOUNDED, joint_law

N = 8000


class Exact:
    """The exact law of x_1 for a data set of two sites, jointly or each site on its own."""

    def __init__(self, process, table, *, joint=True):
        points = table.nonzero()
        states = None if joint else process.states
        self.process, self.table = process, table
        self.posterior = exact.Empirical(process, points, table[tuple(points.mT)], states)

    def law(self, x, t, condition=None):
        if isinstance(t, torch.Tensor):
            return self.posterior(x, t)
        distinct, index = x.unique(dim=0, return_inverse=True)  # few, of many draws
        law = self.posterior(distinct, t)
        if isinstance(law, Categorical):
            return Categorical(law.logits[index])
        return Atoms(law.points, law.log_weights[index])

    def run(self, sampler, times, n=N, seed=0):
        generator = torch.manual_seed(seed)
        like = torch.zeros(n, 2, dtype=torch.int64)
        x = self.process.source(like).sample(generator=generator)
        return self.follow(sampler, x, times, generator)

    def follow(self, sampler, x, times, generator):
        for t, s in zip(times, times[1:], strict=False):
            x = sampler.step(self, x, t, s, generator=generator)
        return x

    def marginal(self, n, t, generator):
        rows = torch.multinomial(self.table.flatten(), n, True, generator=generator)
        data = torch.stack([rows // self.table.shape[1], rows % self.table.shape[1]], 1)
        return self.process.transition(data, 1.0, t).sample(generator=generator)


def cells(x, size):
    """One number for both sites."""
    return (x[:, 0] * size + x[:, 1]).numpy()


WHOLE = pytest.mark.whole  # which `test_grid.py` meets too


@pytest.mark.parametrize(
    "name",
    ["uniform", "masked", *(pytest.param(name, marks=WHOLE) for name in ("random", "ehrenfest"))],
)
def test_gillespie_is_exact_for_chains(name):
    process = processes.Ehrenfest(2) if name == "ehrenfest" else CHAINS[name][0]
    size = min(process.states, 4)
    model = Exact(process, joint_law(size))
    x = model.run(Gillespie(), [0.0, 0.4, 1.0], n=300)
    assert_follows(cells(x, size), model.table.flatten())


@pytest.mark.parametrize("name", ["birth-death", pytest.param("walk", marks=WHOLE), "birth"])
def test_gillespie_is_exact_for_unbounded_counts(name):
    settings = {"birth-death": {"immigration": 1.0}, "walk": {"rate": 1.0}, "birth": {"rate": 1.0}}
    process = type(UNBOUNDED[name])(**settings[name], maximum=1)
    model = Exact(process, joint_law(2))
    generator = torch.manual_seed(3)
    x = model.marginal(300, 0.4, generator)  # the sources of walk and birth are approximate
    x = model.follow(Gillespie(), x, [0.4, 1.0], generator)
    assert_follows(cells(x, 2), model.table.flatten())


@pytest.mark.parametrize("name", [n for n in (*CHAINS, *UNBOUNDED) if "vectors" not in n])
def test_bounds_hold_for_every_end(name):
    process = CHAINS[name][0] if name in CHAINS else UNBOUNDED[name]
    high, low = 0.8, 0.55
    bounds = process.bounds(high, low)
    size = process.size if name in CHAINS else 9
    x = torch.arange(size).unsqueeze(1)
    limit = bounds.of(x)
    for clock in np.linspace(low, high, 7):
        t = float(2 / np.pi * np.arcsin(np.exp(-clock / 2)))
        speed = np.pi / np.tan(np.pi * t / 2)
        for v in range(process.states):
            y = torch.full_like(x, v)
            if name == "birth":
                y = torch.minimum(x, y)
            rates = process.rates(x, y, t).sum(-1) / speed
            assert bool((rates <= limit * (1 + 1e-6)).all())
    assert bool((limit >= 0).all()) and np.isfinite(bounds.worst)


def test_a_law_beyond_the_data_is_refused():
    process = processes.BirthDeath(immigration=1.0, maximum=2)

    class Wrong:
        def law(self, x, t, condition=None):
            up = torch.full(x.shape, 4.0, dtype=torch.float64)
            return process.stepped(x, up, up)

    model = Wrong()
    model.process = process
    with pytest.raises(RuntimeError, match="times its bound"):
        simulate(model, torch.ones(8, 1, dtype=torch.int64), 0.3, 0.9, 1e-3, Events(100))
    with pytest.raises(ValueError, match="set `maximum`"):
        processes.BirthDeath(immigration=1.0).bounds(1.0, 0.5).of(torch.ones(1, 1).long())


def test_gillespie_and_leaps_need_rates():
    chain = processes.DiscreteTimeChain(np.full((3, 2, 2), 0.5))
    model = Exact(chain, torch.full((2, 2), 0.25))
    x = torch.zeros(4, 2, dtype=torch.int64)
    with pytest.raises(TypeError, match="states no bound"):
        Gillespie().step(model, x, 0.3, 0.6)
    with pytest.raises(TypeError, match="needs rates"):
        TauLeaping().step(model, x, 0.3, 0.6)
    with pytest.raises(ValueError, match="ends must lie"):
        Gillespie(ends=0.7)


def distance(x, model):
    size = model.table.shape[0]
    found = np.bincount(cells(x, size), minlength=size**2) / len(x)
    return 0.5 * np.abs(found - model.table.flatten().numpy()).sum()


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "death",
        *(pytest.param(name, marks=WHOLE) for name in ("masked", "ehrenfest", "birth-death")),
    ],
)
def test_tau_leaping_converges(name):
    process = PureDeath(maximum=3) if name == "death" else None
    process = process or (CHAINS[name][0] if name in CHAINS else UNBOUNDED[name])
    model = Exact(process, joint_law(4))
    if name == "ehrenfest":
        model = Exact(processes.Ehrenfest(3), joint_law(4))
    model_size = model.table.shape[0]
    errors = []
    for steps in (4, 40):
        x = model.run(TauLeaping(), np.linspace(0, 1, steps + 1).tolist(), n=N)
        errors.append(distance(x.clamp(0, model_size - 1), model))
    noise = 0.5 * np.sqrt(2 / np.pi * model.table.numel() / N)
    assert errors[1] < 0.6 * errors[0] and errors[1] < 0.02 + noise, errors


def test_a_leap_jumps_once_in_categories_and_adds_in_counts():
    chain = CHAINS["uniform"][0]
    x = torch.zeros(50000, 1, dtype=torch.int64)
    expected = torch.tensor([0.0, 0.5, 0.25, 0.0, 0.0, 0.25], dtype=torch.float64)
    jumped = leap(chain, x, expected.expand(50000, 1, 6), torch.manual_seed(1))
    stay = np.exp(-1.0)
    law = np.array([stay, 0.5 * (1 - stay), 0.25 * (1 - stay), 0, 0, 0.25 * (1 - stay)])
    assert_follows(jumped.numpy(), law)
    counts = leap(
        UNBOUNDED["walk"], x, torch.tensor([2.0, 3.0]).expand(50000, 1, 2), torch.manual_seed(1)
    )
    assert float(counts.double().mean()) == pytest.approx(1.0, abs=0.05)
    assert float(counts.double().var()) == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize("name", ["random", "masked", "ehrenfest", "birth-death", "death"])
def test_corrector_moves_leave_the_marginal_alone(name):
    process = PureDeath(maximum=4) if name == "death" else None
    process = process or (CHAINS[name][0] if name in CHAINS else UNBOUNDED[name])
    model = Exact(process, joint_law(3))
    generator = torch.manual_seed(5)
    s, top = 0.5, 12
    x = model.marginal(20000, s, generator)
    moved = Corrected(moves=3, size=0.4).step(model, x, s, s, generator=generator)
    assert bool((moved != x).any())
    points = model.posterior.data
    tables = torch.arange(top).unsqueeze(1).expand(-1, 2)
    law = torch.zeros(top, top, dtype=torch.float64)
    for point, weight in zip(points, model.table[tuple(points.mT)], strict=True):
        each = process.transition(point.expand(top, 2), 1.0, s)
        inside = tables < (process.size or top)
        sites = torch.where(
            inside, each.site_log_prob(torch.where(inside, tables, 0)).exp(), 0.0
        ).double()
        law += weight * torch.outer(sites[:, 0], sites[:, 1])
    inside = (moved < top).all(1)
    assert_follows(cells(moved[inside], top), (law / law.sum()).flatten())


def test_correctors_repair_a_coarse_predictor():
    model = Exact(CHAINS["masked"][0], joint_law(4), joint=False)
    times = np.linspace(0, 1, 5).tolist()
    plain = distance(model.run(Bridge(), times, n=20000), model)
    corrected = distance(model.run(Corrected(moves=4, size=0.3), times, n=20000), model)
    assert corrected < 0.6 * plain, (plain, corrected)


def test_evaluations_are_counted():
    assert TauLeaping().evaluations(7) == 7
    assert Corrected(moves=2).evaluations(5) == 5 + 2 * 4
    assert Corrected(Gillespie()).evaluations(5) is None
    with pytest.raises(ValueError, match="size must lie in"):
        Corrected(size=1.0)
    with pytest.raises(ValueError, match="moves must be"):
        Corrected(moves=0)


def test_correctors_need_a_way_back():
    class Forward:
        direction = "forward"

    class Model:
        process = Forward()

        def law(self, x, t, condition=None):
            raise AssertionError("refused before")

    with pytest.raises(TypeError, match="stated from source to data"):
        Corrected().step(Model(), torch.zeros(1, 1), 0.1, 0.2)


def test_leaps_do_not_start_at_an_infinite_rate():
    process = processes.UniformChain(4)
    law = Categorical(torch.zeros(3, 2, 4))

    class Model:
        def law(self, x, t, condition=None):
            return law

    model = Model()
    model.process = process
    x = torch.zeros(3, 2, dtype=torch.int64)
    assert TauLeaping().step(model, x, 0.0, 0.3, generator=torch.manual_seed(0)).shape == (3, 2)
