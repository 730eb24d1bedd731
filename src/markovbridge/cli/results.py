"""Where a verb that draws puts its results: into the run folder, or where `--output` says.

    (nothing)                RUN/samples.npz       RUN/samples.png       RUN/path.npz
    --output threes          threes/samples.npz    threes/samples.png    threes/path.npz
    --output threes.npz      threes.npz            threes.png            threes-path.npz
    --output threes.h5ad     the same, where the table of the run is written as .h5ad

What is not of the program is not replaced; what is, is replaced whole, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markovbridge.cli import console
from markovbridge.cli.tables import suffix_of
from markovbridge.data.covariates import described
from markovbridge.data.tables.registry import SUFFIXES, ZIPPED
from markovbridge.storage.documents import parse_json
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import make_folder
from markovbridge.storage.reading import array_file
from markovbridge.training.replacing import is_run
from markovbridge.training.run_folder import RunFolder

NAMES = ("samples", "translated", "restored", "imputed")
ARRAYS = ".npz"
ENDS = (*(f"{suffix}.gz" for suffix in ZIPPED), *SUFFIXES)  # of tables
OTHER = (".npy", ".png", ".json", ".html", ".yaml", ".yml", ".txt", ".zip", ".pt", ".safetensors")


@dataclass(frozen=True)
class Results:
    """Where results are put.

    Attributes:
        folder: The folder.
        name: What their files begin with.
        there: Files that were there before.
        before: How those results were made that were there before, if there were any.
    """

    folder: RunFolder
    name: str
    there: frozenset[Path]
    before: dict[str, Any]

    @property
    def plain(self) -> bool:
        """Whether they have their usual name."""
        return self.name in NAMES

    @property
    def path(self) -> str:
        """The name of the paths of the first samples."""
        return figures_of(self.name, "path")

    def wrote(self, files: Sequence[Path], made: str) -> None:
        """Say what was written, and what that has replaced.

        Args:
            files: The files.
            made: What is in them, such as "samples".
        """
        console.say(f"wrote {', '.join(map(str, files))}")
        old = [file for file in files if file in self.there]
        if old:
            console.note(
                f"{', '.join(map(str, old))}: replaced {_told(self.before, made)}; another "
                "--output keeps both"
            )


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


def results(run: RunFolder, made: str, output: Path | None) -> Results:
    """Where a verb puts its results.

    Args:
        run: The run.
        made: What they are called, such as "samples".
        output: A folder or file, if not the folder of the run.

    Raises:
        UsageError: If it cannot be that.
        FileExistsError: If it is the folder of another run or inside one, or files would be
            replaced that no such verb wrote.
    """
    if output is None:
        return _there(run, made, own=True)
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
    if folder.resolve() == run.path.resolve():
        return _there(run, name, own=name == made)
    place = folder.resolve()
    inside = next((path for path in (place, *place.parents) if is_run(path)), None)
    if inside is not None:
        other = f"the folder of another run than {run}"
        what = other if inside == place else f"inside the run {inside}"
        raise FileExistsError(
            f"output is {str(output)!r}, and {folder} is {what}; name another folder"
        )
    make_folder(folder)
    return _there(RunFolder(folder), name, own=False)


def _there(folder: RunFolder, name: str, *, own: bool) -> Results:
    """Results at a place, and what was there before."""
    arrays = folder.arrays(name)
    there = frozenset(file for file in folder.path.iterdir() if file.is_file())
    before = _made(arrays) if arrays in there else {}
    ours = {f"{name}{end}" for end in (".png", *ENDS)}
    found = next((file for file in sorted(there) if file.name in ours), None)
    if found is not None and not own and not before:
        raise FileExistsError(
            f"{found} is there and holds no results of this program; choose another --output, or "
            "move it away"
        )
    return Results(folder, name, there, before)


def _made(arrays: Path) -> dict[str, Any]:
    """How the results in a file were made; nothing if it does not say so."""
    try:
        with array_file(arrays, "is damaged", named=True) as file:
            meta = parse_json(str(file["meta"])) if "meta" in file else {}
        return meta if isinstance(meta, dict) else {}
    except ValueError:
        return {}


def _told(before: dict[str, Any], made: str) -> str:
    """Older results, in words."""
    try:
        given = described(before.get("condition"), before.get("guidance", 1.0))
        told = f", given {given}" if given else ""
        return f"{int(before['n']):,} {made}{told}, seed {int(before['seed'])}"
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"the {made} before"
