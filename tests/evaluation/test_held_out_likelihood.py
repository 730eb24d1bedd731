"""Held-out likelihood against laws that are known, and the histogram against hand counts."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import PureDeath, Transport, exact
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.evaluation.held_out_likelihood import Histogram, held_out, table
from markovbridge.laws import Poisson, Shifted


def test_frequencies_are_smoothed_by_hand():
    x1 = torch.tensor([[0, 1], [0, 1], [1, 1], [0, 2]])
    found = Histogram.fit(x1, 3)
    a = found.concentration
    pooled = np.array([3, 4, 1, 0]) + 1.0
    pooled /= pooled.sum()
    for site, counts in enumerate(([3, 1, 0, 0], [0, 3, 1, 0])):
        expected = (np.array(counts) + a * pooled) / (4 + a)
        assert np.allclose(found.log_probs[site].exp(), expected)
    assert torch.allclose(found.log_probs.exp().sum(1), torch.ones(2).double())
    new = torch.tensor([[3, 2]])
    assert float(found.log_prob(new)) == pytest.approx(
        float(found.log_probs[0, 3] + found.log_probs[1, 2])
    )


def test_the_smoothing_is_the_best_one_left_out():
    rng = np.random.default_rng(0)
    x1 = torch.from_numpy(rng.binomial(6, rng.random((1, 5)), (40, 5)))
    best = Histogram.fit(x1, 6).concentration

    def left_out(a):
        total = 0.0
        for i in range(len(x1)):
            rest = torch.cat([x1[:i], x1[i + 1 :]])
            for site in range(5):
                counts = np.bincount(rest[:, site], minlength=7)
                every = np.bincount(x1.flatten(), minlength=7) + 1.0
                k = int(x1[i, site])
                total += math.log((counts[k] + a * every[k] / every.sum()) / (len(rest) + a))
        return total

    assert left_out(best) >= max(left_out(best / 2), left_out(best * 2))
    # Sites that are alike lean on each other; sites with data enough of their own do not.
    alike = torch.from_numpy(rng.binomial(6, 0.4, (40, 5)))
    far = torch.from_numpy(rng.binomial(6, np.array([0.02, 0.98]), (4000, 2)))
    assert Histogram.fit(alike, 6).concentration > 30 * Histogram.fit(far, 6).concentration


def test_a_perfect_model_of_independent_sites_and_its_histogram_agree():
    process = PureDeath(maximum=10)
    transport = Transport(process, exact.Binomial(process, 10, 0.4), shape=(3,))
    rng = np.random.default_rng(1)
    training, x1 = (torch.from_numpy(rng.binomial(10, 0.4, (n, 3))) for n in (20_000, 500))
    ours, histogram = held_out(transport, x1, training=training, maximum=10, draws=200, block=4096)
    entropy = 3 * 1.853555
    assert abs(ours.nats - entropy) < 4.5 * ours.nats_error
    assert ours.bits == pytest.approx(ours.nats / (3 * math.log(2)))
    assert ours.bound and not histogram.bound and histogram.draws == 0
    # On the same data the difference is known far better than either.
    assert abs(histogram.behind) < 0.003
    assert histogram.behind_error < 0.1 * histogram.bits_error
    text = table([ours, histogram])
    assert f"≤ {ours.bits:.4f} ± {ours.bits_error:.4f}" in text
    assert "independent histogram" in text and "200 looks" in text


def test_tables_of_counts_are_set_beside_negative_binomials():
    # Independent negative binomials, which the exact model knows, are of both families.
    process = PureDeath()
    transport = Transport(process, exact.NegativeBinomial(process, 3.0, 2.0), shape=(4,))
    rng = np.random.default_rng(2)
    training, x1 = (torch.from_numpy(rng.negative_binomial(2, 0.4, (n, 4))) for n in (4000, 400))
    ours, single, *rest = held_out(transport, x1, training=training, draws=100, block=4096)
    assert single.model == "negative binomial per feature"
    assert not single.bound and single.draws == 0
    assert abs(single.behind * 4 * math.log(2)) < 0.05  # nats
    for mixture in rest:
        assert mixture.model.startswith("mixture of ") and abs(mixture.behind) < 0.05
    assert abs(ours.nats - single.nats) < 0.2


class TwoClasses:
    """The exact law of Poisson counts of rate 1 or 6, as the class says; mixed without one."""

    def __init__(self, process):
        self.of = [exact.Poisson(process, rate) for rate in (1.0, 6.0)]
        self.mixed = exact.Mixture(process, [0.5, 0.5], self.of)

    def __call__(self, x, t, condition=None):
        if condition is None:
            return self.mixed(x, t)
        low, high = (one(x, t) for one in self.of)
        second = condition[:, 1:].bool()
        return Shifted(x, Poisson(torch.where(second, high.base.log_rate, low.base.log_rate)))


def test_a_class_that_is_known_is_worth_what_theory_says():
    process = PureDeath()
    covariates = Covariates((Covariate("class", ("low", "high")),))
    transport = Transport(process, TwoClasses(process), shape=(1,), covariates=covariates)
    rng = np.random.default_rng(3)
    labels = torch.arange(600) % 2
    rates = torch.tensor([1.0, 6.0])[labels].numpy()
    x1 = torch.from_numpy(rng.poisson(rates))[:, None]
    condition = torch.eye(2)[labels]
    (told,) = held_out(transport, x1, condition=condition, draws=200, block=4096)
    expected = -stats.poisson.logpmf(x1[:, 0].numpy(), rates).mean()
    assert told.nats == pytest.approx(expected, abs=0.01)  # the law of the model is exact
    (alone,) = held_out(transport, x1, draws=200, block=4096)
    both = [stats.poisson.pmf(x1[:, 0].numpy(), rate) for rate in (1.0, 6.0)]
    assert alone.nats == pytest.approx(-np.log(sum(both) / 2).mean(), abs=0.02)
    assert alone.nats - told.nats > 0.5
    assert told.condition == "class" and alone.condition is None
    assert "of test, given class of each (the model only);" in table([told])
    assert "given" not in table([alone])
    for wrong, said in ((condition[:3], "3 rows for 600"), (labels[:, None], "takes (600, 2)")):
        with pytest.raises(ValueError, match=re.escape(said)):
            transport.log_likelihood(x1, condition=wrong)


def test_without_a_histogram():
    process = PureDeath()
    transport = Transport(process, exact.Poisson(process, 2.0), shape=(1,))
    (only,) = held_out(transport, torch.tensor([[1], [3], [2]]), draws=10)
    assert only.behind == 0 and only.n == 3


def test_refuses():
    process = PureDeath()
    transport = Transport(process, exact.Poisson(process, 2.0), shape=(1,))
    with pytest.raises(ValueError, match="at least 2 data points"):
        held_out(transport, torch.tensor([[1]]))
    with pytest.raises(ValueError, match="at least 2 rows"):
        Histogram.fit(torch.tensor([[1]]), 3)
    with pytest.raises(ValueError, match="too large a table"):
        Histogram.fit(torch.zeros((2, 10**6), dtype=torch.int64), 255)
