"""Wrong options, in one sentence that says what would be right.

jsonargparse says that an option is wrong in several lines, which differ from one version of it
to the next. `explain` looks for what is wrong itself, in what was given and by the annotations of
the classes named, so that it knows which option is meant, what it may be, and which names are
close to the one that was given. What it does not find is told in the words of jsonargparse.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from markovbridge.recipes.options import hints
from markovbridge.recipes.options.words import pairs, strays
from markovbridge.storage.documents import PlainLoader
from markovbridge.storage.errors import closest
from markovbridge.storage.parts import foreign
from markovbridge.storage.public_names import gone

FRAME = re.compile(  # lines of jsonargparse that say where it was, and what else it may be
    r"\s*((- )?(Parser key|Problem with given|Does not validate|Subtypes|Errors|Given value)"
    r"|- Expected a (<class 'NoneType'>|typing.Literal))"
)
KEY = re.compile(r'\s*Parser key "([^"]+)"')
LONG = 1000  # characters of a message
INSIDE = ("init_args", "class_path")  # between the name of an option and that of its own


def explain(message: str, words: Sequence[str], values: Mapping[str, Any], owner: type) -> str:
    """What is wrong with options, in one sentence.

    Args:
        message: What jsonargparse says.
        words: Options as they were written, names spelled as fields.
        values: Options that a file, or a default, gives, as plain values.
        owner: The class whose fields the options are.

    Returns:
        The sentence; of a value longer than a sentence, its beginning and its end.
    """
    wrong = _in_words(words, values, owner)
    if wrong is None:
        wrong = _inside({name: value for name, value in values.items()}, owner, "")
    if wrong is None:
        wrong = reason(message.splitlines())
    return wrong if len(wrong) <= LONG else f"{wrong[: LONG // 2]} ... {wrong[-LONG // 2 :]}"


def reason(lines: Sequence[str]) -> str:
    """What jsonargparse says is wrong, without the lines that say where and what else may be."""
    said = " ".join(line.strip(" -") for line in lines if not FRAME.match(line))
    keys = [found[1] for line in lines if (found := KEY.match(line))]
    return f"{'.'.join(keys)}: {said}" if keys[1:] else said


def missing(values: Mapping[str, Any], owner: type) -> str | None:
    """The sentence that names required options that are missing; None if none is."""
    names = [o for o in hints.options(owner) if hints.required(owner, o) and not values.get(o)]
    return f"{', '.join(names)} must be given, in the recipe or as an option" if names else None


def _in_words(words: Sequence[str], values: Mapping[str, Any], owner: type) -> str | None:
    """What is wrong with the first wrong word."""
    for word in strays(words):
        return f"{word!r} is one word too many; options are given as --name value"
    given = dict(pairs(words))
    for name, value in given.items():
        if name in ("help", "print_config") or name.endswith(".help"):
            continue
        if wrong := _wrong_word(name, value, given, values, owner):
            return wrong
        if value is None:
            return f"--{name.rstrip('_')} is given without a value"
    return None


def _wrong_word(
    name: str,
    value: str | None,
    given: Mapping[str, str | None],
    values: Mapping[str, Any],
    owner: type,
) -> str | None:
    """What is wrong with an option of the command line, or None."""
    keys = [key for key in name.split(".") if key not in INSIDE]
    holder: Any = owner
    node: Any = values
    for depth, key in enumerate(keys):
        if key not in hints.options(holder):
            if holder is owner or hints.is_group(owner, keys[0]):
                return f"there is no option --{name}{closest(name, hints.flags(owner))}"
            return unknown(".".join(keys[: depth + 1]), key, holder)
        hint, place = hints.annotation(holder, key), ".".join(keys[: depth + 1])
        if depth + 1 == len(keys):
            return _wrong(_said(value), hint, place)
        if get_origin(hint) in (dict, Mapping):
            return None
        node = _below(node, key)
        if hints.is_group(holder, key):
            holder = hint
            continue
        named = given.get(place) or given.get(f"{place}.class_path") or _path(node)
        holder = _class(named, hint)
        if holder is None:  # no class, or one that is not known here
            return None
    return None


def _inside(config: Mapping[str, Any], owner: Any, place: str) -> str | None:
    """What is wrong with options that are given by name, or None."""
    for key, value in config.items():
        below = f"{place}.{key}" if place else key
        if key in hints.CALLED_WITH and value == hints.default(owner, key):  # by the parser
            continue
        if key not in hints.options(owner):
            return unknown(below, key, owner)
        if wrong := _wrong(value, hints.annotation(owner, key), below, hints.default(owner, key)):
            return wrong
    return None


def unknown(place: str, name: str, owner: Any) -> str:
    """That a class has no option of a name, and those it has."""
    if remedy := gone(owner).get(name):
        return f"{owner.__name__} has no option {place!r}: {remedy}"
    known = hints.options(owner)
    return (
        f"there is no option {place!r}{closest(name, known)}; {owner.__name__} has "
        f"{', '.join(known) or 'none'}"
    )


def _wrong(value: Any, hint: Any, place: str, usual: Any = None) -> str | None:
    """What is wrong with a plain value, or None if nothing is, or it is not known."""
    if value is None or value == usual:
        return None
    if hints.base(hint) is not None:
        return _wrong_class(value, hint, place)
    if isinstance(value, Mapping) and is_dataclass(hint):
        return _inside(value, hint, place)
    if _fits(value, hint):
        return None
    return f"{place} is {_shown(value)}; it must be {hints.describe(hint, place)}"


def _wrong_class(value: Any, hint: Any, place: str) -> str | None:
    """What is wrong with the class that an option is, or None."""
    path, known = _path(value), hints.classes(hint)
    if path in (said := hints.texts(hint)):
        return None
    if not isinstance(path, str):
        if isinstance(value, Mapping):  # options of a class that goes without saying
            return None
        return f"{place} is {_shown(value)}; it must be {hints.describe(hint, place)}"
    if foreign(path):
        return _wrong_own(path, hint, place)
    cls = _class(path, hint)
    if cls is None and "." not in path:
        return (
            f"{place} is {path!r}, which is none of {', '.join([*said, *known])}"
            f"{closest(path, [*said, *known])}; a class of your own is given as module.Class"
        )
    inside = value.get("init_args") if isinstance(value, Mapping) else None
    return _inside(inside, cls, place) if cls and isinstance(inside, Mapping) else None


def _wrong_own(path: str, hint: Any, place: str) -> str | None:
    """What is wrong with a class of the user's own, which no file has named, or None."""
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return f"{place}: {error}"
    wanted = hints.base(hint)
    if get_origin(hint) is None and wanted is not None:
        if not (inspect.isclass(cls) and issubclass(cls, wanted)):
            return f"{place}: {path} does not correspond to a subclass of {wanted.__name__}"
    return None if callable(cls) else f"{place} is {path!r}, which is no class"


