"""What configurations of older versions do not name, because it came later.

Where a class has a new argument, what it did before is not always what it does today unless told.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from markovbridge import doors
from markovbridge.storage.public_names import public, today

# Arguments of parts that came later, and what the parts did before.
LATER = {
    "normed": True,
    "residuals": False,
    "combinations": 0,
    "numbers": 0,
    "modes": None,
    "clocks": None,
    "thetas": (),
    "powers": (),
    "given_noise": None,
    "rule": "energy",
    "products": 1,
}


def class_of(config: Any) -> type | None:
    """The class of this package that a part of a configuration names; None if it names none."""
    path = config.get("class_path") if isinstance(config, Mapping) else config
    return public().get(today(path)) if isinstance(path, str) else None


def lacking(config: Any) -> dict[str, Any]:
    """The arguments that a part, as it was written out, does not name, and what they were."""
    if (cls := class_of(config)) is None or not isinstance(config, Mapping):
        return {}
    known, told = inspect.signature(cls).parameters, config.get("init_args") or {}
    return {name: value for name, value in LATER.items() if name in known and name not in told}


def filled(config: Any) -> Any:
    """A part with the arguments that it is too old to name."""
    if not (later := lacking(config)):
        return config
    return {**config, "init_args": {**(config.get("init_args") or {}), **later}}


doors.guard(__name__)
