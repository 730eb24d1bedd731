"""Restored counts against posteriors in closed form, and coverage against its level."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import PureDeath, Transport, exact
from markovbridge.restoration import Restoration, coverage, ranks, restore
from problems import assert_follows

MEAN, SIZE, SURVIVAL = 6.0, 2.0, 0.3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def posterior(x):
    """m | x ~ NB(size r + x, mean qμ(r + x)/(r + pμ)), as SciPy's (n, p)."""
    size = SIZE + x
    mean = (1 - SURVIVAL) * MEAN * size / (SIZE + SURVIVAL * MEAN)
    return size, size / (size + mean)


def problem(n, sites=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.negative_binomial(SIZE, SIZE / (SIZE + MEAN), (n, sites))
    seen = rng.binomial(truth, SURVIVAL)
    return torch.from_numpy(truth), torch.from_numpy(seen)


def perfect(seen, draws, seed=1):
    """Draws of the exact posterior, by SciPy."""
    rng = np.random.default_rng(seed)
    size, p = posterior(seen.numpy())
    more = rng.negative_binomial(size, p, (draws, *seen.shape))
    return Restoration(seen + torch.from_numpy(more))


def test_restored_counts_follow_the_posterior():
    process = PureDeath()
    transport = Transport(process, exact.NegativeBinomial(process, MEAN, SIZE), shape=(1,))
    x = torch.full((500, 1), 2)
    restored = restore(
        transport,
        x,
        survival=SURVIVAL,
        draws=8,
        steps=3,
        generator=generator(),
        block=500,
    )
    assert_follows(restored.draws - 2, stats.nbinom.pmf(range(120), *posterior(2)))
    size, p = posterior(2)
    mean, variance = stats.nbinom.stats(size, p)
    spread = math.sqrt(float(variance) / restored.draws.numel())
    assert abs(float(restored.mean.mean()) - 2 - mean) < 4.5 * spread
    assert abs(float((restored.std**2).mean()) / variance - 1) < 0.1


def test_intervals_are_quantiles():
    restored = Restoration(torch.arange(100).reshape(100, 1, 1))
    low, high = restored.interval(0.9)
    assert (int(low), int(high)) == (5, 94)  # 90 of the 100 draws
    low, high = restored.interval(0.5)
    assert (int(low), int(high)) == (25, 74)
    assert float(restored.mean) == 49.5


def test_ranks_of_a_perfect_sampler_are_uniform():
    truth, seen = problem(4000)
    rank = ranks(perfect(seen, 9), truth, generator=generator())
    assert_follows(rank, np.full(10, 0.1))


def test_ranks_of_ties_are_uniform():
    draws = torch.zeros((4, 30_000, 1), dtype=torch.int64)
    rank = ranks(Restoration(draws), draws[0], generator=generator())
    assert_follows(rank, np.full(5, 0.2))


@pytest.mark.parametrize("draws", [3, 19, 50])
def test_coverage_of_a_perfect_sampler_is_exact(draws):
    truth, seen = problem(20_000)
    for found in coverage(perfect(seen, draws), truth, (0.5, 0.8, 0.9), generator=generator()):
        assert abs(found.randomised - found.level) < 4.5 * found.error
        assert found.error < 0.003
        independent = math.sqrt(found.level * (1 - found.level) / truth.numel())
        assert abs(found.error / independent - 1) < 0.05  # sites are independent here
        if draws >= 19:
            assert found.conservative >= found.randomised


def test_coverage_sees_intervals_that_are_too_narrow_or_off():
    truth, seen = problem(5000)
    perfect_draws = perfect(seen, 50).draws
    centre = perfect_draws.double().mean(0).round().long()
    narrow = Restoration(centre + ((perfect_draws - centre) / 2).long())
    shifted = Restoration(perfect_draws + 4)
    for wrong in (narrow, shifted):
        (found,) = coverage(wrong, truth, (0.9,), generator=generator())
        assert found.randomised < 0.85
        assert found.randomised < 0.9 - 10 * found.error


def test_rows_are_the_units_of_the_error():
    # Sites of a row all the same: as many independent numbers as rows.
    truth, seen = problem(2000, sites=1)
    restored = Restoration(perfect(seen, 19).draws.expand(-1, -1, 50))
    (found,) = coverage(restored, truth.expand(-1, 50), (0.9,), generator=generator())
    assert found.error > 0.5 * math.sqrt(0.9 * 0.1 / 2000)


def test_where():
    truth, seen = problem(5000)
    (found,) = coverage(perfect(seen, 19), truth, (0.8,), where=seen > 0, generator=generator())
    assert abs(found.randomised - 0.8) < 4.5 * found.error
    with pytest.raises(ValueError, match="at least one site"):
        coverage(perfect(seen, 19), truth, where=seen < 0)


def test_refuses():
    restored = Restoration(torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="level"):
        restored.interval(90)
    with pytest.raises(ValueError, match="shape"):
        ranks(restored, torch.zeros(4, 1))
    with pytest.raises(ValueError, match="at least 2 draws"):
        Restoration(torch.zeros(1, 3, 1))
    process = PureDeath()
    transport = Transport(process, exact.Poisson(process, 1.0), shape=(1,))
    with pytest.raises(ValueError, match="draws must be"):
        restore(transport, torch.zeros((2, 1), dtype=torch.int64), survival=0.5, draws=1)
