"""What the verbs that draw share: their options, a model, and blocks made from it by processes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.blocks import Blocks, largest
from markovbridge.cli.models import load_transport
from markovbridge.cli.ranks import Ranks, ranks
from markovbridge.cli.results import Results, results
from markovbridge.cli.verb import OnRun, Placed, Weighted, opened
from markovbridge.data.covariates import described
from markovbridge.doors.randomness import fresh_key
from markovbridge.heads import Head
from markovbridge.samplers import Sampler
from markovbridge.samplers.walks import blocks as blocks_of
from markovbridge.storage.config import at_a_glance, short, to_config
from markovbridge.storage.locks import locked
from markovbridge.storage.png import is_image, to_shades
from markovbridge.training.run_folder import RunFolder
from markovbridge.transport import Transport
from markovbridge.transport.draws import BLOCK, STEPS
from markovbridge.transport.saved import hash_weights


class Drawing(NamedTuple):
    """What is drawn from, while a verb draws.

    Attributes:
        run: The run.
        team: The processes.
        transport: The model of the run, on the device of this process.
        results: Where results go.
    """

    run: RunFolder
    team: Ranks
    transport: Transport
    results: Results


class Drawn(NamedTuple):
    """What was drawn: samples (n, *event), the first block with its path, how, and the blocks."""

    samples: np.ndarray
    first: dict[str, np.ndarray]
    meta: dict[str, Any]
    blocks: Blocks


@dataclass(frozen=True, kw_only=True)
class Draws(Weighted, Placed, OnRun):
    """A verb that draws from the model of a run.

    Attributes:
        steps: Steps from source to data; one or two network evaluations each.
        seed: Seed of all that is drawn.
        condition: What to condition on, by name, for models trained with a condition:
            --condition.label 3. Of a class or category, * takes each in turn. What is not
            named is unknown.
        guidance: How strongly the condition acts: 1 as learned, more than 1 beyond.
        block: What goes through the network at once; memory grows with it, and another result
            comes of another value.
        sampler: How to step. Without it, what the model brings or what suits it: steps of second
            order, two evaluations each, where a mean is learned, and for others Bridge.
        head: The model's own head, to change what has no weights, such as
            --head.kernel stochastic.
        output: Where the results go, if not into the run folder: a folder, or a file that ends
            in .npz, or as the table of the run does. Results of this program that are there are
            replaced, and that is said; other files are not.
    """

    steps: int = STEPS
    condition: dict[str, Any] | None = None
    guidance: float = 1.0
    block: int = BLOCK
    sampler: Sampler | None = None
    head: Head | None = None
    output: Path | None = None

    @classmethod
    def defaults(cls, name: str) -> dict[str, Any]:
        return {**super().defaults(name), "head": opened(name).head()}

    @contextlib.contextmanager
    def drawing(self, made: str) -> Iterator[Drawing]:
        """What is drawn from, while inside.

        Args:
            made: What is written, such as "samples", by no other command at the same time.

        Raises:
            UsageError, FileExistsError: If it cannot be written where it is to be.
            InUseError: If another command writes the same.
        """
        run = self.opened()
        with contextlib.ExitStack() as stack:
            team = stack.enter_context(ranks())
            place = results(run, made, self.output, getattr(self, "input", None))
            if team.rank == 0:
                stack.enter_context(locked(place.folder.path, place.name))
            stack.enter_context(self.threaded())
            transport = load_transport(run, **self.own(), weights=self.weights)
            yield Drawing(run, team, transport.to(team.device(self.device)), place)

    def drawn(
        self,
        drawing: Drawing,
        draw: Callable[..., Tensor],
        n: int,
        unit: str,
        facts: dict[str, Any],
        *,
        grid: Tensor | None = None,
    ) -> Drawn | None:
        """Make the blocks of this process that are not there yet, and wait for the others.

        Args:
            drawing: What is drawn from.
            draw: Such as `transport.sample_block`: draws the block of an index, given options.
            n: How many samples in all.
            unit: What progress is counted in, plural.
            facts: What samples depend on beside the options of `Draws`, as it is stored with
                them.
            grid: Where the steps stop, if not where the transport has them stop.

        Returns:
            All that was made, in the first process; None in the others.
        """
        transport, team = drawing.transport, drawing.team
        sampler = transport.default_sampler() if self.sampler is None else self.sampler
        parts = {
            part: to_config(getattr(transport, part)) for part in ("head", "process", "coupling")
        }
        parts["sampler"] = to_config(sampler)
        head = _told(transport.head, parts["head"])
        meta = {
            "sampler": f"{_told(sampler, parts['sampler'])}, {head}",
            "steps": self.steps,
            "seed": self.seed,
            "weights": self.weights,
            "block": self.block,
            "device": transport.device.type,
            "model": hash_weights(transport),
            "markovbridge": version("markovbridge"),
            **facts,
        }
        place = drawing.results
        folder = place.folder.blocks(place.name)
        blocks = Blocks(folder, {**meta, **parts, "torch": torch.__version__})
        if team.rank == 0 and (changed := blocks.prepare()):
            console.note(f"{changed} is not what an interrupted call was given: starting afresh")
        team.wait()
        total = blocks_of(n, self.block)
        mine = [k for k in range(team.rank, total, team.size) if not blocks.done(k)]
        if team.rank == 0 and 0 < len(mine) < len(range(0, total, team.size)):
            console.note("continuing an interrupted call")
        amount = min(n, len(mine) * self.block * team.size)
        share = amount / max(1, len(mine))
        one = partial(
            draw,
            key=fresh_key(torch.Generator().manual_seed(self.seed)),
            steps=self.steps if grid is None else grid,
            sampler=sampler,
            block=self.block,
        )
        try:
            with console.Progress(amount, unit, active=team.rank == 0) as progress:
                for index in mine:
                    blocks.make(
                        index,
                        transport,
                        lambda watch, index=index: one(index, callback=watch),
                        steps=self.steps,
                        advance=lambda part: progress.advance(part * share),
                    )
        except KeyboardInterrupt:
            console.note("what is finished is kept: give the same command again to go on")
            raise
        team.wait()
        return _gathered(blocks, total, n, meta) if team.rank == 0 else None


def _gathered(blocks: Blocks, total: int, n: int, meta: dict[str, Any]) -> Drawn:
    """All samples, and in `meta` what they cost."""
    parts = [blocks.load(index) for index in range(total)]
    samples = np.concatenate([part["samples"] for part in parts])[:n]
    evaluations = float(np.mean([part["evaluations"] for part in parts]))
    meta = {
        **meta,
        "n": n,
        "evaluations": int(evaluations) if evaluations.is_integer() else evaluations,
        "seconds": round(float(np.sum([part["seconds"] for part in parts])), 3),
    }
    return Drawn(samples, parts[0], meta, blocks)


def cost(meta: dict[str, Any]) -> str:
    """What samples were conditioned on, how they were made and what they cost, in words."""
    given = described(meta.get("condition"), meta.get("guidance", 1.0))
    beginning = f"given {given}; " if given else ""
    return (
        f"{beginning}{at_a_glance(meta['sampler'])}, {meta['steps']} steps, "
        f"{meta['evaluations']:g} evaluations, {meta['weights']} weights, seed {meta['seed']}; "
        f"{meta['seconds']:.1f} s, "
        f"{meta['n'] / max(meta['seconds'], 1e-3):.3g} samples/s"
    )


def caption(run: RunFolder, shows: str, meta: dict[str, Any]) -> str:
    """What stands below a picture of what was drawn.

    Args:
        run: Of the model.
        shows: What is to be seen, such as "64 of 256 samples".
        meta: How it was made.
    """
    given = described(meta.get("condition"), meta.get("guidance", 1.0))
    name, sampler = run.path.resolve().name, at_a_glance(meta["sampler"])
    return (
        f"{name}: {shows}.{f' Given {given}.' if given else ''} {sampler}, "
        f"{meta['evaluations']:g} evaluations, {meta['weights']} weights, seed {meta['seed']}"
    )


def shades(x: Tensor, transport: Transport) -> Tensor | None:
    """States (N, *event) as images for `grid_png(..., 255)`; None if they are none.

    Counts go from black at 0 to white at the largest; reals from the least to the greatest.
    """
    if not is_image(transport.shape):
        return None
    if x.is_floating_point():
        return to_shades(x, float(x.min()), float(x.max()))
    return to_shades(x, 0, largest(transport) or max(1, int(x.max())))


def _told(part: Any, config: dict[str, Any]) -> str:
    """A part by its class and those options of its configuration that are not the defaults."""
    fields = (f for f in dataclasses.fields(part) if f.default is not dataclasses.MISSING)
    usual = {f.name: to_config(f.default) for f in fields}
    own = {k: v for k, v in config["init_args"].items() if usual.get(k) != v}
    return short({**config, "init_args": own}).removesuffix("()")
