"""Linear diffusions against quadrature, conditioning and each other."""

import math

import pytest
import torch
from scipy import integrate

from diffusions import CLOCKS, EVERY, SDES, close, diffusion, double
from markovbridge import (
    VE,
    VP,
    Brownian,
    Coefficients,
    CosineSchedule,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    SubVP,
)
from markovbridge.laws import Delta


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("name", "direction"), EVERY)
def test_pieces_compose(name, direction, clock):
    process = diffusion(name, direction, clock)
    s, t, u = 0.13, 0.4, 0.93
    a, v = process.piece(s, t)
    b, w = process.piece(t, u)
    whole, variance = process.piece(s, u)
    close(a * b, whole)
    close(v * b**2 + w, variance)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("name", "direction"), EVERY)
def test_rates_are_the_derivatives_of_the_pieces(name, direction, clock):
    process = diffusion(name, direction, clock)
    t, h = 0.37, 1e-4
    f, g2 = process.rates(t)
    gain, variance = process.piece(t - h, t + h)
    assert float(gain.log() / (2 * h)) == pytest.approx(float(f), rel=1e-5, abs=1e-9)
    # v = 2h g² (1 + O(h) f): the midpoint rule once the gain's half is taken out.
    assert float(variance / gain / (2 * h)) == pytest.approx(float(g2), rel=1e-5)


@pytest.mark.parametrize("name", SDES)
def test_variance_against_quadrature(name):
    process = diffusion(name)
    sde = SDES[name]
    for s, t in ((0.0, 1.0), (0.2, 0.7), (0.999, 1.0)):

        def f(u):
            return float(sde.drift_rate(torch.tensor(u, dtype=torch.float64)))

        def g2(u):
            return float(sde.noise_rate(torch.tensor(u, dtype=torch.float64)))

        gain, variance = process.piece(s, t)
        options = {"epsabs": 0, "epsrel": 1e-13}
        log_gain = integrate.quad(f, s, t, epsabs=1e-14, epsrel=1e-13)[0]
        assert float(gain.log()) == pytest.approx(log_gain, rel=1e-12, abs=1e-14)
        expected = integrate.quad(
            lambda u: (
                g2(u)  # noqa: B023
                * math.exp(2 * integrate.quad(f, u, t, epsabs=1e-14, epsrel=1e-13)[0])  # noqa: B023
            ),
            s,
            t,
            **options,
        )[0]
        assert float(variance) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("sde", [VP(), SubVP(), OrnsteinUhlenbeck(-2.0), VE(0.1, 5.0)])
def test_user_coefficients_reproduce_the_closed_forms(sde):
    own = Coefficients(sde.drift_rate, lambda r: sde.noise_rate(r).sqrt())
    times = torch.tensor([0.0, 1e-7, 0.3, 0.5, 1 - 1e-7], dtype=torch.float64)
    for direction in ("forward", "noising"):
        first = LinearDiffusion(own, direction=direction)
        second = LinearDiffusion(sde, direction=direction)
        for mine, theirs in zip(first.piece(times, 1.0), second.piece(times, 1.0), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "direction"), EVERY)
def test_bridge_is_gaussian_conditioning(name, direction):
    process = diffusion(name, direction, "cosine")
    s, t, u, x, y = 0.1, 0.45, 0.8, 0.7, -1.2
    a, v = (float(value) for value in process.piece(s, t))
    b, w = (float(value) for value in process.piece(t, u))
    # (x_t, x_u) given x_s is Gaussian; condition on x_u.
    total = b * b * v + w
    mean = a * x + v * b / total * (y - b * a * x)
    variance = v - (v * b) ** 2 / total
    law = process.bridge(double(x), double(y), s, t, u)
    close(law.mean, double(mean), 1e-11)
    close(law.variance, double(variance), 1e-11)


@pytest.mark.parametrize(("name", "direction"), EVERY)
def test_bridges_compose(name, direction):
    process = diffusion(name, direction)
    s, t = 0.2, 0.6
    p, k, c = process.weights(0.0, t, 1.0)
    first, first_end, first_noise = process.weights(0.0, s, 1.0)
    then, then_end, then_noise = process.weights(s, t, 1.0)
    close(then * first, p)
    close(then * first_end + then_end, k)
    close(then**2 * first_noise + then_noise, c)


