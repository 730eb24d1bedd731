"""Fitting mixtures of negative binomials against scipy's likelihoods and laws known beforehand."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import optimize, sparse, stats

from count_rows import PROFILES, SIZES, rows
from markovbridge import PureDeath
from markovbridge.data import SparseRows
from markovbridge.exact import CountMixture, count_fitting, count_mixtures

draw = partial(rows, "fitting")


def pmf(x, mean, r):
    return stats.nbinom.logpmf(x, r, r / (r + mean))


def mixture(profiles, sizes, weights, depths):
    weights = torch.tensor(weights, dtype=torch.float64).log()
    depths = torch.tensor(depths, dtype=torch.float64)
    return CountMixture.of(PureDeath(), weights, depths, profiles, sizes)


def terms(model, x):
    """Log of w NB(x) for all (q, k), as NumPy (n, Q, K), from scipy."""
    mean = model.depths.numpy()[:, None, None] * model.profiles.numpy()
    nats = pmf(x.numpy()[:, None, None], mean, model.sizes.numpy()).sum(-1)
    return nats + model.log_weights.numpy()


def test_without_depth_it_is_maximum_likelihood_per_feature():
    x = draw(400, PROFILES[:1], SIZES, 0)
    model = CountMixture.fit(x, size_factors=False, prior=1e-9, tolerance=1e-12)
    for j in range(5):

        def loss(p, j=j):
            return -pmf(x[:, j].numpy(), math.exp(p[0]), math.exp(p[1])).sum()

        best = optimize.minimize(loss, [0, 0], tol=1e-10)
        assert float(model.profiles[0, j]) == pytest.approx(math.exp(best.x[0]), rel=1e-3)
        assert float(model.sizes[j]) == pytest.approx(math.exp(best.x[1]), rel=1e-3)
    expected = pmf(x.numpy(), model.profiles.numpy(), model.sizes.numpy()).sum(1)
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-9)


def test_nats_are_those_of_a_normalised_law():
    model = mixture(PROFILES[:, :2], SIZES[:2], [[0.1, 0.3], [0.4, 0.2]], [1.0, 4.0])
    x = torch.cartesian_prod(torch.arange(200), torch.arange(60))
    nats = model.log_prob(x)
    assert float(nats.exp().sum()) == pytest.approx(1, abs=1e-8)
    joint = terms(model, x[:500])
    np.testing.assert_allclose(nats[:500], np.logaddexp.reduce(joint, (1, 2)), rtol=1e-8)


def test_depths_are_learned():
    train, test = draw(1500, PROFILES[:1], SIZES, 1), draw(1500, PROFILES[:1], SIZES, 2)
    model = CountMixture.fit(train)
    without = CountMixture.fit(train, size_factors=False)
    # The law the rows were drawn from, its log-normal depth by quadrature.
    nodes = torch.linspace(-5, 5, 400, dtype=torch.float64)
    weights = torch.softmax(-(nodes**2) / 2, 0)[:, None].tolist()
    truth = mixture(PROFILES[:1], SIZES, weights, (60 * (0.5 * nodes).exp()).tolist())
    gap = float((truth.log_prob(test) - model.log_prob(test)).mean())
    assert 0 < gap < 0.05
    assert float((truth.log_prob(test) - without.log_prob(test)).mean()) > 2 * gap
    torch.testing.assert_close(model.sizes.float(), SIZES, rtol=0.4, atol=0)


def test_fitting_never_loses():
    x = draw(200, PROFILES, SIZES, 3)
    options = {"components": 2, "tolerance": -1e300}
    models = [CountMixture.fit(x, rounds=k, **options) for k in range(1, 25, 3)]
    nats = [float(model.log_prob(x).sum()) for model in models]
    assert all(after > before - 1e-6 for before, after in zip(nats, nats[1:], strict=False))


def test_the_mixture_that_made_the_data_is_found():
    train, test = draw(1500, PROFILES, SIZES, 4), draw(1500, PROFILES, SIZES, 5)
    model = CountMixture.choose(train[:1200], train[1200:], candidates=(1, 2, 12))
    assert model.components == 2
    one = CountMixture.fit(train)
    assert model.log_prob(test).mean() > one.log_prob(test).mean() + 0.3
    order = model.profiles[:, 0].argsort(descending=True)
    profiles = model.profiles[order].float()
    profiles = profiles / profiles.sum(1, keepdim=True)
    torch.testing.assert_close(profiles, PROFILES, atol=0.04, rtol=0.2)


def test_counts_lost_to_thinning_by_brute_force():
    model = mixture(PROFILES, SIZES, [[0.2, 0.2], [0.1, 0.5]], [12.0, 30.0])
    kept, p = torch.tensor([[3, 0, 2, 1, 4]]), 0.4
    x = np.arange(600)
    ways = stats.binom.pmf(kept.numpy().T, x, p)  # (5, 600)
    thinned = mixture(PROFILES, SIZES, [[0.2, 0.2], [0.1, 0.5]], [12.0 * p, 30.0 * p])
    share = np.exp(terms(thinned, kept)[0])
    expected = np.zeros(5)
    for (q, k), weight in np.ndenumerate(share / share.sum()):
        for j in range(5):
            mean = float(model.depths[q] * model.profiles[k, j])
            joint = np.exp(pmf(x, mean, float(SIZES[j]))) * ways[j]
            expected[j] += weight * (joint * (x - int(kept[0, j]))).sum() / joint.sum()
    np.testing.assert_allclose(model.lost(kept, p)[0], expected, rtol=1e-6)


def test_hidden_entries_follow_what_the_others_show():
    model = mixture(PROFILES, SIZES, [[0.2, 0.2], [0.1, 0.5]], [20.0, 80.0])
    x = torch.tensor([[40, 20, 0, 2, 0], [1, 6, 0, 30, 0]])
    hidden = torch.tensor([[False, False, True, False, True]] * 2)
    found = model.impute(x, hidden)
    assert torch.equal(found[~hidden], x[~hidden].double())
    seen = ~hidden[0]
    part = CountMixture.of(
        PureDeath(), model.log_weights, model.depths, model.profiles[:, seen], model.sizes[seen]
    )
    means = model.depths.numpy()[:, None, None] * model.profiles.numpy()
    for i in range(2):
        share = np.exp(terms(part, x[i : i + 1, seen])[0])
        guess = (share[..., None] * means).sum((0, 1)) / share.sum()
        np.testing.assert_allclose(found[i, hidden[i]], guess[hidden[i].numpy()], rtol=1e-6)
    other = torch.where(hidden, 1000, x)  # nothing is read from what is hidden
    assert torch.equal(model.impute(other, hidden)[hidden], found[hidden])
    with pytest.raises(ValueError, match="must be bool of shape"):
        model.impute(x, hidden.long())


def test_empty_rows_and_features_that_were_never_seen():
    x = draw(200, PROFILES, SIZES, 6)
    x[:, 4] = 0
    x[0] = 0
    model = CountMixture.fit(x, components=2)
    y = torch.tensor([[0, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    assert bool(torch.isfinite(model.log_prob(y)).all())
    assert bool((model.lost(y, 0.5) > 0).all())
    assert bool((model.impute(y, torch.ones_like(y, dtype=torch.bool)) > 0).all())


def test_sparse_rows_and_seeds_say_the_same():
    x = draw(300, PROFILES, SIZES, 9)
    rows = SparseRows(sparse.csr_matrix(x.numpy()))
    model = CountMixture.choose(x[:200], x[200:], candidates=(1, 2), seed=3)
    again = CountMixture.choose(
        rows.take(torch.arange(200)), rows.take(torch.arange(200, 300)), candidates=(1, 2), seed=3
    )
    assert model.state_dict().keys() == again.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    torch.testing.assert_close(again.log_prob(rows), again.log_prob(x))


def test_tables_that_are_large_are_fitted_alike(monkeypatch):
    """Float32, rows left where they are, fewer of them, and a last fit to all."""
    x = draw(600, PROFILES, SIZES, 10)
    one = CountMixture.fit(x, components=2)
    monkeypatch.setattr(count_fitting, "FINE", 0)
    monkeypatch.setattr(count_fitting, "KEPT", 0)
    monkeypatch.setattr(count_fitting, "AT_ONCE", 40 * 5)
    monkeypatch.setattr(count_fitting, "BLOCK", 100)
    nats = one.log_prob(x).mean()
    assert float((CountMixture.fit(x, components=2).log_prob(x).mean() - nats).abs()) < 1e-3
    monkeypatch.setattr(count_fitting, "ROWS", 400)
    fewer = CountMixture.fit(x, components=2)
    assert 0 < float(nats - fewer.log_prob(x).mean()) < 0.1
    monkeypatch.setattr(count_mixtures, "COMPARED", 200)
    monkeypatch.setattr(count_mixtures, "TRIED", 0)
    chosen = CountMixture.choose(x, draw(300, PROFILES, SIZES, 11), candidates=(1, 2))
    assert chosen.components == 2
    assert float((chosen.log_prob(x).mean() - nats).abs()) < 0.1


def test_wide_tables_are_compared_on_the_features_seen_most(monkeypatch):
    """Then all features are fitted, those left out as well: the mixture is the same."""
    x, test = draw(600, PROFILES, SIZES, 10), draw(300, PROFILES, SIZES, 11)
    usual = CountMixture.choose(x, test, candidates=(1, 2))
    seen = []
    sorted_counts = count_mixtures.SortedCounts
    monkeypatch.setattr(
        count_mixtures,
        "SortedCounts",
        lambda *args, **named: seen.append(sorted_counts(*args, **named)) or seen[-1],
    )
    monkeypatch.setattr(count_mixtures, "WIDE", 3)
    for fewer in (2**26, 0):  # rounds of the last fit
        monkeypatch.setattr(count_mixtures, "LARGE", fewer)
        chosen = CountMixture.choose(x, test, candidates=(1, 2))
        assert seen[-1].columns.tolist() == x.sum(0).topk(3).indices.sort().values.tolist()
        assert chosen.components == 2 and chosen.profiles.shape == (2, 5)
        gap = chosen.log_prob(test).mean() - usual.log_prob(test).mean()
        assert float(gap.abs()) < 0.05
    one = torch.ones(1, 3, dtype=torch.float64)
    wide, numbers = (
        seen[-2],
        count_fitting.Numbers(0 * one[:, :1], one[0, :1], 2 * one, 5 * one[0]),
    )
    made = count_fitting.widened(numbers, seen[-1], wide, 0.0)
    share = seen[-1].sum.sum() / x.sum()
    torch.testing.assert_close(made.depths, 1 / share[None])
    kept = torch.zeros(5, dtype=torch.bool)
    kept[seen[-1].columns] = True
    torch.testing.assert_close(made.profiles[0, kept], (2 * share).expand(3))
    torch.testing.assert_close(made.profiles[0, ~kept], wide.sum[~kept] / x.sum())
    assert made.sizes.tolist() == torch.where(kept, 5.0, 1.0).tolist()


def test_a_wide_range_is_fitted():
    """Means from 10 to 10^6 in one table; sizes and means of features are found."""
    means, sizes = torch.logspace(1, 6, 12), torch.tensor([0.5, 2.0, 8.0]).repeat(4)
    x = draw(800, (means / means.sum())[None], sizes, 12, depth=float(means.sum()))
    model = CountMixture.fit(x)
    assert bool(torch.isfinite(model.log_prob(x)).all())
    law = model.marginal(x[:1], 1.0)
    torch.testing.assert_close(law.mean[0], x.double().mean(0), rtol=0.1, atol=0)
    torch.testing.assert_close(model.sizes.float(), sizes, rtol=0.25, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: CountMixture.fit(x, components=0), "by 0 components"),
        (lambda x: CountMixture.fit(x[:1]), "1 rows cannot"),
        (lambda x: CountMixture.fit(x).log_prob(x[:, :2]), "5 features, x has 2"),
        (lambda x: CountMixture.fit(x).lost(x, 1.0), "not 1.0"),
        (lambda x: CountMixture.choose(x, x, candidates=()), "at least one candidate"),
        (lambda x: CountMixture.fit(-x), "counts cannot be negative"),
    ],
)
def test_invalid_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw(20, PROFILES, SIZES, 8))
