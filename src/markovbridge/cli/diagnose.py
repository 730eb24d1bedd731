"""`markovbridge diagnose`: is a trained mean the mean of any law at all?

RUN/diagnostics.json    {"pieces": [{"times", "survival", "checks": {name: {value, error}}}],
                         "meta": how they were made}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from markovbridge.cli import console
from markovbridge.cli.drawing import check_positive, conditioned, load_transport, saved_model
from markovbridge.cli.drawing import threads as limited
from markovbridge.cli.errors import UsageError
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.ranks import Ranks
from markovbridge.cli.runs import configuration, data_of, held_out, run_folder, source_of
from markovbridge.data import Source
from markovbridge.data.covariates import described
from markovbridge.diagnostics import MEANING, Piece, over_time
from markovbridge.files import write_json
from markovbridge.locks import locked
from markovbridge.metrics.extractors import hash_weights
from markovbridge.processes import PureDeath
from markovbridge.randomness import generator
from markovbridge.transport import BLOCK

__all__ = ["diagnose"]


def diagnose(
    run: str,
    n: int = 256,
    pieces: int = 6,
    split: Literal["train", "validation", "test", "all"] = "test",
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    block: int = BLOCK,
    device: str | None = None,
    threads: int | None = None,
    data: Source | None = None,
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None,
) -> None:
    """Check a trained model of counts against itself.

    Whatever the data, the expected number of units still to come determines its own change in
    time, and how errors go together. A network need not obey this. How far it is off, at one
    piece of time after the other, is printed and written to RUN/diagnostics.json; all figures
    are relative, and 0 for a perfect model up to the error beside them. It costs 7 n network
    evaluations for each piece. A model of a condition is told what the data know of each point.

    Args:
        run: The run folder, of a pure-death process.
        n: How many data points, drawn at random.
        pieces: How many pieces of time.
        split: The part of the run's own data.
        seed: Seed of the data points, times and sites.
        weights: The average of the weights over training (ema), or the last ones (raw) of
            the newest checkpoint.
        block: States that go through the network at once.
        device: Such as cpu or cuda. Without it, a GPU if there is one.
        threads: CPU threads. Without it, torch's own choice.
        data: Data, if not those of the training.
        network: Only for a network of your own: its class.
    """


def diagnose_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RUN", "diagnose runs/digits")
    run = None if name is None else run_folder(name)
    saved = {} if run is None else saved_model(run)
    config = {} if run is None else configuration(run)
    source = None if run is None else source_of(run, config)
    defaults = None if source is None else {"data": source}
    options = parse(diagnose, rest, usage=f"diagnose {name or 'RUN'}", defaults=defaults)
    assert run is not None
    values = options.values
    check_positive(values, "n", "pieces", "block", "threads")
    if values["n"] < 2:
        raise UsageError(f"n is {values['n']}; a standard error takes at least 2 data points")
    if values["data"] is None:
        raise UsageError(f"the data of {run} are of your own class: name it with --data")
    with locked(run, "diagnostics"), limited(values.pop("threads")):
        transport = load_transport(run, saved, values.pop("network"), None, values["weights"])
        if not isinstance(transport.process, PureDeath):
            raise UsageError(
                f"diagnose knows identities of pure death, and {run} has "
                f"{type(transport.process).__name__}"
            )
        transport.to(Ranks(0, 1, 0).device(values.pop("device")))
        if not held_out(values["split"], trained := config.get("split", "train")):
            console.note(f"warning: split {values['split']} is not held out: {run} saw {trained}")
        _diagnose(run, transport, **values)


def _diagnose(
    run: Path,
    transport: Any,
    *,
    data: Source,
    n: int,
    pieces: int,
    split: str,
    seed: int,
    weights: str,
    block: int,
) -> None:
    dataset = data_of(run).load(data, split)
    what = f"{dataset.name}, {split},"
    known: dict[str, Any] = {"columns": dataset.known, "what": what}
    facts, told = conditioned(transport, None, 1.0, len(dataset), **known)
    order = torch.randperm(len(dataset), generator=generator("cpu", "diagnose points", seed))
    chosen = order[:n].sort().values
    x1 = dataset.x[chosen]
    with console.Progress(pieces * len(x1), "states") as progress:
        found = over_time(
            transport,
            x1,
            pieces=pieces,
            condition=None if told is None else told[chosen],
            generator=generator(transport.device, "diagnose", seed),
            block=block,
            callback=lambda _: progress.advance(len(x1)),
        )
    meta = {
        "data": f"{dataset.name}, {split}",
        "n": len(x1),
        "seed": seed,
        "weights": weights,
        "model": hash_weights(transport),
        "markovbridge": version("markovbridge"),
        **facts,
    }
    content = {"pieces": [dataclasses.asdict(piece) for piece in found], "meta": meta}
    path = write_json(run / "diagnostics.json", content)
    given = described(meta.get("condition"))
    console.say(f"{len(x1):,} data points of {meta['data']}{f', given {given}' if given else ''}")
    console.say(_table(found))
    console.say(f"\nwrote {path}; for a page of it all: markovbridge report {run}")


def _table(found: Sequence[Piece]) -> str:
    """Pieces of time as columns, checks as rows, and what these mean."""
    rows = [("survival", *(f"{p.survival[0]:.2g} - {p.survival[1]:.2g}" for p in found))]
    for name in MEANING:
        checks = [piece.checks[name] for piece in found]
        told = ("–" if c.value != c.value else f"{c.value:.2g} ± {c.error:.1g}" for c in checks)
        rows.append((name, *told))
    meaning = "\n".join(f"  {name}: {text}" for name, text in MEANING.items())
    return f"{console.table(rows)}\n\n{meaning}"
