"""Checkpoints that are either whole or recognised as damaged.

A checkpoint is a folder

    step-00000500/
        model.safetensors  ema.safetensors  optimizer.safetensors
        state.json

written beside its destination, flushed to disk and moved into place by one
rename, so a process killed at any moment leaves the checkpoints before it as
they were. `state.json` holds the size and SHA-256 of every file and of itself;
reading checks them all before anything is used. No pickle is involved.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from markovbridge.files import to_json

__all__ = ["Checkpoint", "latest", "prune", "steps", "write"]

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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}"
    fresh = folder / f".{path.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    files = {}
    for name, group in tensors.items():
        # Copies: safetensors refuses tensors that share memory, as tied weights do.
        copies = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in group.items()
        }
        content = save(copies)
        _write(fresh / f"{name}.safetensors", content)
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record = json.loads(to_json({"format": FORMAT, "state": dict(state), "files": files}))
    text = to_json({**record, "sha256": _digest(record)}, indent=2)
    _write(fresh / STATE, text.encode())
    _flush(fresh)
    if path.exists():
        shutil.rmtree(path)
    os.rename(fresh, path)
    _flush(folder)
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
    for step in reversed(steps(folder)):
        try:
            return read(folder / f"step-{step:08d}"), complaints
        except ValueError as error:
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
        record = json.loads((path / STATE).read_text(encoding="utf-8"))
        digest = record.pop("sha256")
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']}, this version reads {FORMAT}")
        if digest != _digest(record):
            raise ValueError(f"{STATE} has changed since it was written")
        tensors = {}
        for name, expected in record["files"].items():
            file = f"{name}.safetensors"
            content = (path / file).read_bytes()
            if len(content) != expected["bytes"]:
                raise ValueError(f"{file} has {len(content)} bytes instead of {expected['bytes']}")
            if hashlib.sha256(content).hexdigest() != expected["sha256"]:
                raise ValueError(f"the SHA-256 of {file} is not the one in {STATE}")
            tensors[name] = load(content)
        return Checkpoint(path=path, state=record["state"], tensors=tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}" if type(error) is not ValueError else error
        raise ValueError(f"Checkpoint {path} is damaged ({reason}).") from error


def set_aside(folder: Path, after: int) -> None:
    """Rename the checkpoints newer than step `after`, all damaged, to `damaged-step-...`."""
    for step in steps(folder):
        if step > after:
            aside = folder / f"damaged-step-{step:08d}"
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(folder / f"step-{step:08d}", aside)


def prune(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the newest `keep`, and what killed processes left behind."""
    for step in steps(folder)[:-keep]:
        shutil.rmtree(folder / f"step-{step:08d}")
    for rest in folder.glob(".step-*.new"):
        shutil.rmtree(rest)


def _digest(record: Mapping[str, Any]) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    """Make the names in a folder durable, which on POSIX is separate from their content."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
