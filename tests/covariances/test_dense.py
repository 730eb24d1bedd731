"""Covariances that hold numbers, and their Kronecker products."""

import json
import math

import pytest
import torch

from markovbridge.covariances import Dense, Diagonal, Exponential, Isotropic, Separable, Torus
from markovbridge.storage.config import from_config, to_config


def positive(n, normal, key=0):
    z = normal(n, n + 2, key=key)
    return z @ z.T


def test_isotropic():
    covariance = Isotropic(4.0)
    x = torch.tensor([[1.0, -3.0]])
    assert (covariance @ x).tolist() == [[4, -12]]
    assert covariance.sqrt(x).tolist() == [[2, -6]]
    assert covariance.solve(x).tolist() == [[0.25, -0.75]]
    assert covariance.logdet((2, 3)) == pytest.approx(6 * math.log(4))
    with pytest.raises(ValueError, match="must be positive, not -1"):
        Isotropic(-1.0)


def test_diagonal_broadcasts_over_channels():
    covariance = Diagonal([[1.0, 4.0], [9.0, 16.0]])
    x = torch.ones(2, 3, 2, 2)
    assert covariance.sqrt(x)[1, 2].tolist() == [[1, 2], [3, 4]]
    assert covariance.logdet((3, 2, 2)) == pytest.approx(3 * math.log(576))
    assert covariance.trace((3, 2, 2)) == 90


def test_diagonal_with_a_site_that_does_not_vary():
    covariance = Diagonal(torch.tensor([0.0, 1.0]))
    assert covariance.sample(torch.empty(4, 2))[:, 0].tolist() == [0, 0, 0, 0]
    for call in (covariance.solve, covariance.inverse_sqrt):
        with pytest.raises(ValueError, match="1 variances of zero, so it has no inverse"):
            call(torch.ones(1, 2))
    with pytest.raises(ValueError, match="1 variances of zero"):
        covariance.logdet((2,))


def test_dense_acts_on_the_trailing_axes_of_its_size(normal):
    matrix = positive(6, normal)
    x = normal(2, 4, 2, 3)
    expected = (x.reshape(8, 6) @ matrix).reshape(x.shape)
    torch.testing.assert_close(Dense(matrix) @ x, expected)
    whole = positive(24, normal, key=1)
    torch.testing.assert_close(Dense(whole) @ x, (x.flatten(1) @ whole).reshape(x.shape))
    torch.testing.assert_close(Dense(matrix).variance((4, 2, 3))[3].flatten(), matrix.diagonal())
    with pytest.raises(ValueError, match=r"5 rows fits no trailing axes of events of shape"):
        Dense(positive(5, normal)) @ x


def test_dense_takes_nested_lists():
    assert Dense(((2.0, 1.0), (1.0, 2.0))).logdet((2,)) == pytest.approx(math.log(3))


def test_numbers_survive_a_configuration(normal):
    z = normal(9, 4, dtype=torch.float32)
    # Of deficient rank and in float32: its eigenvalues are zero up to rounding of either sign.
    dense, diagonal = Dense(z @ z.T), Diagonal(torch.tensor([[1.0], [2.0]]))
    again = from_config(json.loads(json.dumps(to_config(Separable(diagonal, dense)))))
    x = normal(2, 9, 2, 3)
    torch.testing.assert_close(again @ x, Separable(diagonal, dense) @ x)
    torch.testing.assert_close(dense.matrix, (z @ z.T).double(), rtol=0, atol=1e-5)


def test_dense_of_deficient_rank(normal):
    z = normal(5, 2)
    covariance = Dense(z @ z.T)
    root = covariance.sqrt(torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(root @ root, z @ z.T)
    with pytest.raises(ValueError, match="this Dense covariance is singular to torch.float64"):
        covariance.solve(torch.ones(1, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="singular"):
        covariance.logdet((5,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense([[1.0, 0.0], [0.0, -0.25]]), "this matrix has -0.25"),
        (lambda: Dense([[1.0, 0.5], [0.2, 1.0]]), r"differ by 0.3: pass"),
        (lambda: Dense([1.0, 2.0]), r"square matrix, not shape \(2,\)"),
        (lambda: Dense([[math.nan]]), "NaN or infinite"),
        (lambda: Diagonal([1.0, -2.0]), r"not negative, not \[-2.0\]"),
        (lambda: Diagonal([1.0, math.inf]), "finite"),
        (lambda: Diagonal([1.0, 2.0]).variance((3,)), r"shape \(2,\) do not fit .* \(3,\)"),
        (lambda: Separable(Isotropic(), Isotropic()).logdet((3,)), "at least two axes"),
    ],
)
def test_unusable_numbers_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_separable_is_the_kronecker_product(normal, matrix_of):
    colours, space = positive(3, normal), Torus(Exponential(2.0, 1.5))
    covariance = Separable(space, Dense(colours))
    event = (3, 4, 5)
    gamma = torch.kron(colours, matrix_of(space.__matmul__, (4, 5)))
    torch.testing.assert_close(matrix_of(covariance.__matmul__, event), gamma)
    torch.testing.assert_close(
        matrix_of(covariance.solve, event), torch.linalg.inv(gamma), rtol=1e-9, atol=1e-9
    )
    root = matrix_of(covariance.sqrt, event)
    torch.testing.assert_close(root @ root, gamma)
    assert covariance.logdet(event) == pytest.approx(float(gamma.logdet()), abs=1e-9)
    torch.testing.assert_close(covariance.variance(event).flatten(), gamma.diagonal())


def test_separable_nests(normal, matrix_of):
    a, b, c = positive(2, normal, 1), positive(3, normal, 2), positive(4, normal, 3)
    covariance = Separable(Separable(Dense(c), Dense(b)), Dense(a))
    gamma = torch.kron(a, torch.kron(b, c))
    torch.testing.assert_close(matrix_of(covariance.__matmul__, (2, 3, 4)), gamma)
    assert covariance.logdet((2, 3, 4)) == pytest.approx(float(gamma.logdet()), abs=1e-8)
