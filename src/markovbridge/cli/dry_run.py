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
from markovbridge.data import Source
from markovbridge.data.covariates import Covariates
from markovbridge.training import Trainer, TrainingConfig

__all__ = ["rehearse"]

STEPS = 2


def rehearse(
    name: str, *, data: Source, split: str, trainer: TrainingConfig, **parts: Any
) -> None:
    """Do two small steps and say what the recipe would train."""
    dataset = data.stand_in(split).load("all")
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
    made = source.source.stand_in(source.split)
    return dataclasses.replace(coupling, source=Data(made, "all"))


def _covariates(data: Source, split: str) -> Covariates:
    """The covariates of a source, which need not be on this machine.

    Raises:
        UsageError: If it has none.
    """
    known = data.load(split) if data.here else None
    encoding = (
        covariates_of(known, "covariates") if known is not None else data.outline().covariates
    )
    if encoding is None:
        raise UsageError("condition is covariates, but the data name none: --data.covariates")
    return encoding


def availability(data: Source) -> str:
    """Whether the data are on this machine, and what brings them."""
    if not data.here:
        return f"{data!r}, not on this machine: {data.remedy}"
    place = data.where()
    return repr(data) if place is None else f"{data!r}, in {place}"
