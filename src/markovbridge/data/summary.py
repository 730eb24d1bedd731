"""Sums and extremes of counts that are mostly zeros, from their nonzero entries, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors

BLOCK = 2**20  # entries looked at at once


@dataclass(frozen=True, eq=False)
class Summary:
    """What counts (N, columns) come to.

    Attributes:
        totals: Sum of each row, (N,) int64.
        sums: Sum of each column, (columns,) float64; exact below 2^53, as are the squares.
        squares: Sum of the squares of each column, (columns,) float64.
        least: Least count of each column, (columns,) int64.
        largest: Largest count of each column, (columns,) int64.
    """

    totals: Tensor
    sums: Tensor
    squares: Tensor
    least: Tensor
    largest: Tensor

    @classmethod
    def of(cls, blocks: Iterable[Any], columns: int) -> Summary:
        """That of rows which come some at a time.

        Args:
            blocks: Counts (k, columns) each, of an integer type, compressed rows or arrays.
            columns: How many columns there are.
        """
        totals, stored, n = [np.zeros(0, np.int64)], np.zeros(columns, np.int64), 0
        sums, squares = np.zeros(columns), np.zeros(columns)
        least, largest = np.full(columns, np.iinfo(np.int64).max), np.zeros(columns, np.int64)
        for block in blocks:
            n += block.shape[0]
            totals.append(np.asarray(block.sum(1, dtype=np.int64)).ravel())
            if isinstance(block, np.ndarray):
                reals = block.astype(np.float64)
                sums, squares = sums + reals.sum(0), squares + (reals**2).sum(0)
                stored += len(block)
                if len(block):
                    least = np.minimum(least, block.min(0))
                    largest = np.maximum(largest, block.max(0))
                continue
            if not block.has_canonical_format:
                block = block.copy()
                block.sum_duplicates()
            # What is added in place is added fast where types agree.
            places, counts = block.indices.astype(np.intp), block.data.astype(np.int64)
            reals = counts.astype(np.float64)
            sums += np.bincount(places, reals, columns)
            squares += np.bincount(places, reals**2, columns)
            stored += np.bincount(places, minlength=columns)
            np.minimum.at(least, places, counts)
            np.maximum.at(largest, places, counts)
        least = np.where(stored < n, 0, least)
        found = (np.concatenate(totals), sums, squares, least, largest)
        return cls(*map(torch.from_numpy, found))

    def turned(self, order: Tensor) -> Summary:
        """That of the same rows, column k being column order[k] of these."""
        sites = (self.sums, self.squares, self.least, self.largest)
        return Summary(self.totals, *(values[order] for values in sites))


doors.guard(__name__)
