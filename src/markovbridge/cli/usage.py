"""The help of a verb: its text, and its options with types, choices and defaults."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

import docstring_parser

from markovbridge.recipes.options import hints
from markovbridge.storage.config import short

INDENT = 30
WIDTH = 99


def render(owner: type, usage: str, defaults: dict[str, Any]) -> str:
    """The help of a verb.

    Args:
        owner: The class whose fields the options are.
        usage: The verb and its target.
        defaults: Values of the options as plain values.
    """
    about = said_of(owner)
    plain, parts, groups = [], [], []
    for option in _ordered(owner):
        hint, value = hints.annotation(owner, option), defaults.get(option)
        if hints.classes(hint):
            parts.append(_class(option, hint, about.get(option, ""), value))
        elif isinstance(value, dict) and hints.is_group(owner, option):
            groups.append((about.get(option, ""), _group(option, hint, value)))
        else:
            plain.append(_entry(f"--{option.rstrip('_')}", hint, about.get(option, ""), value))
    if plain or parts:
        plain.append(_item("--print_config", "Print the configuration as YAML and leave."))
    plain.append(_item("--help", "Print this and leave."))
    text = [f"usage: markovbridge {usage} [options]", _about(owner), *["options:"], *plain]
    if parts:
        text.append(
            "\nparts: a class each, by name; its own options follow with a dot, and\n"
            "--NAME.help CLASS lists them:"
        )
        text += parts
    for heading, entries in groups:
        text += [f"\n{heading}", *entries]
    return "\n".join(text)


def said_of(owner: type) -> dict[str, str]:
    """What the texts of a class and its bases say of each option; the nearest counts."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        for param in docstring_parser.parse(base.__doc__ or "").params:
            found[param.arg_name] = param.description or ""
    return found


def _ordered(owner: type) -> list[str]:
    """The options, those of the class itself before those of its bases."""
    names, found = hints.options(owner), []
    for base in owner.__mro__:
        own = vars(base).get("__annotations__", {})
        found += [name for name in own if name in names and name not in found]
    return [*found, *(name for name in names if name not in found)]


def _about(owner: type) -> str:
    documented = docstring_parser.parse(owner.__doc__ or "")
    paragraphs = [documented.short_description, documented.long_description]
    return "\n" + "\n\n".join(_wrap(p, 0) for p in paragraphs if p) + "\n"


def _wrap(text: str, indent: int) -> str:
    """Paragraphs filled to the width of the terminal; indented lines are left alone."""
    width = min(WIDTH, shutil.get_terminal_size().columns) - indent
    blocks = text.split("\n\n")
    return "\n\n".join(
        block if block.startswith(" ") else textwrap.fill(" ".join(block.split()), width)
        for block in blocks
    )


def _class(option: str, hint: Any, about: str, value: Any) -> str:
    known = ", ".join([*hints.texts(hint), *hints.classes(hint)])
    default = f" Default: {short(value)}." if value is not None else ""
    return _item(f"--{option} {hints.metavar(hint)}", f"{about} One of {known}.{default}")


def _group(option: str, cls: type, values: dict[str, Any]) -> list[str]:
    about = said_of(cls)
    return [
        _entry(f"--{option}.{name}", hints.annotation(cls, name), about.get(name, ""), value)
        for name, value in values.items()
    ]


def _entry(flag: str, hint: Any, about: str, value: Any) -> str:
    if hint is bool and value is False:  # which the flag alone makes true
        return _item(flag, about)
    default = "" if value is None else f" Default: {short(value)}."
    return _item(f"{flag} {hints.metavar(hint)}", f"{about}{default}")


def _item(left: str, right: str) -> str:
    """An option and what it does, side by side or, if it is long, below each other."""
    lines = _wrap(right, INDENT).splitlines()
    padding = " " * INDENT
    first = f"  {left}"
    if len(first) > INDENT - 2:
        return "\n".join([first, *[padding + line for line in lines]])
    return "\n".join([f"{first:<{INDENT}}{lines[0]}", *[padding + line for line in lines[1:]]])
