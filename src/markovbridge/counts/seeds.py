"""Randomness as scikit-learn states it: a seed, a generator of any kind, or nothing."""

from __future__ import annotations

import numpy as np
import torch

from markovbridge import doors
from markovbridge.doors import checks

RandomState = int | np.random.Generator | np.random.RandomState | torch.Generator | None


def seed_of(random_state: RandomState) -> int:
    """A seed from whatever randomness is stated with."""
    if random_state is None:
        return torch.Generator().seed() >> 1
    if isinstance(random_state, torch.Generator):
        return int(torch.randint(2**31, (), generator=random_state).item())
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return checks.whole(random_state, "random_state", least=0)


def generator_of(random_state: RandomState) -> tuple[torch.Generator, int | None]:
    """A generator of torch from whatever randomness is stated with, and the seed it begins at.

    Given as `random_state`, the seed makes the same draws again; None if a generator was given.
    """
    if isinstance(random_state, torch.Generator):
        return random_state, None
    seed = seed_of(random_state)
    return torch.Generator().manual_seed(seed), seed


doors.guard(__name__)
