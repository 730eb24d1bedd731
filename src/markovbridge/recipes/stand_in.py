"""Synthetic data in place of those of a recipe, which need not be on this machine."""

from __future__ import annotations

import dataclasses

import torch

from markovbridge.couplings import Coupling, Data, Independent, MinibatchOT
from markovbridge.data import (
    CIFAR10,
    IDX,
    Binarised,
    CountTable,
    Dataset,
    ImageFolder,
    Selected,
    Source,
    Synthetic,
)
from markovbridge.data.cifar import EVENT
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.data.idx import KNOWN
from markovbridge.options.errors import UsageError
from markovbridge.recipes.recipe import Recipe, covariates_of

__all__ = ["availability", "rehearsed", "stand_in"]

SAMPLES = 16
FEATURES = 1000  # of a table that is not on this machine


def stand_in(data: Source, split: str) -> Synthetic:
    """Synthetic data of the shape of a source, which need not be on this machine."""
    inner = data.source if isinstance(data, Binarised | Selected) else data
    shape, maximum = None, 255
    if isinstance(inner, CIFAR10):
        shape = EVENT
    elif isinstance(inner, ImageFolder):
        shape = (inner.channels, inner.size, inner.size)
    elif isinstance(inner, IDX) and inner.name in KNOWN:
        shape = (1, *KNOWN[inner.name].event)
    elif isinstance(inner, CountTable) and not _here(inner):
        shape = (FEATURES,)
    if shape is None:
        dataset = data.load(split)
        shape, maximum = dataset.shape, dataset.maximum or 255
    if isinstance(data, Binarised):
        maximum = 1
    return Synthetic(shape=shape, maximum=maximum, n=SAMPLES)


def rehearsed(recipe: Recipe) -> tuple[Recipe, Dataset]:
    """A recipe whose data, and those of whose coupling, are synthetic, and the data.

    Raises:
        UsageError: If the network is told covariates and the data have none.
    """
    dataset = stand_in(recipe.data, recipe.split).load("all")
    if recipe.condition == "covariates":
        encoding = _covariates(recipe.data, recipe.split)
        average = torch.zeros(len(dataset), len(encoding.names))
        dataset = dataclasses.replace(dataset, covariates=encoding, condition=average)
    return dataclasses.replace(recipe, coupling=_rehearsed(recipe.coupling)), dataset


def _rehearsed(coupling: Coupling | None) -> Coupling | None:
    """The coupling, with synthetic data if its source is a data set."""
    source = getattr(coupling, "source", None)
    if not isinstance(source, Data):
        return coupling
    assert isinstance(coupling, Independent | MinibatchOT)
    return dataclasses.replace(coupling, source=Data(stand_in(source.source, source.split), "all"))


def _covariates(data: Source, split: str) -> Covariates:
    """The covariates of a source, which need not be on this machine.

    Raises:
        UsageError: If it has none.
    """
    inner = data.source if isinstance(data, Binarised | Selected) else data
    if not isinstance(inner, CountTable) or _here(inner):
        encoding = covariates_of(data.load(split), "covariates")
        assert encoding is not None
        return encoding
    if not inner.covariates:
        raise UsageError("condition is covariates, but the data name none: --data.covariates")
    # Their levels are not known here, so each counts as one number.
    return Covariates(tuple(Covariate(name) for name in inner.covariates))


def availability(data: Source) -> str:
    """Whether the data are on this machine, and what brings them."""
    inner = data.source if isinstance(data, Binarised | Selected) else data
    if isinstance(inner, CountTable):
        return repr(data) if _here(inner) else f"{data!r}, not on this machine: {inner.path}"
    if not isinstance(inner, IDX | CIFAR10 | ImageFolder):
        return repr(data)
    try:
        return f"{data!r}, in {inner.folder()}"
    except FileNotFoundError:
        return f"{data!r}, not on this machine: {inner.remedy}"


def _here(table: CountTable) -> bool:
    """Whether a table is on this machine."""
    try:
        return table.file().exists()
    except FileNotFoundError:
        return False
