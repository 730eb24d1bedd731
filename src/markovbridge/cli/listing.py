"""`markovbridge recipes` and `markovbridge data`: what there is. Neither needs torch."""

from __future__ import annotations

from dataclasses import dataclass

from markovbridge import recipes
from markovbridge.cli import console
from markovbridge.data.catalogue import CATALOGUE
from markovbridge.storage.errors import UsageError


@dataclass(frozen=True)
class Recipes:
    """List the recipes, or print one.

    Attributes:
        name: The one to print. Without it, all are listed.
    """

    name: str | None = None

    def run(self) -> None:
        """Print it, or the list."""
        if self.name is None:
            rows = [(name, recipes.describe(name)) for name in recipes.names()]
            console.say(console.table(rows))
            console.say(
                "\n`markovbridge recipes NAME` prints one, `markovbridge train NAME` runs it"
            )
            return
        try:
            console.say(recipes.find(self.name).read_text(encoding="utf-8").rstrip())
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error

    @classmethod
    def main(cls, words: list[str]) -> None:
        """Do what the words behind the verb ask for."""
        if {"-h", "--help"} & set(words):
            console.say(HELP["recipes"])
        elif len(words) > 1:
            raise UsageError("recipes takes one name: markovbridge recipes NAME")
        else:
            cls(*words).run()


@dataclass(frozen=True)
class Data:
    """List the data sets that are known, where they are, and what brings the others."""

    def run(self) -> None:
        """Print the list."""
        for entry in CATALOGUE:
            present, path, remedy = entry.look()
            console.say(f"{entry.name}: {'here' if present else 'not here'}; {entry.content}")
            if path is not None:
                console.say(f"    {path}")
            if remedy:
                console.say(f"    to get it, {remedy}")

    @classmethod
    def main(cls, words: list[str]) -> None:
        """Do what the words behind the verb ask for."""
        if {"-h", "--help"} & set(words):
            console.say(HELP["data"])
        elif words:
            raise UsageError(f"data takes no options, but was given {words[0]!r}")
        else:
            cls().run()


HELP = {
    "recipes": """\
usage: markovbridge recipes [NAME]

List the recipes, or print one: a YAML file to copy and to change, which
`markovbridge train FILE` takes as it takes a name.""",
    "data": """\
usage: markovbridge data

List the data sets that are known, where they are on this machine, and what
brings the others. Nothing is ever downloaded.""",
}
