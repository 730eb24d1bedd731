"""Exponential Adams steps at any level of noise: exact for guesses that are lines in time."""

import pytest
import torch
from scipy import integrate

import markovbridge as mb
from affine_steps import Handed, affine
from markovbridge import exact
from markovbridge.covariances import Cosine, Dense, Modal
from markovbridge.laws import Delta
from markovbridge.processes import BandClocks, BandSDE
from markovbridge.samplers import Level, Levels
from markovbridge.samplers.adams import bend, move, moved, path_of
from markovbridge.samplers.scores import drift_of
from markovbridge.testing import check_sampler
from outside import Wiener

EVENT = (4,)
MODES = Cosine(1, (0.1, 0.3))
CLOCKS = BandClocks((3.0, 1.0, 0.4))
START = mb.Independent(mb.couplings.Gaussian(0.3, 1.1, correlated=True))
DATA = Modal(MODES, (2.0, 0.5, 0.1)) @ torch.eye(4, dtype=torch.float64)
MIXED = DATA + 0.3 * torch.diag(torch.arange(1.0, 5.0, dtype=torch.float64))  # not by mode
VP = mb.VP(0.1, 4.0)
PROCESSES = {
    "white": mb.LinearDiffusion(VP, direction="noising"),
    "dense": mb.LinearDiffusion(VP, Dense(MIXED), direction="noising"),
    "clocks": mb.LinearDiffusion(VP, direction="noising", modes=MODES, clocks=CLOCKS),
    "sdes": mb.LinearDiffusion(
        BandSDE((mb.Brownian(0.7), mb.OrnsteinUhlenbeck(-0.8), VP)), modes=MODES, clocks=CLOCKS
    ),
    "level": mb.LinearDiffusion(
        mb.OrnsteinUhlenbeck(-0.8), schedule=mb.CosineSchedule(), offset=0.7
    ),
    "flow": mb.LinearDiffusion(mb.Brownian(0.0)),
    "flow with a level": mb.LinearDiffusion(mb.OrnsteinUhlenbeck(-0.8, 0.0), offset=0.7),
    "flow by mode": mb.LinearDiffusion(mb.Brownian(0.0), modes=MODES, clocks=CLOCKS),
}


def lines(process, seed, coupling=START):
    """A model whose guess is a line in time, whatever the state: it, and value and slope."""
    noise = torch.Generator().manual_seed(seed)
    value, slope = torch.randn(2, 1, *EVENT, dtype=torch.float64, generator=noise)

    def law(x, t, condition):
        return Delta((value + t * slope).to(x).expand(x.shape))

    return mb.Transport(process, law, shape=EVENT, coupling=coupling), value, slope


def integrated(model, x, t, s, level=0.0):
    """The flow, or the mean at a level, by a solver of ordinary differential equations."""

    def velocity(u, state):
        state = torch.as_tensor(state).reshape(1, *EVENT)
        return drift_of(model, None, state, u, level)[0].ravel().numpy()

    solved = integrate.solve_ivp(
        velocity, (t, s), x.ravel().numpy(), method="DOP853", rtol=1e-11, atol=1e-12
    )
    return torch.as_tensor(solved.y[:, -1]).reshape(1, *EVENT)


def carried(model, x, t, s, end, slope, level=0.0):
    """A step with a slope that is known."""
    by = move(model, t, s, level)
    terms = (by.keep, x), (by.end, end), (bend(model, by, t, s, level), slope)
    return moved(model, by, *terms)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_guess_that_is_a_line_in_time_is_followed_exactly(name):
    model, value, slope = lines(PROCESSES[name], 0)
    x = torch.tensor([[0.4, -1.3, 0.2, 0.9]], dtype=torch.float64)
    for t, s in ((0.3, 0.5), (0.0, 0.97), (0.6, 0.601)):
        found = carried(model, x, t, s, value + t * slope, slope)
        torch.testing.assert_close(found, integrated(model, x, t, s), rtol=1e-8, atol=1e-8)
    found = carried(model, x, 0.8, 1.0, value, slope)
    torch.testing.assert_close(found, value + 0.2 * slope, rtol=0, atol=1e-12)


