"""How far a run is: what a step did, and how fast steps come."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from markovbridge import doors
from markovbridge.training.config import TrainingConfig
from markovbridge.training.log import duration


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What a step did.

    Attributes:
        step: Steps done so far.
        loss: Mean loss of this process's samples, a scalar on the device.
        grad_norm: Norm of the gradient before clipping, a scalar on the device.
        learning_rate: Learning rate of the step.
    """

    step: int
    loss: Tensor
    grad_norm: Tensor
    learning_rate: float


def announced(
    step: int, config: TrainingConfig, weights: int, samples: int, place: str, remark: str
) -> str:
    """What is about to be done, of how many weights and samples, where; what to know of it."""
    return (
        f"training from step {step} to {config.steps}: {weights:,} weights, {samples:,} samples, "
        f"batches of {config.batch_size}, {config.precision}, {place}{remark and '; '}{remark}"
    )


class Stopwatch:
    """The time of a run over all its sessions, and its rate since it was last reported.

    Attributes:
        before: Seconds of the sessions before this one.
    """

    def __init__(self) -> None:
        self.before = 0.0
        self.start(0)

    def start(self, step: int) -> None:
        """Begin a session after so many steps."""
        self._started = self._reported = time.perf_counter()
        self._step = step

    def stop(self) -> None:
        """End a session."""
        self.before, self._started = self.elapsed(), time.perf_counter()

    def elapsed(self) -> float:
        """Seconds that the run has taken."""
        return self.before + time.perf_counter() - self._started

    def report(
        self, state: TrainingState, config: TrainingConfig, loss: float, norm: float
    ) -> tuple[dict[str, float], str]:
        """Numbers and a line of text for the log.

        Args:
            state: What the last step did.
            config: How to train.
            loss: Mean loss since the last report.
            norm: Mean norm of the gradient.
        """
        now = time.perf_counter()
        steps_per_s = (state.step - self._step) / (now - self._reported)
        self._reported, self._step = now, state.step
        samples_per_s = steps_per_s * config.batch_size
        numbers = {
            "loss": loss,
            "lr": state.learning_rate,
            "grad_norm": norm,
            "samples_per_s": round(samples_per_s, 2),
            "elapsed_s": round(self.elapsed(), 2),
        }
        left = duration((config.steps - state.step) / steps_per_s)
        return numbers, (
            f"step {state.step}/{config.steps}: loss {loss:.5g}, gradient {norm:.3g}, "
            f"rate {state.learning_rate:.3g}, {samples_per_s:.0f} samples/s, {left} left"
        )


doors.guard(__name__, inside=("Stopwatch",))
