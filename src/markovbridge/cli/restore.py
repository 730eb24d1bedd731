"""`markovbridge restore`: draw full-depth counts from thinned ones.

    RUN/restored.npz    `input` (n, *event): what was observed; `draws` (D, n, *event), `mean`
                        and `sd` (n, *event) of each; `levels` (L,), and `low` and `high`
                        (L, n, *event), the ends of central intervals; `truth`, where it is
                        known; `meta`, how they were made, with `scores`, as JSON
    RUN/restored.h5ad   for a count table: the rows with `restored_mean`, `restored_low` and
                        `restored_high` as layers; see `markovbridge.cli.tables`
    RUN/restored.png    rows of images: input, three draws, mean, and the truth where known

The draws are a function of the model, the options and the input, in any number of processes and
with any interruptions. From Python they are

    restoration.restore(transport, input, survival=..., draws=...,
                        generator=torch.Generator().manual_seed(seed), steps=..., ...).draws

that is, those of `transport.restore` for the input with each row repeated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from markovbridge.cli import console
from markovbridge.cli.blocks import Draw, largest
from markovbridge.cli.drawing import (
    asked,
    check_positive,
    cost,
    gather,
    load_transport,
    make,
    meta_of,
    shades,
    threads,
)
from markovbridge.cli.errors import UsageError
from markovbridge.cli.ranks import Ranks, ranks
from markovbridge.cli.runs import configuration, held_out, write_arrays
from markovbridge.cli.tables import results_table, table_at
from markovbridge.data import CountTable, Source
from markovbridge.data.arrays import read_arrays, to_counts
from markovbridge.data.base import smallest_type
from markovbridge.data.rows import Rows, dense
from markovbridge.heads import Head
from markovbridge.images import grid_png
from markovbridge.processes import PureDeath
from markovbridge.randomness import fresh_key, generator
from markovbridge.restoration import (
    DRAWS,
    LEVELS,
    Restoration,
    Score,
    least_draws,
    observed_time,
    score,
    thin,
)
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.transport import Transport
from markovbridge.wiener import SITES, Wiener

__all__ = ["restore"]

ROWS = 64  # of the run's own data, unless told otherwise
SHOWN = 8  # rows of the picture
SHOWN_DRAWS = 3


def restore(
    run: str,
    survival: float | None = None,
    draws: int = DRAWS,
    n: int | None = None,
    input: Path | None = None,
    key: str | None = None,
    split: Literal["train", "validation", "test", "all"] = "test",
    data: Source | None = None,
    steps: int = STEPS,
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    block: int = BLOCK,
    device: str | None = None,
    threads: int | None = None,
    sampler: Sampler | None = None,
    head: Head | None = None,
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None,
) -> None:
    """Draw full-depth counts from thinned ones: photons of a short exposure, shallow reads.

    RUN is a folder that `markovbridge train` wrote, of a pure-death process. Without an input
    its own test data are thinned, restored and scored against the truth, beside the best linear
    restorations. If the command is interrupted, give it again: it goes on where it was. Several
    processes share the work as for `sample`.

      markovbridge restore RUN --survival 0.05
      markovbridge restore RUN --survival 0.05 --input thinned.npy

    Args:
        run: The run folder.
        survival: The share of units that the input has kept, in (0, 1). It must be given.
        draws: Draws for each row; intervals of 90 percent take 19 at least.
        n: The first so many rows. Without it, all of an input, and 64 of the run's own data.
        input: An .npy or .npz file of thinned counts, or a count table such as cells.h5ad.
        key: Name of the array in an .npz file, if it holds several.
        split: The part of the run's own data to thin.
        data: Data to thin, if not those of the training.
        steps: Steps from the observed state to full depth; one or two network evaluations each.
        seed: Seed of the thinning and of the draws.
        weights: The average of the weights over training (ema), or the last ones (raw) of
            the newest checkpoint.
        block: Draws that go through the network at once; memory grows with it, and other
            draws come of another value.
        device: Such as cpu or cuda. Without it, a GPU if there is one.
        threads: CPU threads of each process. Without it, torch's own choice.
        sampler: How to step. Without it, as for `sample`.
        head: The model's own head, to change what has no weights, such as
            --head.kernel stochastic.
        network: Only for a network of your own: its class.
    """


def restore_main(words: list[str]) -> None:
    """Run the verb."""
    run, saved, values = asked(restore, words, "runs/digits --survival 0.2", data=True)
    check_positive(values, "n", "steps", "block", "threads")
    _check(values)
    file, array, n = (values.pop(key) for key in ("input", "key", "n"))
    split, source = values.pop("split"), values.pop("data")
    with ranks() as team, threads(values.pop("threads")):
        head, network = values.pop("head"), values.pop("network")
        transport = load_transport(run, saved, network, head, values["weights"])
        if not isinstance(transport.process, PureDeath):
            raise UsageError(
                f"restore is for counts that were thinned, a model of PureDeath, and {run} has "
                f"{type(transport.process).__name__}; from Python: transport.restore(x, t)"
            )
        transport.to(team.device(values.pop("device")))
        truth = training = None
        table = source if isinstance(source, CountTable) else None
        if file is not None:
            table, split = table_at(file), "all"
            x = _read(file, array) if table is None else dense(table.load("all").x)
        elif source is None:
            raise UsageError(f"the data of {run} are of your own class: name it with --data")
        else:
            trained = configuration(run).get("split", "train")
            if not held_out(split, trained):
                console.note(f"warning: split {split} is not held out: {run} saw {trained}")
            truth = source.load(split).x[: ROWS if n is None else n]
            training = source.load(trained).x
            x = thin(truth, values["survival"], values["seed"])
        if n is not None and n > len(x):
            raise UsageError(f"n is {n}; there are {len(x):,} rows to restore")
        data = {"input": str(file) if file else f"split {split}, thinned"}
        made = _restore(run, team, transport, x[:n], truth, training, data, **values)
        if made is not None:
            _tables(run, table, split, made, x[:n] if file is None else None)


def _check(values: dict[str, Any]) -> None:
    if values["survival"] is None:
        raise UsageError(
            "restore needs to know how many units the input has kept: --survival 0.05, say"
        )
    if not 0 < values["survival"] < 1:
        raise UsageError(f"survival is {values['survival']}; it must lie in (0, 1)")
    least = least_draws(max(LEVELS))
    if values["draws"] < least:
        raise UsageError(
            f"draws is {values['draws']}; intervals of {max(LEVELS):.0%} take at least {least}"
        )


def _read(file: Path, key: str | None) -> Tensor:
    """Thinned counts of a file, (n, *event)."""
    array, _ = read_arrays(file.expanduser(), key, None)
    if array.ndim < 2 or not array.size:
        raise ValueError(f"{file} holds no rows (n, *event) of counts")
    return to_counts(array, None, str(file))


def _restore(
    run: Path,
    team: Ranks,
    transport: Transport,
    x: Tensor,
    truth: Tensor | None,
    training: Tensor | Rows | None,
    data: dict[str, Any],
    *,
    survival: float,
    draws: int,
    steps: int,
    seed: int,
    weights: str,
    block: int,
    sampler: Sampler | None,
) -> Restoration | None:
    """Make the blocks of this process; assemble and return them all in the first."""
    sampler = transport.default_sampler() if sampler is None else sampler
    n = len(x) * draws
    meta = meta_of(transport, sampler, steps=steps, seed=seed, weights=weights, block=block)
    told = hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()
    meta |= data | {"survival": survival, "draws": draws, "input hash": f"sha256:{told}"}
    number = fresh_key(torch.Generator().manual_seed(seed))
    t = observed_time(transport.process, survival)
    rows = x.repeat_interleave(draws, 0)
    common: dict[str, Any] = {"key": number, "steps": steps, "sampler": sampler, "block": block}

    def draw(index: int) -> Draw:
        return lambda watch: transport.restore_block(index, rows, t, callback=watch, **common)

    folder = run / "restored.parts"
    # n too: the last block is filled up with copies of the last row.
    asked = {**meta, "n": n}
    blocks = make(folder, team, transport, sampler, draw, n=n, meta=asked, unit="draws")
    if team.rank != 0:
        return None
    made, _, meta = gather(blocks, n, meta)
    restored = Restoration.of_rows(torch.from_numpy(made), draws)
    meta["rows"] = len(x)
    found: list[Score] = []
    if truth is not None and training is not None:
        found = _scores(transport, x, t, survival, truth, training, restored, block, seed)
        meta["scores"] = [dataclasses.asdict(one) for one in found]
    files = _write(run, transport, x, truth, restored, meta)
    blocks.clear()
    console.say(f"{len(x):,} rows restored by {run}, {draws} draws of each: {cost(meta)}")
    if found:
        console.say(_table(found))
    console.say(f"wrote {', '.join(map(str, files))}")
    return restored


def _tables(
    run: Path, table: CountTable | None, split: str, made: Restoration, thinned: Tensor | None
) -> None:
    """Write mean and interval, and what was thinned for it, where the data are a table."""
    if table is None:
        return
    low, high = made.interval(max(LEVELS))
    results = {"restored_mean": made.mean, "restored_low": low, "restored_high": high}
    if thinned is not None:
        results["thinned"] = thinned
    files = results_table(run, "restored", table, split, results)
    if files:
        console.say(f"wrote {', '.join(map(str, files))}")


def _scores(
    transport: Transport,
    x: Tensor,
    t: float,
    survival: float,
    truth: Tensor,
    training: Tensor | Rows,
    restored: Restoration,
    block: int,
    seed: int,
) -> list[Score]:
    """The model's restoration and the linear ones against the truth."""

    def ties() -> torch.Generator:
        return generator("cpu", "ties", seed)

    single = _expected(transport, x, t, block)
    found = [
        score("draws and their mean", truth, restored.mean, restored, generator=ties()),
        score("expected count, one evaluation", truth, single),
    ]
    if truth[0].numel() > SITES:
        console.note(f"no linear baselines: they are for up to {SITES:,} sites")
    else:
        titles: dict[Literal["counts", "anscombe"], str] = {
            "counts": "best linear",
            "anscombe": "best linear, Anscombe",
        }
        for transform, title in titles.items():
            linear = Wiener.fit(
                training, survival, transform=transform, maximum=largest(transport)
            )
            made = linear.restore(x, len(restored.draws), generator=generator("cpu", seed))
            found.append(score(title, truth, linear.estimate(x), made, generator=ties()))
    return [*found, score("input / survival", truth, x.double() / survival)]


