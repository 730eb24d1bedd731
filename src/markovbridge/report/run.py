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
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from markovbridge.config import from_config
from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariates, described
from markovbridge.data.meeting import alike
from markovbridge.diagnostics import MEANING
from markovbridge.documents import (
    FLAG,
    NUMBER,
    TEXT,
    conforming,
    parse_json,
    read_json,
    read_yaml,
)
from markovbridge.metrics import Record
from markovbridge.nats import Nats
from markovbridge.reading import array_file
from markovbridge.trained_on import RunData

__all__ = ["Run", "class_of", "given", "read_run"]

Kind = TypeVar("Kind", Record, Nats)

GRID = re.compile(r"step-([0-9]{1,12})\.png")
FIELDS = {"str": TEXT, "float": NUMBER, "int": NUMBER, "bool": FLAG}
# What the page relies on in what a file says of how something was made.
SAMPLED = {f"{name}?": NUMBER for name in ("n", "steps", "seed", "evaluations", "seconds")}
COVERED = dict.fromkeys(("level", "randomised", "error", "conservative"), NUMBER)
RESTORED = {
    **dict.fromkeys(("survival", "draws", "rows?", "evaluations?", "seed?"), NUMBER),
    **dict.fromkeys(("input", "sampler?", "weights?"), TEXT),
    "scores?": [{"method": TEXT, "mse": NUMBER, "error": NUMBER, "coverage": [COVERED]}],
}
VIOLATED = {name: {"value": NUMBER, "error": NUMBER} for name in MEANING}
CHECKED = {
    "pieces": [{"times": [NUMBER], "checks": VIOLATED}],
    "meta": {"n": NUMBER, "data": TEXT, "weights": TEXT, "seed": NUMBER},
}


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
        return class_of(self.model.get("process")) == "PureDeath"


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
    config = read_yaml(path / "config.yaml")
    samples, samples_meta = _arrays(path / "samples.npz", "sample", ("samples",), SAMPLED)
    states, _ = _arrays(path / "path.npz", "sample", ("times", "states"))
    names = ("input", "draws", "mean")
    restored, restored_meta = _arrays(path / "restored.npz", "restore", names, RESTORED)
    notes: list[str] = []
    training, problem = _training(path, config, notes)
    model = _json(path / "model" / "config.json", "train --resume true", {})
    return Run(
        path=path,
        config=config,
        log=_lines(path / "log.txt"),
        history=_history(path / "metrics.jsonl"),
        grids=[
            (int(found[1]), file)
            for file in sorted(path.glob("samples/step-*.png"))
            if (found := GRID.fullmatch(file.name))
        ],
        samples=torch.from_numpy(samples["samples"]) if samples else None,
        samples_meta=samples_meta,
        times=torch.from_numpy(states["times"]) if states else None,
        states=torch.from_numpy(states["states"]) if states else None,
        records=_records(path / "evaluation.json", Record),
        model=model,
        weights=_weights(path / "model" / "model.safetensors"),
        likelihood=_records(path / "likelihood.json", Nats),
        restored=restored,
        restored_meta=restored_meta,
        diagnostics=_json(path / "diagnostics.json", "diagnose", CHECKED),
        training=training,
        training_problem=problem,
        alike=None if training is None else _alike(training, model, samples_meta, notes),
        notes=notes,
    )


def given(meta: dict[str, Any]) -> str:
    """What something was conditioned on, by how it was made, in words; empty for nothing."""
    return described(meta.get("condition"), meta.get("guidance", 1.0))


def class_of(config: Any) -> str:
    """The name of the class that a configuration describes; empty if it describes none."""
    path = config.get("class_path", "") if isinstance(config, dict) else ""
    return str(path).rpartition(".")[2]


def _arrays(
    path: Path, verb: str, names: tuple[str, ...], form: dict[str, Any] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of a file that a verb has written, and how they were made; none without it.

    Args:
        path: The file.
        verb: What writes it.
        names: Arrays of numbers that it must have.
        form: Of what it says of how they were made, which is not asked for if None.
    """
    if not path.is_file():
        return {}, {}
    with array_file(path, "is damaged", f"run `markovbridge {verb}` again", named=True) as file:
        found = {name: file[name] for name in file.names or ()}
        for name in names:
            if found[name].dtype.kind not in "biuf":
                raise ValueError(f"{name} holds no numbers")
        meta = parse_json(str(found.pop("meta"))) if form is not None else {}
        return found, conforming(meta, form or {}, "meta")


def _json(path: Path, verb: str, form: dict[str, Any]) -> dict[str, Any]:
    """What a verb has written as JSON; nothing if there is no file."""
    remedy = f"run `markovbridge {verb}` again"
    found = read_json(path, remedy) if path.is_file() else {}
    try:
        return conforming(found, form, "it") if found else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; {remedy}") from None


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
            entry = parse_json(line)
            step = int(entry["step"]) if "step" in entry else None
            conforming(entry, dict.fromkeys(entry, NUMBER), "it")
        except (ValueError, TypeError, OverflowError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                continue  # a run that was killed may leave half a line
            raise ValueError(f"{path}, line {number} is damaged: {line[:60]!r}") from None
        if step is not None:
            steps.setdefault(step, {}).update(entry)
    return [steps[step] for step in sorted(steps)]


def _records(path: Path, kind: type[Kind]) -> list[Kind]:
    """Figures that a verb has written; none if there is no file."""
    if not path.is_file():
        return []
    form = {
        f"{field.name}?": FIELDS[str(field.type).removesuffix(" | None")] for field in fields(kind)
    }
    found = _json(path, "evaluate", {"records": [form]})
    try:
        return [kind(**record) for record in found["records"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or of another version ({error}); run `markovbridge evaluate` again"
        ) from None


def _training(
    path: Path, config: dict[str, Any], notes: list[str]
) -> tuple[Dataset | None, str | None]:
    try:
        source = from_config(config.get("data"), Source, "data")
        if not isinstance(source, Source):
            return None, "config.yaml names no data source"
        ours = RunData(path, config, notes.append)
        return ours.load(source, ours.split), None
    except (OSError, ImportError, TypeError, ValueError) as error:
        return None, str(error)


def _alike(
    training: Dataset, model: dict[str, Any], meta: dict[str, Any], notes: list[str]
) -> Dataset:
    """The training data of the condition of the samples; all, with a note, if they are too few."""
    condition = meta.get("condition")
    try:
        encoding = from_config(model.get("covariates"), Covariates | None, "covariates")
        if not condition or encoding is None:
            return training
        return alike(training, encoding, condition, meta["n"])
    except (ValueError, KeyError) as error:
        notes.append(f"samples stand beside training data of all conditions, as {error}")
        return training
