"""The Yule process: against its rate matrix, and as a model that finds founders."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm

import markovbridge as mb
from markovbridge import exact
from markovbridge.doors.randomness import generator
from markovbridge.testing import check_process
from problems import assert_follows

RATE, STATES = 1.5, 200
S, T, U = 0.25, 0.5, 0.8


def clock(t):
    """The time of the Yule process that births at rate 1 for each unit, from the data to t."""
    return np.log1p(RATE * np.cos(np.pi * t / 2) ** 2)


def table(u, t):
    """P(x_t | x_u) by the exponential of the rate matrix; its last state is a trap."""
    births = np.arange(STATES, dtype=float)
    births[-1] = 0
    rates = np.diag(births[:-1], 1) - np.diag(births)
    return expm(rates * (clock(t) - clock(u)))


def rows(values):
    return torch.as_tensor(np.asarray(values)).reshape(-1, 1)


@pytest.mark.parametrize(("u", "t"), [(1.0, 0.0), (1.0, T), (U, S), (T, T)])
def test_transitions_are_those_of_the_rate_matrix(u, t):
    process, known, x = mb.Yule(RATE), table(u, t), np.arange(60)
    for y in (0, 1, 2, 7):
        law = process.transition(rows(np.full(60, y)), u, t)
        np.testing.assert_allclose(
            law.site_log_prob(rows(x)).exp()[:, 0], known[y, :60], atol=1e-9
        )
        assert float(law.mean[0]) == pytest.approx(y * np.exp(clock(t) - clock(u)), rel=1e-9)
    draws = process.transition(rows(np.full(8000, 2)), u, t).sample(generator=generator("cpu", 0))
    assert_follows(draws, known[2, :STATES])


def test_the_bridge_is_bayes():
    process, x = mb.Yule(RATE), np.arange(60)
    for start, end in ((9, 2), (5, 5), (30, 1), (0, 0)):
        known = table(U, T)[end, :60] * table(T, S)[:60, start]
        law = process.bridge(rows(np.full(60, start)), rows(np.full(60, end)), S, T, U)
        found = law.site_log_prob(rows(x)).exp()[:, 0]
        np.testing.assert_allclose(found, known / known.sum(), atol=1e-9)


@pytest.mark.parametrize("process", [mb.Yule(RATE, 2), mb.Yule(RATE, 2, maximum=6)])
def test_what_it_says_belongs_together(process):
    data = torch.tensor([[1, 2], [4, 1], [6, 3], [2, 2]])
    check_process(process, data)


def test_the_founders_of_a_population_are_found():
    """`restore` draws from p(x_1 | x_t), here of founders that are 1 + Poisson(2)."""
    process, n, t, seen = mb.Yule(RATE), 3000, 0.4, 6
    founders = np.arange(1, 12)
    pmf = stats.poisson.pmf(founders - 1, 2.0)
    law = exact.Empirical(process, rows(founders), torch.tensor(pmf / pmf.sum()))
    model = mb.Transport(process, law, shape=(1,))
    wanted = np.zeros(12)
    wanted[1:] = pmf * table(1.0, t)[founders, seen]
    for sampler in (mb.Bridge(), mb.Gillespie()):
        start = torch.full((n, 1), seen)
        g = generator("cpu", "founders")
        found = model.restore(start, t, steps=1, sampler=sampler, generator=g, block=n)
        assert_follows(found, wanted / wanted.sum())


def test_from_one_founder_it_is_pure_death_read_backwards():
    """Pinned at one founder and at a population, x - 1 is thinned as by pure death."""
    population, x = 8, torch.arange(8).unsqueeze(1)
    forward = mb.Yule(RATE).bridge(torch.full_like(x, population), torch.ones_like(x), 0.0, T, 1.0)
    p = np.cos(np.pi * T / 2) ** 2  # of the births, the share that the way from the data has
    found = forward.site_log_prob(x + 1).exp()[:, 0]
    np.testing.assert_allclose(found, stats.binom.pmf(range(8), 7, p), atol=1e-12)


def test_the_likelihood_bound_is_tight_up_to_the_source():
    """By the chain rule -log p = KL(x_0 | x_1 ‖ p(x_0)) + the integral at the exact law."""
    process, pmf = mb.Yule(0.8, maximum=3), np.array([0.5, 0.2, 0.3])
    points = rows([1, 2, 3])
    law = exact.Empirical(process, points, torch.tensor(pmf))
    model = mb.Transport(process, law, shape=(1,))
    bound = model.log_likelihood(points, draws=2000, generator=generator("cpu", 3), block=2**12)
    x = np.arange(400)
    noised = np.array([stats.nbinom.pmf(x - n, n, 1 / 1.8) for n in (1, 2, 3)])

    def entropy(q):
        terms = noised * np.log(np.maximum(noised, 1e-300) / np.maximum(q, 1e-300))
        return np.where(noised > 0, terms, 0).sum(1)

    prior = model.coupling.prior(process, points)
    np.testing.assert_allclose(prior, entropy(noised[0]), atol=1e-9)
    wanted = np.log(pmf) - prior.numpy() + entropy(pmf @ noised)
    off, error = bound.nats.numpy() - wanted, bound.standard_error.numpy()
    assert (error < 0.1).all() and (np.abs(off) < 5 * error).all()


def test_refuses():
    with pytest.raises(ValueError, match="centre must be at least 1, not 0"):
        mb.Yule(1.0, centre=0)
    with pytest.raises(ValueError, match="rate must be positive, not -1"):
        mb.Yule(-1.0)
    with pytest.raises(ValueError, match="cannot increase towards the data"):
        mb.Yule(1.0).bridge(torch.tensor([[1]]), torch.tensor([[2]]), 0.1, 0.5, 1.0)
