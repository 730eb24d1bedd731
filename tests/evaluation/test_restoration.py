"""Restored counts against posteriors in closed form, and coverage against its level."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import PureDeath, Transport, exact, laws
from markovbridge.doors.randomness import fresh_key
from markovbridge.evaluation.restoration import (
    Restoration,
    coverage,
    least_draws,
    ranks,
    restore,
    score,
    thin,
)
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


def test_one_draw_has_no_deviation():
    restored = Restoration(torch.ones(1, 2, 1))
    assert bool(restored.std.isnan().all()) and bool((restored.mean == 1).all())
    two = Restoration(torch.tensor([[[1.0]], [[4.0]]]))
    assert float(two.std) == pytest.approx(3 / 2**0.5)


def test_intervals_are_quantiles():
    restored = Restoration(torch.arange(100).reshape(100, 1, 1))
    low, high = restored.interval(0.9)
    assert (int(low), int(high)) == (4, 95)  # 91 of the 101 gaps between draws
    low, high = restored.interval(0.5)
    assert (int(low), int(high)) == (24, 75)
    assert float(restored.mean) == 49.5


def test_ranks_of_a_perfect_sampler_are_uniform():
    truth, seen = problem(4000)
    rank = ranks(perfect(seen, 9), truth, generator=generator())
    assert_follows(rank, np.full(10, 0.1))


def test_ranks_of_ties_are_uniform():
    draws = torch.zeros((4, 30_000, 1), dtype=torch.int64)
    rank = ranks(Restoration(draws), draws[0], generator=generator())
    assert_follows(rank, np.full(5, 0.2))


def test_the_fewest_draws_of_a_level():
    assert [least_draws(level) for level in (0.5, 0.8, 0.9, 0.95)] == [3, 9, 19, 39]
    with pytest.raises(ValueError, match="take at least 19 draws, not 18"):
        Restoration(torch.zeros(18, 1, 1)).interval(0.9)


def test_ranks_need_fewer_draws_than_intervals():
    truth, seen = problem(20_000)
    (found,) = coverage(perfect(seen, 3), truth, (0.8,), generator=generator())
    assert abs(found.randomised - 0.8) < 4.5 * found.error
    assert math.isnan(found.conservative) and math.isnan(found.width)


@pytest.mark.parametrize(("draws", "level"), [(3, 0.5), (19, 0.5), (19, 0.9), (39, 0.95)])
def test_intervals_of_reals_hold_what_they_say(draws, level):
    # Truth and draws of one continuous law: (D + 1 - 2k)/(D + 1) is the level exactly here.
    x = torch.randn((draws + 1, 40_000, 1), dtype=torch.float64, generator=generator())
    (found,) = coverage(Restoration(x[1:]), x[0], (level,), generator=generator())
    assert abs(found.conservative - level) < 4.5 * math.sqrt(level * (1 - level) / 40_000)


@pytest.mark.parametrize("draws", [19, 50])
def test_coverage_of_a_perfect_sampler_is_exact(draws):
    truth, seen = problem(20_000)
    for found in coverage(perfect(seen, draws), truth, (0.5, 0.8, 0.9), generator=generator()):
        assert abs(found.randomised - found.level) < 4.5 * found.error
        assert found.error < 0.003
        independent = math.sqrt(found.level * (1 - found.level) / truth.numel())
        assert abs(found.error / independent - 1) < 0.05  # sites are independent here
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


def test_blocks_are_the_whole():
    process = PureDeath()
    law = exact.NegativeBinomial(process, MEAN, SIZE)
    transport = Transport(process, law, shape=(3,))
    _, seen = problem(7)
    options = {"draws": 4, "steps": 2, "block": 8}
    whole = restore(transport, seen, survival=SURVIVAL, generator=generator(5), **options)
    assert whole.draws.shape == (4, 7, 3)
    rows, block = seen.repeat_interleave(4, 0), {"steps": 2, "block": 8}
    again = transport.restore(rows, survival=SURVIVAL, generator=generator(5), **block)
    assert torch.equal(Restoration.of_rows(again, 4).draws, whole.draws)
    t, key = process.observed_time(SURVIVAL), fresh_key(generator(5))
    parts = [transport.restore_block(k, rows, t, key=key, **block) for k in (3, 2, 1, 0)]
    assert torch.equal(torch.cat(parts[::-1])[:28], again)
    # Draws of a full block do not depend on how many more there are; each one is another.
    fewer = restore(transport, seen[:2], survival=SURVIVAL, generator=generator(5), **options)
    assert torch.equal(fewer.draws, whole.draws[:, :2])
    assert len(whole.draws.unique(dim=0)) == 4
    assert bool((whole.draws >= seen).all())


def test_score():
    truth, seen = problem(3000)
    restored = perfect(seen, 19)
    size, p = posterior(seen.numpy())
    mean = seen + torch.from_numpy(size * (1 - p) / p)
    found = score("exact", truth, mean, restored, generator=generator())
    # The error of the posterior mean is the posterior variance, on average.
    expected = float(np.mean(size * (1 - p) / p**2))
    assert abs(found.mse - expected) < 4.5 * found.error
    assert [c.level for c in found.coverage] == [0.5, 0.9]
    # The mean of 19 draws adds a nineteenth of it.
    noisy = score("draws", truth, restored.mean, restored, generator=generator())
    assert abs(noisy.mse - expected * 20 / 19) < 4.5 * noisy.error
    assert noisy.mse > found.mse
    assert score("shift", truth, truth + 2).mse == 4


def test_thinning_is_binomial_and_the_same_for_the_first_rows():
    x = torch.full((300, 50), 10)
    kept = thin(x, 0.3, 1)
    assert abs(float(kept.double().mean()) - 3) < 4.5 * (2.1 / kept.numel()) ** 0.5
    assert abs(float(kept.double().var()) - 2.1) < 0.15
    assert torch.equal(thin(x[:70], 0.3, 1), kept[:70])
    assert not torch.equal(thin(x, 0.3, 2), kept)


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
    with pytest.raises(ValueError, match="draws \\(draws, n, \\*event\\), not \\(0, 3, 1\\)"):
        Restoration(torch.zeros(0, 3, 1))
    process = PureDeath()
    transport = Transport(process, exact.Poisson(process, 1.0), shape=(1,))
    with pytest.raises(ValueError, match="draws must be"):
        restore(transport, torch.zeros((2, 1), dtype=torch.int64), survival=0.5, draws=0)
    with pytest.raises(ValueError, match="condition has 3 rows for 2 samples"):
        restore(transport, torch.zeros((2, 1)).long(), survival=0.5, condition=torch.ones(3, 1))


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_each_row_is_restored_by_its_own_condition(strength):
    """Counts of Poisson law stay Poisson, of a mean that the condition tells, and guidance."""

    def network(x, t, condition):
        mean = condition.nan_to_num(nan=4.0)  # of what it is not told
        q = PureDeath().schedule.mortality(t).unsqueeze(1)
        return laws.Shifted(x, laws.Poisson((q * mean).log()))

    x, mean = torch.tensor([[3], [0]]).repeat(400, 1), torch.tensor([[2.0], [6.0]]).repeat(400, 1)
    restored = restore(
        Transport(PureDeath(), network, shape=(1,)),
        x,
        survival=SURVIVAL,
        draws=4,
        steps=3,
        condition=mean,
        guidance=strength,
        generator=generator(7),
    )
    for row in (0, 1):
        left = (1 - SURVIVAL) * float(mean[row]) ** strength * 4.0 ** (1 - strength)
        draws = restored.draws[:, row::2] - x[row]
        assert_follows(draws, stats.poisson.pmf(range(60), left))
