"""`markovbridge inspect`: what a model or a data set does between source and data.

`inspect.html` shows drift adjustments (or jumps) over time, how many data points carry
the posterior, and posterior means along paths, for several laws side by side;
`inspect.json` holds the numbers of the first two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.models import load_transport
from markovbridge.cli.verb import Weighted, opened
from markovbridge.couplings import Coupling, Dirac, Gaussian, Independent, Noised
from markovbridge.data import Dataset, Source
from markovbridge.data.availability import SOURCES
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.inspection import View, look
from markovbridge.evaluation.report.inspection import write_inspection
from markovbridge.exact import Empirical
from markovbridge.processes import LinearDiffusion, Process, RoundedSupport
from markovbridge.storage.config import from_config, to_config
from markovbridge.storage.errors import UsageError, closest
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import RunData
from markovbridge.transport import Transport


@dataclass(frozen=True, kw_only=True)
class Inspect(Weighted):
    """Show what a model or a data set does between source and data.

    TARGET is a run folder, or a data set that `markovbridge data` lists. The law of a data
    set is known exactly, for time reversal and for a bridge mixture; both are drawn under the
    same axes, with the learned law of a run beside them:

      markovbridge inspect digits
      markovbridge inspect digits --process PureDeath --process.maximum 16

    Attributes:
        target: A run folder or the name of a data set.
        data: The data, if not those of the run or of that name.
        split: The part of the data to look at. Without it, that of the training, or train.
        process: Without a run, the reference process: Brownian motion if none is given. With a
            run only for a process of your own, with the options it was trained with.
        points: Use at most so many data points, drawn at random; time grows with it.
        states: Look at so many states at each time.
        times: Look at so many times.
        seed: Seed of points, states and paths.
        output: Folder for the result. Without it, the run folder, or inspect/NAME.
    """

    TARGET = "target"
    USAGE = "RUN|DATA"
    EXAMPLE = "digits"

    target: str | Path = field(kw_only=False)
    data: Source | None = None
    split: Literal["train", "validation", "test", "all"] | None = None
    process: Process | None = None
    points: int = 10000
    states: int = 32
    times: int = 40
    output: Path | None = None

    @classmethod
    def defaults(cls, name: str) -> dict[str, Any]:
        run = _run(name)
        return {"data": to_config(_named(name)) if run is None else run.source()}

    def run(self) -> None:
        run, name = _run(self.target), str(self.target)
        source, transport = self._source(run), None
        if run is not None:
            transport = load_transport(run, **self.own(), weights=self.weights)
        split = self.split or ("train" if run is None else run.split())
        output = self.output or (Path("inspect") / name if run is None else run.path)
        with self.threaded():
            if run is None:
                data = source.load(split)
            else:
                data = RunData(run.path, run.configuration(), console.note).load(source, split)
            self._inspect(name, transport, output, data, split)

    def _source(self, run: RunFolder | None) -> Source:
        """Where the data come from.

        Raises:
            UsageError: If they are of the user's own class, which is not named.
        """
        if self.data is not None:
            return self.data
        own = run.source() if run else to_config(_named(self.target))
        if own is None:
            raise UsageError(f"the data of {run} are of your own class: name it with --data")
        return from_config(own, Source, "data")

    def _inspect(
        self,
        name: str,
        transport: Transport | None,
        output: Path,
        dataset: Dataset,
        split: str,
    ) -> None:
        process, times, seed = self.process, self.times, self.seed
        if transport is not None:
            process = transport.process
            if transport.coupling.preserve:
                raise UsageError(f"{name} preserves its coupling, which a law of x_t cannot show")
        elif process is None:
            support = None if dataset.maximum is None else RoundedSupport(dataset.maximum)
            process = LinearDiffusion(support=support)
        order = generator("cpu", "inspect points", seed)
        x = dataset.x[_some(len(dataset), self.points, order)]
        x = process.check(x, dataset.name)
        ends = x[_some(len(x), self.states, order)]
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
                law = lambda x, t, _, ask=model.law: ask(x, t)  # noqa: E731
                seen.append(look("learned", process, law, model.coupling, ends, **common))
        facts = {
            "data": f"{dataset.name}, split {split}",
            "points": len(x),
            "states": len(ends),
            "seed": seed,
            "couplings": "; ".join(f"{title}: {coupling}" for title, coupling in laws),
        }
        if transport is not None:
            facts["learned with"] = str(transport.coupling)
        there = [*output.iterdir()] if output.is_dir() else []
        written = write_inspection(output, Path(name).name, process, seen, facts)
        console.say(console.wrote(written, there))


def _named(name: str | Path) -> Source | None:
    """The known data set of a name, or None."""
    return SOURCES.get(str(name))


def _run(name: str | Path) -> RunFolder | None:
    """The run of a name; None if it is that of a data set.

    Raises:
        UsageError: If it is neither.
    """
    if str(name) in SOURCES:
        return None
    if len(Path(name).parts) == 1 and not Path(name).is_dir():
        raise UsageError(
            f"{str(name)!r} is no run folder and no data set{closest(str(name), SOURCES)}; the "
            f"data sets are {', '.join(SOURCES)}"
        )
    return opened(name)


def _some(total: int, n: int, order: torch.Generator) -> Tensor:
    """At most n of 0 .. total-1, at random, in rising order."""
    return torch.randperm(total, generator=order)[:n].sort().values


def exact_laws(process: Process, own: Coupling | None) -> list[tuple[str, Coupling]]:
    """Couplings under which the law of a data set is known, by what they are called.

    The bridge mixture is that of the run if its law is known, else from a Gaussian source.
    """
    if process.jumps:
        # From a point, as pure death is, time reversal and bridge mixture are the same.
        return [("exact, this data set", Noised())]
    known = isinstance(own, Dirac) or (
        isinstance(own, Independent) and isinstance(own.source, Gaussian)
    )
    mixture = own if known and own is not None else Independent(Gaussian(correlated=True))
    return [("bridge mixture, exact", mixture), ("time reversal, exact", Noised())]
