"""The linear restoration against brute force and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge.evaluation.linear_restoration import Wiener
from markovbridge.evaluation.restoration import coverage

SURVIVAL = 0.3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def correlated(n, sites=3, seed=0):
    """Counts that share a random brightness."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(2.0, 3.0, (n, 1)) * np.array([1.0, 2.0, 0.5])[:sites]
    return torch.from_numpy(rng.poisson(rate))


def thinned(x1, seed=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.binomial(x1.numpy(), SURVIVAL))


def transformed(x, name):
    x = x.double()
    return x if name == "counts" else 2 * (x + 0.375).sqrt()


@pytest.mark.parametrize("name", ["counts", "anscombe"])
def test_it_is_the_linear_regression(name):
    # Least squares on very many simulated thinnings of the same rows comes to the same.
    x1 = correlated(300)
    fit = Wiener.fit(x1, SURVIVAL, transform=name)
    many = x1.repeat(2000, 1)
    seen = transformed(thinned(many), name)
    features = torch.cat([seen, torch.ones(len(seen), 1)], 1)
    solution = torch.linalg.lstsq(features, many.double()).solution
    assert torch.allclose(fit.gain, solution[:3].T, atol=0.02)
    assert torch.allclose(fit.start, solution[3], atol=0.1)
    left = many - features @ solution
    assert torch.allclose(fit.root @ fit.root.T, left.T @ left / len(left), rtol=0.05, atol=0.1)


def test_one_site_in_closed_form():
    # E[x_1 | x] is linear for a negative binomial, so the best linear estimate is the best.
    mean, size = 6.0, 2.0
    rng = np.random.default_rng(0)
    x1 = torch.from_numpy(rng.negative_binomial(size, size / (size + mean), (20_000, 1)))
    fit = Wiener.fit(x1, SURVIVAL)
    x = torch.arange(10).unsqueeze(1)
    expected = x + (1 - SURVIVAL) * mean * (size + x) / (size + SURVIVAL * mean)
    assert torch.allclose(fit.estimate(x), expected.double(), rtol=0.05)


def test_error_covariance_is_the_error_met():
    x1, new = correlated(20_000), correlated(20_000, seed=5)
    for name in ("counts", "anscombe"):
        fit = Wiener.fit(x1, SURVIVAL, transform=name)
        linear = fit.start + transformed(thinned(new), name) @ fit.gain.T
        off = linear - new
        met = off.T @ off / len(off)
        assert torch.allclose(met, fit.root @ fit.root.T, rtol=0.1, atol=0.1)


def test_moments_of_a_transform():
    from markovbridge.evaluation.linear_restoration import _given

    counts = torch.tensor([0.0, 1.0, 17.0, 3000.0])
    mean, variance = _given(counts.double(), SURVIVAL, "anscombe")
    for k, m, v in zip(counts.tolist(), mean.tolist(), variance.tolist(), strict=True):
        j = np.arange(int(k) + 1)
        share = stats.binom.pmf(j, k, SURVIVAL)
        f = 2 * np.sqrt(j + 0.375)
        assert m == pytest.approx(float(share @ f), rel=1e-9)
        assert v == pytest.approx(float(share @ f**2 - (share @ f) ** 2), rel=1e-6, abs=1e-9)
    assert variance[3] == pytest.approx(1 - SURVIVAL, rel=1e-2)  # stabilised


def test_draws_are_counts_around_the_estimate():
    x1 = correlated(5000)
    x = thinned(x1)[:400]
    fit = Wiener.fit(x1, SURVIVAL, maximum=30)
    made = fit.restore(x, 39, generator=generator())
    assert made.draws.shape == (39, 400, 3) and made.draws.dtype == torch.int64
    assert bool((made.draws >= x).all()) and int(made.draws.max()) <= 30
    inner = (fit.estimate(x) > x + 8) & (fit.estimate(x) < 20)
    assert float((made.mean - fit.estimate(x))[inner].abs().mean()) < 1.0
    (found,) = coverage(made, x1[:400], (0.9,), generator=generator())
    assert 0.8 < found.randomised < 0.97


def test_refuses():
    with pytest.raises(ValueError, match="4,096 are possible"):
        Wiener.fit(torch.zeros((3, 5000), dtype=torch.int64), SURVIVAL)
    with pytest.raises(ValueError, match="at least 2 rows"):
        Wiener.fit(torch.zeros((1, 5), dtype=torch.int64), SURVIVAL)
    with pytest.raises(ValueError, match="survival"):
        Wiener.fit(torch.zeros((3, 5), dtype=torch.int64), math.nan)
    with pytest.raises(ValueError, match="transform"):
        Wiener.fit(torch.zeros((3, 5), dtype=torch.int64), 0.5, transform="log")
