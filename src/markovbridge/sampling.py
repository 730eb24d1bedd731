r"""Sampling: what is drawn from a model.

`sample` starts from the source, `translate` from source states that are given, `restore` from
a state at a later time, and `impute` from the source with some sites of the end known. All
walk a grid of times in blocks (`markovbridge.walks`), and so does each block on its own, for
those who spread blocks over processes or store them as they come.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from markovbridge import randomness
from markovbridge.couplings import Coupling
from markovbridge.grids import ErrorCurve
from markovbridge.heads import Centred, Endpoint, Head, NegativeBinomial
from markovbridge.laws import Law
from markovbridge.masking import Masking, Observed, broadcast
from markovbridge.processes import Process, PureDeath
from markovbridge.restoration import observed_time
from markovbridge.samplers import Bridge, Midpoint, Sampler, Trapezoidal
from markovbridge.schedules import Time
from markovbridge.walks import Given, blocks, check_grid, rows, walk

__all__ = ["BLOCK", "STEPS", "Sampling"]

BLOCK = 64
STEPS = 50
ROUNDS = 10  # of imputation by replacement

Callback = Callable[[float, Tensor], None]


class Sampling(nn.Module, ABC):
    """What `Transport` draws."""

    process: Process
    head: Head | None
    coupling: Coupling
    error_curve: ErrorCurve | None
    masking: Masking | None
    shape: tuple[int, ...]
    mean: Tensor

    @abstractmethod
    def law(
        self,
        x: Tensor,
        t: Time,
        condition: Tensor | None = None,
        *,
        start: Tensor | None = None,
        observed: Observed | None = None,
        guidance: float = 1.0,
    ) -> Law:
        """The law of x_1 given x_t = x; see `Transport.law`."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def default_sampler(self) -> Sampler:
        """The sampler to take if none is named.

        Steps of second order where the mean alone is learned: under pure death, where 10
        evaluations do what single leaps do at hundreds, and for diffusions. `Bridge` otherwise.
        """
        if isinstance(self.head, Endpoint) and self.head.spread == 0:
            return Midpoint()
        kernel = getattr(self.head, "kernel", None)  # another kernel asks for another bridge
        leaps = isinstance(self.head, Centred | NegativeBinomial) or kernel == "poisson"
        return Trapezoidal() if leaps and isinstance(self.process, PureDeath) else Bridge()

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        steps: int | Tensor = STEPS,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw n samples.

        Args:
            n: How many.
            steps: Number of steps, on the grid of `error_curve` if there is one and of the
                schedule if not; or the grid itself: increasing times (steps + 1,) from 0 to 1.
            sampler: How to step; `default_sampler()` if None.
            condition: What to condition on, (n, C), NaN being unknown: such as
                `transport.covariates.encode({"label": 3}, n)`.
            guidance: How strongly the condition acts; other than 1, each evaluation is one of
                twice as many states.
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
                condition=None if condition is None else rows(condition, index, block, n),
                guidance=guidance,
                block=block,
                callback=callback,
            )
            for index in range(blocks(n, block))
        ]
        return torch.cat(parts)[:n]

    @torch.no_grad()
    def sample_block(
        self,
        index: int,
        *,
        key: int,
        steps: int | Tensor = STEPS,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Samples index·block to (index + 1)·block - 1 of those that `key` stands for.

        What `sample` is made of, for those who spread blocks over processes or store them
        as they come. Arguments as there; condition is that of this block, (block, C).
        """
        generator = randomness.generator(self.device, "sample", key, index)
        return self._walk(
            self._source(block, generator),
            self._grid(steps, start=0.0),
            sampler,
            condition,
            generator,
            callback,
            guidance=guidance,
        )

    @torch.no_grad()
    def restore(
        self,
        x: Tensor,
        t: float | None = None,
        *,
        survival: float | None = None,
        steps: int | Tensor = STEPS,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw x_1 given x_t: full-depth counts from thinned ones, a clean from a noisy image.

        Walking on from an observed state is exact posterior sampling, with no approximation
        but those of network and steps. Call again for another draw.

        Args:
            x: What was observed, (n, *event).
            t: The time it stands for; or else
            survival: the known share of units that survived the thinning, in (0, 1).
            steps: Number of steps from t to 1, or the grid of times itself.
            sampler: As in `sample`, and so are the others.
            condition: What to condition on, (n, C).
            guidance: How strongly the condition acts.
            generator: Where the key of these draws is drawn from; fresh if None.
            block: How many samples the network sees at once.
            callback: Called with (time, states).

        Returns:
            (n, *event): one draw for each row of x.
        """
        if (t is None) == (survival is None):
            raise ValueError("restore needs either a time t or a survival, and not both")
        if survival is not None:
            t = observed_time(self.process, survival)
        assert t is not None
        x, n = self._check(x, "x").to(self.device), len(x)
        key, grid = randomness.fresh_key(generator), self._grid(steps, start=t)
        parts = [
            self._walk(
                rows(x, index, block, n),
                grid,
                sampler,
                None if condition is None else rows(condition, index, block, n),
                randomness.generator(self.device, "restore", key, index),
                callback,
                guidance=guidance,
            )
            for index in range(blocks(n, block))
        ]
        return torch.cat(parts)[:n]

    @torch.no_grad()
    def translate(
        self,
        x0: Tensor,
        *,
        steps: int | Tensor = STEPS,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Carry given source states to the data: one data set into another.

        Args:
            x0: Source states, (n, *event).
            steps: Number of steps, or the grid of times itself.
            sampler: As in `sample`, and so are the others.
            condition: What to condition on, (n, C).
            guidance: How strongly the condition acts.
            generator: Where the key of these draws is drawn from; fresh if None.
            block: How many samples the network sees at once.
            callback: Called with (time, states).

        Returns:
            (n, *event): where each row of x0 goes. Row i depends on the generator's state, i,
            the block size and the rows of its block.
        """
        key = randomness.fresh_key(generator)
        parts = [
            self.translate_block(
                index,
                x0,
                key=key,
                steps=steps,
                sampler=sampler,
                condition=condition,
                guidance=guidance,
                block=block,
                callback=callback,
            )
            for index in range(blocks(len(x0), block))
        ]
        return torch.cat(parts)[: len(x0)]

    @torch.no_grad()
    def translate_block(
        self,
        index: int,
        x0: Tensor,
        *,
        key: int,
        steps: int | Tensor = STEPS,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Where rows index·block to (index + 1)·block - 1 of x0 go, for the `key` of all.

        What `translate` is made of, as `sample_block` is of `sample`. Arguments as there, x0
        and condition being whole: (n, ...). Rows beyond n are made of the last.
        """
        n = len(x0)
        return self._walk(
            self._check(rows(x0, index, block, n), "x0").to(self.device),
            self._grid(steps, start=0.0),
            sampler,
            None if condition is None else rows(condition, index, block, n),
            randomness.generator(self.device, "translate", key, index),
            callback,
            guidance=guidance,
        )

    @torch.no_grad()
    def impute(
        self,
        x: Tensor,
        observed: Tensor,
        *,
        steps: int | Tensor = STEPS,
        rounds: int | None = None,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw the unknown sites of x given the known ones. Call again for another draw.

        Known sites follow the bridge to their value while the others are sampled. A network
        trained with `masking` is told the values, and nothing is approximate but network and
        steps. Any other network sees the known sites at time t only (replacement), which is
        **approximate**: it draws the others as if the rest of the known values were still
        open. `rounds` make up for it, step by step: back by the reference and forward again
        (RePaint, https://arxiv.org/abs/2201.09865), so that the others come to agree with
        what is known by then. The error falls with rounds and steps together.

        Args:
            x: States, (n, *event); what unknown sites hold does not matter.
            observed: Which sites are known: bool, broadcastable to x.
            steps: Number of steps, or the grid of times itself.
            rounds: How often each step is taken. By default 1 for a network trained with
                `masking`, else 10.
            sampler: As in `sample`, and so are the others.
            condition: What to condition on, (n, C).
            guidance: How strongly the condition acts.
            generator: Where the key of these draws is drawn from; fresh if None.
            block: How many samples the network sees at once.
            callback: Called with (time, states).

        Returns:
            (n, *event): one draw for each row of x, known sites as they are. Row i depends on
            the generator's state, i, the block size and the rows of its block.
        """
        key = randomness.fresh_key(generator)
        parts = [
            self.impute_block(
                index,
                x,
                observed,
                key=key,
                steps=steps,
                rounds=rounds,
                sampler=sampler,
                condition=condition,
                guidance=guidance,
                block=block,
                callback=callback,
            )
            for index in range(blocks(len(x), block))
        ]
        return torch.cat(parts)[: len(x)]

    @torch.no_grad()
    def impute_block(
        self,
        index: int,
        x: Tensor,
        observed: Tensor,
        *,
        key: int,
        steps: int | Tensor = STEPS,
        rounds: int | None = None,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        block: int = BLOCK,
        callback: Callback | None = None,
    ) -> Tensor:
        """Rows index·block to (index + 1)·block - 1 of `impute`, for the `key` of all.

        Arguments as there, all being whole: (n, ...). Rows beyond n are made of the last.
        """
        if rounds is None:
            rounds = ROUNDS if self.masking is None else 1
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {rounds}")
        n = len(x)
        data = rows(x, index, block, n).to(self.device)
        mask = rows(broadcast(observed, x), index, block, n).to(self.device)
        known = Observed(self._check(self._filled(data, mask), "x"), mask)
        generator = randomness.generator(self.device, "impute", key, index)
        made = self._walk(
            self._source(block, generator),
            self._grid(steps, start=0.0),
            sampler,
            None if condition is None else rows(condition, index, block, n),
            generator,
            callback,
            guidance=guidance,
            observed=known,
            rounds=rounds,
        )
        return torch.where(mask, data.to(made.dtype), made)

    def _source(self, n: int, generator: torch.Generator) -> Tensor:
        """States to start sampling from, (n, *event)."""
        like = torch.zeros((n, *self.shape), dtype=self.process.dtype, device=self.device)
        return self.coupling.start(self.process, like, generator=generator)

    def _walk(
        self,
        x: Tensor,
        grid: Sequence[float],
        sampler: Sampler | None,
        condition: Tensor | None,
        generator: torch.Generator,
        callback: Callback | None,
        *,
        guidance: float = 1.0,
        observed: Observed | None = None,
        rounds: int = 1,
    ) -> Tensor:
        """Walk from states x to the data, in evaluation mode."""
        start = None
        if self.coupling.preserve:
            start = x
            if grid[0] != 0:
                raise ValueError(
                    "this transport preserves its coupling and needs x_0: it cannot start at "
                    f"t = {grid[0]}"
                )
        with self._evaluating():
            x = walk(
                Given(self, start=start, observed=observed, guidance=guidance),
                x,
                grid,
                self.default_sampler() if sampler is None else sampler,
                condition=None if condition is None else condition.to(self.device),
                generator=generator,
                callback=None if callback is None else lambda s, x: callback(s, self._decode(x)),
                rounds=rounds,
            )
        return self._decode(x)

    def _filled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Data with something valid where nothing is known."""
        filler = torch.zeros_like(x, dtype=torch.float32)
        if self.process.support is not None:
            filler = self.process.support.decode(filler)
        return torch.where(mask, x, filler.to(x.dtype))

    def _decode(self, x: Tensor) -> Tensor:
        """Data from states."""
        return x if self.process.support is None else self.process.support.decode(x)

    def _grid(self, steps: int | Tensor, start: float) -> list[float]:
        if self.error_curve is not None and not isinstance(steps, Tensor):
            return self.error_curve.grid(steps, start).tolist()
        return check_grid(self.process.schedule, steps, start)

    def _check(self, x: Tensor, name: str) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}, but this transport carries "
                f"(batch, {', '.join(map(str, self.shape))})"
            )
        return self.process.check(x, name)

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
