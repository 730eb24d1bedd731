"""`markovbridge evaluate`: score the samples of a run against real data.

RUN/evaluation.json    {"records": [...], "samples": how the samples were made}
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from markovbridge.cli import console
from markovbridge.cli.errors import UsageError, closest
from markovbridge.cli.options import parse, split_target
from markovbridge.cli.runs import configuration, ours, read_samples, run_folder
from markovbridge.data import Dataset, Source
from markovbridge.metrics import (
    Extractor,
    Inception,
    MobileNetV2,
    Pixels,
    evaluate_counts,
    table,
)
from markovbridge.metrics import evaluate as score

__all__ = ["evaluate"]

NETWORKS = {"mobilenet": MobileNetV2, "inception": Inception}


def evaluate(
    run: str,
    split: Literal["train", "validation", "test", "all"] | None = None,
    extractor: str = "pixels",
    n: int | None = None,
    seed: int = 0,
    data: Source | None = None,
) -> None:
    """Score the samples of a run against real data.

    Every figure is printed beside its floor, what real data score against real data with
    as many samples, and is written to RUN/evaluation.json with all that one has to know
    to read it. Samples of a count table are scored by what matters for tables: features,
    correlations, library sizes, two-sample distances and a classifier.

    Args:
        run: The run folder, with samples from `markovbridge sample`.
        split: Real data to compare with. Without it, those of the training.
        extractor: What Fréchet distances are measured in: pixels, mobilenet:PATH or
            inception:PATH, PATH being the file of weights; several with commas between.
        n: Use the first n samples only. Without it, all.
        seed: Seed of the random splits of the real data that floors are averaged over.
        data: Real data, if not those of the training.
    """


def evaluate_main(words: list[str]) -> None:
    """Run the verb."""
    name, rest = split_target(words, "RUN", "evaluate runs/digits")
    run = None if name is None else run_folder(name)
    config = {} if run is None else configuration(run)
    source = config.get("data")
    defaults = {"data": source} if source and ours(source) else None
    options = parse(evaluate, rest, usage=f"evaluate {name or 'RUN'}", defaults=defaults)
    assert run is not None
    values = options.values
    if values["data"] is None:
        path = source.get("class_path") if isinstance(source, dict) else source
        raise UsageError(f"the data of {run} are of your own class: name it with --data {path}")
    _evaluate(run, **{**values, "split": values["split"] or config.get("split", "train")})


def _evaluate(
    run: Path, *, data: Source, split: str, extractor: str, n: int | None, seed: int
) -> None:
    samples, meta = read_samples(run)
    if n is not None and not 2 <= n <= len(samples):
        raise UsageError(f"n is {n}; {run} has {len(samples):,} samples, of which 2 or more count")
    reference = data.load(split)
    facts = {**meta, "split": f"{reference.name}, {split}"}
    networks = [extractors(word, reference) for word in extractor.split(",")]
    if samples.ndim == 2 and not samples.is_floating_point():
        records = evaluate_counts(samples[:n], reference.x, seed=seed, meta=facts)
    else:
        records = score(samples[:n], reference.x, extractors=networks, seed=seed, meta=facts)
    path = run / "evaluation.json"
    content: dict[str, Any] = {"records": [r.to_dict() for r in records], "samples": meta}
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(fresh, path)
    console.say(table(records))
    console.say(f"\nwrote {path}; for a page of it all: markovbridge report {run}")


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