@torch.no_grad()
def _expected(transport: Transport, x: Tensor, t: float, block: int) -> Tensor:
    """The model's E[x_1 | x_t = x], which needs no draws: (n, *event)."""
    transport.eval()
    parts = (transport._check(part, "input") for part in x.split(block))
    return torch.cat([transport.law(part.to(transport.device), t).mean.cpu() for part in parts])


def _write(
    run: Path,
    transport: Transport,
    x: Tensor,
    truth: Tensor | None,
    restored: Restoration,
    meta: dict[str, Any],
) -> list[Path]:
    """Write the arrays, and a picture if these are images."""
    files = [run / "restored.npz"]
    picture = _picture(transport, x, truth, restored, meta["survival"])
    if picture is not None:
        files.append(run / "restored.png")
        files[-1].write_bytes(picture)
    kind = smallest_type(largest(transport) or int(restored.draws.max()))
    ends = [restored.interval(level) for level in LEVELS]
    arrays: dict[str, Any] = {
        "input": x.numpy(),
        "draws": restored.draws.numpy(),
        "mean": restored.mean.float().numpy(),
        "sd": restored.std.float().numpy(),
        "levels": np.array(LEVELS),
        "low": torch.stack([low for low, _ in ends]).to(kind).numpy(),
        "high": torch.stack([high for _, high in ends]).to(kind).numpy(),
    }
    if truth is not None:
        arrays["truth"] = truth.numpy()
    write_arrays(files[0], **arrays, meta=np.array(json.dumps(meta)))
    return files


