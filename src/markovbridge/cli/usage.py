"""The help of a verb: its docstring, and its options with types, choices and defaults."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from typing import Any

import docstring_parser

from markovbridge.cli import hints

__all__ = ["render", "short"]

INDENT = 30
WIDTH = 99


def render(function: Callable[..., Any], usage: str, defaults: dict[str, Any]) -> str:
    """The help of a verb.

    Args:
        function: The verb's function.
        usage: The verb and its target.
        defaults: Values of the options as plain values.
    """
    documented = docstring_parser.parse(function.__doc__ or "")
    about = {param.arg_name: param.description or "" for param in documented.params}
    plain, parts, groups = [], [], []
    for option in hints.options(function):
        hint, value = hints.annotation(function, option), defaults.get(option)
        if hints.classes(hint):
            parts.append(_class(option, hint, about.get(option, ""), value))
        elif isinstance(value, dict) and isinstance(hint, type):  # a dataclass of options
            groups.append((about.get(option, ""), _group(option, hint, value)))
        else:
            plain.append(_entry(f"--{option}", hint, about.get(option, ""), value))
    if plain or parts:
        plain.append(_item("--print_config", "Print the configuration as YAML and leave."))
    plain.append(_item("--help", "Print this and leave."))
    text = [f"usage: markovbridge {usage} [options]", _about(documented), *["options:"], *plain]
    if parts:
        text.append(
            "\nparts: a class each, by name; its own options follow with a dot, and\n"
            "--NAME.help CLASS lists them:"
        )
        text += parts
    for heading, entries in groups:
        text += [f"\n{heading}", *entries]
    return "\n".join(text)


def _about(documented: docstring_parser.Docstring) -> str:
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
    known = ", ".join(hints.classes(hint))
    default = f" Default: {short(value)}." if value is not None else ""
    return _item(f"--{option} CLASS", f"{about} One of {known}.{default}")


def _group(option: str, cls: type, values: dict[str, Any]) -> list[str]:
    attributes = docstring_parser.parse(cls.__doc__ or "").params
    about = {param.arg_name: param.description or "" for param in attributes}
    return [
        _entry(f"--{option}.{name}", hints.annotation(cls, name), about.get(name, ""), value)
        for name, value in values.items()
    ]


def _entry(flag: str, hint: Any, about: str, value: Any) -> str:
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


def short(value: Any) -> str:
    """A plain value as one would say it: Mean(kernel=poisson, bounded=false)."""
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
