"""Every operation on the files of a run fails once: what `interruption.py --faults` does.

A job, `markovbridge train` for example, runs once undisturbed, and its operations on the
folder are counted: each opening of a file to write, each flush to the disk, each folder made,
rename and deletion. Then it runs again for each of them, in a forked process that

    kill    ends right before the operation
    torn    ends when half of a file, or of a line of a log, is written
    full    finds the disk full from there on: half of the file is written, then errors
    twice   ends right before it, if it is a renaming, and when it goes on again, anywhere

and once for each size of a file in a process that

    large   may write no file larger than half of it, so that the system itself refuses the
            write, in whatever library it is

Right after that, every file under its real name must be whole, as it was or as it is to be, and
every folder of a model or a checkpoint complete; a full disk must be told in one line that
names the file. Then the job goes on, by the same command or with `--resume true`: everything
must come to the bytes of the undisturbed folder, times apart, with nothing left behind.

Operations are seen by Python's audit hooks, whoever makes them, and by `os.fsync`, which
every file goes through before it takes its name. What is done is in `faults_jobs.py`.
"""

from __future__ import annotations

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
from typing import Any, NoReturn

import torch

from faults_jobs import JOBS, Job
from faults_seen import DIED, LOGS, Operations, digest, hidden, names, outcome
from markovbridge.storage.files import leftover
from markovbridge.storage.locks import is_lock

MODES = ("kill", "torn", "full", "twice", "large")
FULL = "No space left|File too large"
REFUSED = "is in use by process|holds a run already"  # what the later of two processes is told


def forked(task: Callable[[], int], processes: int = 1) -> list[tuple[int, str]]:
    """Do something in processes of their own, at the same time.

    Returns:
        Of each its status and what it told on stderr.
    """
    started = []
    for _ in range(processes):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _do(task, writing)
        os.close(writing)
        started.append((child, reading))
    found = []
    for child, reading in started:
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.read().decode()
        found.append((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text))
    return found


def _do(task: Callable[[], int], writing: int) -> NoReturn:
    status, told = 1, io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(told):
            status = task()
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        told.write(f"error: {named}\n")
    finally:
        os.set_inheritable(writing, False)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(told.getvalue().encode())
        os._exit(status)


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

    return forked(task)[0]


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
        files = {(str(path.relative_to(folder)), digest(path, path.name)) for path in real(folder)}
        inside = {str(path.relative_to(folder)): names(path) for path in folder.rglob("*/")}
        status, told = disturbed(job, folder, None, "kill")
        assert status == 0, told
        operations, new, folders, sizes = json.loads(told.splitlines()[-1])
        wanted = [outcome(folder), *([before] if job.old else [])]
        whole = {(path, each) for path, each in folders}
        whole |= {(path, inside[path]) for path, _ in folders if path in inside}
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
            elif (name, digest(path, path.name)) not in self.files:
                return f"{name} is neither the old nor the new one"
        known = {name for name, _ in self.folders}
        for path in folder.rglob("*/"):
            name = str(path.relative_to(folder))
            if name in known and (name, names(path)) not in self.folders:
                return f"{name} is not complete: {names(path) or 'nothing'}"
        return None


