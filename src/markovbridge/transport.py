r"""Transport: the model. A process, a coupling, a head and an objective, plus weights.

Training and sampling read top to bottom in `loss` and `sample_block`. With
`head=None` the network is an exact law of `markovbridge.exact`, and everything
works untrained.

Samples are made in blocks: block k draws from a generator that is a pure
function of (key, k), and the network always sees whole blocks. So a sample
depends on the generator's state, its own index and the block size, and on
nothing else: not on how many are drawn, in how many processes, or on whether
the work was interrupted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from markovbridge import randomness
from markovbridge.couplings import Coupling, Noised
from markovbridge.heads import Head
from markovbridge.laws import Law
from markovbridge.likelihood import Bound, log_likelihood
from markovbridge.objectives import Objective, PathKL
from markovbridge.pretrained import load, save
from markovbridge.processes import Process
from markovbridge.samplers import Bridge, Sampler
from markovbridge.schedules import Time, as_time

__all__ = ["Transport", "statistics"]

BLOCK = 64


def statistics(
    x: Tensor, per: Literal["site", "channel", "all"] = "site"
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a data set, for standardising a network's input.

    Args:
        x: Data, (N, *event); for a process with a `support`, `process.check(data)`.
        per: Over the data alone ("site"), over positions too ("channel", event[0] being
            the channel), or over everything ("all").

    Returns:
        Mean and variance, float32, broadcastable to event; the variance, and the mean of
        counts, floored at a thousandth of their average, so that a site that never varies
        is not blown up.
    """
    if per not in ("site", "channel", "all"):
        raise ValueError(f"statistics are per site, channel or all, not {per!r}")
    if len(x) < 2:
        raise ValueError(f"statistics need at least 2 samples, not {len(x)}")
    axes = {"site": [0], "channel": [0, *range(2, x.ndim)], "all": list(range(x.ndim))}[per]
    total, square, count = 0.0, 0.0, 0
    for part in x.split(4096):  # never a second copy of a large data set
        part = part.double()
        total = total + part.sum(axes, keepdim=True)
        square = square + (part**2).sum(axes, keepdim=True)
        count += part.numel() // max(1, torch.as_tensor(total).numel())
    mean = torch.as_tensor(total)[0] / count
    variance = torch.as_tensor(square)[0] / count - mean**2
    if not x.is_floating_point():
        mean = mean.clamp_min(1e-3 * float(mean.abs().mean()) + 1e-6)
    variance = variance.clamp_min(1e-3 * float(variance.mean()) + 1e-6)
    return mean.float(), variance.float()


