"""Transforms to modes against their matrices, and covariances by eigenvalues."""

import math

import pytest
import torch

from markovbridge.covariances import (
    GMRF,
    Cosine,
    Dense,
    Diagonal,
    Eigenvectors,
    Exponential,
    Fourier,
    Grouped,
    Haar,
    Isotropic,
    Matern,
    Modal,
    Power,
    Separable,
    Torus,
)
from markovbridge.covariances.spectral import eigenvalues
from markovbridge.testing import check_covariance

VECTORS = Eigenvectors.of(torch.tensor([[2.0, 0.4, 0.1], [0.4, 1.0, 0.3], [0.1, 0.3, 0.7]]))
TRANSFORMS = {
    "cosine": (Cosine(), (2, 5, 6)),
    "cosine, long": (Cosine(1), (300,)),
    "cosine, long and odd": (Cosine(1), (257,)),
    "haar": (Haar(), (2, 8, 4)),
    "fourier": (Fourier(), (2, 5, 6)),
    "volume": (Fourier(3), (3, 4, 2)),
    "vectors": (VECTORS, (2, 3)),
}


def columns(operation, event):
    size = math.prod(event)
    every = torch.eye(size, dtype=torch.float64).reshape(-1, *event)
    return operation(every).reshape(size, size).T


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_orthonormal(name):
    modes, event = TRANSFORMS[name]
    u = columns(modes.forward, event)
    size = len(u)
    torch.testing.assert_close(u @ u.T, torch.eye(size).double(), rtol=0, atol=1e-11)
    torch.testing.assert_close(columns(modes.inverse, event), u.T, rtol=0, atol=1e-11)
    weights = torch.rand(1, *event, generator=torch.Generator().manual_seed(0)).double()
    diagonal = (u.T @ torch.diag(weights.flatten()) @ u).diagonal().reshape(event)
    torch.testing.assert_close(modes.diagonal(weights)[0], diagonal, rtol=0, atol=1e-11)
    assert float(modes.counts(event).sum()) == size


@pytest.mark.parametrize("n", [5, 257, 300])
def test_cosines_are_cosines(n):
    site, wave = torch.arange(n).double(), torch.arange(n).double().unsqueeze(1)
    wanted = (math.pi * (site + 0.5) * wave / n).cos() * math.sqrt(2 / n)
    wanted[0] /= math.sqrt(2)
    found = columns(Cosine(1).forward, (n,))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_bands_are_of_waves():
    modes = Fourier(1, (0.2, 0.4))
    assert modes.band((2, 8)).tolist() == [0, 0, 1, 1, 2, 1, 1, 0]
    assert modes.counts((2, 8)).tolist() == [6.0, 8.0, 2.0]
    own = Grouped(modes, [0, 0, 0, 1, 1, 0, 0, 3])
    assert own.bands == 4
    assert own.counts((8,)).tolist() == [5.0, 2.0, 0.0, 1.0]
    x = torch.randn(50, 2, 8, generator=torch.Generator().manual_seed(0)).double()
    wanted = modes.forward(x).square().mean(0)[:, modes.band((8,)) == 1].mean()
    torch.testing.assert_close(modes.power(x)[1], wanted)


COVARIANCES = {
    "modal": Modal(Cosine(edges=(0.1, 0.3)), (2.0, 1.0, 0.3)),
    "torus": Power(Torus(Exponential(1.0, 3.0))),
    "gmrf": Power(GMRF(Matern(1.0, 2.0, 1.0)), -0.5),
    "dense": Power(Dense(torch.eye(16) + 0.3), 0.5),
    "diagonal": Power(Diagonal([0.1, 2.0, 3.0, 0.1]), -1.0),
    "isotropic": Power(Isotropic(0.4)),
}


@pytest.mark.parametrize("name", COVARIANCES)
def test_covariances_by_eigenvalues_are_covariances(name):
    check_covariance(COVARIANCES[name], (2, 4, 4), draws=1000)


@pytest.mark.parametrize("exponent", [-1.0, -0.25, 0.5, 1.0])
def test_powers_are_powers_of_the_matrix_with_its_trace(exponent):
    base = Torus(Exponential(0.7, 2.0))
    matrix = columns(base.__matmul__, (1, 4, 6))
    values, vectors = torch.linalg.eigh(matrix)
    wanted = vectors * values**exponent @ vectors.T
    wanted = wanted * matrix.trace() / wanted.trace()
    found = columns(Power(base, exponent, 0.0).__matmul__, (1, 4, 6))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_the_floor_keeps_what_is_nearly_nothing_from_being_loud():
    found = Power(Diagonal([1e-9, 1.0, 2.0]), -1.0, floor=0.1).variance((3,))
    assert float(found[0] / found[1]) == pytest.approx(1 / 0.1, rel=1e-6)


@pytest.mark.parametrize("name", ["torus", "gmrf", "dense"])
def test_eigenvalues_in_other_modes_are_refused(name):
    dense = Dense(
        [[1.0, 0.4, 0.1, 0.0], [0.4, 0.8, 0.2, 0.1], [0.1, 0.2, 0.6, 0.0], [0, 0.1, 0, 2]]
    )
    base = dense if name == "dense" else COVARIANCES[name].base
    event = (4,) if name == "dense" else (4, 4)
    values = eigenvalues(base, base.modes, event)
    wanted = torch.linalg.eigvalsh(columns(base.__matmul__, event))
    torch.testing.assert_close(values.flatten().sort()[0], wanted, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="do not diagonalise"):
        eigenvalues(base, Haar(1) if name == "dense" else Haar(), event)


def test_what_has_no_modes_says_so():
    with pytest.raises(NotImplementedError, match="Torus"):
        Power(Separable(Isotropic(), Isotropic()))
    with pytest.raises(NotImplementedError, match="Cosine"):
        VECTORS.frequency((3,))


@pytest.mark.parametrize(("variances", "floor"), [((1.0, 0.0), 0.0), ((0.0, 0.0), 1e-3)])
def test_a_power_of_nothing_is_refused(variances, floor):
    power = Power(Modal(Cosine(1, (0.2,)), variances), -0.25, floor)
    with pytest.raises(ValueError, match="floor above 0"):
        power.sample(torch.zeros(1, 4))


def test_wavelets_of_other_sizes_have_no_bands_and_no_variance():
    for ask in (Haar(1).band, Modal(Haar(1, (0.2,)), (1.0, 0.5)).logdet):
        with pytest.raises(ValueError, match="not 6"):
            ask((6,))
