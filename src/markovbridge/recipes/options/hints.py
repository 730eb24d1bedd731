"""What the annotations of classes say of their options."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from markovbridge.networks import Network

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
                _resolve(value)


@cache
def _resolve(cls: type) -> None:
    # In place: a constructor behind a door has two names for them.
    written, found = cls.__init__.__annotations__, _annotations(cls)
    written.update({name: found[name] for name in written if name in found})


@cache
def _annotations(owner: Any) -> dict[str, Any]:
    """The annotations of a dataclass, of what constructs another class, or of a function."""
    plain = inspect.isclass(owner) and not dataclasses.is_dataclass(owner)
    return get_type_hints(owner.__init__ if plain else owner)


def options(owner: Any) -> list[str]:
    """Names of the options of a class, in order; the target of a verb is none."""
    names = list(inspect.signature(owner).parameters)
    if inspect.isclass(owner) and issubclass(owner, nn.Module):
        names = [name for name in names if name not in CALLED_WITH]
    target = getattr(owner, "TARGET", None)
    return [name for name in names if name != target]


def flags(owner: Any) -> list[str]:
    """Names of all options of a verb that do not belong to a class of choice."""
    names = ["help", "print_config"]
    for option in options(owner):
        names.append(option.rstrip("_"))  # `from_` is written --from
        if is_group(owner, option):
            names += [f"{option}.{field}" for field in options(annotation(owner, option))]
    return names


def annotation(owner: Any, option: str) -> Any:
    """The annotation of an option, without the None it may also be."""
    hint = _annotations(owner).get(option, Any)
    members = [member for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) in (Union, types.UnionType) and len(members) == 1:
        return members[0]
    return hint


def is_flag(owner: Any, name: str) -> bool:
    """Whether an option is true or false."""
    return name in options(owner) and annotation(owner, name) is bool


def is_named(owner: Any, option: str) -> bool:
    """Whether an option is a dictionary, whose names are the user's."""
    return get_origin(annotation(owner, option)) in (dict, Mapping)


def is_group(owner: Any, option: str) -> bool:
    """Whether an option is a dataclass, whose fields are options themselves."""
    hint = annotation(owner, option)
    return dataclasses.is_dataclass(hint) and base(hint) is None


def classes(hint: Any) -> dict[str, type]:
    """The classes of this package that an option takes, by name; empty if it takes no class.

    These are the public classes whose required arguments can be written as text, which a function
    cannot.
    """
    wanted = base(hint)
    if wanted is None:
        return {}
    found = {
        cls.__name__: cls
        for cls in _public()
        if issubclass(cls, wanted) and not inspect.isabstract(cls) and _can_be_written(cls)
    }
    return dict(sorted(found.items()))


def base(hint: Any) -> type | None:
    """What classes that an option may be are derived of; None if it is no class of choice."""
    if get_origin(hint) is Callable:
        return Network  # called with what `CALLED_WITH` names
    if get_origin(hint) in (Union, types.UnionType):
        return next((one for one in map(base, get_args(hint)) if one is not None), None)
    return hint if inspect.isclass(hint) and inspect.isabstract(hint) else None


def texts(hint: Any) -> list[str]:
    """The words that may be given in place of a class; none where there are none."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if get_origin(hint) not in (Union, types.UnionType):
        return []
    members = get_args(hint)
    found = [text for member in members for text in texts(member)]
    return [*found, "null"] if found and type(None) in members else found


@cache
def _public() -> list[type]:
    """The classes that the packages of this package export."""
    import_module(f"{PACKAGE}.public")
    packages = [
        module
        for name, module in sorted(sys.modules.items())
        if name.split(".")[0] == PACKAGE
        and hasattr(module, "__path__")
        and hasattr(module, "__all__")
    ]
    exported = (
        getattr(module, name, None)
        for module in packages
        for name in module.__all__
        if not module.__name__.startswith((f"{PACKAGE}.cli", f"{PACKAGE}.recipes"))
    )
    return list(dict.fromkeys(value for value in exported if inspect.isclass(value)))


def _can_be_written(cls: type) -> bool:
    """Whether the arguments of a class can be written as text, and rebuild an object of use."""
    if getattr(cls, "composed", False):  # by a method of others, such as `mirrored` or `+`
        return False
    if getattr(cls, "config", None) == {} and options(cls):  # what it holds is never written
        return False
    return all(
        hint is not Tensor and (get_origin(hint) is not Callable or _returns_module(hint))
        for hint in (annotation(cls, name) for name in options(cls) if required(cls, name))
    )


def _returns_module(hint: Any) -> bool:
    return get_args(hint)[-1:] == (nn.Module,)


def required(owner: Any, option: str) -> bool:
    """Whether an option must be given."""
    return inspect.signature(owner).parameters[option].default is inspect.Parameter.empty


def default(owner: Any, option: str) -> Any:
    """What an option is if it is not given; None if it must be."""
    parameter = inspect.signature(owner).parameters.get(option)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    return parameter.default


def describe(hint: Any, place: str) -> str:
    """What an option must be, in words.

    Args:
        hint: Its annotation.
        place: Its name, with dots.
    """
    if known := classes(hint):
        return f"one of {', '.join([*texts(hint), *known])}, or module.Class"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (dict, Mapping):
        return f"given by name, as --{place}.NAME VALUE"
    return WORDS.get(hint, str(getattr(hint, "__name__", hint)))


def metavar(hint: Any) -> str:
    """What stands for an option's value in its help."""
    if classes(hint):
        return "|".join([*texts(hint), "CLASS"])
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    if get_origin(hint) in (dict, Mapping):
        return "{NAME: VALUE, ...}"
    return METAVARS.get(hint, "VALUE")
