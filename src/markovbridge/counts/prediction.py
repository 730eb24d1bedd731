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
            states; of missing entries the mean of the draws, if it was trained without `masking`
            or corrects no mixture (`base`).
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

    def corrected(self, level: float = 0.9) -> bool:
        """Whether `interval` of a level is corrected: `CountModel.calibrate` has measured it."""
        return self.restoration.corrected(level)

    def interval(self, level: float = 0.9, *, corrected: bool | None = None) -> tuple[Any, Any]:
        """Ends of central intervals, which hold the truth with probability `level` at least.

        Of draws as they come that is so if the model is right; of corrected ones, for rows like
        those that they were calibrated with, whatever the model. Of AnnData, `uns` says which.

        Args:
            level: The probability.
            corrected: Whether to correct them; None where `corrected(level)`.

        Raises:
            ValueError: If there are too few draws for the level, or no correction of it.
        """
        low, high = self.restoration.interval(level, corrected=corrected)
        made = self.corrected(level) if corrected is None else corrected
        told = {
            method: {**facts, "level": level, "corrected": made}
            for method, facts in (self.told or {}).items()
        }
        return self._like(low, told), self._like(high, told)

    def _like(self, values: Tensor, told: Mapping[str, Any] | None = None) -> Any:
        like = self.table
        told = self.told if told is None else told
        return write_object(values, like.kind, like=like, form=self.form, told=told)


doors.guard(__name__)
