"""Exact posteriors against the closed forms, and against Bayes' rule on tables."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import Brownian, LinearSchedule, PureDeath, exact
from markovbridge.doors.randomness import generator
from markovbridge.exact import empirical
from problems import PROBLEMS, SCHEDULES, TOP, assert_follows, posterior, thinning

SURVIVALS = (0.01, 0.3, 0.8, 0.999)
LOW = 13  # x_t is looked at up to 12: beyond, the tables of Bayes run out of mass


def time(process, p):
    """The time at which survival is p."""
    pq = (torch.tensor(v, dtype=torch.float64) for v in (p, 1 - p))
    return float(process.schedule.time(*pq))


def states(problem):
    return torch.arange(LOW if problem.maximum is None else problem.maximum + 1).unsqueeze(1)


@pytest.fixture(params=PROBLEMS, ids=lambda problem: problem.name)
def problem(request):
    return request.param


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("negative-binomial", (1.448276, 2.172414, 2.896552, 3.620690)),
        ("binomial", (3.181818, 2.863636, 2.545455)),
        ("zero-inflated", (0.468214, 2.8, 2.8)),
        ("poisson", (2.1, 2.1, 2.1)),
        ("bernoulli", (0.3 * 0.7 / 0.91, 0.0)),
    ],
)
def test_published_numbers_at_survival_0_3(name, values):
    problem = next(p for p in PROBLEMS if p.name == name)
    for schedule in SCHEDULES.values():
        process = PureDeath(schedule=schedule)
        x = torch.arange(len(values)).unsqueeze(1)
        found = problem.law(process)(x, time(process, 0.3)).excess(x)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.squeeze(1).numpy(), values, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_mean_is_the_closed_form(problem, schedule):
    process = PureDeath(schedule=SCHEDULES[schedule])
    law, x = problem.law(process), states(problem)
    for p in SURVIVALS:
        t = time(process, p)
        p = float(process.schedule.survival(t))
        expected = problem.remaining(x.numpy(), p)
        posterior_law = law(x, t)
        np.testing.assert_allclose(posterior_law.excess(x).numpy(), expected, rtol=1e-9)
        mean = posterior_law.mean.numpy()
        np.testing.assert_allclose(mean, x.numpy() + expected, rtol=1e-12)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(posterior_law.log_excess(x).exp(), expected, atol=1e-12)


def test_posterior_is_bayes(problem):
    process = PureDeath(schedule=LinearSchedule())
    x = states(problem)
    for p in SURVIVALS:
        expected = posterior(problem.pmf, p)[: len(x)]
        law = problem.law(process)(x, p)
        found = np.stack(
            [law.log_prob(torch.full_like(x, y)).exp().numpy() for y in range(TOP + 1)], 1
        )
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)
        value = np.arange(TOP + 1)
        second = expected @ value**2 - (expected @ value) ** 2
        np.testing.assert_allclose(law.variance.squeeze(1).numpy(), second, atol=1e-8)


def test_marginal_is_thinned_data(problem):
    process = PureDeath(schedule=LinearSchedule())
    x = torch.arange(TOP + 1).unsqueeze(1)
    for p in SURVIVALS:
        law = problem.law(process).marginal(x, p)
        expected = problem.pmf @ thinning(p)
        np.testing.assert_allclose(law.log_prob(x).exp().numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_ends(problem, schedule):
    """At the source the law is the data law; at the data it is the state itself."""
    process = PureDeath(schedule=SCHEDULES[schedule])
    law, x = problem.law(process), states(problem)
    black = torch.zeros_like(x)
    np.testing.assert_allclose(
        law(black, 0.0).log_prob(x).exp().numpy(), problem.pmf[: len(x)], rtol=1e-5
    )
    last = law(x, 1.0)
    assert torch.equal(last.sample(generator=generator("cpu", 0)), x)
    np.testing.assert_allclose(last.log_prob(x), 0, atol=1e-15)
    assert last.excess(x).abs().max() == 0
    np.testing.assert_allclose(law.marginal(x, 1.0).log_prob(x).exp(), problem.pmf[: len(x)])


def test_a_time_for_each_state(problem):
    process = PureDeath()
    law, x = problem.law(process), states(problem)[:2]
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    together = law(x, t).excess(x)
    apart = [law(x[i : i + 1], float(t[i])).excess(x[i : i + 1]) for i in range(2)]
    assert torch.equal(together, torch.cat(apart))


def test_everything_follows_from_the_mean(problem):
    """E[(m)_j | x] = y(x) y(x+1) ... y(x+j-1), and Var(m)/y = y(x+1) - y(x) + 1."""
    process, p = PureDeath(schedule=LinearSchedule()), 0.3
    law = problem.law(process)
    top = 8 if problem.maximum is None else problem.maximum
    x = torch.arange(top + 1).unsqueeze(1)
    y = law(x, p).excess(x).squeeze(1).numpy()
    table = posterior(problem.pmf, p)
    m = np.arange(TOP + 1)
    for start, j in itertools.product(range(4), (1, 2, 3, 4)):
        if start + j > top:
            continue
        remaining = np.maximum(m - start, 0).astype(float)
        falling = np.prod([np.maximum(remaining - i, 0) for i in range(j)], 0)
        moment = table[start] @ falling
        assert moment == pytest.approx(np.prod(y[start : start + j]), rel=1e-8, abs=1e-14)
    fano = law(x[:-1], p).variance.squeeze(1).numpy()
    np.testing.assert_allclose(fano, y[:-1] * (y[1:] - y[:-1] + 1), rtol=1e-9, atol=1e-14)
    if problem.name == "negative-binomial":
        assert fano[0] / y[0] == pytest.approx(1.72414, abs=1e-5)


def test_a_constant_is_a_binomial_of_certain_units():
    """Data that are always 7: what remains is 7 - x, at both ends of time as well."""
    process = PureDeath(7)
    law = exact.Binomial(process, 7, 1.0)
    x = torch.arange(8).unsqueeze(1)
    for t in (1e-8, 0.3, 1 - 1e-9):
        np.testing.assert_allclose(law(x, t).excess(x), 7 - x.numpy(), rtol=1e-12)
        assert law(x, t).sample(generator=generator("cpu", 0)).tolist() == [[7]] * 8
    assert law(x, 1.0).sample(generator=generator("cpu", 0))[7].tolist() == [7]


# Mixtures and data sets of several sites -------------------------------------------------


def test_mixture_of_counts_is_bayes_on_the_mixed_table():
    process = PureDeath(schedule=LinearSchedule())
    parts = (PROBLEMS[1], PROBLEMS[2], PROBLEMS[4])
    weights = (0.5, 0.3, 0.2)
    law = exact.Mixture(process, weights, [p.law(process) for p in parts])
    pmf = sum(w * p.pmf for w, p in zip(weights, parts, strict=True))
    x = torch.arange(9).unsqueeze(1)
    for p in SURVIVALS:
        expected = posterior(pmf, p)[: len(x)]
        found = law(x, p)
        table = np.stack(
            [found.log_prob(torch.full_like(x, y)).exp().numpy() for y in range(TOP + 1)], 1
        )
        np.testing.assert_allclose(table, expected, rtol=1e-7, atol=1e-11)
        value = np.arange(TOP + 1)
        np.testing.assert_allclose(
            found.excess(x).squeeze(1), expected @ value - x.squeeze(1).numpy(), rtol=1e-7
        )
        marginal = law.marginal(x, p).log_prob(x).exp()
        np.testing.assert_allclose(marginal, (pmf @ thinning(p))[: len(x)], rtol=1e-10)


def test_mixture_weighs_whole_events():
    """Two classes of two sites: what one site shows tells about the other."""
    process, p = PureDeath(schedule=LinearSchedule()), 0.4
    means = np.array([[0.5, 4.0], [3.0, 0.2]])
    parts = [exact.Poisson(process, torch.tensor(mean)) for mean in means]
    law = exact.Mixture(process, (0.25, 0.75), parts)
    for x in ((0, 0), (2, 0), (0, 3), (1, 1)):
        likelihood = np.array([0.25, 0.75]) * stats.poisson.pmf(x, p * means).prod(1)
        weight = likelihood / likelihood.sum()
        found = law(torch.tensor([x]), p)
        np.testing.assert_allclose(
            found.excess(torch.tensor([x]))[0], weight @ (0.6 * means), rtol=1e-12
        )
        y = (3, 4)
        expected = weight @ stats.poisson.pmf(np.subtract(y, x), 0.6 * means).prod(1)
        assert float(found.log_prob(torch.tensor([y])).exp()) == pytest.approx(expected)


def two_sites():
    """A data set of two correlated sites, weighted."""
    g = generator("cpu", "two sites")
    points = torch.randint(0, 6, (25, 2), generator=g).unique(dim=0)
    weights = torch.rand(len(points), generator=g, dtype=torch.float64) + 0.1
    return points, weights / weights.sum()


def brute_force(points, weights, x, p):
    """Posterior weight of every point given x."""
    likelihood = stats.binom.pmf(np.array(x), points.numpy(), p).prod(1) * weights.numpy()
    return likelihood / likelihood.sum()


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_empirical_is_bayes_over_the_points(schedule):
    process = PureDeath(5, SCHEDULES[schedule])
    points, weights = two_sites()
    law = exact.Empirical(process, points, weights)
    every = [
        x
        for x in itertools.product(range(6), repeat=2)
        if (points >= torch.tensor(x)).all(1).any()
    ]
    for p in SURVIVALS:
        t = time(process, p)
        p = float(process.schedule.survival(t))
        found = law(torch.tensor(every), t)
        for i, x in enumerate(every):
            expected = brute_force(points, weights, x, p)
            np.testing.assert_allclose(found.log_weights[i].exp(), expected, rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(found.mean[i], expected @ points.numpy(), rtol=1e-9)


def test_empirical_of_equal_weights_any_shape_and_one_time_each():
    process = PureDeath(9)
    g = generator("cpu", "images")
    points = torch.randint(0, 10, (40, 1, 2, 3), generator=g)
    t = torch.rand(8, generator=g, dtype=torch.float64)
    x = process.transition(points[:8], 1.0, t).sample(generator=g)
    found = exact.Empirical(process, points)(x, t)
    assert found.mean.shape == x.shape
    for i in range(8):
        p = float(process.schedule.survival(t[i]))
        expected = brute_force(points.flatten(1), torch.ones(40) / 40, x[i].flatten().tolist(), p)
        np.testing.assert_allclose(found.log_weights[i].exp(), expected, rtol=1e-8, atol=1e-12)


def test_empirical_does_not_depend_on_its_blocks(monkeypatch):
    process, (points, weights) = PureDeath(5), two_sites()
    x = torch.tensor([[0, 0], [1, 2], [0, 3], [2, 0]])
    t = torch.tensor([0.1, 0.5, 0.6, 0.9], dtype=torch.float64)
    whole = exact.Empirical(process, points, weights).log_likelihood(x, t)
    monkeypatch.setattr(empirical, "PAIRS", 7)
    parts = exact.Empirical(process, points, weights).log_likelihood(x, t)
    assert torch.equal(whole, parts)
    # All points different from one another at every site: nothing to look up by value.
    spread = torch.tensor([[0, 9], [1, 8], [2, 7]])
    direct = exact.Empirical(PureDeath(9), spread).log_likelihood(torch.zeros(4, 2).long(), t)
    p = process.schedule.survival(t).numpy()[:, None]
    np.testing.assert_allclose(direct, np.log1p(-p) * spread.sum(1).numpy()[None, :], rtol=1e-9)


def test_empirical_taken_apart_into_sites():
    process, (points, weights) = PureDeath(5), two_sites()
    x = torch.tensor([[0, 0], [1, 2]])
    joint = exact.Empirical(process, points, weights)(x, 0.5)
    sites = exact.Empirical(process, points, weights, states=6)(x, 0.5)
    for i, site, value in itertools.product(range(2), range(2), range(6)):
        expected = joint.log_weights[i].exp()[points[:, site] == value].sum()
        found = sites.log_probs[i, site, value].exp()
        assert float(found) == pytest.approx(float(expected), abs=1e-14)


def test_marginal_of_a_data_set():
    process, (points, weights) = PureDeath(5, LinearSchedule()), two_sites()
    law = exact.Empirical(process, points, weights)
    p, n = 0.6, 20_000
    every = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    table = np.stack(
        [
            weights.numpy() @ stats.binom.pmf(np.array(x), points.numpy(), p).prod(1)
            for x in every.tolist()
        ]
    )
    marginal = law.marginal(every, p)
    np.testing.assert_allclose(marginal.log_prob(every).exp(), table, rtol=1e-9)
    mean = table @ every.numpy()
    np.testing.assert_allclose(marginal.mean[0], mean, rtol=1e-9)
    np.testing.assert_allclose(
        marginal.variance[0], table @ (every.numpy() - mean) ** 2, rtol=1e-9
    )
    draws = law.marginal(torch.zeros(n, 2), p).sample(generator=generator("cpu", "marginal"))
    assert_follows(draws[:, 0] * 6 + draws[:, 1], table)


def test_covariances_of_the_posterior_are_differences_of_the_mean():
    """Cov(m_i, m_j | x) = y_i(x) [y_j(x + e_i) - y_j(x) + δ_ij], which is symmetric, and
    with u = -log q the mean falls as ∂_u y_i = -Σ_j Cov(m_i, m_j | x)."""
    process = PureDeath(5, LinearSchedule())
    g = generator("cpu", "full table")
    points = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    weights = torch.rand(36, generator=g, dtype=torch.float64)
    law, p, h = exact.Empirical(process, points, weights), 0.4, 1e-5

    def mean(x, p=p):
        x = torch.tensor([x])
        return law(x, p).excess(x)[0].numpy()

    for x in ((0, 0), (1, 3), (4, 2)):
        weight = brute_force(points, weights, x, p)
        centred = points.numpy() - weight @ points.numpy()
        covariance = (weight[:, None] * centred).T @ centred
        y = mean(x)
        for i, j in itertools.product(range(2), repeat=2):
            up = list(x)
            up[i] += 1
            found = y[i] * (mean(up)[j] - y[j] + (i == j))
            assert found == pytest.approx(covariance[i, j], abs=1e-11)
        q = 1 - p
        slope = (mean(x, 1 - q * math.exp(-h)) - mean(x, 1 - q * math.exp(h))) / (2 * h)
        np.testing.assert_allclose(slope, -covariance.sum(1), rtol=1e-7)


def test_mean_only_keeps_the_mean_and_forgets_the_rest():
    process = PureDeath(5)
    points, weights = two_sites()
    law = exact.Empirical(process, points, weights)
    x = torch.tensor([[0, 0], [1, 2]])
    y = law(x, 0.5).excess(x)
    for kernel, variance in (
        ("poisson", y),
        ("stochastic", (y - y.floor()) * (1 - y + y.floor())),
        ("nearest", torch.zeros_like(y)),
    ):
        found = exact.MeanOnly(law, kernel)(x, 0.5)
        torch.testing.assert_close(found.excess(x), y)
        torch.testing.assert_close(found.variance, variance)
    with pytest.raises(ValueError, match="kernel must be one of 'poisson', 'stochastic'"):
        exact.MeanOnly(law, "round")(x, 0.5)


def test_what_cannot_be_is_refused():
    process = PureDeath(5)
    law = exact.Empirical(process, torch.tensor([[2, 1], [0, 3]]))
    with pytest.raises(ValueError, match="state 1 of the batch cannot come from any data point"):
        law(torch.tensor([[0, 0], [2, 2]]), 0.5)
    with pytest.raises(ValueError, match="weights must be 2 non-negative numbers"):
        exact.Empirical(process, torch.tensor([[2], [0]]), torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="weights must be 2 non-negative numbers"):
        exact.Empirical(process, torch.tensor([[2], [0]]), torch.ones(3))
    with pytest.raises(ValueError, match="one weight per component, not 1 for 2"):
        exact.Mixture(process, (1.0,), [exact.Poisson(process, 1.0)] * 2)
    with pytest.raises(ValueError, match="probabilities that sum to 1"):
        exact.Mixture(process, (0.5, 0.6), [exact.Poisson(process, 1.0)] * 2)
    with pytest.raises(ValueError, match=r"zero must lie in \[0, 1\), not 1"):
        exact.ZeroInflatedPoisson(process, 1.0, 2.0)
    with pytest.raises(TypeError, match="process must be a Process, not a Brownian"):
        exact.Poisson(Brownian(), 1.0)(torch.zeros(1, 1), 0.5)
