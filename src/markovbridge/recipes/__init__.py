"""Recipes: one YAML file for each experiment, the options of `markovbridge train`.

A recipe starts with a comment: its first line says what it is, the others where
it is from and what it costs. `load` makes an object of one:

    recipe = markovbridge.recipes.load("digits", {"network.width": 64})
    transport = recipe.transport(recipe.dataset())
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markovbridge.options.errors import closest

if TYPE_CHECKING:
    from markovbridge.recipes.recipe import Recipe

__all__ = ["describe", "find", "load", "names"]

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes of this package, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: Name of a recipe of this package, a YAML file, or a run folder, whose own
            configuration it then is.

    Raises:
        FileNotFoundError: If there is none, with the nearest name.
    """
    if name in names():
        return FOLDER / f"{name}.yaml"
    path = Path(name).expanduser()
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        reason = "it has no config.yaml" if path.is_dir() else "there is no such file"
        raise FileNotFoundError(f"no recipe {name}: {reason}")
    raise FileNotFoundError(
        f"there is no recipe {name!r}{closest(name, names())}; choose one of "
        f"{', '.join(names())}, or give the path of a YAML file"
    )


def describe(name: str) -> str:
    """The first line of a recipe of this package."""
    first = find(name).read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip()


def load(name: str | Path, options: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe as an object: its data, process, network, head and objective, and its training.

    Args:
        name: As of `find`; or the path of a table of counts, for the recipe `table`.
        options: Options that replace those of the recipe, by name, as plain values:
            {"network.width": 8, "process.schedule": "Linear"}.

    Raises:
        ValueError: If there is no such recipe or option, or it cannot be what was given.
    """
    from markovbridge.recipes import loading  # which needs torch, as names and files do not

    return loading.load(name, options)
