"""What benchmarks train: runs of recipes, each once, and kept; and models of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import markovbridge as mb


def trained(run: Path, recipe: str, *words: str) -> Path:
    """The folder of a run, which `markovbridge train` makes unless its model is there."""
    if not (run / "model" / "config.json").is_file():
        command = [sys.executable, "-m", "markovbridge", "train", recipe, "--output", str(run)]
        subprocess.run([*command, "--overwrite", "true", *words], check=True, stdout=sys.stderr)
    return run


def averaged(
    model: mb.Transport,
    loss: Callable[[torch.Generator], Tensor],
    rate: torch.optim.lr_scheduler.LRScheduler,
    steps: int,
    seed: int,
    decay: float,
) -> mb.Transport:
    """A model trained by a loss of random rows, with the average of its network's weights.

    Args:
        model: The model.
        loss: The loss of a step, given the source of its randomness.
        rate: Learning rates of an optimiser of the model.
        steps: How many steps.
        seed: Of the rows and their noise.
        decay: Of the average, at each step.
    """
    network, optimiser = model.network, rate.optimizer
    assert isinstance(network, torch.nn.Module)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        value = loss(generator)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 100.0)
        optimiser.step()
        rate.step()
        average.update_parameters(network)
    network.load_state_dict(average.module.state_dict())
    return model.eval()
