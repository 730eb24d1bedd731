"""`markovbridge train`: a recipe becomes a run folder.

    RUN/config.yaml    the whole recipe as it was trained, options included
    RUN/model/         the model with averaged weights
    RUN/checkpoints/   what `--resume` continues from
    RUN/metrics.jsonl  RUN/log.txt  RUN/samples/
    RUN/data.json      what it was trained on: names of the features, and a hash of the samples
    RUN/count_model.json    of a table: with it the folder is a `CountModel` too

All that is random is a function of `trainer.seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from markovbridge.cli import console
from markovbridge.cli.ranks import first
from markovbridge.cli.rehearsal import rehearse
from markovbridge.cli.verb import Verb, show
from markovbridge.counts.files import Facts
from markovbridge.exact import BaseFit, DataLaw
from markovbridge.recipes.loading import FoundRecipe, locate, words_of
from markovbridge.recipes.options import hints
from markovbridge.recipes.options.parser import parse, to_yaml
from markovbridge.recipes.recipe import Recipe, describe_data
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import make_folder
from markovbridge.storage.locks import locked
from markovbridge.storage.older import filled
from markovbridge.storage.public_names import renamed
from markovbridge.training import Trainer, checkpoint, replacing, tracking
from markovbridge.training.run_folder import RunFolder, held_out
from markovbridge.training.start import StartingWeights, law_of
from markovbridge.training.trained_on import RunData, TrainedOn, check_start


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What is done beside training by a recipe.

    Attributes:
        output: The run folder. Without it, runs/RECIPE.
        resume: Continue the run in the folder, if there is one. One that has ended goes on if it
            is given more steps, --trainer.steps.
        from_: Start from the weights of this run, or model, as far as there is nothing to
            continue. Its features, covariates, process, head and network have to be the same.
            Mean and variance of the data stay those of that run.
        overwrite: Replace the run in the folder, if there is one.
        dry_run: Do two steps on synthetic data of the same shape, say what the recipe would
            train, and write nothing.
    """

    output: Path | None = None
    resume: bool = False
    from_: Path | None = None
    overwrite: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Train(Folder, Verb):
    """Train a transport from a recipe.

    RECIPE is a name that `markovbridge recipes` lists, the path of a YAML file, or a run
    folder, whose own configuration is then trained again or, with --resume, continued. Every
    value of the recipe can be overridden:

      markovbridge train digits --trainer.steps 500 --head.kernel stochastic

    Or it is the path of a table of counts, for the recipe `table` with that file:

      markovbridge train cells.h5ad --data.covariates '[batch]' --trainer.steps 3000

    Several processes share a batch:

      torchrun --standalone --nproc_per_node=2 -m -- markovbridge train RECIPE

    Attributes:
        recipe: What to train.
        options: Options that replace those of the recipe, by name, from Python:
            {"trainer.steps": 500}.
    """

    TARGET = "recipe"
    USAGE = "RECIPE"
    EXAMPLE = "digits"

    recipe: str | Path = field(kw_only=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        found = locate(self.recipe, alone=first())
        words, output = words_of(self.options), None if self.output is None else Path(self.output)
        options = found.read(Recipe, words, output=output, resume=self.resume)
        self._train(found, Recipe(**options.build()), options.config)

    @classmethod
    def main(cls, words: list[str]) -> None:
        name, rest = cls.target_of(words)
        found = None if name is None else locate(name, alone=first())
        read = partial(parse, Line) if found is None else partial(found.read, Line)
        options = show(Line, f"train {name or cls.USAGE}", rest, read)
        assert name is not None and found is not None
        values = options.build()
        folder = {key: values.pop(key) for key in hints.options(Folder)}
        cls(name, **folder)._train(found, Recipe(**values), options.config)

    def _train(self, found: FoundRecipe, recipe: Recipe, config: dict[str, Any]) -> None:
        """Train by a recipe, `config` being the same as plain values."""
        tracking.check(recipe.trainer.tracker)
        start = None if self.from_ is None else StartingWeights.read(Path(self.from_))
        if self.dry_run:
            rehearse(found.name, recipe, start)
            return
        resume, overwrite = self.resume, self.overwrite
        if resume and overwrite:
            raise UsageError(
                "--resume continues a run and --overwrite replaces it: give one of them"
            )
        output = found.output if self.output is None else Path(self.output)
        if first():
            replacing.recover(output)
            replacing.check(output, allowed=resume or overwrite)
        run = RunFolder(output)
        known = None
        if resume and run.config.is_file():
            known = RunData(output, run.configuration(), console.note)
        begun = bool(resume and checkpoint.steps(run.checkpoints))
        law = None if start is None else start.law()  # where there is one, none is fitted
        fitted = isinstance(recipe.base, BaseFit)
        if begun and fitted and start is None and known is not None:
            same = filled(renamed(run.configuration()).get("base")) == config.get("base")
            law = law_of(run) if same or known.trained_on.started_from else None
        trainer, records = _prepare(known, recipe, start, begun, law)
        with ExitStack() as stack:
            if trainer.accelerator.is_main_process:
                make_folder(output)
                stack.enter_context(locked(output, "training"))
                replacing.check(output, allowed=resume or overwrite)  # nothing has come since
                if overwrite:
                    with replacing.replaced(output, config):
                        run.write_configuration(to_yaml(config) + "\n")
            trainer.accelerator.wait_for_everyone()
            trainer.open(output, resume=resume)  # refuses the checkpoints of another run
            if trainer.accelerator.is_main_process:
                run.write_configuration(to_yaml(config) + "\n")
                for record in records:
                    record.write(output)
            trainer.run()
            if trainer.accelerator.is_main_process:
                verb = "translate" if trainer.transport.coupling.given else "sample"
                console.say(f"wrote {output}; to {verb}: markovbridge {verb} {output}")


@dataclass(frozen=True, kw_only=True)
class Line(Recipe, Folder):
    """What the command line takes behind RECIPE."""


Line.__doc__ = Train.__doc__


def _prepare(
    known: RunData | None,
    recipe: Recipe,
    start: StartingWeights | None,
    begun: bool,
    law: DataLaw | None,
) -> tuple[Trainer, list[TrainedOn | Facts]]:
    """Load, build and check all there is, before a folder is taken into use.

    Args:
        known: What the run remembers of its data, if it is to be continued.
        recipe: What is trained.
        start: What it starts from; None to start at random.
        begun: Whether it has steps to continue, which started from what they did.
        law: The base law of these steps, or of that start, in place of a fitted one.

    Returns:
        What trains, and what the folder is to remember.
    """
    split, trainer = recipe.split, recipe.trainer
    if trainer.select == "best" and not held_out("validation", split):
        raise UsageError(
            f"split is {split}, which leaves no held-out data to select weights by: add "
            "--trainer.select last"
        )
    if begun and known is not None and known.split != split:
        raise UsageError(
            f"split is {split}, and the run to continue is trained on split {known.split}: add "
            f"--split {known.split}, or continue it as it is, by its folder in place of the recipe"
        )
    read = recipe.data.load if known is None else partial(known.again, recipe.data)
    dataset = read(split)
    validation = read("validation") if trainer.validate_every else None
    check_start(recipe.coupling, dataset.column_names)
    if first():
        console.note(f"{describe_data(dataset)}: {dataset.source}")
    transport = recipe.transport(dataset, base=law)
    card = {"data": f"{dataset.name}, split {split}", "data licence": dataset.licence}
    origin = None if start is None else str(start.origin)
    if start is not None:
        start.into(transport, dataset.column_names)
    if begun:
        origin = None if known is None else known.trained_on.started_from
    elif origin is not None and first():
        console.note(f"starting from the weights of {origin}")
    if origin is not None:
        card["started from"] = f"the weights of {origin}"
    held = None if validation is None else recipe.examples(validation, transport)
    made = Trainer(
        transport, recipe.examples(dataset, transport), trainer, validation=held, card=card
    )
    records = [
        TrainedOn.of(dataset, origin),
        Facts.of_run(transport, trainer, recipe.data, dataset, recipe.base),
    ]
    return made, [record for record in records if record is not None]
