"""Where a verb that draws puts its results: into the run folder, or where `--output` says.

    (nothing)                RUN/samples.npz       RUN/samples.png       RUN/path.npz
    --output threes          threes/samples.npz    threes/samples.png    threes/path.npz
    --output threes.npz      threes.npz            threes.png            threes-path.npz
    --output threes.h5ad     the same, where the table of the run is written as .h5ad

What is not of the program is not replaced; what is, is replaced whole, and that is said. Arrays
and evaluations say themselves what they are; a picture or a table is of the program if NAME.npz
is. What the results before had beside them, and the new ones have not, is deleted with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markovbridge.cli import console
from markovbridge.cli.tables import suffix_of
from markovbridge.data.covariates import described
from markovbridge.data.tables.registry import SUFFIXES, ZIPPED
from markovbridge.storage.documents import load_json, parse_json
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import discard, make_folder
from markovbridge.storage.reading import array_file
from markovbridge.training.replacing import BESIDE, TABLE, is_run, table_name
from markovbridge.training.run_folder import RunFolder

NAMES = ("samples", "translated", "restored", "imputed")
ARRAYS = ".npz"
ENDS = (*(f"{suffix}.gz" for suffix in ZIPPED), *SUFFIXES)  # of tables
OTHER = (".npy", ".png", ".json", ".html", ".yaml", ".yml", ".txt", ".zip", ".pt", ".safetensors")


EXTRA = {"restored": "thinned", "imputed": "observed"}
# What text tables of results are called behind the name of the table, by what is made.
LAYERS = {part: rf"({extra}|{part}_(mean|low|high))" for part, extra in EXTRA.items()}
THINNED = re.compile(rf"_thinned(\.{TABLE}|_{BESIDE})$")


@dataclass(frozen=True)
class Results:
    """Where results are put.

    Attributes:
        folder: The folder.
        name: What their files begin with.
        made: What they are, such as "samples".
        stem: What text tables of them begin with; None for the usual results of a run, in its
            folder, where nobody else writes what is called so.
        there: Files that were there before.
        before: How those results were made that were there before, if there were any.
        event: The shape of each of them.
    """

    folder: RunFolder
    name: str
    made: str
    stem: str | None
    there: frozenset[Path]
    before: dict[str, Any]
    event: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """Whether they have their usual name."""
        return self.name in NAMES

    @property
    def path(self) -> str:
        """The name of the paths of the first samples."""
        return figures_of(self.name, "path")

    def wrote(self, files: Sequence[Path], made: str, meta: dict[str, Any]) -> None:
        """Say what was written and what that has replaced, of which nothing is left.

        Args:
            files: The files.
            made: What is in them, such as "samples".
            meta: How they were made.
        """
        console.say(f"wrote {', '.join(map(str, files))}")
        other = bool(self.before) and self.before.get("model") != meta.get("model")
        old = [file for file in files if file in self.there]
        if old:
            drawn = ", drawn with other weights" if other else ""
            console.note(
                f"{', '.join(map(str, old))}: replaced {_told(self.before, made)}{drawn}; another "
                "--output keeps both"
            )
        left = [file for file in sorted(self.there - {*files}) if self._stale(file, other)]
        for file in left:
            discard(file)
        if left:
            console.note(f"{', '.join(map(str, left))}: deleted, of the {made} before")

    def _stale(self, file: Path, other: bool) -> bool:
        """Whether a file belongs to the results that were here before, and has to go with them."""
        if self.stem is None or not self.before:
            return False
        if self.made == "samples" or not self.plain:
            if file.name == f"{figures_of(self.name, 'evaluation')}.json":
                return is_evaluation(file)
            if file.name == f"{self.path}{ARRAYS}":
                return _is_path(file)
        kinds = (self.made,) if self.plain else tuple(LAYERS)
        if any(_layers(self.stem, kind).fullmatch(file.name) for kind in kinds):
            return not THINNED.search(file.name)  # which may be an input
        if not other or (file.suffix == ".png") != (len(self.event) > 1):
            return False  # tables have no picture, and images no table
        return bool(_beside(self.name).fullmatch(file.name))


def figures_of(name: str, figures: str) -> str:
    """The name of figures of results of a name, such as "evaluation"."""
    return figures if name in NAMES else f"{name}-{figures}"


def placed(path: Path) -> tuple[RunFolder, str]:
    """The folder and the name of samples that `--output` was given as a folder or file.

    Raises:
        FileNotFoundError: If there are none.
    """
    path = path.expanduser()
    name = "samples"
    if not path.is_dir():
        end = next((end for end in (ARRAYS, *ENDS) if path.name.lower().endswith(end)), "")
        path, name = path.parent, path.name.removesuffix(end)
    if not RunFolder(path).arrays(name).is_file():
        raise FileNotFoundError(
            f"there are no samples at {path / name}{ARRAYS}; `markovbridge sample RUN --output "
            "PATH` draws some"
        )
    return RunFolder(path), name


def results(run: RunFolder, made: str, output: Path | None, given: Path | None = None) -> Results:
    """Where a verb puts its results.

    Args:
        run: The run.
        made: What they are called, such as "samples".
        output: A folder or file, if not the folder of the run.
        given: The file of rows that they are of, if not the data of the run.

    Raises:
        UsageError: If it cannot be that.
        FileExistsError: If it is the folder of another run or inside one, or files would be
            replaced that no such verb wrote.
    """
    if output is None:
        return _there(run, made, made, None)
    output = output.expanduser()
    table, written = suffix_of(run), output.name.lower()
    ends = [ARRAYS] if table is None else [ARRAYS, table]
    end = next((end for end in ends if written.endswith(end)), None)
    if end is None and not output.is_dir() and written.endswith((*ENDS, *OTHER)):
        raise UsageError(
            f"output is {str(output)!r}; results of {run} are written as {' and '.join(ends)}: "
            "name a folder, or a file that ends so"
        )
    folder = output if end is None else output.parent
    name = made if end is None else output.name[: -len(end)]
    if not name:
        raise UsageError(f"output is {str(output)!r}; give the file a name before {end}")
    if name != made and name in (*NAMES, "path"):
        raise UsageError(
            f"output is {str(output)!r}, and files called {name} are those of another verb; give "
            "the file another name"
        )
    if name.endswith("-path"):
        raise UsageError(
            f"output is {str(output)!r}, and files called {name} are the paths of other samples; "
            "give the file another name"
        )
    table = table_name(run.path) if given is None else given.name.split(".")[0]
    stem = table if name in NAMES and table is not None else name
    if folder.resolve() == run.path.resolve():
        return _there(run, name, made, None if name == made else stem)
    place = folder.resolve()
    inside = next((path for path in (place, *place.parents) if is_run(path)), None)
    if inside is not None:
        other = f"the folder of another run than {run}"
        what = other if inside == place else f"inside the run {inside}"
        raise FileExistsError(
            f"output is {str(output)!r}, and {folder} is {what}; name another folder"
        )
    make_folder(folder)
    return _there(RunFolder(folder), name, made, stem)


def _there(folder: RunFolder, name: str, made: str, stem: str | None) -> Results:
    """Results at a place, and what was there before.

    Args:
        folder: The folder.
        name: What their files begin with.
        made: What they are.
        stem: As of `Results`.

    Raises:
        FileExistsError: If files would be replaced that no such verb wrote.
    """
    arrays = folder.arrays(name)
    there = frozenset(file for file in folder.path.iterdir() if file.is_file())
    before, event = _made(arrays) if arrays in there else ({}, ())
    place = Results(folder, name, made, stem, there, before, event)
    if stem is None:
        return place
    for file in sorted(there):
        if made == "samples" and file.name == f"{place.path}{ARRAYS}":
            ours = _is_path(file)
        else:
            named = (_beside(name), _layers(stem, made))
            said = before
            if THINNED.search(file.name) and not str(before.get("input")).endswith(", thinned"):
                said = {}  # they were of thinned counts that were given
            ours = bool(said) or not any(names.fullmatch(file.name) for names in named)
        if not ours:
            raise foreign(file, "choose another --output")
    return place


def foreign(file: Path, remedy: str) -> FileExistsError:
    """The error of a file that is not of this program and would be replaced."""
    return FileExistsError(
        f"{file} is there and holds no results of this program; {remedy}, or move it away"
    )


def is_evaluation(file: Path) -> bool:
    """Whether a file holds figures that `evaluate` wrote."""
    try:
        return {"records", "samples"} <= load_json(file).keys()
    except ValueError:
        return False


def _is_path(file: Path) -> bool:
    """Whether a file holds the path of samples."""
    try:
        with array_file(file, "is damaged", named=True) as content:
            return {"times", "states"} <= {*(content.names or ())}
    except ValueError:
        return False


def _beside(name: str) -> re.Pattern[str]:
    """The names of the arrays, the picture and the one table of results."""
    ends = "|".join(re.escape(end) for end in (ARRAYS, ".png", *ENDS))
    return re.compile(rf"{re.escape(name)}({ends}|_{BESIDE})")


def _layers(stem: str, made: str) -> re.Pattern[str]:
    """The names of the tables of results of which there are several, beside the one."""
    layers = LAYERS.get(made, "(?!)")
    return re.compile(rf"{re.escape(stem)}_{layers}(\.{TABLE}|_{BESIDE})")


def _made(arrays: Path) -> tuple[dict[str, Any], tuple[int, ...]]:
    """How the results in a file were made, if it says so, and the shape of each."""
    try:
        with array_file(arrays, "is damaged", named=True) as file:
            meta = parse_json(str(file["meta"])) if "meta" in file else {}
            event = file.shape("samples")[1:] if "samples" in file else ()
            event = file.shape("draws")[2:] if "draws" in file else event
        return meta, tuple(event)
    except ValueError:
        return {}, ()


def _told(before: dict[str, Any], made: str) -> str:
    """Older results, in words."""
    try:
        given = described(before.get("condition"), before.get("guidance", 1.0))
        told = f", given {given}" if given else ""
        return f"{int(before['n']):,} {made}{told}, seed {int(before['seed'])}"
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"the {made} before"
