"""Where data sets lie on this machine. Nothing is ever downloaded.

A data set called `name` is looked for in

1. the folder `root`, if one was given, and then nowhere else;
2. the folder `name` in the one that the environment variable MARKOVBRIDGE_DATA names;
3. /usr/share/datasets/`name`, where Debian's packages put theirs.

The first folder that holds every file of the data set is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

VARIABLE = "MARKOVBRIDGE_DATA"
SYSTEM = Path("/usr/share/datasets")


def locate(
    name: str, root: Path | None, missing: Callable[[Path], list[str]], remedy: str
) -> Path:
    """The folder that holds the data set `name`.

    Args:
        name: Name of the data set, which is its folder's name too.
        root: Its folder, or None to look where data sets usually are.
        missing: Called with a folder, returns what of the data set is not in it.
        remedy: What brings the data set, for the message.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If no folder has it; the message says what is missing, and what
            brings it.
    """
    candidates = [Path(root).expanduser()] if root is not None else default_folders(name)
    for folder in candidates:
        if not missing(folder):
            return folder
    tried = " and ".join(f"{folder} {lacks(folder, missing(folder))}" for folder in candidates)
    raise FileNotFoundError(f"data set {name!r} not found: {tried}; {remedy}")


def default_folders(name: str) -> list[Path]:
    """Folders where the data set `name` is looked for when no root is given."""
    folders = [SYSTEM / name]
    if os.environ.get(VARIABLE):
        folders.insert(0, Path(os.environ[VARIABLE]).expanduser() / name)
    return folders


def lacks(folder: Path, files: list[str]) -> str:
    """How to say that `folder` has no `files`."""
    return f"has no {', '.join(files)}" if folder.is_dir() else "is not a folder"