# Directions take turns, as an integrator asks often; both with --whole.
@pytest.mark.parametrize(
    ("name", "direction"),
    [
        pytest.param(*pair, marks=pytest.mark.whole) if (k // 2 + k) % 2 else pair
        for k, pair in enumerate(EVERY)
    ],
)
def test_pinned_drift_integrates_to_the_bridge(name, direction):
    # dm = drift(m) dt and dc = 2 (∂drift/∂x) c dt + g² dt, by Gauss–Legendre collocation.
    process = diffusion(name, direction)
    x, y, stop = 0.4, -0.9, 0.8

    def right(t, state):
        here = double(state[0], state[0] + 1)
        drift = process.drift(here, torch.full_like(here, y), t)
        slope = float(drift[1] - drift[0])
        return [float(drift[0]), 2 * slope * state[1] + float(process.diffusion(t)) ** 2]

    solution = integrate.solve_ivp(
        right, (0, stop), [x, 0.0], method="DOP853", rtol=1e-10, atol=1e-12
    )
    law = process.bridge(double(x), double(y), 0.0, stop, 1.0)
    assert solution.y[0, -1] == pytest.approx(float(law.mean), rel=1e-8, abs=1e-9)
    assert solution.y[1, -1] == pytest.approx(float(law.variance), rel=1e-7, abs=1e-10)


def test_bridges_are_even_in_alpha():
    up, down = (LinearDiffusion(OrnsteinUhlenbeck(a)) for a in (2.3, -2.3))
    for first, second in zip(up.weights(0.1, 0.5, 0.9), down.weights(0.1, 0.5, 0.9), strict=True):
        close(first, second, 1e-13)
    x, y = double(0.3, -2.0), double(1.0, 0.5)
    close(up.drift(x, y, 0.6), down.drift(x, y, 0.6))
    alpha, s = 2.3, 0.4
    closed = alpha * (y / math.sinh(alpha * s) - x / math.tanh(alpha * s))
    close(up.drift(x, y, 0.6), closed)


def test_no_pull_is_brownian():
    flat, brownian = LinearDiffusion(OrnsteinUhlenbeck(0.0, 1.3)), LinearDiffusion(Brownian(1.3))
    nearly = LinearDiffusion(OrnsteinUhlenbeck(1e-9, 1.3))
    for a, b, c in zip(*(p.weights(0.1, 0.5, 0.9) for p in (flat, brownian, nearly)), strict=True):
        close(a, b, 0)
        close(a, c, 1e-8)


def test_brownian_bridge_is_the_textbook_one():
    p, k, c = LinearDiffusion(Brownian(0.7)).weights(0.0, 0.3, 1.0)
    close(torch.stack([p, k, c]), torch.tensor([0.7, 0.3, 0.49 * 0.21], dtype=torch.float64))


@pytest.mark.parametrize("name", ["ve", "vp", "sub-vp"])
def test_time_reversal_is_the_mixture_drift(name):
    # Tweedie's reverse drift of the noising SDE, written out from its published form.
    process = diffusion(name, "noising")
    t, x, end = 0.35, double(0.4, -1.0), double(0.2, 0.9)
    r = 1 - t
    if name == "ve":
        growth = 2 * math.log(5.0 / 0.01)
        rate = 0.01**2 * growth * math.exp(growth * r)
        drift = rate * (end - x) / (0.01**2 * math.expm1(growth * r))
    else:
        beta, b = 0.1 + 19.9 * r, 0.1 * r + 19.9 * r**2 / 2
        if name == "vp":
            drift = beta * x / 2 + beta * (math.exp(-b / 2) * end - x) / (1 - math.exp(-b))
        else:
            e = math.exp(-b)
            pull = beta * (1 + e) / (1 - e)
            drift = beta * x / 2 + pull * (math.exp(-b / 2) * end - x)
    close(process.drift(x, end, t), drift)


def test_no_digits_are_lost_at_either_end():
    process = LinearDiffusion(OrnsteinUhlenbeck(-3.0))
    for t in (1e-12, 1 - 1e-12):
        t = torch.tensor(t, dtype=torch.float64)
        p, k, c = process.weights(0.0, t, 1.0)
        left, done = 1 - t, t
        sinh = [float(torch.sinh(3 * z)) for z in (left, done)]
        assert float(p) == pytest.approx(sinh[0] / math.sinh(3), rel=1e-13)
        assert float(k) == pytest.approx(sinh[1] / math.sinh(3), rel=1e-13)
        assert float(c) == pytest.approx(sinh[0] * sinh[1] / (3 * math.sinh(3)), rel=1e-13)


def test_ends_of_bridges_are_certain():
    process = diffusion("vp", "noising")
    x, y = double(1.0), double(-2.0)
    for times, value in (((0.2, 0.2, 0.7), x), ((0.2, 0.7, 0.7), y), ((0.5, 0.5, 0.5), x)):
        law = process.bridge(x, y, *times)
        close(law.mean, value)
        assert float(law.variance) == 0


def test_transition_runs_both_ways():
    # Under VP started from N(0, 1) at the data the process is stationary: both
    # transitions are those of a correlation, up to the gain of the flat measure.
    process = diffusion("vp", "noising")
    x = double(1.0, 2.0)
    back = process.transition(x, 0.9, 0.4)
    b = (0.1 + 19.9 * (0.1 + 0.6) / 2) * 0.5
    close(back.mean, x * math.exp(-b / 2))
    close(back.variance, torch.full_like(x, 1 - math.exp(-b)))
    ahead = process.transition(x, 0.4, 0.9)
    close(ahead.mean, x * math.exp(b / 2))
    close(process.source(x).variance, torch.ones_like(x))
    close(process.noised(x).mean, x * math.exp(-10.05 / 2))


@pytest.mark.parametrize(("name", "direction"), EVERY)
@pytest.mark.parametrize("clock", CLOCKS)
def test_reversed_runs_the_bridges_backwards(name, direction, clock):
    process = diffusion(name, direction, clock)
    back = process.reversed()
    p, k, c = process.weights(0.25, 0.5, 0.875)
    end, start, noise_ = back.weights(0.125, 0.5, 0.75)
    close(torch.stack([p, k, c]), torch.stack([start, end, noise_]), 1e-11)
    assert back.reversed().piece(0.1, 0.6)[1] == pytest.approx(process.piece(0.1, 0.6)[1])


def test_score_is_the_gradient_of_the_bridge_density():
    process = diffusion("repelling")
    start, end = double(0.3), double(-1.0)
    x = double(0.8).requires_grad_()
    density = process.bridge(start, end, 0.0, 0.4, 1.0).log_prob(x)
    (gradient,) = torch.autograd.grad(density.sum(), x)
    close(process.score(x.detach(), start, end, 0.4), gradient)


def test_end_of_drift_inverts_drift():
    process = diffusion("sub-vp", "noising")
    x, y, t = double(0.3, -1.0, 4.0), double(1.0, 2.0, 3.0), torch.tensor([0.0, 0.4, 0.9])
    close(process.end_of_drift(x, process.drift(x, y, t), t), y, 1e-9)


@pytest.mark.parametrize(
    "call",
    [
        lambda process, x: process.drift(x, x, 1.0),
        lambda process, x: process.drift(x, x, torch.tensor([0.5, 1.0])),
        lambda process, x: process.end_of_drift(x, x, 1.0),
        lambda process, x: process.divergence(Delta(x), x, x, 1.0),
        lambda process, x: process.score(x, x, x, 0.0),
        lambda process, x: process.score(x, x, x, 1.0),
        lambda process, x: process.bridge(x, x, 0.2, 0.2, 0.6).log_prob(x),
        lambda process, x: process.transition(x, 0.2, 0.2).log_prob(x),
    ],
)
def test_what_is_infinite_is_refused(call):
    with pytest.raises(ValueError, match=r"t = 1: ask|t = 0 or t = 1|no density"):
        call(LinearDiffusion(schedule=CosineSchedule()), torch.zeros(2, 3))


def test_back_and_forth_is_the_process_itself():
    process = diffusion("sub-vp", "noising")
    assert process.reversed().reversed() == process
