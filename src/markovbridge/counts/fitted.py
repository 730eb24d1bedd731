"""What a fitted model of a count table does: sample, restore, impute, score.

Each method reads what it is given in the same way: counts and their features by `given.py`,
covariates by `told.py`. Scores are functions of their row alone: the noise of a row is keyed by
its counts, so neither its place nor the rest of the table changes its score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.counts import fitting
from markovbridge.counts.drawn import sparsely
from markovbridge.counts.estimator import Estimator
from markovbridge.counts.given import (
    GivenTable,
    checked,
    form_of,
    layer_in,
    panel,
    with_origin,
)
from markovbridge.counts.prediction import Prediction
from markovbridge.counts.seeds import RandomState, generator_of
from markovbridge.counts.session import threaded
from markovbridge.counts.told import by_name, count, depths, logs, prescribed_means
from markovbridge.data.covariates import Covariates
from markovbridge.data.meeting import LIBRARY
from markovbridge.data.tables.made import Form, provenance, samples
from markovbridge.data.tables.objects import TableObject, read_object
from markovbridge.doors import checks
from markovbridge.doors.randomness import derive, generator
from markovbridge.evaluation.calibration import Calibration, Task, parts_of, walk_of
from markovbridge.evaluation.expectations import expected, expected_ends, states_ends
from markovbridge.evaluation.restoration import DRAWS, Restoration, restore
from markovbridge.samplers import Adaptive
from markovbridge.storage.config import short, to_config
from markovbridge.transport import BLOCK, Transport
from markovbridge.transport.draws import Sampling
from markovbridge.transport.likelihood import row_by_row
from markovbridge.transport.saved import hash_weights
from markovbridge.transport.tilt import prescribed

PILOT = 64  # made-up rows that decide where a score looks


class FittedModel(Estimator):
    """A model of a count table, once it is fitted; `CountModel` says how it is.

    Attributes:
        library_size: Whether the network is told the total of each row.
        tolerance: What a step of the sampler may cost.
        layer: The layer of AnnData that holds the counts.
        random_state: Seed of what is given none.
        threads: CPU threads.
        transport_: The fitted `Transport`.
        covariates_: How covariates are encoded, or None.
        n_features_in_: Number of features.
        kind_: What samples come out as.
        form_: How they hold their values.
        library_sizes_: Quantiles of the totals of the training rows, if they are told.
        calibrations_: What was found of its intervals, which they are corrected by.
    """

    library_size: str | None
    tolerance: float
    layer: str | None
    random_state: RandomState
    threads: int | None
    transport_: Transport
    covariates_: Covariates | None
    n_features_in_: int
    kind_: str
    form_: Form
    library_sizes_: np.ndarray
    calibrations_: Sequence[Calibration] = ()

    def sample(
        self,
        n: int | None = None,
        *,
        covariates: Any = None,
        library_size: float | Sequence[float] | None = None,
        guidance: float = 1.0,
        means: Any = None,
        random_state: RandomState = None,
    ) -> Any:
        """Draw new rows.

        Args:
            n: How many; None for as many as covariates or library sizes have rows, else 1.
            covariates: Values by name, one for all or n, as a dictionary or a data frame; those
                left out are unknown.
            library_size: Totals to aim at, one for all or n. By default they are drawn as
                those of the training rows.
            guidance: How strongly covariates act; see `markovbridge.transport.guidance`.
            means: What means the samples are to have: a number for each feature, NaN to leave it
                free, or numbers by the names of some. The model is changed as little as that
                takes (`markovbridge.transport.tilt`), at the price of 4,096 more samples.
            random_state: Seed, or generator.

        Returns:
            (n, features), of the kind that the model was fitted to; in a data frame and AnnData
            rows are named "sample 0" and so on, and covariates come along.
        """
        transport: Sampling = self._fitted()
        given = by_name(covariates, None, self.covariates_)
        n = count({**given, LIBRARY: library_size}) if n is None else checks.whole(n, "n", least=1)
        thin = self.kind_ == "sparse" or (self.kind_ == "anndata" and self.form_.sparse)
        if not thin:
            checks.room(n * math.prod(transport.shape), f"n = {n} samples", "take fewer at a time")
        rng, facts = self._drawing(random_state)
        if library_size is not None and self.library_size is None:
            raise ValueError(
                "this model was not told library sizes: fit it with library_size='covariate' to "
                "ask for one"
            )
        values = dict(given)
        if library_size is not None:
            values[LIBRARY] = depths(library_size, n)
        elif self.library_size is not None:
            values[LIBRARY] = logs(fitting.drawn_totals(self.library_sizes_, n, rng))
        condition = self._condition(values, n)
        with threaded(self.threads):
            options: dict[str, Any] = {"condition": condition, "guidance": guidance}
            if means is not None:
                wanted = prescribed_means(means, self._names, self.n_features_in_)
                transport = prescribed(transport, wanted, generator=rng, **options, **self._walk)
            draw = partial(sparsely, transport) if thin else transport.sample
            made = draw(n, generator=rng, **options, **self._walk)
        return samples(
            made,
            self.kind_,
            column_names=self._names,
            encoding=self.covariates_,
            given=given,
            form=self.form_,
            told=provenance(
                "sample",
                **facts,
                guidance=None if guidance == 1 else guidance,
                means=None if means is None else "prescribed",
            ),
        )

    def restore(
        self,
        X: Any,
        survival: float,
        *,
        draws: int = DRAWS,
        covariates: Any = None,
        random_state: RandomState = None,
    ) -> Prediction:
        """Full-depth counts from thinned ones.

        Args:
            X: Counts (n, features) of which each unit was kept with probability `survival`.
            survival: That probability, in (0, 1): the depth of X over that of the training.
            draws: How many draws for each row.
            covariates: Values by name, in place of those that come with X; or names of columns
                that X must have.
            random_state: Seed, or generator.
        """
        transport, given = self._fitted(), self._read(X)
        t = transport.process.observed_time(survival)
        x, condition = given.x, given.told(self.covariates_, covariates)
        rng, facts = self._drawing(random_state)
        with threaded(self.threads):
            made = self._restored(x, survival, condition, draws, rng)
            single = expected(transport, x, t, condition=condition)
        told = provenance("restore", **facts, survival=survival, draws=draws)
        found = self._in_order(made, given, ("restore", survival))
        return Prediction(found, given.back(single), given.table, given.form, told)

    def impute(
        self,
        X: Any,
        observed: Any = None,
        *,
        draws: int = DRAWS,
        covariates: Any = None,
        random_state: RandomState = None,
    ) -> Prediction:
        """Draw the missing entries of each row, given its other entries.

        Args:
            X: Counts (n, features), NaN where they are missing. Features of the model that it
                lacks, by their names, are missing too; they follow those that it has.
            observed: Or else a mask of what was measured, (n, features) bool, or (features,)
                for all rows.
            draws: How many draws of each missing entry.
            covariates: Values by name, in place of those that come with X; or names of columns
                that X must have.
            random_state: Seed, or generator.

        Raises:
            ValueError: If nothing says which entries are missing.
        """
        self._fitted()
        read, mask = self._holes(X, observed)
        x, condition = read.x, read.told(self.covariates_, covariates)
        rng, facts = self._drawing(random_state)
        with threaded(self.threads):
            made = self._imputed(x, mask, condition, draws, rng)
            single = made.mean
            if states_ends(self.transport_):
                single = expected_ends(self.transport_, x, mask, condition=condition)
        found = self._in_order(made, read, ("impute", None), ~mask)
        made_by = provenance("impute", **facts, draws=draws)
        return Prediction(found, read.back(single), read.table, read.form, made_by)

    def score_samples(self, X: Any, *, draws: int = BLOCK, covariates: Any = None) -> np.ndarray:
        """A lower bound on the log-probability of each row, in nats: (n,).

        Args:
            X: Counts (n, features).
            draws: How often the network looks at each row; the error falls with it.
            covariates: Values by name, in place of those that come with X; or names of columns
                that X must have.

        Returns:
            For each row a function of its counts and covariates alone, wherever it stands.
        """
        transport, given = self._fitted(), self._read(X)
        x, condition = given.x, given.told(self.covariates_, covariates)
        pilot = torch.poisson(
            transport.mean.cpu().expand(PILOT, *transport.shape),
            generator=generator("cpu", "score"),
        )
        keys = [_key(row) for row in x]
        with threaded(self.threads), transport.evaluating():
            found = row_by_row(
                transport, x, keys, pilot.long(), condition=condition, draws=draws, block=BLOCK
            )
        return found.nats.cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`, which higher is better of; for `cross_val_score`."""
        return float(self.score_samples(X).mean())

    # Inside

    @property
    def _names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else names.tolist()

    @property
    def _walk(self) -> dict[str, Any]:
        """How a fitted model walks: with steps that choose themselves, and none of its own."""
        return walk(self.tolerance)

    def _fitted(self) -> Transport:
        if not hasattr(self, "transport_"):
            raise ValueError("this CountModel is not fitted yet: call fit(X) first")
        return self.transport_

    def _table(self, X: Any, missing: bool = False) -> tuple[TableObject, Form]:
        """A table that the model is given, and how it holds its values."""
        encoding, layer = self.covariates_, layer_in(X, self.layer)
        names = [] if encoding is None else [column.name for column in encoding.columns]
        X = checked(X, missing=missing)
        table = read_object(X, layer=layer, known=names, missing=missing)
        return with_origin(table, X, layer), form_of(table, X, layer)

    def _read(self, X: Any, missing: bool = False) -> GivenTable:
        """A table of the features that the model knows."""
        table, form = self._table(X, missing)
        return GivenTable.of(table, self._names, self.n_features_in_, form)

    def _holes(self, X: Any, observed: Any, *, whole: bool = False) -> tuple[GivenTable, Tensor]:
        """A table that may lack entries and features, and what is known of it, (n, features)."""
        table, form = self._table(X, missing=True)
        wider, mask = panel(table, self._names, observed, whole=whole)
        read = GivenTable.of(wider, self._names, self.n_features_in_, form)
        return read, read.ordered(mask)

    def _restored(
        self,
        x: Tensor,
        survival: float,
        condition: Tensor | None,
        draws: int,
        rng: torch.Generator,
    ) -> Restoration:
        """Draws of full-depth counts given thinned ones, features in the order of the model."""
        options: dict[str, Any] = {"condition": condition, "generator": rng, **self._walk}
        made = restore(self.transport_, x, survival=survival, draws=draws, **options)
        return replace(made, least=x)

    def _imputed(
        self, x: Tensor, mask: Tensor, condition: Tensor | None, draws: int, rng: torch.Generator
    ) -> Restoration:
        """Draws of the entries of rows, given those that are known, at `mask`."""
        index = torch.arange(len(x)).repeat_interleave(checks.whole(draws, "draws", least=1))
        told = None if condition is None else condition[index]
        options: dict[str, Any] = {"condition": told, "generator": rng, **self._walk}
        made = self.transport_.impute(x[index], mask[index], **options)
        return replace(Restoration.of_rows(made, draws), least=torch.zeros((), dtype=x.dtype))

    def _in_order(
        self,
        made: Restoration,
        given: GivenTable,
        what: tuple[Task, float | None],
        hidden: Tensor | None = None,
    ) -> Restoration:
        """Draws with the features of the table, and how their intervals are corrected.

        Args:
            made: The draws.
            given: The table.
            what: What was drawn, and how much was shown, as of `Calibration.is_for`.
            hidden: What was not known, if not all.
        """
        widening: dict[float, Tensor] = {}
        means = self.transport_.mean.expand(self.transport_.shape)
        drawn = len(made.draws), walk_of(**self._walk), parts_of(self.transport_)
        for one in self.calibrations_:
            if one.is_for(*what, *drawn):
                widening = one.correction.of(means, hidden)
        least = made.least
        return Restoration(
            given.back(made.draws),
            {level: given.back(each) for level, each in widening.items()},
            given.back(least) if least is not None and least.ndim else least,
        )

    def _condition(self, values: Mapping[str, Any], n: int) -> Tensor | None:
        if self.covariates_ is None:
            if values:
                raise ValueError(f"the model was fitted without covariates, not {list(values)}")
            return None
        return self.covariates_.encode(values, n)

    def _drawing(self, random_state: RandomState) -> tuple[torch.Generator, dict[str, Any]]:
        """Where draws come from, and what is told of them beside their method."""
        rng, seed = generator_of(self.random_state if random_state is None else random_state)
        sampler = short(to_config(self._walk["sampler"]))
        return rng, {"model": hash_weights(self.transport_), "sampler": sampler, "seed": seed}


def walk(tolerance: float) -> dict[str, Any]:
    """How fitted models walk, as options of `Transport.sample`."""
    return {"steps": 1, "sampler": Adaptive(tolerance)}


def _key(row: Tensor) -> int:
    """A seed that is a function of the counts of a row."""
    return derive("score", hashlib.sha256(row.contiguous().numpy().tobytes()).hexdigest())


doors.guard(__name__, own=("covariates", "observed", "means"))
