"""The probability flow by exponential Adams steps: exact for guesses that are lines in time."""

import pytest
import torch
from scipy import integrate

import markovbridge as mb
from markovbridge import exact
from markovbridge.covariances import Cosine, Dense, Modal
from markovbridge.laws import Delta
from markovbridge.processes import BandClocks, BandSDE
from markovbridge.samplers.adams import flowed, path_of
from markovbridge.samplers.diffusions import _drift
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


def integrated(model, x, t, s):
    """The flow by a solver of ordinary differential equations."""

    def velocity(u, state):
        state = torch.as_tensor(state).reshape(1, *EVENT)
        return _drift(model, None, state, u, 0.0)[0].ravel().numpy()

    solved = integrate.solve_ivp(
        velocity, (t, s), x.ravel().numpy(), method="DOP853", rtol=1e-11, atol=1e-12
    )
    return torch.as_tensor(solved.y[:, -1]).reshape(1, *EVENT)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_guess_that_is_a_line_in_time_is_followed_exactly(name):
    model, value, slope = lines(PROCESSES[name], 0)
    x = torch.tensor([[0.4, -1.3, 0.2, 0.9]], dtype=torch.float64)
    for t, s in ((0.3, 0.5), (0.0, 0.97), (0.6, 0.601)):
        found = flowed(model, path_of(model, t), x, t, s, value + t * slope, slope)
        torch.testing.assert_close(found, integrated(model, x, t, s), rtol=1e-8, atol=1e-8)
    found = flowed(model, path_of(model, 0.8), x, 0.8, 1.0, value, slope)
    torch.testing.assert_close(found, value + 0.2 * slope, rtol=0, atol=1e-12)


def error(process, coupling, data, steps, until):
    """How far the covariance of a walk, an affine map of the source, is from that of x_t."""
    mean = torch.tensor([1.0, -0.5, 0.0, 0.3], dtype=torch.float64)
    law = exact.Gaussian.coupled(process, coupling, mean, data)
    model = mb.Transport(process, law, shape=EVENT, coupling=coupling)
    units = torch.cat([torch.zeros(1, *EVENT), torch.eye(4)]).double()
    grid = until * (1 - torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 1.2)
    times = grid if until == 1 else torch.cat([grid, torch.ones(1)])
    walking, _ = mb.ProbabilityFlow("adams").plan(model, times)
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
    y = walking.step(model, x, 0.4, 0.4)
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
