"""Covariances of a finer grid of the same domain."""

import pytest
import torch

from markovbridge.covariances import (
    GMRF,
    Dense,
    Diagonal,
    Exponential,
    Grid,
    Isotropic,
    Matern,
    Power,
    PowerLaw,
    Separable,
    SquaredExponential,
    Torus,
)


def matrix(covariance, event):
    eye = torch.eye(torch.Size(event).numel(), dtype=torch.float64)
    return (covariance @ eye.reshape(-1, *event)).flatten(1)


def at_old_sites(found, sizes, factor):
    """The entries of a matrix of a finer grid between the sites of the old one."""
    grids = [torch.arange(0, factor * n, factor) for n in sizes]
    index = torch.zeros((), dtype=torch.int64)
    for n, grid in zip(sizes, grids, strict=True):
        index = index.unsqueeze(-1) * factor * n + grid
    index = index.flatten()
    return found[index][:, index]


@pytest.mark.parametrize(
    "kernel",
    [
        Exponential(2.0, 3.0),
        Matern(2.0, 3.0, 0.8),
        SquaredExponential(1.5, 2.0),
    ],
)
def test_a_scaled_kernel_is_the_same_function_of_physical_distance(kernel):
    r = torch.linspace(0, 9, 19, dtype=torch.float64)
    torch.testing.assert_close(kernel.scaled(3)(3 * r), kernel(r))
    assert PowerLaw(1.0, 2.0).scaled(2) == PowerLaw(1.0, 2.0)  # which has no length


@pytest.mark.parametrize(("dimension", "sizes"), [(1, (7,)), (2, (4, 5)), (3, (2, 3, 2))])
def test_grid_has_the_same_law_at_the_old_sites(dimension, sizes):
    old = Grid(Matern(2.0, 0.8, 0.5), dimension, tolerance=1e-8)
    new = old.refined(2, dimension)
    assert (new.tolerance, new.kernel) == (1e-8, Matern(2.0, 1.6, 0.5))
    found = matrix(new, tuple(2 * n for n in sizes))
    torch.testing.assert_close(at_old_sites(found, sizes, 2), matrix(old, sizes))


@pytest.mark.parametrize(("dimension", "sizes"), [(1, (16,)), (2, (12, 15))])
def test_torus_has_the_same_law_at_the_old_sites_if_it_has_no_shorter_waves(dimension, sizes):
    smooth = Torus(SquaredExponential(2.0, 2.0), dimension)
    found = matrix(smooth.refined(2, dimension), tuple(2 * n for n in sizes))
    # Waves of two old sites have e^{-2 π²} of the power of the longest.
    torch.testing.assert_close(
        at_old_sites(found, sizes, 2), matrix(smooth, sizes), atol=1e-6, rtol=0
    )
    rough = Torus(Exponential(2.0, 1.0), dimension)
    apart = at_old_sites(
        matrix(rough.refined(2, dimension), tuple(2 * n for n in sizes)), sizes, 2
    )
    assert (apart - matrix(rough, sizes)).abs().max() > 0.05
    torch.testing.assert_close(apart.diagonal(), torch.full((len(apart),), 2.0).double())


def test_gmrf_comes_nearer_to_its_kernel():
    kernel = Matern(1.0, 2.0, 1.0)
    lags = torch.arange(1, 4, dtype=torch.float64)

    def off(factor):
        covariance, n = GMRF(kernel).refined(factor, 2), 24 * factor
        unit = torch.zeros(1, n, n, dtype=torch.float64)
        unit[0, n // 2, n // 2] = 1
        row = (covariance @ unit)[0, n // 2]
        found = row[n // 2 + factor * lags.long()] / row[n // 2]
        return float((found - kernel(lags)).abs().max())

    assert off(3) < 0.5 * off(1)


def test_the_others():
    assert Isotropic(2.0).refined(3, 2) == Isotropic(2.0)
    colours = Dense([[2.0, 1.0], [1.0, 3.0]])
    found = Separable(Torus(Matern(1.0, 2.0, 1.5)), colours).refined(2, 2)
    assert found.channels is colours
    assert found.space == Torus(Matern(1.0, 4.0, 1.5))
    for none in (colours, Diagonal([1.0, 2.0]), Power(Torus(Matern()), -0.25)):
        with pytest.raises(NotImplementedError, match="finer grid"):
            none.refined(2, 2)
    with pytest.raises(ValueError, match="dimension=2"):
        Torus(Matern(), 1).refined(2, 2)
    with pytest.raises(ValueError, match="factor"):
        Torus(Matern()).refined(0, 2)
