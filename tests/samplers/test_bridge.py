"""The bridge sampler: its draws against the data law, and its step against the papers'."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import Bridge, PureDeath, Transport, exact, laws
from markovbridge.doors.randomness import generator
from problems import PROBLEMS, SCHEDULES, assert_follows, thinning

N = 20_000


def transport(problem, schedule="cosine"):
    process = PureDeath(problem.maximum, SCHEDULES[schedule])
    return Transport(process, problem.law(process), shape=(1,))


def two_sites(process):
    g = generator("cpu", "two sites")
    weights = torch.rand(16, generator=g, dtype=torch.float64) ** 3
    points = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    return exact.Empirical(process, points, weights), (weights / weights.sum()).numpy()


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_draws_follow_the_data_law(problem, steps):
    draws = transport(problem).sample(
        N, steps=steps, generator=generator("cpu", "bridge", steps), block=N
    )
    assert_follows(draws, problem.pmf)


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize("schedule", ["linear", "logistic", "survival"])
def test_draws_follow_the_data_law_on_every_schedule(schedule, steps):
    problem = PROBLEMS[2]
    draws = transport(problem, schedule).sample(
        N, steps=steps, generator=generator("cpu", "bridge", steps), block=N
    )
    assert_follows(draws, problem.pmf)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_draws_follow_the_data_law_from_an_inner_time(steps):
    for problem in PROBLEMS:
        model, t, g = transport(problem), 0.45, generator("cpu", "inner", steps)
        start = problem.pmf @ thinning(float(model.process.schedule.survival(t)))
        x = torch.multinomial(torch.tensor(start), N, replacement=True, generator=g)
        x = x.unsqueeze(1)
        for a, b in itertools.pairwise(model.process.schedule.grid(steps, t).tolist()):
            x = Bridge().step(model, x, a, b, generator=g)
        assert_follows(x, problem.pmf)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_joint_law_keeps_its_sites_together(steps):
    process = PureDeath(3)
    data, pmf = two_sites(process)
    model = Transport(process, data, shape=(2,))
    draws = model.sample(N, steps=steps, generator=generator("cpu", steps), block=N)
    assert_follows(4 * draws[:, 0] + draws[:, 1], pmf)


def test_the_states_on_the_way_follow_the_marginals():
    problem = PROBLEMS[2]
    model, seen = transport(problem), {}
    model.sample(
        N,
        steps=4,
        generator=generator("cpu", "way"),
        block=N,
        callback=lambda t, x: seen.__setitem__(t, x),
    )
    assert sorted(seen) == [0, 0.25, 0.5, 0.75, 1]
    for t, x in seen.items():
        assert_follows(x, problem.pmf @ thinning(float(model.process.schedule.survival(t))))
    for a, b in itertools.pairwise(sorted(seen)):
        assert bool((seen[b] >= seen[a]).all())


# One step from t to s of the published samplers, with expected remaining count y from x = 2.
def mean_step(kernel, y, maximum=None, n=N):
    process = PureDeath(maximum)
    schedule = process.schedule

    def perfect(x, t, condition=None):
        return laws.Shifted(x, laws.Poisson(torch.full(x.shape, float(np.log(y))).double()))

    model = Transport(process, exact.MeanOnly(perfect, kernel), shape=(1,))
    x = torch.full((n, 1), 2)
    moved = Bridge().step(model, x, 0.3, 0.6, generator=generator("cpu", kernel))
    p, s = float(schedule.survival(0.3)), float(schedule.survival(0.6))
    return (moved - 2).squeeze(1), (s - p) / (1 - p)


@pytest.mark.parametrize("y", [0.2, 1.7, 6.4])
def test_poisson_is_the_tau_leap(y):
    births, r = mean_step("poisson", y)
    assert_follows(births, stats.poisson.pmf(np.arange(60), y * r))


@pytest.mark.parametrize("y", [0.2, 1.7, 6.4])
def test_nearest_is_the_binomial_bridge_of_the_rounded_mean(y):
    births, r = mean_step("nearest", y)
    assert_follows(births, stats.binom.pmf(np.arange(round(y) + 1), round(y), r))


@pytest.mark.parametrize("y", [0.2, 1.7, 6.4])
def test_stochastic_rounding_adds_the_fraction(y):
    """Bin(k, r) + Bernoulli(f r), k = floor y, f = y - k: variance y r - r² (k + f²)."""
    births, r = mean_step("stochastic", y)
    k, f = int(y), y - int(y)
    pmf = np.convolve(stats.binom.pmf(np.arange(k + 1), k, r), [1 - f * r, f * r])
    n = np.arange(len(pmf))
    variance = pmf @ n**2 - (pmf @ n) ** 2
    assert pmf @ n == pytest.approx(y * r)
    assert variance == pytest.approx(y * r - r**2 * (k + f**2))
    assert_follows(births, pmf)


def test_overshoot_is_cut_after_the_bridge():
    births, r = mean_step("poisson", 6.4, maximum=5)
    pmf = stats.poisson.pmf(np.arange(60), 6.4 * r)
    assert_follows(births, [*pmf[:3], pmf[3:].sum()])


def test_a_step_depends_on_the_generator_only():
    model = transport(PROBLEMS[1])
    x = torch.zeros((100, 1), dtype=torch.int64)
    before = torch.random.get_rng_state()
    first, again, other = (
        Bridge().step(model, x, 0.0, 0.7, generator=generator("cpu", key)) for key in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert bool((x == 0).all())
    assert Bridge().evaluations(17) == 17
