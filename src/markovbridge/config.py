"""Objects as configuration and back.

A frozen dataclass is its fields, a network its constructor arguments:

    {"class_path": "markovbridge.processes.counts.PureDeath",
     "init_args": {"maximum": 16, "schedule": {"class_path": ..., "init_args": {}}}}

A tensor, such as a rate matrix, is nested lists. This is the form recipes are
written in and the form saved beside weights. Only classes of this package are
rebuilt from a file: a file must not be able to run code of its choice. A model
with the user's own parts is loaded by passing those parts:
`Transport.from_pretrained(directory, network=MyNetwork())`.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import torch

__all__ = ["from_config", "to_config"]

PACKAGE = __name__.split(".")[0]


def to_config(value: Any) -> Any:
    """The configuration of an object: JSON-able, nested.

    Raises:
        TypeError: If the object has none, naming its type.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [to_config(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_config(v) for k, v in value.items()}
    cls = type(value)
    path = f"{cls.__module__}.{cls.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {"class_path": path, "init_args": to_config(fields)}
    arguments = getattr(value, "config", None)
    if isinstance(arguments, dict):
        return {"class_path": path, "init_args": to_config(arguments)}
    if callable(value):
        # A user's function or module: named, so that loading can ask for it.
        name = getattr(value, "__qualname__", cls.__qualname__)
        return {"class_path": f"{getattr(value, '__module__', cls.__module__)}.{name}"}
    raise TypeError(
        f"{path} cannot be written to a configuration: make it a frozen dataclass, "
        "or give it a `config` dictionary of its constructor arguments"
    )


def from_config(config: Any) -> Any:
    """Rebuild what `to_config` wrote.

    Raises:
        ValueError: If a class is not of this package, does not exist, or refuses its
            arguments; the message names it.
    """
    if isinstance(config, list):
        return tuple(from_config(v) for v in config)
    if not isinstance(config, dict):
        return config
    if "class_path" not in config:
        return {k: from_config(v) for k, v in config.items()}
    path = config["class_path"]
    arguments = {k: from_config(v) for k, v in config.get("init_args", {}).items()}
    try:
        return resolve(path)(**arguments)
    except TypeError as error:
        raise ValueError(f"{path} does not take these arguments: {error}") from error


def resolve(path: str) -> Any:
    """The class of this package at a dotted path."""
    foreign = ValueError(
        f"{path} is not part of {PACKAGE}, and a file may not name other code to run: "
        "pass the object itself when loading"
    )
    module, _, name = path.rpartition(".")
    if module.split(".")[0] != PACKAGE:
        raise foreign
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path} does not exist in this version of {PACKAGE}") from error
    if not isinstance(found, type):
        raise ValueError(f"{path} is not a class")
    if found.__module__.split(".")[0] != PACKAGE:  # what a module of the package merely uses
        raise foreign
    return found
