"""What the card of a model says of its training."""

from __future__ import annotations

from typing import Any

from markovbridge import doors
from markovbridge.training.config import TrainingConfig
from markovbridge.training.selection import Best


def facts(
    samples: int, step: int, config: TrainingConfig, held_out: float | None, best: Best | None
) -> dict[str, Any]:
    """What was trained on, how long, and what came of it.

    Args:
        samples: How many training samples there are.
        step: Steps done.
        config: How it is trained.
        held_out: The last held-out loss, if there is one.
        best: The weights with the lowest, if they are selected.
    """
    found: dict[str, Any] = {
        "training samples": f"{samples:,}",
        "training steps": f"{step:,} of {config.batch_size} samples",
    }
    if held_out is not None:
        found["held-out loss"] = f"{held_out:.5g}"
    if best is not None and best.step is not None:
        found["held-out loss"] = f"{best.loss:.5g}, the lowest, at step {best.step}"
    return found


doors.guard(__name__)
