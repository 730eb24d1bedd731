r"""Trained translations: do results look like the targets, and what of a source is kept?

    python benchmarks/translation.py runs/digits-translate runs/digits-translate-counts \
        --samplers Midpoint Bridge --steps 50

Carries the data set that each run's coupling starts from to the run's data, and prints, for the
sources as they are and for what becomes of them: the energy distance to the targets in raw
values, the Fréchet distance of features, the root-mean-square change of a site, and the same
distance from each result to the source of another row, which would not differ if nothing of a
source were kept. Beside them, half the targets against the other half. Samplers that a run
cannot take are passed over.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import samplers
from markovbridge.couplings import Data
from markovbridge.data import Dataset
from markovbridge.evaluation import metrics
from markovbridge.evaluation.metrics import extractor_of
from markovbridge.storage.config import from_config
from markovbridge.training.run_folder import RunFolder

BLOCK = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--samplers", nargs="+", default=["Midpoint", "Bridge"])
    parser.add_argument("--steps", type=int, nargs="+", default=[50])
    parser.add_argument("--samples", type=int, default=1000, help="of the sources, at most")
    parser.add_argument("--draws", type=int, default=1, help="average over so many")
    parser.add_argument("--split", help="part of the sources and targets")
    parser.add_argument("--extractor", default="pixels", help="pixels or mobilenet:PATH")
    arguments = parser.parse_args()
    for run in arguments.runs:
        model = mb.Transport.from_pretrained(run / "model")
        source = getattr(model.coupling, "source", None)
        if not isinstance(source, Data):
            raise SystemExit(f"{run} does not start from a data set")
        config = RunFolder(run).configuration()
        targets = from_config(config["data"]).load(arguments.split or config.get("split"))
        starts = source.source.load(arguments.split or source.split)
        table(run.name, model, shuffled(starts)[: arguments.samples], targets, arguments)


def shuffled(data: Dataset) -> Tensor:
    """The samples in an order of their own: data may come by class."""
    return data.x[torch.randperm(len(data), generator=torch.Generator().manual_seed(0))]


def table(
    name: str,
    model: mb.Transport,
    starts: Tensor,
    targets: Dataset,
    arguments: argparse.Namespace,
) -> None:
    """One run, a line a sampler."""
    features = extractor_of(arguments.extractor, maximum=targets.maximum or 255)
    real = shuffled(targets)

    def scores(made: list[Tensor], real: Tensor) -> str:
        energy = [
            metrics.energy_distance(x.flatten(1).double(), real.flatten(1).double()) for x in made
        ]
        frechet = [
            metrics.frechet_distance(features(x).double(), features(real).double()) for x in made
        ]
        spread = f" ± {statistics.stdev(energy):.3f}" if len(energy) > 1 else ""
        return f"{statistics.mean(energy):.3f}{spread} | {statistics.mean(frechet):.3g}"

    def change(made: list[Tensor], other: Tensor) -> str:
        squares = [(x.double() - other.double()).square().mean().item() for x in made]
        return f"{statistics.mean(squares) ** 0.5:.2f}"

    half = len(real) // 2
    lines = [
        f"\n{name}: {len(starts)} sources, {len(real)} targets; Fréchet of {features.name}",
        "| | energy | Fréchet | change | to another's source |\n|---|---|---|---|---|",
        f"| half the targets against the others | {scores([real[:half]], real[half:])} | | |",
        f"| sources | {scores([starts], real)} | 0 | {change([starts], starts.roll(1, 0))} |",
    ]
    for sampler in arguments.samplers:
        for steps in arguments.steps:
            try:
                stepping = getattr(samplers, sampler)()
                noise = [torch.Generator().manual_seed(k) for k in range(arguments.draws)]
                made = [
                    model.translate(
                        starts, steps=steps, sampler=stepping, generator=g, block=BLOCK
                    )
                    for g in noise
                ]
            except (TypeError, ValueError) as refusal:
                sys.stderr.write(f"{name}, {sampler}: {refusal}\n")
                break
            kept = f"{change(made, starts)} | {change(made, starts.roll(1, 0))}"
            lines.append(f"| {sampler}, {steps} steps | {scores(made, real)} | {kept} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
