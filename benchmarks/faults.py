"""Every operation on the files of a run fails once: what `interruption.py --faults` does.

A job, `markovbridge train` for example, runs once undisturbed, and its operations on the
folder are counted: each opening of a file to write, each flush to the disk, each folder made,
rename and deletion. Then it runs again for each of them, in a forked process that

    kill    ends right before the operation
    torn    ends when half of a file, or of a line of a log, is written
    full    finds the disk full from there on: half of the file is written, then errors

and once for each size of a file in a process that

    large   may write no larger file than one byte less, so that the system itself refuses the
            write, in whatever library it is

Right after that, every file under its real name must be whole, as it was or as it is to be, and
every folder of a model or a checkpoint complete; a full disk must be told in one line that
names the file. Then the job goes on, by the same command or with `--resume true`: everything
must come to the bytes of the undisturbed folder, times apart, with nothing left behind.

Operations are seen by Python's audit hooks, whoever makes them, and by `os.fsync`, which
every file goes through before it takes its name. What is done is in `faults_jobs.py`.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faults_jobs import JOBS, Job
from markovbridge.files import leftover
from markovbridge.locks import is_lock

DIED = 99
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
GROWING = {"open", "append", "mkdir", "sync"}  # what needs room on the disk
FOLDERS = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2}  # place of the folder's descriptor
MODES = ("kill", "torn", "full", "large")
LOGS = {"metrics.jsonl", "log.txt"}  # which grow line by line under their own names
FULL = "No space left|File too large"


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
        if _hidden(target.relative_to(self.folder)):
            return
        for path in (source, *source.rglob("*")):
            name = target / path.relative_to(source)
            where = str(name.relative_to(self.folder))
            if path.is_dir():
                self.folders.add((where, _names(path)))
            else:
                self.files.add((where, _digest(path, name.name)))
                self.sizes.add(path.stat().st_size)

    def _inside(self, path: Path) -> bool:
        return path == self.folder or self.folder in path.parents

    def _path(self, path: Any, descriptor: int | None) -> Path:
        path = Path(os.fsdecode(path))
        if not path.is_absolute() and descriptor is not None and descriptor >= 0:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}")) / path
        return path.absolute()


def forked(task: Callable[[], int]) -> tuple[int, str]:
    """Do something in a process of its own; its status and what it told on stderr."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status, told = 1, io.StringIO()
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(told):
                status = task()
        except OSError as error:
            told.write(f"error: {error.filename}: {error.strerror}\n")
        finally:
            os.set_inheritable(writing, False)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(told.getvalue().encode())
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def disturbed(job: Job, folder: Path, stop: int | None, mode: str) -> tuple[int, str]:
    """Run a job with one failure; its status, and what it told or, undisturbed, what it did.

    Args:
        job: The job.
        folder: What it works in.
        stop: Number of the operation that fails, None for none; of "large" the largest size.
        mode: How.
    """

    def task() -> int:
        if mode == "large":
            assert stop is not None
            resource.setrlimit(resource.RLIMIT_FSIZE, (stop, resource.RLIM_INFINITY))
            return job.run(folder)
        seen = Operations(folder, stop, mode)
        status = job.run(folder)
        if stop is None:
            found = [seen.seen, *(sorted(each) for each in (seen.files, seen.folders, seen.sizes))]
            print(json.dumps(found), file=sys.stderr)
        return status

    return forked(task)


def outcome(folder: Path) -> dict[str, Any]:
    """All that is in a folder, times apart."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.txt"
    }


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _names(folder: Path) -> str:
    return " ".join(sorted(path.name for path in folder.iterdir()))


def _digest(path: Path, name: str) -> str:
    """What tells a file, whatever it is called now, from others, times apart."""
    try:
        return hashlib.sha256(repr(_content(path, name)).encode()).hexdigest()
    except (OSError, ValueError, KeyError, EOFError) as error:
        return f"damaged: {error}"


def _content(path: Path, name: str | None = None) -> Any:
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


@dataclass(frozen=True)
class Undisturbed:
    """What a job does if nothing fails.

    Attributes:
        operations: Its operations: their kind and path.
        files: Paths in the folder with the contents that they may have, before and after.
        folders: Paths of folders that come as a whole with the names they may hold.
        sizes: Of the files.
        wanted: What may be in the folder in the end.
    """

    operations: list[tuple[str, str]]
    files: set[tuple[str, str]]
    folders: set[tuple[str, str]]
    sizes: list[int]
    wanted: list[dict[str, Any]]

    @classmethod
    def of(cls, job: Job, folder: Path) -> Undisturbed:
        """Run a job."""
        begin(job, folder)
        before = outcome(folder)
        files = {
            (str(path.relative_to(folder)), _digest(path, path.name)) for path in real(folder)
        }
        names = {str(path.relative_to(folder)): _names(path) for path in folder.rglob("*/")}
        status, told = disturbed(job, folder, None, "kill")
        assert status == 0, told
        operations, new, folders, sizes = json.loads(told.splitlines()[-1])
        wanted = [outcome(folder), *([before] if job.old else [])]
        whole = {(path, each) for path, each in folders}
        whole |= {(path, names[path]) for path, _ in folders if path in names}
        return cls(operations, files | {(p, d) for p, d in new}, whole, sizes, wanted)

    def torn(self, folder: Path, *, logs: bool) -> str | None:
        """What is in a folder that is neither as it was nor as it is to be, if anything is.

        Args:
            folder: The folder, right after a failure.
            logs: Whether logs are to be whole too.
        """
        for path in real(folder):
            name = str(path.relative_to(folder))
            if path.name in LOGS:
                if logs and path.stat().st_size and path.read_bytes()[-1:] != b"\n":
                    return f"half a line in {name}"
            elif (name, _digest(path, path.name)) not in self.files:
                return f"{name} is neither the old nor the new one"
        known = {name for name, _ in self.folders}
        for path in folder.rglob("*/"):
            name = str(path.relative_to(folder))
            if name in known and (name, _names(path)) not in self.folders:
                return f"{name} is not complete: {_names(path) or 'nothing'}"
        return None


def real(folder: Path) -> list[Path]:
    """The files in a folder that have their real names."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not _hidden(path.relative_to(folder)))


