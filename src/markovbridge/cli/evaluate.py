"""`markovbridge evaluate`: score the samples of a run against real data, and its likelihood.

RUN/evaluation.json    {"records": [...], "samples": how the samples were made}
RUN/likelihood.json    {"records": [...], "model": hash of its weights}
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from markovbridge import nats
from markovbridge.cli import console
from markovbridge.cli.drawing import check_positive, conditioned, load_transport, saved_model
from markovbridge.cli.drawing import threads as limited
from markovbridge.cli.errors import UsageError, closest
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.ranks import Ranks
from markovbridge.cli.runs import (
    configuration,
    data_of,
    held_out,
    read_samples,
    run_folder,
    source_of,
)
from markovbridge.config import from_config
from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariates, described
from markovbridge.data.meeting import alike
from markovbridge.files import write_json
from markovbridge.locks import locked
from markovbridge.metrics import (
    Extractor,
    Inception,
    MobileNetV2,
    Pixels,
    evaluate_counts,
    table,
)
from markovbridge.metrics import evaluate as score
from markovbridge.metrics.extractors import hash_weights
from markovbridge.metrics.points import draw_rows
from markovbridge.randomness import generator
from markovbridge.trained_on import RunData
from markovbridge.transport import BLOCK

__all__ = ["evaluate"]

NETWORKS = {"mobilenet": MobileNetV2, "inception": Inception}


def evaluate(
    run: str,
    split: Literal["train", "validation", "test", "all"] | None = None,
    extractor: str = "pixels",
    n: int | None = None,
    seed: int = 0,
    data: Source | None = None,
    likelihood: int = 0,
    looks: int = 64,
    device: str | None = None,
    threads: int | None = None,
    network: Callable[[tuple[int, ...], int, int], nn.Module] | None = None,
) -> None:
    """Score the samples of a run against real data, and its likelihood.

    Every figure is printed beside its floor, what real data score against real data with
    as many samples, and is written to RUN/evaluation.json with all that one has to know
    to read it. Samples that were conditioned on a class or covariates are compared with the
    real rows of the same, as many of each as there are among the samples. Samples of a count
    table are scored by what matters for tables: features, correlations, library sizes,
    two-sample distances and a classifier.

    With --likelihood 500 the model is also asked how likely 500 points of held-out data are: a
    bound in nats and bits per dimension, beside what simple models give them (an independent
    histogram of each site; for tables of counts, negative binomials of one profile and of
    several), into RUN/likelihood.json. It needs no samples. A model that was trained with labels
    or covariates is told those of each data point.

    Args:
        run: The run folder, with samples from `markovbridge sample`.
        split: Real data to compare with. Without it, those of the training for samples, and
            test for the likelihood.
        extractor: What Fréchet distances are measured in: pixels, mobilenet:PATH or
            inception:PATH, PATH being the file of weights; several with commas between.
        n: Use the first n samples only. Without it, all.
        seed: Seed of the random splits of the real data that floors are averaged over, and of
            the choice of data points and times of the likelihood.
        data: Real data, if not those of the training.
        likelihood: Bound the likelihood of so many data points, drawn at random, or of all if
            there are fewer.
        looks: How often the network looks at each of them; the time grows with it, and the
            error falls.
        device: For the likelihood, such as cpu or cuda. Without it, a GPU if there is one.
        threads: CPU threads. Without it, torch's own choice.
        network: For the likelihood of a network of your own: its class.
    """


def evaluate_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RUN", "evaluate runs/digits")
    run = None if name is None else run_folder(name)
    config = {} if run is None else configuration(run)
    source = None if run is None else source_of(run, config)
    defaults = None if source is None else {"data": source}
    options = parse(evaluate, rest, usage=f"evaluate {name or 'RUN'}", defaults=defaults)
    assert run is not None
    values = options.values
    if values["data"] is None:
        said = config.get("data")
        path = said.get("class_path") if isinstance(said, dict) else said
        raise UsageError(f"the data of {run} are of your own class: name it with --data {path}")
    check_positive(values, "looks", "threads")
    if values["likelihood"] < 0 or values["likelihood"] == 1:
        raise UsageError(f"likelihood is {values['likelihood']}; it must be 0, or 2 and more")
    wanted = {key: values.pop(key) for key in ("likelihood", "looks", "device", "network")}
    split, trained = values.pop("split"), config.get("split", "train")
    known = data_of(run)
    with locked(run, "evaluation"), limited(values.pop("threads")):
        asked = wanted["likelihood"] > 0
        if not asked or (run / "samples.npz").is_file():
            _samples(run, known, split=split or trained, **values)
        if asked:
            chosen = split or "test"
            if not held_out(chosen, trained):
                console.note(f"warning: split {chosen} is not held out: {run} saw {trained}")
            common = {key: values[key] for key in ("data", "seed")}
            _likelihood(run, known, split=chosen, trained=trained, **common, **wanted)


def _samples(
    run: Path,
    known: RunData,
    *,
    data: Source,
    split: str,
    extractor: str,
    n: int | None,
    seed: int,
) -> None:
    """Score the samples of a run."""
    samples, meta = read_samples(run)
    if n is not None and not 2 <= n <= len(samples):
        raise UsageError(f"n is {n}; {run} has {len(samples):,} samples, of which 2 or more count")
    whole = known.load(data, split)
    reference, what = whole, f"{whole.name}, {split}"
    given = meta.get("condition")
    if given:
        encoding = from_config(saved_model(run)["covariates"], Covariates | None, "covariates")
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
    facts = {**meta, "split": what}
    networks = [extractors(word, reference) for word in extractor.split(",")]
    if samples.ndim == 2 and not samples.is_floating_point():
        records = evaluate_counts(samples[:n], reference.x, seed=seed, meta=facts)
    else:
        x = draw_rows(reference.x, len(reference), "reference")
        records = score(samples[:n], x, extractors=networks, seed=seed, meta=facts)
    content = {"records": [r.to_dict() for r in records], "samples": meta}
    path = write_json(run / "evaluation.json", content)
    console.say(table(records))
    console.say(f"\nwrote {path}; for a page of it all: markovbridge report {run}")


def _likelihood(
    run: Path,
    known: RunData,
    *,
    data: Source,
    split: str,
    trained: str,
    likelihood: int,
    looks: int,
    seed: int,
    device: str | None,
    network: Callable[..., nn.Module] | None,
) -> None:
    """Bound the likelihood of data points beside a histogram."""
    if looks % 2:
        raise UsageError(f"looks is {looks}; it must be even, two for each stratum of times")
    transport = load_transport(run, saved_model(run), network, None, "ema")
    transport.to(Ranks(0, 1, 0).device(device))
    new = known.load(data, split)
    _, told = conditioned(
        transport, None, 1.0, len(new), columns=new.known, what=f"{new.name}, {split},"
    )
    order = torch.randperm(len(new), generator=generator("cpu", "likelihood", seed))
    chosen = order[:likelihood].sort().values
    simple = new.maximum is not None or new.x.ndim == 2  # images or tables of counts
    training = known.load(data, trained) if simple else None
    with console.Progress(len(chosen), "data points") as progress:
        records = nats.held_out(
            transport,
            new.x[chosen],
            condition=None if told is None else told[chosen],
            training=None if training is None else training.x,
            maximum=new.maximum,
            draws=looks,
            seed=seed,
            block=BLOCK,
            split=f"{new.name}, {split}",
            callback=progress.advance,
        )
    content = {"records": [r.to_dict() for r in records], "model": hash_weights(transport)}
    path = write_json(run / "likelihood.json", content)
    console.say(nats.table(records))
    console.say(f"\nwrote {path}")


def extractors(word: str, reference: Dataset) -> Extractor:
    """The extractor of a word such as "mobilenet:weights.pt".

    Raises:
        UsageError: If there is no such extractor.
        FileNotFoundError: If the file of weights is missing.
        ValueError: If it is not the file it should be.
    """
    name, _, path = word.strip().partition(":")
    if name == "pixels" and not path:
        return Pixels()
    if name not in NETWORKS or not path:
        raise UsageError(
            f"extractor is {word!r}{closest(name, ['pixels', *NETWORKS])}; it must be pixels, "
            "mobilenet:PATH or inception:PATH"
        )
    return NETWORKS[name](path, maximum=reference.maximum or 255)
