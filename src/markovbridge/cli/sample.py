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

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from markovbridge.cli import console
from markovbridge.cli.blocks import Blocks, Draw
from markovbridge.cli.drawing import (
    asked,
    check_positive,
    condition_meta,
    condition_of,
    cost,
    gather,
    load_transport,
    make,
    meta_of,
    shades,
    threads,
    told,
)
from markovbridge.cli.ranks import Ranks, ranks
from markovbridge.cli.runs import write_arrays
from markovbridge.cli.tables import samples_table
from markovbridge.heads import Head
from markovbridge.images import grid_png
from markovbridge.randomness import fresh_key
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.transport import Transport

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
    with ranks() as team, threads(values.pop("threads")):
        transport = load_transport(
            run, saved, values.pop("network"), values["head"], values["weights"]
        )
        transport.to(team.device(values.pop("device")))
        _sample(run, team, transport, **values)


def _sample(
    run: Path,
    team: Ranks,
    transport: Transport,
    *,
    n: int,
    steps: int,
    grid: str,
    seed: int,
    condition: dict[str, Any] | None,
    guidance: float,
    weights: str,
    block: int,
    sampler: Sampler | None,
    head: Head | None,
) -> None:
    """Make the blocks of this process; assemble them all in the first."""
    sampler = transport.default_sampler() if sampler is None else sampler
    meta = meta_of(transport, sampler, steps=steps, seed=seed, weights=weights, block=block)
    meta["grid"] = grid
    meta |= condition_meta(transport, condition, guidance, n)
    key = fresh_key(torch.Generator().manual_seed(seed))
    times = steps if grid == "model" else transport.process.schedule.grid(steps)
    # Those of the last block that are not asked for yet, as if they were.
    part = condition_of(transport, condition, -(-n // block) * block)
    common: dict[str, Any] = {"key": key, "steps": times, "sampler": sampler, "block": block}
    common |= {"condition": part, "guidance": guidance}

    def draw(index: int) -> Draw:
        return lambda watch: transport.sample_block(index, callback=watch, **common)

    folder = run / "samples.parts"
    blocks = make(folder, team, transport, sampler, draw, n=n, meta=meta, unit="samples")
    if team.rank == 0:
        _assemble(run, blocks, n, meta, transport)


def _assemble(
    run: Path, blocks: Blocks, n: int, meta: dict[str, Any], transport: Transport
) -> None:
    """Put the blocks together, and what shows them beside."""
    samples, first, meta = gather(blocks, n, meta)
    write_arrays(run / "path.npz", times=first["times"], states=first["states"][:, :n])
    files = [run / "samples.npz", run / "path.npz"]
    shown = shades(torch.from_numpy(samples[:GRID]), transport)
    if shown is not None:
        files.append(run / "samples.png")
        files[-1].write_bytes(grid_png(shown, 255))
    write_arrays(files[0], samples=samples, meta=np.array(json.dumps(meta)))
    files += samples_table(run, samples, told(transport, meta.get("condition"), n))
    blocks.clear()
    console.say(f"{n:,} samples of {run}: {cost(meta)}")
    console.say(f"wrote {', '.join(map(str, files))}")
    console.say(f"to score them: markovbridge evaluate {run}")
