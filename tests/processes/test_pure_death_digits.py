"""Differences of nearly equal numbers under pure death: evidence, path KL, losses, likelihoods."""

import decimal
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from markovbridge import MeanHead, PathKL, PureDeath, Transport, laws, statistics
from markovbridge.networks import MLP


@pytest.mark.parametrize("maximum", [255, 4095, 65535])
def test_evidence_has_the_digits_of_its_type(maximum):
    """Terms of up to 7e5 nats cancel; of what is likely, all that the type holds is left."""
    process = PureDeath(maximum)
    for t, x in itertools.product((0.01, 0.3, 0.9, 0.999), (0, 1, maximum // 3, maximum)):
        v = np.arange(x, maximum + 1)
        for dtype, digits in ((torch.float32, 1e-6), (torch.float64, 1e-9)):
            time = torch.tensor([t], dtype=dtype)
            q = float(process.schedule.mortality(time.double()))
            ways = special.gammaln(v + 1.0) - special.gammaln(v - x + 1.0)
            expected = ways + (v - x) * np.log(q)
            found = process.evidence(torch.tensor([[x]]), time)[0, 0]
            assert found.dtype is dtype
            expected -= expected.max()
            likely = expected > -15
            np.testing.assert_allclose(found[x:][likely].double(), expected[likely], atol=digits)
            assert bool(torch.isneginf(found[:x]).all()) and float(found.max()) == 0


def relative_entropy(mean, other):
    """λ' - λ + λ log(λ/λ') of Poisson means, to fifty digits."""
    with decimal.localcontext() as context:
        context.prec = 50
        a, b = decimal.Decimal(mean), decimal.Decimal(other).exp()
        return float(b - a + (a * (a.ln() - decimal.Decimal(other)) if a else 0))


@pytest.mark.parametrize("power", range(10))
def test_path_kl_keeps_its_digits_at_every_count(power):
    """From float32 log-means, up to counts at which a float32 ends in 64ths of a thousand."""
    process, m = PureDeath(), 10**power
    hazard = float(process.hazard(0.5))
    for off, x in itertools.product((1e-5, -1e-4, 1e-3, -0.02, 0.3, 5.0, -30.0), (0, 3, m)):
        log = torch.tensor([[math.log(m) + off]])
        law = laws.Shifted(torch.tensor([[x]]), laws.Poisson(log))
        found = process.divergence(
            law, torch.tensor([[x]]), torch.tensor([[x + m]]), torch.tensor([0.5])
        )
        assert found.dtype is torch.float32
        assert float(found) == pytest.approx(hazard * relative_entropy(m, float(log)), rel=1e-6)
    # Nothing remains: the cost is all that is expected, and none if an exact law expects none.
    for log, expected in ((math.log(m), m), (-math.inf, 0.0)):
        law = laws.Shifted(torch.tensor([[7]]), laws.Poisson(torch.tensor([[log]])))
        x = torch.tensor([[7]])
        assert float(process.divergence(law, x, x, 0.5)) == pytest.approx(hazard * expected)


def test_the_gradient_of_path_kl_is_the_difference_of_means():
    process = PureDeath()
    log = torch.tensor([[-75.0, -3.0, 0.0, 12.0, 20.0]], requires_grad=True)
    m = torch.tensor([[4, 0, 1, 160_000, 10**9]])
    zero = torch.zeros_like(m)
    process.divergence(laws.Shifted(zero, laws.Poisson(log)), zero, m, 0.5).sum().backward()
    expected = float(process.hazard(0.5)) * (log.detach().double().exp() - m)
    torch.testing.assert_close(log.grad.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [1e2, 1e4, 1e6, 1e9])
def test_losses_and_likelihoods_of_large_counts_are_right(count):
    process, seed = PureDeath(), torch.Generator().manual_seed(0)
    x = torch.poisson(torch.full((400, 3), count, dtype=torch.float64), generator=seed).long()
    network = MLP((3,), 1, 1, width=8, depth=1)
    for parameter in network.parameters():
        parameter.data.zero_()
    mean, variance = statistics(x)
    model = Transport(
        process, network, MeanHead(), shape=(3,), mean=mean, variance=variance, objective=PathKL()
    )
    assert float(model.loss(x, generator=seed).detach().min()) >= 0
    # A zero output says that counts are Poisson of the mean of the data.
    bound = model.log_likelihood(x[:40], draws=128, generator=seed)
    expected = stats.poisson.logpmf(x[:40], mean.double()).sum(1)
    apart = (bound.nats - torch.from_numpy(expected)) / bound.standard_error
    assert abs(float(apart.mean())) * math.sqrt(40) < 4.5 and float(apart.std()) < 2
