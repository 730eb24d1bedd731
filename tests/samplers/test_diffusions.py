"""Samplers of diffusions: their output laws, followed exactly through affine steps."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from markovbridge import (
    VP,
    Bridge,
    Brownian,
    CosineSchedule,
    Dirac,
    EndpointHead,
    EulerMaruyama,
    Independent,
    LinearDiffusion,
    Noised,
    OrnsteinUhlenbeck,
    Paired,
    ProbabilityFlow,
    PureDeath,
    StochasticHeun,
    Transport,
    exact,
    statistics,
)
from markovbridge.covariances import Dense, Isotropic
from markovbridge.processes import IntervalSupport
from walked import LEVEL, brownian, gaussian, model, plug_in, terminal, uniform

TABLE = {
    5: (0.335122, 0.135122, 0.090488),
    10: (0.287621, 0.187621, 0.135928),
    30: (0.261517, 0.228184, 0.188439),
    100: (0.253353, 0.243353, 0.221882),
    1000: (0.250331, 0.249331, 0.245043),
}


@pytest.mark.parametrize("steps", [5, 10, 30, 100, pytest.param(1000, marks=pytest.mark.whole)])
def test_terminal_variances_of_the_published_steps(steps):
    for sampler, make, expected in zip(
        (EulerMaruyama(last="noise"), EulerMaruyama(), Bridge()),
        (brownian, brownian, plug_in),
        TABLE[steps],
        strict=True,
    ):
        mean, variance = terminal(sampler, uniform(steps), make)
        assert variance == pytest.approx(expected, abs=6e-7)
        assert mean == pytest.approx(2, abs=1e-9)


def test_a_straight_flow_is_exact_in_one_step():
    for sampler in (ProbabilityFlow("euler"), ProbabilityFlow("heun")):
        assert terminal(sampler, uniform(1), brownian) == pytest.approx((2, 0.25), abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_law_sampled_bridge_steps_are_exact(steps):
    process = LinearDiffusion(Brownian())
    samples = model(process).sample(
        20000, steps=steps, block=20000, generator=torch.Generator().manual_seed(steps)
    )
    assert stats.kstest(samples.double().ravel(), stats.norm(2, 0.5).cdf).pvalue > LEVEL


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_law_sampled_bridge_steps_are_exact_on_a_mixture(steps):
    process = LinearDiffusion(OrnsteinUhlenbeck(1.5), schedule=CosineSchedule())
    parts = [gaussian(process, m, v) for m, v in ((-2.0, 0.25), (1.0, 0.09))]
    mixture = exact.Mixture(process, (0.3, 0.7), parts)
    samples = model(process, mixture).sample(
        20000, steps=steps, block=20000, generator=torch.Generator().manual_seed(steps)
    )

    def cdf(x):
        return 0.3 * stats.norm.cdf(x, -2, 0.5) + 0.7 * stats.norm.cdf(x, 1, 0.3)

    assert stats.kstest(samples.double().ravel(), cdf).pvalue > LEVEL


def test_law_sampled_bridge_steps_are_exact_from_an_inner_time():
    process = LinearDiffusion(Brownian())
    law = gaussian(process, coupling=Dirac(0.3))
    generator = torch.Generator().manual_seed(0)
    x = law.marginal(torch.zeros(20000, 1), 0.4).sample(generator=generator)
    samples = model(process, law).restore(
        x, 0.4, steps=3, block=20000, generator=torch.Generator().manual_seed(1)
    )
    assert stats.kstest(samples.double().ravel(), stats.norm(2, 0.5).cdf).pvalue > LEVEL


def test_no_walk_that_forgets_its_state_restores_from_it():
    """What has the right law at each time only does not draw the data given a state."""
    process, x = LinearDiffusion(Brownian()), torch.zeros(4, 1)
    with pytest.raises(ValueError, match="under Independent .* not Markov"):
        model(process).restore(x, 0.4, steps=2)
    held = model(process, gaussian(process, coupling=Dirac(0.3)))
    for sampler in (
        ProbabilityFlow(),
        EulerMaruyama(0.5),
        EulerMaruyama(2.0),
        StochasticHeun(1.0),
    ):
        with pytest.raises(ValueError, match="not given a state at t = 0.4"):
            held.restore(x, 0.4, steps=2, sampler=sampler)
    assert held.restore(x, 0.4, steps=2, sampler=EulerMaruyama()).shape == x.shape
    assert model(process).restore(x, 0.0, steps=2, sampler=ProbabilityFlow()).shape == x.shape


def test_full_spread_is_the_reference_noise():
    # Interpolation: spread 0 is plug-in, 1 the noise of Brownian motion, between between.
    grid = uniform(10)
    process = LinearDiffusion(Brownian())
    law = gaussian(process)
    found = {}
    for spread in (0.0, 0.5, 1.0):
        head = EndpointHead(spread=spread)
        mean, variance = 0.0, 1.0
        for t, s in zip(grid, grid[1:], strict=False):
            ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
            end = head.around(process, law(ends, t).mean, t)
            start, gain, noise = (float(w) for w in process.weights(t, s, 1.0))
            here = start * ends + gain * end.mean
            slope = float(here[1] - here[0])
            extra = gain**2 * float(end.variance[0])
            if spread == 1:
                assert noise + extra == pytest.approx(s - t)
            mean, variance = slope * mean + float(here[0]), slope**2 * variance + noise + extra
        found[spread] = variance
    assert found[0.0] == pytest.approx(TABLE[10][2], abs=6e-7)
    assert found[1.0] == pytest.approx(TABLE[10][0], abs=6e-7)
    assert found[0.0] < found[0.5] < found[1.0]


@pytest.mark.parametrize(
    ("b", "mean", "variance"),
    [
        (1, 1.745971, 0.262099),
        (2, 1.924688, 0.251063),
        pytest.param(5, 1.996614, 0.250002, marks=pytest.mark.whole),
        pytest.param(10, 1.999977, 0.250000, marks=pytest.mark.whole),
    ],
)
def test_bias_of_time_reversal_which_the_mixture_does_not_have(b, mean, variance):
    process = LinearDiffusion(VP(b, b), direction="noising")
    for coupling, expected in ((Noised(), (mean, variance)), (Independent(), (2, 0.25))):
        law = gaussian(process, coupling=coupling)

        def right(t, state, law=law):
            ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
            drift = process.drift(ends, law(ends, t).mean, t)
            slope = float(drift[1] - drift[0])
            g2 = float(process.diffusion(t)) ** 2
            return [float(drift[0]) + slope * state[0], 2 * slope * state[1] + g2]

        solution = integrate.solve_ivp(
            right, (0, 1 - 1e-8), [0.0, 1.0], method="DOP853", rtol=1e-10, atol=1e-12
        )
        assert solution.y[0, -1] == pytest.approx(expected[0], abs=1e-6)
        assert solution.y[1, -1] == pytest.approx(expected[1], abs=1e-6)
    start = Noised().start(process, torch.zeros(20000, 1), generator=torch.Generator())
    assert stats.kstest(start.double().ravel(), "norm").pvalue > LEVEL


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (EulerMaruyama(level=1.0, last="noise"), 1),
        (EulerMaruyama(level=0.5), 1),
        (EulerMaruyama(level=1.5), 1),
        (ProbabilityFlow("euler"), 1),
        (ProbabilityFlow("heun"), 2),
        (StochasticHeun(), 2),
        (StochasticHeun(1.0), 2),
    ],
)
def test_orders_of_convergence(sampler, order):
    # To N(2, 9/4): to N(2, 1/4) the flow is a straight line, which Euler's steps follow.
    found = [
        terminal(sampler, uniform(n), lambda noise: brownian(noise, 2.25))[1] for n in (10, 20, 40)
    ]
    errors = [abs(variance - 2.25) for variance in found]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_flow_with_time_reversal_and_correlated_noise():
    # A flow maps Gaussians to Gaussians; correlated, it acts on the whole event at once.
    matrix = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
    process = LinearDiffusion(VP(), covariance=Dense(matrix), direction="noising")
    data = torch.tensor([[0.5, -0.2], [-0.2, 0.3]], dtype=torch.float64)
    mean = torch.tensor([1.0, -1.0], dtype=torch.float64)
    law = exact.Gaussian.coupled(process, Noised(), mean, data)
    start = law.reversed()  # where the paths really start: no prior mismatch
    flow = Transport(process, law, shape=(2,), coupling=Noised())
    x = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double() + start.mean
    for t, s in zip(uniform(200), uniform(200)[1:], strict=False):
        x = ProbabilityFlow().step(flow, x, t, s)
    torch.testing.assert_close(x[0], mean, rtol=0, atol=1e-3)
    jacobian = (x[1:] - x[0]).T
    spread = jacobian @ start.covariance @ jacobian.T
    torch.testing.assert_close(spread, data, rtol=0, atol=2e-3)


def test_last_steps():
    process = LinearDiffusion(OrnsteinUhlenbeck(2.0))
    here = model(process)
    x = torch.tensor([[0.5]], dtype=torch.float64)
    end = here.law(x, 0.8).mean
    torch.testing.assert_close(EulerMaruyama(last="end").step(here, x, 0.8, 1.0), end)
    moved = x + 0.2 * process.drift(x, end, 0.8)
    torch.testing.assert_close(EulerMaruyama(last="mean").step(here, x, 0.8, 1.0), moved)
    noisy = EulerMaruyama(last="noise").step(
        here, x, 0.8, 1.0, generator=torch.Generator().manual_seed(0)
    )
    noise = torch.randn(1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy, moved + 0.2**0.5 * noise)
    straight = brownian(Isotropic())
    torch.testing.assert_close(
        EulerMaruyama(last="mean").step(straight, x, 0.8, 1.0), straight.law(x, 0.8).mean
    )


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda b: EulerMaruyama(0.5, backward=b),
        lambda b: EulerMaruyama(backward=b),
        lambda b: ProbabilityFlow("euler", backward=b),
        lambda b: ProbabilityFlow("heun", backward=b),
        lambda b: StochasticHeun(backward=b),
        lambda b: StochasticHeun(1.0, backward=b),
    ],
)
def test_evaluations_are_counted(make, both, steps):
    process = LinearDiffusion()
    law, calls = gaussian(process), []

    def network(x, t, condition):
        calls.append(t)
        return law(x, t)

    def other(x, t, condition):
        calls.append(t)
        return law.reversed()(x, t)

    grid = torch.tensor(uniform(steps))
    backward = model(process.reversed(), other) if both else None
    sampler = make(backward)
    model(process, network).sample(1, steps=grid, sampler=sampler, block=1)
    assert sampler.evaluations(steps) == len(calls)


def test_statistics_of_reals_may_be_negative():
    x = torch.tensor([[-3.0], [-1.0], [-2.0], [-2.0]])
    mean, variance = statistics(x)
    assert float(mean) == -2
    assert float(variance) == 0.5


def test_samples_respect_the_support():
    process = LinearDiffusion(Brownian(), support=IntervalSupport(-1.0, 1.0))
    transport = model(process, gaussian(process, 1.0, 4.0))
    seen = []
    samples = transport.sample(
        20000,
        steps=3,
        block=20000,
        generator=torch.Generator().manual_seed(0),
        callback=lambda t, x: seen.append(x),
    )
    assert all(bool((x.abs() <= 1).all()) for x in [*seen, samples])
    logit = torch.logit((samples.double().ravel() + 1) / 2)
    assert stats.kstest(logit, stats.norm(1, 2).cdf).pvalue > LEVEL


def test_nonsense_is_refused():
    x = torch.zeros(1, 1)
    counts = Transport(PureDeath(), lambda *a: None, shape=(1,))
    with pytest.raises(TypeError, match="Bridge"):
        EulerMaruyama().step(counts, x, 0.1, 0.2)
    with pytest.raises(ValueError, match="ProbabilityFlow"):
        EulerMaruyama(level=0.0)
    with pytest.raises(ValueError, match="last"):
        EulerMaruyama(last="first")
    with pytest.raises(ValueError, match="method"):
        ProbabilityFlow("midpoint")
    process = LinearDiffusion()
    with pytest.raises(ValueError, match="backward model"):
        law = gaussian(process)
        ProbabilityFlow().step(model(process, lambda *now: law(*now), Paired()), x, 0.1, 0.2)
    with pytest.raises(ValueError, match="no score"):
        law = gaussian(process, coupling=Dirac(0.0))
        ProbabilityFlow().step(model(process, law, Dirac(0.0)), x, 0.0, 0.2)
