"""Laws, models and grids of diffusions whose samplers are followed exactly, step by step."""

from dataclasses import dataclass

import numpy as np
import torch

from markovbridge import (
    Brownian,
    EndpointHead,
    Independent,
    LinearDiffusion,
    Transport,
    exact,
)
from markovbridge.covariances import Covariance, Isotropic

LEVEL = 1e-5


@dataclass(frozen=True)
class Fixed(Isotropic):
    """Isotropic noise whose draws are 1 in the third row, and 0 in all others."""

    def sample(self, like, *, generator=None):
        return (torch.arange(len(like)) == 2).to(like).unsqueeze(1).expand_as(like)


def gaussian(process, mean=2.0, variance=0.25, coupling=None):
    return exact.Gaussian.coupled(
        process,
        coupling or Independent(),
        torch.tensor([mean], dtype=torch.float64),
        torch.tensor([[variance]], dtype=torch.float64),
    )


def model(process, law=None, coupling=None):
    if not isinstance(law, exact.DataLaw):  # which says its coupling
        coupling = coupling or Independent()
    law = law or gaussian(process, coupling=coupling)
    return Transport(process, law, shape=(1,), coupling=coupling)


def terminal(sampler, grid, make, mean=0.0, variance=1.0):
    """Mean and variance of the samples, exactly: every step is x -> a x + b + c noise."""
    made, ends = make(Fixed()), torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    for t, s in zip(grid, grid[1:], strict=False):
        still, moved, loud = sampler.step(made, ends, t, s).flatten().tolist()
        slope, noise = moved - still, loud - still
        mean, variance = slope * mean + still, slope**2 * variance + noise**2
    return mean, variance


def brownian(covariance: Covariance, variance: float = 0.25):
    process = LinearDiffusion(Brownian(), covariance=covariance)
    return model(process, gaussian(process, variance=variance))


def plug_in(covariance: Covariance):
    process = LinearDiffusion(Brownian(), covariance=covariance)
    law, head = gaussian(process), EndpointHead()

    def network(x, t, condition):
        return head.around(process, law(x, t).mean, t)

    return model(process, network)


def uniform(steps):
    return np.linspace(0, 1, steps + 1).tolist()
