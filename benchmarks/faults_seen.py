"""Operations on the files of a folder: seen, counted, and made to fail; and what files hold."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["DIED", "LOGS", "Operations", "digest", "hidden", "names", "outcome"]

DIED = 99
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
GROWING = {"open", "append", "mkdir", "sync"}  # what needs room on the disk
FOLDERS = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2}  # place of the folder's descriptor
LOGS = {"metrics.jsonl", "log.txt"}  # which grow line by line under their own names


@dataclass
class Operations:
    """What happens to a folder in this process, and what is to fail.

    Args:
        folder: The folder.
        stop: Number of the operation that fails, from 0; None for none.
        mode: How.
    """

    folder: Path
    stop: int | None = None
    mode: str = "kill"

    def __post_init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        # What took its real name by being renamed: contents of files, names in folders, sizes.
        self.files: set[tuple[str, str]] = set()
        self.folders: set[tuple[str, str]] = set()
        self.sizes: set[int] = set()
        self.synced: set[Path] = set()
        self.full = self.quiet = False
        self._sync = os.fsync
        os.fsync = self.fsync
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """See what Python is about to do."""
        if self.quiet:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or not (flags or 0) & WRITING:
                return
            self.operation("append" if flags & os.O_APPEND else "open", self._path(path, -1))
        elif event == "os.rename":
            target = self._path(arguments[1], arguments[3])
            self.operation("rename", target)
            if self.stop is None and self._inside(target):
                self.quiet = True
                self.learn(self._path(arguments[0], arguments[2]), target)
                self.quiet = False
        elif event in FOLDERS:
            path = self._path(arguments[0], arguments[FOLDERS[event]])
            self.operation(event.removeprefix("os."), path)

    def fsync(self, descriptor: int) -> None:
        """Instead of `os.fsync`, which tells no hook."""
        self.operation("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    def operation(self, kind: str, path: Path) -> None:
        """Count an operation on the folder, and let it fail if it is its turn."""
        (self.synced.add if kind == "sync" else self.synced.discard)(path)
        if not self._inside(path):
            return
        number = len(self.seen)
        self.seen.append((kind, str(path.relative_to(self.folder))))
        if self.full and kind in GROWING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if number != self.stop:
            return
        if self.mode != "kill":
            self.quiet = True
            if (
                kind == "sync"
                and path.is_file()
                and (self.mode == "torn" or path.name not in LOGS)
            ):
                os.truncate(path, path.stat().st_size // 2)
            if kind == "append" and self.mode == "torn":
                with path.open("ab") as file:
                    file.write(b'{"step": 1')
            self.quiet = False
        if self.mode != "full":
            os._exit(DIED)
        self.full = True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def learn(self, source: Path, target: Path) -> None:
        """Remember what is about to take its real name."""
        if hidden(target.relative_to(self.folder)):
            return
        for path in (source, *source.rglob("*")):
            name = target / path.relative_to(source)
            where = str(name.relative_to(self.folder))
            if path not in self.synced:
                raise AssertionError(f"{where} takes its name before it is on the disk")
            if path.is_dir():
                self.folders.add((where, names(path)))
            else:
                self.files.add((where, digest(path, name.name)))
                self.sizes.add(path.stat().st_size)

    def _inside(self, path: Path) -> bool:
        return path == self.folder or self.folder in path.parents

    def _path(self, path: Any, descriptor: int | None) -> Path:
        path = Path(os.fsdecode(path))
        if not path.is_absolute() and descriptor is not None and descriptor >= 0:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}")) / path
        return path.absolute()


def outcome(folder: Path) -> dict[str, Any]:
    """All that is in a folder, times apart."""
    return {
        str(path.relative_to(folder)): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.txt"
    }


def hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def names(folder: Path) -> str:
    return " ".join(sorted(path.name for path in folder.iterdir()))


def digest(path: Path, name: str) -> str:
    """What tells a file, whatever it is called now, from others, times apart."""
    try:
        return hashlib.sha256(repr(content(path, name)).encode()).hexdigest()
    except (OSError, ValueError, KeyError, EOFError) as error:
        return f"damaged: {error}"


def content(path: Path, name: str | None = None) -> Any:
    kind = Path(name or path.name)
    if kind.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
        meta = json.loads(str(arrays.pop("meta", "{}")))
        meta.pop("seconds", None)
        arrays.pop("seconds", None)
        return meta, {k: (v.dtype.str, v.shape, v.tobytes()) for k, v in arrays.items()}
    if kind.name == "metrics.jsonl":
        lines = map(json.loads, path.read_text().splitlines())
        return [{k: v for k, v in line.items() if not k.endswith("_s")} for line in lines]
    if kind.name == "state.json":
        record = json.loads(path.read_text())
        record["state"].pop("elapsed_s")
        return record | {"sha256": None}
    if kind.name == "config.yaml":  # which says itself what differs
        return path.read_text()
    if kind.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return hashlib.sha256(path.read_bytes()).hexdigest()