def _class(path: str | None, hint: Any) -> Any:
    """The class of this package that a path or name means, of the kind of an option; or None."""
    if path is None:
        return None
    wanted, name = hints.base(hint), str(path).rpartition(".")[2]
    if wanted is None:
        return None
    known = hints.classes(hint)
    if name in known:
        return known[name]
    left = list(wanted.__subclasses__())
    while left:  # one that is not offered may be named all the same
        cls = left.pop()
        if cls.__name__ == name and not foreign(cls.__module__):
            return cls
        left += cls.__subclasses__()
    return None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may be what an annotation asks for, where that is simple."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (str, Path):
        return not isinstance(value, dict | list)
    if get_origin(hint) in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def _said(value: str | None) -> Any:
    """What a word says as YAML; the word itself if it says nothing."""
    try:
        return value if value is None else yaml.load(value, Loader=PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return value


def _shown(value: Any) -> str:
    return repr(value if isinstance(value, str) else str(value))


def _below(node: Any, key: str) -> Any:
    """The value of an option in a tree of plain values."""
    inside = node.get("init_args", node) if isinstance(node, Mapping) else None
    return inside.get(key) if isinstance(inside, Mapping) else None


def _path(node: Any) -> Any:
    return node.get("class_path") if isinstance(node, Mapping) else node


def classless(words: Sequence[str], values: Mapping[str, Any], owner: type) -> str | None:
    """What is wrong with the first option of a class where no class is named; None if nothing.

    Args:
        words: Options as they were written, names spelled as fields.
        values: What options are without them.
        owner: The class whose fields the options are.
    """
    given = {name: value or "" for name, value in pairs(words)}
    for name, value in given.items():
        keys, holder, node = name.split("."), owner, values
        for depth, key in enumerate(keys[:-1], 1):
            path, hint = ".".join(keys[:depth]), hints.annotation(holder, key)
            known, said = hints.classes(hint), hints.texts(hint)
            node = _below(node, key)
            named = given.get(path) or given.get(f"{path}.class_path") or _path(node)
            usual = None if named else hints.default(holder, key)
            if known and (named in said or (not named and (usual is None or usual in said))):
                return _classless(name, value, path, keys[depth], known)
            holder = known.get(str(named).rpartition(".")[2])
            if holder is None:  # no class, or one that is not known here
                break
    return None


def _classless(name: str, value: str, path: str, option: str, known: dict[str, type]) -> str:
    """That an option is that of a class, and what to write."""
    having = [cls for cls, type_ in known.items() if option in hints.options(type_)]
    if not having:
        every = {other for type_ in known.values() for other in hints.options(type_)}
        return f"there is no option --{name}{closest(option, every)}; --{path} names no class"
    others = f" ({', '.join(having)} have one)" if having[1:] else ""
    return (
        f"--{name} is an option of a class, and --{path} names none: write, for example, "
        f"--{path} {having[0]} --{name} {value}".rstrip()
        + others
    )
