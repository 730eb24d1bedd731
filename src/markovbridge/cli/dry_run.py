"""`markovbridge train RECIPE --dry_run true`: would it train?

Two steps on synthetic data of the same shape, so that a recipe can be checked on
a machine that lacks its data, and one sample. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import Any

import torch

from markovbridge.cli import console
from markovbridge.cli.errors import UsageError
from markovbridge.cli.train import build, covariates_of, describe, examples
from markovbridge.couplings import Coupling, Data, Independent, MinibatchOT
from markovbridge.data import (
    CIFAR10,
    IDX,
    Binarised,
    CountTable,
    ImageFolder,
    Selected,
    Source,
    Synthetic,
)
from markovbridge.data.cifar import EVENT
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.idx import KNOWN
from markovbridge.training import Trainer, TrainingConfig

__all__ = ["rehearse"]

SAMPLES = 16
STEPS = 2
FEATURES = 1000  # of a table that is not on this machine


def rehearse(
    name: str, *, data: Source, split: str, trainer: TrainingConfig, **parts: Any
) -> None:
    """Do two small steps and say what the recipe would train."""
    dataset = stand_in(data, split).load("all")
    if parts["condition"] == "covariates":
        encoding = _covariates(data, split)
        average = torch.zeros(len(dataset), len(encoding.names))
        dataset = dataclasses.replace(dataset, covariates=encoding, condition=average)
    parts["coupling"] = _rehearsed(parts["coupling"])
    transport = build(dataset, seed=trainer.seed, **parts)
    short = dataclasses.replace(
        trainer,
        steps=STEPS,
        batch_size=1,
        accumulation=1,
        warmup=0,
        log_every=1,
        validate_every=0,
        select="last",
        sample_every=0,
    )
    started = time.perf_counter()
    told = examples(dataset, parts["condition"], transport.covariates)
    rehearsal = Trainer(transport, told, short)
    for _ in rehearsal:  # `run` would measure the errors of the model as well
        pass
    with warnings.catch_warnings():  # after so few steps a sample may lie anywhere
        warnings.simplefilter("ignore")
        rehearsal.result.sample(1, steps=1, block=1)
    seconds = time.perf_counter() - started
    memory = 16 * rehearsal.learner.parameters / 2**30  # weights, average, two moments
    rows = [
        ("data", availability(data)),
        ("", f"here {describe(dataset)}"),
        ("process", repr(transport.process)),
        ("head", repr(transport.head)),
        ("objective", repr(transport.objective)),
        (
            "network",
            f"{type(transport.network).__name__}, {rehearsal.learner.parameters:,} weights",
        ),
        ("memory", f"{memory:.2g} GiB for weights, average and optimiser, besides activations"),
        ("training", f"{trainer.steps:,} steps of {trainer.batch_size} samples"),
        ("dry run", f"{STEPS} steps and a sample: {seconds:.1f} s on {rehearsal.device}"),
    ]
    console.say(f"{name}: the recipe works\n{console.table(rows)}")


def _rehearsed(coupling: Coupling | None) -> Coupling | None:
    """The coupling, with synthetic data if its source is a data set."""
    source = getattr(coupling, "source", None)
    if not isinstance(source, Data):
        return coupling
    assert isinstance(coupling, Independent | MinibatchOT)
    return dataclasses.replace(coupling, source=Data(stand_in(source.source, source.split), "all"))


def stand_in(data: Source, split: str) -> Synthetic:
    """Synthetic data of the shape of a source, which need not be on this machine."""
    inner = data.source if isinstance(data, Binarised | Selected) else data
    shape, maximum = None, 255
    if isinstance(inner, CIFAR10):
        shape = EVENT
    elif isinstance(inner, ImageFolder):
        shape = (inner.channels, inner.size, inner.size)
    elif isinstance(inner, IDX) and inner.name in KNOWN:
        shape = (1, *KNOWN[inner.name].event)
    elif isinstance(inner, CountTable) and not _here(inner):
        shape = (FEATURES,)
    if shape is None:
        dataset = data.load(split)
        shape, maximum = dataset.shape, dataset.maximum or 255
    if isinstance(data, Binarised):
        maximum = 1
    return Synthetic(shape=shape, maximum=maximum, n=SAMPLES)


def _covariates(data: Source, split: str) -> Covariates:
    """The covariates of a source, which need not be on this machine.

    Raises:
        UsageError: If it has none.
    """
    inner = data.source if isinstance(data, Binarised | Selected) else data
    if not isinstance(inner, CountTable) or _here(inner):
        encoding = covariates_of(data.load(split), "covariates")
        assert encoding is not None
        return encoding
    if not inner.covariates:
        raise UsageError("condition is covariates, but the data name none: --data.covariates")
    # Their levels are not known here, so each counts as one number.
    return Covariates(tuple(Covariate(name) for name in inner.covariates))


def availability(data: Source) -> str:
    """Whether the data are on this machine, and what brings them."""
    inner = data.source if isinstance(data, Binarised | Selected) else data
    if isinstance(inner, CountTable):
        return repr(data) if _here(inner) else f"{data!r}, not on this machine: {inner.path}"
    if not isinstance(inner, IDX | CIFAR10 | ImageFolder):
        return repr(data)
    try:
        return f"{data!r}, in {inner.folder()}"
    except FileNotFoundError:
        return f"{data!r}, not on this machine: {inner.remedy}"


def _here(table: CountTable) -> bool:
    """Whether a table is on this machine."""
    try:
        return table.file().exists()
    except FileNotFoundError:
        return False
