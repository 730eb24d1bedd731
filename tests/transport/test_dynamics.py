"""Rates, drift and score of a model, against laws that are known."""

import numpy as np
import pytest
import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.exact import Reverse
from markovbridge.networks import MLP

DATA = torch.tensor([0.5, 0.2, 0.2, 0.1])
TIMES = [0.2, 0.5, 0.9]


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(
    "process",
    [mb.UniformChain(4), mb.Ehrenfest(3), mb.PureDeath(3)],
    ids=lambda p: type(p).__name__,
)
def test_rates_are_those_of_the_reverse_process(process, t):
    """Of one site, by its whole generator."""
    points = torch.arange(4).unsqueeze(1)
    model = mb.Transport(process, exact.Empirical(process, points, DATA), shape=(1,))
    rates, moves = model.rates(points, t)[:, 0].double(), process.moves(points)[:, 0]
    if isinstance(process, mb.PureDeath):
        wanted = _births(t, process.schedule)
    else:
        wanted = Reverse(process, DATA).generator(t).double().numpy()
    found = np.zeros((4, 4))
    for x in range(4):
        for target, rate in zip(moves[x].tolist(), rates[x].tolist(), strict=True):
            if 0 <= target < 4 and target != x:
                found[x, target] += rate
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(found[off], np.asarray(wanted)[off], rtol=1e-5, atol=1e-7)


def _births(t, schedule):
    """The reverse of thinning by Bayes' rule: at p'/p of the clock a unit dies."""
    p = float(schedule.survival(t))
    speed = float(schedule.rate(t)) / p
    n = np.arange(4)
    thinned = np.array([[_binomial(y, x, p) for x in n] for y in n])
    f = DATA.double().numpy() @ thinned
    wanted = np.zeros((4, 4))
    for x in range(3):
        wanted[x, x + 1] = speed * (x + 1) * f[x + 1] / f[x]
    return wanted


def _binomial(n, k, p):
    from math import comb

    return comb(n, k) * p**k * (1 - p) ** (n - k) if k <= n else 0.0


MEAN = torch.tensor([0.4, -0.6], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.9, 0.3], [0.3, 0.5]], dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)
COUPLINGS = {
    "reversal": (mb.VP(), "noising", mb.Noised()),
    "one point": (mb.Brownian(0.8), "forward", mb.Dirac(0.3)),
    "independent": (mb.OrnsteinUhlenbeck(-0.7), "forward", mb.Independent()),
}


def gaussian(name):
    sde, direction, coupling = COUPLINGS[name]
    process = mb.LinearDiffusion(sde, direction=direction)
    law = exact.Gaussian.coupled(process, coupling, MEAN, COVARIANCE)
    return process, mb.Transport(process, law, shape=(2,), coupling=coupling)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("name", COUPLINGS)
