"""`markovbridge inspect`: what a model or a data set does between source and data.

`inspect.html` shows drift adjustments (or jumps) over time, how many data points carry
the posterior, and posterior means along paths, for several laws side by side;
`inspect.json` holds the numbers of the first two.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from markovbridge.cli import console
from markovbridge.cli.drawing import check_positive, load_transport, saved_model
from markovbridge.cli.drawing import threads as limited
from markovbridge.cli.errors import UsageError, closest
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.runs import configuration, data_of, run_folder, source_of
from markovbridge.config import to_config
from markovbridge.couplings import Coupling, Dirac, Gaussian, Independent, Noised
from markovbridge.data import Dataset, Source
from markovbridge.data.known import KNOWN
from markovbridge.exact import Empirical
from markovbridge.inspection import View, look
from markovbridge.processes import JumpProcess, LinearDiffusion, Process, Rounded
from markovbridge.randomness import generator
from markovbridge.report.inspection import write_inspection
from markovbridge.transport import Transport

__all__ = ["inspect"]


def inspect(
    target: str,
    data: Source | None = None,
    split: Literal["train", "validation", "test", "all"] | None = None,
    process: Process | None = None,
    points: int = 10000,
    states: int = 32,
    times: int = 40,
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    threads: int | None = None,
    output: Path | None = None,
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None,
) -> None:
    """Show what a model or a data set does between source and data.

    TARGET is a run folder, or a data set that `markovbridge data` lists. The law of a data
    set is known exactly, for time reversal and for a bridge mixture; both are drawn under the
    same axes, with the learned law of a run beside them:

      markovbridge inspect digits
      markovbridge inspect digits --process PureDeath --process.maximum 16

    Args:
        target: A run folder or the name of a data set.
        data: The data, if not those of the run or of that name.
        split: The part of the data to look at. Without it, that of the training, or train.
        process: Without a run, the reference process: Brownian motion if none is given.
        points: Use at most so many data points, drawn at random; time grows with it.
        states: Look at so many states at each time.
        times: Look at so many times.
        seed: Seed of points, states and paths.
        weights: The average of a run's weights (ema), or the last ones (raw).
        threads: CPU threads. Without it, torch's own choice.
        output: Folder for the result. Without it, the run folder, or inspect/NAME.
        network: Only for a network of your own: its class.
    """


def inspect_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RUN or DATA", "inspect digits")
    known = {entry: source for entry, _, source in KNOWN}
    run = None if name is None or name in known else _run(name, known)
    config = {} if run is None else configuration(run)
    if name in known:
        source = to_config(known[name])
    else:
        source = None if run is None else source_of(run, config)
    defaults = None if source is None else {"data": source}
    options = parse(inspect, rest, usage=f"inspect {name or 'RUN|DATA'}", defaults=defaults)
    assert name is not None
    values = options.values
    check_positive(values, "points", "states", "times", "threads")
    if values["data"] is None:
        raise UsageError(f"the data of {name} are of your own class: name it with --data")
    transport = None
    weights, network = values.pop("weights"), values.pop("network")
    if run is not None:
        if values["process"] is not None:
            raise UsageError(f"{run} has a process of its own; leave --process out")
        transport = load_transport(run, saved_model(run), network, None, weights)
    split = values.pop("split") or config.get("split", "train")
    output = values.pop("output") or run or Path("inspect") / name
    with limited(values.pop("threads")):
        source = values.pop("data")
        data = source.load(split) if run is None else data_of(run).load(source, split)
        _inspect(name, transport, output, dataset=data, split=split, **values)


def _run(name: str, known: dict[str, Source]) -> Path:
    if len(Path(name).parts) == 1 and not Path(name).is_dir():
        raise UsageError(
            f"{name!r} is no run folder and no data set{closest(name, known)}; the data sets are "
            f"{', '.join(known)}"
        )
    return run_folder(name)


def _inspect(
    name: str,
    transport: Transport | None,
    output: Path,
    *,
    dataset: Dataset,
    split: str,
    process: Process | None,
    points: int,
    states: int,
    times: int,
    seed: int,
) -> None:
    if transport is not None:
        process = transport.process
        if transport.coupling.preserve:
            raise UsageError(f"{name} preserves its coupling, which a law of x_t cannot show")
    elif process is None:
        support = None if dataset.maximum is None else Rounded(dataset.maximum)
        process = LinearDiffusion(support=support)
    order = generator("cpu", "inspect points", seed)
    x = dataset.x[_some(len(dataset), points, order)]
    x = process.check(x, dataset.name)
    ends = x[_some(len(x), states, order)]
    laws = exact_laws(process, None if transport is None else transport.coupling)
    seen: list[View] = []
    looks = (times + 1) * (len(laws) + (transport is not None))
    with console.Progress(looks, "looks") as progress:
        common: dict[str, Any] = {
            "times": times,
            "seed": seed,
            "callback": lambda: progress.advance(1),
        }
        for title, coupling in laws:
            law = Empirical(process, x, coupling=coupling)
            seen.append(look(title, process, law, coupling, ends, **common))
        if transport is not None:
            model = transport.eval()
            seen.append(look("learned", process, model.law, model.coupling, ends, **common))
    facts = {
        "data": f"{dataset.name}, split {split}",
        "points": len(x),
        "states": len(ends),
        "seed": seed,
        "couplings": "; ".join(f"{title}: {coupling}" for title, coupling in laws),
    }
    if transport is not None:
        facts["learned with"] = str(transport.coupling)
    written = write_inspection(output, Path(name).name, process, seen, facts)
    console.say(f"wrote {', '.join(map(str, written))}")


def _some(total: int, n: int, order: torch.Generator) -> Tensor:
    """At most n of 0 .. total-1, at random, in rising order."""
    return torch.randperm(total, generator=order)[:n].sort().values


def exact_laws(process: Process, own: Coupling | None) -> list[tuple[str, Coupling]]:
    """Couplings under which the law of a data set is known, by what they are called.

    The bridge mixture is that of the run if its law is known, else from a Gaussian source.
    """
    if isinstance(process, JumpProcess):
        # From a point, as pure death is, time reversal and bridge mixture are the same.
        return [("exact, this data set", Noised())]
    known = isinstance(own, Dirac) or (
        isinstance(own, Independent) and isinstance(own.source, Gaussian)
    )
    mixture = own if known and own is not None else Independent(Gaussian(correlated=True))
    return [("bridge mixture, exact", mixture), ("time reversal, exact", Noised())]
