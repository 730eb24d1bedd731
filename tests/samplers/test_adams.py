"""The probability flow by exponential Adams steps: exact for guesses that are lines in time."""

import pytest
import torch
from scipy import integrate

import markovbridge as mb
from markovbridge import exact
from markovbridge.covariances import Cosine, Dense, Modal
from markovbridge.laws import Delta
from markovbridge.processes import BandClocks, BandSDE
from markovbridge.samplers.diffusions import _drift
from markovbridge.samplers.exponential import moved, path_of
from markovbridge.testing import check_sampler

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
}


def lines(process, seed, coupling=START):
    """A model whose guess is a line in time, whatever the state: it, and value and slope."""
    noise = torch.Generator().manual_seed(seed)
    value, slope = torch.randn(2, 1, *EVENT, dtype=torch.float64, generator=noise)

    def law(x, t, condition):
        return Delta((value + t * slope).to(x).expand(x.shape))

    return mb.Transport(process, law, shape=EVENT, coupling=coupling), value, slope


def integrated(model, backward, x, t, s):
    """The flow by a solver of ordinary differential equations."""

    def velocity(u, state):
        state = torch.as_tensor(state).reshape(1, *EVENT)
        return _drift(model, backward, state, u, 0.0)[0].ravel().numpy()

    solved = integrate.solve_ivp(
        velocity, (t, s), x.ravel().numpy(), method="DOP853", rtol=1e-11, atol=1e-12
    )
    return torch.as_tensor(solved.y[:, -1]).reshape(1, *EVENT)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_guess_that_is_a_line_in_time_is_followed_exactly(name, both):
    process = PROCESSES[name]
    both = both and not process.noiseless
    model, value, slope = lines(process, 0, mb.Paired() if both else START)
    other, value_0, slope_0 = lines(process.reversed(), 1, mb.Paired())
    backward = other if both else None
    x = torch.tensor([[0.4, -1.3, 0.2, 0.9]], dtype=torch.float64)
    for t, s in ((0.3, 0.5), (0.05, 0.97), (0.6, 0.601)):
        start, lean = path_of(model, t, both).mean.to(x), torch.zeros((), dtype=torch.float64)
        if both:
            start, lean = value_0 + (1 - t) * slope_0, -slope_0
        found = moved(model, x, t, s, (value + t * slope, start), (slope, lean), both)
        torch.testing.assert_close(
            found, integrated(model, backward, x, t, s), rtol=1e-8, atol=1e-8
        )
    found = moved(model, x, 0.8, 1.0, (value, start), (slope, lean), both)
    torch.testing.assert_close(found, value + 0.2 * slope, rtol=0, atol=1e-12)


def error(process, coupling, data, steps, until, backward=False):
    """How far the covariance of a walk, an affine map of the source, is from that of x_t."""
    mean = torch.tensor([1.0, -0.5, 0.0, 0.3], dtype=torch.float64)
    law = exact.Gaussian.coupled(process, coupling, mean, data)
    other = mb.Transport(process.reversed(), law.reversed(), shape=EVENT) if backward else None
    model = mb.Transport(process, law, shape=EVENT, coupling=coupling)
    units = torch.cat([torch.zeros(1, *EVENT), torch.eye(4)]).double()
    grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 1.2 * until
    times = grid if until == 1 else torch.cat([grid, torch.ones(1)])
    walking, _ = mb.ProbabilityFlow("adams", other).plan(model, times)
    x = units
    for t, s in zip(grid.tolist(), grid[1:].tolist(), strict=False):
        x = walking.step(model, x, t, s)
    matrix = (x[1:] - x[0]).T
    before = law.marginal(units[:1], 0.0)
    wanted = data if until == 1 else law.marginal(units[:1], until).matrices[0]
    centre = x[0] + matrix @ before.mean[0]
    asked = mean if until == 1 else law.marginal(units[:1], until).mean[0]
    spread = (matrix @ before.matrices[0] @ matrix.T - wanted).abs().max()
    return max(float(spread), float((centre - asked).abs().max()))


@pytest.mark.parametrize("until", [0.7, 1.0])
@pytest.mark.parametrize("name", PROCESSES)
def test_steps_are_of_second_order(name, until):
    errors = [error(PROCESSES[name], START, MIXED, steps, until) for steps in (40, 80, 160)]
    assert errors[-1] < 4e-3
    assert 2**1.5 < errors[0] / errors[1] < 2**2.6, errors
    assert 2**1.7 < errors[1] / errors[2] < 2**2.6, errors


def test_time_reversal_of_the_same_order():
    errors = [error(PROCESSES["white"], mb.Noised(), MIXED, steps, 1.0) for steps in (20, 40, 80)]
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
    torch.testing.assert_close(z, integrated(model, None, y, 0.4, 0.6))
    assert float((flow.step(model, y, 0.4, 0.6) - z).abs().max()) > 1e-3
    # Once more from the same state, as a correction has it: the step before led elsewhere.
    torch.testing.assert_close(
        walking.step(model, y, 0.4, 0.6), flow.step(model, y, 0.4, 0.6), rtol=0, atol=0
    )


def test_walks_do_not_know_of_each_other():
    process = mb.LinearDiffusion(VP, direction="noising")
    mean, spread = torch.zeros(EVENT).double(), MIXED
    law = exact.Gaussian.coupled(process, START, mean, spread)
    model = mb.Transport(process, law, shape=EVENT)
    flow = mb.ProbabilityFlow("adams")

    def made(n):
        noise = torch.Generator().manual_seed(0)
        return model.sample(n, steps=5, sampler=flow, block=4, generator=noise)

    torch.testing.assert_close(made(12)[:4], made(4), rtol=0, atol=0)
    torch.testing.assert_close(made(12), made(12), rtol=0, atol=0)


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


def test_what_has_no_such_flow_is_refused():
    x = torch.zeros(1, *EVENT)
    for coupling, match in ((mb.Dirac(), "no score"), (mb.Paired(), "backward model")):
        model, *_ = lines(mb.LinearDiffusion(), 0, coupling)
        with pytest.raises(ValueError, match=match):
            mb.ProbabilityFlow("adams").step(model, x, 0.0, 0.2)
