r"""Sampling: what is drawn from a model.

`sample` starts from the source, `translate` from source states that are given, `restore` from
a state at a later time, and `impute` from the source with some sites of the end known. All walk a
grid of times in blocks (`markovbridge.samplers.walks`), and all take the same `DrawOptions`.

What each is made of, `sample_block` and so on, draws one block, for those who spread blocks over
processes or store them as they come: rows index·block to (index + 1)·block - 1 of what `key`
stands for, the last row standing in for those beyond the end. Arguments are whole, as there.
"""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.data.covariates import Covariates
from markovbridge.doors import checks, randomness
from markovbridge.heads import Head
from markovbridge.laws import Law
from markovbridge.processes import Process
from markovbridge.processes.schedules import Time
from markovbridge.samplers import Bridge, Sampler
from markovbridge.samplers.extrapolation import far_out, narrow, tell
from markovbridge.samplers.grids import ErrorCurve
from markovbridge.samplers.known_sites import Masking, Observed, broadcast
from markovbridge.samplers.model import NOTHING, Given
from markovbridge.samplers.walks import BoundModel, blocks, check_grid, check_rows, rows, walk
from markovbridge.transport.options import DrawOptions, planned

BLOCK = 64  # samples that go through the network at once
STEPS = 50
ROUNDS = 10  # of imputation by replacement
ROUNDS_AT_MOST = 100_000


