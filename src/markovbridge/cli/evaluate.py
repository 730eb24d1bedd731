"""`markovbridge evaluate`: score the samples of a run against real data, and its likelihood.

RUN/evaluation.json    {"records": [...], "samples": how the samples were made}
RUN/likelihood.json    {"records": [...], "model": hash of its weights}

With --samples, the evaluation is written beside these samples, which must be of the weights of the
run. With --json both are printed, as
{"evaluation": ..., "likelihood": ...}, as far as they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from markovbridge.cli import console
from markovbridge.cli.models import conditioned, hash_of, load_transport
from markovbridge.cli.ranks import Ranks
from markovbridge.cli.results import figures_of, foreign, is_evaluation, placed
from markovbridge.cli.verb import Measures, Placed
from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariates, described
from markovbridge.data.meeting import alike, each
from markovbridge.doors.randomness import generator
from markovbridge.evaluation import held_out_likelihood
from markovbridge.evaluation.metrics import (
    Record,
    evaluate,
    evaluate_counts,
    evaluate_fold_changes,
    extractor_of,
    table,
)
from markovbridge.evaluation.metrics.points import draw_rows
from markovbridge.storage.config import from_config
from markovbridge.storage.errors import UsageError
from markovbridge.storage.files import to_json
from markovbridge.storage.kept import usual
from markovbridge.storage.locks import locked
from markovbridge.training.run_folder import RunFolder, held_out
from markovbridge.training.trained_on import RunData
from markovbridge.transport import BLOCK
from markovbridge.transport.saved import hash_weights


@dataclass(frozen=True, kw_only=True)
class Evaluate(Placed, Measures):
    """Score the samples of a run against real data, and its likelihood.

    Every figure is printed beside its floor, what real data score against real data with
    as many samples, and is written to RUN/evaluation.json with all that one has to know
    to read it. Samples that were conditioned on a class or covariates are compared with the
    real rows of the same, as many of each as there are among the samples. Samples of a count
    table are scored by what matters for tables: features, correlations, library sizes,
    two-sample distances and a classifier; of samples that took each level of a covariate in turn
    (--condition.batch '*'), how strongly the levels differ as well.

    With --likelihood 500 the model is also asked how likely 500 points of held-out data are: a
    bound in nats and bits per dimension, beside what simple models give them (an independent
    histogram of each site; for tables of counts, negative binomials of one profile and of
    several), into RUN/likelihood.json. It needs no samples. A model that was trained with labels
    or covariates is told those of each data point.

    Statistics of large data, which take a minute, are computed once: they are kept in the folder
    that MARKOVBRIDGE_CACHE names, or ~/.cache/markovbridge, which may be deleted at any time.

    Attributes:
        samples: Samples that `sample --output` drew from this run, a folder or a file, in place
            of those in the run folder.
        split: Real data to compare with. Without it, those of the training for samples, and
            test for the likelihood.
        extractor: What Fréchet distances are measured in: pixels, mobilenet:PATH or
            inception:PATH, PATH being the file of weights; several with commas between.
        n: Use the first n samples only. Without it, all.
        seed: Seed of the random splits of the real data that floors are averaged over, and of
            the choice of data points and times of the likelihood.
        likelihood: Bound the likelihood of so many data points, drawn at random, or of all if
            there are fewer.
        looks: How often the network looks at each of them; the time grows with it, and the
            error falls.
    """

    EXAMPLE = "runs/digits"

    samples: Path | None = None
    split: Literal["train", "validation", "test", "all"] | None = None
    extractor: str = "pixels"
    n: int | None = None
    likelihood: int = 0
    looks: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.likelihood < 0 or self.likelihood == 1:
            raise UsageError(f"likelihood is {self.likelihood}; it must be 0, or 2 and more")

    def run(self) -> None:
        run = self.opened()
        source, trained, known = self.source(run), run.split(), self.data_of(run)
        folder, name = (run, "samples") if self.samples is None else placed(self.samples)
        file = folder.record(figures_of(name, "evaluation"))
        if (
            folder.path.resolve() != run.path.resolve()
            and file.exists()
            and not is_evaluation(file)
        ):
            raise foreign(file, "score samples in another folder")
        made: dict[str, Any] = {}
        with locked(run.path, "evaluation"), self.threaded():
            if not self.likelihood or self.samples or run.arrays("samples").is_file():
                samples = (folder, name, *folder.samples(name))
                self._known(run, folder.arrays(name), samples[-1])
                split = self.split or trained
                made["evaluation"] = self._samples(run, known, source, split, *samples)
            if self.likelihood:
                chosen = self.split or "test"
                if not held_out(chosen, trained):
                    console.note(f"warning: split {chosen} is not held out: {run} saw {trained}")
                made["likelihood"] = self._likelihood(run, known, source, chosen)
        if self.json:
            console.say(to_json(made, indent=2))

    def _known(self, run: RunFolder, file: Path, meta: dict[str, Any]) -> None:
        """Check that samples were drawn with the weights that the run has now.

        Raises:
            ValueError: If they are not, and `samples` names them.
        """
        present = hash_of(run, meta.get("weights", "ema"))
        if present is None or meta.get("model", present) == present:
            return
        if self.samples is None:
            console.note(
                f"warning: {file} was drawn with other weights than {run} has now; `markovbridge "
                f"sample {run}` draws it again"
            )
            return
        raise ValueError(
            f"{file} was drawn with other weights than {run} has; name the run that it is of, or "
            f"draw it again with `markovbridge sample {run} --output {self.samples}`"
        )

    def _samples(
        self,
        run: RunFolder,
        known: RunData,
        source: Source,
        split: str,
        folder: RunFolder,
        name: str,
        samples: Tensor,
        meta: dict[str, Any],
    ) -> dict[str, Any]:
        """Score samples of a run, which are in a folder by a name."""
        n, seed = self.n, self.seed
        if n is not None and not 2 <= n <= len(samples):
            raise UsageError(
                f"n is {n}; {folder} has {len(samples):,} samples, of which 2 or more count"
            )
        whole = known.load(source, split)
        reference, what = whole, f"{whole.name}, {split}"
        given, encoding = meta.get("condition"), None
        if given:
            saved = run.model_configuration()["covariates"]
            encoding = from_config(saved, Covariates | None, "covariates")
            if encoding is None:
                raise ValueError(
                    f"the samples of {run} are given {described(given)}, but its model "
                    f"takes no condition; draw them again"
                )
            reference = alike(whole, encoding, given, len(samples[:n]), seed=seed)
            if len(reference) < len(whole):
                what = f"{what}, {described(given)}"
                console.note(
                    f"compared with {len(reference):,} of the {len(whole):,} rows of "
                    f"{whole.name}, {split}: those of {described(given)}, as the samples"
                )
        facts, top = {**meta, "split": what}, reference.maximum or 255
        networks = [extractor_of(word, maximum=top) for word in self.extractor.split(",")]
        told: dict[str, Any] = {"seed": seed, "meta": facts}
        with console.Progress(100, "percent") as progress:
            told["callback"] = lambda share: progress.advance(100 * share)
            if samples.ndim == 2 and not samples.is_floating_point():
                records = evaluate_counts(samples[:n], reference.x, **told)
                records += _classes(samples[:n], reference, encoding, meta, seed, facts)
            else:
                x = draw_rows(reference.x, len(reference), "reference")
                told |= {"extractors": networks, "cache": usual() / "references"}
                records = evaluate(samples[:n], x, **told)
        content = {"records": [r.to_dict() for r in records], "samples": meta}
        self.wrote(folder, figures_of(name, "evaluation"), content, table(records))
        return content

    def _likelihood(
        self, run: RunFolder, known: RunData, source: Source, split: str
    ) -> dict[str, Any]:
        """Bound the likelihood of data points beside a histogram."""
        if self.looks % 2:
            raise UsageError(
                f"looks is {self.looks}; it must be even, two for each stratum of times"
            )
        transport = load_transport(run, **self.own())
        transport.to(Ranks(0, 1, 0).device(self.device))
        new = known.load(source, split)
        _, told = conditioned(
            transport, None, 1.0, len(new), columns=new.known, what=f"{new.name}, {split},"
        )
        order = torch.randperm(len(new), generator=generator("cpu", "likelihood", self.seed))
        chosen = order[: self.likelihood].sort().values
        simple = new.maximum is not None or new.x.ndim == 2  # images or tables of counts
        training = known.load(source, run.split()) if simple else None
        with console.Progress(len(chosen), "data points") as progress:
            records = held_out_likelihood.held_out(
                transport,
                new.x[chosen],
                condition=None if told is None else told[chosen],
                training=None if training is None else training.x,
                maximum=new.maximum,
                draws=self.looks,
                seed=self.seed,
                block=BLOCK,
                split=f"{new.name}, {split}",
                callback=progress.advance,
            )
        content = {"records": [r.to_dict() for r in records], "model": hash_weights(transport)}
        self.wrote(run, "likelihood", content, held_out_likelihood.table(records))
        return content


def _classes(
    samples: Tensor,
    reference: Dataset,
    encoding: Covariates | None,
    meta: dict[str, Any],
    seed: int,
    facts: dict[str, Any],
) -> list[Record]:
    """How levels of a covariate differ in samples that took each of them in turn."""
    found = []
    told = {} if encoding is None else each(encoding, meta["condition"], len(samples))
    for column in () if encoding is None else encoding.columns:
        classes = told.get(column.name, ())
        if not column.levels or len(set(classes)) < 2:
            continue
        known = reference.known[column.name]
        options: dict[str, Any] = {"name": column.name, "seed": seed, "meta": facts}
        found.append(evaluate_fold_changes(samples, classes, reference.x, known, **options))
    return found
