"""A recipe as an object: the choices that make a model of data, and how it is trained.

    >>> import markovbridge
    >>> from markovbridge.training import Trainer
    >>> recipe = markovbridge.recipes.load("digits", {"network.width": 64, "trainer.steps": 5000})
    >>> dataset = recipe.dataset()
    >>> transport = recipe.transport(dataset)
    >>> trainer = Trainer(transport, recipe.examples(dataset, transport), recipe.trainer)
    >>> trainer.config.steps  # trainer.run() does them
    5000

All that is random is a function of `trainer.seed`: the first weights too, which torch draws from
its global generator, whose state is put back afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from markovbridge.couplings import Coupling, Noised
from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.rows import Rows, parts
from markovbridge.doors.randomness import derive
from markovbridge.exact import BaseFit, DataLaw
from markovbridge.heads import Head
from markovbridge.processes import Process
from markovbridge.samplers.extrapolation import extremes
from markovbridge.samplers.known_sites import Masking
from markovbridge.storage.errors import UsageError
from markovbridge.training import Examples, TrainingConfig
from markovbridge.transport import Transport, features
from markovbridge.transport import statistics as measure
from markovbridge.transport.objectives import Objective

TRAINER = TrainingConfig()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, on what, and how.

    Attributes:
        data: Where the data come from.
        process: The reference process.
        network: The network, built for the shape of the data.
        head: How the network's output becomes a law of the data given the state.
        objective: The loss.
        coupling: Which source goes with which data. Without it, Noised: time reversal.
        split: The part of the data to train on.
        statistics: Over what mean and variance of the data are taken, which the network's
            input is standardised with: each site alone, a channel, or everything.
        condition: What the network is told of each sample: none, its class (labels), or the
            covariates of the data.
        condition_dropout: Share of the training samples that lose their condition, so that
            the network also learns to do without; guidance needs that.
        base: What the network corrects: the closed form of independent sites with the mean and
            variance of the data (moments), or one that is fitted to the training data first, such
            as FitMixture for tables of counts. Without it, null, the head's own start.
        masking: Show the network a random part of each training sample, for `impute`, such as
            --masking.pattern mixed. Without it, none.
        trainer: training: steps, batches, learning rate, what is written when
    """

    data: Source
    process: Process
    network: Callable[[tuple[int, ...], int, int], nn.Module]
    head: Head
    objective: Objective
    coupling: Coupling | None = None
    split: Literal["train", "validation", "test", "all"] = "train"
    statistics: Literal["site", "channel", "all"] = "site"
    base: BaseFit | Literal["moments"] | None = "moments"
    condition: Literal["none", "labels", "covariates"] = "none"
    condition_dropout: float = 0.1
    masking: Masking | None = None
    trainer: TrainingConfig = TRAINER

    def __post_init__(self) -> None:
        paired = self.coupling is not None and self.coupling.given
        if paired and not self.data.pairs:
            raise UsageError(
                f"the coupling is {type(self.coupling).__name__}, and {type(self.data).__name__} "
                "are no pairs: give --data Pairs with --data.x0 and --data.x1, folders of images "
                "or arrays, or --coupling Independent with a source of its own"
            )
        if self.data.pairs and not paired:
            raise UsageError(
                f"{type(self.data).__name__} are data in pairs, which are for --coupling Paired, "
                "or Paired with --coupling.preserve true"
            )

    def dataset(self) -> Dataset:
        """The training data."""
        return self.data.load(self.split)

    def transport(self, dataset: Dataset, *, base: DataLaw | None = None) -> Transport:
        """The untrained transport for a data set.

        Args:
            dataset: The training data.
            base: A law to correct in place of one that would be fitted to them.

        Raises:
            TypeError: If the network is no module.
            UsageError: If the data set does not know what the network is to be told.
            ValueError: If the data are no states of the process, naming the value.
        """
        process, head, masking = self.process, self.head, self.masking
        coupling = Noised() if self.coupling is None else self.coupling
        mean, variance = measure(_checked(dataset, process), self.statistics)
        covariates = covariates_of(dataset, self.condition)
        law = self.base
        if isinstance(law, BaseFit):
            told, seed = self._told(dataset, covariates), self.trainer.seed
            law = (
                law.told(process, dataset.x, told, covariates, seed=seed) if base is None else base
            )
        seen = features(process, coupling, base=law, masking=masking, head=head)
        size = {"condition": len(covariates.names)} if covariates else {}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.trainer.seed, "weights"))
            module = self.network(dataset.shape, seen, head.outputs(process), **size)
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"network gave a {type(module).__name__}; it must give a torch.nn.Module"
            )
        return Transport(
            process,
            module,
            head,
            shape=dataset.shape,
            mean=mean,
            variance=variance,
            coupling=coupling,
            objective=self.objective,
            base=law,
            covariates=covariates,
            condition_dropout=self.condition_dropout if covariates else 0.0,
            masking=masking,
        )

    def examples(self, dataset: Dataset, transport: Transport) -> Examples:
        """The samples of a data set, with what the network is told of each.

        Raises:
            UsageError: If entries are missing.
        """
        covariates = transport.covariates
        if dataset.observed is not None:
            raise UsageError(
                f"{dataset.name} has missing entries; train on complete rows, then impute"
            )
        told = self._told(dataset, covariates)
        return Examples(dataset.x, condition=told, source=dataset.start)

    def _told(self, dataset: Dataset, covariates: Covariates | None) -> Tensor | None:
        """What the network is told of each sample, (n, C)."""
        if covariates is None or self.condition == "covariates":
            return dataset.condition if covariates else None
        return covariates.encode({"label": dataset.known["label"]})


def covariates_of(dataset: Dataset, condition: str) -> Covariates | None:
    """What the network is told of each sample of a data set.

    Raises:
        UsageError: If the data set does not know it.
    """
    if condition == "none":
        return None
    if condition == "covariates":
        if dataset.covariates is None:
            raise UsageError(f"condition is covariates, but {dataset.name} has none")
        return dataset.covariates
    if dataset.labels is None:
        raise UsageError(f"condition is labels, but {dataset.name} has none")
    names = dataset.label_names
    if names is None:
        names = tuple(map(str, range(int(dataset.labels.max()) + 1)))
    return Covariates((Covariate("label", names),))


def _checked(dataset: Dataset, process: Process) -> Rows | Iterator[Tensor]:
    """The data, all or a few samples at a time, in the coordinates of the process.

    One pass checks and measures, for the data may have to be read from a file. Of rows that are
    not dense their extremes are looked at; what is wrong with one is found by looking at all.
    """
    if isinstance(dataset.x, Rows) and process.support is None:
        with contextlib.suppress(TypeError, ValueError):
            process.check(extremes(dataset.x))
            return dataset.x
    return _states(dataset, process)


def _states(dataset: Dataset, process: Process) -> Iterator[Tensor]:
    for rows in parts(dataset.x):
        states = process.check(rows, dataset.name)
        yield rows if process.support is None else states


def describe_data(dataset: Dataset) -> str:
    """A data set in a few words."""
    shape = "x".join(map(str, dataset.shape))
    kind = "reals" if dataset.x.is_floating_point() else "counts"
    top = "" if dataset.maximum is None else f" 0..{dataset.maximum}"
    return f"{dataset.name}, split {dataset.split}: {len(dataset):,} of {shape}, {kind}{top}"
