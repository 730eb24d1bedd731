"""`markovbridge impute`: draw the unknown part of data given the known part.

    RUN/imputed.npz    `x` (n, *event): the data, unknown sites being whatever they were;
                       `observed`, which sites are known, bool; `draws` (D, n, *event), and
                       `mean` and `sd` (n, *event) of each; `truth`, where it is known; `meta`,
                       how they were made, with `scores`, as JSON
    RUN/imputed.h5ad   for a count table: the rows with `imputed_mean`, `imputed_low` and
                       `imputed_high` as layers; see `markovbridge.cli.tables`
    RUN/imputed.png    rows of images: what is known, three draws, mean, and the truth if known

The draws of row i are a function of the model, the options, i, and the rows of its block.
From Python the same are

    transport.impute(x.repeat_interleave(draws, 0), observed.repeat_interleave(draws, 0),
                     generator=torch.Generator().manual_seed(seed), steps=..., rounds=...)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from markovbridge.cli import console
from markovbridge.cli.blocks import Draw
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
)
from markovbridge.cli.errors import UsageError
from markovbridge.cli.ranks import Ranks, ranks
from markovbridge.cli.runs import write_arrays
from markovbridge.cli.tables import results_table, table_at
from markovbridge.data import CountTable, Source
from markovbridge.data.arrays import read_arrays
from markovbridge.data.rows import dense
from markovbridge.heads import Head
from markovbridge.images import grid_png, is_image
from markovbridge.masking import broadcast
from markovbridge.randomness import fresh_key, generator
from markovbridge.restoration import Restoration, coverage, least_draws
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.transport import Transport

__all__ = ["impute"]

ROWS = 64  # of the run's own data, unless told otherwise
SHOWN = 8  # rows of the picture
SHOWN_DRAWS = 3
GREY = 96  # shade of sites that are not known
LEVEL = 0.9  # of the intervals that are scored
HALVES = ("top", "bottom", "left", "right")


def impute(
    run: str,
    observed: str | None = None,
    draws: int = 20,
    n: int | None = None,
    input: Path | None = None,
    key: str | None = None,
    split: Literal["train", "validation", "test", "all"] = "test",
    data: Source | None = None,
    steps: int = STEPS,
    rounds: int | None = None,
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
    """Draw the unknown part of data given the known part.

    RUN is a folder that `markovbridge train` wrote. Without an input, a part of its own test
    data is hidden, imputed, and scored against the truth. A model trained with --masking is
    told what is known; any other imputes by replacement, which is approximate, less so with
    more rounds. If the command is interrupted, give it again: it goes on where it was. Several
    processes share the work as for `sample`.

      markovbridge impute RUN --observed top
      markovbridge impute RUN --input x.npy --observed mask.npy

    Args:
        run: The run folder.
        observed: Which sites are known: a half of each image (top, bottom, left or right), a
            share of all sites at random (random:0.5), those that are not NaN in the input
            (finite), or a file FILE.npy or FILE.npz:NAME of true and false that broadcasts to
            the data. It must be given.
        draws: Draws for each row.
        n: The first so many rows. Without it, all of an input, and 64 of the run's own data.
        input: An .npy or .npz file of data, or a count table such as cells.csv; what unknown
            sites hold does not matter, and they may be NaN, or empty cells.
        key: Name of the array in an .npz file, if it holds several.
        split: The part of the run's own data to hide something of.
        data: Data to take, if not those of the training.
        steps: Steps from source to data; one or two network evaluations each, times the
            rounds.
        rounds: How often each step is taken. Without it, 1 for a model trained with --masking,
            else 10.
        seed: Seed of the draws, and of a random mask.
        condition: What to condition on, by name, as for `sample`.
        guidance: How strongly the condition acts: 1 as learned, more than 1 beyond.
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


