"""Likelihood bounds against laws whose entropy is known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from likelihoods import TABLE, check, generator, pairs
from markovbridge import LogisticSchedule, NegativeBinomialHead, PureDeath, Transport, exact, laws
from markovbridge.heads import MeanHead
from markovbridge.processes import (
    AbsorbingChain,
    DiscreteTimeChain,
    Ehrenfest,
    LinearDiffusion,
    UniformChain,
)
from problems import COUNTS, PROBLEMS, SCHEDULES

LOOKS = {"bernoulli": 1000, "binomial": 2000, "zero-inflated": 6000}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_exact_mean_gives_the_entropy(problem):
    process = PureDeath(maximum=problem.maximum)
    transport = Transport(process, problem.law(process), shape=(1,))
    repeats = np.maximum(np.round(1000 * problem.pmf).astype(int), problem.pmf > 1e-5)
    x = np.repeat(np.arange(len(repeats)), repeats)
    draws = LOOKS.get(problem.name, 400)
    bound = transport.log_likelihood(
        torch.from_numpy(x).unsqueeze(1), draws=draws, generator=generator(), block=2**15
    )
    weights = (problem.pmf / np.maximum(repeats, 1))[x]
    missing = problem.pmf[repeats == 0]
    tail = -(missing * np.log(np.maximum(missing, 1e-300))).sum()
    off = -weights @ bound.nats.numpy() + tail - problem.entropy
    error = math.sqrt(weights**2 @ bound.standard_error.numpy() ** 2)
    assert abs(off) < 1e-3
    assert abs(off) < 5 * error + 1e-5
    assert error < 1e-3


def test_tight_point_by_point():
    transport = Transport(PureDeath(), exact.NegativeBinomial(PureDeath(), 3.0, 2.0), shape=(1,))
    x = torch.arange(12).unsqueeze(1)
    bound = transport.log_likelihood(x, draws=20000, generator=generator(), block=2**15)
    check(bound, stats.nbinom.logpmf(np.arange(12), 2, 2 / 5), 0.02)
    four = transport.log_likelihood(
        torch.full((2000, 1), 4), draws=200, generator=generator(), block=2**15
    )
    mean, error = four.average()
    assert abs(mean + 2.266446) < 5 * error + 1e-4
    assert error < 4e-3


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_schedule(name):
    process = PureDeath(schedule=SCHEDULES[name])
    transport = Transport(process, exact.Poisson(process, 2.0), shape=(1,))
    x = torch.arange(6).unsqueeze(1)
    if name == "published":
        with pytest.raises(ValueError, match="exact_ends"):
            transport.log_likelihood(x)
        assert transport.log_likelihood(x[:1], draws=400).nats < 0  # black is black
        return
    bound = transport.log_likelihood(x, draws=2000, generator=generator(), block=2**15)
    check(bound, stats.poisson.logpmf(np.arange(6), 2), 0.02)


@pytest.mark.parametrize(
    "process",
    [PureDeath(maximum=2), UniformChain(3), AbsorbingChain(3), AbsorbingChain(3, 0), Ehrenfest(2)],
    ids=["death", "uniform", "mask", "black mask", "ehrenfest"],
)
def test_correlated_table(process):
    transport, x, weights = pairs(process)
    repeated = x.repeat_interleave(25, 0)
    bound = transport.log_likelihood(repeated, draws=400, generator=generator(), block=2**14)
    nats = bound.nats.reshape(len(x), 25)
    error = (bound.standard_error.reshape(len(x), 25) ** 2).sum(1).sqrt() / 25
    off = nats.mean(1) - weights.log()
    assert float((off.abs() / (error + 1e-4)).max()) < 5
    assert float(error.max()) < 0.1
    # The stated errors are those that are seen.
    ratio = nats.std(1) / (bound.standard_error.reshape(len(x), 25) ** 2).mean(1).sqrt()
    assert 0.7 < float(ratio.mean()) < 1.3


@pytest.mark.parametrize(
    "process", [PureDeath(maximum=2), UniformChain(3), Ehrenfest(2)], ids=["death", "uniform", "e"]
)
def test_steps_with_the_exact_joint_law_have_no_gap_and_no_noise(process):
    # Along any path, the log-ratios of true kernels telescope to log p(x_1). One step is one
    # draw of the kernel, so every draw is the answer.
    transport, x, weights = pairs(process, states=None)
    bound = transport.log_likelihood(x, steps=1, draws=2, generator=generator())
    np.testing.assert_allclose(bound.nats, weights.log(), atol=1e-5)
    many = transport.log_likelihood(
        x.repeat_interleave(25, 0), steps=5, draws=200, generator=generator(), block=2**13
    )
    check(many, weights.log().repeat_interleave(25), 0.04)


def test_steps_of_sites_on_their_own_lose_their_correlation():
    transport, x, weights = pairs(PureDeath(maximum=2))
    bound = transport.log_likelihood(x, steps=1, draws=2, generator=generator())
    product = TABLE.sum(1)[x[:, 0]].log() + TABLE.sum(0)[x[:, 1]].log()
    np.testing.assert_allclose(bound.nats, product, atol=1e-5)


def test_discrete_time_counts_its_own_steps():
    steps, kept = 6, 0.3
    matrices = (kept * torch.eye(3).double() + (1 - kept) / 3).expand(steps, 3, 3)
    process = DiscreteTimeChain(matrices)
    every = torch.arange(3).unsqueeze(1)
    law = exact.Empirical(process, every, TABLE.sum(1), states=3)
    transport = Transport(process, law, shape=(1,))
    bound = transport.log_likelihood(every, draws=6000, generator=generator(), block=2**14)
    # The chain has not quite forgotten its start: KL of the prior, then an exact reversal.
    check(bound, TABLE.sum(1).log(), 0.05)


def _poisson_gap(steps):
    """What Poisson steps lose on NB(3, 2) over the cosine grid, by sums over the tables."""
    survival = np.sin(np.linspace(0, np.pi / 2, steps + 1)) ** 2
    prior, lost = stats.nbinom.pmf(COUNTS, 2, 2 / 5), 0.0
    for p, s in zip(survival, survival[1:], strict=False):
        share = (s - p) / (1 - p)
        state = stats.nbinom.pmf(COUNTS, 2, 2 / (2 + 3 * p))
        mean = (1 - p) * 3 * (2 + COUNTS) / (2 + 3 * p)
        # The true kernel: a thinned negative binomial of size 2 + x.
        size = 2 + COUNTS[:, None]
        true = stats.nbinom.logpmf(COUNTS, size, size / (size + share * mean[:, None]))
        step = stats.poisson.logpmf(COUNTS, share * mean[:, None])
        lost += state @ (np.exp(true) * (true - step)).sum(1)
    assert prior.sum() > 1 - 1e-9
    return lost


@pytest.mark.parametrize(
    ("steps", "gap"), [(10, 0.0243), pytest.param(50, 0.0048, marks=pytest.mark.whole)]
)
def test_poisson_kernel_pays_for_its_steps(steps, gap):
    process = PureDeath()
    posterior = exact.MeanOnly(exact.NegativeBinomial(process, 3.0, 2.0), "poisson")
    transport = Transport(process, posterior, shape=(1,))
    pmf = stats.nbinom.pmf(COUNTS, 2, 2 / 5)
    repeats = np.maximum(np.round(1000 * pmf).astype(int), pmf > 1e-5)
    x = np.repeat(COUNTS, repeats)
    bound = transport.log_likelihood(
        torch.from_numpy(x).unsqueeze(1),
        steps=steps,
        draws=1000,
        generator=generator(),
        block=2**15,
    )
    weights = (pmf / np.maximum(repeats, 1))[x]
    off = weights @ (np.log(pmf[x]) - bound.nats.numpy()) - _poisson_gap(steps)
    error = math.sqrt(weights**2 @ bound.standard_error.numpy() ** 2)
    assert abs(off) < 5 * error + 2e-4
    assert error < 0.002
    assert abs(_poisson_gap(steps) - gap) < 1e-4


class Scaled:
    """A posterior whose mean is off by a factor."""

    def __init__(self, law, factor):
        self.law, self.factor = law, factor

    def __call__(self, x, t, condition=None):
        return MeanHead().around(x, self.law(x, t).log_excess(x) + math.log(self.factor))


@pytest.mark.parametrize("factor", [0.5, 1.3])
def test_gap_of_a_wrong_mean(factor):
    # E ∫ [(c - 1) y - m log c]/q dp = (c - 1 - log c) E[x_1], whatever the data law.
    process, draws = PureDeath(), 200
    law = exact.NegativeBinomial(process, 3.0, 2.0)
    x = torch.from_numpy(np.random.default_rng(0).negative_binomial(2, 2 / 5, (4000, 1)))
    right, wrong = (
        Transport(process, network, shape=(1,)).log_likelihood(
            x, draws=draws, generator=generator(), block=2**15
        )
        for network in (law, Scaled(law, factor))
    )
    lost = (right.nats - wrong.nats).numpy()
    expected = (factor - 1) * 3.0 - math.log(factor) * 3.0
    assert expected > 0.1
    # Given x_1 the loss is (c - 1) ∫ y/q dp - x_1 log c; only its mean is in closed form.
    assert abs(lost.mean() - expected) < 5 * lost.std() / math.sqrt(len(x))


def test_units_and_averages():
    process = PureDeath(maximum=1)
    transport = Transport(process, exact.Binomial(process, 1, 0.3), shape=(4, 5))
    x = torch.zeros((3, 4, 5), dtype=torch.uint8)
    bound = transport.log_likelihood(x, draws=40, generator=generator(), block=7)
    assert bound.sites == 20
    torch.testing.assert_close(bound.bits, -bound.nats / (20 * math.log(2)))
    mean, error = bound.average_bits()
    assert abs(mean - math.log2(1 / 0.7)) < 0.05
    assert error == pytest.approx(bound.average()[1] / (20 * math.log(2)))
    again = transport.log_likelihood(x, draws=40, generator=generator(), block=7)
    assert torch.equal(bound.nats, again.nats)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [({"draws": 3}, "even"), ({"condition": torch.zeros(2)}, "condition has 2 rows")],
)
def test_refuses(arguments, match):
    transport = Transport(PureDeath(), exact.Poisson(PureDeath(), 1.0), shape=(1,))
    with pytest.raises(ValueError, match=match):
        transport.log_likelihood(torch.ones((3, 1), dtype=torch.int64), **arguments)


def test_infinite_and_unknown_bounds_of_steps_say_so():
    process = PureDeath()
    posterior = exact.Poisson(process, 1.0)
    x = torch.ones((3, 1), dtype=torch.int64)
    for kernel in ("nearest", "stochastic"):
        rounded = Transport(process, exact.MeanOnly(posterior, kernel), shape=(1,))
        with pytest.raises(ValueError, match="infinite"):
            rounded.log_likelihood(x, steps=10)
    inflated = Transport(process, exact.ZeroInflatedPoisson(process, 0.5, 1.0), shape=(1,))
    with pytest.raises(TypeError, match="unbounded"):
        inflated.log_likelihood(x, steps=10)
    real = Transport(LinearDiffusion(), lambda x, t, c: laws.Delta(x), shape=(1,))
    with pytest.raises(TypeError, match="counts and categories"):
        real.log_likelihood(x.double(), steps=10)
    published = PureDeath(schedule=LogisticSchedule(15, exact_ends=False))
    with pytest.raises(ValueError, match="survival at t = 0"):
        Transport(published, exact.Poisson(published, 1.0), shape=(1,)).log_likelihood(x)


def test_a_trained_network_and_its_condition():
    class Network(torch.nn.Module):
        def forward(self, features, t, condition):
            return condition.reshape(-1, 1, 1).expand(-1, 2, features.shape[-1])

    process = PureDeath()
    transport = Transport(
        process, Network(), NegativeBinomialHead(), shape=(3,), mean=2.0, variance=4
    )
    x = torch.tensor([[0, 1, 2]]).expand(2, 3)
    condition = torch.tensor([0.0, 4.0])
    bound = transport.log_likelihood(x, condition=condition, draws=2000, generator=generator())
    alone = transport.log_likelihood(
        x[:1], condition=condition[1:], draws=2000, generator=generator(3)
    )
    error = float((bound.standard_error[1] ** 2 + alone.standard_error[0] ** 2).sqrt())
    assert abs(float(bound.nats[1] - alone.nats[0])) < 5 * error
    assert float(bound.nats[0] - bound.nats[1]) > 10 * error


def test_stated_errors_hold_for_a_row_unlike_those_that_the_times_are_fitted_to():
    # No event is born to (0, 0), so that its integrand is a function of time alone: what is left
    # of its error is where the density of times, which the others make, has its jumps.
    process, sizes = PureDeath(), torch.tensor([2.0, 3.0]).double()
    weights = torch.tensor([[0.1, 0.25, 0.05], [0.2, 0.1, 0.3]]).double().log()
    profiles = torch.tensor([[0.4, 0.9], [0.8, 0.3], [1.1, 0.6]]).double()
    depths = torch.tensor([1.0, 2.0]).double()
    size = sizes.numpy()
    law = exact.CountMixture.of(process, weights, depths, profiles, sizes, corrected=True)
    x = torch.tensor([[0, 0], [3, 2], [10, 1], [5, 0]])
    known = torch.zeros(4, dtype=torch.float64)
    for k, depth in enumerate(depths):
        for j, profile in enumerate(profiles):
            means = (depth * profile).numpy()
            each = stats.nbinom.pmf(x.numpy(), size, size / (size + means))
            known += weights[k, j].exp() * torch.from_numpy(each.prod(1))
    model = Transport(process, law, shape=(2,))
    bounds = [
        model.log_likelihood(x, draws=1024, generator=generator(seed), block=2**12)
        for seed in range(24)
    ]
    off = torch.stack([(bound.nats - known.log()) / bound.standard_error for bound in bounds])
    assert float(off.abs().max()) < 4
    assert float(off.square().mean()) < 1.5
    assert max(float(bound.standard_error[0]) for bound in bounds) < 2e-4
