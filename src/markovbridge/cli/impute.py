"""`markovbridge impute`: draw the unknown part of data given the known part.

    RUN/imputed.npz    `x` (n, *event): the data, unknown sites being whatever they were;
                       `observed`, which sites are known, bool; `draws` (D, n, *event), and
                       `mean` and `sd` (n, *event) of each; `expected` (n, *event), the mean that
                       a model of counts trained with --masking and a mixture as --base states,
                       without --guidance, to which draws add chance; `truth`, where it is known;
                       `meta`, how they were made, with `scores`, as JSON
    RUN/imputed.h5ad   for a count table: the rows with `imputed_mean` (`expected`, if there is
                       one), `imputed_low` and `imputed_high` as layers; see
                       `markovbridge.cli.tables`
    RUN/imputed.png    rows of images: what is known, three draws, mean, and the truth if known

The draws of row i are a function of the model, the options, i, and the rows of its block.
From Python the same are

    transport.impute(x.repeat_interleave(draws, 0), observed.repeat_interleave(draws, 0),
                     generator=torch.Generator().manual_seed(seed), steps=..., rounds=...)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.drawing import Drawing, cost
from markovbridge.cli.models import conditioned, hashed
from markovbridge.cli.posterior import Input, Posterior, picture, write
from markovbridge.data.arrays import read_arrays
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.expectations import expected_ends, states_ends
from markovbridge.evaluation.restoration import Restoration, coverage, least_draws, shown
from markovbridge.samplers.known_sites import broadcast
from markovbridge.storage.errors import UsageError
from markovbridge.storage.png import is_image
from markovbridge.transport import Transport

LEVEL = 0.9  # of the intervals that are scored
HALVES = ("top", "bottom", "left", "right")


@dataclass(frozen=True, kw_only=True)
class Impute(Posterior):
    """Draw the unknown part of data given the known part.

    RUN is a folder that `markovbridge train` wrote. Without an input, a part of its own test
    data is hidden, imputed, and scored against the truth. A model trained with --masking is
    told what is known; any other imputes by replacement, which is approximate, less so with
    more rounds. If the command is interrupted, give it again: it goes on where it was. Several
    processes share the work as for `sample`.

      markovbridge impute RUN --observed top
      markovbridge impute RUN --input x.npy --observed mask.npy

    Attributes:
        observed: Which sites are known: a half of each image (top, bottom, left or right), a
            share of all sites at random (random:0.5), those that are not NaN in the input
            (finite), or a file FILE.npy or FILE.npz:NAME of true and false that broadcasts to
            the data. It must be given.
        input: An .npy or .npz file of data, or a count table such as cells.csv; what unknown
            sites hold does not matter, and they may be NaN, or empty cells.
        split: The part of the run's own data to hide something of.
        steps: Steps from source to data; one or two network evaluations each, times the
            rounds.
        rounds: How often each step is taken. Without it, 1 for a model trained with --masking,
            else 10.
        seed: Seed of the draws, and of a random mask.
    """

    EXAMPLE = "runs/digits-classes --observed top"

    observed: str | None = None
    draws: int = 20
    rounds: int | None = None

    def run(self) -> None:
        if self.observed is None:
            raise UsageError(
                "impute needs to know what is known: --observed top or random:0.5, say, or "
                "finite, all but the missing entries of --input"
            )
        with self.drawing("imputed") as drawing:
            given = self.given(drawing, missing=True)
            mask = known(self.observed, given.x, self.seed, given.order)
            self._impute(drawing, given, mask)

    def _impute(self, drawing: Drawing, given: Input, mask: Tensor) -> None:
        """Make the blocks of this process; assemble them all in the first."""
        run, transport, draws, x = drawing.run, drawing.transport, self.draws, given.x
        seen, n = torch.where(mask, x, torch.zeros_like(x)), len(x)
        rows = {"columns": given.known, "what": given.told}
        facts, told = conditioned(transport, self.condition, self.guidance, n, **rows)
        facts |= {"input": given.told, "observed": self.observed, "draws": draws}
        facts |= {"rounds": self.rounds, "hash": hashed(seen, mask), "rows": n}
        each = torch.arange(n).repeat_interleave(draws)
        draw = partial(
            transport.impute_block,
            x=seen[each],
            observed=mask[each],
            rounds=self.rounds,
            condition=None if told is None else told[each],
            guidance=self.guidance,
        )
        found = self.drawn(drawing, draw, n * draws, "draws", facts)
        if found is None:
            return
        made, meta = Restoration.of_rows(torch.from_numpy(found.samples), draws), found.meta
        lines, single = [], None
        if self.guidance == 1 and states_ends(transport):
            single = expected_ends(transport, seen, mask, condition=told, block=self.block).cpu()
        if given.own and not bool(mask.all()):
            meta["scores"] = _scores(transport, x, ~mask, made, single, self.seed)
            lines = [(name, f"{value:.3g}") for name, value in meta["scores"].items()]
        says = f"what is known ({self.observed}), the rest grey", meta
        image = picture(drawing, given, seen, made, says, ~mask)
        arrays, layers = {"x": seen, "observed": mask}, {"observed": mask.to(torch.uint8)}
        if single is not None:
            arrays["expected"] = layers["imputed_mean"] = single
        files = write(drawing, "imputed", given, made, meta, image, arrays, layers)
        found.blocks.clear()
        console.say(f"{n:,} rows imputed by {run}, {draws} draws of each: {cost(meta)}")
        if lines:
            console.say(console.table(lines))
        drawing.results.wrote(files, "draws", meta)


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
        return shown(x, _share(word), seed)
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


def _scores(
    transport: Transport,
    truth: Tensor,
    hidden: Tensor,
    made: Restoration,
    single: Tensor | None,
    seed: int,
) -> dict[str, float]:
    """What the draws say of hidden sites against the truth, and what the model expects."""
    plain = transport.decode(transport.mean.cpu().expand(transport.shape))
    guesses = {"the mean of the draws": made.mean, "the mean of the training data": plain}
    if single is not None:
        guesses = {"the expected count, one evaluation": single, **guesses}
    found = {
        f"rmse of {name}": float(((guess.double() - truth)[hidden] ** 2).mean().sqrt())
        for name, guess in guesses.items()
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
