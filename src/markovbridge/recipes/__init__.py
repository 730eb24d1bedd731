"""Recipes: one YAML file for each experiment, the options of `markovbridge train`.

A recipe starts with a comment: its first line says what it is, the others where
it is from and what it costs. `load` makes an object of one:

    >>> import markovbridge
    >>> recipe = markovbridge.recipes.load("digits", {"network.width": 64})
    >>> transport = recipe.transport(recipe.dataset())
    >>> transport.shape
    (1, 8, 8)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markovbridge.recipes.files import describe, find, names

if TYPE_CHECKING:
    from markovbridge.recipes.recipe import Recipe

__all__ = ["describe", "find", "load", "names"]


def load(name: str | Path, options: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe as an object: its data, process, network, head and objective, and its training.

    Args:
        name: As of `find`; or the path of a table of counts, for the recipe `table`.
        options: Options that replace those of the recipe, by name, as plain values:
            {"network.width": 8, "process.schedule": "LinearSchedule"}.

    Raises:
        ValueError: If there is no such recipe or option, or it cannot be what was given.
    """
    from markovbridge.recipes import loading  # which needs torch, as names and files do not

    return loading.load(name, options)
