"""A denoiser in closed form is the exact law of every bridge mixture with white noise."""

import pytest
import torch
from scipy import stats

import markovbridge as mb
from markovbridge import exact
from markovbridge.couplings import Gaussian
from markovbridge.covariances import Dense
from markovbridge.heads import Denoiser
from markovbridge.samplers import Midpoint

POINTS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-1.0, -2.0]], dtype=torch.float64)
BROWNIAN = mb.LinearDiffusion(mb.Brownian(1.3))


def of_points(x, sigma, condition=None):
    """The mean of clean points given noisy ones: a softmax."""
    assert sigma.shape == (len(x),) and float(sigma.max()) <= 80
    square = torch.cdist(x.double(), POINTS) ** 2
    return (-square / (2 * sigma.double().unsqueeze(1) ** 2)).softmax(1) @ POINTS


def of_normal(x, sigma, condition=None):
    """Of N(2, 1/4) at each site."""
    share = 0.25 / (0.25 + sigma.unsqueeze(1) ** 2)
    return 2 + share * (x - 2)


CASES = [
    (BROWNIAN, mb.Dirac(0.7)),
    (mb.LinearDiffusion(mb.OrnsteinUhlenbeck(-0.8, 0.9), offset=0.6), mb.Dirac(-0.3)),
    (BROWNIAN, mb.Independent(Gaussian(-1.0, 0.5))),
    (mb.LinearDiffusion(mb.VP(0.1, 8.0), direction="noising"), mb.Noised()),
]


@pytest.mark.parametrize(("process", "coupling"), CASES)
def test_it_is_the_exact_law(process, coupling):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    known = exact.Empirical(process, POINTS, coupling=coupling)
    normal = exact.Gaussian.coupled(
        process, coupling, torch.full((2,), 2.0).double(), 0.25 * torch.eye(2).double()
    )
    each = torch.tensor([0.02, 0.1, 0.3, 0.5, 0.9, 0.999], dtype=torch.float64)
    for t in (0.05, 0.5, 0.97, each):
        for denoiser, law in ((of_points, known), (of_normal, normal)):
            found = Denoiser(process, denoiser, coupling)(x, t).mean
            torch.testing.assert_close(found, law(x, t).mean, rtol=1e-6, atol=1e-6)


def test_without_signal_it_is_asked_at_the_largest_noise():
    for coupling in (mb.Dirac(0.7), mb.Independent(Gaussian(-1.0, 0.5))):
        law = Denoiser(BROWNIAN, of_points, coupling)
        x = coupling.start(BROWNIAN, torch.zeros(5, 2), generator=torch.Generator().manual_seed(0))
        means = POINTS.mean(0).float().expand(5, 2)
        torch.testing.assert_close(law(x, 0.0).mean, means, rtol=0, atol=0.1)


def test_samples_have_the_law_of_the_data():
    class Given(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x, sigma, condition):
            return of_normal(x, sigma) - 2 + self.level

    for process, coupling in CASES[:3]:
        law = Denoiser(process, Given(), coupling)
        model = mb.Transport(process, law, shape=(2,))
        assert model.coupling is coupling and len(list(model.parameters())) == 1
        generator = torch.Generator().manual_seed(0)
        options = {"steps": 40, "sampler": Midpoint(), "block": 3000, "generator": generator}
        made = model.sample(3000, **options).double().numpy()
        for site in made.T:
            assert stats.kstest(site, stats.norm(2, 0.5).cdf).pvalue > 1e-5


def test_refusals():
    coupling = mb.Dirac(0.0)
    correlated = mb.LinearDiffusion(covariance=Dense([[1.0, 0.5], [0.5, 1.0]]))
    with pytest.raises(ValueError, match="white noise .* take a process with Isotropic"):
        Denoiser(correlated, of_points, coupling)
    with pytest.raises(ValueError, match="is not known under this Paired"):
        Denoiser(BROWNIAN, of_points, mb.Paired())
    with pytest.raises(ValueError, match="largest must be .*above 0"):
        Denoiser(BROWNIAN, of_points, coupling, largest=0.0)
    law = Denoiser(BROWNIAN, of_points, coupling)
    with pytest.raises(ValueError, match="the denoiser is for .*give the coupling once"):
        mb.Transport(BROWNIAN, law, shape=(2,), coupling=mb.Noised())
    with pytest.raises(ValueError, match="the denoiser is for .* but the process is"):
        mb.Transport(mb.LinearDiffusion(), law, shape=(2,))
