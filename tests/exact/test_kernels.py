"""What samplers produce with a perfect network: exactly, against the data law.

A sampler fed the exact law of the end must reproduce the data, in any number of steps and
from any time. Fed less (the mean only, or each site on its own) it errs by known amounts.
"""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import CosineSchedule, LogisticSchedule, PureDeath, Transport, exact, laws
from problems import PROBLEMS, SCHEDULES, TOP, Problem, distance, entropy, thinning

BY_NAME = {problem.name: problem for problem in PROBLEMS}
STATES = 45  # of unbounded counts: nothing above 44 matters at 1e-8


def published_grid(steps):
    """K times of uniform logit from e^-15 to 1 - e^-15, then the data."""
    grid = np.linspace(0, 1, steps)
    grid[-1] -= 1e-13  # this schedule is 1 only at t = 1 itself
    return [*grid.tolist(), 1.0]


def output(problem, steps, schedule="cosine", kernel=None, start=None, first=0.0):
    """Law of the samples of the bridge sampler; kernel=None is the exact law of the end."""
    process = PureDeath(problem.maximum, SCHEDULES[schedule])
    law = problem.law(process)
    network = law if kernel is None else exact.MeanOnly(law, kernel)
    if schedule == "published":
        grid = published_grid(steps)
    else:
        grid = process.schedule.grid(steps, first).tolist()
    return exact.output_law(
        Transport(process, network, shape=(1,)),
        grid,
        states=STATES if problem.maximum is None else problem.maximum + 1,
        sites=1,
        ends=None if problem.maximum is None else 30,
        start=start,
    ).numpy()


def error(found, problem):
    """Total variation to the data law."""
    n = max(len(found), len(problem.pmf))
    pad = [np.pad(v, (0, n - len(v))) for v in (found, problem.pmf)]
    return distance(*pad)


def moments(found):
    n = np.arange(len(found))
    mean = found @ n
    return mean, found @ (n - mean) ** 2


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [("cosine", 20), *itertools.product(["linear", "cosine", "logistic", "survival"], [1, 5])],
)
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_exact_law_gives_the_data_law(problem, schedule, steps):
    assert error(output(problem, steps, schedule), problem) < 1e-7


@pytest.mark.parametrize("steps", [1, 5, 20])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_exact_law_gives_the_data_law_from_an_inner_time(problem, steps):
    process = PureDeath(problem.maximum)
    states = STATES if problem.maximum is None else problem.maximum + 1
    thinned = problem.pmf @ thinning(float(process.schedule.survival(0.4)))
    found = output(problem, steps, start=torch.tensor(thinned[:states]), first=0.4)
    assert error(found, problem) < 1e-7


def test_a_single_thinned_count_is_restored_to_its_posterior():
    """NB data: from x = 4 at survival p the remaining count is NB again, of size r + 4."""
    problem = BY_NAME["negative-binomial"]
    process = PureDeath()
    p = float(process.schedule.survival(0.6))
    start = torch.zeros(STATES)
    start[4] = 1
    found = output(problem, 7, start=start, first=0.6)
    size, mean = 6, (1 - p) * 3 * 6 / (2 + 3 * p)
    expected = stats.nbinom.pmf(np.arange(STATES) - 4, size, size / (size + mean))
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_starting_black_at_the_published_end_costs_the_survivors_there():
    problem = BY_NAME["poisson"]
    found = output(problem, 5, "published")
    counts = np.arange(TOP + 1)
    expected = distance(
        stats.poisson.pmf(counts, 3), stats.poisson.pmf(counts, -3 * np.expm1(-15))
    )
    assert error(found, problem) == pytest.approx(expected, rel=1e-3)


# Laws that know only the mean: name, kernel, schedule, steps, then mean, variance and total
# variation, None where it is not known to these digits.
BIASES = [
    ("poisson-low", "nearest", "cosine", 10, 0, 0, 0.2592),
    ("poisson-low", "nearest", "published", 200, 0, 0, 0.2592),
    ("poisson-low", "stochastic", "cosine", 10, 0.300, 0.289, 0.0072),
    ("poisson-low", "stochastic", "published", 10, 0.300, None, 0.0354),
    ("poisson-low", "poisson", "cosine", 10, 0.300, 0.300, 0),
    ("poisson-low", "poisson", "linear", 3, 0.300, 0.300, 0),
    ("bernoulli", "nearest", "published", 50, 0, 0, 0.300),
    ("bernoulli", "stochastic", "cosine", 1, 0.300, 0.210, 0),
    ("bernoulli", "stochastic", "logistic", 50, 0.300, 0.210, 0),
    ("bernoulli", "poisson", "published", 10, 0.279, None, None),
    ("bernoulli", "poisson", "published", 200, 0.299, None, None),
    ("bernoulli-high", "nearest", "published", 200, 0.756, None, None),
    ("bernoulli-high", "stochastic", "published", 10, 0.800, 0.160, 0),
    ("bernoulli-high", "poisson", "published", 10, 0.684, None, None),
    ("negative-binomial", "nearest", "published", 50, 2.815, 5.426, 0.127),
    ("negative-binomial", "stochastic", "published", 50, 3.0, 5.861, 0.0617),
    ("negative-binomial", "poisson", "published", 50, 3.0, 6.857, 0.0218),
    ("negative-binomial", "nearest", "cosine", 50, 2.706, 6.861, 0.0585),
    ("negative-binomial", "stochastic", "cosine", 50, 3.0, 7.040, 0.0149),
    ("negative-binomial", "poisson", "cosine", 50, 3.0, 7.327, 0.0055),
    ("negative-binomial", "nearest", "cosine", 200, None, None, 0.0583),
    ("negative-binomial", "stochastic", "cosine", 200, None, None, 0.0037),
]
BERNOULLI_HIGH = Problem(
    "bernoulli-high",
    lambda process: exact.Binomial(process, 1, 0.8),
    np.array([0.2, 0.8]),
    lambda x, p: np.where(x == 0, 0.8 * (1 - p) / (1 - 0.8 * p), 0.0),
    entropy(np.array([0.2, 0.8])),
    maximum=1,
)


