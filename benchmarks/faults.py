"""Every operation on the files of a run fails once: what `interruption.py --faults` does.

A job, `markovbridge train` for example, runs once undisturbed, and its operations on the
folder are counted: each opening of a file to write, each flush to the disk, each folder made,
rename and deletion. Then it runs again for each of them, in a forked process that

    kill    ends right before the operation
    torn    ends when half of a file, or of a line of a log, is written
    full    finds the disk full from there on: half of the file is written, then errors

and goes on, by the same command or with `--resume true`. Everything must come to the bytes of
the undisturbed folder, times apart, with nothing left behind; a full disk must be told in one
line that names the file, and leave no file half written.

Operations are seen by Python's audit hooks, whoever makes them, and by `os.fsync`, which
every file goes through before it takes its name.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from markovbridge import CountModel
from markovbridge.cli import impute, main, restore, sample, train  # noqa: F401 (before forking)
from markovbridge.files import leftover
from markovbridge.locks import is_lock

DIED = 99
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
GROWING = {"open", "append", "mkdir", "sync"}  # what needs room on the disk
FOLDERS = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 2}  # place of the folder's descriptor
MODES = ("kill", "torn", "full")


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
            self.operation("rename", self._path(arguments[1], arguments[3]))
        elif event in FOLDERS:
            path = self._path(arguments[0], arguments[FOLDERS[event]])
            self.operation(event.removeprefix("os."), path)

    def fsync(self, descriptor: int) -> None:
        """Instead of `os.fsync`, which tells no hook."""
        self.operation("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    def operation(self, kind: str, path: Path | None) -> None:
        """Count an operation on the folder, and let it fail if it is its turn."""
        if path is None or path != self.folder and self.folder not in path.parents:
            return
        number = len(self.seen)
        self.seen.append((kind, str(path.relative_to(self.folder))))
        if self.full and kind in GROWING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if number != self.stop:
            return
        if self.mode != "kill":
            self.quiet = True
            if kind == "sync" and path.is_file():
                os.truncate(path, path.stat().st_size // 2)
            if kind == "append" and self.mode == "torn":
                with path.open("ab") as file:
                    file.write(b'{"step": 1')
            self.quiet = False
        if self.mode != "full":
            os._exit(DIED)
        self.full = True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _path(self, path: Any, descriptor: int | None) -> Path | None:
        path = Path(os.fsdecode(path))
        if not path.is_absolute() and descriptor is not None and descriptor >= 0:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}")) / path
        return path.absolute()


@dataclass(frozen=True)
class Job:
    """Something that writes into a folder.

    Attributes:
        name: Of the job.
        start: Puts a folder into the state from which it starts.
        run: Does it; the status of the command line.
        again: Goes on after it was interrupted.
    """

    name: str
    start: Callable[[Path], None]
    run: Callable[[Path], int]
    again: Callable[[Path], int]


TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "4", "--trainer.checkpoint_every", "2"]
TINY += ["--trainer.keep", "1", "--trainer.log_every", "2", "--trainer.steps", "4"]
TINY += ["--trainer.sample_every", "4", "--trainer.samples", "2", "--trainer.sample_steps", "2"]
TINY += ["--data.validation", "0.02", "--trainer.validate_every", "2"]


def jobs(base: Path) -> list[Job]:
    """The jobs, what they start from being made in a folder."""
    run, old = base / "run", base / "old"
    spare = ["--data.test", "0.9"]

    def training(*options: str) -> Callable[[Path], int]:
        return lambda folder: main(["train", "digits", "--output", str(folder), *TINY, *options])

    def verb(name: str, *options: str) -> Callable[[Path], int]:
        common = ["--steps", "2", "--threads", "1", "--block", "10"]
        return lambda folder: main([name, str(folder), *common, *options])

    def save(folder: Path) -> int:
        CountModel.load(base / "counts").save(folder)
        return 0

    table = np.random.default_rng(0).poisson(2.0, (30, 3))
    for seed, name in ((0, "counts"), (1, "counts-old")):
        model = CountModel(width=4, depth=1, steps=2, batch_size=4, random_state=seed)
        model.fit(table).save(base / name)
    assert training(*spare)(run) == 0 and training(*spare, "--trainer.seed", "5")(old) == 0
    copied = lambda source: lambda folder: shutil.copytree(source, folder) and None  # noqa: E731
    drawn, thinned = (
        verb("sample", "--n", "15"),
        ["--survival", "0.3", "--n", "1", "--draws", "19"],
    )
    restored = verb("restore", *thinned)
    hidden = verb("impute", "--observed", "top", "--n", "1", "--draws", "19", "--rounds", "1")
    first = training(*spare, "--resume", "true")
    return [
        Job("train", Path.mkdir, training(*spare), first),
        Job(
            "overwrite",
            copied(old),
            training(*spare, "--overwrite", "true"),
            lambda folder: main(["train", str(folder), "--resume", "true"]),
        ),
        Job("sample", copied(run), drawn, drawn),
        Job("restore", copied(run), restored, restored),
        Job("impute", copied(run), hidden, hidden),
        Job("CountModel.save", copied(base / "counts-old"), save, save),
    ]


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
            os.write(writing, told.getvalue().encode()[-60000:])
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def disturbed(job: Job, folder: Path, stop: int | None, mode: str) -> tuple[int, str]:
    """Run a job with one failure; its status, and what it told or, undisturbed, what it did."""

    def task() -> int:
        operations = Operations(folder, stop, mode)
        status = job.run(folder)
        if stop is None:
            print(json.dumps(operations.seen), file=sys.stderr)
        return status

    return forked(task)


def outcome(folder: Path) -> dict[str, Any]:
    """All that is in a folder, times apart."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.txt"
    }


