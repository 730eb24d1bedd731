r"""What learns: weights, AdamW's moments and the average of the weights.

A step is the gradient of the mean loss, clipped; AdamW (Loshchilov & Hutter,
https://arxiv.org/abs/1711.05101); then the average moves,

    θ' <- d θ' + (1 - d) θ,

after the optimiser and not before it. Its noise is a pure function of (seed,
step, process, micro-batch), dropout included.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from markovbridge import doors
from markovbridge.doors.randomness import derive, generator
from markovbridge.training.config import TrainingConfig
from markovbridge.training.examples import Examples
from markovbridge.training.window import Window
from markovbridge.transport import Transport


class Learner:
    """A transport with its optimiser and the average of its weights.

    Args:
        transport: The model, trained in place.
        config: How to train.
        accelerator: Device and processes.

    Attributes:
        averaged: The transport with averaged weights and dropout off.
        optimizer: AdamW.
        window: Losses of the last steps.
        micro_batch: Samples that go through the network at once, in each process.

    Raises:
        ValueError: If there is nothing to train, or the processes cannot share a batch.
    """

    def __init__(
        self, transport: Transport, config: TrainingConfig, accelerator: Accelerator
    ) -> None:
        parts = accelerator.num_processes * config.accumulation
        if config.batch_size % parts:
            raise ValueError(
                f"batch_size is {config.batch_size}, which {accelerator.num_processes} "
                f"process(es) with accumulation {config.accumulation} cannot share; give a "
                f"multiple of {parts}."
            )
        self.transport, self.config, self.accelerator = transport, config, accelerator
        self.micro_batch = config.batch_size // parts
        if transport.sampler is not None and transport.sampler.planned:
            transport.sampler = None  # which was measured for other weights
        transport.autocast = torch.bfloat16 if config.precision == "bf16" else None
        self._names: dict[Tensor, str] = {
            p: name for name, p in transport.named_parameters() if p.requires_grad
        }
        if not self._names:
            raise ValueError(
                "The transport has no weights to train: its network is an exact law or frozen."
            )
        self._model = accelerator.prepare_model(transport)
        self.averaged = copy.deepcopy(transport).eval()
        # Lists made once: walking through the modules would cost more than averaging.
        self._weights = list(transport.parameters()), list(self.averaged.parameters())
        self._buffers = list(zip(self.averaged.buffers(), transport.buffers(), strict=True))
        self.optimizer = torch.optim.AdamW(
            list(self._names),
            lr=config.rate(0),
            weight_decay=config.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.window = Window(accelerator)

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self._names)

    def update(self, step: int, data: Examples, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Do one step.

        Args:
            step: Steps done before.
            data: The training samples.
            batch: Which of them make up this batch, (batch_size,), for all processes.

        Returns:
            Mean loss of this process's samples, and norm of the gradient before clipping;
            scalars on the device.

        Raises:
            FloatingPointError: If one of them is not finite; see `Window`.
        """
        config, accelerator = self.config, self.accelerator
        self.optimizer.zero_grad()
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(step)
        size = self.micro_batch
        first = accelerator.process_index * size * config.accumulation
        losses = []
        for micro in range(config.accumulation):
            rows = data.rows(
                batch[first + micro * size : first + (micro + 1) * size], accelerator.device
            )
            key = (config.seed, step, accelerator.process_index, micro)
            noise = generator(accelerator.device, "noise", *key)
            last = micro == config.accumulation - 1
            # Processes exchange gradients once, after the last micro-batch.
            with nullcontext() if last else accelerator.no_sync(self._model):
                with _global_draws(accelerator.device, "dropout", *key):
                    loss = self._model(**rows, generator=noise).mean() / config.accumulation
                accelerator.backward(loss)
            losses.append(loss.detach())
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        limit = math.inf if config.clip is None else config.clip
        norm = cast(Tensor, accelerator.clip_grad_norm_(list(self._names), limit)).detach()
        self.window.add(step + 1, loss, norm)
        self.optimizer.step()
        self._average(1 - config.averaging(step))
        return loss, norm

    @torch.no_grad()
    def _average(self, weight: float) -> None:
        """Move the averaged weights; buffers, such as running statistics, are copied."""
        current, averaged = self._weights
        torch._foreach_lerp_(averaged, current, weight)  # pyright: ignore
        for copied, buffer in self._buffers:
            copied.copy_(buffer)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that was learned, by file and name."""
        moments = {
            f"{self._names[p]}.{moment}": value
            for p, values in self.optimizer.state.items()
            for moment, value in values.items()
        }
        return {
            "model": self.transport.state_dict(),
            "ema": self.averaged.state_dict(),
            "optimizer": moments,
        }

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continue from what `tensors` gave."""
        self.transport.load_state_dict(tensors["model"])
        self.averaged.load_state_dict(tensors["ema"])
        numbers = {name: number for number, name in enumerate(self._names.values())}
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors["optimizer"].items():
            name, _, moment = key.rpartition(".")
            state.setdefault(numbers[name], {})[moment] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


@contextmanager
def _global_draws(device: torch.device, *keys: int | str) -> Iterator[None]:
    """Make what a network draws from torch's own generators a pure function of keys.

    Dropout takes no generator. The state of torch's generators is put back afterwards.
    """
    key = derive(*keys)
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=others, device_type=others[0].type if others else "cuda"):
        torch.default_generator.manual_seed(key)
        if others:
            torch.get_device_module(device).manual_seed(key)
        yield


doors.guard(__name__)
