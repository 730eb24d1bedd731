"""What every verb of the command line is: fields that are its options, and `run`.

The bases below it hold what several verbs share, each option explained once, where it is:

    Verb
      OnRun          the folder of the run
        OnData       data: the run's own, or other data
          Measures   json
      Computes       seed, threads, network
        Weighted     weights
        Placed       device
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import nn

from markovbridge.cli import console
from markovbridge.cli.usage import render
from markovbridge.couplings import Coupling
from markovbridge.data import Source
from markovbridge.heads import Head
from markovbridge.processes import Process
from markovbridge.recipes.options.parser import ParsedOptions, parse, to_yaml
from markovbridge.storage.config import from_config
from markovbridge.storage.errors import UsageError
from markovbridge.training.parallel import threaded
from markovbridge.training.replacing import existing
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.trained_on import RunData


class Verb(ABC):
    """What the command line does.

    A verb is a frozen dataclass. The field that `TARGET` names comes first on the command line,
    where `USAGE` stands for it; the others are options. `EXAMPLE` is a call.
    """

    TARGET: ClassVar[str] = ""
    USAGE: ClassVar[str]
    EXAMPLE: ClassVar[str]

    @abstractmethod
    def run(self) -> None:
        """Do it: write what the command writes, and say what it says."""

    @classmethod
    def main(cls, words: list[str]) -> None:
        """Do what the words behind the verb ask for."""
        name, rest = cls.target_of(words)
        defaults = {} if name is None else cls.defaults(name)
        known = {key: value for key, value in defaults.items() if value is not None}
        usage = f"{cls.name()} {name or cls.USAGE}"
        options = show(cls, usage, rest, partial(parse, cls, defaults=known))
        assert name is not None
        make: Any = cls  # its fields are those that `parse` has read
        make(name, **options.build()).run()

    @classmethod
    def name(cls) -> str:
        """The verb."""
        return cls.__name__.lower()

    @classmethod
    def defaults(cls, name: str) -> dict[str, Any]:
        """What options are for a target, unless told otherwise, as YAML holds them."""
        return {}

    @classmethod
    def target_of(cls, words: list[str]) -> tuple[str | None, list[str]]:
        """The target, which comes first, and the rest; None if only help is asked for.

        Raises:
            UsageError: If there is none, showing an example.
        """
        if words and not words[0].startswith("-"):
            return words[0], words[1:]
        if {"-h", "--help"} & set(words):
            return None, words
        wanted = cls.USAGE.replace("|", " or ")
        raise UsageError(f"{wanted} comes first: markovbridge {cls.name()} {cls.EXAMPLE}")


def show(
    owner: type,
    usage: str,
    words: list[str],
    read: Callable[..., ParsedOptions],
) -> ParsedOptions:
    """Options of words; with `--help` or `--print_config` print that and leave.

    Args:
        owner: The class whose fields the options are.
        usage: The verb and its target.
        words: The words.
        read: Reads words; before, it calls the option `before` with the options as they are
            without them.
    """
    asks = {"-h", "--help"} & set(words)
    prints = {"--print_config", "--print-config"} & set(words)

    def before(known: dict[str, Any]) -> None:
        if asks:
            console.say(render(owner, usage, known))
            raise SystemExit(0)

    options = read([word for word in words if word not in prints | asks], before=before)
    if prints:
        console.say(to_yaml(options.config))
        raise SystemExit(0)
    return options


@dataclass(frozen=True, kw_only=True)
class OnRun(Verb):
    """A verb for a run.

    Attributes:
        folder: The run folder.
    """

    TARGET = "folder"
    USAGE = "RUN"

    folder: str | Path = field(kw_only=False)

    def opened(self) -> RunFolder:
        """The run, whose configuration is not damaged.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If its configuration is damaged.
        """
        return opened(self.folder)

    def data_of(self, run: RunFolder) -> RunData:
        """The data of a run, and other data for it: what every verb reads data by."""
        return RunData(run.path, run.configuration(), console.note)


def opened(name: str | Path) -> RunFolder:
    """The run folder of a name, whose configuration is not damaged."""
    run = existing(name)
    run.configuration()
    return run


@dataclass(frozen=True, kw_only=True)
class OnData(OnRun):
    """A verb for a run that reads data.

    Attributes:
        data: The data, if not those of the training.
    """

    data: Source | None = None

    @classmethod
    def defaults(cls, name: str) -> dict[str, Any]:
        return {**super().defaults(name), "data": opened(name).source()}

    def source(self, run: RunFolder) -> Source:
        """Where the data come from.

        Raises:
            UsageError: If they are of the user's own class, which is not named.
        """
        if self.data is not None:
            return self.data
        own = run.source()
        if own is None:
            said = run.configuration().get("data")
            path = said.get("class_path") if isinstance(said, dict) else said
            raise UsageError(
                f"the data of {run} are of your own class: name it with --data {path}"
            )
        return from_config(own, Source, "data")


@dataclass(frozen=True, kw_only=True)
class Measures(OnData):
    """A verb for a run that writes figures.

    Attributes:
        json: Print the figures as JSON, and nothing else on standard output.
    """

    json: bool = False

    def wrote(self, folder: RunFolder, name: str, figures: dict[str, Any], text: str) -> None:
        """Write figures, and tell them.

        Args:
            folder: Where.
            name: What they are called, such as "evaluation".
            figures: The figures.
            text: The same for people.
        """
        there = [folder.record(name)] if folder.record(name).is_file() else []
        told = console.wrote([folder.write_record(name, figures)], there)
        if self.json:
            if there:
                console.note(told)
            return
        ours = folder.path == Path(self.folder).expanduser()
        page = f"; for a page of it all: markovbridge report {self.folder}" if ours else ""
        console.say(f"{text}\n\n{told}{page}")


@dataclass(frozen=True, kw_only=True)
class Computes(Verb):
    """A verb that asks a model.

    Attributes:
        seed: Seed of all that is drawn at random.
        threads: CPU threads of each process. Without it, torch's own choice.
        network: Only for a network of your own: its class.
        process: Only for a process of your own: its class, with the options it was trained with.
        coupling: Only for a coupling of your own, likewise.
        head: Only for a head of your own, likewise.
    """

    seed: int = 0
    threads: int | None = None
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None
    process: Process | None = None
    coupling: Coupling | None = None
    head: Head | None = None

    def own(self) -> dict[str, Any]:
        """The parts of a model that are the user's own, as `load_transport` takes them."""
        names = ("network", "process", "coupling", "head")
        return {name: getattr(self, name) for name in names}

    def __post_init__(self) -> None:
        check_positive(self, "n", "points", "states", "times", "pieces", "draws", "steps")
        check_positive(self, "rounds", "looks", "block", "threads")

    def threaded(self) -> contextlib.AbstractContextManager[None]:
        """Use so many CPU threads while inside."""
        return threaded(self.threads)


@dataclass(frozen=True, kw_only=True)
class Weighted(Computes):
    """A verb that asks a model, of which there are two.

    Attributes:
        weights: The average of the weights over training (ema), or the last ones (raw) of
            the newest checkpoint.
    """

    weights: Literal["ema", "raw"] = "ema"


@dataclass(frozen=True, kw_only=True)
class Placed(Computes):
    """A verb that asks a model on a device.

    Attributes:
        device: Such as cpu or cuda. Without it, a GPU if there is one.
    """

    device: str | None = None


def check_positive(verb: Any, *names: str) -> None:
    """Refuse options below 1, of those that a verb has.

    Raises:
        UsageError: Naming the option and its value.
    """
    for name in names:
        value = getattr(verb, name, None)
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1")
