r"""How to train, as one frozen dataclass.

Learning rate and EMA decay are pure functions of the step, so that nothing but
the step has to be remembered. With w steps of warm-up, S steps and peak rate λ,

    rate(k) = λ (k + 1) / w                                  k < w
            = λ                                              constant
            = λ (1 + cos(π (k - w) / (S - w))) / 2           cosine
                                  (Loshchilov & Hutter, https://arxiv.org/abs/1608.03983)

and the average of the weights uses min(decay, (1 + k) / (10 + k)), so that it
does not remember the random start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from markovbridge import doors
from markovbridge.doors import checks

WARMUP = 100  # steps
SHORT = 10  # of so many steps one is a step of warm-up, at most


def share_of(steps: int, warmup: int = WARMUP) -> int:
    """Steps of warm-up of a run that is not told how many: a tenth of a short one."""
    return min(warmup, steps // SHORT)


def is_cut(warmup: int, steps: int) -> bool:
    """Whether a warm-up is that of a run which is too short for the usual one."""
    return warmup == share_of(steps) < WARMUP


@dataclass(frozen=True)
class TrainingConfig:
    """Configuration of a `Trainer`.

    Attributes:
        steps: Optimiser steps in all.
        batch_size: Samples a step, over all processes and micro-batches.
        learning_rate: Peak learning rate of AdamW.
        warmup: Steps of linear warm-up. Without it, 100, or a tenth of all if that is less; of a
            run that is continued, those that it has.
        decay: Learning rate after the warm-up: "constant", or "cosine" to zero.
        weight_decay: Decoupled weight decay, on all parameters.
        clip: Largest norm of the gradient; None does not clip.
        ema: Decay of the exponential moving average of the weights.
        accumulation: Micro-batches a step; more of them need less memory.
        precision: "float32", or "bf16" to run the network in bfloat16.
        seed: Seed of batch order, noise and dropout.
        log_every: Steps between lines of the log.
        validate_every: Steps between held-out losses; 0 computes none.
        select: Which weights the run ends with: the "last", or the "best", those with the
            lowest held-out loss.
        checkpoint_every: Steps between checkpoints; 0 writes the first and last only.
        keep: Number of checkpoints to keep.
        sample_every: Steps between grids of samples; 0 draws none.
        samples: Samples in a grid.
        sample_steps: Sampling steps of a grid.
        planning: Whether it is measured at the end how samples are best drawn in few steps
            (`markovbridge.transport.planning`), by a head that leaps or draws jointly. It adds
            about a quarter of the time, and does not matter where samples are drawn in 50 steps.
        tracker: Where numbers of the log go too: to "tensorboard" or "wandb", which has to be
            installed.
        threads: CPU threads of each process; None leaves torch's own choice.

    Raises:
        ValueError: If a value is not allowed, naming it.
    """

    steps: int = 10_000
    batch_size: int = 128
    learning_rate: float = 2e-4
    warmup: int | None = None
    decay: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    clip: float | None = 1.0
    ema: float = 0.999
    accumulation: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 0
    log_every: int = 50
    validate_every: int = 0
    select: Literal["last", "best"] = "last"
    checkpoint_every: int = 1000
    keep: int = 2
    sample_every: int = 0
    samples: int = 16
    sample_steps: int = 50
    planning: bool = True
    tracker: Literal["tensorboard", "wandb"] | None = None
    threads: int | None = None
    _usual: ClassVar[bool] = False  # whether nothing was said of the warm-up

    def __post_init__(self) -> None:
        checks.whole(self.steps, "steps", least=1)
        if self.warmup is None:
            object.__setattr__(self, "warmup", share_of(self.steps))
            object.__setattr__(self, "_usual", True)
        for name in ("batch_size", "accumulation", "log_every", "keep", "samples"):
            checks.whole(getattr(self, name), name, least=1)
        for name in ("warmup", "seed", "validate_every", "checkpoint_every", "sample_every"):
            checks.whole(getattr(self, name), name, least=0)
        checks.whole(self.sample_steps, "sample_steps", least=1)
        if self.threads is not None:
            checks.whole(self.threads, "threads", least=1)
        checks.number(self.learning_rate, "learning_rate", above=0)
        checks.number(self.weight_decay, "weight_decay", least=0)
        checks.number(self.ema, "ema", least=0, below=1)
        if self.clip is not None:
            checks.number(self.clip, "clip", above=0)
        if self.select == "best" and not self.validate_every:
            raise ValueError(
                "select is 'best', but validate_every is 0, so there are no held-out losses to "
                "select by; give validate_every, or select='last'."
            )
        if self.decay == "cosine" and self.warming >= self.steps:
            raise ValueError(
                f"warmup is {self.warming} of {self.steps} steps, which leaves none for the "
                "cosine; give fewer steps of warmup."
            )

    def continuing(self, warmup: int) -> TrainingConfig:
        """How a run of this warm-up is continued: with it, unless another was asked for."""
        return replace(self, warmup=warmup) if self._usual else self

    @property
    def warming(self) -> int:
        """Steps of warm-up."""
        return self.warmup or 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = self.warming
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.decay == "constant":
            return self.learning_rate
        done = (step - warmup) / (self.steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def averaging(self, step: int) -> float:
        """Decay of the average of the weights at a step, counted from 0."""
        return min(self.ema, (1 + step) / (10 + step))


doors.guard(__name__)
