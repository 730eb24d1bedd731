"""The error of the second-order bridge for every jump process on integers, by steps.

    python benchmarks/second_order_processes.py --draws 150000

Two sites whose law is known (`tests/grid/worlds.py`), a perfect network with a table for each;
draws start at the source, and total variation is to the law that the exact process ends in.
The last column is what as many draws of that law itself have.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from grid.heads import LAWS
from grid.worlds import INTEGERS, VALUES, Perfect, World
from markovbridge import Bridge, Transport, heads, processes
from markovbridge.samplers import SecondOrderBridge

STEPS = (4, 8, 16, 32)


def variation(model, wanted, sampler, steps, draws):
    """Total variation between draws and a law."""
    generator = torch.Generator().manual_seed(0)
    x = model.sample(draws, steps=steps, sampler=sampler, generator=generator, block=draws)
    inside = ((x >= 0) & (x < VALUES)).all(1)
    cells = np.zeros(wanted.shape)
    np.add.at(cells, tuple(x[inside].numpy().T), 1)
    return 0.5 * (abs(cells / draws - wanted).sum() + 1 - cells.sum() / draws)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=150_000)
    parser.add_argument("--only", nargs="+", default=(), metavar="CLASS", help="of these alone")
    arguments = parser.parse_args()
    draws = arguments.draws
    print(f"{'':36}" + "".join(f"{n:8}" for n in STEPS) + "   floor")
    for cls, instances in INTEGERS.items():
        process, low, states = instances()[0]
        if not issubclass(cls, processes.JumpProcess):
            continue
        if arguments.only and cls.__name__ not in arguments.only:
            continue
        world = World(process, low, states)
        model = Transport(process, Perfect(world, LAWS[heads.CategoricalHead](world)), shape=(2,))
        wanted = world.generated()
        chance = np.random.default_rng(0).multinomial(draws, wanted.flatten(), 200) / draws
        floor = 0.5 * abs(chance - wanted.flatten()).sum(1).mean()
        for sampler in (Bridge(), SecondOrderBridge()):
            row = [variation(model, wanted, sampler, n, draws) for n in STEPS]
            name = f"{cls.__name__} {type(sampler).__name__}"
            print(f"{name:36}" + "".join(f"{v:8.4f}" for v in row) + f"{floor:8.4f}", flush=True)


if __name__ == "__main__":
    main()
