"""Packages whose public names are imported when the first of them is asked for.

Such a package has a module `public`, which imports what it offers, and in its `__init__`

    def __getattr__(name: str) -> Any:
        return offered(__name__, name)

so that what needs none of these names, such as `markovbridge --help`, does not wait for torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def offered(package: str, name: str) -> Any:
    """What a package offers by a name: one of its modules, or a name of its `public`.

    Raises:
        AttributeError: If there is nothing of that name.
    """
    if not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
        return import_module(f"{package}.{name}")
    if not name.startswith("_") or name == "__all__":
        public = import_module(f"{package}.public")
        if name == "__all__" or name in public.__all__:
            found = getattr(public, name)
            setattr(sys.modules[package], name, found)  # so that this is asked once a name
            return found
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
