"""Rows of counts around two profiles, for tests of what is fitted to them."""

import torch

from markovbridge.doors.randomness import generator
from markovbridge.laws import NegativeBinomial

PROFILES = torch.tensor([[0.5, 0.2, 0.2, 0.05, 0.05], [0.05, 0.1, 0.1, 0.25, 0.5]])
SIZES = torch.tensor([0.5, 2.0, 8.0, 1.0, 3.0])


def rows(name, n, profiles, sizes, key, spread=0.5, depth=60.0):
    """Counts of a mixture of `profiles` (K, d), rows of log-normal depth."""
    rng = generator("cpu", name, key)
    k = torch.randint(len(profiles), (n,), generator=rng)
    library = depth * (spread * torch.randn(n, 1, generator=rng)).exp()
    law = NegativeBinomial((library * profiles[k]).log(), sizes.expand(n, -1))
    return law.sample(generator=rng)