def _picture(
    transport: Transport, x: Tensor, truth: Tensor | None, restored: Restoration, survival: float
) -> bytes | None:
    """Rows of input, brightened to full depth, draws, mean, and truth."""
    bright = (x[:SHOWN].double() / survival).round()
    mean = restored.mean[:SHOWN].round()
    columns = [bright, *restored.draws[:SHOWN_DRAWS, :SHOWN].double(), mean]
    if truth is not None:
        columns.append(truth[:SHOWN].double())
    rows = torch.stack(columns, 1).flatten(0, 1).to(torch.int64)
    top = largest(transport)
    shown = shades(rows if top is None else rows.clamp_max(top), transport)
    return None if shown is None else grid_png(shown, 255, columns=len(columns))


def _table(found: list[Score]) -> str:
    """Scores as text."""
    rows = [("", "MSE", *(f"{level:.0%} ranks, intervals" for level in LEVELS))]
    for one in found:
        shares = [
            f"{c.randomised:.1%} ± {c.error:.1%}, {c.conservative:.1%}" for c in one.coverage
        ]
        shares += [""] * (len(LEVELS) - len(shares))
        rows.append((one.method, f"{one.mse:.4g} ± {one.error:.2g}", *shares))
    return (
        f"{console.table(rows)}\n  ranks: how often the truth is among the central draws, ties at "
        "random; a perfect model\n  has the share named. Intervals of counts, ends included, hold "
        "more than that."
    )
