"""What the tests of covariances share: a matrix of any operator, and random numbers."""

import math

import pytest
import torch

from markovbridge.doors.randomness import generator


def matrix_of(operation, event):
    """The matrix of a linear operation on events, column by column, float64."""
    d = math.prod(event)
    basis = torch.eye(d, dtype=torch.float64).reshape(d, *event)
    return operation(basis).reshape(d, d).T.contiguous()


def normal(*shape, key=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator("cpu", "covariances", key), dtype=dtype)


@pytest.fixture(name="matrix_of")
def _matrix_of():
    return matrix_of


@pytest.fixture(name="normal")
def _normal():
    return normal
