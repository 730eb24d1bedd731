"""How much longer does a training step take with correlated noise?

    python benchmarks/correlated_cost.py --data fashion-mnist --steps 30

Trains the two recipes DATA-bridge and DATA-correlated side by side, a step of one and then
a step of the other, on synthetic data of the same shape. They differ in the covariance of
the noise only. Steps come in pairs, in both orders by turns, so that a machine that is busy
with other things is so for both; what is printed is the median over pairs of the ratio, and
the ratio of the medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator

import torch

from markovbridge import recipes
from markovbridge.data.synthetic import stand_in
from markovbridge.training import Trainer, TrainingState

WARM = 3  # steps of each before the clock starts
BAR = 1.05


def started(recipe: str, steps: int) -> Iterator[TrainingState]:
    """A training run of a recipe, to be advanced step by step."""
    read = recipes.load(recipe)
    config, dataset = read.trainer, stand_in(read.data, read.split).load("all")
    x = dataset.x.repeat(-(-config.batch_size // len(dataset)), 1, 1, 1)
    transport = read.transport(dataset)
    short = dataclasses.replace(
        config,
        steps=max(config.steps, steps + 1),
        validate_every=0,
        sample_every=0,
        checkpoint_every=0,
    )
    print(f"{recipe}: {transport.process.covariance!r}, batches of {config.batch_size}")
    return iter(Trainer(transport, x, short))


def timed(run: Iterator[TrainingState]) -> float:
    """Seconds that a step takes."""
    began = time.perf_counter()
    next(run)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion-mnist", help="digits, fashion-mnist, cifar10")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    names = (f"{arguments.data}-bridge", f"{arguments.data}-correlated")
    runs = [started(name, arguments.steps + WARM) for name in names]
    for _ in range(WARM):
        for run in runs:
            next(run)
    seconds: list[list[float]] = [[], []]
    for pair in range(arguments.steps):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            seconds[which].append(timed(runs[which]))
    plain, correlated = (statistics.median(s) for s in seconds)
    paired = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(f"{arguments.steps} steps each, {torch.get_num_threads()} threads, medians:")
    print(f"  isotropic   {1000 * plain:8.1f} ms a step")
    print(f"  correlated  {1000 * correlated:8.1f} ms a step")
    print(f"ratio: {paired:.3f} over pairs, {correlated / plain:.3f} of medians (at most {BAR})")
    if paired > BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
