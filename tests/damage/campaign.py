"""Damaged files read one by one, each in a process of its own, and what became of them.

A case is a pure function of (seed, index): a format, a damage to one of its files, and the
reading of them with bounded memory and processor time. What may come of it:

    equal    it read as if there were no damage: what was damaged says nothing of the content
    changed  it read, differently, as the file says now: no format has a checksum of everything
    ours     one error in our words, ValueError or OSError, that names the file
    moved    it read something else than the file says: a count in another place
    passed   it read, though the file must not be read: objects, parts in other files, aliases
    foreign  another type of error, or the words of a library
    unnamed  an error that names no file
    ran      code in the file was run, or a process started
    death    the process died
    hang     more than `SECONDS` of processor time
"""

import contextlib
import gc
import hashlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from damage import hostile
from damage.hostile import entered

VERDICTS = ("equal", "changed", "ours", "moved", "passed", "foreign", "unnamed")
VERDICTS += ("ran", "death", "hang")
GOOD = ("equal", "changed", "ours")
SECONDS = 10  # of processor time for one case
PATIENCE = 240  # and of any time
MEMORY = 3 * 2**30  # bytes that a case may take more than the process before it
RUNS = ("os.system", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.Popen", "socket.connect")
RAN = 77  # the status of a process that ran something


@dataclass(frozen=True)
class Result:
    """What became of a case."""

    index: int
    format: str
    victim: str
    what: str
    verdict: str
    detail: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


class Campaign:
    """The formats, a good sample of each, and what it reads as.

    Args:
        formats: Of `samples` and `folders`.
        base: A folder to work in.
    """

    def __init__(self, formats, base: Path) -> None:
        self.formats, self.base = formats, base
        self.outside = base / "outside"
        self.outside.mkdir()
        entered()
        (self.outside / "secret").write_bytes(b"\x01" * 10**6)
        self.good = []
        for k, entry in enumerate(formats):
            folder = base / f"good-{k}"
            folder.mkdir()
            with quiet():
                entry.write(folder)
            self.good.append(self._read(entry, folder))
        gc.freeze()  # so that processes of their own share the memory of this one

    def _read(self, entry, folder: Path) -> str:
        """What the good sample reads as; from the place that damaged ones are read from."""
        case = self._place(folder)
        with quiet():
            return digest(entry.read(case))

    def _place(self, good: Path) -> Path:
        case = self.base / "case"
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(good, case)
        return case

    def run(self, index: int, seed: int) -> Result:
        """One case."""
        rng = random.Random(f"{seed}-{index}")
        k = index % len(self.formats)
        entry, case = self.formats[k], self._place(self.base / f"good-{k}")
        before = time.monotonic()
        lines, status, usage = forked(lambda say: self._case(entry, k, case, rng, say))
        told = {"victim": "?", "what": "?", "verdict": "", "detail": ""}
        for line in lines:
            told.update(json.loads(line))
        if told["what"] == "?":
            raise RuntimeError(f"case {index} of {entry.name}: no damage was done, {lines}")
        if not told["verdict"]:
            spent = usage.ru_utime + usage.ru_stime
            slow = spent > SECONDS or time.monotonic() - before > PATIENCE
            verdict = "ran" if status == RAN else "hang" if slow else "death"
            told.update(verdict=verdict, detail=f"status {status}")
        if (self.outside / "trace").exists():
            (self.outside / "trace").unlink()
            told.update(verdict="ran", detail="a file was written")
        seconds, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        return Result(index, entry.name, seconds=round(seconds, 2), megabytes=memory, **told)

    def _case(self, entry, k: int, case: Path, rng: random.Random, say: Callable) -> None:
        """Damage the files in a folder, read them, and say what came of it."""
        with quiet():
            done = hostile.damage(case, rng, self.outside)
        say(victim=done.victim.relative_to(case).as_posix(), what=done.what)
        bounded()
        try:
            with quiet():
                value = entry.read(case)
        except BaseException as error:
            verdict, detail = judged(error, case, done.victim)
        else:
            verdict, detail = self._looked_at(entry, k, case, value)
            if done.certain and verdict in ("equal", "changed"):
                verdict = "passed"
        say(verdict=verdict, detail=detail)

    def _looked_at(self, entry, k: int, case: Path, value: Any) -> tuple[str, str]:
        """The verdict on what was read."""
        from damage.truth import Impossible, meaning

        same = digest(value) == self.good[k]
        try:
            with quiet():
                expected = meaning(entry.name, case)
        except Impossible as error:
            return "moved", f"read, though {error}"
        if expected is not None and value[0] != expected:
            return "moved", "other counts than the file says"
        if entry.covers[0] == "CountTable" and not counts(value[0]):
            return "moved", "what is no count"
        return ("equal" if same else "changed"), ""


def counts(value: Any) -> bool:
    """Whether all numbers of a nested list are counts."""
    if isinstance(value, list):
        return all(map(counts, value))
    return isinstance(value, int) and value >= 0


def digest(value: Any) -> str:
    """What tells one value that was read from another."""
    return hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()


def judged(error: BaseException, case: Path, victim: Path) -> tuple[str, str]:
    """Verdict and detail of an exception that the damage of a file led to."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/markovbridge/" in f.filename]
    last = frames[-1]
    where = f"{Path((ours or [last])[-1].filename).name}:{(ours or [last])[-1].lineno}"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    detail = f"{where} {text.replace(str(case), '.')}"
    system = isinstance(error, OSError) and error.filename is not None
    mine = "/markovbridge/" in last.filename or "damage" in last.filename
    if not isinstance(error, ValueError | OSError) or not (mine or system):
        return "foreign", detail
    words = f"{error} {getattr(error, 'filename', '')}"
    if str(case) not in words or victim.name.removesuffix(".gz") not in words:
        return "unnamed", detail
    return "ours", detail


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings, whatever the filters of a test say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def bounded() -> None:
    """Limit what this process may take from now on, and end it if it runs something."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(spent.ru_utime + spent.ru_stime) + SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))

    def watch(event: str, arguments: tuple) -> None:
        if event in RUNS:
            os._exit(RAN)

    sys.addaudithook(watch)


def forked(task: Callable[[Callable], None]) -> tuple[list[str], int, Any]:
    """Do something in a process of its own.

    Args:
        task: Called with a function that says named values.

    Returns:
        What it said, line by line, its status (negative: a signal), and what it used.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            gc.disable()
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)

            def say(**values: Any) -> None:
                os.write(writing, json.dumps(values).encode() + b"\n")

            task(say)
            status = 0
        except BaseException:
            os.write(writing, json.dumps({"detail": traceback.format_exc()[-900:]}).encode())
        finally:
            os._exit(status)
    os.close(writing)
    until, content = time.monotonic() + PATIENCE, b""
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        more = os.read(reading, 65536) if ready else b""
        content += more
        if not more:
            break
    if time.monotonic() >= until:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, waited, usage = os.wait4(child, 0)
    return content.decode().splitlines(), os.waitstatus_to_exitcode(waited), usage


def campaign(cases, seed: int, only: str = "") -> Iterator[Result]:
    """What becomes of cases, by their indices.

    Args:
        cases: Indices.
        seed: Of what is done.
        only: The beginning of the names of the formats; all if it is empty.
    """
    from damage.folders import folders
    from damage.samples import formats

    with tempfile.TemporaryDirectory() as name:
        every = [f for f in (*formats(), *folders()) if f.name.startswith(only)]
        made = Campaign(every, Path(name).resolve())
        for index in cases:
            yield made.run(index, seed)


def table(results: list[Result]) -> str:
    """How many there are of each verdict, by format."""
    names = list(dict.fromkeys(r.format for r in results))
    found = Counter((r.format, r.verdict) for r in results)
    every = Counter(r.verdict for r in results)
    width = max(map(len, names))
    lines = [f"{'':{width}}" + "".join(f"{v:>9}" for v in VERDICTS)]
    lines += [
        f"{n:{width}}" + "".join(f"{found[n, v]:9}" for v in VERDICTS) for n in sorted(names)
    ]
    return "\n".join([*lines, f"{'all':{width}}" + "".join(f"{every[v]:9}" for v in VERDICTS)])


if __name__ == "__main__":  # start, stop, step, seed, formats: results, one a line
    start, stop, step, seed = map(int, sys.argv[1:5])
    for result in campaign(range(start, stop, step), seed, *sys.argv[5:]):
        print(json.dumps(asdict(result)), flush=True)
