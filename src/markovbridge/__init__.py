"""Generative modelling with any Markov process.

import markovbridge as mb

digits = mb.data.Digits().load()
process = mb.PureDeath(maximum=16)
...
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markovbridge.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """A module of this package, or a public name, at its first use."""
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    public = importlib.import_module(f"{__name__}.public")
    found = {key: getattr(public, key) for key in public.__all__}
    globals().update(found, __all__=list(found))
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
