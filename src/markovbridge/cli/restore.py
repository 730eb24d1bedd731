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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from markovbridge.cli import console
from markovbridge.cli.blocks import largest
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
from markovbridge.data.rows import Rows
from markovbridge.heads import Head
from markovbridge.processes import PureDeath
from markovbridge.randomness import generator
from markovbridge.restoration import (
    DRAWS,
    LEVELS,
    Restoration,
    Score,
    expected,
    least_draws,
    score,
    thin,
)
from markovbridge.samplers import Sampler
from markovbridge.sampling import BLOCK, STEPS
from markovbridge.transport import Transport
from markovbridge.wiener import SITES, Wiener

__all__ = ["restore"]


def restore(
    run: str,
    survival: float | None = None,
    draws: int = DRAWS,
    n: int | None = None,
    input: Path | None = None,
    key: str | None = None,
    obs: Path | None = None,
    split: Literal["train", "validation", "test", "all"] = "test",
    data: Source | None = None,
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
        obs: For an input, a .csv, .tsv or .parquet table of its covariates, if it does not hold
            them itself; rows are matched by name.
        split: The part of the run's own data to thin.
        data: Data to thin, if not those of the training.
        steps: Steps from the observed state to full depth; one or two network evaluations each.
        seed: Seed of the thinning and of the draws.
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


def restore_main(words: list[str]) -> None:
    """Run the verb."""
    run, saved, values = asked(restore, words, "runs/digits --survival 0.2", data=True)
    check_positive(values, "n", "steps", "block", "threads")
    _check(values)
    source = values["data"]
    with opened(run, saved, values, "restored") as (team, transport):
        if not isinstance(transport.process, PureDeath):
            raise UsageError(
                f"restore is for counts that were thinned, a model of PureDeath, and {run} has "
                f"{type(transport.process).__name__}; from Python: transport.restore(x, t)"
            )
        given = input_of(run, "restore", transport, values)
        _restore(run, team, transport, given, source, **values)


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


def _restore(
    run: Path,
    team: Ranks,
    transport: Transport,
    given: Input,
    source: Source,
    *,
    survival: float,
    draws: int,
    condition: dict[str, Any] | None,
    guidance: float,
    **how: Unpack[How],
) -> None:
    """Make the blocks of this process; assemble them all in the first."""
    n, t = len(given.x), transport.process.observed_time(survival)
    x = given.x
    x = thin(x, survival, how["seed"]) if given.own else transport.check(x, given.told)
    rows = {"columns": given.known, "what": given.told}
    facts, told = conditioned(transport, condition, guidance, n, **rows)
    facts |= {"input": f"{given.told}, thinned" if given.own else given.told}
    facts |= {"input hash": hashed(x), "rows": n, "survival": survival, "draws": draws}
    each = torch.arange(n).repeat_interleave(draws)
    draw = partial(
        transport.restore_block,
        x=x[each],
        t=t,
        condition=None if told is None else told[each],
        guidance=guidance,
    )
    found = drawn(run / "restored.parts", team, transport, draw, n * draws, "draws", facts, **how)
    if found is None:
        return
    made, meta = Restoration.of_rows(torch.from_numpy(found.samples), draws), found.meta
    scores: list[Score] = []
    if given.own:
        beside = {"condition": told, "guidance": guidance, "block": how["block"]}
        single = expected(transport, x, t, **beside).cpu()
        training = given.ours.load(source, given.ours.split).x
        top = largest(transport)
        scores = _scores(given.x, x, made, single, training, survival, top, how["seed"])
        meta["scores"] = [dataclasses.asdict(one) for one in scores]
    low, high = (torch.stack(ends) for ends in zip(*map(made.interval, LEVELS), strict=True))
    arrays = {"input": x, "levels": torch.tensor(LEVELS, dtype=torch.float64)}
    arrays |= {"low": low, "high": high}
    image = picture(transport, given, (x.double() / survival).round(), made)
    layers = {"thinned": x} if given.own else {}
    files = write(run, "restored", given, made, meta, image, arrays, layers)
    found.blocks.clear()
    console.say(f"{n:,} rows restored by {run}, {draws} draws of each: {cost(meta)}")
    if scores:
        console.say(_table(scores))
    console.say(f"wrote {', '.join(map(str, files))}")


def _scores(
    truth: Tensor,
    x: Tensor,
    made: Restoration,
    single: Tensor,
    training: Tensor | Rows,
    survival: float,
    maximum: int | None,
    seed: int,
) -> list[Score]:
    """The model's restoration and the linear ones against the truth."""

    def ties() -> torch.Generator:
        return generator("cpu", "ties", seed)

    found = [
        score("draws and their mean", truth, made.mean, made, generator=ties()),
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
            linear = Wiener.fit(training, survival, transform=transform, maximum=maximum)
            drawn = linear.restore(x, len(made.draws), generator=generator("cpu", seed))
            found.append(score(title, truth, linear.estimate(x), drawn, generator=ties()))
    return [*found, score("input / survival", truth, x.double() / survival)]


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
