"""The torus against dense matrices summed from cosines, and against the plane."""

import math

import pytest
import torch

from markovbridge.covariances import (
    Exponential,
    Matern,
    PowerLaw,
    SingularError,
    SquaredExponential,
    Torus,
)
from markovbridge.covariances.spectra import torus_spectrum, wavenumbers


def dense_torus(kernel, sizes):
    """Γ by its definition: a sum over waves of λ cos(ω·(s - s')) / d, no transform."""
    spectrum = kernel.spectrum(wavenumbers(sizes), len(sizes))
    spectrum = spectrum * kernel.variance / spectrum.mean()
    sites = (
        torch.cartesian_prod(*[torch.arange(n) for n in sizes]).double().reshape(-1, len(sizes))
    )
    phase = sites * 2 * math.pi / torch.tensor(sizes)
    angles = phase @ sites.T
    cosine, sine = angles.cos(), angles.sin()
    weighted = spectrum.flatten() / spectrum.numel()
    return (cosine * weighted) @ cosine.T + (sine * weighted) @ sine.T


@pytest.mark.parametrize("kernel", [Matern(1.5, 3.0, 1.2), PowerLaw(0.4, 2.0)], ids=repr)
def test_operations_on_32_by_32_are_those_of_the_dense_matrix(kernel, normal):
    gamma, covariance = dense_torus(kernel, (32, 32)), Torus(kernel)
    x = normal(3, 1, 32, 32)
    flat = x.flatten(1)
    close = dict(rtol=0, atol=1e-10)
    torch.testing.assert_close((covariance @ x).flatten(1), flat @ gamma, **close)
    values, vectors = torch.linalg.eigh(gamma)
    root = vectors * values.sqrt() @ vectors.T
    torch.testing.assert_close(covariance.sqrt(x).flatten(1), flat @ root, **close)
    inverse = torch.linalg.solve(gamma, flat.T).T
    torch.testing.assert_close(covariance.solve(x).flatten(1), inverse, rtol=1e-10, atol=1e-9)
    assert covariance.logdet((1, 32, 32)) == pytest.approx(float(values.log().sum()), abs=1e-8)
    assert covariance.logdet((3, 32, 32)) == pytest.approx(3 * covariance.logdet((32, 32)))


@pytest.mark.parametrize("sizes", [(9,), (8,), (5, 6), (3, 4, 5)])
def test_any_number_of_axes_even_and_odd(sizes, normal, matrix_of):
    kernel = Exponential(1.3, 1.7)
    covariance = Torus(kernel, dimension=len(sizes))
    torch.testing.assert_close(
        matrix_of(covariance.__matmul__, sizes), dense_torus(kernel, sizes), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(
    ("kernel", "tolerance"),
    [(Matern(2.0, 6.0, 2.5), 2e-4), (SquaredExponential(2.0, 6.0), 1e-8)],
    ids=repr,
)
def test_far_from_its_own_images_the_torus_is_the_plane(kernel, tolerance):
    point = torch.zeros(1, 128, 128, dtype=torch.float64)
    point[0, 0, 0] = 1
    seen = (Torus(kernel) @ point)[0, 0, :33]
    plane = kernel(torch.arange(33, dtype=torch.float64))
    torch.testing.assert_close(seen, plane, rtol=0, atol=tolerance)


def test_what_the_band_limit_does_to_a_rough_kernel():
    point = torch.zeros(1, 64, 64, dtype=torch.float64)
    point[0, 0, 0] = 1
    neighbour = float((Torus(Exponential(length=8)) @ point)[0, 0, 1])
    assert neighbour == pytest.approx(0.917, abs=5e-4)  # the docstring's number


@pytest.mark.parametrize(
    "kernel", [Exponential(1.0, 500.0), SquaredExponential(1.0, 50.0), Matern(1.0, 1e-3, 30.0)]
)
def test_no_eigenvalue_is_negative(kernel):
    spectrum = torus_spectrum(kernel, (28, 28))
    assert float(spectrum.min()) >= 0
    assert float(spectrum.mean()) == pytest.approx(1, rel=1e-12)


def test_what_is_singular_has_no_inverse(normal):
    covariance = Torus(SquaredExponential(length=4))
    x = normal(1, 32, 32)
    assert bool(covariance.sample(x).isfinite().all())
    for operation in (covariance.solve, covariance.inverse_sqrt):
        with pytest.raises(SingularError, match=r"float64: its eigenvalues run .*shorter length$"):
            operation(x)
    # Conditioned for float64 but not for float32.
    covariance = Torus(SquaredExponential(length=1.5))
    torch.testing.assert_close(covariance.solve(covariance @ x), x, rtol=0, atol=1e-3)
    with pytest.raises(SingularError, match=r"singular to torch.float32.*or compute in float64$"):
        covariance.solve(x.float())
    with pytest.raises(ValueError, match="singular"):
        Torus(SquaredExponential(length=20)).logdet((64, 64))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="must be 1 to 3, not 4"):
        Torus(Exponential(), dimension=4)
    with pytest.raises(TypeError, match="needs a kernel such as Matern"):
        Torus(2.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="have no 2 spatial axes: set `dimension`"):
        Torus(Exponential()).variance((7,))
