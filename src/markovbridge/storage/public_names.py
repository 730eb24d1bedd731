"""Public names of classes, by which files call them, so that modules can move.

A public name is that of the package or of one of what it consists of, such as
markovbridge.PureDeath or markovbridge.networks.MLP.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
import types
from collections.abc import Mapping
from typing import Any

from markovbridge import doors

PACKAGE = __name__.split(".")[0]
# They run something, or name what others hold, and hold no parts.
HIDDEN = tuple(f"{PACKAGE}.{name}" for name in ("cli", "__main__", "recipes", "testing"))
# Where the classes of modules went that older files name.
MOVED = {
    "grids": "samplers",
    "masking": "samplers",
    "objectives": "transport",
    "schedules": "processes",
}
# Classes that those files call by shorter names, by where they are and what these end in today.
SHORTER = {
    (
        "heads",
        "Head",
    ): "Mean Categorical LogisticMixture NegativeBinomial TwoMeans Centred Endpoint",
    ("processes", "Schedule"): "Linear Cosine Logistic Survival Mirrored",
    ("processes", "Support"): "Interval Positive Rounded",
}

# Options that classes once had, with what to do where one says something.
GONE = {
    "EndpointHead": {"coupling": "give the coupling once, beside the head"},
    "HandOver": {"thetas": "give thetas to the Trapezoidal that is its `then`"},
}


@functools.cache
def namespaces() -> dict[str, types.ModuleType]:
    """The package and what it consists of, by name, all imported: where public names are."""
    package = sys.modules[PACKAGE]
    found = {PACKAGE: package}
    for entry in pkgutil.iter_modules(package.__path__, f"{PACKAGE}."):
        if not entry.name.startswith(HIDDEN):
            found[entry.name] = importlib.import_module(entry.name)
    return found


@functools.cache
def public() -> dict[str, type]:
    """The public classes of the package, by each of their public names."""
    return {
        f"{name}.{attribute}": value
        for name, module in namespaces().items()
        for attribute in module.__all__
        if inspect.isclass(value := getattr(module, attribute)) and ours(value)
    }


def name_of(cls: type) -> str:
    """The public name of a class, by which files call it; its own path if it has none."""
    named = [path for path, other in public().items() if other is cls]
    return min(named, key=len, default=f"{cls.__module__}.{cls.__qualname__}")


def renamed(config: Any) -> Any:
    """A configuration of an older version as it would be written today.

    Such files say in which module of a namespace a class was: what is
    markovbridge.processes.pure_death.PureDeath there is markovbridge.PureDeath.
    """
    if isinstance(config, (list, tuple)):
        return [renamed(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    found = {key: renamed(value) for key, value in config.items()}
    path = found.get("class_path")
    if isinstance(path, str) and (cls := public().get(today(path))) is not None:
        found["class_path"] = name_of(cls)
        if isinstance(options := found.get("init_args"), Mapping):
            found["init_args"] = remaining(cls, options)
    return _coupling_once(found)


def gone(owner: Any) -> dict[str, str]:
    """The options that a class once had, with what to do where one says something."""
    return GONE.get(owner.__name__, {}) if inspect.isclass(owner) and ours(owner) else {}


def remaining(owner: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a class without those that it once had, if these say nothing."""
    left = gone(owner)
    return {key: value for key, value in options.items() if key not in left or value}


def today(path: str) -> str:
    """The path of a class without the module that it was in below a namespace."""
    if not path.startswith(f"{PACKAGE}."):
        return path
    package, *inside, name = path.split(".")
    inside = [MOVED.get(place, place) for place in inside[:1]]
    for (space, end), names in SHORTER.items():
        if name in names.split() and inside in ([], [space]):
            name += end
    return ".".join([package, *inside, name])


def ours(cls: type) -> bool:
    """Whether a class is of this package."""
    return cls.__module__.split(".")[0] == PACKAGE


def _coupling_once(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration with the coupling beside the head, in which older ones had it."""
    head, coupling = config.get("head"), config.get("coupling")
    options = head.get("init_args") if isinstance(head, Mapping) else None
    if not isinstance(head, Mapping) or not isinstance(options, Mapping):
        return dict(config)
    once = "coupling" not in gone(public().get(today(str(head.get("class_path")))))
    own = options.get("coupling")
    if once or (coupling is not None and own != coupling):
        return dict(config)
    left = {key: value for key, value in options.items() if key != "coupling"}
    moved = {} if own is None else {"coupling": own}
    return {**config, **moved, "head": {**head, "init_args": left}}


doors.guard(__name__, inside=("gone", "namespaces", "ours", "remaining", "today"))
