"""How much work an evaluation is, and how much of it has been done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markovbridge import doors
from markovbridge.evaluation.metrics.distances import FACTORED
from markovbridge.evaluation.metrics.extractors import Extractor
from markovbridge.evaluation.metrics.floors import Floors
from markovbridge.evaluation.metrics.reference import ENERGY_ROWS, Reference, cost

FACTOR = 20  # multiplications for each number of a covariance and row of it that factoring takes
WIDTH = 2048  # features that a network is taken to have


class Work:
    """Work in multiplications, told as shares of all.

    What is known already is not done, and shares jump; in the end they are 1 in all.

    Args:
        callback: Called with the share that has been done since.
    """

    def __init__(self, callback: Callable[[float], None] | None) -> None:
        self._callback = callback
        self._total, self._told = 1.0, 0.0

    def plan(self, real: Reference, floors: Floors, extractors: Sequence[Extractor]) -> None:
        """Add up what is to be done."""
        n, total = floors.n, floors.total
        d = real.rows.shape[1]
        some = min(total, max(ENERGY_ROWS, n))
        self._total = (some * some / 2 + n * some + n * n / 2) * d
        pairs = floors.repeats * (2 if floors.bootstrap else 1)
        for extractor in extractors:
            width = WIDTH if extractor.weights else d
            thin = n <= width and width > FACTORED
            factors = 0 if thin else FACTOR * width**3 * (1 + 2 * pairs)
            self._total += total * cost(extractor) + total * width**2 + factors

    def did(self, amount: float) -> None:
        """Tell that so many multiplications have been done."""
        if self._callback is not None:
            share = min(amount / self._total, 1 - self._told)
            self._told += share
            self._callback(share)

    def finish(self) -> None:
        """Tell that all is done."""
        self.did(self._total)


doors.guard(__name__)