def begin(job: Job, folder: Path) -> None:
    """Put the folder of a job into the state from which it starts."""
    shutil.rmtree(folder, ignore_errors=True)
    job.start(folder)


def fault(job: Job, folder: Path, stop: int, mode: str, known: Undisturbed) -> str | None:
    """One failure: what did not go well, if anything."""
    begin(job, folder)
    status, told = disturbed(job, folder, stop, mode)
    if mode in ("full", "large"):
        line = [line for line in told.splitlines() if line.startswith("error: ")]
        named = line and re.match(rf"error: ({re.escape(str(folder))}\S*): .*({FULL})", line[0])
        if status != 1 or len(line) != 1 or not named or "make room" not in line[0]:
            return f"status {status}, told {told[-300:]!r}"
        if any(leftover(Path(part)) or is_lock(Path(part)) for part in Path(named[1]).parts):
            return f"a hidden name is told: {line[0]}"
        left = [p for p in folder.rglob(".*") if p.name.endswith(".new") or is_lock(p)]
        if left:
            return f"{left[0]} is left"
    elif status != DIED:
        return f"status {status} of a process to be killed: {told[-300:]!r}"
    if torn := known.torn(folder, logs=mode in ("full", "large")):
        return torn
    again, told = forked(lambda: job.again(folder))
    if again != 0:
        return f"going on failed: {told[-300:]!r}"
    found = outcome(folder)
    if found in known.wanted:
        return None
    wanted = known.wanted[0]
    names = [k for k in {**found, **wanted} if found.get(k) != wanted.get(k)]
    return f"another outcome: {', '.join(names[:5])}"


def cases(known: Undisturbed) -> list[tuple[int, str]]:
    """All that can fail, as `stop` and `mode`."""
    found = [
        (k, mode)
        for k, (kind, path) in enumerate(known.operations)
        for mode in ("kill", "torn", "full")
        if mode != "torn" or kind == "append" or kind == "sync" and "." in Path(path).name
        if mode != "full" or kind != "remove" or not is_lock(Path(path))  # nobody needs to know
    ]
    return found + [(size - 1, "large") for size in known.sizes if size > 1]


def enumerated(share: float, seed: int, names: Sequence[str] = ()) -> Iterator[tuple[bool, str]]:
    """Let operations fail.

    Args:
        share: Of all of them, drawn at random.
        seed: Seed of which.
        names: Of the jobs; all of them if empty.

    Yields:
        For each job whether all failures went well, and a line that says how many.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        folder = base / "disturbed"  # the same name for all, as it may be written down
        for title in names or JOBS:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                job = JOBS[title](base)
            known, drawn = Undisturbed.of(job, folder), random.Random(f"{seed} {title}")
            counts: dict[str, int] = dict.fromkeys(MODES, 0)
            problems: list[str] = []
            for k, mode in cases(known):
                if drawn.random() >= share:
                    continue
                counts[mode] += 1
                if why := fault(job, folder, k, mode, known):
                    what = f"{k + 1} bytes" if mode == "large" else " ".join(known.operations[k])
                    problems.append(f"  {mode} at {k} ({what}): {why}")
            done = ", ".join(f"{count} {mode}" for mode, count in counts.items())
            total = sum(counts.values())
            line = f"{title}: {len(known.operations)} operations; {done}; "
            line += f"{total - len(problems)} of {total} went on as if not"
            yield not problems, "\n".join([line, *problems])
