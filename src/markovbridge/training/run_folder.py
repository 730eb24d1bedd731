"""A run folder: what is in it, and the one way to read and write each of its files.

    RUN/config.yaml         the training configuration (the one file that must be there)
    RUN/model/              the trained model: its configuration and weights
    RUN/checkpoints/        what a run is continued from
    RUN/data.json           what it was trained on
    RUN/count_model.json    of a table: with it the folder is a `CountModel` too
    RUN/metrics.jsonl       a JSON object per logged step
    RUN/log.txt             what was said while training
    RUN/samples/*.png       grids drawn while training
    RUN/samples.npz         samples, and how they were made; RUN/path.npz, some on their way
    RUN/restored.npz, imputed.npz, translated.npz
    RUN/evaluation.json, likelihood.json, diagnostics.json, calibration.json
    RUN/report.html

All is written through `markovbridge.storage.files`, whole or not at all, and read without pickle.
An error names the file, and the command that writes it again.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from markovbridge import doors
from markovbridge.data import Source
from markovbridge.storage.documents import NUMBER, conforming, parse_json, read_json, read_yaml
from markovbridge.storage.files import to_json, write_arrays, write_bytes, write_json, write_text
from markovbridge.storage.parts import ForeignClass, checked
from markovbridge.storage.reading import array_file, reading
from markovbridge.training import checkpoint
from markovbridge.transport import saved

GRID = re.compile(r"step-([0-9]{1,12})\.png")
# What the verbs rely on in the configuration of a model.
MODEL = ("shape", "process", "network", "head", "coupling")
# Which verb writes a file, for what is to be done about a damaged one.
WRITERS = {
    "samples": "sample",
    "path": "sample",
    "restored": "restore",
    "imputed": "impute",
    "translated": "translate",
    "evaluation": "evaluate",
    "likelihood": "evaluate",
    "diagnostics": "diagnose",
    "calibration": "calibrate",
}


@dataclass(frozen=True)
class RunFolder:
    """A run folder, which need not be there yet.

    Attributes:
        path: Where it is.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        """The file of the training configuration."""
        return self.path / "config.yaml"

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The file of the numbers of logged steps."""
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """The file of the lines of the log."""
        return self.path / "log.txt"

    @property
    def report(self) -> Path:
        """The file of the report."""
        return self.path / "report.html"

    def arrays(self, name: str) -> Path:
        """The file of the arrays called "samples", for instance."""
        return self.path / f"{name}.npz"

    def picture(self, name: str) -> Path:
        """The file of the picture called "samples", for instance."""
        return self.path / f"{name}.png"

    def record(self, name: str) -> Path:
        """The file of the figures called "evaluation", for instance."""
        return self.path / f"{name}.json"

    def blocks(self, name: str) -> Path:
        """The folder of those samples, for instance, that an interrupted verb has finished."""
        return self.path / f"{name}.parts"

    def grid(self, step: int) -> Path:
        """The file of the grid of samples drawn at a step of the training."""
        return self.path / "samples" / f"step-{step:08d}.png"

    # The configuration

    def configuration(self) -> dict[str, Any]:
        """What the run was trained with.

        Raises:
            FileNotFoundError: If the folder is no run.
            ValueError: If its configuration is damaged.
        """
        if not self.config.is_file():
            if self.checkpoints.is_dir():
                raise FileNotFoundError(f"{self.config} is missing; {self._again}")
            raise FileNotFoundError(
                f"{self} is no run folder: it has no config.yaml; `markovbridge train` makes one"
            )
        found = read_yaml(self.config, f"delete it, and {self._again}")
        if not found:
            raise ValueError(f"{self.config} is empty; delete it, and {self._again}")
        return found

    @property
    def _again(self) -> str:
        return (
            f"`markovbridge train RECIPE --output {self} --resume true`, with the recipe and the "
            "options of the run, writes it again"
        )

    def write_configuration(self, text: str) -> None:
        """Write what the run is trained with, as YAML."""
        write_text(self.config, text)

    def split(self) -> str:
        """The split that the run was trained on."""
        return self.configuration().get("split", "train")

    def source(self) -> dict[str, Any] | None:
        """Where the run says that its data are from, as a configuration.

        Returns:
            None if nothing is said, or a class is named that is not of this package, which is
            for the user to name.

        Raises:
            ValueError: If it may not say that.
        """
        return admitted(self.configuration().get("data"), Source, "data", self.config)

    # The model

    def model_configuration(self) -> dict[str, Any]:
        """The configuration of the model.

        Raises:
            FileNotFoundError: If there is no model.
            ValueError: If the file is damaged.
        """
        try:
            path, config = saved.configuration(self.model)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self} has no model to sample from; `markovbridge train RECIPE --output {self}` "
                "makes one"
            ) from error
        new = saved.NEW
        try:
            return {**new, **{part: config[part] for part in (*MODEL, *new & config.keys())}}
        except KeyError as error:
            raise ValueError(f"{path} is damaged: {error} is missing") from error

    def head(self) -> dict[str, Any] | None:
        """The head of the model, as a configuration; None if it is not of this package."""
        from markovbridge.heads import Head

        file = self.model / "config.json"
        return admitted(self.model_configuration()["head"], Head, "head", file)

    def weights(self) -> int | None:
        """How many numbers the network has, from the header of the file of its weights."""
        path = self.model / saved.WEIGHTS
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                names = [name for name in file.keys() if name.startswith("network.")]
                return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path} is damaged ({error}); train again with --resume true"
            ) from None

    def newest(self) -> tuple[checkpoint.Checkpoint | None, list[str]]:
        """The newest intact checkpoint, and what is wrong with newer ones; see `checkpoint`."""
        return checkpoint.latest(self.checkpoints)

    # What was said while training

    def lines(self) -> list[str]:
        """Lines of the log; none if there is no file."""
        return _lines(self.log)

    def history(self) -> list[dict[str, Any]]:
        """Logged steps; where a resumed run went over a step again, the later line counts.

        Raises:
            ValueError: If a line but the last is damaged, naming it.
        """
        steps: dict[int, dict[str, Any]] = {}
        lines = _lines(self.metrics)
        for number, line in enumerate(lines, 1):
            try:
                entry = parse_json(line)
                step = int(entry["step"]) if "step" in entry else None
                conforming(entry, dict.fromkeys(entry, NUMBER), "it")
            except (ValueError, TypeError, OverflowError) as error:
                if number == len(lines) and isinstance(error, json.JSONDecodeError):
                    continue  # a run that was killed may leave half a line
                raise ValueError(
                    f"{self.metrics}, line {number} is damaged: {line[:60]!r}"
                ) from None
            if step is not None:
                steps.setdefault(step, {}).update(entry)
        return [steps[step] for step in sorted(steps)]

    def grids(self) -> list[tuple[int, Path]]:
        """Steps and files of the grids drawn while training."""
        found = sorted(self.path.glob("samples/step-*.png"))
        matches = ((GRID.fullmatch(file.name), file) for file in found)
        return [(int(match[1]), file) for match, file in matches if match]

    # What verbs have made of it

    def samples(self, name: str = "samples") -> tuple[Tensor, dict[str, Any]]:
        """Samples, (n, *event), and how they were made.

        Args:
            name: What they are called.

        Raises:
            FileNotFoundError: If there are none yet.
            ValueError: If the file is damaged.
        """
        path = self.arrays(name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{self} has no samples; `markovbridge sample {self}` draws some"
            )
        again = self.path if self.config.is_file() else f"RUN --output {path}"
        remedy = f"draw them again with `markovbridge sample {again}`"
        found = read_arrays(path, ("samples", "meta"), remedy)
        with reading(path, "is damaged", remedy):
            return torch.from_numpy(found["samples"]), parse_json(str(found["meta"]))

    def read_arrays(
        self, name: str, wanted: tuple[str, ...], form: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All arrays that a verb has written, and how they were made; none if it has not.

        Args:
            name: What they are called, such as "samples".
            wanted: Arrays of numbers that there must be.
            form: Of what is said of how they were made, as of `documents.conforming`; this is
                not asked for if None.

        Raises:
            ValueError: If the file is damaged.
        """
        path, remedy = self.arrays(name), _remedy(name)
        if not path.is_file():
            return {}, {}
        with array_file(path, "is damaged", remedy, named=True) as file:
            found = {key: file[key] for key in file.names or ()}
            for key in wanted:
                if found[key].dtype.kind not in "biuf":
                    raise ValueError(f"{key} holds no numbers")
            meta = parse_json(str(found.pop("meta"))) if form is not None else {}
            return found, conforming(meta, form or {}, "meta")

    def write_arrays(
        self, name: str, arrays: dict[str, Any], meta: dict[str, Any] | None = None
    ) -> Path:
        """Write arrays, and how they were made unless None; gives the file."""
        made = {} if meta is None else {"meta": np.array(to_json(meta))}
        write_arrays(self.arrays(name), **arrays, **made)
        return self.arrays(name)

    def read_record(self, name: str, form: dict[str, Any]) -> dict[str, Any]:
        """What a verb has written as figures; nothing if it has not.

        Args:
            name: What they are called, such as "evaluation".
            form: As of `documents.conforming`.

        Raises:
            ValueError: If the file is damaged.
        """
        return _json(self.record(name), _remedy(name), form)

    def write_record(self, name: str, content: dict[str, Any]) -> Path:
        """Write figures; gives the file."""
        return write_json(self.record(name), content)

    def write_picture(self, name: str, image: bytes) -> Path:
        """Write a picture; gives the file."""
        return write_bytes(self.picture(name), image)

    def described_model(self) -> dict[str, Any]:
        """The configuration of the model, if it has one, as far as it can be read."""
        return _json(
            self.model / "config.json", "run `markovbridge train --resume true` again", {}
        )


