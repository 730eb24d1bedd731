"""`markovbridge diagnose`: is a trained mean the mean of any law at all?

RUN/diagnostics.json    {"pieces": [{"times", "survival", "checks": {name: {value, error}}}],
                         "meta": how they were made}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch

from markovbridge.cli import console
from markovbridge.cli.models import conditioned, load_transport
from markovbridge.cli.ranks import Ranks
from markovbridge.cli.verb import Measures, Placed, Weighted
from markovbridge.data import Source
from markovbridge.data.covariates import described
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.consistency import MEANING, Piece, over_time
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import to_json
from markovbridge.storage.locks import locked
from markovbridge.training.run_folder import RunFolder, held_out
from markovbridge.transport import BLOCK, Transport
from markovbridge.transport.saved import hash_weights


@dataclass(frozen=True, kw_only=True)
class Diagnose(Weighted, Placed, Measures):
    """Check a trained model of counts against itself.

    Whatever the data, the expected number of units still to come determines its own change in
    time, and how errors go together. A network need not obey this. How far it is off, at one
    piece of time after the other, is printed and written to RUN/diagnostics.json; all figures
    are relative, and 0 for a perfect model up to the error beside them. It costs 7 n network
    evaluations for each piece. A model of a condition is told what the data know of each point.

    Attributes:
        folder: The run folder, of a pure-death process.
        n: How many data points, drawn at random.
        pieces: How many pieces of time.
        split: The part of the run's own data.
        seed: Seed of the data points, times and sites.
        block: States that go through the network at once.
    """

    EXAMPLE = "runs/digits"

    n: int = 256
    pieces: int = 6
    split: Literal["train", "validation", "test", "all"] = "test"
    block: int = BLOCK

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 2:
            raise UsageError(f"n is {self.n}; a standard error takes at least 2 data points")

    def run(self) -> None:
        run = self.opened()
        source = self.source(run)
        with locked(run.path, "diagnostics"), self.threaded():
            transport = load_transport(run, **self.own(), weights=self.weights)
            if not transport.process.thins:
                raise UsageError(
                    f"diagnose knows identities of pure death, and {run} has "
                    f"{type(transport.process).__name__}"
                )
            transport.to(Ranks(0, 1, 0).device(self.device))
            if not held_out(self.split, trained := run.split()):
                console.note(f"warning: split {self.split} is not held out: {run} saw {trained}")
            self._diagnose(run, transport, source)

    def _diagnose(self, run: RunFolder, transport: Transport, source: Source) -> None:
        split, seed = self.split, self.seed
        dataset = self.data_of(run).load(source, split)
        what = f"{dataset.name}, {split},"
        known: dict[str, Any] = {"columns": dataset.known, "what": what}
        facts, told = conditioned(transport, None, 1.0, len(dataset), **known)
        order = torch.randperm(len(dataset), generator=generator("cpu", "diagnose points", seed))
        chosen = order[: self.n].sort().values
        x1 = dataset.x[chosen]
        with console.Progress(self.pieces * len(x1), "states") as progress:
            found = over_time(
                transport,
                x1,
                pieces=self.pieces,
                condition=None if told is None else told[chosen],
                generator=generator(transport.device, "diagnose", seed),
                block=self.block,
                callback=lambda _: progress.advance(len(x1)),
            )
        meta = {
            "data": f"{dataset.name}, {split}",
            "n": len(x1),
            "seed": seed,
            "weights": self.weights,
            "model": hash_weights(transport),
            "markovbridge": version("markovbridge"),
            **facts,
        }
        content = {"pieces": [dataclasses.asdict(piece) for piece in found], "meta": meta}
        given = described(meta.get("condition"))
        beside = f", given {given}" if given else ""
        head = f"{len(x1):,} data points of {meta['data']}{beside}"
        self.wrote(run, "diagnostics", content, f"{head}\n{_table(found)}")
        if self.json:
            console.say(to_json(content, indent=2))


def _table(found: Sequence[Piece]) -> str:
    """Pieces of time as columns, checks as rows, and what these mean."""
    rows = [("survival", *(f"{p.survival[0]:.2g} - {p.survival[1]:.2g}" for p in found))]
    for name in MEANING:
        checks = [piece.checks[name] for piece in found]
        told = ("–" if c.value != c.value else f"{c.value:.2g} ± {c.error:.1g}" for c in checks)
        rows.append((name, *told))
    meaning = "\n".join(f"  {name}: {text}" for name, text in MEANING.items())
    return f"{console.table(rows)}\n\n{meaning}"