@pytest.mark.parametrize(
    ("name", "kernel", "schedule", "steps", "mean", "variance", "tv"),
    [case if case[3] < 200 else pytest.param(*case, marks=pytest.mark.whole) for case in BIASES],
    ids=lambda value: str(value),
)
def test_the_bias_of_mean_only_laws(name, kernel, schedule, steps, mean, variance, tv):
    problem = (BY_NAME | {"bernoulli-high": BERNOULLI_HIGH})[name]
    found = output(problem, steps, schedule, kernel)
    for value, expected in zip(moments(found), (mean, variance), strict=True):
        if expected is not None:
            assert value == pytest.approx(expected, abs=6e-4)
    if tv is not None:
        assert error(found, problem) == pytest.approx(tv, abs=6e-5 if tv < 0.05 else 6e-4)


def test_rounding_to_the_nearest_does_not_converge():
    """Bernoulli data of 0.8: the mean goes to (2q - 1)/q = 0.75, not to 0.8."""
    means = [moments(output(BERNOULLI_HIGH, n, "cosine", "nearest"))[0] for n in (25, 100, 400)]
    gaps = np.array(means) - 0.75
    assert gaps[-1] < 0.004
    np.testing.assert_allclose(gaps[1:] / gaps[:-1], 0.25, atol=0.03)  # first order in 1/N


def test_kernel_is_the_average_of_the_bridges():
    process = PureDeath(5)
    g = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 2, 6, generator=g, dtype=torch.float64)
    x = torch.tensor([[0, 2], [4, 5], [2, 0]])
    logits[torch.arange(6) < x.unsqueeze(-1)] = -torch.inf
    found = exact.bridge_kernel(process, laws.Categorical(logits), x, 0.3, 0.7, 6)
    schedule = process.schedule
    r = float(schedule.increment(0.3, 0.7)) / float(schedule.increment(0.3, 1.0))
    weights = logits.softmax(-1).numpy()
    for b, i in itertools.product(range(3), range(2)):
        start = int(x[b, i])
        expected = sum(
            weights[b, i, end] * stats.binom.pmf(np.arange(6) - start, end - start, r)
            for end in range(start, 6)
        )
        np.testing.assert_allclose(found[b, i], expected, atol=1e-12)


def test_overshoot_is_cut_at_the_maximum():
    """A Poisson leap of mean 2 from 3, all the way to the data, with room for 2."""
    process = PureDeath(5)
    model = exact.MeanOnly(lambda x, t, condition: exact.Poisson(process, 2.0)(x, 0.0))
    x = torch.tensor([[3]])
    kernel = exact.bridge_kernel(process, model(x, 0.5), x, 0.5, 1.0, 40)[0, 0].numpy()
    poisson = stats.poisson.pmf(np.arange(37), 2)
    expected = np.concatenate([np.zeros(3), poisson[:2], [poisson[2:].sum()]])
    np.testing.assert_allclose(kernel[:6], expected, atol=1e-12)
    assert kernel[6:].sum() == 0


def test_sites_on_their_own_are_first_order():
    """Two sites of which exactly one is 1: it is the births of one step that do not agree."""
    process = PureDeath(1)
    data = exact.Empirical(
        process, torch.tensor([[0, 1], [1, 0], [1, 1]]), torch.tensor([0.5, 0.5, 1e-12]), states=2
    )
    model = Transport(process, data, shape=(2,))

    def wrong(steps):
        grid = process.schedule.grid(steps).tolist()
        found = exact.output_law(model, grid, states=2, sites=2).numpy()
        assert found[0, 1] == pytest.approx(found[1, 0])
        return found[0, 0] + found[1, 1]

    assert wrong(1) == pytest.approx(0.5, abs=1e-12)  # two coins
    errors = [wrong(n) for n in (20, 40, 80)]
    np.testing.assert_allclose([a / b for a, b in itertools.pairwise(errors)], 2, atol=0.2)


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "sampler_error.py"
    spec = importlib.util.spec_from_file_location("sampler_error", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("grid", ["logit15", "cosine"])
def test_the_two_pixel_table(benchmark, grid, pytestconfig):
    """The first column of the table that the benchmark checks; the second with `--whole`."""
    columns = (5, 10) if pytestconfig.getoption("whole") else (5,)
    law = benchmark.data_law()
    process = PureDeath(31, {"logit15": LogisticSchedule(15), "cosine": CosineSchedule()}[grid])
    posterior = benchmark.Posterior(process, law)
    for kernel in ("nearest", "stochastic", "poisson", "law"):
        for steps, expected in zip(columns, benchmark.EXPECTED[grid, kernel], strict=False):
            found = benchmark.error(law, posterior, kernel, steps)
            assert found == pytest.approx(expected, abs=1e-3), (kernel, steps)