def _content(path: Path) -> Any:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
        meta = json.loads(str(arrays.pop("meta", "{}")))
        meta.pop("seconds", None)
        arrays.pop("seconds", None)
        return meta, {k: (v.dtype.str, v.shape, v.tobytes()) for k, v in arrays.items()}
    if path.name == "metrics.jsonl":
        lines = map(json.loads, path.read_text().splitlines())
        return [{k: v for k, v in line.items() if not k.endswith("_s")} for line in lines]
    if path.name == "state.json":
        record = json.loads(path.read_text())
        record["state"].pop("elapsed_s")
        return record | {"sha256": None}
    if path.name == "config.yaml":  # the name of the folder is in it
        return path.read_text()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fault(
    job: Job, base: Path, stop: int, mode: str, wanted: list[dict[str, Any]]
) -> tuple[bool, str]:
    """One failure: whether all went on well, and if not what did not."""
    folder = base / "disturbed"
    shutil.rmtree(folder, ignore_errors=True)
    job.start(folder)
    status, told = disturbed(job, folder, stop, mode)
    if mode == "full":
        line = [line for line in told.splitlines() if line.startswith("error: ")]
        named = line and re.match(rf"error: ({re.escape(str(folder))}\S*): No space left", line[0])
        if status != 1 or not named or "make room" not in line[0]:
            return False, f"status {status}, told {told[-300:]!r}"
        if any(leftover(Path(part)) or is_lock(Path(part)) for part in Path(named[1]).parts):
            return False, f"a hidden name is told: {line[0]}"
        left = [p for p in folder.rglob(".*") if p.name.endswith(".new")]
        if left:
            return False, f"{left[0]} is left"
    elif status != DIED:
        return False, f"status {status} of a process to be killed: {told[-300:]!r}"
    again, told = forked(lambda: job.again(folder))
    if again != 0:
        return False, f"going on failed: {told[-300:]!r}"
    found = outcome(folder)
    if found in wanted:
        return True, ""
    names = [k for k in {**found, **wanted[0]} if found.get(k) != wanted[0].get(k)]
    return False, f"another outcome: {', '.join(names[:5])}"


def enumerated(share: float, seed: int) -> Iterator[tuple[bool, str]]:
    """Let operations fail.

    Args:
        share: Of all of them, drawn at random.
        seed: Seed of which.

    Yields:
        For each job whether all failures went well, and a line that says how many.
    """
    torch.set_num_threads(1)
    drawn = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            every = jobs(base)
        for job in every:
            folder = base / "disturbed"  # the same name for all, as it may be written down
            shutil.rmtree(folder, ignore_errors=True)
            job.start(folder)
            status, told = disturbed(job, folder, None, "kill")
            assert status == 0, told
            operations = json.loads(told.splitlines()[-1])
            wanted = [outcome(folder)]
            if job.name == "overwrite":  # the old run is as good as the new one
                shutil.rmtree(folder)
                job.start(folder)
                wanted.append(outcome(folder))
                wanted[-1]["config.yaml"] = _content(base / "old" / "config.yaml")
            cases = [
                (k, mode)
                for k, (kind, path) in enumerate(operations)
                for mode in MODES
                if mode != "torn" or kind == "append" or kind == "sync" and "." in Path(path).name
                if mode != "full" or not is_lock(Path(path))
            ]
            counts, problems = dict.fromkeys(MODES, 0), []
            for k, mode in cases:
                if drawn.random() >= share:
                    continue
                counts[mode] += 1
                good, why = fault(job, base, k, mode, wanted)
                if not good:
                    problems.append(f"  {mode} at {k} ({' '.join(operations[k])}): {why}")
            done = ", ".join(f"{count} {mode}" for mode, count in counts.items())
            equal = sum(counts.values()) - len(problems)
            line = f"{job.name}: {len(operations)} operations; {done}; {equal} went on as if not"
            yield not problems, "\n".join([line, *problems])
