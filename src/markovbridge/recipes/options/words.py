"""Words of a command line as names and values.

    --trainer.steps 500 --head.kernel=stochastic --resume --dry-run

An option that is true or false may stand alone, which says that it is true, and names may be
written with `-` for `_`. A field that would be a word of Python, `from_`, is written `--from`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markovbridge.recipes.options import hints

BARE = ("help", "print_config")  # options that take no value


def spelled(words: Sequence[str], owner: type) -> list[str]:
    """Words with names as their fields are called, and a value behind every option.

    Args:
        words: What was written.
        owner: The class whose fields the options are.
    """
    found, known = [], {*hints.options(owner), *BARE}
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if not word.startswith("--"):
            found.append(word)
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        first, *rest = name.split(".")
        if not rest and f"{first}_" in known:
            name = first = f"{first}_"
        if first.replace("-", "_") in known and not hints.is_named(owner, first):
            name = ".".join(part.replace("-", "_") for part in (first, *rest))
        found.append(f"--{name}{equals}{value}")
        alone = not equals and (not following or following.startswith("--"))
        if alone and hints.is_flag(owner, name):
            found.append("true")
    return found


def pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Names and values of the options, in order; the value is None if there is none."""
    for word, following in zip(words, [*words, None][1:], strict=True):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            behind = None if following is None or following.startswith("--") else following
            yield name, value if equals else behind


def strays(words: Sequence[str]) -> Iterator[str]:
    """Words that are neither an option nor the value of one."""
    taken = False
    for word in words:
        if word.startswith("--"):
            name, equals, _ = word.removeprefix("--").partition("=")
            taken = not equals and name not in BARE
        elif taken:
            taken = False
        else:
            yield word


def of_mapping(options: Mapping[str, Any], write: Any) -> list[str]:
    """The words that say the same as options by name: {"trainer.steps": 500}.

    Args:
        options: The options.
        write: Turns a plain value into a text of one line.
    """
    return [f"--{name}={write(value)}" for name, value in options.items()]
