"""How much of the training loop is the network and the optimiser?

    python benchmarks/training_cost.py --recipe fashion-mnist --steps 30

Trains a recipe for some steps, on synthetic data of the same shape if its own is
absent, and times the network's forward pass, the backward pass and the optimiser
step within the loop. All else (batches, bridges, loss, clipping, averaging,
checks, log, and checkpoints as often as the recipe writes them) is overhead.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from markovbridge.data.synthetic import stand_in
from markovbridge.recipes.loading import locate
from markovbridge.recipes.recipe import describe_data
from markovbridge.training import Trainer

WARM = 3  # steps before the clock starts
BAR = 0.90


class Clock:
    """Seconds spent in functions that are wrapped in place."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, owner: Any, method: str, name: str) -> None:
        function: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = now()
            result = function(*args, **kwargs)
            self.seconds[name] += now() - began
            return result

        setattr(owner, method, timed)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="fashion-mnist", help="name or YAML file")
    parser.add_argument("--steps", type=int, default=30)
    arguments, words = parser.parse_known_args()

    recipe = locate(arguments.recipe).recipe(words)
    try:
        dataset = recipe.dataset()
    except FileNotFoundError:
        dataset = stand_in(recipe.data, recipe.split).load("all")
    config = recipe.trainer
    transport = recipe.transport(dataset)
    short = dataclasses.replace(
        config,
        steps=max(config.steps, WARM + arguments.steps),
        validate_every=0,
        select="last",
        sample_every=0,
        checkpoint_every=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(transport, dataset.x, short, directory=f"{folder}/run")
        clock = Clock()
        clock.wrap(trainer.transport.network, "forward", "network forward")
        clock.wrap(trainer.accelerator, "backward", "backward")
        clock.wrap(trainer.learner.optimizer, "step", "optimiser")
        for state in trainer:
            if state.step == WARM:
                clock.seconds.clear()
                began = now()
            elif state.step == WARM + arguments.steps:
                total = now() - began
                break
        began = now()
        trainer.save()
        saving = now() - began

    every = config.checkpoint_every or config.steps
    step = total / arguments.steps
    loop = step + saving / every
    print(f"{arguments.recipe}: {describe_data(dataset)}; {trainer.learner.parameters:,} weights")
    print(f"batch {config.batch_size}, {trainer.device.type}, {torch.get_num_threads()} threads")
    print(f"{arguments.steps} steps, {1000 * step:.1f} ms each")
    shares = {name: t / arguments.steps / loop for name, t in clock.seconds.items()}
    rows = shares | {f"checkpoints, every {every:,}": saving / every / loop}
    for name, share in rows.items():
        print(f"  {name:<28} {100 * share:5.1f} %")
    share = sum(shares.values())
    print(f"network and optimiser: {100 * share:.1f} % of the loop (at least {100 * BAR:.0f} %)")
    if share < BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
