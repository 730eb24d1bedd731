"""Scores of `quality.py`: energy and Fréchet distance of many samples to the same real data."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from markovbridge.evaluation.metrics.distances import Moments, pair_mean


class Against:
    """Scores of samples against real data, of which everything is found once.

    Args:
        real: The data, (N, *event).
        seen: Makes features (n, d) of samples.
    """

    def __init__(self, real: Tensor, seen: Callable[[Tensor], Tensor]) -> None:
        self.seen, self.rows = seen, real.flatten(1).double()
        self.within, self.features = pair_mean(self.rows), seen(real).double()
        self.moments = Moments.of(self.features)

    def __call__(self, x: Tensor) -> tuple[float, float]:
        """Energy distance in raw values, and Fréchet distance of features."""
        rows = x.flatten(1).double()
        energy = 2 * pair_mean(rows, self.rows) - pair_mean(rows) - self.within
        return max(0.0, energy), Moments.of(self.seen(x).double()).frechet_distance(self.moments)

    def floor(self, n: int) -> tuple[float, float]:
        """Of the first n real rows against the others."""
        a, b = self.rows[:n], self.rows[n:]
        energy = 2 * pair_mean(a, b) - pair_mean(a) - pair_mean(b)
        one, other = (Moments.of(f) for f in (self.features[:n], self.features[n:]))
        return energy, one.frechet_distance(other)
