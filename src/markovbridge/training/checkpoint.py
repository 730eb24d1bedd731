"""Checkpoints that are either whole or recognised as damaged.

A checkpoint is a folder

    step-00000500/
        model.safetensors  ema.safetensors  optimizer.safetensors
        state.json

that is written and deleted as `markovbridge.storage.files` does it, so a process killed
at any moment leaves the checkpoints before it as they were. `state.json` holds
the size and SHA-256 of every file and of itself; reading checks them all before
anything is used, so a checkpoint that is whole counts under its hidden name too.
No pickle is involved.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from markovbridge import doors
from markovbridge.storage.documents import load_json
from markovbridge.storage.files import (
    discard,
    leftover,
    make_folder,
    move,
    put,
    read_bytes,
    sealed,
    settle,
    unsealed,
    written_folder,
)
from markovbridge.storage.reading import reading
from markovbridge.storage.reading import tensors as tensors_of

FORMAT = 1
NAME = re.compile(r"step-(\d{8,})")
STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint in memory.

    Attributes:
        path: Its folder.
        state: What `write` was given as `state`.
        tensors: What `write` was given as `tensors`: for each file its tensors by name.
    """

    path: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def write(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint atomically.

    Args:
        folder: Where the checkpoints of a run are.
        step: Steps done.
        tensors: For each file, without its ending, the tensors by name.
        state: Whatever else there is, as JSON can hold it.

    Returns:
        The folder of the checkpoint.
    """
    make_folder(folder)
    path = folder / f"step-{step:08d}"
    files = {}
    with written_folder(path) as fresh:
        for name, group in tensors.items():
            # Copies: safetensors refuses tensors that share memory, as tied weights do.
            copies = {
                key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for key, value in group.items()
            }
            content = save(copies)
            put(fresh / f"{name}.safetensors", content)
            files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        record = {"format": FORMAT, "state": dict(state), "files": files}
        put(fresh / STATE, sealed(record).encode())
    return path


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in `folder`, intact or not, oldest first."""
    if not folder.is_dir():
        return []
    found = (NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_dir())
    return sorted(int(match[1]) for match in found if match)


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint.

    Returns:
        The checkpoint, or None if there is none at all; and what is wrong with each
        newer one, newest first, naming it.

    Raises:
        ValueError: If there are checkpoints and all of them are damaged.
    """
    complaints: list[str] = []
    for path in _candidates(folder):
        try:
            return read(path), complaints
        except ValueError as error:
            if leftover(path) is None:  # what a killed process began need not be whole
                complaints.append(str(error))
    if complaints:
        raise ValueError(
            f"No checkpoint in {folder} is intact, so there is nothing to continue from: "
            + " ".join(complaints)
        )
    return None, complaints


def read(path: Path) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises:
        ValueError: If it is damaged, naming it and what is wrong.
    """
    try:
        record, tensors = _record(path), {}
        for name, expected in record["files"].items():
            file = f"{Path(name).name}.safetensors"
            content = read_bytes(path / file)
            if len(content) != expected["bytes"]:
                raise ValueError(f"{file} has {len(content)} bytes instead of {expected['bytes']}")
            if hashlib.sha256(content).hexdigest() != expected["sha256"]:
                raise ValueError(f"the SHA-256 of {file} is not the one in {STATE}")
            tensors[name] = tensors_of(path / file, content)
        return Checkpoint(path=path, state=record["state"], tensors=tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}" if type(error) is not ValueError else error
        raise ValueError(f"Checkpoint {path} is damaged ({reason}).") from error


def newest_state(folder: Path) -> dict[str, Any] | None:
    """The state of the newest checkpoint whose state is intact, of which no tensor is read.

    Returns:
        What `write` was given as `state`; None if there is none.
    """
    for path in _candidates(folder):
        try:
            return _record(path)["state"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # what is wrong with it, `latest` says
    return None


def _record(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, checked."""
    with reading(path / STATE):
        record = load_json(path / STATE)
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']}, this version reads {FORMAT}")
        return unsealed(record)


def set_aside(folder: Path, after: int) -> None:
    """Rename the checkpoints newer than step `after`, all damaged, to `damaged-step-...`."""
    for step in steps(folder):
        if step > after:
            _damaged(folder / f"step-{step:08d}")


def prune(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the newest `keep`, and what killed processes left behind."""
    for step in steps(folder)[:-keep]:
        discard(folder / f"step-{step:08d}")
    for path in folder.iterdir() if folder.is_dir() else ():
        if name := leftover(path):
            settle(folder / name)


def adopt(found: Checkpoint) -> Checkpoint:
    """Give a checkpoint that was found under a hidden name its own.

    Returns:
        The checkpoint with the path it has then.
    """
    name = leftover(found.path)
    if name is None:
        return found
    path = found.path.with_name(name)
    if path.exists():
        _damaged(path)
    move(found.path, path)
    return replace(found, path=path)


def _candidates(folder: Path) -> list[Path]:
    """What may be a checkpoint, newest first, of one step first that of its own name."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        hidden = leftover(path)
        match = NAME.fullmatch(hidden or path.name)
        if match and path.is_dir():
            found.append((int(match[1]), hidden is None, path.name, path))
    return [path for *_, path in sorted(found, reverse=True)]


def _damaged(path: Path) -> None:
    """Rename a damaged checkpoint, which is kept for whoever wants to look at it."""
    aside = path.with_name(f"damaged-{path.name}")
    discard(aside)
    move(path, aside)


doors.guard(__name__, inside=("read", "set_aside"))