class Sampling(nn.Module, ABC):
    """What `Transport` draws."""

    process: Process
    head: Head | None
    coupling: Coupling
    error_curve: ErrorCurve | None
    sampler: Sampler | None = None
    masking: Masking | None
    shape: tuple[int, ...]
    mean: Tensor
    variance: Tensor
    seen: Tensor | None
    covariates: Covariates | None
    site_names: Sequence[str] | None = None  # in what is said of samples

    @abstractmethod
    def law(self, x: Tensor, t: Time, given: Given = NOTHING) -> Law:
        """The law of x_1 given x_t = x; see `Transport.law`."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    @property
    def conditions_itself(self) -> bool:
        """Whether a law of `exact` that uses known sites stands where a network would."""
        return False

    def default_sampler(self) -> Sampler:
        """The sampler to take if none is named.

        That of the model, given or planned; else steps of second order where the mean alone is
        learned: under pure death, where 10 evaluations do what single leaps do at hundreds, and
        for diffusions. `Bridge` otherwise.
        """
        if self.sampler is not None:
            return self.sampler
        return Bridge() if self.head is None else self.head.sampler(self.process)

    def sample(
        self, n: int, *, generator: torch.Generator | None = None, **options: Unpack[DrawOptions]
    ) -> Tensor:
        """Draw n samples.

        Args:
            n: How many.
            generator: Where the key of these samples is drawn from; fresh if None.
            **options: `steps`, `sampler`, `condition`, `guidance`, `block`, `callback`: see
                `DrawOptions`.

        Returns:
            (n, *event), on the device of the transport. With the same generator state
            the first n are the same for every n.

        Warns:
            UserWarning: If samples lie far outside of what training has seen, or vary far
                less, with where and how much (see `markovbridge.samplers.extrapolation`).
        """
        check_rows(options.get("condition"), n)
        made = self._all(n, partial(self.sample_block, **options), generator, options)
        tell(far_out(made, self.seen, self.site_names))
        if options.get("condition") is None:
            tell(narrow(made, self.seen, self.variance, self.site_names))
        return made

    @torch.no_grad()
    def sample_block(self, index: int, *, key: int, **options: Unpack[DrawOptions]) -> Tensor:
        """One block of `sample`; see `markovbridge.transport.draws`."""
        generator = randomness.generator(self.device, "sample", key, index)
        x = self._source(options.get("block", BLOCK), generator)
        return self._walk(index, x, generator, drawn=True, **options)

    def restore(
        self,
        x: Tensor,
        t: float | None = None,
        *,
        survival: float | None = None,
        generator: torch.Generator | None = None,
        **options: Unpack[DrawOptions],
    ) -> Tensor:
        """Draw x_1 given x_t: full-depth counts from thinned ones, a clean from a noisy image.

        Walking on from an observed state is exact posterior sampling, with no approximation
        but those of network and steps. Call again for another draw, or see
        `markovbridge.evaluation.restoration` for many at once.

        Args:
            x: What was observed, (n, *event).
            t: The time it stands for, where the grid starts; or else
            survival: the known share of units that survived the thinning, in (0, 1).
            generator: Where the key of these draws is drawn from; fresh if None.
            **options: As for `sample`.

        Returns:
            (n, *event): one draw for each row of x. Row i depends on the generator's state, i,
            the block size and the rows of its block.
        """
        draw = partial(self.restore_block, x=x, t=t, survival=survival, **options)
        return self._all(len(x), draw, generator, options)

    @torch.no_grad()
    def restore_block(
        self,
        index: int,
        x: Tensor,
        t: float | None = None,
        *,
        survival: float | None = None,
        key: int,
        **options: Unpack[DrawOptions],
    ) -> Tensor:
        """One block of `restore`; see `markovbridge.transport.draws`."""
        if t is None and survival is not None:
            t = self.process.observed_time(survival)
        elif t is None or survival is not None:
            raise ValueError("restore needs either a time t or a survival, and not both")
        if t > 0 and not self.coupling.pinned:
            raise ValueError(
                f"under {type(self.coupling).__name__} bridges are mixed to a process that is not "
                "Markov, so a walk from a state does not draw the data given it: draw from "
                f"transport.law(x, t), or train with {'sigma > 0 and ' * self.process.noiseless}"
                "the coupling Noised()"
            )
        generator = randomness.generator(self.device, "restore", key, index)
        x = self._shaped(x, "x")
        seen = self.check(rows(x, index, options.get("block", BLOCK)), "x")
        return self._walk(index, seen, generator, n=len(x), t=t, **options)

    def translate(
        self,
        x0: Tensor,
        *,
        generator: torch.Generator | None = None,
        **options: Unpack[DrawOptions],
    ) -> Tensor:
        """Carry given source states to the data: one data set into another.

        Args:
            x0: Source states, (n, *event).
            generator: Where the key of these draws is drawn from; fresh if None.
            **options: As for `sample`.

        Returns:
            (n, *event): where each row of x0 goes. Row i depends on the generator's state, i,
            the block size and the rows of its block.
        """
        draw = partial(self.translate_block, x0=x0, **options)
        return self._all(len(x0), draw, generator, options)

    @torch.no_grad()
    def translate_block(
        self, index: int, x0: Tensor, *, key: int, **options: Unpack[DrawOptions]
    ) -> Tensor:
        """One block of `translate`; see `markovbridge.transport.draws`."""
        generator = randomness.generator(self.device, "translate", key, index)
        x0 = self._shaped(x0, "x0")
        x = self.check(rows(x0, index, options.get("block", BLOCK)), "x0")
        return self._walk(index, x, generator, n=len(x0), **options)

    def impute(
        self,
        x: Tensor,
        observed: Tensor,
        *,
        rounds: int | None = None,
        generator: torch.Generator | None = None,
        **options: Unpack[DrawOptions],
    ) -> Tensor:
        """Draw the unknown sites of x given the known ones. Call again for another draw.

        Known sites follow the bridge to their value while the others are sampled. A network
        trained with `masking`, or a law in its place that uses known sites (`GaussianField`,
        `CountMixture`), is told the values, and nothing is approximate but network and steps. Any
        other sees the known sites at time t only (replacement), which is **approximate**: it
        draws the others as if the rest were still open. `rounds` make up for it, step by step:
        back by the reference and forward again (RePaint, https://arxiv.org/abs/2201.09865), so
        that all come to agree. The error falls with rounds and steps together.

        Args:
            x: States, (n, *event); what unknown sites hold does not matter.
            observed: Which sites are known: bool, broadcastable to x.
            rounds: How often each step is taken. By default 1 if known sites are told, else 10.
            generator: Where the key of these draws is drawn from; fresh if None.
            **options: As for `sample`.

        Returns:
            (n, *event): one draw for each row of x, known sites as they are. Row i depends on
            the generator's state, i, the block size and the rows of its block.
        """
        draw = partial(self.impute_block, x=x, observed=observed, rounds=rounds, **options)
        return self._all(len(x), draw, generator, options)

    @torch.no_grad()
    def impute_block(
        self,
        index: int,
        x: Tensor,
        observed: Tensor,
        *,
        rounds: int | None = None,
        key: int,
        **options: Unpack[DrawOptions],
    ) -> Tensor:
        """One block of `impute`; see `markovbridge.transport.draws`."""
        if rounds is None:
            rounds = 1 if self.masking is not None or self.conditions_itself else ROUNDS
        checks.whole(rounds, "rounds", least=1, most=ROUNDS_AT_MOST)
        generator = randomness.generator(self.device, "impute", key, index)
        block = options.get("block", BLOCK)
        data = rows(self._shaped(x, "x"), index, block).to(self.device)
        mask = rows(broadcast(observed, x), index, block).to(self.device)
        known = Observed(self.check(self._filled(data, mask), "x"), mask)
        start = self._source(block, generator)
        made = self._walk(
            index,
            start,
            generator,
            n=len(x),
            observed=known,
            rounds=rounds,
            drawn=True,
            **options,
        )
        return torch.where(mask, data.to(made.dtype), made)

    def _all(
        self,
        n: int,
        draw: Callable[..., Tensor],
        generator: torch.Generator | None,
        options: DrawOptions,
    ) -> Tensor:
        """All blocks of n samples, one after the other."""
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}: that many samples, or rows given")
        block = checks.whole(options.get("block", BLOCK), "block", least=1)
        remedy = "draw fewer at a time"
        for count, name in ((n, "n"), (block, "block")):
            what = f"{name} = {count} samples of shape {self.shape}"
            checks.room(count * math.prod(self.shape), what, remedy)
        key = randomness.fresh_key(generator)
        count = blocks(n, options.get("block", BLOCK))
        return torch.cat([draw(index, key=key) for index in range(count)])[:n]

    def _source(self, n: int, generator: torch.Generator) -> Tensor:
        """States to start sampling from, (n, *event)."""
        like = torch.zeros((n, *self.shape), dtype=self.process.dtype, device=self.device)
        return self.coupling.start(self.process, like, generator=generator)

    def _walk(
        self,
        index: int,
        x: Tensor,
        generator: torch.Generator,
        *,
        n: int | None = None,
        t: float = 0.0,
        observed: Observed | None = None,
        rounds: int = 1,
        drawn: bool = False,
        steps: int | Tensor = STEPS,
        sampler: Sampler | None = None,
        condition: Tensor | None = None,
        guidance: float = 1.0,
        block: int = BLOCK,
        callback: Callable[[float, Tensor], None] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """Walk a block of states x at time t to the data, in evaluation mode.

        Unless they were drawn from a source that is independent of the data, the walk must not
        forget them: see `markovbridge.samplers.back`.
        """
        if unknown:
            raise TypeError(
                f"there is no option {min(unknown)!r}; draws take "
                f"{', '.join(DrawOptions.__annotations__)}"
            )
        sampler, grid = planned(self, sampler, steps, t)
        x, kept = x.to(self.device), self.coupling.preserve
        if kept and t != 0:
            raise ValueError(
                f"this transport preserves its coupling and needs x_0: it cannot start at t = {t}"
            )
        if condition is not None:
            check_rows(condition, n)
            condition = rows(condition, index, block).to(self.device)
        given = Given(
            condition,
            guidance,
            start=x if kept else None,
            observed=observed,
            held=None if drawn and self.coupling.reverses else (x, t),
        )
        with self.evaluating():
            x = walk(
                BoundModel(self, given, self.seen),
                x,
                grid,
                sampler,
                generator=generator,
                callback=None if callback is None else lambda s, x: callback(s, self.decode(x)),
                rounds=rounds,
            )
        return self.decode(x)

    def _filled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Data with something valid where nothing is known."""
        filler = torch.zeros_like(x, dtype=torch.float32)
        if self.process.support is not None:
            filler = self.process.support.decode(filler)
        return torch.where(mask, x, filler.to(x.dtype))

    def decode(self, x: Tensor) -> Tensor:
        """Data from states."""
        return x if self.process.support is None else self.process.support.decode(x)

    def grid(self, steps: int | Tensor, start: float = 0.0, power: float = 1.0) -> list[float]:
        """Times from `start` to 1: of `error_curve`, of the schedule (no `power`), or given."""
        if self.error_curve is not None and not isinstance(steps, Tensor):
            return self.error_curve.grid(steps, start, power).tolist()
        return check_grid(self.process.schedule, steps, start)

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Data (batch, *event) as states of the process.

        Raises:
            ValueError: If they are none, naming the value.
        """
        return self.process.check(self._shaped(x, name), name)

    def _shaped(self, x: Tensor, name: str) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}, but this transport carries "
                f"(batch, {', '.join(map(str, self.shape))})"
            )
        return x

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout off inside, the mode as it was afterwards."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


doors.guard(__name__, own=("steps", "sampler"))
