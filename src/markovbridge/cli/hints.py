"""What the annotations of functions and classes say of their options."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from markovbridge.networks import Network

__all__ = [
    "annotation",
    "classes",
    "default",
    "describe",
    "flags",
    "load",
    "name",
    "options",
    "resolve",
]

PACKAGE = __name__.split(".")[0]
# What a network is called with; these are no options.
CALLED_WITH = ("shape", "features", "outputs", "condition")
METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: "true|false"}
WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def resolve() -> None:
    """Turn the annotations of this package's dataclasses from text into types.

    jsonargparse looks names in the annotations of a base class up in the module of the
    subclass, where they need not be imported, and gives up. Resolved ones it leaves alone.
    """
    ours = [module for key, module in sys.modules.items() if key.split(".")[0] == PACKAGE]
    for module in ours:
        for value in list(vars(module).values()):
            if inspect.isclass(value) and dataclasses.is_dataclass(value):
                # In place: a constructor behind a door has two names for them.
                value.__init__.__annotations__.update(get_type_hints(value.__init__))


def options(owner: Any) -> list[str]:
    """Names of the options of a class, or of a verb's function, whose target comes first."""
    names = list(inspect.signature(owner).parameters)
    if not inspect.isclass(owner):
        return names[1:]
    if issubclass(owner, nn.Module):
        names = [name for name in names if name not in CALLED_WITH]
    return names


def flags(function: Callable[..., Any]) -> list[str]:
    """Names of all options of a verb that do not belong to a class of choice."""
    names = ["help", "print_config"]
    for option in options(function):
        names.append(option)
        hint = annotation(function, option)
        if dataclasses.is_dataclass(hint) and not classes(hint):
            names += [f"{option}.{field}" for field in options(hint)]
    return names


def annotation(owner: Any, option: str) -> Any:
    """The annotation of an option, without the None it may also be."""
    function = owner.__init__ if inspect.isclass(owner) else owner
    hint = get_type_hints(function).get(option, Any)
    members = [member for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) in (Union, types.UnionType) and len(members) == 1:
        return members[0]
    return hint


def classes(hint: Any) -> dict[str, type]:
    """This package's classes that an option may be, by name; none if it is no such option."""
    base = _base(hint)
    found, left = {}, list(base.__subclasses__()) if base else []
    while left:
        cls = left.pop(0)
        left += cls.__subclasses__()
        ours = cls.__module__.split(".")[0] == PACKAGE and not cls.__name__.startswith("_")
        if ours and not inspect.isabstract(cls):
            found[cls.__name__] = cls
    return dict(sorted(found.items()))


def _base(hint: Any) -> type | None:
    if get_origin(hint) is Callable:
        return Network  # called with what `CALLED_WITH` names
    return hint if inspect.isclass(hint) and inspect.isabstract(hint) else None


def default(owner: Any, option: str) -> Any:
    """What an option is if it is not given; None if it must be."""
    parameter = inspect.signature(owner).parameters.get(option)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    return parameter.default


def describe(owner: Any, option: str) -> str:
    """What an option must be, in words."""
    hint = annotation(owner, option)
    if known := classes(hint):
        return f"one of {', '.join(known)}, or module.Class"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) is dict:
        return f"given by name, as --{option}.NAME VALUE"
    return WORDS.get(hint, str(getattr(hint, "__name__", hint)))


def metavar(hint: Any) -> str:
    """What stands for an option's value in its help."""
    if classes(hint):
        return "CLASS"
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) is dict:
        return "{NAME: VALUE, ...}"
    return METAVARS.get(hint, "VALUE")


def load(path: str) -> Any:
    """The class at a dotted path that jsonargparse has resolved before.

    Raises:
        AttributeError: If there is none; nothing is imported to look for it.
    """
    module, _, attribute = path.rpartition(".")
    return getattr(sys.modules.get(module), attribute)


def name(owner: Any) -> str:
    """What to call a function or class in a sentence."""
    return owner.__name__ if inspect.isclass(owner) else f"`{owner.__name__}`"
