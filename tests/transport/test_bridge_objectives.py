"""The losses of diffusions, against Gaussian closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import markovbridge as mb
from grid.reals import DIFFUSIONS
from markovbridge import (
    BirthDeath,
    Brownian,
    DriftMatching,
    EndMSE,
    EndNLL,
    EndpointHead,
    FiniteTime,
    Independent,
    Instantaneous,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    PathKL,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.laws import Delta
from markovbridge.networks import MLP
from markovbridge.samplers.known_sites import Masking

ONE = torch.ones(1, 1, dtype=torch.float64)
ZERO = torch.zeros(1, dtype=torch.float64)


def between(process, cross=0.0, start=1.0):
    """N(0, start) to N(0, 1), with this covariance of the ends."""
    return exact.Gaussian(process, ZERO, ONE, ZERO, start * ONE, cross * ONE)


def integrate(function, count=60):
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return sum(
        w / 2 * float(function(float(z + 1) / 2)) for z, w in zip(nodes, weights, strict=True)
    )


def energy(law):
    """∫ E |drift|² dt of the Markov process whose ends are coupled like this."""

    def rate(t):
        x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        drift = law.process.drift(x, law(x, t).mean, t)
        return (drift[1] - drift[0]) ** 2 * law.marginal(x, t).variance[0]

    return integrate(rate)


def test_floor_of_the_endpoint_loss():
    law = between(LinearDiffusion())
    floor = integrate(lambda t: law(ZERO.reshape(1, 1), t).variance)
    assert floor == pytest.approx(0.6045997881, abs=1e-10)
    assert floor == pytest.approx(math.pi / (3 * math.sqrt(3)), abs=1e-12)
    transport = Transport(law.process, law, shape=(1,), coupling=Independent(), objective=EndMSE())
    x1 = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
    loss = transport.loss(x1, generator=torch.Generator().manual_seed(1))
    assert abs(float(loss.mean()) - floor) < 5 * float(loss.std()) / 20000**0.5


def test_energy_of_the_mixture_and_of_the_schroedinger_bridge():
    process = LinearDiffusion()
    assert energy(between(process)) == pytest.approx(0.3954002119, abs=1e-10)
    golden = (math.sqrt(5) - 1) / 2
    assert energy(between(process, cross=golden)) == pytest.approx(0.2451438476, abs=1e-10)


def test_girsanov_weight_gives_the_loss_of_information_in_nats():
    # KL of the mixture of bridges from its Markov projection: the rate of path KL between
    # E[x_1 | x_0, x_t] and E[x_1 | x_t].
    process = LinearDiffusion()
    knows, guesses = between(process, start=0.0), between(process)
    x = torch.zeros(1, 1, dtype=torch.float64)

    def rate(t):
        gap = guesses(x, t).variance - knows(x, t).variance
        return process.divergence(Delta(x), x, gap.sqrt(), t)

    assert integrate(rate) == pytest.approx(0.302299, abs=1e-6)


def test_drift_loss_is_the_squared_difference_of_drifts():
    process = LinearDiffusion(OrnsteinUhlenbeck(0.8, 1.3))
    x, x1, guess = torch.randn(
        3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    t = torch.tensor([0.0, 0.2, 0.7, 0.95], dtype=torch.float64)
    loss = DriftMatching()(process, Delta(guess), x, x1, t)
    gap = process.drift(x, x1, t) - process.drift(x, guess, t)
    torch.testing.assert_close(loss, (gap**2).sum(1))
    # Girsanov's weight is this over 2 g².
    rate = PathKL()(process, Delta(guess), x, x1, t)
    torch.testing.assert_close(rate, loss / (2 * 1.3**2))
    torch.testing.assert_close(
        PathKL(damping=2.0)(process, Delta(guess), x, x1, t), rate * (1 - t) ** 2
    )


def test_drift_target_diverges_at_the_data_as_stated():
    # E |(x_1 - x_t)/(1 - t)|² = E |x_1 - x_0|² + σ² t/(1 - t), here 2 + .49 t/(1 - t).
    process = LinearDiffusion(Brownian(0.7))
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 100000, 1, dtype=torch.float64, generator=generator)
    for t in (0.5, 0.99):
        x = process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
        times = torch.full((len(x),), t, dtype=torch.float64)
        loss = DriftMatching()(process, Delta(x), x, x1, times)
        expected = 2 + 0.49 * t / (1 - t)
        assert abs(float(loss.mean()) - expected) < 5 * float(loss.std()) / len(x) ** 0.5


@pytest.mark.parametrize("objective", [DriftMatching(0.1), PathKL(truncation=0.1)])
def test_truncated_times_stay_below_it(objective):
    t = objective.times(5000, generator=torch.Generator().manual_seed(0), device="cpu")
    assert float(t.max()) < 0.9
    assert stats.kstest(t.numpy() / 0.9, "uniform").pvalue > 1e-5


def test_all_losses_have_the_same_minimiser():
    # The derivative at the true mean, averaged over the pair, vanishes at each time.
    process = LinearDiffusion()
    law = between(process)
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 100000, 1, dtype=torch.float64, generator=generator)
    t = torch.full((len(x1),), 0.6, dtype=torch.float64)
    x = process.bridge(x0, x1, 0.0, 0.6, 1.0).sample(generator=generator)
    for objective in (EndMSE(), DriftMatching(), PathKL(), PathKL(damping=1.0)):
        end = law(x, t).mean.requires_grad_()
        loss = objective(process, Delta(end), x, x1, t)
        (gradient,) = torch.autograd.grad(loss.sum(), end)
        for direction in (torch.ones_like(x), x):  # no bias, no slope
            slope = (gradient * direction).squeeze(1)
            assert abs(float(slope.mean())) < 5 * float(slope.std()) / len(x) ** 0.5


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="truncation"):
        DriftMatching(truncation=1.0)
    with pytest.raises(ValueError, match="truncation"):
        PathKL(truncation=-0.1)
    with pytest.raises(TypeError, match="LinearDiffusion"):
        DriftMatching()(PureDeath(), Delta(ONE), ONE, ONE, torch.zeros(1))


@pytest.mark.parametrize("objective", [FiniteTime(), Instantaneous()])
@pytest.mark.parametrize("process", [LinearDiffusion(), BirthDeath(1.0)])
def test_losses_of_pure_death_are_no_losses_of_others(objective, process):
    with pytest.raises(TypeError, match=f"PureDeath, not of {type(process).__name__}: take Path"):
        objective(process, Delta(ONE), ONE, ONE, torch.zeros(1))


@pytest.mark.parametrize("masking", [None, Masking()])
def test_a_point_has_no_density(masking):
    process, head = LinearDiffusion(), EndpointHead()
    network = MLP((2,), 1 if masking is None else 3, 1, width=8)
    transport = Transport(
        process, network, head, shape=(2,), objective=0.1 * EndNLL(), masking=masking
    )
    with pytest.raises(TypeError, match=r"take EndpointHead\(spread=1.0\)"):
        transport.loss(torch.zeros(4, 2))


@pytest.mark.parametrize("objective", [EndMSE(), DriftMatching(), PathKL(damping=1.0)], ids=repr)
@pytest.mark.parametrize("sde", DIFFUSIONS)
def test_of_what_is_certain_nothing_is_lost_under_any_diffusion(sde, objective):
    """Whatever the drift beside: else the loss is not least there."""
    process = DIFFUSIONS[sde]()[0]
    process = process if process.modes is not None else replace(process, offset=3.0)
    x, x1 = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.3, 0.5, 0.9])
    assert float(objective(process, Delta(x1), x, x1, t).abs().max()) < 1e-9
    assert float(objective(process, Delta(x1 + 0.5), x, x1, t).min()) > 0


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_drift_matching_counts_the_ends_alone_whatever_the_drift_beside(sigma):
    process = LinearDiffusion(mb.OrnsteinUhlenbeck(-2.0, sigma), offset=3.0)
    x, x1, guess = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.3, 0.5, 0.9])
    assert float(DriftMatching()(process, Delta(x1), x, x1, t).abs().max()) == 0
    apart = process.drift(x, x1, t) - process.drift(x, guess, t)
    wanted = (apart.double() ** 2).sum(1)
    found = DriftMatching()(process, Delta(guess), x, x1, t)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