def test_the_score_is_the_slope_of_the_density(name, t):
    process, model = gaussian(name)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    # x_t = gain x_1 + noise, its covariance by hand.
    kernel = model.coupling.kernel(process, t)
    gain, noise = float(kernel.gain), float(kernel.variance)
    centre = kernel.centre(MEAN.unsqueeze(0))[0]
    spread = gain**2 * COVARIANCE + noise * EYE
    density = torch.distributions.MultivariateNormal(centre, spread)
    (wanted,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    found = model.score(x.detach(), torch.full((5,), t, dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("name", COUPLINGS)
def test_the_drift_carries_the_moments(name, t):
    """Moments of x_t obey dm/dt = E b and dC/dt = E[b (x - m)ᵀ] + transpose + g² (Itô)."""
    process, model = gaussian(name)

    def moments(t):
        kernel = model.coupling.kernel(process, t)
        spread = float(kernel.gain) ** 2 * COVARIANCE + float(kernel.variance) * EYE
        return kernel.centre(MEAN.unsqueeze(0))[0], spread

    mean, spread = moments(t)
    # b is affine here: read it off at the mean and beside it.
    points = torch.cat([mean.unsqueeze(0), mean + torch.eye(2)])
    at = model.drift(points.double(), torch.full((3,), t, dtype=torch.float64))
    slope = (at[1:] - at[0]).mT
    h = 1e-5
    (low, low_spread), (high, high_spread) = moments(t - h), moments(t + h)
    torch.testing.assert_close(at[0], (high - low) / (2 * h), rtol=1e-5, atol=1e-6)
    wanted = slope @ spread + spread @ slope.mT + float(process.diffusion(t)) ** 2 * EYE
    torch.testing.assert_close((high_spread - low_spread) / (2 * h), wanted, rtol=1e-5, atol=1e-5)


def trained(process, head, outputs, **options):
    torch.manual_seed(0)
    network = MLP((2,), process.features, outputs, width=8, depth=1)
    return mb.Transport(process, network, head, shape=(2,), **options)


def test_a_model_with_a_network_is_asked_the_same_way():
    chain = mb.UniformChain(3)
    model = trained(chain, mb.CategoricalHead(), 3)
    x = torch.tensor([[0, 1], [2, 2]])
    wanted = chain.expected_rates(model.law(x, 0.4), x, 0.4)
    torch.testing.assert_close(model.rates(x, 0.4), wanted)
    assert model.rates(x, torch.tensor([0.4, 0.6])).shape == (2, 2, 3)
    drift = trained(mb.LinearDiffusion(), mb.EndpointHead(), 1, coupling=mb.Dirac(0.0))
    real = torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    assert drift.drift(real, 0.4).shape == drift.score(real, 0.4).shape == (2, 2)


def test_what_a_process_does_not_have_is_refused():
    x, real = torch.tensor([[0, 1]]), torch.zeros(1, 2)
    chain = trained(mb.UniformChain(3), mb.CategoricalHead(), 3)
    with pytest.raises(
        TypeError, match="UniformChain has no drift, as it is no diffusion: .*rates"
    ):
        chain.drift(x, 0.5)
    with pytest.raises(TypeError, match="known for a LinearDiffusion, not for UniformChain"):
        chain.score(x, 0.5)
    drift = trained(mb.LinearDiffusion(), mb.EndpointHead(), 1, coupling=mb.Dirac(0.0))
    with pytest.raises(TypeError, match="LinearDiffusion has no rates, .*its `drift`"):
        drift.rates(real, 0.5)
    with pytest.raises(ValueError, match="no finite drift at t = 1"):
        drift.drift(real, 1.0)
    with pytest.raises(ValueError, match="has no score where x_t is certain"):
        drift.score(real, 0.0)
    with pytest.raises(ValueError, match="time 1.5 is outside"):
        drift.score(real, 1.5)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\)"):
        drift.drift(torch.zeros(1, 3), 0.5)
    steps = mb.DiscreteTimeChain(np.stack([0.9 * np.eye(3) + 0.1 / 3] * 4))
    with pytest.raises(TypeError, match="DiscreteTimeChain has no rates"):
        trained(steps, mb.CategoricalHead(), 3).rates(x, 0.5)
    kept = mb.Transport(
        mb.LinearDiffusion(),
        MLP((2,), 2, 1, width=8, depth=1),
        mb.EndpointHead(),
        shape=(2,),
        coupling=mb.Paired(preserve=True),
    )
    with pytest.raises(ValueError, match="preserve=False"):
        kept.score(real, 0.5)


def _counts():
    process = mb.Ehrenfest(3)
    points = torch.tensor([[0, 3], [2, 1], [3, 3]])
    return mb.Transport(process, exact.Empirical(process, points), shape=(2,))


def test_frames_are_those_of_the_walk_of_a_sample():
    """In two blocks, so that they are put together again."""
    model, times = _counts(), (0.0, 0.3, 0.7, 1.0)
    rng = torch.Generator().manual_seed
    frames = model.frames(70, times, generator=rng(0))
    assert frames.shape == (4, 70, 2)
    grid = torch.tensor(times).double()
    assert torch.equal(frames[-1], model.sample(70, steps=grid, generator=rng(0)))
    assert torch.equal(frames[:, :5], model.frames(5, times, generator=rng(0)))
    again = model.frames(frames[0], times, sampler=mb.Bridge(), generator=rng(1))
    assert torch.equal(again[0], frames[0])
    assert torch.equal(again[-1], model.translate(frames[0], steps=grid, generator=rng(1)))
    later = model.frames(frames[2], times[2:], generator=rng(2))
    restored = model.restore(frames[2], times[2], steps=grid[2:], generator=rng(2))
    assert torch.equal(later, torch.stack([frames[2], restored]))


def test_frames_have_the_marginals_of_the_process():
    model, times = _counts(), (0.0, 0.4, 0.8, 1.0)
    frames = model.frames(4000, times, generator=torch.Generator().manual_seed(0))
    for x, t in zip(frames, times, strict=True):
        laws = model.process.transition(torch.tensor([[0], [2], [3]]), 1.0, t)
        expected = laws.log_probs.exp()[:, 0].mean(0)
        share = torch.bincount(x[:, 0], minlength=4).double() / len(x)
        torch.testing.assert_close(share, expected.double(), atol=4.5 / 2 / 4000**0.5, rtol=0)


@pytest.mark.parametrize(
    ("x", "times", "options", "message"),
    [
        (3, (0.0, 1.0), {"steps": 5}, "`steps` is what `times` are for"),
        (3, (), {}, "two or more, the last being 1, not none"),
        (3, (0.0, 0.5), {}, "a grid must increase from 0.0 to 1"),
        (3, (0.5, 1.0), {}, "a grid must increase from 0.0 to 1"),
    ],
)
def test_frames_refuse_other_times(x, times, options, message):
    with pytest.raises(ValueError, match=message):
        _counts().frames(x, times, **options)


def test_rates_of_leaving_and_change_sum_over_jumps():
    model, x, t = _counts(), torch.tensor([[0, 3], [1, 2]]), 0.6
    rates, moves = model.rates(x, t), model.process.moves(x)
    down, up = rates[..., 0], rates[..., 1]
    assert moves[1, 0].tolist() == [0, 2]
    torch.testing.assert_close(model.change(x, t), up - down)
    torch.testing.assert_close(model.leaving(x, t), up + down)
