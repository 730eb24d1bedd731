"""Training samples, and which of them make up which batch.

Batches are cut from an endless stream: a permutation of the data, then another,
and so on. The permutation of epoch e is a pure function of (seed, e), so batch k
is a pure function of (seed, k) and there is no state to save. A batch may span
two epochs; every sample is seen equally often.

Samples in a file are read in chunks of consecutive rows (`markovbridge.data.rows`).
Then the permutation is one of chunks, `WINDOW` of which are shuffled row by row:
batch k touches the chunks of one window, which are read while the window before it
is trained on.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any
from warnings import warn

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset
from markovbridge.data.collected import collect
from markovbridge.data.covariates import Covariates
from markovbridge.data.meeting import told
from markovbridge.data.rows import WINDOW, Rows
from markovbridge.doors.randomness import generator

TYPES = (torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32)
FINGERPRINT_ROWS = 1024
FINGERPRINT_SPANS = 8


@dataclass(frozen=True, eq=False)
class Examples:
    """Samples with what belongs to each of them.

    Attributes:
        x: Data (N, *event): counts as uint8, int16, int32 or int64 (they stay so in
            memory and become int64 batch by batch), reals as float32; or `Rows`.
        condition: What the network is told about each sample, (N, ...), or None.
        source: Source states x0 paired with the data, (N, *event), or None to let the
            coupling draw them.

    Raises:
        TypeError: If x or source has another type.
        ValueError: If there are no samples, or the lengths differ.
    """

    x: Tensor | Rows
    condition: Tensor | None = None
    source: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in (("x", self.x), ("source", self.source)):
            if value is not None and value.dtype not in TYPES:
                raise TypeError(
                    f"{name} has type {value.dtype}; give counts as uint8, int16, int32 or "
                    "int64, reals as float32."
                )
        if self.x.ndim < 2 or len(self.x) == 0:
            raise ValueError(
                f"x has shape {tuple(self.x.shape)}; give (N, *event) with at least one sample."
            )
        if self.source is not None and self.source.shape != self.x.shape:
            raise ValueError(
                f"source has shape {tuple(self.source.shape)}, x has {tuple(self.x.shape)}; "
                "give one source state for each sample."
            )
        if self.condition is not None and len(self.condition) != len(self.x):
            raise ValueError(
                f"condition has {len(self.condition)} rows for {len(self.x)} samples; "
                "give one row for each sample."
            )

    @classmethod
    def of(
        cls,
        data: Any,
        shape: tuple[int, ...],
        name: str,
        covariates: Covariates | None = None,
    ) -> Examples:
        """Data of any form as examples, if they are of an event shape.

        Args:
            data: Samples (N, *event) as a tensor, `Rows` or a NumPy array, whole numbers of any
                type being counts; a `data.Dataset`; what is read by position, as of
                `data.collect`; or examples.
            shape: The event shape.
            name: What to call them in a message.
            covariates: What a model is told of each sample, which data with labels or covariates
                know.

        Raises:
            TypeError: If they are in no such form.
            ValueError: If they are of another shape, or have missing entries.
        """
        if not isinstance(data, Examples | Dataset | Rows | Tensor):
            data = collect(data, name=name)
        if isinstance(data, Dataset):
            data = cls._told(data, covariates)
        examples = data if isinstance(data, Examples) else cls(data)
        if tuple(examples.x.shape[1:]) != shape:
            raise ValueError(
                f"{name} has samples of shape {tuple(examples.x.shape[1:])}, "
                f"but the transport carries {shape}."
            )
        return examples

    @classmethod
    def _told(cls, data: Dataset, covariates: Covariates | None) -> Examples:
        """A data set with what a model is told of each sample."""
        if data.observed is not None:
            raise ValueError(
                f"{data.name} has missing entries; train on complete rows, then impute"
            )
        known = told(
            data.known, covariates, n=len(data), what=data.name, say=partial(warn, stacklevel=4)
        )
        return cls(data.x, known, data.start)

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor, device: torch.device) -> dict[str, Any]:
        """The samples at `index` on `device`, as the arguments of `Transport.loss`."""
        return {
            "x1": _rows(self.x, index, device, count=True),
            "x0": _rows(self.source, index, device, count=True),
            "condition": _rows(self.condition, index, device, count=False),
        }

    def prefetch(self, index: Tensor | None) -> None:
        """Announce that the samples at `index` will be asked for, to read them meanwhile."""
        if index is not None and isinstance(self.x, Rows):
            self.x.prefetch(index)

    def fingerprint(self) -> dict[str, Any]:
        """What tells these samples from others: shape, type, and a hash of some rows."""
        fields = {"x": self.x, "condition": self.condition, "source": self.source}
        digest = hashlib.sha256()
        for value in fields.values():
            if value is not None:
                for rows in _excerpt(value):
                    digest.update(rows.cpu().contiguous().numpy().tobytes())
        described = {
            name: None if value is None else f"{value.dtype} {tuple(value.shape)}"
            for name, value in fields.items()
        }
        return {**described, "hash": digest.hexdigest()}


def _excerpt(value: Tensor | Rows) -> list[Tensor]:
    """Some rows from all over: spread evenly or, from a file, in spans that are quick to read."""
    n = len(value)
    if not isinstance(value, Rows) or value.chunk == 1:
        return [value[:: -(-n // FINGERPRINT_ROWS)]]
    length = FINGERPRINT_ROWS // FINGERPRINT_SPANS
    starts = [n * k // FINGERPRINT_SPANS for k in range(FINGERPRINT_SPANS)]
    return [value[start : start + length] for start in starts]


def _rows(
    value: Tensor | Rows | None, index: Tensor, device: torch.device, *, count: bool
) -> Tensor | None:
    if value is None:
        return None
    # Counts travel to the device in their small type, and widen there.
    index = index.to(value.device)
    rows = value.narrow(index) if isinstance(value, Rows) else value[index]
    rows = rows.to(device, non_blocking=True)
    return rows.long() if count and not rows.is_floating_point() else rows


class Batches:
    """The indices of batch k, for any k.

    Args:
        n: Number of samples.
        size: Samples in a batch.
        seed: Seed of the order.
        chunk: How many consecutive samples are read together; see the head of this module.
    """

    def __init__(self, n: int, size: int, seed: int, chunk: int = 1) -> None:
        self.n, self.size, self.seed, self.chunk = n, size, seed, chunk
        self._epochs: dict[int, Tensor] = {}
        self._ends: dict[int, list[int]] = {}  # of the windows of these epochs

    def __getitem__(self, step: int) -> Tensor:
        """Indices (size,), int64, of the batch of `step`."""
        start, parts = step * self.size, []
        end = start + self.size
        while start < end:
            epoch, offset = divmod(start, self.n)
            part = self._epoch(epoch)[offset : offset + end - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def first(self, step: int) -> Tensor | None:
        """Indices of what is left of the window that the batch of `step` begins in.

        None without chunks.
        """
        if self.chunk == 1:
            return None
        epoch, offset = divmod(step * self.size, self.n)
        return self._epoch(epoch)[offset : self._end(epoch, offset)]

    def following(self, step: int, fresh: bool = False) -> Tensor | None:
        """Indices of the window after that in which the batch of `step` begins, to be read ahead.

        None without chunks, and if an earlier batch begins in the same window, unless `fresh`.
        """
        if self.chunk == 1:
            return None
        epoch, offset = divmod(step * self.size, self.n)
        end = self._end(epoch, offset)
        before = max(other for other in (0, *self._ends[epoch]) if other < end)
        if offset - self.size >= before and not fresh:
            return None
        epoch, offset = divmod(epoch * self.n + end, self.n)
        return self._epoch(epoch)[offset : self._end(epoch, offset)]

    def _end(self, epoch: int, offset: int) -> int:
        """Where the window ends in which a place of an epoch lies."""
        self._epoch(epoch)
        ends = self._ends[epoch]
        return ends[bisect_right(ends, offset)]

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            if len(self._epochs) > 1:  # this epoch, and the next for what is read ahead
                far = max(self._epochs, key=lambda other: abs(other - epoch))
                del self._epochs[far], self._ends[far]
            windows = self._order(generator("cpu", self.seed, "order", epoch))
            self._epochs[epoch] = torch.cat(windows)
            self._ends[epoch] = list(accumulate(map(len, windows)))
        return self._epochs[epoch]

    def _order(self, draw: torch.Generator) -> list[Tensor]:
        """A random permutation of the samples, chunks of a window staying together, by windows."""
        if self.chunk == 1:
            return [torch.randperm(self.n, generator=draw)]
        parts = []
        chunks = torch.randperm(-(-self.n // self.chunk), generator=draw)
        for window in chunks.split(WINDOW):
            rows = (window[:, None] * self.chunk + torch.arange(self.chunk)).flatten()
            rows = rows[rows < self.n]  # the last chunk may be shorter
            parts.append(rows[torch.randperm(len(rows), generator=draw)])
        return parts


doors.guard(__name__)
