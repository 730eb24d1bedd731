"""How much longer does a training step take with correlated noise?

    python benchmarks/correlated_cost.py --data fashion-mnist --steps 30
    python benchmarks/correlated_cost.py --data digits --steps 60 --noise cosine eigenvectors

Trains the recipe DATA-bridge, whose noise is isotropic, beside the same with another noise, on
synthetic data of the same shape, a step of each in turn: that of DATA-correlated, clocks by band
of cosines, or the opposite colour by eigenvectors. Rounds go forwards and backwards by turns, so
that a machine that is busy with other things is so for all; what is printed is the median over
rounds of the ratio, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator

import torch

import markovbridge as mb
from markovbridge import processes, recipes
from markovbridge.covariances import Cosine
from markovbridge.data.synthetic import stand_in
from markovbridge.evaluation.bands import opposite
from markovbridge.training import Trainer, TrainingState

WARM = 3  # steps of each before the clock starts
NOISES = ("correlated", "cosine", "eigenvectors")
BARS = {"isotropic": 1.0, "correlated": 1.05, "cosine": 1.1, "eigenvectors": 1.1}


def process_of(data: str, noise: str) -> processes.Process:
    """What a noise makes of the process of a recipe."""
    read = recipes.load(f"{data}-correlated" if noise == "correlated" else f"{data}-bridge")
    process = read.process
    assert isinstance(process, mb.LinearDiffusion)
    if noise == "cosine":
        modes = Cosine(edges=tuple(k / 32 for k in range(1, 24, 2)))
        odds = tuple(2.0 ** (6 - k) for k in range(modes.bands))
        return dataclasses.replace(process, modes=modes, clocks=processes.BandClocks(odds))
    if noise == "eigenvectors":
        x = stand_in(read.data, read.split).load("all").x
        assert process.support is not None
        return dataclasses.replace(process, covariance=opposite(process.support.encode(x.float())))
    return process


def started(data: str, noise: str, steps: int) -> Iterator[TrainingState]:
    """A training run, to be advanced step by step."""
    read = recipes.load(f"{data}-bridge")
    read = dataclasses.replace(read, process=process_of(data, noise))
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
    print(f"{noise}: batches of {config.batch_size}")
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
    parser.add_argument("--noise", nargs="+", choices=NOISES, default=["correlated"])
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    names = ["isotropic", *arguments.noise]
    runs = [started(arguments.data, name, arguments.steps + WARM) for name in names]
    for _ in range(WARM):
        for run in runs:
            next(run)
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(arguments.steps):
        order = range(len(runs))
        for which in order if turn % 2 == 0 else reversed(order):
            seconds[which].append(timed(runs[which]))
    print(f"{arguments.steps} steps each, {torch.get_num_threads()} threads, medians:")
    late = False
    for name, taken in zip(names, seconds, strict=True):
        paired = statistics.median(b / a for a, b in zip(seconds[0], taken, strict=True))
        middle = statistics.median(taken)
        of_medians = middle / statistics.median(seconds[0])
        print(
            f"  {name:13s}{1000 * middle:8.1f} ms a step; ratio {paired:.3f} over rounds, "
            f"{of_medians:.3f} of medians (at most {BARS[name]})"
        )
        late |= paired > BARS[name]
    if late:
        sys.exit(1)


if __name__ == "__main__":
    main()
