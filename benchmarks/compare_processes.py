"""Processes side by side: one data set, one network, one budget, one table.

    python benchmarks/compare_processes.py --data digits --steps 3000 --output runs/compare
    python benchmarks/compare_processes.py --data fashion-mnist --steps 4000

Trains the recipe of each process, or takes the run that is there, draws samples at several
numbers of network evaluations with the sampler that suits its head, and prints the energy
distance and the Fréchet distance in pixels to the data, beside those of two halves of the data.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import markovbridge as mb
from markovbridge import recipes
from markovbridge.data import IDX, Digits
from markovbridge.evaluation import metrics
from trained_runs import trained

DATA = {"digits": Digits(), "fashion-mnist": IDX(name="fashion-mnist")}
SUFFIXES = ("", "-absorbing", "-uniform", "-gaussian", "-ehrenfest", "-birth-death")


def model_of(recipe: str, folder: Path, steps: int) -> mb.Transport:
    """The model of a recipe after this many steps."""
    words = ["--trainer.steps", str(steps)]
    if recipe in DATA:  # leaps alone, and the batches of the others
        size = "128" if recipe == "digits" else "64"
        words += ["--head", "markovbridge.MeanHead", "--trainer.batch_size", size]
    run = trained(folder / f"{recipe}-{steps}", recipe, *words)
    return mb.Transport.from_pretrained(run).to("cuda" if torch.cuda.is_available() else "cpu")


def sampler_of(model: mb.Transport) -> mb.Bridge | mb.TauLeaping:
    """Leaps where the head knows rates alone, else the bridge."""
    return mb.TauLeaping() if isinstance(model.head, mb.TwoMeansHead) else mb.Bridge()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(DATA), default="digits")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of each")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--samples", type=int, default=1797)
    parser.add_argument("--output", type=Path, default=Path("runs/compare"))
    parser.add_argument("--only", nargs="+", help="suffixes of recipes, such as absorbing")
    arguments = parser.parse_args()
    split = "all" if arguments.data == "digits" else "test"
    data = DATA[arguments.data].load(split).x.flatten(1)
    order = torch.randperm(len(data), generator=torch.manual_seed(0))
    data = data[order[: arguments.samples]].double()
    half = len(data) // 2
    floor = (
        metrics.energy_distance(data[:half], data[half:]),
        metrics.frechet_distance(data[:half], data[half:]),
    )
    columns = "".join(f"{n:>18d}" for n in arguments.evaluations)
    rows = [
        f"{arguments.data}, {arguments.steps} training steps, {len(data)} samples; energy / "
        f"Fréchet distance in pixels; two halves of the data: {floor[0]:.3f} / {floor[1]:.1f}",
        f"{'process':26s} {'sampler':11s}{columns}",
    ]
    for suffix in SUFFIXES:
        recipe = arguments.data + suffix
        if recipe not in recipes.names():
            continue
        if arguments.only and suffix.removeprefix("-") not in arguments.only:
            continue
        model = model_of(recipe, arguments.output, arguments.steps)
        sampler, cells = sampler_of(model), ""
        for count in arguments.evaluations:
            samples = model.sample(
                len(data),
                steps=count,
                sampler=sampler,
                generator=torch.Generator(model.device).manual_seed(0),
                block=256,
            )
            samples = samples.flatten(1).cpu().double()
            energy = metrics.energy_distance(samples, data)
            frechet = metrics.frechet_distance(samples, data)
            cells += f"{energy:9.3f} / {frechet:6.1f}"
        process = type(model.process).__name__
        rows.append(f"{process:26s} {type(sampler).__name__:11s}{cells}")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