LEVELS = (0.3, 1.0, 1.6)
NOISY = {name: process for name, process in PROCESSES.items() if not process.noiseless}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NOISY)
def test_at_any_level_the_mean_is_followed_and_the_spread_kept_exactly(name, level, monkeypatch):
    model, value, slope = lines(PROCESSES[name], 0)
    x = torch.tensor([[0.4, -1.3, 0.2, 0.9]], dtype=torch.float64)
    for t, s in ((0.3, 0.5), (0.0, 0.97), (0.6, 0.601)):
        monkeypatch.setattr(torch, "randn", Handed())  # zeros
        found = carried(model, x, t, s, value + t * slope, slope, level)
        monkeypatch.undo()
        torch.testing.assert_close(found, integrated(model, x, t, s, level), rtol=1e-8, atol=1e-8)
        by, now, then = move(model, t, s, level), path_of(model, t), path_of(model, s)
        torch.testing.assert_close(by.keep**2 * now.variance + by.variance, then.variance)
    found = carried(model, x, 0.8, 1.0, value, slope, level)
    torch.testing.assert_close(found, value + 0.2 * slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NOISY)
def test_noise_by_the_bridge_is_the_level_one_between_others(name):
    model, *_ = lines(PROCESSES[name], 0)
    by = move(model, 0.3, 0.8, 1.0)
    below, above = (move(model, 0.3, 0.8, 1 + d) for d in (-1e-5, 1e-5))
    for word in ("keep", "end", "variance"):
        middle = (getattr(below, word) + getattr(above, word)) / 2
        torch.testing.assert_close(getattr(by, word), middle, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("level", "order"), [(0.5, 1.7), (1.0, 1.4), (Levels((1.0, 0.4), (0.3,)), 1.6)], ids=str
)
@pytest.mark.parametrize("name", ["white", "dense", "sdes"])
def test_steps_with_noise_are_of_second_order(name, level, order, monkeypatch):
    sampler = mb.StochasticAdams(level)
    coarse, fine = (
        error(sampler, PROCESSES[name], START, MIXED, steps, 0.7, monkeypatch)
        for steps in (12, 24)
    )
    assert fine < 1e-2
    assert 2**order < coarse / fine < 2**3, (coarse, fine)


@pytest.mark.parametrize("name", ["white", "clocks", "sdes"])
def test_onto_the_data_they_are_of_first_order_and_more(name, monkeypatch):
    coarse, fine = (
        error(mb.StochasticAdams(), PROCESSES[name], START, MIXED, steps, 1.0, monkeypatch)
        for steps in (12, 24)
    )
    assert fine < 0.15
    assert 1.8 < coarse / fine < 2**2.6, (coarse, fine)


def test_onto_the_data_the_last_gain_counts_twice(monkeypatch):
    """So that even steps of h leave 2 σ² h too much variance of Brownian motion."""
    process, data = mb.LinearDiffusion(mb.Brownian(0.8)), 2.25 * torch.eye(4).double()
    sampler = mb.StochasticAdams()
    excess = error(sampler, process, START, data, 64, 1.0, monkeypatch, power=1.0)
    assert 64 * excess == pytest.approx(2 * 0.8**2, rel=0.15)


def test_a_band_with_nearly_no_noise_has_no_less_than_none():
    process = mb.LinearDiffusion(
        BandSDE((mb.Brownian(1e-8), mb.Brownian(1.0), mb.Brownian(1.0))), modes=MODES
    )
    model, *_ = lines(process, 0)
    for t, s in ((0.0, 0.3), (0.45, 0.5), (0.9, 0.95), (0.95, 1.0)):
        by = move(model, t, s, 0.5)
        assert bool((by.variance >= 0).all()) and bool(by.keep.isfinite().all())
    law = exact.Gaussian.coupled(process, START, torch.zeros(EVENT).double(), MIXED)
    drawn = mb.Transport(process, law, shape=EVENT).sample(
        2, steps=20, sampler=mb.StochasticAdams(0.5)
    )
    assert bool(drawn.isfinite().all())
    assert bool((move(model, 0.5, 1.0, 1e-170).variance == 0).all())


def test_noise_of_the_process_needs_no_law_of_the_source():
    """From a point, and from a state that is given: weights of the bridge."""
    data = torch.tensor([[0.5, -1.0], [1.5, 0.25], [-0.7, 0.4]])
    process, sampler = mb.LinearDiffusion(), mb.StochasticAdams()
    law = exact.Empirical(process, data, coupling=mb.Dirac())
    model = mb.Transport(process, law, shape=(2,), coupling=mb.Dirac())
    noise = torch.Generator().manual_seed(0)
    drawn = model.sample(4000, steps=64, sampler=sampler, generator=noise)
    torch.testing.assert_close(drawn.mean(0), data.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.var(0), data.var(0, correction=0), rtol=0, atol=0.08)
    x = torch.tensor([[0.1, -0.3]])
    held = model.restore(x.expand(4000, 2), 0.4, steps=64, sampler=sampler, generator=noise)
    wanted = law(x, 0.4)
    torch.testing.assert_close(held.mean(0), wanted.mean[0], rtol=0, atol=0.05)
    torch.testing.assert_close(held.var(0), wanted.variance[0], rtol=0, atol=0.08)
    with pytest.raises(ValueError, match="no score where x_t is certain"):
        model.sample(2, steps=4, sampler=mb.StochasticAdams(0.5))
    # A walk that leaves the source by another's step, or with all of the noise, needs none.
    for late in (mb.HandOver(0.3, mb.StochasticAdams(0.5)), mb.StochasticAdams(LATE)):
        assert bool(model.sample(2, steps=6, sampler=late).isfinite().all())
    early = mb.StochasticAdams(Levels((0.5, 1.0), (0.3,)))  # of level 1 from t = .4 on
    assert model.restore(x, 0.4, steps=2, sampler=early).shape == x.shape
    for late in (mb.StochasticAdams(0.5), mb.StochasticAdams(LATE)):
        with pytest.raises(ValueError, match="not given a state at t = 0.2"):
            model.restore(x, 0.2, steps=8, sampler=late)


