"""Flow matching by Meta's library, for `quality.py`: `python quality_outside.py METHOD FOLDER`.

Runs in an environment of its own, with `flow_matching` (Lipman et al. 2024,
https://arxiv.org/abs/2412.06264) beside this package, whose data, network and budget it takes:
the network of a recipe, its batches, optimiser, learning rates, clipping, average of the weights
and precision. Of the library are the paths, the losses and the solvers:

    continuous    counts as reals in [-1, 1], conditional optimal transport from Gaussian noise,
                  the mean square of the velocity; Euler's method and the midpoint rule
    discrete      counts as categories, a mixture path from uniform noise with the polynomial
                  scheduler of power 2, the generalised KL; its Euler solver

`task.json` in the folder says what is asked; the trained weights, samples and seconds stay there.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flow_matching.loss import MixturePathGeneralizedKL
from flow_matching.path import AffineProbPath, MixtureDiscreteProbPath
from flow_matching.path.scheduler import CondOTScheduler, PolynomialConvexScheduler
from flow_matching.solver import MixtureDiscreteEulerSolver, ODESolver
from flow_matching.utils import ModelWrapper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from markovbridge.data.base import Dataset
from markovbridge.recipes.loading import locate
from markovbridge.training import TrainingConfig

LATEST = 1 - 1e-3  # the discrete loss has a weight that is infinite at 1


class Outside(ModelWrapper):
    """The network as the solvers of the library call it, and what a method needs of the library.

    Args:
        network: Called as `network(features, t)`, features being (B, 1, *event).
        top: The largest count.
        precision: "float32", or "bf16" for the network.
    """

    solvers: tuple[str, ...]

    def __init__(self, network: nn.Module, top: int, precision: str) -> None:
        super().__init__(network)
        self.top, self.precision, self.calls = top, precision, 0

    def scaled(self, x: Tensor) -> Tensor:
        """Counts as reals in [-1, 1]."""
        return x.float() * 2 / self.top - 1

    def ask(self, seen: Tensor, t: Tensor) -> Tensor:
        """The output of the network, (B, outputs, *event)."""
        self.calls += 1
        half = self.precision == "bf16"
        with torch.autocast(seen.device.type, torch.bfloat16, enabled=half):
            raw = self.model(seen.unsqueeze(1), t.expand(len(seen)))
        return raw.float()


class Continuous(Outside):
    """Flow matching of reals."""

    solvers = "euler", "midpoint"

    @staticmethod
    def outputs(top: int) -> int:
        return 1

    def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:
        return self.ask(x, t)[:, 0]

    def loss(self, x1: Tensor) -> Tensor:
        x1 = self.scaled(x1)
        t = torch.rand(len(x1), device=x1.device)
        path = AffineProbPath(scheduler=CondOTScheduler())
        at = path.sample(t=t, x_0=torch.randn_like(x1), x_1=x1)
        return (self(at.x_t, at.t) - at.dx_t).square().mean()

    def draw(self, shape: tuple[int, ...], evaluations: int, solver: str, device: str) -> Tensor:
        steps = evaluations if solver == "euler" else max(evaluations // 2, 1)
        grid = torch.linspace(0, 1, steps + 1, device=device)
        noise = torch.randn(shape, device=device)
        x = ODESolver(self).sample(x_init=noise, time_grid=grid, step_size=None, method=solver)
        assert isinstance(x, Tensor)
        return ((x + 1) * self.top / 2).round().clamp(0, self.top)


class Discrete(Outside):
    """Flow matching of categories."""

    solvers = ("solver",)
    path = MixtureDiscreteProbPath(scheduler=PolynomialConvexScheduler(n=2.0))

    @staticmethod
    def outputs(top: int) -> int:
        return top + 1

    def logits(self, x: Tensor, t: Tensor) -> Tensor:
        return self.ask(self.scaled(x), t).movedim(1, -1)

    def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:
        return self.logits(x, t).softmax(-1)

    def loss(self, x1: Tensor) -> Tensor:
        t = torch.rand(len(x1), device=x1.device) * LATEST
        at = self.path.sample(t=t, x_0=torch.randint_like(x1, self.top + 1), x_1=x1)
        loss = MixturePathGeneralizedKL(path=self.path)
        return loss(logits=self.logits(at.x_t, at.t), x_1=at.x_1, x_t=at.x_t, t=at.t)

    def draw(self, shape: tuple[int, ...], evaluations: int, solver: str, device: str) -> Tensor:
        solve = MixtureDiscreteEulerSolver(self, path=self.path, vocabulary_size=self.top + 1)
        noise = torch.randint(self.top + 1, shape, device=device)
        grid = torch.linspace(0, 1, evaluations + 1, device=device)
        return solve.sample(x_init=noise, step_size=None, time_grid=grid)


METHODS = {"continuous": Continuous, "discrete": Discrete}


def batches(data: Dataset, size: int, seed: int) -> Iterator[Tensor]:
    """Rounds through the data, each in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(data), generator=generator)
        for start in range(0, len(data) - size + 1, size):
            yield data.x[order[start : start + size]].long()


