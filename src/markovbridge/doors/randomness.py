"""Randomness as a pure function of integers.

Batch order, training noise and samples are functions of keys such as
(seed, step, rank) or (seed, block), so there is no random state to save: a run
that was interrupted and resumed is bit-equal to one that was not.
"""

from __future__ import annotations

import hashlib

import torch

from markovbridge import doors
from markovbridge.doors import checks


def derive(*keys: int | str) -> int:
    """A 63-bit seed that is a pure function of `keys`.

    Args:
        *keys: Integers and strings, for example a seed, a purpose and a step. Integers are
            one by value, whatever type they have.

    Returns:
        An integer in [0, 2^63).

    Raises:
        TypeError: If a key is anything else, such as a float or a boolean.
    """
    text = "\x1f".join(
        f"str:{key}" if isinstance(key, str) else f"int:{checks.whole(key, 'a seed')}"
        for key in keys
    )
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(device: torch.device | str, *keys: int | str) -> torch.Generator:
    """A generator on `device` whose stream is a pure function of `keys`."""
    return torch.Generator(device=device).manual_seed(derive(*keys))


def fresh_key(source: torch.Generator | None) -> int:
    """Draw a key from `source` (advancing it), or from the operating system if it is None."""
    if source is None:
        return torch.Generator().seed() >> 1
    return int(
        torch.randint(2**62, (), generator=source, device=source.device, dtype=torch.int64).item()
    )


doors.guard(__name__)
