"""Steps that choose themselves."""

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import (
    CosineSchedule,
    LinearSchedule,
    LogisticSchedule,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.processes import UniformChain
from markovbridge.samplers import Adaptive
from markovbridge.samplers.known_sites import Masking, Observed
from problems import assert_follows


class Counted:
    """A law that keeps the times it is asked at."""

    def __init__(self, law):
        self.law, self.times = law, []

    def __call__(self, x, t, condition=None, observed=None):
        self.times.append(float(t[0]))
        return self.law(x, t) if observed is None else self.law.given_known(x, t, observed)


def made(tolerance, *, n=20_000, schedule=None, block=2000, steps=1, law=None):
    process = PureDeath(schedule=schedule or CosineSchedule())
    network = Counted(law(process) if law else exact.NegativeBinomial(process, 8.0, 1.0))
    x = Transport(process, network, shape=(1,)).sample(
        n,
        steps=steps,
        sampler=Adaptive(tolerance),
        generator=torch.Generator().manual_seed(0),
        block=block,
    )
    return x, network.times


@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule(), LogisticSchedule(15)])
def test_a_constant_hazard_is_exact_in_few_steps(schedule):
    x, times = made(0.1, schedule=schedule, law=lambda process: exact.Poisson(process, 2.5))
    assert_follows(x, stats.poisson.pmf(range(40), 2.5))
    assert len(times) < 10 * 2 * 6  # blocks, evaluations a step, steps


def test_error_and_effort_follow_the_tolerance():
    pmf = stats.nbinom.pmf(range(400), 1, 1 / 9)
    errors, efforts = [], []
    for tolerance in (0.4, 0.1, 0.025):
        x, times = made(tolerance)
        found = np.bincount(x[:, 0].numpy(), minlength=400)[:400] / len(x)
        errors.append(abs(found.cumsum() - pmf.cumsum()).max())
        efforts.append(len(times) / 10)
    assert errors[2] < errors[0]
    # A quarter of the tolerance: steps half as long.
    assert 1.3 < efforts[2] / efforts[1] < 2.5
    mean, variance = x.double().mean(), x.double().var()
    assert abs(float(mean) - 8) < 4.5 * (72 / len(x)) ** 0.5
    assert abs(float(variance) / 72 - 1) < 0.1


def test_no_step_costs_more_than_the_tolerance_nor_far_less():
    # Φ by sums: what the chosen steps cost, against the tolerance 0.1. Hazards of this law do
    # not grow towards the data as those of images do, so that steps are rather too short.
    _, times = made(0.1, n=20_000, block=20_000)
    p = np.sin(np.pi / 2 * np.array([*times[::2], 1.0])) ** 2
    fine, x = np.linspace(0, 1, 4001), np.arange(600)
    hazard = 8 * (1 + x) / (1 + fine[:, None] * 8)
    law = stats.nbinom.pmf(x, 1, (1 / (1 + 8 * fine))[:, None])
    phi = (law * hazard * np.log(hazard)).sum(1)
    area = np.concatenate([[0], np.cumsum((phi[1:] + phi[:-1]) / 2 * np.diff(fine))])
    cost = np.diff(np.interp(p, fine, area)) - np.interp(p[:-1], fine, phi) * np.diff(p)
    inner = cost[2:-1]  # the first two grow, the last takes what is left
    assert len(inner) >= 3
    assert 0.01 < inner.min() and inner.max() < 0.1


def test_samples_do_not_depend_on_how_many():
    few, _ = made(0.2, n=300, block=100)
    many, _ = made(0.2, n=500, block=100)
    assert torch.equal(few, many[:300])


def test_stops_at_the_times_of_the_grid():
    process, seen = PureDeath(), []
    transport = Transport(process, exact.NegativeBinomial(process, 3.0, 2.0), shape=(1,))
    transport.restore(
        torch.ones((50, 1), dtype=torch.int64),
        0.3,
        steps=torch.tensor([0.3, 0.7, 1.0], dtype=torch.float64),
        sampler=Adaptive(0.05),
        callback=lambda t, x: seen.append(round(t, 6)),
        block=50,
    )
    assert seen == [0.3, 0.7, 1.0]


def test_known_sites_make_no_step_shorter():
    """A hundred known sites, and one that shares their depth."""
    numbers = torch.tensor([1.0, 1.5]), torch.full((1, 101), 5.0), torch.full((101,), 2.0)
    law = exact.CountMixture.of(PureDeath(), torch.zeros(2, 1), *numbers)
    rows, mask = 400, torch.arange(101) < 100
    x, network = torch.full((rows, 101), 6), Counted(law)
    transport = Transport(PureDeath(), network, shape=(101,), masking=Masking())
    options = {"steps": 1, "block": rows, "generator": torch.Generator().manual_seed(0)}
    made = transport.impute(x, mask, sampler=Adaptive(0.1), **options)
    assert bool((made[:, mask] == 6).all())
    known = Observed(x[:1], mask[None])
    truth = law.given_known(torch.zeros(1, 101).long(), 0.0, known)
    off = float(made[:, 100].double().mean() - truth.mean[0, 100])
    assert abs(off) < 4.5 * (float(truth.variance[0, 100]) / rows) ** 0.5
    assert len(network.times) < 30


def test_refuses():
    for arguments in ({"tolerance": 0.0}, {"theta": 1.0}):
        with pytest.raises(ValueError, match="tolerance|theta"):
            Adaptive(**arguments)
    with pytest.raises(TypeError, match="UniformChain"):
        Transport(UniformChain(3), lambda x, t, c: None, shape=(1,)).sample(
            2, steps=1, sampler=Adaptive()
        )
    assert Adaptive().evaluations(1) is None


def test_the_first_jumps_are_not_leapt_over():
    # What a large over-dispersed count becomes is decided by its first few units.
    process, mean, size = PureDeath(), torch.tensor([10.0, 1e4, 1e6]), 3.0
    law = exact.NegativeBinomial(process, mean, torch.full((3,), size))
    transport = Transport(process, law, shape=(3,))
    generator = torch.Generator().manual_seed(0)
    made = transport.sample(512, steps=1, sampler=Adaptive(0.1), generator=generator).double()
    deviation = (mean + mean**2 / size).sqrt()
    assert bool(((made.mean(0) / mean - 1).abs() < 4 * deviation / mean / 512**0.5).all())
    assert bool(((made.std(0) / deviation - 1).abs() < 0.2).all())
