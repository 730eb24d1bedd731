"""Likelihood bounds of diffusions against densities and probabilities that are known."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from likelihoods import generator
from markovbridge import Transport, exact, laws
from markovbridge.couplings import Dirac, Gaussian, Independent, MinibatchOT, Noised
from markovbridge.covariances import Isotropic
from markovbridge.processes import (
    VP,
    Brownian,
    LinearDiffusion,
    PositiveSupport,
    RoundedSupport,
)
from markovbridge.processes.decoders import log_interval, truncation


class Linear:
    """E[x_1 | x_t] of Gaussian data N(m, s²) under a diffusion whose x_t | x_1 is known."""

    def __init__(self, process, coupling, mean, std):
        self.process, self.coupling, self.mean, self.std = process, coupling, mean, std

    def __call__(self, x, t, condition=None):
        kernel = self.coupling.kernel(self.process, t.double())
        gain, noise = kernel.gain.unsqueeze(1), kernel.variance.unsqueeze(1)
        slope = gain * self.std**2 / (gain**2 * self.std**2 + noise)
        centre = kernel.start.unsqueeze(1) * kernel.mean + gain * self.mean
        return laws.Delta(self.mean + slope * (x - centre))


@pytest.mark.parametrize(
    ("sde", "direction", "coupling"),
    [
        (VP(), "noising", Noised()),
        (Brownian(), "forward", Dirac(0.5)),
    ],
    ids=["vp", "from a point"],
)
def test_diffusions_of_gaussian_data(sde, direction, coupling):
    process = LinearDiffusion(sde, direction=direction)
    mean, std = torch.tensor([0.5, -1.0, 0.2]).double(), torch.tensor([0.7, 1.2, 0.4]).double()
    transport = Transport(
        process, Linear(process, coupling, mean, std), shape=(3,), coupling=coupling
    )
    x = mean + std * torch.randn(500, 3, generator=generator(1), dtype=torch.float64)
    truth = torch.distributions.Normal(mean, std).log_prob(x).sum(1)
    bound = transport.log_likelihood(x, draws=400, generator=generator(), block=2**15)
    off = (bound.nats - truth).numpy()
    # Tight up to what the truncation, and the prior of VP, leave.
    assert abs(off.mean()) < 5 * off.std() / math.sqrt(len(x)) + 0.005
    assert float(bound.standard_error.mean()) < 0.12
    ratio = off / bound.standard_error.numpy()
    assert np.sqrt(np.mean(ratio**2)) < 2
    wrong = Transport(
        process, Linear(process, coupling, mean + 1, std), shape=(3,), coupling=coupling
    ).log_likelihood(x, draws=400, generator=generator(), block=2**15)
    shifted = torch.distributions.Normal(mean + 1, std).log_prob(x).sum(1)
    off = (wrong.nats - shifted).numpy()
    assert abs(off.mean()) < 5 * off.std() / math.sqrt(len(x)) + 0.005


def test_independent_source_costs_what_the_mixture_of_bridges_remembers():
    # Pinned at independent ends, a mixture of bridges is not Markov, the model is: the bound is
    # ∫ Var(x_1 | x_t)/2(1 - t)² dt, and more than the entropy.
    process, coupling = LinearDiffusion(Brownian()), Independent(Gaussian(0.3, 1.5))
    mean, std = torch.tensor([0.5]).double(), torch.tensor([0.7]).double()
    transport = Transport(
        process, Linear(process, coupling, mean, std), shape=(1,), coupling=coupling
    )
    # Data with exactly these moments: the expected bound is quadratic in x_1.
    x = torch.linspace(-1, 1, 2000, dtype=torch.float64).unsqueeze(1)
    x = mean + std * (x - x.mean()) / x.std(correction=0)
    bound = transport.log_likelihood(x, draws=200, generator=generator(), block=2**15)

    def rate(t):
        noise = (1 - t) ** 2 * 1.5**2 + t * (1 - t)
        return 0.5 / (1 - t) ** 2 * 0.49 * noise / (t**2 * 0.49 + noise)

    whole = integrate.quad(rate, 0, 1 - 1e-4, limit=500)[0]
    expected = whole + 0.5 * (math.log(2 * math.pi * 1e-4) + 1)
    error = float((bound.standard_error**2).sum().sqrt()) / len(x)
    assert expected > 0.5 * math.log(2 * math.pi * math.e * 0.49) + 0.1
    assert abs(-float(bound.nats.mean()) - expected) < 5 * error + 1e-3
    assert error < 0.02


def test_given_source():
    # Brownian motion from x0 with E[x_1 | x_t] = x_t is a plain Wiener process.
    process = LinearDiffusion(Brownian())
    transport = Transport(
        process, lambda x, t, condition: laws.Delta(x), shape=(2,), coupling=MinibatchOT()
    )
    x0 = torch.randn(200, 2, generator=generator(1), dtype=torch.float64)
    x1 = torch.randn(200, 2, generator=generator(2), dtype=torch.float64)
    with pytest.raises(ValueError, match="pass x0"):
        transport.log_likelihood(x1)
    bound = transport.log_likelihood(x1, x0=x0, draws=400, generator=generator(), block=2**15)
    truth = torch.distributions.Normal(x0, 1).log_prob(x1).sum(1)
    error = float((bound.standard_error**2).sum().sqrt()) / len(x1)
    assert abs(float((bound.nats - truth).mean())) < 5 * error + 1e-3
    assert error < 0.02


def test_density_is_that_of_the_data_not_of_its_coordinates():
    process = LinearDiffusion(Brownian(), support=PositiveSupport())
    coupling = Dirac(1.0)  # log 1 = 0
    mean, std = torch.tensor([0.2]).double(), torch.tensor([0.5]).double()
    network = Linear(process, coupling, mean, std)
    transport = Transport(process, network, shape=(1,), coupling=coupling)
    x = torch.from_numpy(np.random.default_rng(0).lognormal(0.2, 0.5, (300, 1)))
    bound = transport.log_likelihood(x, draws=400, generator=generator(), block=2**15)
    truth = stats.lognorm.logpdf(x[:, 0].numpy(), 0.5, scale=math.exp(0.2))
    assert abs((bound.nats.numpy() - truth).mean()) < 0.01


@pytest.mark.parametrize(
    "process",
    [
        LinearDiffusion(Brownian(0.8), support=RoundedSupport(4)),
        LinearDiffusion(VP(), Isotropic(0.3), direction="noising", support=RoundedSupport(4)),
    ],
    ids=["brownian", "vp"],
)
def test_of_rounded_reals_the_counts_have_the_probability(process):
    # With the exact law all that is lost is what the decoder does not know: KL(truth | decoder)
    # of a count given x_end, here by a sum over a grid of x_end.
    pmf = np.array([0.1, 0.35, 0.05, 0.3, 0.2])
    coupling = Dirac(2) if process.direction == "forward" else Noised()
    every = process.check(torch.arange(5).unsqueeze(1))
    law = exact.Empirical(process, every, torch.from_numpy(pmf), coupling=coupling)
    transport = Transport(process, law, shape=(1,), coupling=coupling)
    counts = np.repeat(np.arange(5), (400 * pmf).round().astype(int))
    bound = transport.log_likelihood(
        torch.from_numpy(counts).unsqueeze(1), draws=200, generator=generator(), block=2**15
    )
    q = torch.tensor(truncation(process, torch.Size([1])), dtype=torch.float64)
    t = process.schedule.time(1 - q, q)
    kernel, (gain, variance) = coupling.kernel(process, t), process.piece(t, 1.0)
    site = float(process.covariance.variance((1,)).mean())
    left = math.sqrt(float(variance) * site)
    assert left == pytest.approx(0.25 * 0.5, rel=1e-6)  # a quarter of a count, in coordinates
    points = every.double().numpy()[:, 0]
    x = np.linspace(-4, 4, 20001)
    density = stats.norm.pdf(
        x, float(kernel.gain) * points[:, None], math.sqrt(float(kernel.variance) * site)
    )
    edges = np.array([-np.inf, -0.75, -0.25, 0.25, 0.75, np.inf])
    decoded = np.diff(stats.norm.cdf((edges[:, None] - float(gain) * x) / left), axis=0)
    joint = pmf[:, None] * density
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(joint > 1e-12, joint * np.log(joint / joint.sum(0) / decoded), 0.0)
    gap = np.nansum(lost) * (x[1] - x[0])
    assert 0 < gap < 0.25
    entropy = -(pmf * np.log(pmf)).sum()
    error = float((bound.standard_error**2).sum().sqrt()) / len(counts)
    assert error < 0.01
    assert abs(-float(bound.nats.mean()) - entropy - gap) < 5 * error + 2e-3


def test_decoder_of_cells_far_from_the_count():
    # Without cancellation: log [Φ(b) - Φ(a)] far in both tails, against scipy.
    low = torch.tensor([-30.0, 20.0, -1.0, -torch.inf, 7.0], dtype=torch.float64)
    high = torch.tensor([-29.0, 21.0, 2.0, -8.0, torch.inf], dtype=torch.float64)
    expected = [
        special.log_ndtr(-29.0),
        special.log_ndtr(-20.0),
        math.log(special.ndtr(2.0) - special.ndtr(-1.0)),
        special.log_ndtr(-8.0),
        special.log_ndtr(-7.0),
    ]
    torch.testing.assert_close(
        log_interval(low, high), torch.tensor(expected).double(), rtol=1e-9, atol=0
    )
