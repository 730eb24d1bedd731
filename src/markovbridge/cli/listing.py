"""`markovbridge recipes` and `markovbridge data`: what there is."""

from __future__ import annotations

from markovbridge import recipes as known
from markovbridge.cli import console
from markovbridge.cli.errors import UsageError

__all__ = ["data_main", "recipes_main"]

RECIPES = """\
usage: markovbridge recipes [NAME]

List the recipes, or print one: a YAML file to copy and to change, which
`markovbridge train FILE` takes as it takes a name."""

DATA = """\
usage: markovbridge data

List the data sets that are known, where they are on this machine, and what
brings the others. Nothing is ever downloaded."""


def recipes_main(words: list[str]) -> None:
    """List the recipes, or print one."""
    if {"-h", "--help"} & set(words):
        console.say(RECIPES)
    elif not words:
        console.say(console.table([(name, known.describe(name)) for name in known.names()]))
        console.say("\n`markovbridge recipes NAME` prints one, `markovbridge train NAME` runs it")
    elif len(words) == 1:
        try:
            console.say(known.find(words[0]).read_text(encoding="utf-8").rstrip())
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error
    else:
        raise UsageError("recipes takes one name: markovbridge recipes NAME")


def data_main(words: list[str]) -> None:
    """List the data sets."""
    if {"-h", "--help"} & set(words):
        console.say(DATA)
        return
    if words:
        raise UsageError(f"data takes no options, but was given {words[0]!r}")
    from markovbridge.data import available

    for entry in available():
        state = "here" if entry.present else "not here"
        console.say(f"{entry.name}: {state}; {entry.content}")
        if entry.path is not None:
            console.say(f"    {entry.path}")
        if entry.remedy:
            console.say(f"    to get it, {entry.remedy}")