def test_what_has_no_closed_form_is_refused_before_the_network_is_asked():
    colour = Modal(MODES, (0.5, 0.5, 0.5))
    for level in (colour, Levels((1.0, colour), (0.5,))):
        with pytest.raises(TypeError, match="take a number as level, or StochasticHeun"):
            mb.StochasticAdams(level)

    class Own(Level):
        def __init__(self, late):
            self.late = late

        def at(self, t):
            return 1.0 if t < 0.5 else self.late

    def asked(x, t, condition):
        raise AssertionError

    white = mb.LinearDiffusion()
    for process, coupling, level, error, match in (
        (white, START, Own(colour), TypeError, "has no steps in closed form"),
        (white, START, Own(-0.5), ValueError, "level must be positive"),
        (white, START, Own(True), TypeError, "level must be a number"),
        (white, mb.Paired(), Levels((1.0, 0.5), (0.5,)), ValueError, "need none at level 1"),
        (Wiener(), START, 1.0, ValueError, "a step of Adams needs a LinearDiffusion, not Wiener"),
    ):
        model = mb.Transport(process, asked, shape=EVENT, coupling=coupling)
        x0 = torch.zeros(2, *EVENT)
        with pytest.raises(error, match=match):
            model.translate(x0, steps=4, sampler=mb.StochasticAdams(level))


def error(sampler, process, coupling, data, steps, until, monkeypatch, power=1.2):
    """How far mean and covariance of a walk, affine in its numbers, are from those of x_t."""
    mean = torch.tensor([1.0, -0.5, 0.0, 0.3], dtype=torch.float64)
    law = exact.Gaussian.coupled(process, coupling, mean, data)
    model = mb.Transport(process, law, shape=EVENT, coupling=coupling)
    grid = until * (1 - torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** power)
    times = grid if until == 1 else torch.cat([grid, torch.ones(1)])

    def walked(x):
        walking, _ = sampler.plan(model, times)
        for t, s in zip(grid.tolist(), grid[1:].tolist(), strict=False):
            x = walking.step(model, x, t, s)
        return x

    matrix, noise, shift = affine(walked, EVENT, monkeypatch)
    at = torch.zeros(1, *EVENT, dtype=torch.float64)
    before = law.marginal(at, 0.0)
    wanted = data if until == 1 else law.marginal(at, until).matrices[0]
    asked = mean if until == 1 else law.marginal(at, until).mean[0]
    spread = (matrix @ before.matrices[0] @ matrix.T + noise - wanted).abs().max()
    centre = shift + matrix @ before.mean[0]
    return max(float(spread), float((centre - asked).abs().max()))


FLOW = mb.ProbabilityFlow("adams")
LATE = Levels((1.0, 0.5), (0.3,))


@pytest.mark.parametrize("until", [0.7, 1.0])
@pytest.mark.parametrize("name", PROCESSES)
def test_steps_are_of_second_order(name, until, monkeypatch):
    errors = [
        error(FLOW, PROCESSES[name], START, MIXED, steps, until, monkeypatch)
        for steps in (40, 80, 160)
    ]
    assert errors[-1] < 4e-3
    assert 2**1.5 < errors[0] / errors[1] < 2**2.6, errors
    assert 2**1.7 < errors[1] / errors[2] < 2**2.6, errors


def test_time_reversal_of_the_same_order(monkeypatch):
    errors = [
        error(FLOW, PROCESSES["white"], mb.Noised(), MIXED, steps, 1.0, monkeypatch)
        for steps in (20, 40, 80)
    ]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 2**1.7 < coarse / fine < 2**2.6, errors


