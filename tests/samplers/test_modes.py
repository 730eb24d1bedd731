"""Samplers of diffusions by mode: the covariance they make of Gaussian data, step by step."""

import numpy as np
import pytest
import torch

import markovbridge as mb
from affine_steps import affine, covariance_after
from markovbridge import exact
from markovbridge.covariances import Cosine, Dense, Modal
from markovbridge.processes import BandClocks, BandSDE
from markovbridge.samplers import Levels
from markovbridge.storage.config import from_config, to_config

EVENT, EDGES = (4,), (0.1, 0.3)
MODES = Cosine(1, EDGES)
DATA = Modal(MODES, (2.0, 0.5, 0.1)) @ torch.eye(4, dtype=torch.float64)
MIXED = DATA + 0.3 * torch.diag(torch.arange(1.0, 5.0, dtype=torch.float64))  # not by mode
START = mb.Independent(mb.couplings.Gaussian(0.0, 1.1, correlated=True))
PROCESSES = {
    "clocks": mb.LinearDiffusion(
        mb.VP(0.1, 4.0),
        Modal(MODES, (0.4, 0.8, 1.2)),
        direction="noising",
        modes=MODES,
        clocks=BandClocks((3.0, 1.0, 0.4)),
    ),
    "sdes": mb.LinearDiffusion(
        BandSDE((mb.Brownian(0.7), mb.OrnsteinUhlenbeck(-0.8), mb.VP(0.1, 4.0))),
        modes=MODES,
        clocks=BandClocks((3.0, 1.0, 0.4)),
    ),
}


def error(sampler, process, data, steps, monkeypatch, until=1.0):
    """How far the covariance at the end of a walk is from that of x_t."""
    law = exact.Gaussian.coupled(process, START, torch.zeros(EVENT).double(), data)
    model = mb.Transport(process, law, shape=EVENT)
    start = 1.1**2 * (process.covariance @ torch.eye(4, dtype=torch.float64))
    times = [until * k / steps for k in range(steps + 1)]
    found = covariance_after(sampler, model, times, start, EVENT, monkeypatch)
    at = torch.zeros(1, *EVENT, dtype=torch.float64)
    wanted = data if until == 1 else law.marginal(at, until).matrices[0]
    return float((found - wanted).abs().max())


@pytest.mark.parametrize("data", [DATA, MIXED], ids=["by mode", "mixed"])
@pytest.mark.parametrize("name", PROCESSES)
def test_bridges_with_the_law_are_exact_at_every_number_of_steps(name, data, monkeypatch):
    for steps, until in ((1, 1.0), (3, 1.0), (2, 0.6)):
        process = PROCESSES[name]
        assert error(mb.Bridge(), process, data, steps, monkeypatch, until) < 1e-10


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (mb.EulerMaruyama(), 1),
        (mb.EulerMaruyama(level=0.5), 1),
        (mb.ProbabilityFlow("euler"), 1),
        (mb.ProbabilityFlow(), 2),
        (mb.StochasticHeun(), 2),
        (mb.StochasticHeun(level=1.0), 2),
        (mb.Midpoint(), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", PROCESSES)
def test_samplers_have_their_order(name, sampler, order, monkeypatch):
    few, many = 10, 20
    coarse, fine = (
        error(sampler, PROCESSES[name], MIXED, steps, monkeypatch, 0.7) for steps in (few, many)
    )
    assert fine < 0.3
    assert 2 ** (order - 0.3) < coarse / fine < 2 ** (order + 1.6), (coarse, fine)


def test_the_last_step_of_midpoint_has_its_variance(monkeypatch):
    # To the data themselves: more than of first order.
    coarse, fine = (
        error(mb.Midpoint(), PROCESSES["clocks"], MIXED, steps, monkeypatch) for steps in (8, 16)
    )
    assert coarse / fine > 2.8, (coarse, fine)
    assert fine < 0.01


NOISE = {
    "number": 0.6,
    "by mode": Modal(MODES, (0.0, 0.7, 2.0)),
    "mixed": Dense(MIXED),
    "in time": Levels((0.0, Modal(MODES, (1.5, 0.5, 0.0)), 1.0), (0.2, 0.5)),
}
PLAIN = {
    "white": mb.LinearDiffusion(mb.VP(0.1, 4.0), direction="noising"),
    "dense": mb.LinearDiffusion(mb.VP(0.1, 4.0), Dense(DATA + torch.eye(4)), direction="noising"),
    **PROCESSES,
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("level", NOISE)
@pytest.mark.parametrize("made", [mb.EulerMaruyama, mb.StochasticHeun])
def test_any_noise_has_the_same_marginals(made, level, name, monkeypatch):
    # d/dt of the covariance, of a step of length h: exact as h goes to 0, by extrapolation.
    sampler, process, t = made(level=NOISE[level]), PLAIN[name], 0.4
    law = exact.Gaussian.coupled(process, START, torch.zeros(EVENT).double(), MIXED)
    model = mb.Transport(process, law, shape=EVENT)
    at = torch.zeros(1, *EVENT, dtype=torch.float64)
    here = law.marginal(at, t).matrices[0]

    def rate(h):
        matrix, noise, _ = affine(lambda x: sampler.step(model, x, t, t + h), EVENT, monkeypatch)
        return (matrix @ here @ matrix.T + noise - here) / h

    def wanted(h):
        late, early = (law.marginal(at, t + d).matrices[0] for d in (h, -h))
        return (late - early) / (2 * h)

    found = 2 * rate(1e-4) - rate(2e-4)
    asked = (4 * wanted(1e-3) - wanted(2e-3)) / 3
    torch.testing.assert_close(found, asked, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("made", "order"), [(mb.EulerMaruyama, 1), (mb.StochasticHeun, 2)])
def test_walks_with_noise_of_any_colour_come_to_the_data(made, order, monkeypatch):
    process = PLAIN["white"]
    for level in (NOISE["mixed"], NOISE["in time"]):
        sampler = made(level=level)
        coarse, fine = (error(sampler, process, MIXED, n, monkeypatch, 0.7) for n in (20, 40))
        assert fine < 0.1 / order**3
        assert 0.8 * 2**order < coarse / fine < 1.3 * 2**order, (coarse, fine)


def test_levels_that_do_not_fit_are_refused():
    for asked in (
        lambda: Levels((1.0,), (0.5,)),
        lambda: Levels((1.0, 0.5), (1.5,)),
        lambda: Levels((-1.0,)),
        lambda: mb.EulerMaruyama(level=0.0),
        lambda: mb.StochasticHeun(level=0.0),
    ):
        with pytest.raises(ValueError, match="level"):
            asked()


@pytest.mark.parametrize("level", ["half", None, MODES], ids=str)
def test_a_level_that_is_no_level_is_told_apart(level):
    with pytest.raises(TypeError, match="level must be a number"):
        mb.EulerMaruyama(level=level)
    assert mb.EulerMaruyama(level=np.float32(0.5)).level == 0.5


def test_levels_are_saved():
    for level in NOISE.values():
        for sampler in (mb.EulerMaruyama(level=level), mb.StochasticHeun(level=level)):
            assert to_config(from_config(to_config(sampler))) == to_config(sampler)
