"""A recipe of a name, a file, a run folder or a table of counts, with options that override it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markovbridge.data import CountTable
from markovbridge.data.tables.registry import is_table
from markovbridge.recipes.files import find
from markovbridge.recipes.options.parser import Options, parse
from markovbridge.recipes.options.words import of_mapping, pairs, spelled
from markovbridge.recipes.recipe import Recipe
from markovbridge.storage.errors import UsageError
from markovbridge.training.replacing import recover
from markovbridge.training.run_folder import RunFolder

# Options of the command line alone, which no recipe may hold.
OWN = ("recipe", "output", "resume", "overwrite", "dry_run", "from_")


@dataclass(frozen=True)
class Found:
    """Where a recipe is.

    Attributes:
        name: What was asked for.
        file: The YAML file.
        table: Options that name the table of counts that was asked for; none for others.
    """

    name: str
    file: Path
    table: tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        """The run folder, unless told otherwise."""
        if self.table:
            return Path("runs") / Path(self.name).name.split(".")[0]
        return self.file.parent if Path(self.name).is_dir() else Path("runs") / self.file.stem

    def read(
        self,
        owner: type,
        words: Sequence[str],
        before: Callable[[dict[str, Any]], None] | None = None,
    ) -> Options:
        """The recipe's options, with others in words that override them; see `parse`."""
        words = spelled(words, owner)
        if self.table:
            words = [*self.table, *_told(words), *words]
        return parse(owner, words, own=OWN, recipe=self.file, before=before)

    def recipe(self, words: Sequence[str] = ()) -> Recipe:
        """The recipe as an object."""
        return Recipe(**self.read(Recipe, words).build())


def locate(name: str | Path, *, alone: bool = True) -> Found:
    """Find a recipe.

    Args:
        name: Name of a recipe of this package, a YAML file, a run folder, whose own configuration
            it then is, or a table of counts, for the recipe `table`.
        alone: Whether this process may finish what one that was killed began with a run folder.

    Raises:
        UsageError: If there is none.
        ValueError: If the configuration of the run is damaged.
    """
    name = str(name)
    if alone:
        recover(Path(name).expanduser())
    try:
        table = _table(name)
        file = find("table" if table else name)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    if Path(name).is_dir() and not table:
        RunFolder(file.parent).configuration()  # says what to do if it is damaged
    return Found(name, file, table)


def load(name: str | Path, options: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe as an object.

    Args:
        name: As of `locate`.
        options: Options that replace those of the recipe, by name, as plain values:
            {"network.width": 8, "head": "MeanHead"}.

    Raises:
        UsageError: If there is no such recipe or option, or it cannot be what was given.
        ValueError: If a class refuses its options.
    """
    return locate(name).recipe(words_of(options or {}))


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Options by name as words of a command line."""
    return of_mapping(options, lambda v: v if isinstance(v, str) else json.dumps(v, default=str))


def _table(name: str) -> tuple[str, ...]:
    """The options for a table of counts of this name; none if it is no such path.

    Raises:
        FileNotFoundError: If it is called like a table, but there is none.
    """
    path = Path(name).expanduser()
    if not is_table(path):
        return ()
    return "--data.path", str(CountTable(path).where().resolve())


def _told(words: Sequence[str]) -> list[str]:
    """That the network is told covariates, if any are named and nothing else is said."""
    named = {name for name, _ in pairs(words)}
    said = "data.covariates" in named and "condition" not in named
    return ["--condition", "covariates"] if said else []
