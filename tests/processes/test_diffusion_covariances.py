"""Diffusions of correlated noise: the divergence, its inverse, whitening."""

import numpy as np
import pytest
import torch

from diffusions import close, double
from markovbridge import (
    Brownian,
    LinearDiffusion,
    OrnsteinUhlenbeck,
)
from markovbridge.covariances import (
    GMRF,
    Dense,
    Exponential,
    Grid,
    Isotropic,
    Matern,
    SquaredExponential,
    Torus,
)
from markovbridge.laws import Delta


def test_divergence_is_the_rate_of_path_kl():
    # KL between two bridges' transitions over a short step, per unit of time: Girsanov.
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    matrix = root @ root.T + torch.eye(3)
    process = LinearDiffusion(OrnsteinUhlenbeck(-0.8, 1.1), covariance=Dense(matrix))
    x, y, guess = torch.randn(3, 1, 3, dtype=torch.float64, generator=generator)
    t, h = 0.4, 1e-6
    gap = process.bridge(x, y, t, t + h, 1.0).mean - process.bridge(x, guess, t, t + h, 1.0).mean
    variance = float(process.weights(t, t + h, 1.0)[2])
    expected = 0.5 * float(gap @ torch.linalg.solve(matrix, gap.T)) / variance / h
    rate = float(process.divergence(Delta(guess), x, y, t))
    assert rate == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "covariance",
    [Grid(Exponential(1.3, 2.0), tolerance=1e-12), GMRF(Matern(1.3, 2.0, 1.0)), Isotropic(0.7)],
    ids=lambda covariance: type(covariance).__name__,
)
def test_the_divergence_solves_once_for_value_and_gradient(covariance):
    process = LinearDiffusion(OrnsteinUhlenbeck(-0.8, 1.1), covariance=covariance)
    x, y, guess = torch.randn(
        3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    guess.requires_grad_()
    rate = process.divergence(Delta(guess), x, y, 0.4)
    # A step of conjugate gradients has some twenty operations: none of them is recorded.
    nodes, layer = 0, [rate.grad_fn]
    while layer:
        nodes += len(layer)
        layer = [node for above in layer for node, _ in above.next_functions if node is not None]
    assert nodes < 20
    (slope,) = torch.autograd.grad(rate.sum(), guess)

    matrix = (covariance @ torch.eye(20, dtype=torch.float64).reshape(20, 4, 5)).flatten(1)
    gap = (y - guess.detach()).flatten(1)
    solved = torch.linalg.solve(matrix, gap.T).T
    gain, variance = process.piece(0.4, 1.0)
    weight = process.rates(0.4)[1] * (gain / variance) ** 2
    close(rate.detach(), 0.5 * weight * (gap * solved).sum(1), 1e-9)
    close(slope, -weight * solved.reshape(y.shape), 1e-9)


def test_what_has_no_inverse_names_the_objective_that_needs_none():
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for covariance, error in (
        (Torus(SquaredExponential(1.0, 5.0)), ValueError),
        (Grid(Exponential(1.0, 8.0), iterations=2), ArithmeticError),
    ):
        process = LinearDiffusion(covariance=covariance)
        with pytest.raises(error, match=r"; to train without an inverse, take .* EndMSE\(\)$"):
            process.divergence(Delta(x), x, -x, 0.5)


def test_whitening_is_equivalent():
    # Under shared white noise the process with Γ is the white one in coordinates Γ^{-1/2} x.
    covariance = Torus(Matern(smoothness=1.5, length=1.0), dimension=2)
    x, y, z = torch.randn(
        3, 5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    correlated = LinearDiffusion(OrnsteinUhlenbeck(0.7), covariance=covariance)
    white = LinearDiffusion(OrnsteinUhlenbeck(0.7))
    s, t = 0.3, 0.5
    law = correlated.bridge(x, y, s, t, 1.0)
    moved = law.loc + law.scale * covariance.sqrt(z)
    inner = white.bridge(covariance.inverse_sqrt(x), covariance.inverse_sqrt(y), s, t, 1.0)
    close(covariance.inverse_sqrt(moved), inner.loc + inner.scale * z, 1e-11)
    whitened = covariance.inverse_sqrt(correlated.drift(x, y, t))
    close(
        whitened,
        white.drift(covariance.inverse_sqrt(x), covariance.inverse_sqrt(y), t),
        1e-11,
    )


def test_numbers_of_the_covariance_do_not_change_the_drift():
    first = LinearDiffusion(Brownian(), covariance=Isotropic(4.0))
    x, y = double(0.5), double(1.5)
    close(first.drift(x, y, 0.5), LinearDiffusion(Brownian()).drift(x, y, 0.5))
    np.testing.assert_allclose(float(first.bridge(x, y, 0, 0.5, 1).variance), 1.0)