def impute_main(words: list[str]) -> None:
    """Run the verb."""
    run, saved, values = asked(impute, words, "runs/digits-classes --observed top", data=True)
    check_positive(values, "n", "draws", "steps", "rounds", "block", "threads")
    if values["observed"] is None:
        raise UsageError("impute needs to know what is known: --observed top or random:0.5, say")
    file, array, n = (values.pop(key) for key in ("input", "key", "n"))
    split, source, observed = (values.pop(key) for key in ("split", "data", "observed"))
    with ranks() as team, threads(values.pop("threads")):
        head, network = values.pop("head"), values.pop("network")
        transport = load_transport(run, saved, network, head, values["weights"])
        transport.to(team.device(values.pop("device")))
        table = source if isinstance(source, CountTable) else None
        if file is not None:
            table, split = table_at(file, missing=True), "all"
            x = _read(file, array) if table is None else _cells(table)
            told = str(file)
        elif source is None:
            raise UsageError(f"the data of {run} are of your own class: name it with --data")
        else:
            x, told = source.load(split).x[: ROWS if n is None else n], f"split {split}"
        if n is not None and n > len(x):
            raise UsageError(f"n is {n}; there are {len(x):,} rows to impute")
        x = x[:n]
        mask = known(observed, x, values["seed"])
        truth = None if file is not None else x
        facts = {"input": told, "observed": observed}
        made = impute_rows(run, team, transport, x, mask, truth=truth, facts=facts, **values)
        if made is not None and table is not None:
            _tables(run, table, split, made, mask)


def _read(file: Path, key: str | None) -> Tensor:
    """Data of a file, (n, *event), in which NaN may stand for what is not known."""
    array, _ = read_arrays(file.expanduser(), key, None)
    if array.dtype.kind not in "iuf" or array.ndim < 2 or not array.size:
        raise ValueError(f"{file} holds no rows (n, *event) of numbers")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def _cells(table: CountTable) -> Tensor:
    """Counts of a table, (n, features), NaN where they are missing."""
    data = table.load("all")
    x = dense(data.x)
    return x if data.observed is None else torch.where(data.observed, x.double(), torch.nan)


def _tables(run: Path, table: CountTable, split: str, draws: Tensor, mask: Tensor) -> None:
    """Write mean and interval, and what was known, where the data are a table."""
    made = Restoration(draws)
    results = {"imputed_mean": made.mean, "observed": mask.to(torch.uint8)}
    if len(draws) >= least_draws(LEVEL):
        results["imputed_low"], results["imputed_high"] = made.interval(LEVEL)
    files = results_table(run, "imputed", table, split, results)
    if files:
        console.say(f"wrote {', '.join(map(str, files))}")


