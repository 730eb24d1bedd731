"""Wrong options, in one sentence that says what would be right.

jsonargparse says where an option is wrong in several lines, from the outside in:

    Parser key "process":
      Problem with given class_path 'markovbridge.PureDeath':
        Parser key "schedule":
          Expected a dot import path string: Linea

`explain` walks the same way over the annotations of the verb's function and of
the classes named, so that it knows which option is meant, what it may be, and
which names are close to the one that was given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from markovbridge.cli import hints

__all__ = ["MISSING", "UsageError", "classless", "closest", "explain"]

STEP = re.compile(
    r"""Parser\ key\ "(?P<key>[\w.]+)" | class_path[=\ ]'(?P<cls>[\w.]+)'""", re.VERBOSE
)
UNKNOWN = re.compile(r"(?:Option '(\w+)' is not accepted|does not accept option '(\w+)')")
GROUP = re.compile(r"Group '([\w.]+)' does not accept")
UNRECOGNISED = re.compile(r"unrecognized arguments: (\S+)")
MISSING = re.compile(r"the following arguments are required: (.+)")
NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
WRONG = re.compile(r"Expected a ")
NESTED = re.compile(r"NestedArg\(key='[^']*', val=(.*)\)")
CALLABLE = re.compile(r"expects a function or a callable class: (.*)\. Got value: (.*)", re.DOTALL)
FRAME = re.compile(
    r"\s*(Parser key|Problem with given|Does not validate|Subtypes|Errors|Given value"
    r"|- Expected a <class 'NoneType'>)"
)
LONG = 1000  # characters of a message
VALUE = re.compile(r"(?:Got|Given) value: (.*)", re.DOTALL)


class UsageError(Exception):
    """An option, verb or recipe that does not exist or cannot be what was given."""


def closest(name: str, among: Iterable[str]) -> str:
    """A question such as ", did you mean 'digits'?", or nothing if no name is close."""
    found = difflib.get_close_matches(name, list(among), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def explain(message: str, function: Callable[..., Any]) -> str:
    """What jsonargparse complains of, in one sentence.

    Args:
        message: Its message.
        function: The verb's function, whose signature the options are.

    Returns:
        The sentence; of a value longer than a sentence, its beginning and its end.
    """
    sentence = _explained(message, function)
    if len(sentence) <= LONG:
        return sentence
    return f"{sentence[: LONG // 2]} ... {sentence[-LONG // 2 :]}"


def _explained(message: str, function: Callable[..., Any]) -> str:
    if found := UNRECOGNISED.search(message):
        return _unrecognised(found[1], function)
    if found := MISSING.search(message):
        return f"{found[1]} must be given, in the recipe or as an option"
    keys, owner = _place(message, function)
    if found := GROUP.search(message):
        keys, owner = [found[1]], hints.annotation(function, found[1])
    if found := UNKNOWN.search(message):
        name = found[1] or found[2]
        known = hints.options(owner)
        return (
            f"there is no option {'.'.join([*keys, name])!r}{closest(name, known)}; "
            f"{hints.name(owner)} has {', '.join(known) or 'none'}"
        )
    where = ".".join(keys)
    if found := NO_CLASS.search(message):
        known = hints.classes(hints.annotation(owner, keys[-1]))
        return (
            f"{where} is {found[1]!r}, which is none of {', '.join(known)}"
            f"{closest(found[1], known)}; a class of your own is given as module.Class"
        )
    if found := CALLABLE.search(message):
        return f"{where} is {found[2]!r}: {found[1].rstrip('.')}"
    if WRONG.search(message) and (found := VALUE.search(message)):
        value = NESTED.sub(r"\1", found[1].split("\n")[0].strip()).strip("'")
        return f"{where} is {value!r}; it must be {hints.describe(owner, keys[-1])}"
    rest = [line.strip(" -") for line in message.splitlines() if not FRAME.match(line)]
    return " ".join([f"{where}:", *rest] if where else rest)


def classless(
    words: list[str], values: dict[str, Any], function: Callable[..., Any]
) -> str | None:
    """What is wrong with the first option of a class where no class is named; None if nothing.

    Args:
        words: Options as they were given.
        values: What options are without them.
        function: The verb's function.
    """
    given: dict[str, str] = {}
    for word, following in zip(words, [*words, ""][1:], strict=True):
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            given[name] = value if equals else following
    for name, value in given.items():
        keys, owner, node = name.split("."), function, {"init_args": values}
        for depth, key in enumerate(keys[:-1], 1):
            path, known = ".".join(keys[:depth]), hints.classes(hints.annotation(owner, key))
            node = (node.get("init_args") or {}).get(key) if isinstance(node, dict) else None
            there = node.get("class_path") if isinstance(node, dict) else node
            named = given.get(path) or given.get(f"{path}.class_path") or there
            if known and named is None and hints.default(owner, key) is None:
                return _classless(name, value, path, keys[depth], known)
            owner = known.get(str(named).rpartition(".")[2])
            if owner is None:  # no class, or one that is not known here
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


def _unrecognised(word: str, function: Callable[..., Any]) -> str:
    if not word.startswith("-"):
        return f"{word!r} is one word too many; options are given as --name value"
    name = word.lstrip("-").split("=")[0]
    return f"there is no option --{name}{closest(name, hints.flags(function))}"


def _place(message: str, function: Callable[..., Any]) -> tuple[list[str], Any]:
    """The keys that lead to the wrong option, and what owns the last of them."""
    keys: list[str] = []
    owner: Any = function
    for step in STEP.finditer(message):
        if step["key"]:
            *groups, key = step["key"].split(".")
            for group in groups:  # a dataclass whose fields are options themselves
                keys.append(group)
                owner = hints.annotation(owner, group)
            if keys[-1:] != [key]:
                keys.append(key)
        else:
            try:
                owner = hints.load(step["cls"])
            except AttributeError:  # which is what is complained of
                break
    return keys, owner
