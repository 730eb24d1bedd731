"""`markovbridge train`: a recipe becomes a run folder.

    RUN/config.yaml    the whole recipe as it was trained, options included
    RUN/model/         the model with averaged weights
    RUN/checkpoints/   what `--resume true` continues from
    RUN/metrics.jsonl  RUN/log.txt  RUN/samples/
    RUN/data.json      what it was trained on: names of the features, and a hash of the samples
    RUN/count_model.json    of a table: with it the folder is a `CountModel` too

All that is random is a function of `trainer.seed`: the first weights too, which
torch draws from its global generator, whose state is put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from markovbridge import recipes
from markovbridge.cli import console, folders
from markovbridge.cli.errors import UsageError
from markovbridge.cli.options import parse, split_target, to_yaml
from markovbridge.cli.ranks import first
from markovbridge.cli.runs import configuration, data_of, held_out
from markovbridge.counts.files import Facts
from markovbridge.couplings import Coupling, Noised
from markovbridge.data import CountTable, Dataset, Source
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.rows import parts
from markovbridge.data.tables.registry import is_table
from markovbridge.files import make_folder, write_text
from markovbridge.heads import Head
from markovbridge.locks import locked
from markovbridge.masking import Masking
from markovbridge.objectives import Objective
from markovbridge.processes import Process
from markovbridge.randomness import derive
from markovbridge.trained_on import RunData, TrainedOn, check_start
from markovbridge.training import Examples, Trainer, TrainingConfig
from markovbridge.transport import Transport
from markovbridge.transport import statistics as measure

__all__ = ["build", "train"]

# Options of this command; all others are the recipe.
OWN = ("output", "resume", "overwrite", "dry_run")
TRAINER = TrainingConfig()


def train(
    recipe: str,
    data: Source,
    process: Process,
    network: Callable[[tuple[int, ...], int, int], nn.Module],
    head: Head,
    objective: Objective,
    coupling: Coupling | None = None,
    split: Literal["train", "validation", "test", "all"] = "train",
    statistics: Literal["site", "channel", "all"] = "site",
    condition: Literal["none", "labels", "covariates"] = "none",
    condition_dropout: float = 0.1,
    masking: Masking | None = None,
    output: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    trainer: TrainingConfig = TRAINER,
) -> None:
    """Train a transport from a recipe.

    RECIPE is a name that `markovbridge recipes` lists, the path of a YAML file, or a run
    folder, whose own configuration is then trained again or, with --resume true,
    continued. Every value of the recipe can be overridden:

      markovbridge train digits --trainer.steps 500 --head.kernel stochastic

    Or it is the path of a table of counts, for the recipe `table` with that file:

      markovbridge train cells.h5ad --data.covariates '[batch]' --trainer.steps 3000

    Several processes share a batch:

      torchrun --standalone --nproc_per_node=2 -m -- markovbridge train RECIPE

    Args:
        recipe: What to train.
        data: Where the data come from.
        process: The reference process.
        network: The network, built for the shape of the data.
        head: How the network's output becomes a law of the data given the state.
        objective: The loss.
        coupling: Which source goes with which data. Without it, Noised: time reversal.
        split: The part of the data to train on.
        statistics: Over what mean and variance of the data are taken, which the network's
            input is standardised with: each site alone, a channel, or everything.
        condition: What the network is told of each sample: none, its class (labels), or the
            covariates of the data.
        condition_dropout: Share of the training samples that lose their condition, so that
            the network also learns to do without; guidance needs that.
        masking: Show the network a random part of each training sample, for `impute`, such as
            --masking.pattern mixed. Without it, none.
        output: The run folder. Without it, runs/RECIPE.
        resume: Continue the run in the folder, if there is one.
        overwrite: Replace the run in the folder, if there is one.
        dry_run: Do two steps on synthetic data of the same shape, say what the recipe would
            train, and write nothing.
        trainer: training: steps, batches, learning rate, what is written when
    """


def train_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RECIPE", "train digits")
    usage = f"train {name or 'RECIPE'}"
    if name is not None and first():
        folders.recover(Path(name).expanduser())
    try:
        table = None if name is None else _table(name)
        file = None if name is None else recipes.find("table" if table else name)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    if file is not None and Path(name or "").is_dir() and table is None:
        configuration(file.parent)  # says what to do if it is damaged
    if table is not None:
        rest = [*table, *_told(rest), *rest]
    options = parse(train, rest, usage=usage, own=OWN, recipe=file)
    assert name is not None and file is not None
    values = options.values
    resume, overwrite = values.pop("resume"), values.pop("overwrite")
    output, dry_run = values.pop("output"), values.pop("dry_run")
    if dry_run:
        from markovbridge.cli.dry_run import rehearse

        rehearse(name, **values)
        return
    if resume and overwrite:
        raise UsageError("--resume continues a run and --overwrite replaces it: give one of them")
    if output is None:
        stem = Path(name).name.split(".")[0] if table else file.stem
        own = Path(name).is_dir() and not table
        output = file.parent if own else Path("runs") / stem
    if first():
        folders.recover(output)
        folders.check(output, allowed=resume or overwrite)
    known = data_of(output) if resume and (output / "config.yaml").is_file() else None
    trainer, records = _prepare(known, **values)
    with ExitStack() as stack:
        if trainer.accelerator.is_main_process:
            make_folder(output)
            stack.enter_context(locked(output, "training"))
            folders.check(output, allowed=resume or overwrite)  # nothing has come since
            if overwrite:
                with folders.replaced(output, options.config):
                    _write(output, options.config)
        trainer.accelerator.wait_for_everyone()
        trainer.open(output, resume=resume)  # refuses the checkpoints of another run
        if trainer.accelerator.is_main_process:
            _write(output, options.config)
            for record in records:
                record.write(output)
        trainer.run()
        if trainer.accelerator.is_main_process:
            console.say(f"wrote {output}; to sample: markovbridge sample {output}")


def _write(output: Path, config: dict[str, Any]) -> None:
    write_text(output / "config.yaml", to_yaml(config) + "\n")


def _table(name: str) -> list[str] | None:
    """The options for a table of counts of this name; None if it is no such path.

    Raises:
        FileNotFoundError: If it is called like a table, but there is none.
    """
    path = Path(name).expanduser()
    return ["--data.path", str(CountTable(path).where().resolve())] if is_table(path) else None


def _told(words: list[str]) -> list[str]:
    """That the network is told covariates, if any are named and nothing else is said."""
    named = any(word.split("=")[0] == "--data.covariates" for word in words)
    said = any(word.split("=")[0] == "--condition" for word in words)
    return ["--condition", "covariates"] if named and not said else []


def _prepare(
    known: RunData | None,
    *,
    data: Source,
    split: str,
    trainer: TrainingConfig,
    **parts: Any,
) -> tuple[Trainer, list[TrainedOn | Facts]]:
    """Load, build and check all there is, before a folder is taken into use.

    Args:
        known: What the run remembers of its data, if it is to be continued.
        data: Where the data come from.
        split: The part of them.
        trainer: How to train.
        **parts: As of `build`.

    Returns:
        What trains, and what the folder is to remember.
    """
    if trainer.select == "best" and not held_out("validation", split):
        raise UsageError(
            f"split is {split}, which leaves no held-out data to select weights by: add "
            "--trainer.select last"
        )
    read = data.load if known is None else partial(known.again, data)
    dataset = read(split)
    validation = read("validation") if trainer.validate_every else None
    check_start(parts["coupling"], dataset.column_names)
    if first():
        console.note(f"{describe(dataset)}: {dataset.source}")
    condition = parts["condition"]
    transport = build(dataset, seed=trainer.seed, **parts)
    card = {"data": f"{dataset.name}, split {split}", "data licence": dataset.licence}
    made = Trainer(
        transport,
        examples(dataset, condition, transport.covariates),
        trainer,
        validation=None
        if validation is None
        else examples(validation, condition, transport.covariates),
        card=card,
    )
    records = [TrainedOn.of(dataset), Facts.of_run(transport, trainer, data, dataset)]
    return made, [record for record in records if record is not None]


def build(
    dataset: Dataset,
    *,
    process: Process,
    network: Callable[[tuple[int, ...], int, int], nn.Module],
    head: Head,
    objective: Objective,
    coupling: Coupling | None,
    statistics: Literal["site", "channel", "all"],
    condition: Literal["none", "labels", "covariates"],
    condition_dropout: float,
    masking: Masking | None,
    seed: int,
) -> Transport:
    """The untrained transport of a recipe for a data set.

    Raises:
        TypeError: If the network is no module.
        ValueError: If the data are no states of the process, naming the value.
    """
    coupling = Noised() if coupling is None else coupling
    mean, variance = measure(_checked(dataset, process), statistics)
    covariates = covariates_of(dataset, condition)
    features = coupling.features(process) + (masking.features(process) if masking else 0)
    told = {"condition": len(covariates.names)} if covariates else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        module = network(dataset.shape, features, head.outputs(process), **told)
    if not isinstance(module, nn.Module):
        raise TypeError(f"network gave a {type(module).__name__}; it must give a torch.nn.Module")
    return Transport(
        process,
        module,
        head,
        shape=dataset.shape,
        mean=mean,
        variance=variance,
        coupling=coupling,
        objective=objective,
        covariates=covariates,
        condition_dropout=condition_dropout if covariates else 0.0,
        masking=masking,
    )


def covariates_of(dataset: Dataset, condition: str) -> Covariates | None:
    """What the network is told of each sample of a data set.

    Raises:
        UsageError: If the data set does not know it.
    """
    if condition == "none":
        return None
    if condition == "covariates":
        if dataset.covariates is None:
            raise UsageError(f"condition is covariates, but {dataset.name} has none")
        return dataset.covariates
    if dataset.labels is None:
        raise UsageError(f"condition is labels, but {dataset.name} has none")
    names = dataset.label_names
    if names is None:
        names = tuple(map(str, range(int(dataset.labels.max()) + 1)))
    return Covariates((Covariate("label", names),))


def examples(dataset: Dataset, condition: str, covariates: Covariates | None) -> Examples:
    """The samples of a data set, with what the network is told of each."""
    if dataset.observed is not None:
        raise UsageError(
            f"{dataset.name} has missing entries; train on complete rows, then impute"
        )
    if covariates is None or condition == "covariates":
        return Examples(dataset.x, condition=dataset.condition if covariates else None)
    return Examples(dataset.x, condition=covariates.encode({"label": dataset.known["label"]}))


def _checked(dataset: Dataset, process: Process) -> Iterator[Tensor]:
    """The data a few samples at a time, in the coordinates of the process.

    One pass checks and measures, for the data may have to be read from a file.
    """
    for rows in parts(dataset.x):
        states = process.check(rows, dataset.name)
        yield rows if process.support is None else states


def describe(dataset: Dataset) -> str:
    """A data set in a few words."""
    shape = "x".join(map(str, dataset.shape))
    kind = "reals" if dataset.x.is_floating_point() else "counts"
    top = "" if dataset.maximum is None else f" 0..{dataset.maximum}"
    return f"{dataset.name}, split {dataset.split}: {len(dataset):,} of {shape}, {kind}{top}"
