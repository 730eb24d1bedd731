"""Step grids against costs in closed form."""

import numpy as np
import pytest
import torch

from markovbridge import (
    CosineSchedule,
    LinearSchedule,
    LogisticSchedule,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.couplings import Dirac
from markovbridge.processes import Brownian, LinearDiffusion
from markovbridge.samplers import grids
from problems import SCHEDULES


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("start", [0.0, 0.3])
def test_uniform(start):
    np.testing.assert_allclose(grids.uniform(4, start), np.linspace(start, 1, 5))


@pytest.mark.parametrize("name", SCHEDULES)
def test_like_steps_as_the_other_schedule(name):
    process, schedule = PureDeath(schedule=SCHEDULES[name]), LogisticSchedule(6)
    times = grids.like(process, schedule, 8)
    assert times[0] == 0 and times[-1] == 1
    inner = process.schedule.survival(times)[1:-1]
    expected = schedule.survival(torch.linspace(0, 1, 9, dtype=torch.float64))[1:-1]
    torch.testing.assert_close(inner, expected)


def test_like_from_an_inner_time():
    process = PureDeath(schedule=CosineSchedule())
    times = grids.like(process, LinearSchedule(), 5, start=0.5)
    expected = torch.linspace(0.5, 1, 6, dtype=torch.float64)  # survival at 0.5 is 0.5
    torch.testing.assert_close(process.schedule.survival(times), expected)


def test_nothing_to_learn_leaves_a_grid():
    # No step costs anything: all grids are equally good, but a grid it must be.
    process = PureDeath()
    x1 = torch.full((20, 2), 3)
    certain = Transport(process, exact.Empirical(process, x1[:1]), shape=(2,))
    for network in (exact.Poisson(process, 3.0), certain.network):
        transport = Transport(process, network, shape=(2,))
        times = grids.measure(transport, x1, generator=generator()).grid(10)
        assert times[0] == 0 and times[-1] == 1
        assert bool((times[1:] > times[:-1]).all())


def test_sampling_on_a_grid():
    process = PureDeath()
    transport = Transport(process, exact.NegativeBinomial(process, 3.0, 2.0), shape=(1,))
    x1 = torch.from_numpy(np.random.default_rng(0).negative_binomial(2, 0.4, (100, 1)))
    seen = []
    grid = grids.measure(transport, x1, generator=generator()).grid(5, start=0.25)
    transport.restore(x1, 0.25, steps=grid, callback=lambda t, x: seen.append(t), block=100)
    np.testing.assert_allclose(seen, grid)


def test_refuses():
    with pytest.raises(ValueError, match="steps must be"):
        grids.uniform(0)
    with pytest.raises(ValueError, match="starts in"):
        grids.uniform(3, 1.0)
    with pytest.raises(ValueError, match="no length"):
        grids.like(PureDeath(schedule=LogisticSchedule(5)), LogisticSchedule(60), 50)


def test_equal_error_of_counts():
    # Negative binomial data: E Var(x_1 | x_t) = qμ + (qμ)²/(r + pμ) a site.
    mean, size, sites = 20.0, 0.5, 50
    process = PureDeath()
    transport = Transport(process, exact.NegativeBinomial(process, mean, size), shape=(sites,))
    x1 = torch.from_numpy(
        np.random.default_rng(0).negative_binomial(size, size / (size + mean), (1500, sites))
    )
    curve = grids.measure(transport, x1, generator=generator())

    def error(times):
        p = process.schedule.survival(torch.as_tensor(times, dtype=torch.float64)).numpy()
        left = (1 - p) * mean
        return np.sqrt(sites * (left + left**2 / (size + p * mean)))

    np.testing.assert_allclose(curve.errors, error(curve.times), rtol=0.02, atol=1e-9)
    times = curve.grid(6)
    assert times[0] == 0 and times[-1] == 1
    falls = -np.diff(error(times))
    np.testing.assert_allclose(falls, falls.mean(), rtol=0.1)
    later = curve.grid(4, start=0.3)
    assert later[0] == 0.3
    falls = -np.diff(error(later))
    np.testing.assert_allclose(falls, falls.mean(), rtol=0.1)


def test_equal_error_of_a_bridge():
    # A Brownian bridge to a Gaussian: E Var(x_1 | x_t) = v(1 - t)/(1 - t + vt) at σ = 1.
    process = LinearDiffusion(Brownian(1.0))
    one = torch.eye(3)
    law = exact.Gaussian(process, torch.zeros(3), 2 * one, start_covariance=0 * one)
    curve = grids.measure(
        Transport(process, law, shape=(3,), coupling=Dirac(0.0)),
        torch.randn(1500, 3, generator=generator()) * 2**0.5,
        generator=generator(),
    )
    t = np.array(curve.times)
    np.testing.assert_allclose(
        curve.errors, np.sqrt(3 * 2 * (1 - t) / (1 + t)), rtol=0.03, atol=1e-9
    )


def test_an_error_curve_that_rises_or_rests_still_makes_a_grid():
    curve = grids.ErrorCurve((0.0, 0.2, 0.4, 0.6, 1.0), (1.0, 1.0, 0.5, 0.7, 0.0))
    times = curve.grid(4)
    assert times[0] == 0 and times[-1] == 1 and bool((times.diff() > 0).all())
    # Errors are made to fall: 1, 1, .7, .7, 0.
    reached = torch.tensor([0.2 + 0.2 * 0.25 / 0.3, 0.6 + 0.4 * 0.2 / 0.7, 0.6 + 0.4 * 0.45 / 0.7])
    torch.testing.assert_close(times[1:-1].float(), reached, atol=1e-6, rtol=0)


def test_steps_follow_the_error_curve_of_a_transport():
    process, seen = PureDeath(), []
    curve = grids.ErrorCurve((0.0, 0.1, 1.0), (1.0, 0.5, 0.0))
    law = exact.Poisson(process, 2.0)
    transport = Transport(process, law, shape=(1,), error_curve=curve)
    options = {"generator": generator(), "callback": lambda t, x: seen.append(t)}
    transport.sample(1, steps=4, **options)
    np.testing.assert_allclose(seen, [0, 0.05, 0.1, 0.55, 1])
    seen.clear()
    transport.sample(1, steps=grids.uniform(2), **options)
    assert seen == [0, 0.5, 1]
