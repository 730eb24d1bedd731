"""A recipe of a name, a file, a run folder or a table of counts, with options that override it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markovbridge.data import CountTable
from markovbridge.data.tables.registry import format_named, is_table, known_elsewhere
from markovbridge.recipes.files import find
from markovbridge.recipes.options.parser import ParsedOptions, parse
from markovbridge.recipes.options.words import of_mapping, pairs, spelled
from markovbridge.recipes.recipe import Recipe
from markovbridge.storage.documents import read_yaml
from markovbridge.storage.errors import UsageError
from markovbridge.storage.older import class_of, lacking
from markovbridge.storage.public_names import renamed
from markovbridge.training.config import WARMUP, is_cut, share_of
from markovbridge.training.replacing import recover
from markovbridge.training.run_folder import RunFolder

# Options of the command line alone, which no recipe may hold.
OWN = ("recipe", "output", "resume", "overwrite", "dry_run", "from_")


@dataclass(frozen=True)
class FoundRecipe:
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
        return self.file.parent if self._is_run else Path("runs") / self.file.stem

    def read(
        self,
        owner: type,
        words: Sequence[str],
        before: Callable[[dict[str, Any]], None] | None = None,
        *,
        output: Path | None = None,
        resume: bool = False,
    ) -> ParsedOptions:
        """The recipe's options, with others in words that override them; see `parse`.

        Args:
            owner: What has the options.
            words: Options that override those of the recipe.
            before: As of `parse`.
            output: The run folder, if it is not among the words.
            resume: Whether the run in it is continued, likewise.
        """
        words = spelled(words, owner)
        asked = dict(pairs(words))
        folder = Path(asked.get("output") or output or self.output).expanduser()
        again = resume or asked.get("resume", "false") != "false"
        words = [*self._warmed(asked, RunFolder(folder), again), *words]
        words = [*self._before(asked, RunFolder(folder), again), *words]
        if self.table:
            words = [*self.table, *_told(words), *words]
        return parse(owner, words, own=OWN, recipe=self.file, before=before)

    def _warmed(self, asked: Mapping[str, Any], run: RunFolder, again: bool) -> list[str]:
        """The option of the warm-up, where the number of steps is given and the warm-up is not.

        It is that of the recipe, or a tenth of the steps if that is less. A run that is continued
        keeps its own.
        """
        steps = asked.get("trainer.steps") or ""
        if not steps.isdecimal() or "trainer.warmup" in asked:
            return []
        again = again and run.config.is_file()
        usual = _warmup(run.config if again else self.file, anew=not again and self._is_run)
        return ["--trainer.warmup", str(usual if again else share_of(int(steps), usual))]

    def _before(self, asked: Mapping[str, Any], run: RunFolder, again: bool) -> list[str]:
        """What a run is too old to name, as options: no base law, and arguments that came later.

        Of a part that is asked for, or is of another class in the recipe, nothing is said.
        """
        file = run.config if again and run.config.is_file() else self.file
        if not (file == run.config or self._is_run):
            return []
        try:
            old, now = renamed(read_yaml(file)), renamed(read_yaml(self.file))
        except (OSError, ValueError):  # for which there is a better place
            return []
        found: dict[str, Any] = {} if "base" in old or "base" in asked else {"base": None}
        for part in ("network", "base"):
            if part not in asked and class_of(now.get(part)) is class_of(old.get(part)):
                found |= {f"{part}.{key}": value for key, value in lacking(old.get(part)).items()}
        return words_of(found)

    @property
    def _is_run(self) -> bool:
        """Whether it is the configuration of a run folder."""
        return not self.table and Path(self.name).is_dir()

    def recipe(self, words: Sequence[str] = ()) -> Recipe:
        """The recipe as an object."""
        return Recipe(**self.read(Recipe, words).build())


def locate(name: str | Path, *, alone: bool = True) -> FoundRecipe:
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
    return FoundRecipe(name, file, table)


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
    if known_elsewhere(path):
        format_named(path)  # which says what to do with it
    if not is_table(path):
        return ()
    return "--data.path", str(CountTable(path).where().resolve())


def _warmup(file: Path, *, anew: bool) -> int:
    """The steps of warm-up that a recipe names; the usual ones if it names none, or wrong ones.

    Args:
        file: The recipe.
        anew: Whether it is the configuration of a run that is trained anew, whose warm-up may
            have been cut for the steps that it had.
    """
    try:
        trainer = read_yaml(file).get("trainer")
    except (OSError, ValueError):  # for which there is a better place
        return WARMUP
    told = trainer if isinstance(trainer, dict) else {}
    found, steps = told.get("warmup"), told.get("steps")
    if not isinstance(found, int) or found < 0:
        return WARMUP
    return WARMUP if anew and isinstance(steps, int) and is_cut(found, steps) else found


def _told(words: Sequence[str]) -> list[str]:
    """The option `--condition covariates`, if covariates are named and no condition is."""
    named = {name for name, _ in pairs(words)}
    said = "data.covariates" in named and "condition" not in named
    return ["--condition", "covariates"] if said else []