def test_one_step_lands_on_the_guess_whatever_the_clocks():
    """Heun's last step, one of Euler's, leaves noise in bands that are decided late."""
    for process in PROCESSES.values():
        model, *_ = lines(process, 0)
        x = torch.ones(1, *EVENT, dtype=torch.float64)
        for t in (0.0, 0.9):
            made = mb.ProbabilityFlow("adams").step(model, x, t, 1.0)
            torch.testing.assert_close(made, model.law(x, t).mean)


def test_slopes_are_taken_from_the_step_before_and_from_no_other():
    model, *_ = lines(PROCESSES["clocks"], 0)
    x = torch.ones(1, *EVENT, dtype=torch.float64)
    flow = mb.ProbabilityFlow("adams")
    walking, _ = flow.plan(model, 5)
    y = walking.step(model, x, 0.2, 0.4)
    torch.testing.assert_close(y, flow.step(model, x, 0.2, 0.4))
    z = walking.step(model, y, 0.4, 0.6)
    torch.testing.assert_close(z, integrated(model, y, 0.4, 0.6))
    assert float((flow.step(model, y, 0.4, 0.6) - z).abs().max()) > 1e-3
    # Once more from the same state, as a correction has it: the step before led elsewhere.
    torch.testing.assert_close(
        walking.step(model, y, 0.4, 0.6), flow.step(model, y, 0.4, 0.6), rtol=0, atol=0
    )


def test_steps_that_grow_do_not_carry_a_guess_further_than_it_was_seen():
    model, value, slope = lines(PROCESSES["white"], 0)
    x = torch.ones(1, *EVENT, dtype=torch.float64)
    walking, _ = mb.ProbabilityFlow("adams").plan(model, 5)
    y = walking.step(model, x, 0.7, 0.8)
    made = walking.step(model, y, 0.8, 1.0)  # twice as long: half the slope
    torch.testing.assert_close(made, value + 0.8 * slope + 0.1 * slope)


def test_a_step_of_no_length_is_no_step_before():
    model, *_ = lines(PROCESSES["white"], 0)
    walking, _ = mb.ProbabilityFlow("adams").plan(model, 5)
    x = torch.ones(1, *EVENT, dtype=torch.float64)
    y = walking.step(model, walking.step(model, x, 0.4, 0.4), 0.4, 0.4)
    torch.testing.assert_close(y, x)
    again = walking.step(model, y, 0.4, 0.6)
    torch.testing.assert_close(again, mb.ProbabilityFlow("adams").step(model, x, 0.4, 0.6))


def test_walks_do_not_know_of_each_other():
    process = mb.LinearDiffusion(VP, direction="noising")
    mean, spread = torch.zeros(EVENT).double(), MIXED
    law = exact.Gaussian.coupled(process, START, mean, spread)
    model = mb.Transport(process, law, shape=EVENT)
    flow = mb.ProbabilityFlow("adams")
    first, second = (torch.randn(1, *EVENT, dtype=torch.float64) for _ in range(2))

    def walked(x):
        walking, _ = flow.plan(model, 3)
        yield
        for t, s in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
            x = walking.step(model, x, t, s)
            yield x

    alone = list(walked(first)), list(walked(second))
    together = list(zip(walked(first), walked(second), strict=True))
    for k in (0, 1):
        torch.testing.assert_close(together[-1][k], alone[k][-1], rtol=0, atol=0)
    walking, _ = flow.plan(model, 3)
    assert walking.plan(model, 3)[0] is not walking


def test_it_is_a_sampler_like_others():
    flow, data = mb.ProbabilityFlow("adams"), torch.tensor([[0.5, -1.0], [1.5, 0.25], [-0.7, 0.4]])
    check_sampler(
        flow,
        mb.LinearDiffusion(),
        data,
        coupling=mb.Independent(),
        steps=48,
        draws=1000,
        allowed=0.03,
    )
    assert flow.evaluations(20) == 20


def test_what_has_no_such_flow_is_refused_before_the_network_is_asked():
    flow, x = mb.ProbabilityFlow("adams"), torch.zeros(1, *EVENT)

    def asked(x, t, condition):
        raise AssertionError

    for process, coupling, match in (
        (mb.LinearDiffusion(), mb.Dirac(), "no score"),
        (mb.LinearDiffusion(), mb.Paired(), "backward model"),
        (Wiener(), START, "needs a LinearDiffusion, not Wiener: of others"),
    ):
        model = mb.Transport(process, asked, shape=EVENT, coupling=coupling)
        with pytest.raises(ValueError, match=match):
            flow.step(model, x, 0.0, 0.2)
    with pytest.raises(ValueError, match='take method="heun"'):
        mb.ProbabilityFlow("adams", backward=model)
