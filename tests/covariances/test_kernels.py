"""Kernels against integrals, limits and each other."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

from markovbridge.covariances import Exponential, Matern, PowerLaw, SquaredExponential
from markovbridge.storage.config import from_config, to_config

R = torch.linspace(0, 12, 49, dtype=torch.float64)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_closed_forms_of_matern_are_bessel_functions(nu):
    z = math.sqrt(2 * nu) * R[1:].numpy() / 3
    bessel = 2 ** (1 - nu) / math.gamma(nu) * z**nu * special.kv(nu, z)
    values = Matern(2.0, 3.0, nu)(R)
    assert values[0] == 2
    torch.testing.assert_close(values[1:], 2 * torch.from_numpy(bessel), rtol=1e-12, atol=0)


def test_matern_of_any_smoothness_is_its_mixture_of_gaussians():
    # k(r) = E exp(-r²/(2 ℓ² G)), with 1/G a gamma variable of shape ν and rate ν.
    nu, length, r = 1.3, 2.0, 2.7

    def integrand(precision):
        density = nu**nu / math.gamma(nu) * precision ** (-nu - 1) * math.exp(-nu / precision)
        return math.exp(-0.5 * (r / length) ** 2 * precision) * density

    expected = integrate.quad(integrand, 0, np.inf, epsabs=1e-13)[0]
    value = Matern(1.0, length, nu)(torch.tensor([r], dtype=torch.float64))
    assert float(value) == pytest.approx(expected, rel=1e-9)


def test_limits_of_matern():
    torch.testing.assert_close(Matern(1.5, 2.0, 0.5)(R), Exponential(1.5, 2.0)(R))
    smooth, limit = Matern(1.0, 4.0, 30.0)(R), SquaredExponential(1.0, 4.0)(R)
    assert 0 < float((smooth - limit).abs().max()) < 0.01


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize(
    "kernel",
    [Exponential(1.7, 1.5), Matern(0.6, 2.0, 1.3), Matern(2, 2, 2.5), SquaredExponential(3, 1.5)],
    ids=repr,
)
def test_spectrum_is_the_fourier_transform(kernel, dimension):
    nodes, weights = np.polynomial.legendre.leggauss(800)
    r, weights = 40 * (nodes + 1), 40 * weights
    k = kernel(torch.from_numpy(r)).numpy()
    for omega in (0.05, 0.7, 2.0):
        waves = {
            1: 2 * np.cos(omega * r),
            2: 2 * np.pi * r * special.j0(omega * r),
            3: 4 * np.pi * r * np.sin(omega * r) / omega,
        }[dimension]
        expected = float((weights * k * waves).sum())
        value = kernel.spectrum(torch.tensor([omega], dtype=torch.float64), dimension)
        assert float(value) == pytest.approx(expected, rel=2e-6)


def test_power_law_is_a_spectrum_only():
    omega = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    spectrum = PowerLaw(exponent=1.5).spectrum(omega, 2)
    torch.testing.assert_close(
        spectrum / spectrum[2], torch.tensor([2**1.5, 2**1.5, 1, 2**-1.5], dtype=torch.float64)
    )
    with pytest.raises(NotImplementedError, match="Torus"):
        PowerLaw()(R)


def test_kernels_are_configurations():
    kernel = Matern(variance=2, length=4, smoothness=1)
    assert kernel == Matern(2.0, 4.0, 1.0)
    assert hash(kernel) == hash(Matern(2.0, 4.0, 1.0))
    assert from_config(to_config(kernel)) == kernel
    with pytest.raises(dataclasses.FrozenInstanceError):
        kernel.length = 3.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Matern(length=0), ValueError, "length of a kernel must be positive, not 0"),
        (lambda: Exponential(variance=-1), ValueError, "variance .* not -1"),
        (lambda: Exponential(length=math.nan), ValueError, "length .* not nan"),
        (lambda: PowerLaw(exponent=math.inf), ValueError, "exponent .* not inf"),
        (lambda: Matern(smoothness=31), ValueError, "at most 30, not 31: use SquaredExponential"),
        (lambda: SquaredExponential(length="4"), TypeError, "must be a number, not '4'"),
    ],
)
def test_unusable_parameters_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
