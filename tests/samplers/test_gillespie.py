"""Gillespie for pure death: the data law without any step, and births at the right times."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import Gillespie, LinearDiffusion, MeanHead, PureDeath, Transport, exact, laws
from markovbridge.doors.randomness import generator
from problems import PROBLEMS, SCHEDULES, assert_follows, assert_uniform, thinning

N = 20_000


def transport(problem, schedule="cosine"):
    process = PureDeath(problem.maximum, SCHEDULES[schedule])
    return Transport(process, problem.law(process), shape=(1,))


class Recorder:
    """A model that writes down the states and times it is asked about."""

    def __init__(self, model):
        self.process, self._model, self.asked = model.process, model, []

    def law(self, x, t):
        self.asked.append((x, t))
        return self._model.law(x, t)

    def births(self):
        """Survival at each birth, by row: state and time of the first question after it."""
        found = [[] for _ in self.asked[0][0]]
        for (before, _), (after, t) in itertools.pairwise(self.asked):
            grown = (after - before).flatten(1).sum(1)
            assert bool((grown >= 0).all()) and int(grown.max()) <= 1
            p = self.process.schedule.survival(t)
            for row in grown.nonzero().flatten().tolist():
                found[row].append(float(p[row]))
        return found


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_draws_follow_the_data_law(problem):
    draws = transport(problem).sample(
        N, steps=1, sampler=Gillespie(), generator=generator("cpu", "gillespie"), block=N
    )
    assert_follows(draws, problem.pmf)


@pytest.mark.parametrize("schedule", ["linear", "logistic", "published", "survival"])
def test_draws_follow_the_data_law_on_every_schedule(schedule):
    problem = PROBLEMS[5]
    draws = transport(problem, schedule).sample(
        N, steps=1, sampler=Gillespie(), generator=generator("cpu", "gillespie"), block=N
    )
    assert_follows(draws, problem.pmf)


def test_stopping_and_going_on_changes_nothing():
    problem = PROBLEMS[2]
    model, seen = transport(problem), {}
    model.sample(
        N,
        steps=3,
        sampler=Gillespie(),
        generator=generator("cpu", "stops"),
        block=N,
        callback=lambda t, x: seen.__setitem__(t, x),
    )
    assert sorted(seen) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    for t, x in seen.items():
        assert_follows(x, problem.pmf @ thinning(float(model.process.schedule.survival(t))))


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_draws_follow_the_data_law_from_an_inner_time(problem):
    model, t, g = transport(problem), 0.4, generator("cpu", "inner")
    start = problem.pmf @ thinning(float(model.process.schedule.survival(t)))
    x = torch.multinomial(torch.tensor(start), N, replacement=True, generator=g).unsqueeze(1)
    assert_follows(Gillespie().step(model, x, t, 1.0, generator=g), problem.pmf)


def test_sites_are_born_together():
    """Two correlated sites: the site of each birth is drawn in proportion to its mean."""
    process, g = PureDeath(3), generator("cpu", "two sites")
    weights = torch.rand(16, generator=g, dtype=torch.float64) ** 3
    points = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    model = Transport(process, exact.Empirical(process, points, weights), shape=(2,))
    draws = model.sample(N, steps=1, sampler=Gillespie(), generator=g, block=N)
    assert_follows(4 * draws[:, 0] + draws[:, 1], (weights / weights.sum()).numpy())


@pytest.mark.parametrize("schedule", ["cosine", "linear", "logistic"])
def test_births_are_uniform_in_survival(schedule):
    """Given the end, units are born independently, each at a survival uniform on [0, 1]."""
    model = Recorder(transport(PROBLEMS[5], schedule))
    x = torch.zeros((1500, 1), dtype=torch.int64)
    end = Gillespie().step(model, x, 0.0, 1.0, generator=generator("cpu", "births"))
    births = model.births()
    assert [len(row) for row in births] == end.flatten().tolist()
    assert_uniform(np.concatenate([row for row in births if row]))
    # The first of k uniforms exceeds u with probability (1 - u)^k.
    assert_uniform([(1 - row[0]) ** len(row) for row in births if row])


def test_births_are_uniform_in_the_survival_that_is_left():
    model, t = Recorder(transport(PROBLEMS[2])), 0.4
    p = float(model.process.schedule.survival(t))
    x = torch.arange(1500).unsqueeze(1) % 4
    Gillespie().step(model, x, t, 1.0, generator=generator("cpu", "left"))
    births = np.concatenate([row for row in model.births() if row])
    assert births.min() > p
    assert_uniform((births - p) / (1 - p))


def test_a_mean_head_makes_no_births_out_of_its_floor():
    """A network of zeros states Poisson data; next to the data its mean is never quite 0."""
    process = PureDeath()
    model = Transport(
        process,
        lambda features, t, condition: torch.zeros(len(features), 1, 1),
        MeanHead(),
        shape=(1,),
        mean=3.0,
    )
    draws = model.sample(
        N, steps=1, sampler=Gillespie(), generator=generator("cpu", "floor"), block=N
    )
    assert_follows(draws, stats.poisson.pmf(np.arange(40), 3))


def test_a_known_count_is_reached():
    process = PureDeath(9)
    model = Transport(process, exact.Binomial(process, 7, 1.0), shape=(2, 2))
    draws = model.sample(50, steps=1, sampler=Gillespie(), generator=generator("cpu", 0))
    assert draws.tolist() == [[[7, 7], [7, 7]]] * 50


def too_much(slope):
    """A mean that does not know where to stop, with this slope in time."""

    def law(x, t, condition=None):
        y = 4 * (1 + slope * t) * (t < 1)
        return laws.Shifted(x, laws.Poisson(y.log().unsqueeze(1).expand(x.shape)))

    return law


def test_a_bounded_count_stays_bounded():
    model = Transport(PureDeath(3), too_much(-0.5), shape=(2,))
    draws = model.sample(200, steps=1, sampler=Gillespie(), generator=generator("cpu", 0))
    assert int(draws.max()) == 3


def test_a_mean_that_rises_is_warned_of():
    model = Transport(PureDeath(3), too_much(0.5), shape=(2,))
    with pytest.warns(UserWarning, match="the total rate of jumps rose by a factor 1\\.[0-9]"):
        model.sample(20, steps=1, sampler=Gillespie(), generator=generator("cpu", 0))


def test_diffusions_do_not_jump():
    model = Transport(LinearDiffusion(), lambda x, t, condition: laws.Delta(x), shape=(1,))
    with pytest.raises(TypeError, match=r"take .*Bridge\(\)"):
        Gillespie().step(model, torch.zeros(2, 1), 0.0, 1.0)
    assert Gillespie().evaluations(5) is None


def test_no_births_where_nothing_remains():
    """Σ w y - x is below zero by rounding for some data: no rate, and no clock run backwards."""
    random = np.random.default_rng(0)
    number = int(random.integers(9, 26))
    cells = random.choice(25, number, replace=False)
    points = torch.tensor(np.stack(np.unravel_index(cells, (5, 5)), 1))
    weights = torch.tensor(random.dirichlet(np.ones(number)))
    process = PureDeath(4)
    model = Transport(process, exact.Empirical(process, points, weights), shape=(2,))
    generator = torch.Generator().manual_seed(0)
    x = model.sample(4000, steps=1, sampler=Gillespie(), generator=generator)
    assert bool((x.unsqueeze(1) == points).all(-1).any(1).all())