class Transport(nn.Module):
    """Carries a source to the data along a reference process.

    Args:
        process: The reference process.
        network: `network(features, t, condition)`, giving (batch, outputs, *event) from
            (batch, features, *event), for a head; or, with `head=None`, a callable
            `(x, t, condition) -> Law` such as those of `markovbridge.exact`.
        head: How the network's output becomes the law of x_1 given x_t.
        shape: Event shape.
        mean: Mean of the data, broadcastable to event (see `statistics`).
        variance: Variance of the data, likewise.
        coupling: Which source goes with which data point.
        objective: The loss.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        process: Process,
        network: Callable[..., Any],
        head: Head | None = None,
        *,
        shape: Sequence[int],
        mean: Tensor | float | None = None,
        variance: Tensor | float | None = None,
        coupling: Coupling | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.process = process
        self.network = network
        self.head = head
        self.shape = tuple(int(n) for n in shape)
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must be the event shape, such as (1, 28, 28), not {shape}")
        self.coupling = Noised() if coupling is None else coupling
        if head is None and self.coupling.preserve:
            raise ValueError(
                "preserve=True shows x_0 to a network with a head; an exact law of x_1 given x_t "
                "does not see it: take the coupling with preserve=False"
            )
        self.objective = PathKL(damping=1.0) if objective is None else objective
        self.autocast: torch.dtype | None = None
        for name, value in (("mean", mean), ("variance", variance)):
            value = torch.as_tensor(1.0 if value is None else value, dtype=torch.float32)
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} must be finite")
            try:
                value.expand(self.shape)
            except RuntimeError:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, which does not broadcast to the "
                    f"event shape {self.shape}"
                ) from None
            self.register_buffer(name, value)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def law(
        self,
        x: Tensor,
        t: Time,
        condition: Tensor | None = None,
        *,
        start: Tensor | None = None,
    ) -> Law:
        """The law of x_1 given x_t = x.

        Args:
            x: States, (batch, *event).
            t: A time, or one per sample.
            condition: What the network is conditioned on, (batch, ...), or None.
            start: x_0, which a transport that preserves its coupling needs.
        """
        t = as_time(t, x.device).expand(len(x))
        if self.head is None:
            return self.network(x, t, condition)
        moments = self.mean, self.variance
        features = self.coupling.standardise(self.process, x, t, *moments)
        if self.coupling.preserve:
            if start is None:
                raise ValueError("this transport preserves its coupling: it needs x_0 as `start`")
            at_start = self.coupling.standardise(self.process, start, 0.0, *moments)
            features = torch.cat([features, at_start], 1)
        with torch.autocast(x.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            raw = self.network(features, t.float(), condition)
        expected = (len(x), self.head.outputs(self.process), *self.shape)
        if raw.shape != expected:
            raise ValueError(
                f"the network gave {tuple(raw.shape)}; its head needs {expected}: "
                "(batch, outputs, *event)"
            )
        return self.head(self.process, raw.float(), x, t, self.mean, self.variance)

    def loss(
        self,
        x1: Tensor,
        *,
        x0: Tensor | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The objective at random times, one value per sample: (batch,).

        Args:
            x1: Data, (batch, *event).
            x0: Source states paired with x1; drawn from the coupling if None.
            condition: What the network is conditioned on.
            generator: Source of randomness on the device of x1.

        Raises:
            ValueError: If x1 is no valid state of the process, naming the value.
        """
        x1 = self._check(x1, "x1")
        if x0 is None:
            x0 = self.coupling.pair(self.process, x1, generator=generator)
        else:
            x0 = self._check(x0, "x0")
        t = self.objective.times(len(x1), generator=generator, device=x1.device)
        x_t = self.process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)
        law = self.law(x_t, t, condition, start=x0)
        return self.objective(self.process, law, x_t, x1, t)

    forward = loss

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int | Tensor = 100,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callable[[float, Tensor], None] | None = None,
    ) -> Tensor:
        """Draw n samples.

        Args:
            n: How many.
            steps: Number of steps of the schedule's grid, or the grid itself: increasing
                times (steps + 1,) from 0 to 1.
            sampler: How to step; `Bridge()` by default.
            condition: What to condition on, (n, ...).
            generator: Where the key of these samples is drawn from; fresh if None.
            block: How many samples the network sees at once. Memory grows with it. It is
                part of what determines a sample, the batch shape changing roundings.
            callback: Called with (time, states) after every step of every block, and
                with the states at the start.

        Returns:
            (n, *event), on the device of the transport. With the same generator state
            the first n are the same for every n.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        key = randomness.fresh_key(generator)
        parts = [
            self.sample_block(
                index,
                key=key,
                steps=steps,
                sampler=sampler,
                condition=None if condition is None else _rows(condition, index, block, n),
                block=block,
                callback=callback,
            )
            for index in range(_blocks(n, block))
        ]
        return torch.cat(parts)[:n]

    @torch.no_grad()
    def sample_block(
        self,
        index: int,
        *,
        key: int,
        steps: int | Tensor = 100,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        block: int = BLOCK,
        callback: Callable[[float, Tensor], None] | None = None,
    ) -> Tensor:
        """Samples index·block to (index + 1)·block - 1 of those that `key` stands for.

        What `sample` is made of, for those who spread blocks over processes or store them
        as they come. Arguments as there; condition is that of this block, (block, ...).
        """
        generator = randomness.generator(self.device, "sample", key, index)
        grid = self._grid(steps, start=0.0)
        like = torch.zeros((block, *self.shape), dtype=self._dtype, device=self.device)
        x = self.coupling.start(self.process, like, generator=generator)
        return self._walk(x, grid, sampler, condition, generator, callback)

    @torch.no_grad()
    def restore(
        self,
        x: Tensor,
        t: float | None = None,
        *,
        survival: float | None = None,
        steps: int | Tensor = 100,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callable[[float, Tensor], None] | None = None,
    ) -> Tensor:
        """Draw x_1 given x_t: full-depth counts from thinned ones, a clean from a noisy image.

        Walking on from an observed state is exact posterior sampling, with no approximation
        but those of network and steps. Call again for another draw.

        Args:
            x: What was observed, (n, *event).
            t: The time it stands for; or else
            survival: the known share of units that survived the thinning, in (0, 1).
            steps: Number of steps from t to 1, or the grid of times itself.
            sampler: How to step; `Bridge()` by default.
            condition: What to condition on, (n, ...).
            generator: Where the key of these draws is drawn from; fresh if None.
            block: As in `sample`.
            callback: As in `sample`.

        Returns:
            (n, *event): one draw for each row of x.
        """
        if (t is None) == (survival is None):
            raise ValueError("restore needs either a time t or a survival, and not both")
        if survival is not None:
            if not 0 < survival < 1:
                raise ValueError(f"survival must lie in (0, 1), not {survival}")
            p = torch.tensor(survival, dtype=torch.float64)
            t = float(self.process.schedule.time(p, 1 - p))
        assert t is not None
        return self._carry("restore", x, t, steps, sampler, condition, generator, block, callback)

    @torch.no_grad()
    def translate(
        self,
        x0: Tensor,
        *,
        steps: int | Tensor = 100,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callable[[float, Tensor], None] | None = None,
    ) -> Tensor:
        """Carry given source states to the data: one data set into another.

        Args:
            x0: Source states, (n, *event).
            steps: Number of steps, or the grid of times itself.
            sampler: How to step; `Bridge()` by default.
            condition: What to condition on, (n, ...).
            generator: Where the key of these draws is drawn from; fresh if None.
            block: As in `sample`.
            callback: As in `sample`.

        Returns:
            (n, *event): where each row of x0 goes. Row i depends on the generator's state, i,
            the block size and row i of x0.
        """
        return self._carry(
            "translate", x0, 0.0, steps, sampler, condition, generator, block, callback
        )

    @torch.no_grad()
    def translate_block(
        self,
        index: int,
        x0: Tensor,
        *,
        key: int,
        steps: int | Tensor = 100,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        block: int = BLOCK,
        callback: Callable[[float, Tensor], None] | None = None,
    ) -> Tensor:
        """Where rows index·block to (index + 1)·block - 1 of x0 go, for the `key` of all.

        What `translate` is made of, as `sample_block` is of `sample`. Arguments as there, x0
        and condition being whole: (n, ...). Rows beyond n are made of the last.
        """
        if block < 1:
            raise ValueError(f"block must be at least 1, not {block}")
        n = len(x0)
        return self._walk(
            self._check(_rows(x0, index, block, n), "x0").to(self.device),
            self._grid(steps, start=0.0),
            sampler,
            None if condition is None else _rows(condition, index, block, n),
            randomness.generator(self.device, "translate", key, index),
            callback,
        )

    def log_likelihood(
        self,
        x1: Tensor,
        *,
        x0: Tensor | None = None,
        condition: Tensor | None = None,
        draws: int = 64,
        steps: int | Tensor | None = None,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
    ) -> Bound:
        """A lower bound on log p(x_1), without bias and with its standard error.

        Of the process in continuous time, or of the `Bridge` sampler with `steps` steps. See
        `markovbridge.likelihood`.

        Args:
            x1: Data, (n, *event).
            x0: Source states; if given, the bound is one on log p(x_1 | x_0).
            condition: What to condition on, (n, ...).
            draws: How often the network looks at each data point (plus a pilot of 320 looks
                in all); even. The error falls with its square root or faster.
            steps: Number of steps or grid of times, for the bound of a sampler.
            generator: Source of randomness on the device of the transport.
            block: How many states the network sees at once.

        Returns:
            `Bound` with `nats` and `standard_error`, (n,), and bits per dimension.

        Raises:
            ValueError: If the bound is infinite or not known, with what to use instead.
        """
        with self._evaluating():
            return log_likelihood(
                self,
                x1,
                x0=x0,
                condition=condition,
                draws=draws,
                steps=steps,
                generator=generator,
                block=block,
            )

    def _carry(
        self,
        purpose: str,
        x: Tensor,
        t: float,
        steps: int | Tensor,
        sampler: Sampler | None,
        condition: Tensor | None,
        generator: torch.Generator | None,
        block: int,
        callback: Callable[[float, Tensor], None] | None,
    ) -> Tensor:
        """Walk from the given states at t to the data, in blocks, the last one padded."""
        x = self._check(x, "x").to(self.device)
        key, n = randomness.fresh_key(generator), len(x)
        grid = self._grid(steps, start=t)
        parts = [
            self._walk(
                _rows(x, index, block, n),
                grid,
                sampler,
                None if condition is None else _rows(condition, index, block, n),
                randomness.generator(self.device, purpose, key, index),
                callback,
            )
            for index in range(_blocks(n, block))
        ]
        return torch.cat(parts)[:n]

    def _walk(
        self,
        x: Tensor,
        grid: Sequence[float],
        sampler: Sampler | None,
        condition: Tensor | None,
        generator: torch.Generator,
        callback: Callable[[float, Tensor], None] | None,
    ) -> Tensor:
        sampler = Bridge() if sampler is None else sampler
        model = _Anchored(self, x, grid[0]) if self.coupling.preserve else self
        with self._evaluating():
            if callback is not None:
                callback(grid[0], self._decode(x))
            for t, s in zip(grid, grid[1:], strict=False):
                x = sampler.step(model, x, t, s, condition=condition, generator=generator)
                if callback is not None:
                    callback(s, self._decode(x))
        return self._decode(x)

    def _decode(self, x: Tensor) -> Tensor:
        """Data from states."""
        return x if self.process.support is None else self.process.support.decode(x)

    def _grid(self, steps: int | Tensor, start: float) -> list[float]:
        if not isinstance(steps, Tensor):
            return self.process.schedule.grid(steps, start).tolist()
        grid = steps.double().flatten()
        if (
            len(grid) < 2
            or not bool((grid[1:] > grid[:-1]).all())
            or abs(float(grid[0]) - start) > 1e-6
            or float(grid[-1]) != 1.0
        ):
            raise ValueError(
                f"a grid must increase from {start} to 1, not {grid[:3].tolist()} ... "
                f"{grid[-3:].tolist()}"
            )
        return grid.tolist()

    def _check(self, x: Tensor, name: str) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}, but this transport carries "
                f"(batch, {', '.join(map(str, self.shape))})"
            )
        return self.process.check(x, name)

    @property
    def _dtype(self) -> torch.dtype:
        return self.process.dtype

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Dropout off inside, the mode as it was afterwards."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training

    def save_pretrained(
        self, directory: str | Path, *, card: dict[str, Any] | None = None
    ) -> None:
        """Write weights, configuration and model card into a directory, atomically.

        Args:
            directory: Replaced as a whole if it exists.
            card: Facts for the model card: data, steps, metrics, and so on.
        """
        save(self, Path(directory), card or {})

    @classmethod
    def from_pretrained(cls, directory: str | Path, **parts: Any) -> Transport:
        """Rebuild a saved transport.

        Args:
            directory: What `save_pretrained` wrote.
            **parts: Parts to use instead of the saved ones (`process`, `network`, `head`,
                `coupling`, `objective`): your own classes, or another head for sampling.

        Raises:
            FileNotFoundError: If there is no model in the directory.
            ValueError: If a file is damaged or names a class this package does not have.
        """
        return load(cls, Path(directory), parts)


class _Anchored:
    """A transport that is told where each path started."""

    def __init__(self, transport: Transport, start: Tensor, t: float) -> None:
        if t != 0:
            raise ValueError(
                f"this transport preserves its coupling and needs x_0: it cannot start at t = {t}"
            )
        self.process = transport.process
        self.coupling = transport.coupling
        self._transport = transport
        self._start = start

    def law(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        """The law of x_1 given x_t = x and x_0."""
        return self._transport.law(x, t, condition, start=self._start)


def _rows(values: Tensor, index: int, block: int, n: int) -> Tensor:
    """The rows of a block, the last row standing in for those beyond n."""
    if len(values) != n:
        raise ValueError(f"condition has {len(values)} rows for {n} samples")
    rows = torch.arange(index * block, (index + 1) * block, device=values.device)
    return values[rows.clamp_max(n - 1)]


def _blocks(n: int, block: int) -> int:
    """How many blocks n samples take."""
    if block < 1:
        raise ValueError(f"block must be at least 1, not {block}")
    return -(-n // block)
