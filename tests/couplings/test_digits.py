"""Sources in float64, against closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import (
    Brownian,
    Dirac,
    Independent,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    PureDeath,
    exact,
)
from markovbridge.couplings import Gaussian


@pytest.mark.parametrize("sde", [Brownian(0.7), OrnsteinUhlenbeck(-1.0, 0.5)], ids=repr)
def test_sources_given_as_numbers_keep_their_digits(sde):
    """No number of a user passes float32 on its way to work in float64."""
    process, double = LinearDiffusion(sde), {"dtype": torch.float64}
    x, ends = torch.tensor([[0.15], [-0.6]], **double), torch.tensor([-1.0, 0.2, 1.3], **double)
    cases = [(Dirac(0.4), 0.4, 0.0), (Dirac([0.4]), 0.4, 0.0), (Dirac(np.array([0.4])), 0.4, 0.0)]
    cases += [
        (Independent(Gaussian(mean=0.3)), 0.3, 1.0),
        (Independent(Gaussian(0.3, 0.7)), 0.3, 0.7),
    ]
    for (coupling, mean, std), t in itertools.product(cases, (0.1, 0.37, 0.8)):
        p, k, c = (float(w) for w in process.weights(0.0, t, 1.0))
        centre, variance = p * mean + k * ends.numpy(), c + p**2 * std**2
        density = stats.norm.pdf(x.numpy(), centre, math.sqrt(variance))
        law = exact.Empirical(process, ends[:, None], coupling=coupling)
        found = law(x, torch.tensor(t, **double)).log_weights.exp()
        weights = density / density.sum(1, keepdims=True)
        np.testing.assert_allclose(found, weights, rtol=0, atol=1e-13)
        found = law.marginal(x, torch.tensor(t, **double)).log_prob(x)
        np.testing.assert_allclose(found, np.log(density.mean(1)), rtol=0, atol=1e-12)
    assert Dirac(0.4).start(process, x).tolist() == [[0.4], [0.4]]
    assert Dirac(3).pair(PureDeath(), torch.zeros(1, 2, dtype=torch.int64)).tolist() == [[3, 3]]
