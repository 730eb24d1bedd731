"""Files below a folder, by a pattern. Nothing is read here, and nothing needs torch.

Links are followed, to files and to folders, but for a link to a folder that it lies in itself.
What begins with a dot is hidden and left out, as Jupyter's `.ipynb_checkpoints`, unless the
pattern names it so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

MOST = 10  # names in one message


class FoundFile(NamedTuple):
    """A file that matches, or a hidden file or folder that was left out."""

    path: Path
    hidden: bool


def below(folder: Path, pattern: str) -> Iterator[FoundFile]:
    """The files below a folder, and what is hidden there, in the order of their names.

    Args:
        folder: The folder.
        pattern: Parts with `/` between them: `*` and `?` stand for letters of a name, `**` for
            any number of folders; `.` is the folder itself.
    """
    wanted = [part for part in pattern.split("/") if part not in ("", ".")]
    return _below(folder, (), wanted, (os.path.realpath(folder),))


def again(paths: Iterable[Path]) -> list[Path]:
    """Those paths that lead, by links, to the file of an earlier one."""
    folders: dict[Path, str] = {}
    seen: set[str] = set()
    found = []
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = os.path.realpath(path.parent)
        linked = path.is_symlink()
        real = os.path.realpath(path) if linked else os.path.join(folders[path.parent], path.name)
        if real in seen:
            found.append(path)
        seen.add(real)
    return found


def listed(names: Sequence[object]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{', '.join(map(str, names[:MOST]))}{more}"


def _below(
    folder: Path, parts: tuple[str, ...], wanted: list[str], inside: tuple[str, ...]
) -> Iterator[FoundFile]:
    """As `below`: `parts` lead from there to this folder, which lies in those `inside`."""
    named = any(_hidden(part) for part in wanted)
    for path in sorted(folder.iterdir()):
        here = (*parts, path.name)
        if _hidden(path.name) and not named:
            yield FoundFile(path, hidden=True)
        elif not path.is_dir():
            if _matches(here, wanted):
                yield FoundFile(path, hidden=False)
        elif (real := os.path.realpath(path)) not in inside:
            yield from _below(path, here, wanted, (*inside, real))


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the parts of a path are those of a pattern."""
    if not wanted or not parts:
        return not parts and all(part == "**" for part in wanted)
    first, *rest = wanted
    if first == "**":
        further = not _hidden(parts[0]) and _matches(parts[1:], wanted)
        return further or _matches(parts, rest)
    shown = _hidden(first) or not _hidden(parts[0])
    return shown and fnmatch(parts[0], first) and _matches(parts[1:], rest)
