"""What is imported when it is asked for: public names of this package, and packages of others.

A package whose names come late has a module `public`, which imports what it offers, and in its
`__init__`

    def __getattr__(name: str) -> Any:
        return offered(__name__, name)

so that what needs none of these names, such as `markovbridge --help`, does not wait for torch.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def offered(package: str, name: str) -> Any:
    """What a package offers by a name: one of its modules, or a name of its `public`.

    Raises:
        AttributeError: If there is nothing of that name.
    """
    if not name.startswith("_") and _is_module(f"{package}.{name}"):
        return import_module(f"{package}.{name}")
    if not name.startswith("_") or name == "__all__":
        public = import_module(f"{package}.public")
        if name == "__all__" or name in public.__all__:
            found = getattr(public, name)
            setattr(sys.modules[package], name, found)  # so that this is asked once a name
            return found
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


@cache
def _is_module(name: str) -> bool:
    """Whether there is such a module, looked for in the folders once: some ask often."""
    return find_spec(name) is not None


# What pip calls packages that are imported by another name.
CALLED = {"PIL": "Pillow"}


def optional(module: str, what: str) -> ModuleType:
    """Import a module of a package that only `what` needs.

    Raises:
        ImportError: If it is missing, with what brings it; of the class that Python raised.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        package = CALLED.get(package, package)
        raise type(error)(f"{what} needs {package}; run `pip install {package}`") from error
