r"""Which weights a run ends with: the last, or those that held-out data like best.

A small data set is learned by heart: its held-out loss falls, and then rises. To keep the
averaged weights where it was lowest is early stopping (Prechelt 1998,
https://doi.org/10.1007/3-540-49430-8_3) without having to decide when to stop.

Held-out losses are of the same samples, times and noise every time, so that they differ by
the weights alone, and are functions of the step alone, as is what is kept.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows
from markovbridge.doors.randomness import derive, generator
from markovbridge.samplers.grids import measure
from markovbridge.training.config import TrainingConfig
from markovbridge.training.examples import Examples
from markovbridge.transport import Transport
from markovbridge.transport.planning import SAMPLES, chosen, plannable, plans

COMPARED = 1024  # samples with which those of plans are compared
PLANNING = 1000  # training rows for each sample of a plan: 500 evaluations, 1,200 with joint draws
FEWEST = 32  # of such samples
MEASURED = 128  # samples of which the errors over time are taken
MOST = 2048  # held-out samples of a table too large to be a tensor, and the least limit of others


class HeldOutLoss:
    """The mean loss of held-out samples.

    All of them, unless that would cost more than about a tenth of the training, or they are
    `Rows`; then some, spread evenly, which are held in memory.

    Args:
        examples: The samples.
        config: How to train.
        micro_batch: Samples that go through the network at once.
        accelerator: Device and processes, which share the work.

    Attributes:
        examples: The samples that are looked at.
    """

    def __init__(
        self,
        examples: Examples,
        config: TrainingConfig,
        micro_batch: int,
        accelerator: Accelerator,
    ) -> None:
        cheap = config.validate_every * config.batch_size // 4
        limit = MOST if isinstance(examples.x, Rows) else max(MOST, cheap)
        if len(examples) > limit or isinstance(examples.x, Rows):
            size = min(limit, len(examples))
            chosen = torch.linspace(0, len(examples) - 1, size, dtype=torch.float64).round().long()
            x = examples.x.held(chosen) if isinstance(examples.x, Rows) else examples.x[chosen]
            others = examples.condition, examples.source
            examples = Examples(x, *(None if f is None else f[chosen] for f in others))
        self.examples, self.seed = examples, config.seed
        self.micro_batch, self.accelerator = micro_batch, accelerator

    @torch.no_grad()
    def loss(self, model: Transport) -> float:
        """Mean loss of a model; all processes must call it, and all get the same."""
        accelerator = self.accelerator
        total = torch.zeros((), dtype=torch.float64, device=accelerator.device)
        blocks = torch.arange(len(self.examples)).split(self.micro_batch)
        for number in range(accelerator.process_index, len(blocks), accelerator.num_processes):
            rows = self.examples.rows(blocks[number], accelerator.device)
            noise = generator(accelerator.device, "validation", self.seed, number)
            total += model.loss(**rows, generator=noise).double().sum()
        total = cast(Tensor, accelerator.reduce(total, "sum"))
        return total.item() / len(self.examples)


class Best:
    """The weights with the lowest held-out loss so far.

    Args:
        model: The model whose weights these are.

    Attributes:
        model: A copy of it with these weights.
        step: Steps done when they were kept; None if there are none yet.
        loss: Their held-out loss.
    """

    def __init__(self, model: Transport) -> None:
        self.model = copy.deepcopy(model)
        self.step: int | None = None
        self.loss = math.inf

    def offer(self, model: Transport, step: int, loss: float) -> bool:
        """Keep the weights of a model if its loss is lower; says whether it was."""
        if not loss < self.loss:
            return False
        self.step, self.loss = step, loss
        self.model.load_state_dict(model.state_dict())
        return True

    def facts(self) -> dict[str, Any]:
        """What the log and a checkpoint have to know beside the weights."""
        return {"best_step": self.step, "best_loss": None if self.step is None else self.loss}

    def load(self, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Continue from the weights and `facts` of a checkpoint."""
        self.model.load_state_dict(weights)
        self.step = facts["best_step"]
        self.loss = math.inf if self.step is None else facts["best_loss"]


def tell_errors(model: Transport, examples: Examples, seed: int) -> None:
    """Measure a model's errors over time, always of the same samples and with the same noise."""
    order = torch.randperm(len(examples), generator=generator("cpu", "errors", seed))
    rows = examples.rows(order[:MEASURED].sort().values, model.device)
    noise = generator(model.device, "errors", seed)
    x0 = rows["x0"] if model.coupling.given else None
    told = rows["condition"]
    model.error_curve = measure(model, rows["x1"], x0=x0, condition=told, generator=noise)


def tell_plans(model: Transport, examples: Examples, config: TrainingConfig) -> None:
    """Measure where joint draws end and how leaps go, if asked, with the same data and noise.

    Of as many samples as about a quarter of the training costs. Of hardly any there is no
    plan, nor of models with neither or with a sampler, or whose sources are given with the data.
    """
    samples = min(SAMPLES, config.steps * config.batch_size // PLANNING)
    wanted = config.planning and plannable(model) and model.sampler is None
    if not wanted or model.coupling.given or samples < FEWEST:
        return
    seed = config.seed
    order = torch.randperm(len(examples), generator=generator("cpu", "plans", seed))[:COMPARED]
    rows = examples.rows(order, model.device)
    told = rows["condition"]
    if told is not None:
        told = told.repeat(-(-samples // len(told)), 1)[:samples]
    key = derive("plans", seed)
    found = plans(model, rows["x1"], condition=told, samples=samples, seed=key)
    model.sampler = chosen(model, found)


doors.guard(__name__, own=("loss",))