def real(folder: Path) -> list[Path]:
    """The files in a folder that have their real names."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not hidden(path.relative_to(folder)))


def begin(job: Job, folder: Path) -> None:
    """Put the folder of a job into the state from which it starts."""
    shutil.rmtree(folder, ignore_errors=True)
    job.start(folder)


def fault(job: Job, folder: Path, stop: int, mode: str, known: Undisturbed) -> str | None:
    """One failure: what did not go well, if anything."""
    if mode == "twice":
        return twice(job, folder, stop)
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
    torn = known.torn(folder, logs=mode in ("full", "large"))
    if torn := torn or missing(job, folder):
        return torn
    ((again, told),) = forked(lambda: job.again(folder))
    if again != 0:
        return f"going on failed: {told[-300:]!r}"
    found = outcome(folder)
    if found in known.wanted:
        return None
    wanted = known.wanted[0]
    other = [k for k in {**found, **wanted} if found.get(k) != wanted.get(k)]
    return f"another outcome: {', '.join(other[:5])}"


def twice(job: Job, folder: Path, stop: int) -> str | None:
    """Two kills, the second anywhere while it goes on: what is lost, if anything."""
    second, status = 0, DIED
    while status == DIED:
        begin(job, folder)
        disturbed(job, folder, stop, "kill")
        status, told = disturbed(job, folder, second, "kill")
        if status not in (0, DIED):
            return f"going on failed: {told[-300:]!r}"
        if lost := missing(job, folder):
            return f"after a second kill at {second}: {lost}"
        second += 1
    return None


def missing(job: Job, folder: Path) -> str | None:
    """Why what must always be there cannot be read, if it cannot."""
    if job.look is None:
        return None
    try:
        job.look(folder)
    except (OSError, ValueError) as error:
        return f"nothing is left to read: {error}"
    return None


def cases(job: Job, known: Undisturbed) -> list[tuple[int, str]]:
    """All that can fail, as `stop` and `mode`."""
    found = [
        (k, mode)
        for k, (kind, path) in enumerate(known.operations)
        for mode in ("kill", "torn", "full", "twice")
        if mode != "twice" or kind == "rename" and job.look
        if mode != "torn" or kind == "append" or kind == "sync" and "." in Path(path).name
        if mode != "full" or kind != "remove" or not is_lock(Path(path))  # nobody needs to know
    ]
    return found + [(size // 2, "large") for size in known.sizes if size > 1]


def enumerated(share: float, seed: int, titles: Sequence[str] = ()) -> Iterator[tuple[bool, str]]:
    """Let operations fail.

    Args:
        share: Of all of them, drawn at random.
        seed: Seed of which.
        titles: Of the jobs; all of them if empty.

    Yields:
        For each job whether all failures went well, and a line that says how many.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        folder = base / "disturbed"  # the same name for all, as it may be written down
        for title in titles or JOBS:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                job = JOBS[title](base)
            known, drawn = Undisturbed.of(job, folder), random.Random(f"{seed} {title}")
            counts: dict[str, int] = dict.fromkeys(MODES, 0)
            problems: list[str] = []
            for k, mode in cases(job, known):
                if drawn.random() >= share:
                    continue
                counts[mode] += 1
                if why := fault(job, folder, k, mode, known):
                    what = (
                        f"{k} bytes at most" if mode == "large" else " ".join(known.operations[k])
                    )
                    problems.append(f"  {mode} at {k} ({what}): {why}")
            done = ", ".join(f"{count} {mode}" for mode, count in counts.items())
            total = sum(counts.values())
            line = f"{title}: {len(known.operations)} operations; {done}; "
            line += f"{total - len(problems)} of {total} went on as if not"
            yield not problems, "\n".join([line, *problems])


def pairs(number: int, titles: Sequence[str] = ()) -> Iterator[tuple[bool, str]]:
    """Let two processes do the same at the same time.

    Each must do it, or be told in one line that the other does; the folder must come to the
    same as after one.

    Args:
        number: How many pairs of each job.
        titles: As of `enumerated`.

    Yields:
        As `enumerated`.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        folder = base / "disturbed"
        for title in titles or JOBS:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                job = JOBS[title](base)
            known, refused, problems = Undisturbed.of(job, folder), 0, []
            for k in range(number):
                begin(job, folder)
                done = forked(lambda job=job: job.run(folder), processes=2)
                for status, told in done:
                    line = [line for line in told.splitlines() if line.startswith("error: ")]
                    if status and len(line) == 1 and re.search(REFUSED, line[0]):
                        refused += 1
                    elif status:
                        problems.append(f"  pair {k}: status {status}, told {told[-300:]!r}")
                if all(status for status, _ in done):
                    problems.append(f"  pair {k}: both were refused")
                if outcome(folder) not in known.wanted:
                    problems.append(f"  pair {k}: another outcome")
            line = f"{title}: {number} pairs, {refused} of {2 * number} processes were refused"
            yield not problems, "\n".join([line, *problems])
