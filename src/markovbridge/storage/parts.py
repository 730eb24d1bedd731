"""What a file may name: the public classes of this package that models and recipes are made of.

`classes` lists them, found by looking at the package itself. A path in a file is looked up in
that list, and nothing is imported because a file names it. `checked` goes over a whole
configuration before anything is built of it, or given to who would import what it names:

    {"class_path": "markovbridge.PureDeath", "init_args": {"maximum": 16}}

At each place only the kind of class counts that is wanted there, which the annotation says:
`schedule: Schedule` takes a `Schedule`. All else that a file may hold are numbers, booleans,
None, lists and dictionaries of them, and texts where a text or a path is wanted.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import yaml
from torch import nn

from markovbridge import doors
from markovbridge.doors.checks import shown
from markovbridge.networks import Network
from markovbridge.storage.documents import PlainLoader
from markovbridge.storage.public_names import (
    PACKAGE,
    gone,
    name_of,
    ours,
    public,
    remaining,
    today,
)

SPEC = ("class_path", "init_args")
SIMPLE = (str, Path, int, float, bool, type(None), dict, Mapping)
WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


class ForeignClass(ValueError):
    """A class that is not of this package, named by a file.

    Attributes:
        place: Where, with dots between names.
        path: What is named.
    """

    def __init__(self, place: str, path: str) -> None:
        self.place, self.path = place, path
        super().__init__(
            f"{path} is not part of {PACKAGE}, and a file may not name other code to run: "
            "pass the object itself when loading"
        )


class Named(NamedTuple):
    """A class that the user, not a file, has named somewhere: its path, and what imports it.

    That gives None where it is one of this package, or does not exist. It is asked only where a
    class is wanted: a file of data may well be called `module.name`.
    """

    path: str
    load: Callable[[], Any]


@functools.cache
def classes() -> dict[str, type]:
    """The classes that a file may name, by each of their public paths.

    They are what the parts of a `Transport` are, data sources and samplers, what arguments of
    those are, and so on, with all that is derived of them.
    """
    every, roots = set(public().values()), set()
    news = {
        *(kind for hint in arguments(public()[f"{PACKAGE}.Transport"]).values()
          for kind in kinds(hint)),
        public()[f"{PACKAGE}.data.Source"],
        public()[f"{PACKAGE}.samplers.Sampler"],
    }  # fmt: skip
    while news:
        roots |= news
        below = {cls for cls in every if issubclass(cls, tuple(news))}
        wanted = (hint for cls in below for hint in arguments(cls).values())
        news = {kind for hint in wanted for kind in kinds(hint)} - roots
    return {path: cls for path, cls in public().items() if issubclass(cls, tuple(roots))}


def find(path: Any, wanted: tuple[type, ...] = (), place: str = "") -> type:
    """The class that a file names.

    Args:
        path: Its public path, such as markovbridge.PureDeath, or its name alone.
        wanted: What it must be derived of, one of these; anything if there are none.
        place: Where it is named.

    Raises:
        ForeignClass: If it is not of this package.
        ValueError: If it is no class that a file may name, or none of the kind that is wanted.
    """
    if not isinstance(path, str):
        raise ValueError(f"a class_path is the name of a class, not {shown(path)}")
    found = classes().get(today(path))
    if found is None and "." not in path:
        named = _named(wanted)
        if path not in named:
            raise ValueError(
                f"{shown(path)} is none of {', '.join(named)}{_close(path, named)}; a class of "
                "your own is given as module.Class, and not by a file"
            )
        found = named[path]
    if found is None:
        raise _unknown(path, place)
    if inspect.isabstract(found):
        raise ValueError(f"{path} is abstract; name one of {', '.join(_named((found,)))}")
    if wanted and not issubclass(found, wanted):
        raise ValueError(f"{path} does not correspond to a subclass of {_or(wanted)}")
    return found


def foreign(path: Any) -> bool:
    """Whether a text may be the path of a class that is not of this package."""
    return isinstance(path, str) and "." in path and path.split(".")[0] != PACKAGE


def kinds(hint: Any) -> tuple[type, ...]:
    """The classes of this package that an annotation wants; none if it wants plain values."""
    if hint is Callable or get_origin(hint) is Callable:
        returned = get_args(hint)[-1] if get_args(hint) else Any
        return (Network,) if returned is nn.Module else (Network, *_called())
    if get_args(hint) and get_origin(hint) is not Literal:
        return tuple(dict.fromkeys(k for member in get_args(hint) for k in kinds(member)))
    protocol = getattr(hint, "_is_protocol", False)
    return (hint,) if inspect.isclass(hint) and ours(hint) and not protocol else ()


def arguments(owner: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a class or function, by name, with their annotations."""
    names = inspect.signature(owner).parameters
    try:
        hints = get_type_hints(owner.__init__ if inspect.isclass(owner) else owner)
    except (NameError, TypeError, AttributeError):  # of somebody else's class
        hints = {}
    # Where nothing is said, jsonargparse builds whatever a value says: `object` takes no texts.
    return {name: hints.get(name, object) for name in names}


