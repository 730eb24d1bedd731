"""A run folder, read into memory: what there is, and what is missing.

    RUN/config.yaml         the training configuration (the one file that must be there)
    RUN/metrics.jsonl       a JSON object per logged step
    RUN/log.txt             what was said while training
    RUN/samples/*.png       grids drawn while training
    RUN/samples.npz         samples, and how they were made
    RUN/path.npz            a few samples on their way, at some times
    RUN/model/              the trained model: its configuration and weights
    RUN/evaluation.json     records of the evaluation
    RUN/likelihood.json     of the likelihood of held-out data
    RUN/restored.npz        restored counts, and how they were made
    RUN/diagnostics.json    self-consistency at pieces of time

Arrays are read without pickle. The training data are loaded from their source, if
this machine has them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from markovbridge.config import from_config
from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariates, described
from markovbridge.data.meeting import alike
from markovbridge.metrics import Record
from markovbridge.nats import Nats
from markovbridge.reading import array_file
from markovbridge.trained_on import RunData

__all__ = ["Run", "given", "read_run"]

Kind = TypeVar("Kind", Record, Nats)


@dataclass(frozen=True)
class Run:
    """What a run folder holds; None or empty where something has not been made.

    Attributes:
        path: The folder.
        config: The training configuration.
        log: Lines of the log.
        history: One dictionary per logged step, in order of steps.
        grids: Steps and files of the grids drawn while training.
        samples: Shape `(N, *event)`.
        samples_meta: How the samples were made.
        times: Shape `(T,)`, increasing from 0 to 1.
        states: Shape `(T, n, *event)`: n samples at these times.
        records: Of the evaluation.
        model: Configuration of the saved model.
        weights: How many numbers it has.
        likelihood: Of held-out data.
        restored: Arrays of restored counts, by name.
        restored_meta: How they were made.
        diagnostics: Self-consistency, and how it was checked.
        training: The training data.
        training_problem: Why they could not be loaded, or None.
        alike: Those training data that the samples are to be compared with: of the same
            condition, if there are enough.
        notes: What is to be said of the training data, such as that they have changed.
    """

    path: Path
    config: dict[str, Any]
    log: list[str]
    history: list[dict[str, Any]]
    grids: list[tuple[int, Path]]
    samples: Tensor | None
    samples_meta: dict[str, Any]
    times: Tensor | None
    states: Tensor | None
    records: list[Record]
    model: dict[str, Any]
    weights: int | None
    likelihood: list[Nats]
    restored: dict[str, np.ndarray]
    restored_meta: dict[str, Any]
    diagnostics: dict[str, Any]
    training: Dataset | None
    training_problem: str | None
    alike: Dataset | None
    notes: list[str]

    @property
    def given(self) -> str:
        """What the samples were conditioned on, in words; empty for nothing."""
        return given(self.samples_meta)

    @property
    def counts(self) -> bool:
        """Whether the model is one of pure death."""
        process = self.model.get("process") or {}
        return str(process.get("class_path", "")).endswith(".PureDeath")


def read_run(path: str | Path) -> Run:
    """Read a run folder.

    Raises:
        FileNotFoundError: If there is no folder, or no config.yaml in it.
        ValueError: If a file in it is damaged; the message names it.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise FileNotFoundError(
            f"{path} is no run folder: it has no config.yaml; `markovbridge train` makes one"
        )
    config = yaml.safe_load((path / "config.yaml").read_text())
    if not isinstance(config, dict):
        raise ValueError(f"{path / 'config.yaml'} must hold named options")
    samples = _arrays(path / "samples.npz", "sample")
    states = _arrays(path / "path.npz", "sample")
    restored = _arrays(path / "restored.npz", "restore")
    restored_meta = json.loads(str(restored.pop("meta"))) if restored else {}
    notes: list[str] = []
    training, problem = _training(path, config, notes)
    model = _json(path / "model" / "config.json", "train --resume true")
    meta = json.loads(str(samples["meta"])) if samples else {}
    return Run(
        path=path,
        config=config,
        log=_lines(path / "log.txt"),
        history=_history(path / "metrics.jsonl"),
        grids=[(int(p.stem.split("-")[1]), p) for p in sorted(path.glob("samples/step-*.png"))],
        samples=torch.from_numpy(samples["samples"]) if samples else None,
        samples_meta=meta,
        times=torch.from_numpy(states["times"]) if states else None,
        states=torch.from_numpy(states["states"]) if states else None,
        records=_records(path / "evaluation.json", Record),
        model=model,
        weights=_weights(path / "model" / "model.safetensors"),
        likelihood=_records(path / "likelihood.json", Nats),
        restored=restored,
        restored_meta=restored_meta,
        diagnostics=_json(path / "diagnostics.json", "diagnose"),
        training=training,
        training_problem=problem,
        alike=None if training is None else _alike(training, model, meta, notes),
        notes=notes,
    )


def given(meta: dict[str, Any]) -> str:
    """What something was conditioned on, by how it was made, in words; empty for nothing."""
    return described(meta.get("condition"), meta.get("guidance", 1.0))


def _arrays(path: Path, verb: str) -> dict[str, np.ndarray]:
    """All arrays of a file that a verb has written; none if there is no file."""
    if not path.is_file():
        return {}
    with array_file(path, "is damaged", f"run `markovbridge {verb}` again", named=True) as file:
        return {name: file[name] for name in file.names or ()}


def _json(path: Path, verb: str) -> dict[str, Any]:
    """What a verb has written as JSON; nothing if there is no file."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run `markovbridge {verb}` again") from None


def _weights(path: Path) -> int | None:
    """How many numbers a network has, from the header of the file of its weights."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith("network.")]
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); train again with --resume true") from None


def _lines(path: Path) -> list[str]:
    return (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    )


def _history(path: Path) -> list[dict[str, Any]]:
    """Logged steps; where a resumed run went over a step again, the later line counts."""
    steps: dict[int, dict[str, Any]] = {}
    lines = _lines(path)
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                continue  # a run that was killed may leave half a line
            raise ValueError(f"{path}, line {number} is damaged: {line[:60]!r}") from None
        if "step" in entry:
            steps.setdefault(int(entry["step"]), {}).update(entry)
    return [steps[step] for step in sorted(steps)]


def _records(path: Path, kind: type[Kind]) -> list[Kind]:
    if not path.is_file():
        return []
    try:
        return [
            kind(**record) for record in json.loads(path.read_text(encoding="utf-8"))["records"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged or of another version ({error}); run `markovbridge evaluate` again"
        ) from None


def _training(
    path: Path, config: dict[str, Any], notes: list[str]
) -> tuple[Dataset | None, str | None]:
    try:
        source = from_config(config.get("data"))
        if not isinstance(source, Source):
            return None, "config.yaml names no data source"
        ours = RunData(path, config, notes.append)
        return ours.load(source, ours.split), None
    except (FileNotFoundError, ImportError, ValueError) as error:
        return None, str(error)


def _alike(
    training: Dataset, model: dict[str, Any], meta: dict[str, Any], notes: list[str]
) -> Dataset:
    """The training data of the condition of the samples; all, with a note, if they are too few."""
    condition = meta.get("condition")
    encoding = from_config(model.get("covariates"))
    if not condition or not isinstance(encoding, Covariates):
        return training
    try:
        return alike(training, encoding, condition, meta["n"])
    except (ValueError, KeyError) as error:
        notes.append(f"samples stand beside training data of all conditions, as {error}")
        return training
