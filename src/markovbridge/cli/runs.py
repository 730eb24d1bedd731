"""What the verbs read of a run folder, each with an error that says which verb writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.errors import closest
from markovbridge.files import written
from markovbridge.reading import array_file, reading
from markovbridge.trained_on import RunData

__all__ = [
    "configuration",
    "data_of",
    "held_out",
    "ours",
    "read_arrays",
    "read_samples",
    "run_folder",
    "write_arrays",
]

PACKAGE = __name__.split(".")[0]


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
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}; {_again(run)}") from error
    if config is None:
        raise ValueError(f"{path} is empty; {_again(run)}")
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: it must hold named options; {_again(run)}")
    return config


def _again(run: Path) -> str:
    return (
        f"delete it, and `markovbridge train RECIPE --output {run} --resume true`, with the "
        "recipe and the options of the run, writes it again"
    )


def ours(config: Any) -> bool:
    """Whether everything a configuration names is of this package.

    A file in a run folder must not be able to run code of its choice, so only what is
    ours may become the default of an option; the rest has to be named on the command line.
    """
    if isinstance(config, dict):
        path = config.get("class_path", PACKAGE)
        return str(path).split(".")[0] == PACKAGE and all(map(ours, config.values()))
    return all(map(ours, config)) if isinstance(config, list) else True


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
        return torch.from_numpy(arrays["samples"]), dict(json.loads(str(arrays["meta"])))


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
