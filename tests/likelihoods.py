"""What tests of likelihood bounds share."""

import numpy as np
import torch

from markovbridge import Transport, exact

TABLE = torch.tensor([[0.15, 0.02, 0.03], [0.1, 0.3, 0.05], [0.0, 0.05, 0.3]]).double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(process, states=3):
    """A transport of the correlated table, its points and their probabilities."""
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    law = exact.Empirical(process, every, TABLE.flatten(), states=states)
    alive = TABLE.flatten() > 0
    return Transport(process, law, shape=(2,)), every[alive], TABLE.flatten()[alive]


def check(bound, expected, tolerance, level=5.0):
    """Agreement within the stated errors, on average and point by point."""
    off = bound.nats.numpy() - np.asarray(expected)
    error = bound.standard_error.numpy()
    assert abs(off.mean()) < tolerance
    # Pairs in strata give few degrees of freedom where hardly any noise is left.
    assert np.sqrt(np.mean(off**2 / (error**2 + 1e-6))) < level
