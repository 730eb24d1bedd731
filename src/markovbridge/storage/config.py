"""Objects as configuration and back.

A frozen dataclass is its fields, a network its constructor arguments:

    {"class_path": "markovbridge.PureDeath",
     "init_args": {"maximum": 16, "schedule": {"class_path": ..., "init_args": {}}}}

A tensor, such as a rate matrix, is nested lists; of a law of data, which may be
large, it is kept beside the configuration, which has its name there (`apart`,
`together`). This is the form recipes are written in and the form saved beside
weights. Only parts of this package are rebuilt from a file (see `parts`): a
file must not be able to run code of its choice. A model with the user's own
parts is loaded by passing those parts:
`Transport.from_pretrained(directory, network=MyNetwork())`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from markovbridge import doors
from markovbridge.storage.parts import checked, find
from markovbridge.storage.public_names import name_of


class _Beside(float):
    """A tensor that is kept beside a configuration: a number to those who check that."""

    tensor: torch.Tensor


def to_config(value: Any) -> Any:
    """The configuration of an object: JSON-able, nested.

    Raises:
        TypeError: If the object has none, naming its type.
    """
    return _written(value, torch.Tensor.tolist)


def apart(value: Any, name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """As `to_config`, with tensors apart: {"tensor": key} in their places, and they by keys.

    Args:
        value: The object.
        name: What keys begin with.
    """
    found: dict[str, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> dict[str, str]:
        found[key := f"{name}/{len(found)}"] = tensor
        return {"tensor": key}

    return _written(value, keep), found


def together(config: Any, tensors: Mapping[str, torch.Tensor], *, plain: bool = False) -> Any:
    """A configuration with its tensors in their places, for `from_config`.

    Args:
        config: What `apart` made.
        tensors: The tensors, by their keys; others do not matter.
        plain: Whether they become nested lists, as `to_config` has them.

    Raises:
        ValueError: If one is missing.
    """
    if isinstance(config, list):
        return [together(item, tensors, plain=plain) for item in config]
    if not isinstance(config, dict):
        return config
    if config.keys() == {"tensor"}:
        tensor = tensors.get(str(config["tensor"]))
        if tensor is None:
            raise ValueError(f"there is no tensor {config['tensor']!r} beside the configuration")
        if plain:
            return tensor.tolist()
        held = _Beside()
        held.tensor = tensor
        return held
    return {key: together(item, tensors, plain=plain) for key, item in config.items()}


def _written(value: Any, tensor: Callable[[torch.Tensor], Any]) -> Any:
    """The configuration of an object, of whose tensors it holds what is made of them."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, (list, tuple)):
        return [_written(v, tensor) for v in value]
    if isinstance(value, dict):
        return {str(k): _written(v, tensor) for k, v in value.items()}
    cls = type(value)
    path = name_of(cls)
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {"class_path": path, "init_args": _written(fields, tensor)}
    arguments = getattr(value, "config", None)
    if isinstance(arguments, dict):
        return {"class_path": path, "init_args": _written(arguments, tensor)}
    if callable(value):
        # A user's function or module: named, so that loading can ask for it.
        name = getattr(value, "__qualname__", cls.__qualname__)
        return {"class_path": f"{getattr(value, '__module__', cls.__module__)}.{name}"}
    raise TypeError(
        f"{path} cannot be written to a configuration: make it a frozen dataclass, "
        "or give it a `config` dictionary of its constructor arguments"
    )


def from_config(config: Any, kind: Any = Any, place: str = "") -> Any:
    """Rebuild what `to_config` wrote.

    Args:
        config: A configuration: plain values, classes by their paths.
        kind: What it must be, as an annotation: a class of this package, for instance.
        place: Where it is from, for messages.

    Raises:
        ValueError: If a class is not one that a file may name (`parts.classes`), is not what
            is wanted where it is named, or refuses its arguments; the message names it.
    """
    try:
        return _built(checked(config, kind, place))
    except RecursionError as error:
        raise ValueError(f"{place or 'the configuration'} has too many levels") from error


def short(value: Any) -> str:
    """A configuration as one would say it: MeanHead(kernel=poisson, bounded=false)."""
    if isinstance(value, dict) and value.keys() == {"tensor"}:
        return "..."
    if isinstance(value, dict) and "class_path" in value:
        own = ", ".join(f"{k}={short(v)}" for k, v in (value.get("init_args") or {}).items())
        return f"{value['class_path'].rpartition('.')[2]}({own})"
    if isinstance(value, list):
        return "[" + ", ".join(short(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith("markovbridge."):
        return f"{value.rpartition('.')[2]}()"
    return "none" if value is None else str(value)


def at_a_glance(text: str) -> str:
    """What `short` says of parts, for a line that is read: names and options that are plain.

    Samples are told apart by the whole text; plans of `transport.planning` alone fill lines of it.

    >>> at_a_glance("HandOver(then=Trapezoidal(), plans=[[0.5, 1.0]]), MeanHead(kernel=poisson)")
    'HandOver (planned), MeanHead(kernel=poisson)'

    Args:
        text: Parts, one after another, each as `short` has it; or any other words.
    """
    return ", ".join(map(_glance, _members(text)))


def _glance(part: str) -> str:
    name, bracket, rest = part.partition("(")
    if not bracket or not re.fullmatch(r"(\w+ )?[A-Z]\w*", name):
        return part
    members = _members(rest.rpartition(")")[0])
    if any(re.match(r"(plans|thetas|powers)=\[.", m) and m[-3:] != "=[]" for m in members):
        return f"{name} (planned)"
    told = []
    for member in members:
        inner = member.partition("=")[2]
        if re.match(r"[A-Z]\w*\(", inner):
            told.append(_glance(inner))
        elif member and not set(member) & set("([{") and not member.endswith("=..."):
            told.append(member)
    return name + f"({', '.join(told)})" * bool(told)


def _members(text: str) -> list[str]:
    """The parts of a text between those commas that are inside of no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [member.strip() for member in found]


def _built(config: Any) -> Any:
    """The object of a checked configuration."""
    if isinstance(config, _Beside):
        return config.tensor
    if isinstance(config, list):
        return tuple(_built(v) for v in config)
    if not isinstance(config, dict):
        return config
    if "class_path" not in config:
        return {k: _built(v) for k, v in config.items()}
    path = config["class_path"]
    arguments = {k: _built(v) for k, v in config["init_args"].items()}
    try:
        return find(path)(**arguments)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        # What is wrong in a file is a wrong value, whatever it leads to.
        raise ValueError(f"{path} does not take these arguments: {error}") from error


doors.guard(__name__)