def _remedy(name: str) -> str:
    verb = WRITERS.get(name) or next(v for k, v in WRITERS.items() if name.endswith(f"-{k}"))
    return f"run `markovbridge {verb}` again"


def _json(path: Path, remedy: str, form: dict[str, Any]) -> dict[str, Any]:
    found = read_json(path, remedy) if path.is_file() else {}
    try:
        return conforming(found, form, "it") if found else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; {remedy}") from None


def _lines(path: Path) -> list[str]:
    return (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    )


def admitted(config: Any, kind: Any, place: str, file: Path) -> Any:
    """A part that a file of a run describes, as the default of an option.

    Args:
        config: What the file says.
        kind: What it must be, as an annotation.
        place: Where it says it.
        file: The file.

    Returns:
        A checked configuration; None if there is none, or if it names a class that is not of
        this package, which is for the user to name.

    Raises:
        ValueError: If a file may not hold that, naming it.
    """
    try:
        return checked(config, kind, place)
    except ForeignClass:
        return None
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def held_out(split: str, trained: str) -> bool:
    """Whether a model that was trained on one split has not seen another."""
    return trained != "all" and split not in (trained, "all")


def read_arrays(path: Path, names: tuple[str, ...], remedy: str) -> dict[str, np.ndarray]:
    """Arrays of an `.npz` file.

    Raises:
        ValueError: If the file is damaged or lacks one, naming the file and the remedy.
    """
    with array_file(path, "is damaged", remedy, named=True) as arrays:
        return {name: arrays[name] for name in names}


doors.guard(__name__)
