r"""Real data as samples are compared with them: what has to be known of them, computed once.

Of all rows these are, for each extractor, mean and covariance; mean, variance and share of zeros
of each feature; and E|Y - Y'|. Floors ask for the same of some rows, and of the others. Where the
reference is large, the others are not gone through again: with sums of squares S = (n - 1) Cov of
all N rows and of the n_a rows that are left out, and δ the difference of the means of the n_a and
the other n_b = N - n_a rows,

    n_b m_b = N m - n_a m_a,        S_b = S - S_a - (n_a n_b/N) δ δ^T.

**What is kept.** A reference whose covariance takes more than `LARGE` multiplications is worth a
file: statistics, and floors by the number of samples, are kept in the folder `cache` under the
hash of the rows and the identity of the extractor (`markovbridge.storage.kept`). An extractor
that does not say what tells it from all others leaves nothing there.

**Energy.** E|Y - Y'| costs the square of the rows, so that at most `ENERGY_ROWS` are looked at, or
as many as there are samples if that is more, drawn at random once and for all seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.evaluation.metrics.distances import (
    FeatureErrors,
    Moments,
    Statistics,
    feature_statistics,
    pair_mean,
)
from markovbridge.evaluation.metrics.extractors import Extractor
from markovbridge.evaluation.metrics.floors import Floors
from markovbridge.evaluation.metrics.points import as_rows, draw_rows
from markovbridge.storage.kept import Kept, digest

ENERGY_ROWS = 10_000
LARGE = 1e10  # multiplications that a covariance takes: about half a second on a core
PART = 1024  # items that a network is given at a time, to tell how far it is
NETWORK = 1e9  # multiplications that a network is taken to need for an item

Tell = Callable[[float], None]


def ignore(_: float) -> None:
    """What is told of progress where nobody listens."""


class Reference:
    """Real data, and what has been computed of them.

    Args:
        x: Shape `(N, *event)`.
        cache: Where statistics are kept; None keeps them in memory only.
        tell: Called with the multiplications that were done.

    Attributes:
        rows: The data, shape `(N, d)`.
        large: Whether they are many, so that little is computed twice and some is kept.
    """

    def __init__(self, x: Tensor, cache: Path | None, tell: Tell = ignore) -> None:
        self.x, self.rows, self.tell = x, as_rows(x, "reference"), tell
        n, d = self.rows.shape
        self.large = n * d * d > LARGE
        self._cache = cache if self.large else None
        self._hash: str | None = None
        self._features: dict[Extractor, Tensor] = {}
        self._moments: dict[Extractor, Moments] = {}
        self._statistics: Statistics | None = None

    def __len__(self) -> int:
        return len(self.rows)

    # Energy

    def some(self, n: int) -> Tensor:
        """The rows that the energy distance of n samples looks at, shape `(m, d)`."""
        return draw_rows(self.rows, max(ENERGY_ROWS, n), "reference")

    def spread(self, n: int) -> float:
        """E|Y - Y'| of these rows."""
        found = self.some(n)
        (spread,) = self.figures(
            None, f"spread of {len(found)} rows", lambda: [pair_mean(found, tell=self.tell)]
        )
        return spread

    # Features of an extractor

    def moments(self, extractor: Extractor) -> Moments:
        """Mean and covariance of all items."""
        if extractor in self._moments:
            return self._moments[extractor]
        found = self._moments[extractor] = self._kept(extractor).made(
            "moments",
            compute=lambda: Moments.of(self._all(extractor), tell=self.tell),
            packed=lambda found: {
                "mean": found.mean.cpu().numpy(),
                "covariance": found.covariance.cpu().numpy(),
            },
            unpacked=lambda arrays: Moments(
                *(_tensor(arrays[key], self.rows.device) for key in ("mean", "covariance"))
            ),
        )
        return found

    def frechet(self, extractor: Extractor, one: Tensor, other: Tensor | None) -> float:
        """The Fréchet distance of the items at `one` to those at `other`, or to all."""
        ours = Moments.of(self._some(extractor, one))
        if other is None:
            theirs = self.moments(extractor)
        elif self.large:
            theirs = self.moments(extractor).without(ours, len(self), len(one))
        else:
            theirs = Moments.of(self._some(extractor, other))
        return ours.frechet_distance(theirs)

    def _all(self, extractor: Extractor) -> Tensor:
        """Features of all items, kept in memory."""
        if extractor not in self._features:
            parts = self.x.split(PART) if self.large else [self.x]
            found = []
            for part in parts:
                found.append(extractor(part))
                self.tell(len(part) * cost(extractor))
            self._features[extractor] = found[0] if len(found) == 1 else torch.cat(found)
        return self._features[extractor]

    def _some(self, extractor: Extractor, index: Tensor) -> Tensor:
        """Features of some items; computed for all if they are many, and then kept."""
        known = extractor in self._features
        many = not self.large or 2 * len(index) > len(self)
        return self._all(extractor)[index] if known or many else extractor(self.x[index])

    # Features as they are

    def statistics(self) -> Statistics:
        """Mean, variance and share of zeros of each feature."""
        if self._statistics is None:
            self._statistics = self._kept(None).made(
                "statistics",
                compute=lambda: feature_statistics(self.rows),
                packed=lambda found: {"statistics": torch.stack(found).cpu().numpy()},
                unpacked=lambda arrays: _three(_tensor(arrays["statistics"], self.rows.device)),
            )
        return self._statistics

    def errors(self, one: Tensor, other: Tensor | None) -> FeatureErrors:
        """Errors of the items at `one` against those at `other`, or against all."""
        ours = feature_statistics(self.rows[one])
        if other is None:
            theirs = self.statistics()
        elif self.large:
            theirs = _without(self.statistics(), ours, len(self), len(one))
        else:
            theirs = feature_statistics(self.rows[other])
        return FeatureErrors.between(ours, theirs)

    # What is kept

    def floor(
        self,
        extractor: Extractor | None,
        name: str,
        floors: Floors,
        figures: Callable[[Tensor, Tensor | None], Sequence[float]],
    ) -> tuple[list[float], list[float] | None]:
        """Figures of real data against real data, averaged over draws.

        Args:
            extractor: What they depend on beside the rows, or None.
            name: What they are.
            floors: Who plays samples, and who the reference.
            figures: Those of items at an index against others, or against all.

        Returns:
            The floors, and the figures of one half against the other, where these are given.
        """
        told = f"{floors.n} samples, seed {floors.seed}, {floors.repeats} draws"
        floor = self.figures(
            extractor, f"floor of {name}, {told}", lambda: _means(figures, floors.draws())
        )
        if not floors.bootstrap:
            return floor, None
        seen = f"seed {floors.seed}, {floors.repeats} draws"
        half = self.figures(
            extractor, f"halves of {name}, {seen}", lambda: _means(figures, floors.halves())
        )
        return floor, half

    def figures(
        self, extractor: Extractor | None, name: str, compute: Callable[[], list[float]]
    ) -> list[float]:
        """A few figures, kept."""
        return self._kept(extractor).made(
            name,
            compute=compute,
            packed=lambda found: {"figures": np.array(found, dtype=np.float64)},
            unpacked=lambda arrays: _tensor(arrays["figures"], torch.device("cpu")).tolist(),
        )

    def _kept(self, extractor: Extractor | None) -> Kept:
        """Where what depends on an extractor is kept, or what depends on the rows alone."""
        identity = "rows" if extractor is None else extractor.identity
        if self._cache is None or identity is None:
            return Kept(None, {})
        if self._hash is None:
            self._hash = digest({"x": self.x.cpu().numpy()})
        return Kept(self._cache, {"data": self._hash, "extractor": identity})


