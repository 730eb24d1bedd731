"""The law of a data set of pairs (x_0, x_1), `Paired`: against sums over all pairs."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

import markovbridge as mb
from markovbridge import exact
from markovbridge.covariances import Dense
from problems import assert_sums
from problems_chains import random_rates

WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.5])
TIMES = (0.05, 0.4, 0.9)
ENDS = torch.tensor([[0, 2], [1, 1], [2, 2], [0, 0], [1, 2]])
STARTS = torch.tensor([[2, 0], [2, 0], [0, 1], [1, 2], [2, 0]])
# Chains, states low .. high that hold the mass, and pairs between which paths lead.
CHAINS = {
    "uniform": (mb.UniformChain(3), (0, 2), STARTS, ENDS),
    "rates": (mb.FiniteChain(random_rates(3, 1)), (0, 2), STARTS, ENDS),
    "steps": (mb.DiscreteTimeChain(np.stack([np.eye(3) * 0.7 + 0.1] * 20)), (0, 2), STARTS, ENDS),
    "death": (
        mb.PureDeath(schedule=mb.LogisticSchedule(exact_ends=False)),
        (0, 4),
        torch.tensor([[0, 1], [0, 1], [1, 1], [0, 0], [0, 1]]),
        torch.tensor([[3, 1], [1, 4], [2, 2], [0, 3], [3, 1]]),
    ),
    "walk": (mb.RandomWalk(0.5, maximum=2), (-14, 16), STARTS, ENDS),
}


@pytest.fixture(params=CHAINS)
def chain(request):
    return CHAINS[request.param]


def law_of(chain, preserve=False):
    process, _, starts, ends = chain
    return exact.Empirical(process, ends, WEIGHTS, coupling=mb.Paired(preserve), starts=starts)


def joint(chain, t):
    """w_k p(x_t = x | pair k) at every state of two sites: (pairs, states)."""
    process, (low, high), starts, ends = chain
    values = torch.arange(low, high + 1)
    rows, columns = torch.meshgrid(values, values, indexing="ij")
    first, second = (
        process.transition(rows, s, u).site_log_prob(columns).double().exp().numpy()
        for s, u in ((1.0, t), (t, 0.0))
    )
    found = []
    for x0, x1, w in zip((starts - low).tolist(), (ends - low).tolist(), WEIGHTS, strict=True):
        each = [first[y] * second[:, x] for x, y in zip(x0, x1, strict=True)]
        found.append(float(w / WEIGHTS.sum()) * np.kron(*[site / site.sum() for site in each]))
    return np.array(found)


def states(bounds):
    values = torch.arange(bounds[0], bounds[1] + 1)
    return torch.cartesian_prod(values, values)


def test_of_chains_the_law_of_the_end_sums_over_pairs(chain):
    law, every = law_of(chain), states(chain[1])
    for t in TIMES:
        assert_sums(law, every, t, joint(chain, t))


def test_of_chains_told_their_start_only_its_pairs_count(chain):
    law, every = law_of(chain, preserve=True), states(chain[1])
    for begin, t in itertools.product(chain[2].unique(dim=0), TIMES):
        mine = (chain[2] == begin).all(1).numpy()
        found = joint(chain, t) * mine[:, None]
        seen = found.sum(0) > 1e-12
        start = begin.expand(int(seen.sum()), -1)
        weights = law.given_start(every[seen], t, start).log_weights.exp()
        right = (found / found.sum(0).clip(1e-300)).T[seen]
        np.testing.assert_allclose(weights, right, rtol=1e-6, atol=1e-12)
        passing = law.log_passing(every[seen], t, start).exp()
        share = float(WEIGHTS[torch.as_tensor(mine)].sum() / WEIGHTS.sum())
        np.testing.assert_allclose(passing, found.sum(0)[seen] / share, rtol=1e-6)


DIFFUSIONS = {
    "brownian": mb.LinearDiffusion(mb.Brownian(0.7), offset=0.3),
    "noising": mb.LinearDiffusion(mb.VP(0.1, 5.0), direction="noising"),
    "correlated": mb.LinearDiffusion(
        mb.OrnsteinUhlenbeck(-0.8), Dense(torch.tensor([[1.0, 0.4], [0.4, 0.5]]).double())
    ),
}


@pytest.fixture(params=DIFFUSIONS)
def reals(request):
    generator = torch.Generator().manual_seed(3)
    starts, ends = torch.randn(2, 5, 2, generator=generator)
    starts[1], starts[4] = starts[0], starts[0]
    x = torch.randn(7, 2, generator=generator)
    return DIFFUSIONS[request.param], starts, ends, x


def densities(process, starts, ends, x, t):
    """Log w_k p(x_t = x | pair k), (batch, pairs), by a dense normal law."""
    law = process.bridge(starts.double(), ends.double(), 0.0, t, 1.0)
    unit = (process.covariance @ torch.eye(2).double()).numpy()
    parts = [
        stats.multivariate_normal(mean, float(law.scale.flatten()[0]) ** 2 * unit).logpdf(x)
        for mean in law.mean.numpy()
    ]
    return np.stack(parts, 1) + np.log(WEIGHTS.numpy() / WEIGHTS.sum().item())


@pytest.mark.parametrize("t", TIMES)
def test_of_reals_the_law_of_the_end_sums_over_pairs(reals, t):
    process, starts, ends, x = reals
    law = exact.Empirical(process, ends, WEIGHTS, coupling=mb.Paired(), starts=starts)
    log = torch.from_numpy(densities(process, starts, ends, x.double().numpy(), t))
    found = law(x, t).log_weights.exp().double()
    torch.testing.assert_close(found, log.softmax(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(law.marginal(x, t).log_prob(x), log.logsumexp(1))
    told = exact.Empirical(process, ends, WEIGHTS, coupling=mb.Paired(True), starts=starts)
    for begin in starts[[0, 2]]:
        mine = (starts == begin).all(1)
        own, start = log.masked_fill(~mine, -torch.inf), begin.expand(len(x), -1)
        found = told.given_start(x, t, start).log_weights.exp().double()
        torch.testing.assert_close(found, own.softmax(1), rtol=1e-5, atol=1e-6)
        share = (WEIGHTS[mine].sum() / WEIGHTS.sum()).log()
        passing = told.log_passing(x, t, start)
        torch.testing.assert_close(passing, own.logsumexp(1) - share, rtol=1e-6, atol=1e-5)


def test_of_reals_a_certain_state_tells_its_pairs(reals):
    process, starts, ends, _ = reals
    law = exact.Empirical(process, ends, WEIGHTS, coupling=mb.Paired(), starts=starts)
    shares = WEIGHTS / WEIGHTS.sum()
    at_start = law(starts, 0.0).log_weights.exp()
    same = (starts.unsqueeze(1) == starts).all(2)
    torch.testing.assert_close(at_start, same * shares / (same * shares).sum(1, keepdim=True))
    torch.testing.assert_close(law(ends, 1.0).log_weights.exp(), torch.eye(5))
    begun = law.marginal(starts, 0.0).log_prob(starts).exp()
    torch.testing.assert_close(begun.float(), (same * shares).sum(1))
    told = law.given_start(ends[[0, 0]], 1.0, starts[[0, 2]]).log_weights.exp()
    torch.testing.assert_close(told, torch.eye(5)[[0, 2]])
    # Where two sources come to one point, the start tells which of both pairs it is.
    ends = ends.clone()
    ends[2] = ends[0]
    law = exact.Empirical(process, ends, WEIGHTS, coupling=mb.Paired(), starts=starts)
    told = law.given_start(ends[[0, 0]], 1.0, starts[[0, 2]]).log_weights.exp()
    torch.testing.assert_close(told, torch.eye(5)[[0, 2]])


def test_walks_keep_pairs_together_where_they_are_told_their_start(reals):
    process, starts, ends, _ = reals
    n, generator = 4000, torch.Generator().manual_seed(0)
    for preserve in (True, False):
        law = exact.Empirical(process, ends, WEIGHTS, coupling=mb.Paired(preserve), starts=starts)
        model = mb.Transport(process, law, shape=(2,), coupling=law.coupling)
        shares = (WEIGHTS / WEIGHTS.sum()).double()
        rows = torch.multinomial(shares, n, replacement=True, generator=generator)
        found = model.translate(
            starts[rows], steps=3, sampler=mb.Bridge(), generator=generator, block=n
        )
        which = (found.unsqueeze(1) - ends).norm(dim=2)
        assert float(which.min(1).values.max()) < 1e-5
        counts = which.argmin(1).bincount(minlength=5).numpy()
        assert stats.chisquare(counts, shares.numpy() * n).pvalue > 1e-5
        if preserve:
            assert bool((starts[which.argmin(1)] == starts[rows]).all())


def test_mixtures_of_data_sets_of_pairs_are_the_set_of_all(reals):
    process, starts, ends, x = reals
    for preserve in (True, False):
        coupling = mb.Paired(preserve)
        parts = [
            exact.Empirical(process, ends[part], WEIGHTS[part], coupling=coupling, starts=at)
            for part, at in ((slice(0, 2), starts[:2]), (slice(2, 5), starts[2:]))
        ]
        shares = [float(WEIGHTS[:2].sum() / WEIGHTS.sum())]
        mixed = exact.Mixture(process, [*shares, 1 - shares[0]], parts)
        whole = exact.Empirical(process, ends, WEIGHTS, coupling=coupling, starts=starts)
        torch.testing.assert_close(mixed(x, 0.4).mean, whole(x, 0.4).mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: {"coupling": mb.Paired()}, ValueError, "the x_0 of each point is to be given"),
        (lambda: {"starts": STARTS}, ValueError, r"take the coupling Paired\(\)"),
        (
            lambda: {"coupling": mb.Paired(), "starts": STARTS[:2]},
            ValueError,
            "row i of one goes with row i",
        ),
        (
            lambda: {"coupling": mb.Paired(), "starts": STARTS.float()},
            TypeError,
            r"pass process.check\(starts\)",
        ),
    ],
)
def test_pairs_that_are_none_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        exact.Empirical(mb.UniformChain(3), ENDS, WEIGHTS, **make())


def test_a_start_of_no_pair_is_named():
    law = law_of(CHAINS["uniform"], preserve=True)
    with pytest.raises(ValueError, match="start 1 of the batch is the x_0 of no pair"):
        law.given_start(ENDS[:2], 0.5, torch.tensor([[2, 0], [0, 0]]))


def test_a_flow_between_pairs_has_no_density():
    process = mb.LinearDiffusion(mb.Brownian(0.0))
    with pytest.raises(ValueError, match="has no density"):
        exact.Empirical(process, ENDS.float(), coupling=mb.Paired(), starts=STARTS.float())


def test_a_pair_of_weight_0_is_none():
    ends, weights = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0.0, 1.0, 1.0])
    process, starts = mb.LinearDiffusion(mb.Brownian()), torch.tensor([[0.0], [1.0], [2.0]])
    law = exact.Empirical(process, ends, weights, coupling=mb.Paired(True), starts=starts)
    x = torch.tensor([[0.1]])
    with pytest.raises(ValueError, match="start 0 of the batch is the x_0 of no pair"):
        law.given_start(x, 0.5, starts[:1])
    assert bool(torch.isfinite(law.given_start(x, 0.5, starts[1:2]).log_weights[:, 1]).all())


def test_amounts_that_stay_where_they_are_are_certain():
    process = mb.GammaProcess(2.0)
    for value in torch.rand(60, generator=torch.Generator().manual_seed(0)).split(1):
        v = value.reshape(1, 1)
        ends, starts = torch.cat([v, v]), torch.cat([v, torch.zeros_like(v)])
        law = exact.Empirical(process, ends, coupling=mb.Paired(), starts=starts)
        found = law.log_likelihood(v, 0.37)
        assert float(found[0, 0]) == 0
