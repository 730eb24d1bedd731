"""What it costs to make every jump of a chain of many states, whose bounds come from sparse rows.

    python benchmarks/gillespie_chains.py --states 4096 --jumps 40

The chain is that of five ways out of a state of `large_chains.py`; 16 samples start at x_0.25 of
three data points, with the exact law. Printed are evaluations, seconds of the processor and of the
clock, and how many samples end at each data point.
"""

import argparse
import time

import torch

import markovbridge as mb
from large_chains import graph
from markovbridge import exact

SAMPLES = 16
START = 0.25


class Counted(exact.Empirical):
    """A law that counts how often it is asked."""

    asked = 0

    def __call__(self, x, t, condition=None):
        type(self).asked += 1
        return super().__call__(x, t, condition)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=4096)
    parser.add_argument("--jumps", type=float, default=40.0)
    options = parser.parse_args()
    process = mb.FiniteChain(graph(options.states, options.jumps))
    points = torch.tensor([[options.states // 40], [options.states // 2], [options.states - 96]])
    model = mb.Transport(process, Counted(process, points), shape=(1,))
    generator = torch.Generator().manual_seed(0)
    ends = points[torch.arange(SAMPLES) % len(points)]
    x = process.transition(ends, 1.0, START).sample(generator=generator)
    began, spent = time.perf_counter(), time.process_time()
    drawn = mb.Gillespie().step(model, x, START, 1.0, generator=generator)
    began, spent = time.perf_counter() - began, time.process_time() - spent
    print(f"{Counted.asked} evaluations, {spent:.1f} s of the processor, {began:.1f} s")
    print("samples at each data point:", [int((drawn == y).sum()) for y in points.flatten()])


if __name__ == "__main__":
    main()
