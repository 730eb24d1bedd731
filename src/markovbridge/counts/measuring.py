"""What a fitted model says of groups of rows, and whether it holds what it says.

`calibrate` asks that of rows whose truth is known; `differences` tests whether two groups of rows
differ, of which a part is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.counts.fitted import FittedModel
from markovbridge.counts.seeds import RandomState, seed_of
from markovbridge.counts.session import threaded
from markovbridge.doors import checks
from markovbridge.evaluation.calibration import (
    Calibration,
    added,
    calibrate,
    check_hidden,
    parts_of,
    walk_of,
)
from markovbridge.evaluation.differences import differences
from markovbridge.evaluation.restoration import DRAWS, LEVELS, least_draws, shown, thin

OBSERVED = 0.7  # of the entries that are shown, unless told otherwise


class MeasuredModel(FittedModel):
    """A fitted model whose intervals can be measured, and which tells groups of rows apart."""

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
        facts["parts"] = parts_of(transport)
        with threaded(self.threads):
            if survival is not None:
                hidden = torch.ones_like(x, dtype=torch.bool)
                check_hidden(hidden, levels)
                seen = thin(x, survival, seed)
                made = self._restored(seen, survival, condition, draws, rng)
                facts |= {"task": "restore", "share": survival}
            else:
                share = checks.number(observed, "observed", least=0, below=1)
                hidden = ~shown(x, share, seed)
                check_hidden(hidden, levels)
                made = self._imputed(x, ~hidden, condition, draws, rng)
                facts |= {"task": "impute", "share": share}
        means = transport.mean.expand(transport.shape)
        found = calibrate(made, x, hidden, means, **facts)
        self.calibrations_ = added(self.calibrations_, found)
        return found

    def differences(
        self,
        a: Any,
        b: Any,
        *,
        survival: float | tuple[float | None, float | None] | None = None,
        observed: Any = None,
        draws: int = DRAWS,
        covariates: Any = None,
        random_state: RandomState = None,
    ) -> Any:
        """Test, feature by feature, whether the means of two groups of rows differ.

        What is missing is drawn several times, or counts are restored, and the completed tables
        are put together by Rubin's rules, so that what is not known counts as such: see
        `markovbridge.evaluation.differences`. The weights of the model are taken as they are. So
        if it was not told the groups, or was fitted to other rows, the test errs on the safe
        side, and of entries that are drawn it sees less of a difference than there is. A model
        that was told the groups of these very rows shows all of it; then, with a share f of a
        feature drawn, the variance is 1 + f times that of complete rows, and 1/(1 - f) times
        would be right: too little where much is drawn.

        Args:
            a: Counts (n, features); NaN, or features that X lacks, are missing.
            b: Counts (m, features) of the other group. Nothing need be missing of either.
            survival: Or else the share of units that both have kept, in (0, 1).
            observed: Or a mask of what was measured, as of `impute`.
            draws: How many completed tables; 2 at least.
            covariates: Values by name, in place of those that come with the tables; or names of
                columns that they must have.
            random_state: Seed, or generator.

        `survival`, `observed` and `covariates` may be pairs (of a, of b).

        Returns:
            A data frame of the features, in the order of the model, or a dictionary of arrays if
            there is no pandas: "mean_a", "mean_b", "log_fold_change" (natural, of b over a),
            "standard_error", "degrees", "p_value", "adjusted" (Benjamini & Hochberg) and
            "missing", the share of the variance that is due to what was drawn. NaN where all
            counts of a group are 0 in every completed table, and p-values where no count varies
            but the groups differ.

        Raises:
            ValueError: If a group has fewer than two rows, or there are fewer than two draws.
        """
        self._fitted()
        checks.whole(draws, "draws", least=2)
        rng, _ = self._drawing(random_state)
        pairs = zip(*map(_pair, (survival, observed, covariates)), strict=True)
        with threaded(self.threads):
            one, other = (
                self._completed(X, draws, rng, *told)
                for X, told in zip((a, b), pairs, strict=True)
            )
        found = differences(one, other)
        columns = {name: value.numpy() for name, value in vars(found).items()}
        try:
            import pandas as pd
        except ImportError:
            return columns
        return pd.DataFrame(columns, index=None if self._names is None else pd.Index(self._names))

    def _completed(
        self,
        X: Any,
        draws: int,
        rng: torch.Generator,
        survival: float | None,
        observed: Any,
        covariates: Any,
    ) -> Tensor:
        """Draws of whole rows, (draws, n, features) in the order of the model."""
        if survival is not None and observed is not None:
            raise ValueError("give survival or observed of a group, not both")
        if survival is not None:
            read = self._read(X)
            condition = read.told(self.covariates_, covariates)
            return self._restored(read.x, survival, condition, draws, rng).draws
        read, mask = self._holes(X, observed, whole=True)
        if bool(mask.all()):
            return read.x.expand(draws, *read.x.shape)
        condition = read.told(self.covariates_, covariates)
        return self._imputed(read.x, mask, condition, draws, rng).draws


def _pair(value: Any) -> tuple[Any, Any]:
    """What is said of two groups: of each, or the same of both."""
    pair = isinstance(value, tuple) and len(value) == 2
    return value if pair and not all(isinstance(v, str) for v in value) else (value, value)


doors.guard(__name__, own=("covariates", "observed"))
