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

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

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
)
from markovbridge.cli.errors import UsageError
from markovbridge.cli.posterior import Input, input_of, picture, write
from markovbridge.cli.ranks import Ranks
from markovbridge.data import Source
from markovbridge.data.arrays import read_arrays
from markovbridge.heads import Head
from markovbridge.images import is_image
from markovbridge.masking import broadcast
from markovbridge.randomness import generator
from markovbridge.restoration import Restoration, coverage, least_draws
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.transport import Transport

__all__ = ["impute"]

LEVEL = 0.9  # of the intervals that are scored
HALVES = ("top", "bottom", "left", "right")


def impute(
    run: str,
    observed: str | None = None,
    draws: int = 20,
    n: int | None = None,
    input: Path | None = None,
    key: str | None = None,
    obs: Path | None = None,
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
        obs: For an input, a .csv, .tsv or .parquet table of its covariates, if it does not hold
            them itself; rows are matched by name.
        split: The part of the run's own data to hide something of.
        data: Data to take, if not those of the training.
        steps: Steps from source to data; one or two network evaluations each, times the
            rounds.
        rounds: How often each step is taken. Without it, 1 for a model trained with --masking,
            else 10.
        seed: Seed of the draws, and of a random mask.
        condition: What to condition on, by name, as for `sample`, in place of what the data
            know of each row, which the model is told by itself; null for unknown.
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
        raise UsageError(
            "impute needs to know what is known: --observed top or random:0.5, say, or finite, "
            "all but the missing entries of --input"
        )
    with opened(run, saved, values, "imputed") as (team, transport):
        given = input_of(run, "impute", transport, values, missing=True)
        _impute(run, team, transport, given, **values)


def known(word: str, x: Tensor, seed: int, order: Tensor | None = None) -> Tensor:
    """The mask that a word or a file stands for, in the shape of x.

    Args:
        word: The word, or the file.
        x: The rows, with features in the order of the model.
        seed: Of a random mask.
        order: For each feature of the model its position in the file of x, and so in that of
            a mask; None if the same.

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
    mask = broadcast(torch.from_numpy(array), x)
    return mask if order is None else mask[..., order]


def _share(word: str) -> float:
    try:
        share = float(word.removeprefix("random:"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"observed is {word!r}; the share must lie in [0, 1], as in random:0.5")
    return share


def _impute(
    run: Path,
    team: Ranks,
    transport: Transport,
    given: Input,
    *,
    observed: str,
    draws: int,
    rounds: int | None,
    condition: dict[str, Any] | None,
    guidance: float,
    **how: Unpack[How],
) -> None:
    """Make the blocks of this process; assemble them all in the first."""
    x, n = given.x, len(given.x)
    mask = known(observed, x, how["seed"], given.order)
    seen = torch.where(mask, x, torch.zeros_like(x))
    rows = {"columns": given.known, "what": given.told}
    facts, told = conditioned(transport, condition, guidance, n, **rows)
    facts |= {"input": given.told, "observed": observed, "draws": draws, "rounds": rounds}
    facts |= {"hash": hashed(seen, mask), "rows": n}
    each = torch.arange(n).repeat_interleave(draws)
    draw = partial(
        transport.impute_block,
        x=seen[each],
        observed=mask[each],
        rounds=rounds,
        condition=None if told is None else told[each],
        guidance=guidance,
    )
    found = drawn(run / "imputed.parts", team, transport, draw, n * draws, "draws", facts, **how)
    if found is None:
        return
    made, meta = Restoration.of_rows(torch.from_numpy(found.samples), draws), found.meta
    lines = []
    if given.own and not bool(mask.all()):
        meta["scores"] = _scores(transport, x, ~mask, made, how["seed"])
        lines = [(name, f"{value:.3g}") for name, value in meta["scores"].items()]
    image = picture(transport, given, seen, made, ~mask)
    arrays, layers = {"x": seen, "observed": mask}, {"observed": mask.to(torch.uint8)}
    files = write(run, "imputed", given, made, meta, image, arrays, layers)
    found.blocks.clear()
    console.say(f"{n:,} rows imputed by {run}, {draws} draws of each: {cost(meta)}")
    if lines:
        console.say(console.table(lines))
    console.say(f"wrote {', '.join(map(str, files))}")


def _scores(
    transport: Transport, truth: Tensor, hidden: Tensor, made: Restoration, seed: int
) -> dict[str, float]:
    """What the draws say of hidden sites against the truth."""
    plain = transport.decode(transport.mean.cpu().expand(transport.shape))
    found = {
        f"rmse of {name}": float(((guess.double() - truth)[hidden] ** 2).mean().sqrt())
        for name, guess in (
            ("the mean of the draws", made.mean),
            ("the mean of the training data", plain),
        )
    }
    if len(made.draws) >= least_draws(LEVEL):
        (share,) = coverage(
            made,
            truth.to(made.draws.dtype),
            (LEVEL,),
            where=hidden,
            generator=generator("cpu", "ties", seed),
        )
        found[f"truth in the central {LEVEL:.0%} of the draws"] = share.randomised
        found["standard error"] = share.error
    return found
