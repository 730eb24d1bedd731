"""A run folder, read into memory: what there is, and what is missing.

The files, and how each is read, are those of `markovbridge.training.run_folder`. The training data
are loaded from their source, if this machine has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariates, described
from markovbridge.data.meeting import alike
from markovbridge.evaluation import calibration
from markovbridge.evaluation.calibration import Calibration
from markovbridge.evaluation.consistency import MEANING
from markovbridge.evaluation.held_out_likelihood import Nats
from markovbridge.evaluation.metrics import Record
from markovbridge.storage.config import from_config
from markovbridge.storage.documents import FLAG, NUMBER, TEXT
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import RunData, TrainedOn

Kind = TypeVar("Kind", Record, Nats)

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
        evaluated: How the samples of the evaluation were made, if it says so.
        model: Configuration of the saved model.
        weights: How many numbers it has.
        likelihood: Of held-out data.
        restored: Arrays of restored counts, by name.
        restored_meta: How they were made.
        diagnostics: Self-consistency, and how it was checked.
        calibrations: Ranks and coverage of intervals.
        columns: Names of the features of a table, or None.
        covariates: What the model knows of rows, or None.
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
    evaluated: dict[str, Any]
    model: dict[str, Any]
    weights: int | None
    likelihood: list[Nats]
    restored: dict[str, np.ndarray]
    restored_meta: dict[str, Any]
    diagnostics: dict[str, Any]
    calibrations: list[Calibration]
    columns: tuple[str, ...] | None
    covariates: Covariates | None
    training: Dataset | None
    training_problem: str | None
    alike: Dataset | None
    notes: list[str]

    @property
    def given(self) -> str:
        """What the samples were conditioned on, in words; empty for nothing."""
        return given(self.samples_meta)

    @property
    def table(self) -> bool:
        """Whether the samples are rows of a table of counts."""
        samples = self.samples
        return samples is not None and samples.ndim == 2 and not samples.is_floating_point()

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
    folder = RunFolder(Path(path))
    config = folder.configuration()
    samples, samples_meta = folder.read_arrays("samples", ("samples",), SAMPLED)
    states, _ = folder.read_arrays("path", ("times", "states"))
    restored, restored_meta = folder.read_arrays("restored", ("input", "draws", "mean"), RESTORED)
    notes: list[str] = []
    training, problem = _training(folder, config, notes)
    model = folder.described_model()
    covariates = _covariates(model, notes)
    found = samples["samples"] if samples else None
    return Run(
        path=folder.path,
        config=config,
        log=folder.lines(),
        history=folder.history(),
        grids=folder.grids(),
        samples=None if found is None else torch.from_numpy(found),
        samples_meta=samples_meta,
        times=torch.from_numpy(states["times"]) if states else None,
        states=torch.from_numpy(states["states"]) if states else None,
        records=_records(folder, "evaluation", Record),
        evaluated=folder.read_record("evaluation", {"samples?": {}}).get("samples") or {},
        model=model,
        weights=folder.weights(),
        likelihood=_records(folder, "likelihood", Nats),
        restored=restored,
        restored_meta=restored_meta,
        diagnostics=folder.read_record("diagnostics", CHECKED),
        calibrations=calibration.read(folder, None),
        columns=_columns(folder, found),
        covariates=covariates,
        training=training,
        training_problem=problem,
        alike=None if training is None else _alike(training, covariates, samples_meta, notes),
        notes=notes,
    )


def given(meta: dict[str, Any]) -> str:
    """What something was conditioned on, by how it was made, in words; empty for nothing."""
    return described(meta.get("condition"), meta.get("guidance", 1.0))


def class_of(config: Any) -> str:
    """The name of the class that a configuration describes; empty if it describes none."""
    path = config.get("class_path", "") if isinstance(config, dict) else ""
    return str(path).rpartition(".")[2]


def _records(folder: RunFolder, name: str, kind: type[Kind]) -> list[Kind]:
    """Figures that a verb has written; none if it has not."""
    form = {
        f"{field.name}?": FIELDS[str(field.type).removesuffix(" | None")] for field in fields(kind)
    }
    if not folder.record(name).is_file():
        return []
    found = folder.read_record(name, {"records": [form]})
    try:
        return [kind(**record) for record in found["records"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder.record(name)} is damaged or of another version ({error}); run "
            "`markovbridge evaluate` again"
        ) from None


def _training(
    folder: RunFolder, config: dict[str, Any], notes: list[str]
) -> tuple[Dataset | None, str | None]:
    try:
        source = from_config(config.get("data"), Source, "data")
        if not isinstance(source, Source):
            return None, "config.yaml names no data source"
        ours = RunData(folder.path, config, notes.append)
        return ours.load(source, ours.split), None
    except (OSError, ImportError, TypeError, ValueError) as error:
        return None, str(error)


def _covariates(model: dict[str, Any], notes: list[str]) -> Covariates | None:
    """What a model knows of rows; None, with a note, if that cannot be read."""
    try:
        return from_config(model.get("covariates"), Covariates | None, "covariates")
    except ValueError as error:
        notes.append(f"what the model knows of rows is not shown, as {error}")
        return None


def _columns(folder: RunFolder, samples: np.ndarray | None) -> tuple[str, ...] | None:
    """Names of the features of a table; None if there are none, or not as many as features."""
    names = TrainedOn.read(folder.path).columns
    width = None if samples is None else math.prod(samples.shape[1:])
    return names if names and len(names) == width else None


def _alike(
    training: Dataset, encoding: Covariates | None, meta: dict[str, Any], notes: list[str]
) -> Dataset:
    """The training data of the condition of the samples; all, with a note, if they are too few."""
    condition = meta.get("condition")
    if not condition or encoding is None:
        return training
    try:
        return alike(training, encoding, condition, meta["n"])
    except (ValueError, KeyError) as error:
        notes.append(f"samples stand beside training data of all conditions, as {error}")
        return training
