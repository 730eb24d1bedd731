"""`markovbridge sample`: draw from a trained run.

    RUN/samples.npz    `samples` (n, *event), and `meta`, how they were made, as JSON
    RUN/samples.png    a grid of the first of them, if they are images
    RUN/samples.h5ad   for a count table: a table of them; see `markovbridge.cli.tables`
    RUN/path.npz       `times` (T,) and `states` (T, k, *event): the first k on their way

Sample i is a function of the model, the options and i alone: not of n, of the number
of processes, or of interruptions. From Python the same samples are

    transport.sample(n, generator=torch.Generator().manual_seed(seed), steps=..., ...)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import nn

from markovbridge.cli import console
from markovbridge.cli.drawing import (
    Drawn,
    How,
    asked,
    check_positive,
    conditioned,
    cost,
    drawn,
    opened,
    shades,
)
from markovbridge.cli.ranks import Ranks
from markovbridge.cli.runs import write_arrays
from markovbridge.cli.tables import samples_table
from markovbridge.data.meeting import each
from markovbridge.extrapolation import far_out, narrow
from markovbridge.files import to_json, write_bytes
from markovbridge.heads import Head
from markovbridge.images import grid_png
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.trained_on import TrainedOn, check_start
from markovbridge.transport import Transport
from markovbridge.walks import blocks

__all__ = ["sample"]

GRID = 64  # samples in the picture


def sample(
    run: str,
    n: int = 64,
    steps: int = STEPS,
    grid: Literal["model", "schedule"] = "model",
    seed: int = 0,
    condition: dict[str, Any] | None = None,
    guidance: float = 1.0,
    weights: Literal["ema", "raw"] = "ema",
    block: int = BLOCK,
    device: str | None = None,
    threads: int | None = None,
    sampler: Sampler | None = None,
    head: Head | None = None,
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None,
) -> None:
    """Draw samples from a trained run.

    RUN is a folder that `markovbridge train` wrote. The same options give the same samples,
    and the first n of more. If the command is interrupted, give it again: it goes on where
    it was. Several processes share the work:

      torchrun --standalone --nproc_per_node=2 -m -- markovbridge sample RUN --n 50000

    Args:
        run: The run folder.
        n: How many samples.
        steps: Steps from source to data; one or two network evaluations each.
        grid: Where they stop: so that the model's error falls by equal amounts (model), if it
            knows its errors, or evenly in the time of its schedule (schedule), as published.
        seed: Seed of the samples.
        condition: What to condition on, by name, for models trained with a condition:
            --condition.label 3. Of a class or category, * takes each in turn. What is not
            named is unknown.
        guidance: How strongly the condition acts: 1 as learned, more than 1 beyond.
        weights: The average of the weights over training (ema), or the last ones (raw) of
            the newest checkpoint.
        block: Samples that go through the network at once; memory grows with it, and other
            samples come of another value.
        device: Such as cpu or cuda. Without it, a GPU if there is one.
        threads: CPU threads of each process. Without it, torch's own choice.
        sampler: How to step. Without it, what suits the model: steps of second order, two
            evaluations each, where a mean is learned, and for others Bridge.
        head: The model's own head, to change what has no weights, such as
            --head.kernel stochastic.
        network: Only for a network of your own: its class.
    """


def sample_main(words: list[str]) -> None:
    """Run the verb."""
    run, saved, values = asked(sample, words, "runs/digits")
    check_positive(values, "n", "steps", "block", "threads")
    with opened(run, saved, values, "samples") as (team, transport):
        check_start(transport.coupling, TrainedOn.read(run).columns)
        _sample(run, team, transport, **values)


def _sample(
    run: Path,
    team: Ranks,
    transport: Transport,
    *,
    n: int,
    grid: str,
    condition: dict[str, Any] | None,
    guidance: float,
    **how: Unpack[How],
) -> None:
    """Make the blocks of this process; assemble them all in the first."""
    # Those of the last block that are not asked for yet, as if they were.
    whole = blocks(n, how["block"]) * how["block"]
    facts, rows = conditioned(transport, condition, guidance, whole)
    facts["grid"] = grid
    times = transport.process.schedule.grid(how["steps"]) if grid == "schedule" else None
    draw = partial(transport.sample_block, condition=rows, guidance=guidance)
    folder = run / "samples.parts"
    made = drawn(folder, team, transport, draw, n, "samples", facts, grid=times, **how)
    if made is not None:
        _write(run, made, transport)


def _write(run: Path, made: Drawn, transport: Transport) -> None:
    """Write the samples, and what shows them beside."""
    samples, first, meta, n = made.samples, made.first, made.meta, len(made.samples)
    write_arrays(run / "path.npz", times=first["times"], states=first["states"][:, :n])
    files = [run / "samples.npz", run / "path.npz"]
    shown = shades(torch.from_numpy(samples[:GRID]), transport)
    if shown is not None:
        files.append(run / "samples.png")
        write_bytes(files[-1], grid_png(shown, 255))
    write_arrays(files[0], samples=samples, meta=np.array(to_json(meta)))
    encoding = transport.covariates
    told = {} if encoding is None else each(encoding, meta.get("condition"), n)
    files += samples_table(run, samples, told)
    made.blocks.clear()
    console.say(f"{n:,} samples of {run}: {cost(meta)}")
    console.say(f"wrote {', '.join(map(str, files))}")
    for found in _strange(run, samples, transport, meta):
        console.note(f"warning: {found}")
    console.say(f"to score them: markovbridge evaluate {run}")


def _strange(
    run: Path, samples: np.ndarray, transport: Transport, meta: dict[str, Any]
) -> list[str]:
    """What is to be said of samples that are not like the training data."""
    x, names = torch.from_numpy(samples), TrainedOn.read(run).columns
    found = [far_out(x, transport.seen, names)]
    if not meta.get("condition"):
        found.append(narrow(x, transport.seen, transport.variance, names))
    return [sentence for sentence in found if sentence is not None]
