"""Grids of samples that are drawn while training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from markovbridge import doors
from markovbridge.data.rows import dense
from markovbridge.doors.randomness import generator
from markovbridge.storage.captions import named
from markovbridge.storage.files import make_folder, write_bytes
from markovbridge.storage.png import grid_png, to_shades
from markovbridge.training.config import TrainingConfig
from markovbridge.training.examples import Examples
from markovbridge.transport import Transport


def draw(model: Transport, data: Examples, config: TrainingConfig, path: Path, step: int) -> None:
    """Write a grid of samples of images, from the same noise every time.

    Args:
        model: The model so far.
        data: What it is trained on.
        config: How.
        path: Where to.
        step: After how many steps of the training.
    """
    n, device = config.samples, model.device
    told = data.condition
    if told is not None:
        told = told[torch.arange(n) % len(told)].to(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # weights that are still on their way
        options: Any = {
            "steps": config.sample_steps,
            "condition": told,
            "generator": generator(device, "samples", config.seed),
            "block": min(n, 64),
        }
        if data.source is not None and model.coupling.given:
            start = data.source[torch.arange(n) % len(data.source)]
            samples = model.translate(start.to(device), **options)
        else:
            samples = model.sample(n, **options)
    x = dense(data.x)
    maximum = getattr(model.process, "maximum", None) or float(x.max())
    shades = to_shades(samples, min(0.0, float(x.min())), maximum)
    make_folder(path.parent)
    caption = (
        f"After {step:,} steps of training: {n:,} samples of {named(model)}, "
        f"{config.sample_steps} steps, seed {config.seed}"
    )
    write_bytes(path, grid_png(shades, 255, caption=caption))


doors.guard(__name__)
