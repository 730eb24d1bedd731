"""Synthetic data in place of those of a recipe, which need not be on this machine."""

from __future__ import annotations

import dataclasses

import torch

from markovbridge.couplings import Coupling, Data, Independent, MinibatchOT
from markovbridge.data import Dataset, Source
from markovbridge.data.covariates import Covariates
from markovbridge.data.synthetic import stand_in
from markovbridge.recipes.recipe import Recipe, covariates_of
from markovbridge.storage.errors import UsageError


def rehearsed(recipe: Recipe) -> tuple[Recipe, Dataset]:
    """A recipe whose data, and those of whose coupling, are synthetic, and the data.

    Raises:
        UsageError: If the network is told covariates and the data have none.
    """
    made = stand_in(recipe.data, recipe.split)
    dataset = made.load("all")
    if recipe.data.pairs:
        other = dataclasses.replace(made, seed=1).load("all")
        dataset = dataclasses.replace(dataset, start=other.x)
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
    made = stand_in(source.source, source.split)
    return dataclasses.replace(coupling, source=Data(made, "all"))


def _covariates(data: Source, split: str) -> Covariates:
    """The covariates of a source, which need not be on this machine.

    Raises:
        UsageError: If it has none.
    """
    known = data.load(split) if data.here else None
    encoding = (
        covariates_of(known, "covariates") if known is not None else data.outline().covariates
    )
    if encoding is None:
        raise UsageError("condition is covariates, but the data name none: --data.covariates")
    return encoding


def availability(data: Source) -> str:
    """Whether the data are on this machine, and what brings them."""
    if not data.here:
        return f"{data!r}, not on this machine: {data.remedy}"
    place = data.where()
    return repr(data) if place is None else f"{data!r}, in {place}"
