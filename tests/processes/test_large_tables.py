"""What is computed in another way where a table is large: the same numbers."""

import torch

from markovbridge.networks import mlp
from markovbridge.processes import jumps


def test_the_divergence_of_a_sparse_table(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    rates = torch.poisson(torch.full((40, 2000), 0.05).double(), generator=rng)
    rates *= torch.rand(rates.shape, generator=rng).double() + 0.5
    log = (3 * torch.randn(rates.shape, generator=rng)).double().requires_grad_()
    found = []
    for large in (2**16, 2**30):
        monkeypatch.setattr(jumps, "LARGE", large)
        each = jumps.log_divergence(rates, log)
        found.append((each.detach(), *torch.autograd.grad(each.sum(), log)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=0)
    some = rates > 0
    direct = log.exp() - rates + rates * (rates.log() - log)
    torch.testing.assert_close(found[0][0][some], direct[some].detach(), rtol=1e-9, atol=1e-12)


def test_arsinh_of_many():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(2, 5, 20_000, generator=rng) * torch.randn(2, 5, 20_000, generator=rng).exp()
    x[0, 0, :6] = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e17, -1e17])
    truth = x.double().asinh()
    assert x.numel() > mlp.LARGE
    torch.testing.assert_close(mlp.asinh(x).double(), truth, rtol=2e-7, atol=0)
    # Numbers whose squares are none, and gradients, are torch's.
    x[0, 0, 0] = -1e30
    assert torch.equal(mlp.asinh(x), x.asinh())
    asked = x.clone().requires_grad_()
    assert mlp.asinh(asked).grad_fn is not None
