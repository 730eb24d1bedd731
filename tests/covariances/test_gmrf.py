"""The Markov field against dense inverses, cosines, autoregression and Matérn's kernel."""

import math

import pytest
import torch

from markovbridge import VP, EndMSE, EndpointHead, LinearDiffusion, Transport
from markovbridge.covariances import GMRF, Exponential, Matern
from markovbridge.covariances.gmrf import lattice_variance
from markovbridge.networks import MLP


def laplacian(n):
    """The graph Laplacian of a path, dense."""
    matrix = 2 * torch.eye(n, dtype=torch.float64)
    matrix -= torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    matrix -= torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
    matrix[0, 0] = matrix[-1, -1] = 1 if n > 1 else 0
    return matrix


def torus_mean(inverse_square, order, dimension, n):
    """The diagonal of (κ² + L)^{-α} on a torus, which nears the lattice's as e^{-κn}."""
    wave = 4 * (math.pi * torch.arange(n, dtype=torch.float64) / n).sin() ** 2
    values = sum(
        wave.reshape([-1 if a == axis else 1 for a in range(dimension)])
        for axis in range(dimension)
    )
    return float(((values + inverse_square) ** -order).mean())


@pytest.mark.parametrize(
    ("inverse_square", "order", "dimension", "n"),
    [(0.5, 1, 1, 128), (0.02, 2, 2, 512), (0.4, 2, 3, 128), (1e-3, 3, 1, 4096)],
)
def test_variance_on_the_infinite_lattice(inverse_square, order, dimension, n):
    expected = torus_mean(inverse_square, order, dimension, n)
    value = lattice_variance(inverse_square, order, dimension)
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("sizes", "nu"), [((9, 12), 1), ((9, 12), 2), ((1, 6), 1), ((30,), 0.5), ((3, 4, 5), 0.5)]
)
def test_operations_are_those_of_the_dense_inverse(sizes, nu, normal, matrix_of):
    kernel = Matern(1.7, 2.5, nu)
    covariance = GMRF(kernel, dimension=len(sizes))
    d = math.prod(sizes)
    k = 2 * nu / 2.5**2 * torch.eye(d, dtype=torch.float64)
    for axis, n in enumerate(sizes):
        before = torch.eye(math.prod(sizes[:axis]), dtype=torch.float64)
        after = torch.eye(math.prod(sizes[axis + 1 :]), dtype=torch.float64)
        k += torch.kron(torch.kron(before, laplacian(n)), after)
    order = covariance.order
    assert order == nu + len(sizes) / 2
    scale = 1.7 / lattice_variance(2 * nu / 2.5**2, order, len(sizes))
    gamma = scale * torch.linalg.inv(torch.linalg.matrix_power(k, order))
    torch.testing.assert_close(matrix_of(covariance.__matmul__, sizes), gamma)
    torch.testing.assert_close(
        matrix_of(covariance.solve, sizes), torch.linalg.inv(gamma), rtol=1e-9, atol=1e-9
    )
    root = matrix_of(covariance.sqrt, sizes)
    torch.testing.assert_close(root @ root.T, gamma)
    if order % 2 == 0:
        torch.testing.assert_close(root, root.T)
    assert covariance.logdet((2, *sizes)) == pytest.approx(2 * float(gamma.logdet()), abs=1e-9)
    torch.testing.assert_close(covariance.variance(sizes).flatten(), gamma.diagonal())


@pytest.mark.parametrize(("sizes", "nu"), [((3, 4), 1), ((3, 4), 2), ((6,), 0.5), ((6,), 1.5)])
def test_gradients_flow_through_every_operation(sizes, nu, normal):
    # Orders 1, 2 and 3: roots of odd orders are not symmetric.
    covariance = GMRF(Matern(1.7, 2.5, nu), dimension=len(sizes))
    x = normal(2, *sizes).requires_grad_()
    for operation in ("__matmul__", "sqrt", "inverse_sqrt", "solve"):
        function = getattr(covariance, operation)
        assert torch.autograd.gradcheck(function, (x,))
        assert torch.autograd.gradgradcheck(function, (x,))


