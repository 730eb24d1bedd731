"""`markovbridge translate`: carry one data set into another with a trained run.

    RUN/translated.npz    `source` and `samples`, (n, *event) each, row i of one from row i
                          of the other, and `meta`, how they were made, as JSON
    RUN/translated.png    rows of images: a source, its way, where it arrives

Row i is a function of the model, the options, i and row i of the source alone. From
Python the same are

    transport.translate(source, generator=torch.Generator().manual_seed(seed), steps=..., ...)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from markovbridge.cli import console
from markovbridge.cli.drawing import (
    How,
    asked,
    check_positive,
    conditioned,
    cost,
    drawn,
    hashed,
    opened,
    read_rows,
    shades,
)
from markovbridge.cli.errors import UsageError
from markovbridge.cli.ranks import Ranks
from markovbridge.cli.runs import configuration, data_of, source_of, write_arrays
from markovbridge.cli.tables import table_at
from markovbridge.config import from_config
from markovbridge.couplings import Data
from markovbridge.data import Source
from markovbridge.data.rows import dense
from markovbridge.files import to_json, write_bytes
from markovbridge.heads import Head
from markovbridge.images import grid_png
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.transport import Transport

__all__ = ["translate"]

TIMES = 9  # columns of the picture


def translate(
    run: str,
    n: int | None = None,
    input: Path | None = None,
    key: str | None = None,
    split: Literal["train", "validation", "test", "all"] | None = None,
    steps: int = STEPS,
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
    """Carry one data set into another with a trained run.

    RUN is a folder that `markovbridge train` wrote. What is carried is the data set that
    its coupling starts from, or a file. The same options give the same result, row by row. If
    the command is interrupted, give it again: it goes on where it was. Several processes share
    the work as for `sample`.

    Args:
        run: The run folder.
        n: Carry the first so many rows. Without it, all.
        input: An .npy or .npz file of rows to carry, or a count table, instead of the coupling's
            data set.
        key: Name of the array in an .npz file, if it holds several.
        split: The part of the coupling's data set to carry. Without it, that of the training.
        steps: Steps from source to data; for most samplers the network evaluations a row.
        seed: Seed of the noise.
        condition: What to condition on, by name, as for `sample`. The rows that are carried
            say nothing of what they are to become, and so are not asked.
        guidance: How strongly the condition acts: 1 as learned, more than 1 beyond.
        weights: The average of the weights over training (ema), or the last ones (raw) of
            the newest checkpoint.
        block: Rows that go through the network at once; memory grows with it, and another
            result comes of another value.
        device: Such as cpu or cuda. Without it, a GPU if there is one.
        threads: CPU threads of each process. Without it, torch's own choice.
        sampler: How to step. Without it, what suits the model.
        head: The model's own head, to change what has no weights, such as
            --head.spread 1.
        network: Only for a network of your own: its class.
    """


def translate_main(words: list[str]) -> None:
    """Run the verb."""
    run, saved, values = asked(translate, words, "runs/digits-translate")
    check_positive(values, "n", "steps", "block", "threads")
    file, key = values.pop("input"), values.pop("key")
    split, n = values.pop("split"), values.pop("n")
    with opened(run, saved, values, "translated") as (team, transport):
        source = _rows(run, file, key) if file else _start(transport, split, run)
        if n is not None and n > len(source):
            raise UsageError(f"n is {n}; there are {len(source):,} rows to carry")
        _translate(run, team, transport, source[:n], **values)


def _rows(run: Path, file: Path, key: str | None) -> Tensor:
    """Rows of a file, (n, *event), features in the order of the run."""
    like = source_of(run, configuration(run))
    source = None if like is None else from_config(like, Source, "data")
    table = table_at(file, (), source, obs=None, key=key, missing=False)
    return read_rows(file, key) if table is None else dense(data_of(run).meet(table.plain()).x)


def _start(transport: Transport, split: str | None, run: Path) -> Tensor:
    """The data set that the coupling starts from, (n, *event)."""
    start = getattr(transport.coupling, "source", None)
    if not isinstance(start, Data):
        raise UsageError(
            f"{run} does not start from a data set but from {start or transport.coupling}: give "
            "rows to carry with --input FILE"
        )
    return dense(data_of(run).load(start.source, split or start.split).x)


def _translate(
    run: Path,
    team: Ranks,
    transport: Transport,
    source: Tensor,
    *,
    condition: dict[str, Any] | None,
    guidance: float,
    **how: Unpack[How],
) -> None:
    """Make the blocks of this process; assemble them all in the first."""
    n = len(source)
    facts, rows = conditioned(transport, condition, guidance, n)
    # n too: the last block is filled up with copies of the last row.
    facts |= {"source": hashed(source), "n": n}
    draw = partial(transport.translate_block, x0=source, condition=rows, guidance=guidance)
    made = drawn(run / "translated.parts", team, transport, draw, n, "rows", facts, **how)
    if made is None:
        return
    files = [run / "translated.npz"]
    picture = _picture(made.first, n, transport)
    if picture is not None:
        files.append(run / "translated.png")
        write_bytes(files[-1], picture)
    arrays: dict[str, Any] = {"source": source.numpy(), "samples": made.samples}
    write_arrays(files[0], **arrays, meta=np.array(to_json(made.meta)))
    made.blocks.clear()
    console.say(f"{n:,} rows carried by {run}: {cost(made.meta)}")
    console.say(f"wrote {', '.join(map(str, files))}")


def _picture(first: dict[str, np.ndarray], n: int, transport: Transport) -> bytes | None:
    """The first rows on their way, a row of images each, if these are images."""
    states = torch.from_numpy(first["states"])[:, :n]
    chosen = torch.linspace(0, len(states) - 1, min(TIMES, len(states))).round().long()
    rows = states[chosen].transpose(0, 1).flatten(0, 1)
    shown = shades(rows, transport)
    return None if shown is None else grid_png(shown, 255, columns=len(chosen))
