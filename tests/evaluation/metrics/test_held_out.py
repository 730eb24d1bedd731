"""Scores of hidden entries against closed forms, brute force and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    crps,
    held_out,
    held_out_table,
    poisson_deviance,
    spearman,
    thin,
)
from markovbridge.evaluation.restoration import Restoration


def poisson(shape, rate, key):
    rng = generator("cpu", "held out", key)
    return torch.poisson(torch.full(shape, float(rate)), generator=rng).to(torch.int64)


def test_thinning_splits_every_unit_once():
    x = torch.arange(6).repeat(20_000, 1)
    kept, lost = thin(x, 0.3, generator=generator("cpu", "thin"))
    assert kept.dtype == lost.dtype == torch.int64
    assert torch.equal(kept + lost, x)
    for n in range(1, 6):
        observed = np.bincount(kept[:, n], minlength=n + 1)
        expected = 20_000 * stats.binom.pmf(np.arange(n + 1), n, 0.3)
        assert stats.chisquare(observed, expected).pvalue > 1e-5
    again, _ = thin(x, 0.3, generator=generator("cpu", "thin"))
    assert torch.equal(kept, again)


def test_parts_of_poisson_counts_are_independent():
    kept, lost = thin(poisson((50_000,), 4, 0), 0.5, generator=generator("cpu", "parts"))
    correlation = float(torch.corrcoef(torch.stack([kept, lost]).double())[0, 1])
    assert abs(correlation) * math.sqrt(50_000) < 4.4  # level 1e-5


@pytest.mark.parametrize(
    ("x", "survival", "message"),
    [
        (torch.ones(2).long(), 1.0, "in .0, 1., not 1.0"),
        (torch.ones(2), 0.5, "integers of 0 or more"),
        (torch.tensor([-1]), 0.5, "integers of 0 or more"),
    ],
)
def test_what_cannot_be_thinned_is_refused(x, survival, message):
    with pytest.raises(ValueError, match=message):
        thin(x, survival)


def test_spearman_with_ties():
    a, b = poisson((400,), 1, 1), poisson((400,), 1, 2)
    b = a + b
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, rel=1e-12)
    assert spearman(a, -(a.double() ** 3)) == pytest.approx(-1)
    assert math.isnan(spearman(a, torch.ones(400)))


def test_deviance():
    mean, y = torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([0, 2, 6, 0])
    expected = [2.0, 0.0, 2 * (6 * math.log(2) - 3), 0.0]
    assert poisson_deviance(mean, y).tolist() == pytest.approx(expected, rel=1e-12)
    # Twice the difference of log-likelihoods.
    ours = stats.poisson.logpmf(6, 6) - stats.poisson.logpmf(6, 3)
    assert float(poisson_deviance(mean, y)[2]) == pytest.approx(2 * ours, rel=1e-12)
    assert poisson_deviance(torch.zeros(1), torch.ones(1)).item() == math.inf
    with pytest.raises(ValueError, match="predicted mean is -3"):
        poisson_deviance(-mean, y)


def closed_form(law, y):
    k = np.arange(200)
    return float(((law.cdf(k) - (k >= y)) ** 2).sum())


def test_fair_crps_is_unbiased_exactly():
    # Over all pairs of draws, weighted by their probability.
    values = np.arange(25)
    weight = stats.poisson.pmf(values, 1.7)
    pairs = torch.tensor([[a, b] for a in values for b in values]).T
    weights = torch.from_numpy(np.outer(weight, weight).ravel())
    for y in (0, 1, 4):
        found = crps(pairs, torch.full((625,), y))
        expected = closed_form(stats.poisson(1.7), y)
        assert float(found @ weights) == pytest.approx(expected, abs=1e-9)


def test_crps_by_brute_force_and_of_many_draws():
    draws, truth = poisson((7, 3, 2), 3, 3), poisson((3, 2), 3, 4)
    found = crps(draws, truth)
    for i in range(3):
        for j in range(2):
            d = draws[:, i, j].tolist()
            off = sum(abs(a - int(truth[i, j])) for a in d) / 7
            between = sum(abs(a - b) for a in d for b in d) / (7 * 6)
            assert float(found[i, j]) == pytest.approx(off - between / 2, abs=1e-12)
    many = crps(poisson((200_000, 1), 2.5, 5), torch.tensor([4]))
    assert float(many) == pytest.approx(closed_form(stats.poisson(2.5), 4), abs=0.01)
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        crps(draws[:1], truth)


def test_scores_are_of_hidden_entries_only():
    truth = poisson((200, 4), 3, 6)
    where = torch.rand(200, 4, generator=generator("cpu", "where")) < 0.3
    mean = truth.double() + 1
    mean[~where] = -99  # not looked at but by the mean itself
    found = held_out(mean, truth, where)
    assert found.entries == int(where.sum())
    assert (found.rmse, found.mae, found.spearman) == pytest.approx((1, 1, 1))
    assert found.crps is None and found.coverage == ()
    with pytest.raises(ValueError, match="must have one shape"):
        held_out(mean, truth[:5])
    with pytest.raises(ValueError, match="at least one entry"):
        held_out(mean, truth, torch.zeros_like(where))


def test_a_perfect_ensemble():
    draws, truth = poisson((40, 500, 6), 2, 7), poisson((500, 6), 2, 8)
    found = held_out(Restoration(draws), truth, generator=generator("cpu", "ties"))
    expected = sum(stats.poisson.pmf(y, 2) * closed_form(stats.poisson(2), y) for y in range(40))
    assert found.crps == pytest.approx(expected, rel=0.05)
    assert found.rmse == pytest.approx(math.sqrt(2 + 2 / 40), rel=0.05)
    assert math.isfinite(found.deviance)
    for c in found.coverage:
        assert abs(c.randomised - c.level) < 4.4 * c.error + 1e-9
    text = held_out_table({"model": found, "mean": held_out(torch.full((500, 6), 2.0), truth)})
    head, first, second = text.splitlines()
    assert head.split() == [
        "Spearman",
        "RMSE",
        "MAE",
        "deviance",
        "CRPS",
        "in",
        "50%",
        "in",
        "90%",
    ]
    assert first.startswith("model") and len(first.split()) == 8
    assert second.split()[1] == "nan" and len(second.split()) == 5


def test_a_few_draws_have_a_finite_deviance():
    draws = torch.zeros(2, 3, 1, dtype=torch.int64)
    draws[:, 0] = 3
    truth = torch.tensor([[3], [1], [0]])
    found = held_out(Restoration(draws), truth)
    # The feature's average is 1, and is one of three draws.
    expected = poisson_deviance(torch.tensor([7, 1, 1]).double() / 3, truth[:, 0]).mean()
    assert found.deviance == pytest.approx(float(expected), rel=1e-12)
    assert found.rmse == pytest.approx(math.sqrt(1 / 3))