def test_a_head_that_predicts_the_score_learns_under_a_markov_field():
    process = LinearDiffusion(VP(), covariance=GMRF(Matern(1.0, 2.0, 1.0)), direction="noising")
    transport = Transport(
        process,
        MLP((4, 4), 1, 1, width=8, depth=1),
        EndpointHead("score"),
        shape=(4, 4),
        mean=0.0,
        variance=1.0,
        objective=EndMSE(),
    )
    generator = torch.Generator().manual_seed(0)
    transport.loss(torch.randn(8, 4, 4, generator=generator), generator=generator).sum().backward()
    assert any(bool(p.grad.any()) for p in transport.parameters() if p.grad is not None)


def test_one_dimension_of_order_one_is_autoregression():
    covariance = GMRF(Matern(2.0, 4.0, 0.5), dimension=1)
    half = 1 + 0.5 / 16
    phi = half - math.sqrt(half**2 - 1)
    point = torch.zeros(1, 201, dtype=torch.float64)
    point[0, 100] = 1
    expected = 2 * phi ** torch.arange(20, dtype=torch.float64)
    torch.testing.assert_close((covariance @ point)[0, 100:120], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("nu", [1, 2, 3])
def test_inside_it_nears_the_matern_kernel_as_the_length_grows(nu):
    errors = []
    for length in (4, 8, 16):
        n = 10 * length + 1
        point = torch.zeros(1, n, n, dtype=torch.float64)
        point[0, n // 2, n // 2] = 1
        seen = (GMRF(Matern(1.0, length, nu)) @ point)[0, n // 2, n // 2 :][: 3 * length]
        kernel = Matern(1.0, length, nu)(torch.arange(3 * length, dtype=torch.float64))
        errors.append(float((seen - kernel).abs().max()))
    # Second-order differences: the error falls as 1/ℓ², for ν = 1 as log(ℓ)/ℓ².
    assert errors[0] < 0.04
    assert errors[1] < errors[0] / 2.4
    assert errors[2] < errors[1] / 2.4


def test_the_variance_rises_at_the_boundary():
    variance = GMRF(Matern(1.0, 6.0, 1)).variance((101, 101))
    assert float(variance[50, 50]) == pytest.approx(1, abs=1e-6)
    assert 1.8 < float(variance[0, 50]) < 2
    assert 3.5 < float(variance[0, 0]) < 4


def test_a_grid_too_large_for_a_matrix(normal):
    # Γ on 256 x 256 would take 32 GiB. A cosine is an eigenvector of the reflecting Laplacian.
    covariance = GMRF(Matern(1.0, 10.0, 1))
    site = torch.arange(256, dtype=torch.float64) + 0.5
    field = torch.outer((math.pi * 3 * site / 256).cos(), (math.pi * 40 * site / 256).cos())
    waves = 4 * (math.sin(math.pi * 3 / 512) ** 2 + math.sin(math.pi * 40 / 512) ** 2)
    value = (0.02 + waves) ** -2 / lattice_variance(0.02, 2, 2)
    image = covariance @ field[None]
    torch.testing.assert_close(image, value * field[None], rtol=0, atol=1e-10 * value)
    x = normal(1, 256, 256)
    torch.testing.assert_close(covariance.inverse_sqrt(covariance.sqrt(x)), x)


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"smoothness 1.5 has no sparse .* take one of 1, 2, 3"):
        GMRF(Matern(smoothness=1.5))
    with pytest.raises(ValueError, match=r"in 1 dimensions: take one of 0.5, 1.5"):
        GMRF(Matern(smoothness=1), dimension=1)
    with pytest.raises(TypeError, match="GMRF needs a Matern kernel"):
        GMRF(Exponential())  # pyright: ignore[reportArgumentType]
