"""Generative modelling with any Markov process.

import markovbridge as mb

digits = mb.data.Digits().load()
process = mb.PureDeath(maximum=16)
...
"""

from typing import TYPE_CHECKING, Any

from markovbridge.storage.lazily import offered

if TYPE_CHECKING:
    from markovbridge.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    return offered(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *offered(__name__, "__all__")})
