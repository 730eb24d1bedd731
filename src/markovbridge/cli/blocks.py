"""Blocks of samples, stored as they come, so that interrupted work is not lost.

A block is a pure function of the settings and its index (see `Transport.sample`),
so finished blocks can be kept in files and made by any process in any order:

    RUN/samples.parts/settings.json     what the blocks were made with
    RUN/samples.parts/block-000012.npz

A block that was made with other settings, or whose file is damaged, is made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from markovbridge.data.counts import smallest_type
from markovbridge.storage.documents import read_json
from markovbridge.storage.files import (
    discard,
    make_folder,
    settle,
    to_json,
    write_arrays,
    write_json,
)
from markovbridge.training.run_folder import read_arrays
from markovbridge.transport import Transport

Draw = Callable[[Callable[[float, Tensor], None]], Tensor]
NAMES = ("samples", "evaluations", "seconds", "times", "states")
SHOWN = 8  # samples of the first block whose path is kept
FRAMES = 25  # at about so many times


class Blocks:
    """The blocks of one set of samples.

    Args:
        folder: Where they are stored.
        settings: All that they are a function of, as JSON can hold it.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = json.loads(to_json(settings))

    def prepare(self) -> str | None:
        """Take the folder into use, once for all processes.

        Returns:
            Which setting made blocks of an earlier call useless, or None.
        """
        file = self.folder / "settings.json"
        changed = None
        settle(self.folder)
        if self.folder.exists():
            try:
                before = read_json(file)
                keys = self.settings.keys() | before.keys()
                changed = next(
                    (k for k in sorted(keys) if before.get(k) != self.settings.get(k)), None
                )
            except (OSError, ValueError):
                changed = "settings.json"
            if changed is not None:
                stored = any(self.folder.glob("block-*.npz"))
                discard(self.folder)
                changed = changed if stored else None
        make_folder(self.folder)
        write_json(file, self.settings)
        return changed

    def done(self, index: int) -> bool:
        """Whether a block is stored intact."""
        return self._path(index).is_file() and self._read(index) is not None

    def load(self, index: int) -> dict[str, np.ndarray]:
        """A stored block: its `NAMES`.

        Raises:
            ValueError: If it is missing or damaged.
        """
        arrays = self._read(index)
        if arrays is None:
            raise ValueError(f"{self._path(index)} is missing or damaged; run the command again")
        return arrays

    def make(
        self,
        index: int,
        transport: Transport,
        draw: Draw,
        *,
        steps: int,
        advance: Callable[[float], None],
    ) -> None:
        """Draw a block and store it.

        Args:
            index: Its number.
            transport: The model.
            draw: Makes the samples of the block; called with a callback as
                `Transport.sample` takes it.
            steps: Steps of the grid.
            advance: Called with the share of the block that each step is.
        """
        every = -(-steps // FRAMES)
        times: list[float] = []
        states: list[Tensor] = []
        calls = taken = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        def watch(t: float, x: Tensor) -> None:
            nonlocal taken
            if index == 0 and (taken % every == 0 or taken == steps):
                times.append(t)
                states.append(x[:SHOWN].cpu())
            if taken:
                advance(1 / steps)
            taken += 1

        assert isinstance(transport.network, nn.Module)
        started = time.perf_counter()
        hook = transport.network.register_forward_pre_hook(count)
        try:
            samples = draw(watch)
        finally:
            hook.remove()
        maximum = largest(transport)
        write_arrays(
            self._path(index),
            samples=_small(samples.cpu(), maximum),
            evaluations=np.array(calls),
            seconds=np.array(time.perf_counter() - started),
            times=np.array(times),
            states=_small(torch.stack(states), maximum) if states else np.empty(0),
        )

    def clear(self) -> None:
        """Delete the stored blocks."""
        discard(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"block-{index:06d}.npz"

    def _read(self, index: int) -> dict[str, np.ndarray] | None:
        try:
            return read_arrays(self._path(index), NAMES, "it is made again")
        except ValueError:
            return None


def largest(transport: Transport) -> int | None:
    """The largest count of the data, if the model states it."""
    process = transport.process
    stated = (getattr(part, "maximum", None) for part in (process, process.support))
    return next((maximum for maximum in stated if maximum is not None), None)


def _small(x: Tensor, maximum: int | None) -> np.ndarray:
    """States as an array, counts in the smallest type that holds them."""
    if x.is_floating_point():
        return x.numpy()
    top = int(x.max()) if maximum is None else maximum
    return x.to(smallest_type(top)).numpy()