def known(word: str, x: Tensor, seed: int) -> Tensor:
    """The mask that a word or a file stands for, in the shape of x.

    Raises:
        UsageError: If it stands for none.
    """
    mask = torch.zeros(x.shape[1:], dtype=torch.bool)
    if word in HALVES:
        if not is_image(tuple(x.shape[1:])):
            raise UsageError(
                f"observed is {word}, but these are no images {tuple(x.shape[1:])}: give "
                "random:0.5, finite, or a file"
            )
        height, width = (size // 2 for size in x.shape[-2:])
        rows = {"top": slice(height), "bottom": slice(-height, None)}.get(word, slice(None))
        columns = {"left": slice(width), "right": slice(-width, None)}.get(word, slice(None))
        mask[..., rows, columns] = True
        return broadcast(mask, x)
    if word.startswith("random:"):
        share = _share(word)
        parts = [
            torch.rand(part.shape, generator=generator("cpu", "observed", seed, index)) < share
            for index, part in enumerate(x.split(1))
        ]
        return torch.cat(parts)
    if word == "finite":
        return torch.isfinite(x)
    path, _, key = word.partition(":")
    if not path.endswith((".npy", ".npz")):
        raise UsageError(
            f"observed is {word!r}; it must be {', '.join(HALVES)}, random:SHARE, finite, or an "
            ".npy or .npz file"
        )
    array, _ = read_arrays(Path(path).expanduser(), key or None, None)
    return broadcast(torch.from_numpy(array), x)


def _share(word: str) -> float:
    try:
        share = float(word.removeprefix("random:"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"observed is {word!r}; the share must lie in [0, 1], as in random:0.5")
    return share


def impute_rows(
    run: Path,
    team: Ranks,
    transport: Transport,
    x: Tensor,
    mask: Tensor,
    *,
    truth: Tensor | None,
    facts: dict[str, Any],
    draws: int,
    steps: int,
    rounds: int | None,
    seed: int,
    condition: dict[str, Any] | None,
    guidance: float,
    weights: str,
    block: int,
    sampler: Sampler | None,
) -> Tensor | None:
    """Make the blocks of this process; assemble and return the draws in the first."""
    sampler = transport.default_sampler() if sampler is None else sampler
    n = len(x) * draws
    meta = meta_of(transport, sampler, steps=steps, seed=seed, weights=weights, block=block)
    meta |= condition_meta(transport, condition, guidance, len(x))
    told = condition_of(transport, condition, len(x))
    told = None if told is None else told.repeat_interleave(draws, 0)
    seen = torch.where(mask, x, torch.zeros_like(x))
    digest = hashlib.sha256(seen.contiguous().numpy().tobytes())
    digest.update(mask.contiguous().numpy().tobytes())
    meta |= facts | {"draws": draws, "rounds": rounds, "hash": f"sha256:{digest.hexdigest()}"}
    all_x, all_masks = (value.repeat_interleave(draws, 0) for value in (seen, mask))
    common: dict[str, Any] = {"steps": steps, "rounds": rounds, "sampler": sampler, "block": block}
    common |= {"key": fresh_key(torch.Generator().manual_seed(seed))}
    common |= {"condition": told, "guidance": guidance}

    def draw(index: int) -> Draw:
        return lambda watch: transport.impute_block(
            index, all_x, all_masks, callback=watch, **common
        )

    folder = run / "imputed.parts"
    # n too: the last block is filled up with copies of the last row.
    asked = {**meta, "n": n}
    blocks = make(folder, team, transport, sampler, draw, n=n, meta=asked, unit="draws")
    if team.rank != 0:
        return None
    made, _, meta = gather(blocks, n, meta)
    result = torch.from_numpy(made).unflatten(0, (-1, draws)).transpose(0, 1)
    meta["rows"] = len(x)
    lines = []
    if truth is not None and not bool(mask.all()):
        meta["scores"] = _scores(transport, truth, ~mask, result, seed)
        lines = [(name, f"{value:.3g}") for name, value in meta["scores"].items()]
    files = _write(run, transport, seen, mask, truth, result, meta)
    blocks.clear()
    console.say(f"{len(x):,} rows imputed by {run}, {draws} draws of each: {cost(meta)}")
    if lines:
        console.say(console.table(lines))
    console.say(f"wrote {', '.join(map(str, files))}")
    return result


def _scores(
    transport: Transport, truth: Tensor, hidden: Tensor, draws: Tensor, seed: int
) -> dict[str, float]:
    """What the draws say of hidden sites against the truth."""
    plain = transport._decode(transport.mean.cpu().expand(transport.shape))
    found = {
        f"rmse of {name}": float(((guess.double() - truth)[hidden] ** 2).mean().sqrt())
        for name, guess in (
            ("the mean of the draws", draws.double().mean(0)),
            ("the mean of the training data", plain),
        )
    }
    if len(draws) >= least_draws(LEVEL):
        (share,) = coverage(
            Restoration(draws),
            truth.to(draws.dtype),
            (LEVEL,),
            where=hidden,
            generator=generator("cpu", "ties", seed),
        )
        found[f"truth in the central {LEVEL:.0%} of the draws"] = share.randomised
        found["standard error"] = share.error
    return found


def _write(
    run: Path,
    transport: Transport,
    x: Tensor,
    mask: Tensor,
    truth: Tensor | None,
    draws: Tensor,
    meta: dict[str, Any],
) -> list[Path]:
    """Write the arrays, and a picture if these are images."""
    files = [run / "imputed.npz"]
    picture = _picture(transport, x, mask, truth, draws)
    if picture is not None:
        files.append(run / "imputed.png")
        files[-1].write_bytes(picture)
    arrays: dict[str, Any] = {
        "x": x.numpy(),
        "observed": mask.numpy(),
        "draws": draws.numpy(),
        "mean": draws.double().mean(0).float().numpy(),
        "sd": draws.double().std(0, correction=0).float().numpy(),
    }
    if truth is not None:
        arrays["truth"] = truth.numpy()
    write_arrays(files[0], **arrays, meta=np.array(json.dumps(meta)))
    return files


def _picture(
    transport: Transport, x: Tensor, mask: Tensor, truth: Tensor | None, draws: Tensor
) -> bytes | None:
    """Rows of what is known, three draws, their mean, and the truth; unknown sites are grey."""
    columns = [x, *draws[:SHOWN_DRAWS], draws.double().mean(0)]
    columns += [] if truth is None else [truth]
    rows = torch.stack([column[:SHOWN].double() for column in columns], 1).flatten(0, 1)
    if not draws.is_floating_point():
        rows = rows.round().to(torch.int64)
    shown = shades(rows, transport)
    if shown is None:
        return None
    shown[:: len(columns)][~mask[:SHOWN]] = GREY
    return grid_png(shown, 255, columns=len(columns))
