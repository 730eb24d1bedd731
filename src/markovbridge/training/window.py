"""The losses of the last steps, fetched from the device in bulk.

Reading one number makes a CPU wait for a GPU, and the GPU then waits for the
CPU. So losses stay on the device until the log wants them. On a CPU reading is
free, and happens before the optimiser could use a broken gradient.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from markovbridge import doors

UNREAD = 100  # steps that may wait on the device


class Window:
    """Loss and gradient norm of every step since the last log.

    Args:
        accelerator: Knows the device and the other processes.

    Attributes:
        values: [loss, norm] of the steps read so far.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.values: list[list[float]] = []
        self._unread: list[tuple[int, Tensor, Tensor]] = []

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Note a step; on a CPU, check it too.

        Raises:
            FloatingPointError: See `read`.
        """
        self._unread.append((step, loss, norm))
        if loss.device.type == "cpu" or len(self._unread) >= UNREAD:
            self.read()

    def read(self) -> None:
        """Fetch and check what was noted.

        Raises:
            FloatingPointError: If a number is not finite, naming the step.
        """
        if not self._unread:
            return
        steps = [step for step, _, _ in self._unread]
        numbers = torch.stack([v.float() for _, *pair in self._unread for v in pair]).tolist()
        self._unread.clear()
        for step, loss, norm in zip(steps, numbers[::2], numbers[1::2], strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise FloatingPointError(
                    f"Training diverged at step {step}: loss {loss}, norm of the gradient {norm}. "
                    "Checkpoints written before are intact. Lower learning_rate or clip, or look "
                    "for extreme values in the data."
                )
            self.values.append([loss, norm])

    def share(self) -> None:
        """Replace this process's values by their means over the processes."""
        self.read()
        if self.accelerator.num_processes > 1 and self.values:
            mine = torch.tensor(self.values, dtype=torch.float64, device=self.accelerator.device)
            self.values = cast(Tensor, self.accelerator.reduce(mine, "mean")).tolist()

    def take(self) -> tuple[float, float]:
        """Mean loss and norm over the window and the processes; the window starts anew."""
        self.share()
        loss, norm = (sum(column) / len(self.values) for column in zip(*self.values, strict=True))
        self.values = []
        return loss, norm


doors.guard(__name__)
