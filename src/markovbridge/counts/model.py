r"""A model of a count table in three lines, with the manners of scikit-learn.

    >>> table = np.random.default_rng(0).poisson([1.0, 5.0, 9.0], (80, 3))
    >>> model = CountModel(steps=2, base="moments").fit(table)  # steps=1500 without being told
    >>> model.sample(16).shape
    (16, 3)
    >>> model.restore(table[:4] // 2, survival=0.5).mean.shape
    (4, 3)

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

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from markovbridge import doors
from markovbridge.counts import fitting
from markovbridge.counts.files import Facts
from markovbridge.counts.given import checked, form_of
from markovbridge.counts.measuring import MeasuredModel
from markovbridge.counts.seeds import RandomState, seed_of
from markovbridge.counts.session import threaded, told, warn
from markovbridge.counts.told import by_name, encoded, named
from markovbridge.data.rows import totals as row_totals
from markovbridge.data.tables.objects import read_object
from markovbridge.data.tables.source import CountTable
from markovbridge.evaluation import calibration
from markovbridge.exact import BaseFit
from markovbridge.heads import Head
from markovbridge.samplers.known_sites import Masking
from markovbridge.storage.config import to_config
from markovbridge.storage.parts import arguments
from markovbridge.training import Trainer
from markovbridge.training.run_folder import RunFolder
from markovbridge.transport import Transport
from markovbridge.transport.objectives import Objective
from markovbridge.transport.saved import hash_weights


class CountModel(MeasuredModel):
    """A generative model of the rows of a count table.

    Args:
        network: "mlp", for tables of any width; or "attention" over the features, for up to a
            few hundred of them.
        width: Size of the hidden layers.
        depth: Number of blocks.
        head: The law of the remaining counts; `MeanHead(link="exp")` if None.
        objective: The loss; `PathKL(damping=1)` if None.
        base: What the network corrects: a mixture of negative binomials that is fitted to the
            training rows first ("mixture"; their number is chosen by rows held out), another
            `exact.BaseFit`, each feature's own negative binomial ("moments"), or None, nothing.
        library_size: "covariate" tells the network the total of each row; None does not.
        condition_dropout: Share of the training rows that are not told their covariates, and
            of the others each covariate.
        masking: Which entries are shown in training, for `impute`: "half" for a random part of
            them in half of the rows, a `Masking`, or None for none.
        steps: Training steps.
        batch_size: Rows of a training step.
        learning_rate: Its peak; it falls to 0 along a cosine.
        validation_fraction: Share of the rows, 2,048 at most, fewer of wide tables (280 of
            30,000 features), that are held out to choose the weights by: those of the step where
            the loss of these rows is lowest. With 0 all rows are trained on, and the last
            weights kept.
        ema: Decay of the average of the weights.
        tolerance: What a step of the adaptive sampler may cost, in nats per row: smaller is
            slower and nearer to the law of the model.
        layer: The layer of AnnData that holds the counts; None for X.
        random_state: Seed of training, and of draws that are given no `random_state`.
        threads: CPU threads of all methods, whose number is put back afterwards; None for as
            many as torch has.
        verbose: Whether training tells how far it is, in lines on stderr.

    Attributes:
        transport_: The fitted `Transport`.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the table had any.
        covariates_: How covariates are encoded, or None.
        library_sizes_: Quantiles of the totals of the training rows, if the network is told them.
        kind_: What samples come out as, one of `data.tables.objects.KINDS`.
        form_: How they hold their values: as the table of the training does.
        loss_: Loss of each training step.
        history_: What training told, a dictionary for each step that it told of: "step", "loss"
            (mean since the one before), "lr", "grad_norm", "samples_per_s", "elapsed_s", and
            "validation_loss", "best_step" and "best_loss" of rows held out.
        best_step_: The training step whose weights were kept.
        calibrations_: What `calibrate` has found, which intervals are corrected by.
    """

    def __init__(
        self,
        *,
        network: Literal["mlp", "attention"] = "mlp",
        width: int = 256,
        depth: int = 2,
        head: Head | None = None,
        objective: Objective | None = None,
        base: BaseFit | Literal["mixture", "moments"] | None = "mixture",
        library_size: Literal["covariate"] | None = None,
        condition_dropout: float = 0.1,
        masking: Masking | Literal["half"] | None = "half",
        steps: int = 1500,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        ema: float = 0.995,
        tolerance: float = 0.1,
        layer: str | None = None,
        random_state: RandomState = None,
        threads: int | None = None,
        verbose: bool | int = False,
    ) -> None:
        self.network = network
        self.width = width
        self.depth = depth
        self.head = head
        self.objective = objective
        self.base = base
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
        self.threads = threads
        self.verbose = verbose

    # Fitting

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        covariates: Any = None,
        categorical: Sequence[str] = (),
        directory: str | Path | None = None,
    ) -> CountModel:
        """Train on a table.

        Args:
            X: Counts (n, features); see the head of this module.
            y: Not used; here because scikit-learn passes it.
            covariates: What is known of each row: names of columns of X (`obs` of AnnData), or
                n values by name, as a data frame, a series or a dictionary. None for those that
                a `CountTable` names, and for nothing of other tables. Text and categories of
                pandas are categorical, numbers are continuous; a value may be missing.
            categorical: Those covariates that are categories although they are numbers, such as
                the numbers of clusters.
            directory: A folder for checkpoints and the log. The same call continues an
                interrupted training.

        Raises:
            ValueError: If a value is no count, or a parameter or covariate is not admissible.
        """
        params = self.get_params()
        fitting.check(params)
        if covariates is None and isinstance(X, CountTable):
            covariates = X.covariates or None
        table = read_object(checked(X), layer=self.layer, covariates=named(covariates))
        if len(table.x) < 2:
            raise ValueError("X has n_samples=1; a model is fitted to 2 rows at least")
        totals = row_totals(table.x)
        beside = by_name(covariates, table)
        for name in beside:
            if name in (table.column_names or ()):
                raise ValueError(
                    f"covariate {name!r} has the name of a feature: rename one of them"
                )
        library = self.library_size is not None
        encoding, condition = encoded(beside, totals, library, categorical)
        seed = seed_of(self.random_state)
        width = table.x.shape[1]
        training, held = fitting.held_out(len(table.x), self.validation_fraction, seed, width)
        data = fitting.examples(table.x, condition, training)
        with threaded(self.threads), told(self.verbose):
            trainer = Trainer(
                fitting.transport(data.x, data.condition, encoding, params, seed),
                data,
                fitting.plan(params, seed, validated=len(held) > 0),
                validation=fitting.examples(table.x, condition, held) if len(held) else None,
                directory=directory,
                resume=directory is not None,
            )
            loss = [state.loss for state in trainer]
        self.loss_ = torch.stack(loss).float().cpu().numpy() if loss else np.empty(0)
        self.history_ = fitting.by_step(trainer.log.records)
        self.transport_ = trainer.result.cpu()
        self.calibrations_ = []
        best = None if trainer.best is None else trainer.best.step
        self.best_step_ = trainer.step if best is None else best
        self.covariates_ = encoding
        self.kind_ = table.kind
        self.form_ = form_of(table, X, self.layer)
        self.n_features_in_ = int(table.x.shape[1])
        if table.column_names is not None:
            self.feature_names_in_ = np.array(table.column_names, dtype=object)
            self.transport_.site_names = list(table.column_names)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if library:
            self.library_sizes_ = fitting.quantiles(totals)
        elif hasattr(self, "library_sizes_"):
            del self.library_sizes_
        return self

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
        with Facts(params, self.kind_, self._names, sizes, self.form_).written(folder):
            transport.save_pretrained(folder / "model", card={"written by": "CountModel"})
            calibration.write(RunFolder(folder), self.calibrations_, hash_weights(transport))

    @classmethod
    def load(cls, directory: str | Path) -> CountModel:
        """Read what `save` wrote, or the run folder of `markovbridge train TABLE`.

        Raises:
            FileNotFoundError: If there is no such model.
            ValueError: If a file is damaged.
        """
        facts = Facts.read(Path(directory), arguments(cls))
        model = cls(**facts.params)
        model.kind_, model.form_ = facts.kind, facts.form
        model.transport_ = Transport.from_pretrained(Path(directory) / "model")
        model.covariates_ = model.transport_.covariates
        (model.n_features_in_,) = model.transport_.shape
        if facts.features is not None:
            model.feature_names_in_ = np.array(facts.features, dtype=object)
            model.transport_.site_names = list(facts.features)
        if facts.library_sizes is not None:
            model.library_sizes_ = np.array(facts.library_sizes)
        folder = RunFolder(Path(directory))
        model.calibrations_ = calibration.read(folder, hash_weights(model.transport_))
        if not model.calibrations_ and folder.record(calibration.NAME).is_file():
            warn(f"{folder.record(calibration.NAME)} is of other weights: calibrate them again")
        return model


doors.guard(__name__, own=("covariates",))