def checked(
    value: Any, hint: Any = Any, place: str = "", own: Mapping[str, Named] | None = None
) -> Any:
    """What a file holds at a place, if a file may hold it there.

    Args:
        value: The value, as `documents` reads it.
        hint: The annotation of the place; Any takes all that a file may hold.
        place: Names with dots between them, for messages.
        own: By place, what the user, not the file, has named there.

    Returns:
        The value, classes by a public path each.

    Raises:
        ForeignClass: If it names a class that is not of this package, nor the user's.
        ValueError: If it is anything else that may not be there, naming the place.
    """
    wanted = kinds(hint)
    if isinstance(value, (list, tuple)):
        return [checked(item, hint, place, own) for item in value]
    if isinstance(value, str) and value in _leaves(hint):
        return value  # a choice of a `Literal`, which names no class
    if isinstance(value, str) and wanted:
        value = {"class_path": value}
    if isinstance(value, dict) and "class_path" in value:
        return _spec(value, hint, wanted, place, own or {})
    if isinstance(value, dict) and wanted:
        return _implied(value, wanted, place, own or {})
    if isinstance(value, dict):
        if hint is not Any and not {dict, Mapping} & set(_leaves(hint)):
            raise ValueError(f"{place} is {shown(value)}; it must be {_words(hint)}")
        return {k: checked(v, Any, _below(place, k), own) for k, v in value.items()}
    if isinstance(value, str):
        return _text(value, hint, place)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"{_at(place)}a file cannot hold a {type(value).__name__}")


def options(
    value: Any, owner: Callable[..., Any], place: str, own: Mapping[str, Named]
) -> dict[str, Any]:
    """The options of a class or function that a file gives by name, each of them `checked`."""
    name, known = getattr(owner, "__name__", str(owner)), arguments(owner)
    if not isinstance(value, dict):
        raise ValueError(f"{_at(place)}the options of {name} are given by name: {shown(value)}")
    value = remaining(owner, value)
    for key in value:
        if key in gone(owner):
            raise ValueError(f"{name} has no option {_below(place, key)!r}: {gone(owner)[key]}")
        if key not in known:
            raise ValueError(
                f"there is no option {_below(place, key)!r}{_close(key, known)}; {name} has "
                f"{', '.join(known) or 'none'}"
            )
    found = {}
    for key, item in value.items():
        below = _below(place, key)
        chosen = below in own and bool(kinds(known[key]))
        if chosen and foreign(path := _path(item)) and path != own[below].path:
            continue  # the user names another class, so what the file says of it is not asked
        found[key] = checked(item, known[key], below, own)
    return found


def _path(value: Any) -> Any:
    return value.get("class_path") if isinstance(value, dict) else value


def _spec(
    value: dict[str, Any],
    hint: Any,
    wanted: tuple[type, ...],
    place: str,
    own: Mapping[str, Named],
) -> dict[str, Any]:
    """A class by its path, with its options."""
    path, inside = value["class_path"], value.get("init_args")
    if more := sorted(value.keys() - set(SPEC)):
        raise ValueError(f"{_at(place)}a class has class_path and init_args, not {more[0]!r}")
    if hint is not Any and not wanted:
        raise ValueError(f"{place} is {shown(path)}; it must be {_words(hint)}")
    theirs = own.get(place)
    cls = theirs.load() if theirs is not None and theirs.path == path else None
    if cls is None:
        try:
            cls = find(path, wanted, place)
        except ForeignClass:
            raise
        except ValueError as error:
            raise ValueError(f"{_at(place)}{error}") from error
        path = path if path in classes() else name_of(cls)
    found = {} if inside is None else options(inside, cls, place, own)
    return {"class_path": path, "init_args": found}


