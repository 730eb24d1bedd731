"""States of diffusions: draws, standardising, supports; and what is refused."""

import math

import pytest
import torch
from scipy import stats

from diffusions import diffusion
from markovbridge import (
    VE,
    VP,
    Brownian,
    Coefficients,
    Independent,
    LinearDiffusion,
    Noised,
    OrnsteinUhlenbeck,
)
from markovbridge.couplings import Gaussian
from markovbridge.covariances import (
    Isotropic,
    Matern,
)
from markovbridge.processes import IntervalSupport, PositiveSupport, RoundedSupport, Setting

LEVEL = 1e-5


def test_samples_have_the_stated_law():
    process = diffusion("mean-reverting")
    x, y = torch.full((20000, 1), 1.5), torch.full((20000, 1), -0.5)
    law = process.bridge(x, y, 0.2, 0.5, 0.9)
    draws = law.sample(generator=torch.Generator().manual_seed(0)).double().numpy().ravel()
    mean, deviation = float(law.mean[0]), float(law.variance[0]) ** 0.5
    assert stats.kstest(draws, stats.norm(mean, deviation).cdf).pvalue > LEVEL
    first = float(law.log_prob(x)[0])
    assert first == pytest.approx(stats.norm.logpdf(1.5, mean, deviation), rel=1e-5)


def test_standardised_states_have_unit_variance():
    generator = torch.Generator().manual_seed(0)
    data = 3 + 2 * torch.randn(50000, 1, generator=generator)
    mean, variance = torch.tensor([3.0]), torch.tensor([4.0])
    reversal = diffusion("ve", "noising")
    x = reversal.transition(data, 1.0, 0.3).sample(generator=generator)
    features = Setting(reversal, Noised(), mean, variance).standardise(x, 0.3)
    assert features.shape == (50000, 1, 1)
    assert abs(float(features.mean())) < 5 / 50000**0.5
    assert abs(float(features.var()) - 1) < 5 * (2 / 50000) ** 0.5
    mixture = LinearDiffusion(Brownian(0.5), covariance=Isotropic(2.0))
    source = -1 + 0.5 * torch.randn(50000, 1, generator=generator)
    x = mixture.bridge(source, data, 0.0, 0.4, 1.0).sample(generator=generator)
    coupling = Independent(Gaussian(-1.0, 0.5))
    features = Setting(mixture, coupling, mean, variance).standardise(x, 0.4)
    assert abs(float(features.mean())) < 5 / 50000**0.5
    assert abs(float(features.var()) - 1) < 5 * (2 / 50000) ** 0.5


def test_states_are_real_and_finite():
    process = LinearDiffusion()
    assert process.check(torch.tensor([[1, 2]])).dtype == torch.float32
    assert process.check(torch.zeros(1, 2, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(ValueError, match="nan"):
        process.check(torch.tensor([[math.nan]]))
    with pytest.raises(TypeError, match="bool"):
        process.check(torch.tensor([[True]]))


@pytest.mark.parametrize(
    ("support", "inside", "outside", "low", "high"),
    [
        (PositiveSupport(), [1e-6, 1.0, 1e6], 0.0, 0, math.inf),
        (IntervalSupport(-1.0, 3.0), [-0.999, 0.0, 2.999], 3.0, -1, 3),
        (IntervalSupport(0.0, 0.1), [0.001, 0.05, 0.099], 0.1, 0, 0.1),
        (IntervalSupport(-0.1, 0.0), [-0.099, -0.05, -0.001], 0.0, -0.1, 0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_support_is_kept(support, inside, outside, low, high, dtype):
    process = LinearDiffusion(Brownian(2.0), support=support)
    x = torch.tensor([inside], dtype=torch.float64)
    torch.testing.assert_close(support.decode(process.check(x)), x, rtol=1e-12, atol=1e-12)
    far = torch.tensor([17.0, 40.0, 90.0, 104.0, 800.0, 1e30], dtype=dtype)
    draws = support.decode(torch.cat([far, -far]))
    assert draws.dtype == dtype
    assert all(low < v < high for v in draws.tolist())
    assert bool(torch.isfinite(process.check(draws)).all())
    assert bool(support.decode(torch.tensor([math.nan])).isnan())
    with pytest.raises(ValueError, match="outside"):
        process.check(torch.tensor([[outside]]))


def test_counts_are_rounded():
    support = RoundedSupport(16)
    process = LinearDiffusion(support=support)
    counts = torch.arange(17, dtype=torch.uint8).reshape(1, -1)
    states = process.check(counts)
    torch.testing.assert_close(states, torch.linspace(-1, 1, 17).reshape(1, -1))
    found = support.decode(states + 0.49 * 2 / 16)
    assert found.dtype == torch.int64
    assert torch.equal(found, counts.long())
    assert support.decode(torch.tensor([-5.0, 5.0])).tolist() == [0, 16]
    for wrong in (-1.0, 17.0, 2.5):
        with pytest.raises(ValueError, match="no count in 0..16"):
            process.check(torch.tensor([[1.0, wrong]]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RoundedSupport(0),
        lambda: Brownian(-1.0),
        lambda: OrnsteinUhlenbeck(1.0, -0.1),
        lambda: VE(0.0, 1.0),
        lambda: OrnsteinUhlenbeck(400.0),
        lambda: VE(1.0, 0.5),
        lambda: VP(beta_max=1000.0),
        lambda: Coefficients(lambda r: r, lambda r: r - 0.5),
        lambda: Coefficients(lambda r: (r - 0.3).abs(), torch.ones_like),
        lambda: Coefficients(lambda r: 1.0, torch.ones_like),
        lambda: LinearDiffusion(direction="backward"),
        lambda: IntervalSupport(1.0, 1.0),
        lambda: LinearDiffusion().bridge(torch.zeros(1, 1), torch.zeros(1, 1), 0.5, 0.2, 1.0),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ValueError):
        make()


WEIGHT = torch.ones((), requires_grad=True)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LinearDiffusion(1.0), TypeError, r"sde must .* Brownian\(1.0\), not 1.0"),
        (lambda: LinearDiffusion(Brownian), TypeError, r"class Brownian: call it, as in Brownian"),
        (lambda: LinearDiffusion(covariance=Matern()), TypeError, r"wrap it, as in Torus\(Mat"),
        (lambda: LinearDiffusion(schedule="cosine"), TypeError, "schedule must .* not 'cosine'"),
        (lambda: LinearDiffusion(support=(0, 1)), TypeError, r"support must .* not \(0, 1\)"),
        (lambda: Brownian("a"), TypeError, "sigma must be a number, not 'a'"),
        (lambda: Brownian(torch.ones(2)), TypeError, "sigma must be a number"),
        (lambda: OrnsteinUhlenbeck("a"), TypeError, "alpha must be a number"),
        (lambda: Coefficients(1.0, torch.ones_like), TypeError, "f must be a function"),
        (lambda: Coefficients(math.sin, torch.ones_like), ValueError, "functions of torch"),
        (lambda: Coefficients(lambda r: WEIGHT * r, torch.ones_like), ValueError, "gradients"),
        (lambda: Coefficients(lambda r: 500 + 0 * r, torch.ones_like), ValueError, "too hard"),
        (lambda: Coefficients(lambda r: 0 * r - 500, torch.ones_like), ValueError, "too hard"),
        (lambda: Coefficients(torch.zeros_like, lambda r: 1e200 + r), ValueError, "square"),
    ],
)
def test_what_is_refused_says_why(make, error, message):
    with pytest.raises(error, match=message):
        make()
