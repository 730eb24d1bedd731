"""Draws of the counts of a table, in the form of that table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from markovbridge import doors
from markovbridge.data.tables.made import Form, write_object
from markovbridge.data.tables.objects import TableObject
from markovbridge.evaluation.restoration import Restoration


@dataclass(frozen=True, eq=False)
class Prediction:
    """Draws of the counts of a table, in the form of that table.

    Attributes:
        restoration: The draws, (draws, n, features).
        expected: The estimate of the mean of their law, (n, features): what the network
            states where counts are restored, the mean of the draws where they are imputed.
        table: What they stand in for.
        form: How that holds its values.
        told: What made them, for `uns` of AnnData.
    """

    restoration: Restoration
    expected: Tensor
    table: TableObject
    form: Form = field(default_factory=Form)
    told: Mapping[str, Any] | None = None

    @property
    def draws(self) -> np.ndarray:
        """All draws, (draws, n, features)."""
        return self.restoration.draws.cpu().numpy()

    @property
    def mean(self) -> Any:
        """Expected counts, the estimate of least squared error."""
        return self._like(self.expected)

    @property
    def std(self) -> Any:
        """Standard deviation of a draw."""
        return self._like(self.restoration.std)

    def interval(self, level: float = 0.9) -> tuple[Any, Any]:
        """Ends of central intervals, which hold the truth with probability `level` at least."""
        low, high = self.restoration.interval(level)
        return self._like(low), self._like(high)

    def _like(self, values: Tensor) -> Any:
        like = self.table
        return write_object(values, like.kind, like=like, form=self.form, told=self.told)


doors.guard(__name__)