def _implied(
    value: dict[str, Any], wanted: tuple[type, ...], place: str, own: Mapping[str, Named]
) -> dict[str, Any]:
    """The options of a class that goes without saying."""
    only, *others = wanted
    if others or inspect.isabstract(only):
        raise ValueError(
            f"{_at(place)}no class is named: give class_path, and its options as init_args"
        )
    inside = value["init_args"] if value.keys() == {"init_args"} else value
    return options(inside, only, place, own)


def _text(value: str, hint: Any, place: str) -> Any:
    """A text where one is wanted, or the number that it says.

    Elsewhere it might be taken for the name of a class, such as `torch.Tensor`, and imported.
    """
    leaves = _leaves(hint)
    plain = all(leaf in SIMPLE or isinstance(leaf, str) for leaf in leaves)
    wanted = any(leaf in (str, Path) or isinstance(leaf, str) for leaf in leaves)
    if hint is Any or (plain and wanted):
        return value
    try:
        said = yaml.load(value, Loader=PlainLoader)
    except yaml.YAMLError:
        said = value
    if isinstance(said, (str, dict)):
        raise ValueError(f"{place} is {shown(value)}; it must be {_words(hint)}")
    return checked(said, hint, place)


def _leaves(hint: Any) -> list[Any]:
    """What an annotation consists of: classes, and the choices of a `Literal`."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    found = [leaf for member in get_args(hint) for leaf in _leaves(member) if member is not ...]
    if get_origin(hint) in (dict, Mapping):
        return [dict]
    return found or [hint]


def _words(hint: Any) -> str:
    """What is wanted, in words."""
    leaves = [leaf for leaf in _leaves(hint) if leaf is not type(None)]
    if choices := [leaf for leaf in leaves if isinstance(leaf, str)]:
        return f"one of {', '.join(choices)}"
    return WORDS.get(leaves[0], "numbers") if len(leaves) == 1 else "numbers"


def _named(wanted: tuple[type, ...]) -> dict[str, type]:
    """The classes of a kind, by name alone."""
    every = {cls for cls in classes().values() if issubclass(cls, wanted or (object,))}
    found = {cls.__name__: cls for cls in every if not inspect.isabstract(cls)}
    return dict(sorted(found.items()))


def _unknown(path: str, place: str) -> ValueError:
    """Why a path is no class that a file may name."""
    if foreign(path):
        return ForeignClass(place, path)
    module, _, name = path.rpartition(".")
    value = getattr(sys.modules.get(module), name, None)
    if inspect.isclass(value):
        if not ours(value):  # which a module of the package merely uses
            return ForeignClass(place, path)
        return ValueError(f"{path} is no part of a model, and a file may name no other class")
    if value is not None or path in sys.modules:
        return ValueError(f"{path} is not a class")
    near = _close(path, classes())
    return ValueError(f"{path} does not exist in this version of {PACKAGE}{near}")


@functools.cache
def _called() -> tuple[type, ...]:
    """The classes that are configured functions, such as the exact laws of the end."""

    def configured(cls: type) -> bool:
        """Whether it is rebuilt by its fields, or keeps the arguments of its constructor."""
        return is_dataclass(cls) or any(
            "config" in inspect.get_annotations(b) for b in cls.__mro__
        )

    every = dict.fromkeys(cls for cls in public().values() if configured(cls))
    return tuple(cls for cls in every if any("__call__" in vars(base) for base in cls.__mro__))


def _close(name: str, among: Any) -> str:
    found = difflib.get_close_matches(name, list(among), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _or(wanted: tuple[type, ...]) -> str:
    return " or ".join(cls.__name__ for cls in wanted[:4])


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _at(place: str) -> str:
    return f"{place}: " if place else ""


doors.guard(__name__)
