"""Options that a file gives: read, and checked before anything is made of them.

A recipe, or the configuration of a run, may be somebody else's. It may name classes of this
package and hold plain values; a class of one's own has to be named by whoever runs it:

    markovbridge train recipe.yaml --network mypackage.Net
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from markovbridge.recipes.options.words import pairs
from markovbridge.storage.documents import PlainLoader, read_yaml
from markovbridge.storage.errors import UsageError
from markovbridge.storage.parts import ForeignClass, Named, foreign, options
from markovbridge.storage.public_names import renamed


def read(file: Path, owner: type, words: Sequence[str], own: Sequence[str]) -> dict[str, Any]:
    """The options that a file gives.

    Args:
        file: The file.
        owner: The class whose fields the options are.
        words: Options as they were given on the command line.
        own: Options of the command line alone.

    Raises:
        UsageError: If the file is damaged, or holds what it may not, naming it.
    """
    try:
        content = read_yaml(file)
        if said := next((name for name in own if name in content), None):
            raise ValueError(
                f"{file}: {said} is for the command line alone, as --{said}: no file decides "
                "what is written where"
            )
        return options(renamed(content), owner, "", _named(words))
    except ForeignClass as error:
        raise UsageError(f"{file}: {own_class(error)}") from error
    except ValueError as error:
        where = "" if str(error).startswith(str(file)) else f"{file}: "
        raise UsageError(f"{where}{error}") from error


def own_class(error: ForeignClass) -> str:
    """That a file names a class that is not of this package, and how the user can."""
    return (
        f"{error.place} is {error.path}, which is not part of markovbridge, and a file may not "
        f"name other code to run: if it is yours, name it with --{error.place} {error.path}"
    )


def _named(words: Sequence[str]) -> dict[str, Named]:
    """The classes of the user's own that the command line names, by their place."""
    found = {}
    for name, value in pairs(words):
        keys = [key for key in name.split(".") if key != "init_args"]
        if keys[-1] == "class_path":
            keys.pop()
        path = _path(value or "")
        if path is not None:
            found[".".join(keys)] = Named(path, partial(_load, path))
    return found


def _path(value: str) -> str | None:
    """The class that a value of the command line names, alone or with its options."""
    try:
        said = yaml.load(value, Loader=PlainLoader)
    except yaml.YAMLError:
        return None
    path = said.get("class_path") if isinstance(said, dict) else said
    return path if isinstance(path, str) and path.replace(".", "").isidentifier() else None


def _load(path: str) -> Any:
    """A class of their own that the user names, or None if there is no such class."""
    if not foreign(path):
        return None
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):  # of which jsonargparse will complain
        return None
