"""How much of a sampling step is the network?

    python benchmarks/sampling_cost.py --recipe fashion-mnist --steps 20

Samples one block with the untrained transport of a recipe, on statistics of its own
data or of synthetic data of the same shape if those are absent, and times the
network's forward pass within the loop. All else (standardising the state, head,
law, bridge, random numbers, checks) is overhead. Weights are random: with zeros at
the output, as a new network has, some kernels would have less to do.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import torch

from markovbridge.data.synthetic import stand_in
from markovbridge.doors.randomness import generator
from markovbridge.recipes.loading import locate
from markovbridge.recipes.recipe import describe_data
from markovbridge.transport import BLOCK

WARM = 3  # steps before the clock starts
BAR = 0.85


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="fashion-mnist", help="name or YAML file")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps")
    parser.add_argument("--block", type=int, default=BLOCK, help="samples at once")
    arguments, words = parser.parse_known_args()

    recipe = locate(arguments.recipe).recipe(words)
    try:
        dataset = recipe.dataset()
    except FileNotFoundError:
        dataset = stand_in(recipe.data, recipe.split).load("all")
    transport = recipe.transport(dataset).eval()
    with torch.no_grad():
        for weights in transport.parameters():
            if not weights.any():
                weights.normal_(std=1e-2, generator=generator("cpu", "sampling cost"))
    transport.to("cuda" if torch.cuda.is_available() else "cpu")

    inside = 0.0
    forward = transport.network.forward

    def timed(*args: Any) -> Any:
        nonlocal inside
        began = now()
        result = forward(*args)
        inside += now() - began
        return result

    transport.network.forward = timed
    moments: list[tuple[float, float]] = []
    transport.sample_block(
        0,
        key=0,
        steps=WARM + arguments.steps,
        block=arguments.block,
        callback=lambda t, x: moments.append((now(), inside)),
    )
    (began, before), (ended, after) = moments[WARM], moments[-1]
    step, share = (ended - began) / arguments.steps, (after - before) / (ended - began)
    parameters = sum(weights.numel() for weights in transport.parameters())
    print(f"{arguments.recipe}: {describe_data(dataset)}; {parameters:,} weights")
    print(
        f"block of {arguments.block}, {transport.device.type}, {torch.get_num_threads()} threads"
    )
    print(f"{arguments.steps} steps, {1000 * step:.1f} ms each")
    print(f"  network          {1000 * step * share:8.1f} ms")
    print(f"  everything else  {1000 * step * (1 - share):8.1f} ms")
    print(f"network: {100 * share:.1f} % of a step (at least {100 * BAR:.0f} %)")
    if share < BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
