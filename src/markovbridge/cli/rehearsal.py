"""`markovbridge train RECIPE --dry-run`: would it train?

Two steps on synthetic data of the same shape, so that a recipe can be checked on
a machine that lacks its data, and one sample. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import time
import warnings

from markovbridge.cli import console
from markovbridge.recipes.recipe import Recipe, describe_data
from markovbridge.recipes.stand_in import availability, rehearsed
from markovbridge.training import Trainer
from markovbridge.training.start import StartingWeights

STEPS = 2


def rehearse(name: str, recipe: Recipe, start: StartingWeights | None = None) -> None:
    """Do two small steps and say what the recipe would train.

    Args:
        name: What the recipe is called.
        recipe: The recipe.
        start: What the run would start from, of which all is compared that is on this machine.

    Raises:
        ValueError: If that does not fit.
    """
    trainer, data = recipe.trainer, recipe.data
    recipe, dataset = rehearsed(recipe)
    transport = recipe.transport(dataset, base=None if start is None else start.law())
    if start is not None:
        real = data.load(recipe.split) if data.here else None
        names = None if real is None else real.column_names
        start.into(transport, names, encoded=real is not None)
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
        tracker=None,
    )
    started = time.perf_counter()
    told = recipe.examples(dataset, transport)
    rehearsal = Trainer(transport, told, short)
    for _ in rehearsal:  # `run` would measure the errors of the model as well
        pass
    with warnings.catch_warnings():  # after so few steps a sample may lie anywhere
        warnings.simplefilter("ignore")
        if dataset.start is None:
            rehearsal.result.sample(1, steps=1, block=1)
        else:
            rehearsal.result.translate(dataset.start[:1], steps=1, block=1)
    seconds = time.perf_counter() - started
    memory = 16 * rehearsal.learner.parameters / 2**30  # weights, average, two moments
    rows = [
        ("data", availability(data)),
        ("", f"here {describe_data(dataset)}"),
        ("process", repr(transport.process)),
        ("head", repr(transport.head)),
        ("objective", repr(transport.objective)),
        *([("", remark)] if (remark := transport.objective.remark) else []),
        (
            "network",
            f"{type(transport.network).__name__}, {rehearsal.learner.parameters:,} weights",
        ),
        ("memory", f"{memory:.2g} GiB for weights, average and optimiser, besides activations"),
        ("training", f"{trainer.steps:,} steps of {trainer.batch_size} samples"),
        ("dry run", f"{STEPS} steps and a sample: {seconds:.1f} s on {rehearsal.device}"),
    ]
    console.say(f"{name}: the recipe works\n{console.table(rows)}")
