r"""A model of a count table in three lines, with the manners of scikit-learn.

    model = CountModel().fit(table)
    cells = model.sample(1000)
    model.restore(shallow, survival=0.5).mean

The table is a numpy array, a sparse matrix, a DataFrame, AnnData or the path of a file; what
comes back is of the same kind (`markovbridge.data.tables.objects`), with features and rows in the
order of the table. Features are matched by name, and rows are told the covariates that come with
the table: `markovbridge.data.meeting`, as on the command line. Inside is a `Transport` of
unbounded counts by pure death, whose parts are the parameters of the constructor; it is at
`transport_`, for all that is not here.

**Depth.** Thinning is the reference process itself: counts of survival p are its state at time
t(p). So shallow counts are restored by walking on from there, which is exact posterior
sampling. With `library_size="covariate"` the network is also told the logarithm of the total
of each row, or, in `condition_dropout` of the cases, not: then a depth can be asked for.

**Missing entries.** The network is trained with a random part of each row shown to it
(`Masking`), and so learns the law of the other entries given any of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.counts import fitting
from markovbridge.counts.estimator import Estimator
from markovbridge.counts.files import Facts
from markovbridge.counts.given import (
    LIBRARY,
    GivenTable,
    chosen,
    depths,
    encoded,
    logs,
    measured,
    repeated,
)
from markovbridge.counts.prediction import Prediction
from markovbridge.counts.seeds import RandomState, generator_of, seed_of
from markovbridge.data.rows import parts
from markovbridge.data.tables.objects import read_object, write_object
from markovbridge.doors import checks
from markovbridge.doors.randomness import derive
from markovbridge.evaluation.restoration import DRAWS, Restoration, expected, restore
from markovbridge.heads import Head
from markovbridge.samplers import Adaptive
from markovbridge.samplers.known_sites import Masking
from markovbridge.storage.config import to_config
from markovbridge.storage.parts import arguments
from markovbridge.training import Trainer
from markovbridge.transport import BLOCK, Transport
from markovbridge.transport.objectives import Objective

MASKING = Masking(none=0.5)


class CountModel(Estimator):
    """A generative model of the rows of a count table.

    Args:
        network: "mlp", for tables of any width; or "attention" over the features, for up to a
            few hundred of them.
        width: Size of the hidden layers.
        depth: Number of blocks.
        head: The law of the remaining counts; `MeanHead(link="exp")` if None.
        objective: The loss; `PathKL(damping=1)` if None.
        library_size: "covariate" tells the network the total of each row; None does not.
        condition_dropout: Share of the training rows that are not told their covariates, and
            of the others each covariate.
        masking: Which entries are shown in training, for `impute`; None for none.
        steps: Training steps.
        batch_size: Rows of a training step.
        learning_rate: Its peak; it falls to 0 along a cosine.
        validation_fraction: Share of the rows, 2,048 at most, that are held out to choose the
            weights by: those of the step where the loss of these rows is lowest. With 0 all
            rows are trained on, and the last weights kept.
        ema: Decay of the average of the weights.
        tolerance: What a step of the adaptive sampler may cost, in nats per row: smaller is
            slower and nearer to the law of the model.
        layer: The layer of AnnData that holds the counts; None for X.
        random_state: Seed of training, and of draws that are given no `random_state`.

    Attributes:
        transport_: The fitted `Transport`.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the table had any.
        covariates_: How covariates are encoded, or None.
        library_sizes_: Quantiles of the totals of the training rows, if the network is told them.
        kind_: What tables come out as, one of `data.tables.objects.KINDS`.
        loss_: Loss of each training step.
        best_step_: The training step whose weights were kept.
    """

    def __init__(
        self,
        *,
        network: Literal["mlp", "attention"] = "mlp",
        width: int = 256,
        depth: int = 2,
        head: Head | None = None,
        objective: Objective | None = None,
        library_size: Literal["covariate"] | None = None,
        condition_dropout: float = 0.1,
        masking: Masking | None = MASKING,
        steps: int = 1500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        ema: float = 0.995,
        tolerance: float = 0.1,
        layer: str | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.network = network
        self.width = width
        self.depth = depth
        self.head = head
        self.objective = objective
        self.library_size = library_size
        self.condition_dropout = condition_dropout
        self.masking = masking
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.ema = ema
        self.tolerance = tolerance
        self.layer = layer
        self.random_state = random_state

    # Fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        covariates: Sequence[str] | Mapping[str, Any] | None = None,
        directory: str | Path | None = None,
    ) -> CountModel:
        """Train on a table.

        Args:
            X: Counts (n, features); see the head of this module.
            y: Not used; here because scikit-learn passes it.
            covariates: What is known of each row: names of columns of X (`obs` of AnnData), or
                n values by name, as a data frame or a dictionary. Text is categorical, numbers
                are continuous; a value may be missing.
            directory: A folder for checkpoints and the log. The same call continues an
                interrupted training.

        Raises:
            ValueError: If a value is no count, or a parameter or covariate is not admissible.
        """
        params = self.get_params()
        fitting.check(params)
        named = isinstance(covariates, Sequence) and not isinstance(covariates, str)
        table = read_object(
            X, layer=self.layer, covariates=list(covariates or ()) if named else ()
        )
        totals = torch.cat([part.long().sum(1) for part in parts(table.x)])
        beside = chosen(table, covariates)
        encoding, condition = encoded(beside, totals, self.library_size is not None)
        seed = seed_of(self.random_state)
        training, held = fitting.held_out(len(table.x), self.validation_fraction, seed)
        data = fitting.examples(table.x, condition, training)
        trainer = Trainer(
            fitting.transport(data.x, encoding, params, seed),
            data,
            fitting.plan(params, seed, validated=len(held) > 0),
            validation=fitting.examples(table.x, condition, held) if len(held) else None,
            directory=directory,
            resume=directory is not None,
        )
        loss = [state.loss for state in trainer]
        self.loss_ = torch.stack(loss).float().cpu().numpy() if loss else np.empty(0)
        self.transport_ = trainer.result.cpu()
        best = None if trainer.best is None else trainer.best.step
        self.best_step_ = trainer.step if best is None else best
        self.covariates_ = encoding
        self.kind_ = table.kind
        self.n_features_in_ = int(table.x.shape[1])
        if table.column_names is not None:
            self.feature_names_in_ = np.array(table.column_names, dtype=object)
            self.transport_.site_names = list(table.column_names)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if self.library_size is not None:
            self.library_sizes_ = fitting.quantiles(totals)
        return self

    # What a fitted model does

    def sample(
        self,
        n: int = 1,
        *,
        covariates: Mapping[str, Any] | None = None,
        library_size: float | Sequence[float] | None = None,
        guidance: float = 1.0,
        random_state: RandomState = None,
    ) -> Any:
        """Draw new rows.

        Args:
            n: How many.
            covariates: Values by name, one for all or n; those left out are unknown.
            library_size: Totals to aim at, one for all or n. By default they are drawn as
                those of the training rows.
            guidance: How strongly covariates act; see `markovbridge.transport.guidance`.
            random_state: Seed, or generator.

        Returns:
            (n, features), of the kind that the model was fitted to; covariates that were
            given come along in a data frame and AnnData.
        """
        transport, n = self._fitted(), checks.whole(n, "n", least=1)
        checks.room(n * math.prod(transport.shape), f"n = {n} samples", "take fewer at a time")
        generator = self._generator(random_state)
        if library_size is not None and self.library_size is None:
            raise ValueError(
                "this model was not told library sizes: fit it with library_size='covariate' to "
                "ask for one"
            )
        values = dict(covariates or {})
        if library_size is not None:
            values[LIBRARY] = depths(library_size)
        elif self.library_size is not None:
            values[LIBRARY] = logs(fitting.drawn_totals(self.library_sizes_, n, generator))
        condition = self._condition(values, n)
        made = transport.sample(
            n, condition=condition, guidance=guidance, generator=generator, **self._walk
        )
        columns = repeated(covariates or {}, n)
        return write_object(made, self.kind_, column_names=self._names, columns=columns)

    def restore(
        self,
        X: Any,
        survival: float,
        *,
        draws: int = DRAWS,
        covariates: Mapping[str, Any] | None = None,
        random_state: RandomState = None,
    ) -> Prediction:
        """Full-depth counts from thinned ones.

        Args:
            X: Counts (n, features) of which each unit was kept with probability `survival`.
            survival: That probability, in (0, 1): the depth of X over that of the training.
            draws: How many draws for each row.
            covariates: Values by name, in place of those that come with X.
            random_state: Seed, or generator.
        """
        transport, given = self._fitted(), self._read(X)
        t = transport.process.observed_time(survival)
        x, condition = given.x, given.told(self.covariates_, covariates)
        generator = self._generator(random_state)
        made = restore(
            transport, x, t, draws=draws, condition=condition, generator=generator, **self._walk
        )
        single = expected(transport, x, t, condition=condition)
        return Prediction(Restoration(given.back(made.draws)), given.back(single), given.table)

    def impute(
        self,
        X: Any,
        observed: Any = None,
        *,
        draws: int = DRAWS,
        covariates: Mapping[str, Any] | None = None,
        random_state: RandomState = None,
    ) -> Prediction:
        """Missing entries from the others of their row.

        Args:
            X: Counts (n, features), NaN where they are missing.
            observed: Or else a mask of what was measured, (n, features) bool.
            draws: How many draws of each missing entry.
            covariates: Values by name, in place of those that come with X.
            random_state: Seed, or generator.

        Raises:
            ValueError: If nothing says which entries are missing.
        """
        transport, read = self._fitted(), self._read(X, missing=True)
        mask = measured(read.table, observed)
        x, mask, condition = read.x, read.ordered(mask), read.told(self.covariates_, covariates)
        index = torch.arange(len(x)).repeat_interleave(draws)
        told = None if condition is None else condition[index]
        generator = self._generator(random_state)
        made = transport.impute(
            x[index], mask[index], condition=told, generator=generator, **self._walk
        )
        found = Restoration(read.back(Restoration.of_rows(made, draws).draws))
        # What the network expects at time 0, before anything has come to be, is less accurate.
        return Prediction(found, found.mean, read.table)

    def score_samples(
        self, X: Any, *, draws: int = BLOCK, covariates: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """A lower bound on the log-probability of each row, in nats: (n,).

        Args:
            X: Counts (n, features).
            draws: How often the network looks at each row; the error falls with it.
            covariates: Values by name, in place of those that come with X.
        """
        transport, given = self._fitted(), self._read(X)
        x, condition = given.x, given.told(self.covariates_, covariates)
        generator = torch.Generator().manual_seed(derive("score"))
        bound = transport.log_likelihood(x, condition=condition, draws=draws, generator=generator)
        return bound.nats.cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`, which higher is better of; for `cross_val_score`."""
        return float(self.score_samples(X).mean())

    # Files

    def save(self, directory: str | Path) -> None:
        """Write the model to a folder: safetensors and JSON, no pickle."""
        transport, folder = self._fitted(), Path(directory)
        params = {name: to_config(value) for name, value in self.get_params().items()}
        if not isinstance(self.random_state, int):
            params["random_state"] = None  # the state of a generator is not part of a model
        sizes = None if self.library_size is None else self.library_sizes_.tolist()
        if folder == Path():
            raise ValueError(f"the folder of a model is {str(directory)!r}; give it a name")
        with Facts(params, self.kind_, self._names, sizes).written(folder):
            transport.save_pretrained(folder / "model", card={"written by": "CountModel"})

    @classmethod
    def load(cls, directory: str | Path) -> CountModel:
        """Read what `save` wrote, or the run folder of `markovbridge train TABLE`.

        Raises:
            FileNotFoundError: If there is no such model.
            ValueError: If a file is damaged.
        """
        facts = Facts.read(Path(directory), arguments(cls))
        model = cls(**facts.params)
        model.kind_ = facts.kind
        model.transport_ = Transport.from_pretrained(Path(directory) / "model")
        model.covariates_ = model.transport_.covariates
        (model.n_features_in_,) = model.transport_.shape
        if facts.features is not None:
            model.feature_names_in_ = np.array(facts.features, dtype=object)
            model.transport_.site_names = list(facts.features)
        if facts.library_sizes is not None:
            model.library_sizes_ = np.array(facts.library_sizes)
        return model

    # Inside

    @property
    def _names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else names.tolist()

    @property
    def _walk(self) -> dict[str, Any]:
        """How a fitted model walks: with steps that choose themselves, and none of its own."""
        return {"steps": 1, "sampler": Adaptive(self.tolerance)}

    def _fitted(self) -> Transport:
        if not hasattr(self, "transport_"):
            raise ValueError("this CountModel is not fitted yet: call fit(X) first")
        return self.transport_

    def _read(self, X: Any, missing: bool = False) -> GivenTable:
        """A table of the features that the model knows."""
        encoding = self.covariates_
        names = [] if encoding is None else [column.name for column in encoding.columns]
        table = read_object(X, layer=self.layer, known=names, missing=missing)
        return GivenTable.of(table, self._names, self.n_features_in_)

    def _condition(self, values: Mapping[str, Any], n: int) -> Tensor | None:
        if self.covariates_ is None:
            if values:
                raise ValueError(f"the model was fitted without covariates, not {list(values)}")
            return None
        return self.covariates_.encode(values, n)

    def _generator(self, random_state: RandomState) -> torch.Generator:
        return generator_of(self.random_state if random_state is None else random_state)


doors.guard(__name__, own=("covariates",))