def cost(extractor: Extractor) -> float:
    """Multiplications that an extractor is taken to need for an item."""
    return NETWORK if extractor.weights else 0.0


def _means(
    figures: Callable[[Tensor, Tensor | None], Sequence[float]],
    pairs: Iterable[tuple[Tensor, Tensor | None]],
) -> list[float]:
    """Figures averaged over pairs of items, each on its own."""
    found = [figures(one, other) for one, other in pairs]
    return [sum(column) / len(found) for column in zip(*found, strict=True)]


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """Numbers that were kept.

    Raises:
        ValueError: If they are none.
    """
    if array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError("it holds no finite numbers")
    return torch.from_numpy(array).to(device)


def _three(x: Tensor) -> Statistics:
    """Mean, variance and share of zeros, of shape `(3, d)`."""
    mean, variance, zeros = x
    return mean, variance, zeros


def _without(whole: Statistics, out: Statistics, total: int, n: int) -> Statistics:
    """Mean, variance and share of zeros of those of `total` rows that are not the n of `out`."""
    left = total - n
    mean = (total * whole[0] - n * out[0]) / left
    squares = (total - 1) * whole[1] - (n - 1) * out[1]
    squares = squares - n * left / total * (out[0] - mean).square()
    zeros = (total * whole[2]).round() - (n * out[2]).round()
    return mean, squares.clamp(min=0) / (left - 1), zeros / left


doors.guard(__name__, inside=("ignore",))
