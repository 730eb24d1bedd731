"""What the verbs read of a run folder, each with an error that says which verb writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.errors import closest
from markovbridge.data import Source
from markovbridge.documents import parse_json, read_yaml
from markovbridge.files import written
from markovbridge.parts import ForeignClass, checked
from markovbridge.reading import array_file, reading
from markovbridge.trained_on import RunData

__all__ = [
    "admitted",
    "configuration",
    "data_of",
    "held_out",
    "read_arrays",
    "read_samples",
    "run_folder",
    "source_of",
    "write_arrays",
]


def run_folder(name: str) -> Path:
    """The run folder of this name.

    Raises:
        FileNotFoundError: If there is none, with the nearest one beside it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        from markovbridge.cli import folders  # which reads configurations too

        folders.recover(path)
        return path
    beside = [str(other) for other in path.parent.glob("*/") if (other / "config.yaml").is_file()]
    raise FileNotFoundError(
        f"there is no run folder {name}{closest(name, beside)}; `markovbridge train` writes one"
    )


def configuration(run: Path) -> dict[str, Any]:
    """What the run was trained with.

    Raises:
        FileNotFoundError: If the folder is no run.
        ValueError: If its configuration is damaged.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} is no run folder: it has no config.yaml; `markovbridge train` makes one"
        )
    config = read_yaml(path, _again(run))
    if not config:
        raise ValueError(f"{path} is empty; {_again(run)}")
    return config


def _again(run: Path) -> str:
    return (
        f"delete it, and `markovbridge train RECIPE --output {run} --resume true`, with the "
        "recipe and the options of the run, writes it again"
    )


def source_of(run: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Where a run says that its data are from, as the default of an option.

    Args:
        run: The run folder.
        config: What it was trained with.

    Returns:
        A checked configuration; None if nothing is said, or a class is named that is not of
        this package, which is for the user to name on the command line.

    Raises:
        ValueError: If its configuration is damaged.
    """
    return admitted(config.get("data"), Source, "data", run / "config.yaml")


def admitted(config: Any, kind: Any, place: str, file: Path) -> Any:
    """A part that a file of a run describes, as the default of an option.

    Args:
        config: What the file says.
        kind: What it must be, as an annotation.
        place: Where it says it.
        file: The file.

    Returns:
        A checked configuration; None if there is none, or if it names a class that is not of
        this package, which is for the user to name on the command line.

    Raises:
        ValueError: If a file may not hold that, naming it.
    """
    try:
        return checked(config, kind, place)
    except ForeignClass:
        return None
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def data_of(run: Path) -> RunData:
    """The data of a run, and other data for it: what every verb reads data by."""
    return RunData(run, configuration(run), console.note)


def held_out(split: str, trained: str) -> bool:
    """Whether a model that was trained on one split has not seen another."""
    return trained != "all" and split not in (trained, "all")


def read_samples(run: Path) -> tuple[Tensor, dict[str, Any]]:
    """Samples of a run, (n, *event), and how they were made.

    Raises:
        FileNotFoundError: If there are none yet.
        ValueError: If the file is damaged.
    """
    path = run / "samples.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no samples; `markovbridge sample {run}` draws some")
    remedy = f"draw them again with `markovbridge sample {run}`"
    arrays = read_arrays(path, ("samples", "meta"), remedy)
    with reading(path, "is damaged", remedy):
        return torch.from_numpy(arrays["samples"]), parse_json(str(arrays["meta"]))


def read_arrays(path: Path, names: tuple[str, ...], remedy: str) -> dict[str, np.ndarray]:
    """Arrays of an `.npz` file.

    Raises:
        ValueError: If the file is damaged or lacks one, naming the file and the remedy.
    """
    with array_file(path, "is damaged", remedy, named=True) as arrays:
        return {name: arrays[name] for name in names}


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an `.npz` file, whole or not at all."""
    with written(path) as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
