"""What a fitted model is asked of rows whose truth is known: does it hold what it says?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from markovbridge import doors
from markovbridge.counts.fitted import FittedModel
from markovbridge.counts.seeds import RandomState, seed_of
from markovbridge.counts.session import threaded
from markovbridge.doors import checks
from markovbridge.evaluation.calibration import Calibration, added, calibrate, walk_of
from markovbridge.evaluation.restoration import DRAWS, LEVELS, least_draws, shown, thin

OBSERVED = 0.7  # of the entries that are shown, unless told otherwise


class MeasuredModel(FittedModel):
    """A fitted model whose intervals can be measured, and corrected."""

    def calibrate(
        self,
        X: Any,
        *,
        survival: float | None = None,
        observed: float = OBSERVED,
        levels: Sequence[float] = LEVELS,
        draws: int = DRAWS,
        covariates: Any = None,
        random_state: RandomState = None,
    ) -> Calibration:
        """Measure ranks and intervals on rows that were held out, and correct the intervals.

        Entries of the rows are hidden at random and imputed, or, given `survival`, counts are
        thinned and restored. What is found is kept with the model, in place of what was found of
        the same draws before. Intervals of `impute`, or of `restore` with that survival, are
        corrected from then on, at these levels and with as many draws: for rows like these they
        hold the truth with probability `level` at least, whatever the model (see
        `markovbridge.evaluation.conformal`).

        Args:
            X: Counts (n, features) of full depth that the model was not trained on; n is at
                least 18 for intervals of 90 percent, and a few hundred say more.
            survival: The share of units that is kept, in (0, 1); None to hide entries.
            observed: Or else the share of entries that is shown, in [0, 1).
            levels: Of the intervals.
            draws: Draws of each row.
            covariates: Values by name, in place of those that come with X; or names of columns
                that X must have.
            random_state: Seed, or generator, of what is hidden and of the draws.

        Returns:
            Ranks and coverage, as they come and corrected.

        Raises:
            ValueError: If there are too few rows, or draws, for a level.
        """
        transport, given = self._fitted(), self._read(X)
        for level in levels:
            if draws < (least := least_draws(level)):
                raise ValueError(f"draws is {draws}; intervals of {level} take {least} at least")
        x, condition = given.x, given.told(self.covariates_, covariates)
        seed = seed_of(self.random_state if random_state is None else random_state)
        rng = torch.Generator().manual_seed(seed)
        facts: dict[str, Any] = {"walk": walk_of(**self._walk), "levels": levels, "seed": seed}
        with threaded(self.threads):
            if survival is not None:
                hidden = torch.ones_like(x, dtype=torch.bool)
                seen = thin(x, survival, seed)
                made = self._restored(seen, survival, condition, draws, rng)
                facts |= {"task": "restore", "share": survival}
            else:
                share = checks.number(observed, "observed", least=0, below=1)
                hidden = ~shown(x, share, seed)
                made = self._imputed(x, ~hidden, condition, draws, rng)
                facts |= {"task": "impute", "share": share}
        means = transport.mean.expand(transport.shape)
        found = calibrate(made, x, hidden, means, **facts)
        self.calibrations_ = added(self.calibrations_, found)
        return found


doors.guard(__name__, own=("covariates",))