def train(model: Outside, data: Dataset, config: TrainingConfig, device: str) -> nn.Module:
    """The average of the weights after all steps, as `markovbridge.training` would have it."""
    average = copy.deepcopy(model.model)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=config.weight_decay)
    clip = float("inf") if config.clip is None else config.clip
    began, total = time.perf_counter(), 0.0
    rows = batches(data, config.batch_size, config.seed)
    for step, x in zip(range(config.steps), rows, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        optimiser.zero_grad()
        loss = model.loss(x.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.model.parameters(), strict=True):
                kept.lerp_(new, 1 - config.averaging(step))
        total += float(loss.detach())
        if (step + 1) % config.log_every == 0:
            each = (time.perf_counter() - began) / (step + 1)
            told = f"step {step + 1}/{config.steps}: loss {total / config.log_every:.4g}"
            print(f"{told}, {each:.2f} s a step", file=sys.stderr, flush=True)
            total = 0.0
    return average


def draws(model: Outside, task: dict[str, Any], shape: tuple[int, ...], seed: int) -> Iterator:
    """Samples of each solver and number of evaluations, with the facts about them."""
    block, device = task["block"], next(model.parameters()).device.type
    sizes = [min(block, task["samples"] - at) for at in range(0, task["samples"], block)]
    for solver in model.solvers:
        for count in task["evaluations"]:
            torch.manual_seed(seed)
            model.calls, began = 0, time.perf_counter()
            made = [model.draw((size, *shape), count, solver, device).cpu() for size in sizes]
            each = (time.perf_counter() - began) / task["samples"]
            asked = model.calls // len(sizes)
            yield {"solver": solver, "evaluations": asked, "seconds": each}, torch.cat(made)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    task = json.loads((folder / "task.json").read_text())
    recipe = locate(task["recipe"]).recipe(task["words"])
    data, config = recipe.dataset(), recipe.trainer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, top = METHODS[name], data.maximum
    assert top is not None
    torch.manual_seed(config.seed)
    network = recipe.network(data.shape, 1, kind.outputs(top)).to(device)
    weights = folder / f"{name}.safetensors"
    if weights.exists():
        network.load_state_dict(load_file(weights))
    else:
        network = train(kind(network, top, config.precision), data, config, device)
        save_file(network.state_dict(), weights)
    facts = []
    with torch.inference_mode():
        model = kind(network.eval(), top, config.precision)
        for fact, x in draws(model, task, data.shape, config.seed):
            file = f"{name}-{fact['solver']}-{fact['evaluations']}.npy"
            np.save(folder / file, x.to(torch.int32).numpy())
            facts.append(fact | {"file": file})
    (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
