"""Laws of x_1 that are told x_0, and those of a source that is a data set: against enumeration."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

import markovbridge as mb
from markovbridge import exact
from markovbridge.couplings import Gaussian
from markovbridge.covariances import Dense
from problems import assert_sums
from problems_chains import random_rates

LEVEL = 1e-5
TIMES = (0.05, 0.4, 0.9)
GENERAL = [[0, 2], [1, 1], [2, 2], [0, 0]], [[2, 0], [0, 1], [1, 2]]  # data, sources
# Chains, states low .. high that hold the mass, and data and sources between which paths lead.
CHAINS = {
    "uniform": (mb.UniformChain(3), (0, 2), GENERAL),
    "rates": (mb.FiniteChain(random_rates(3, 1)), (0, 2), GENERAL),
    "driven": (
        mb.FiniteChain(lambda t: random_rates(3, 1) * 12 * t + random_rates(3, 2) * 5 * (1 - t)),
        (0, 2),
        GENERAL,
    ),
    "steps": (mb.DiscreteTimeChain(np.stack([np.eye(3) * 0.7 + 0.1] * 20)), (0, 2), GENERAL),
    "ehrenfest": (mb.Ehrenfest(2), (0, 2), GENERAL),
    "grey": (mb.DiscretisedGaussianChain(3), (0, 2), GENERAL),
    "absorbing": (mb.AbsorbingChain(3), (0, 3), ([[0, 2], [1, 1], [2, 2]], [[3, 3], [3, 3]])),
    "death": (
        mb.PureDeath(schedule=mb.LogisticSchedule(exact_ends=False)),
        (0, 4),
        ([[1, 2], [3, 2], [3, 4]], [[0, 2], [1, 0]]),
    ),
    "walk": (mb.RandomWalk(0.5, maximum=2), (-14, 16), GENERAL),
    "birth-death": (mb.BirthDeath(0.8, maximum=2), (0, 16), GENERAL),
}
FINITE = ("uniform", "driven", "absorbing", "death")


@pytest.fixture(params=CHAINS)
def chain(request):
    process, bounds, (data, sources) = CHAINS[request.param]
    weights = torch.arange(1.0, len(data) + 1)
    return process, bounds, torch.tensor(data), torch.tensor(sources), weights


def law_of(chain, preserve):
    process, _, data, sources, weights = chain
    coupling = mb.Independent(sources, preserve=preserve)
    return exact.Empirical(process, data, weights, coupling=coupling)


def transition(process, bounds, s, t):
    """p(x_t = column | x_s = row) for t <= s, site by site."""
    values = torch.arange(bounds[0], bounds[1] + 1)
    rows, columns = torch.meshgrid(values, values, indexing="ij")
    return process.transition(rows, s, t).site_log_prob(columns).double().exp().numpy()


def bridges(chain, t):
    """p(x_t = x | x_0, x_1) at every state of two sites: (sources, points, states)."""
    process, (low, high), data, sources, _ = chain
    first, second = (transition(process, (low, high), *at) for at in ((1.0, t), (t, 0.0)))
    found = []
    for x0, x1 in itertools.product((sources - low).tolist(), (data - low).tolist()):
        each = [first[y] * second[:, x] for x, y in zip(x0, x1, strict=True)]
        found.append(np.kron(*[site / site.sum() for site in each]))
    return np.array(found).reshape(len(sources), len(data), -1)


def states(bounds):
    values = torch.arange(bounds[0], bounds[1] + 1)
    return torch.cartesian_prod(values, values)


def test_data_told_their_source_have_one_factor_more(chain):
    _, bounds, _, sources, weights = chain
    law, every = law_of(chain, True), states(bounds)
    for t in TIMES:
        expected = bridges(chain, t) * weights.numpy()[:, None]
        for begin, joint in zip(sources, expected, strict=True):
            seen = joint.sum(0) > 1e-12 * joint.sum()
            start = begin.expand(int(seen.sum()), -1)
            found = law.given_start(every[seen], t, start)
            right = (joint / joint.sum(0).clip(1e-300)).T[seen]
            np.testing.assert_allclose(found.log_weights.exp(), right, rtol=1e-6, atol=1e-12)
            passing = law.log_passing(every[seen], t, start).exp()
            total = joint.sum(0)[seen] / weights.sum().item()
            np.testing.assert_allclose(passing, total, rtol=1e-6)


def test_a_data_set_is_a_source_whose_states_are_summed(chain):
    _, bounds, _, sources, weights = chain
    law, every = law_of(chain, False), states(bounds)
    for t in TIMES:
        joint = bridges(chain, t).mean(0) * weights.numpy()[:, None] / float(weights.sum())
        assert_sums(law, every, t, joint)
    begun = law.marginal(every, 0.0)
    draws = begun.sample(generator=torch.Generator().manual_seed(0))
    assert {*map(tuple, draws.tolist())} == {*map(tuple, sources.tolist())}


def kernel(chain, law, begin, t, s):
    """p(x_s | x_t), and x_0 if told, of the sampler that draws an end and steps the bridge."""
    process, bounds, data, _, _ = chain
    every = states(bounds)
    matrix = np.zeros((len(every), len(every)))
    for index, x in enumerate(every):
        x = x.unsqueeze(0)
        try:
            told = law(x, t) if begin is None else law.given_start(x, t, begin.unsqueeze(0))
        except ValueError:  # x_t is never this state
            continue
        for y, weight in zip(data, told.log_weights.exp()[0].tolist(), strict=True):
            if weight > 0:
                step = process.bridge(x.expand_as(every), y.expand_as(every), t, s, 1.0)
                each = step.site_log_prob(every)
                matrix[index] += weight * each.double().exp().prod(1).numpy()
    return matrix


@pytest.mark.parametrize("name", FINITE)
def test_walks_that_are_told_their_start_preserve_the_coupling(name):
    process, bounds, (data, sources) = CHAINS[name]
    data, sources = torch.tensor(data), torch.tensor(sources)
    chain = process, bounds, data, sources, torch.arange(1.0, len(data) + 1)
    shares = (chain[4] / chain[4].sum()).tolist()
    wanted = dict(zip(map(tuple, data.tolist()), shares, strict=True))
    for preserve in (True, False):
        law, total = law_of(chain, preserve), 0
        for begin in sources:
            every = states(bounds)
            mass = (every == begin).all(1).double().numpy()
            for t, s in itertools.pairwise((0.0, 0.4, 1.0)):
                mass = mass @ kernel(chain, law, begin if preserve else None, t, s)
            right = np.array([wanted.get(tuple(x), 0.0) for x in every.tolist()])
            if preserve:
                np.testing.assert_allclose(mass, right, atol=1e-8)
            total = total + mass / len(sources)
        np.testing.assert_allclose(total, right, atol=1e-8)


def test_draws_have_the_joint_law_of_source_and_data():
    data, sources = (torch.tensor(values) for values in GENERAL)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for process in (mb.UniformChain(3), mb.BirthDeath(0.8, maximum=2), mb.LinearDiffusion()):
        kind = torch.int64 if process.dtype == torch.int64 else torch.float32
        coupling = mb.Independent(sources.to(kind), preserve=True)
        law = exact.Empirical(process, data.to(kind), weights, coupling=coupling)
        transport = mb.Transport(process, law, shape=(2,))
        x0 = sources.to(kind).repeat(2000, 1)
        generator = torch.Generator().manual_seed(0)
        options = {"steps": 4, "sampler": mb.Bridge(), "block": 6000, "generator": generator}
        x1 = transport.translate(x0, **options)
        table = np.zeros((3, 4))
        at = (x1.round().unsqueeze(1) == data.to(kind)).all(-1)
        assert bool(at.any(1).all())
        np.add.at(table, (np.arange(6000) % 3, at.float().argmax(1).numpy()), 1)
        expected = 2000 * np.array([1, 2, 3, 4]) / 10 * np.ones((3, 1))
        assert stats.chisquare(table.ravel(), expected.ravel(), ddof=2).pvalue > LEVEL
        assert transport.loss(data.to(kind)).isfinite().all()


GAMMA = torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
UNSTABLE = mb.LinearDiffusion(mb.OrnsteinUhlenbeck(-1.0, 0.7), covariance=Dense(GAMMA))


def densities(process, x, t, starts, ends):
    """p(x_t = x | x_0, x_1) of every pair: (starts, ends)."""
    p, k, c = (float(w) for w in process.weights(0.0, t, 1.0))
    normal = stats.multivariate_normal(np.zeros(2), c * GAMMA.numpy())
    centres = p * starts[:, None].double() + k * ends[None].double()
    return normal.pdf((x.double() - centres).numpy()).reshape(len(starts), len(ends))


def test_reals_from_a_data_set_and_told_which():
    generator = torch.Generator().manual_seed(1)
    data, sources, x = (
        torch.randn(n, 2, dtype=torch.float64, generator=generator) for n in (7, 5, 5)
    )
    weights = torch.rand(7, generator=generator)
    for preserve in (False, True):
        coupling = mb.Independent(sources, preserve=preserve)
        law = exact.Empirical(UNSTABLE, data, weights, coupling=coupling)
        for t in TIMES:
            each = [densities(UNSTABLE, row, t, sources, data) * weights.numpy() for row in x]
            whole = np.array([table.mean(0) for table in each])
            found = law(x, t).log_weights.exp()
            np.testing.assert_allclose(found, whole / whole.sum(1, keepdims=True), rtol=1e-6)
            log = law.marginal(x, t).log_prob(x)
            np.testing.assert_allclose(log.exp(), whole.sum(1) / float(weights.sum()), rtol=1e-6)
            told = np.array([table[i] for i, table in enumerate(each)])
            found = law.given_start(x, t, sources).log_weights.exp()
            np.testing.assert_allclose(found, told / told.sum(1, keepdims=True), rtol=1e-6)
            log = law.log_passing(x, t, sources)
            np.testing.assert_allclose(log.exp(), told.sum(1) / float(weights.sum()), rtol=1e-6)
        right = (weights / weights.sum()).double().expand(5, -1)
        for found in (law(sources, 0.0), law.given_start(sources, 0.0, sources)):
            torch.testing.assert_close(found.log_weights.exp(), right, rtol=1e-6, atol=0)
        for found in (law(data[:5], 1.0), law.given_start(data[:5], 1.0, sources)):
            torch.testing.assert_close(found.log_weights.exp(), torch.eye(7).double()[:5])


def pairs(seed, shift=0.0, coupling=None):
    """Jointly Gaussian pairs in the plane, and their moments in numpy."""
    root = np.random.default_rng(seed).normal(size=(4, 4))
    whole = torch.from_numpy(root @ root.T + np.eye(4))
    means = torch.from_numpy(np.random.default_rng(seed).normal(size=4)) + shift
    law = exact.Gaussian(
        UNSTABLE, means[2:], whole[2:, 2:], means[:2], whole[:2, :2], whole[:2, 2:], coupling
    )
    return law, means.numpy(), whole.numpy()


def three(means, whole, t):
    """Mean and covariance of (x_0, x_t, x_1)."""
    p, k, c = (float(w) for w in UNSTABLE.weights(0.0, t, 1.0))
    eye, none = np.eye(2), np.zeros((2, 2))
    move = np.block([[eye, none], [p * eye, k * eye], [none, eye]])
    noise = np.zeros((6, 6))
    noise[2:4, 2:4] = c * GAMMA.numpy()
    return move @ means, move @ whole @ move.T + noise


def test_gaussians_told_their_source():
    x, start = torch.tensor([[0.3, -1.0], [2.0, 0.5]]), torch.tensor([[1.0, 0.0], [-0.7, 0.2]])
    seen = np.concatenate([start.numpy(), x.numpy()], 1)
    laws = [pairs(seed, coupling=mb.Paired(preserve=True)) for seed in (0, 1)]
    weights = (0.3, 0.7)
    mixed = exact.Mixture(UNSTABLE, weights, [law for law, _, _ in laws])
    times = torch.tensor([0.2, 0.7], dtype=torch.float64)
    for t in (0.2, 0.7, times):
        means, masses = [], []
        for law, mean, whole in laws:
            found = law.given_start(x, t, start)
            for row in range(2):
                at = float(times[row]) if isinstance(t, torch.Tensor) else t
                centre, spread = three(mean, whole, at)
                gain = spread[4:, :4] @ np.linalg.inv(spread[:4, :4])
                right = centre[4:] + gain @ (seen[row] - centre[:4])
                np.testing.assert_allclose(found.mean[row], right, rtol=1e-5, atol=1e-6)
                left = (spread[4:, 4:] - gain @ spread[:4, 4:]).diagonal()
                np.testing.assert_allclose(found.variance[row], left, rtol=1e-5)
                means.append(right)
                normal = stats.multivariate_normal(centre[:4], spread[:4, :4])
                start_only = stats.multivariate_normal(centre[:2], spread[:2, :2])
                masses.append((normal.pdf(seen[row]), start_only.pdf(seen[row][:2])))
            log = law.log_passing(x, t, start)
            wanted = [np.log(a / b) for a, b in masses[-2:]]
            np.testing.assert_allclose(log, wanted, rtol=1e-5)
        mass = np.array([m for m, _ in masses]).reshape(2, 2) * np.array(weights)[:, None]
        begun = np.array([m for _, m in masses]).reshape(2, 2) * np.array(weights)[:, None]
        share = (mass / mass.sum(0))[..., None]
        right = (share * np.array(means).reshape(2, 2, 2)).sum(0)
        np.testing.assert_allclose(mixed.given_start(x, t, start).mean, right, rtol=1e-5)
        log = np.log(mass.sum(0) / begun.sum(0))
        np.testing.assert_allclose(mixed.log_passing(x, t, start), log, rtol=1e-5)


def test_pairs_of_reals_are_kept_together():
    law, mean, whole = pairs(3, coupling=mb.Paired(preserve=True))
    transport = mb.Transport(UNSTABLE, law, shape=(2,))
    generator = torch.Generator().manual_seed(0)
    x0 = torch.from_numpy(stats.multivariate_normal(mean[:2], whole[:2, :2]).rvs(4000, 5)).float()
    options = {"steps": 3, "sampler": mb.Bridge(), "block": 4000, "generator": generator}
    x1 = transport.translate(x0, **options).double().numpy()
    both = np.concatenate([x0.double().numpy(), x1], 1) - mean
    white = np.linalg.solve(np.linalg.cholesky(whole), both.T)
    for each in white:
        assert stats.kstest(each, stats.norm.cdf).pvalue > LEVEL
    assert np.abs(np.corrcoef(white) - np.eye(4)).max() < 4.5 / 4000**0.5


def test_what_starts_say_nothing_of_is_the_law_itself():
    data = torch.tensor([[0, 2], [1, 1]])
    x, t = torch.tensor([[0, 1], [0, 0]]), 0.4
    parts = [exact.Poisson(mb.PureDeath(), m) for m in (1.0, 5.0)]
    for law in (
        exact.Poisson(mb.PureDeath(), 2.0),
        exact.Empirical(mb.PureDeath(), data, coupling=mb.Dirac(0)),
        exact.Mixture(mb.PureDeath(), (0.4, 0.6), parts),
    ):
        assert torch.equal(law.given_start(x, t, 0 * x).mean, law(x, t).mean)


def test_refusals():
    data = torch.zeros(2, 2)
    law = exact.Empirical(UNSTABLE, data, coupling=mb.Independent(Gaussian(correlated=True)))
    assert law.given_start(data, 0.5, data).mean.shape == (2, 2)  # told without being shown
    with pytest.raises(ValueError, match="start is where each path began, of the shape"):
        law.given_start(data, 0.5, data[:1])
    with pytest.raises(ValueError, match="which is not known under Independent from Function"):
        exact.Empirical(UNSTABLE, data, coupling=mb.Independent(lambda like, g: like))
    kept = mb.Independent(lambda like, g: torch.zeros_like(like), preserve=True)
    transport = mb.Transport(UNSTABLE, exact.Empirical(UNSTABLE, data, coupling=kept), shape=(2,))
    assert torch.equal(transport.sample(3, steps=2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="needs x_0 as `start`"):
        transport.law(data, 0.5)
    with pytest.raises(ValueError, match="the source is .*|states have the shape"):
        exact.Empirical(UNSTABLE, data, coupling=mb.Independent(torch.zeros(3, 1)))
    with pytest.raises(ValueError, match="no bridge|cannot decrease"):
        sources = mb.Independent(torch.tensor([[3, 0]]), preserve=True)
        death = exact.Empirical(mb.PureDeath(), torch.tensor([[2, 1]]), coupling=sources)
        death.given_start(torch.tensor([[2, 0]]), 0.5, torch.tensor([[3, 0]]))
    with pytest.raises(ValueError, match="has `given_start`"):
        mb.Transport(UNSTABLE, lambda x, t, c: None, shape=(2,), coupling=kept)

    class Silent(exact.DataLaw):
        coupling = mb.Paired(preserve=True)

        def marginal(self, x, t): ...
        def __call__(self, x, t, condition=None): ...

    for ask in (Silent().given_start, Silent().log_passing):
        with pytest.raises(TypeError, match="is not worked out for Silent"):
            ask(data, 0.5, data)
