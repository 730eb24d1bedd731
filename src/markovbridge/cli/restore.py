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
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.blocks import largest
from markovbridge.cli.drawing import Drawing, cost
from markovbridge.cli.models import conditioned, hashed
from markovbridge.cli.posterior import Input, Posterior, picture, write
from markovbridge.data.rows import Rows
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.expectations import expected
from markovbridge.evaluation.linear_restoration import SITES, Wiener
from markovbridge.evaluation.restoration import (
    LEVELS,
    Restoration,
    Score,
    least_draws,
    score,
    thin,
)
from markovbridge.storage.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Restore(Posterior):
    """Draw full-depth counts from thinned ones: photons of a short exposure, shallow reads.

    RUN is a folder that `markovbridge train` wrote, of a pure-death process. Without an input
    its own test data are thinned, restored and scored against the truth, beside the best linear
    restorations. If the command is interrupted, give it again: it goes on where it was. Several
    processes share the work as for `sample`.

      markovbridge restore RUN --survival 0.05
      markovbridge restore RUN --survival 0.05 --input thinned.npy

    Attributes:
        survival: The share of units that the input has kept, in (0, 1). It must be given.
        draws: Draws for each row; intervals of 90 percent take 19 at least.
        input: An .npy or .npz file of thinned counts, or a count table such as cells.h5ad.
        split: The part of the run's own data to thin.
        steps: Steps from the observed state to full depth; one or two network evaluations each.
        seed: Seed of the thinning and of the draws.
    """

    EXAMPLE = "runs/digits --survival 0.2"

    survival: float | None = None

    def __post_init__(self) -> None:
        least = least_draws(max(LEVELS))
        if self.draws < least:
            raise UsageError(
                f"draws is {self.draws}; intervals of {max(LEVELS):.0%} take at least {least}"
            )
        super().__post_init__()

    def run(self) -> None:
        if self.survival is None:
            raise UsageError(
                "restore needs to know how many units the input has kept: --survival 0.05, say"
            )
        if not 0 < self.survival < 1:
            raise UsageError(f"survival is {self.survival}; it must lie in (0, 1)")
        with self.drawing("restored") as drawing:
            process = drawing.transport.process
            if not process.thins:
                raise UsageError(
                    f"restore is for counts that were thinned, a model of PureDeath, and "
                    f"{drawing.run} has {type(process).__name__}; from Python: "
                    "transport.restore(x, t)"
                )
            self._restore(drawing, self.given(drawing), self.survival)

    def _restore(self, drawing: Drawing, given: Input, survival: float) -> None:
        """Make the blocks of this process; assemble them all in the first."""
        run, transport, draws = drawing.run, drawing.transport, self.draws
        n, t, x = len(given.x), transport.process.observed_time(survival), given.x
        x = thin(x, survival, self.seed) if given.own else transport.check(x, given.told)
        rows = {"columns": given.known, "what": given.told}
        facts, told = conditioned(transport, self.condition, self.guidance, n, **rows)
        facts |= {"input": f"{given.told}, thinned" if given.own else given.told}
        facts |= {"input hash": hashed(x), "rows": n, "survival": survival, "draws": draws}
        each = torch.arange(n).repeat_interleave(draws)
        draw = partial(
            transport.restore_block,
            x=x[each],
            t=t,
            condition=None if told is None else told[each],
            guidance=self.guidance,
        )
        found = self.drawn(drawing, draw, n * draws, "draws", facts)
        if found is None:
            return
        made, meta = Restoration.of_rows(torch.from_numpy(found.samples), draws), found.meta
        scores: list[Score] = []
        if given.own:
            beside = {"condition": told, "guidance": self.guidance, "block": self.block}
            single = expected(transport, x, t, **beside).cpu()
            training = given.ours.load(self.source(run), given.ours.split).x
            top = largest(transport)
            scores = _scores(given.x, x, made, single, training, survival, top, self.seed)
            meta["scores"] = [dataclasses.asdict(one) for one in scores]
        low, high = (torch.stack(ends) for ends in zip(*map(made.interval, LEVELS), strict=True))
        arrays = {"input": x, "levels": torch.tensor(LEVELS, dtype=torch.float64)}
        arrays |= {"low": low, "high": high}
        says = f"the input, divided by its survival {survival:g}", meta
        image = picture(drawing, given, (x.double() / survival).round(), made, says)
        layers = {"thinned": x} if given.own else {}
        files = write(drawing, "restored", given, made, meta, image, arrays, layers)
        found.blocks.clear()
        console.say(f"{n:,} rows restored by {run}, {draws} draws of each: {cost(meta)}")
        if scores:
            console.say(_table(scores))
        drawing.results.wrote(files, "draws", meta)


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
