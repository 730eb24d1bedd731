"""What takes long to compute, kept for the next time: a cache, of which every file may be deleted.

    kept = Kept(usual() / "references", {"data": "sha256:..."})
    mean = kept.made("mean", compute=..., packed=..., unpacked=...)

A file is a function of what it is of: of the entries of `about` and of its name. It is taken only
if it says that it is of just that, if the SHA-256 that it holds is the one of its arrays, and if
they can be unpacked. Else it is damaged: that is said, and its content is computed again and
replaces it. Where a folder cannot be written to, or another process is writing the same, nothing
is kept and nothing fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from markovbridge import doors
from markovbridge.storage.files import make_folder, put_arrays, to_json, written
from markovbridge.storage.locks import locked
from markovbridge.storage.reading import array_file

VARIABLE = "MARKOVBRIDGE_CACHE"
VERSION = 1  # of what is computed: another one makes older files those of something else
FACTS = ("about", "sha256")

T = TypeVar("T")


def usual() -> Path:
    """The folder of caches: that of MARKOVBRIDGE_CACHE, or else of XDG_CACHE_HOME or ~/.cache."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "markovbridge"


class Kept:
    """What was computed of some things, by name.

    Args:
        folder: Where files are, or are to be; None keeps nothing.
        about: What all of it is of, by name.
    """

    def __init__(self, folder: Path | None, about: Mapping[str, str]) -> None:
        self.folder = folder
        self.about = dict(about)

    def made(
        self,
        name: str,
        *,
        compute: Callable[[], T],
        packed: Callable[[T], Mapping[str, np.ndarray]],
        unpacked: Callable[[dict[str, np.ndarray]], T],
    ) -> T:
        """What was kept under a name, or else what is computed, which is kept from now on.

        Args:
            name: What it is, and all that it depends on beside `about`.
            compute: Makes it.
            packed: It as arrays of numbers.
            unpacked: The way back; raises ValueError, TypeError or KeyError if arrays are not
                those of such a thing.

        Returns:
            It. What is read is what was computed, to the last bit.
        """
        if self.folder is None:
            return compute()
        about = to_json({"version": VERSION, **self.about, "name": name})
        path = self.folder / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.npz"
        if path.is_file():
            try:
                return unpacked(_read(path, about))
            except (ValueError, TypeError, KeyError) as error:
                warnings.warn(
                    f"{name} is computed again: {' '.join(str(error).split())}", stacklevel=2
                )
        found = compute()
        _write(path, about, packed(found))
        return found


def _read(path: Path, about: str) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises:
        ValueError: If it is damaged, or of something else.
    """
    with array_file(path, "is damaged", named=True, remedy="") as file:
        found = {name: file[name] for name in file.names or ()}
        facts = {name: str(found.pop(name)) for name in FACTS}
        if json.loads(facts["about"]) != json.loads(about):
            raise ValueError("it is of something else than its name says")
        if facts["sha256"] != digest(found):
            raise ValueError("its arrays are not those that were written")
    return found


def _write(path: Path, about: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file, whole or not at all; nothing if it cannot be written."""
    try:
        make_folder(path.parent)
        with locked(path.parent, path.stem), written(path) as fresh:
            facts: dict[str, Any] = {"about": about, "sha256": digest(arrays)}
            told = {name: np.array(text) for name, text in facts.items()}
            put_arrays(fresh, {**told, **arrays}, compressed=False)
    except OSError:
        return


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """What tells arrays, their names, shapes and types, from others."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return f"sha256:{found.hexdigest()}"


doors.guard(__name__)
