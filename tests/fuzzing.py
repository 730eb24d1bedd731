"""A fuzzer of everything public: generated, seeded, and run where it can do no harm.

A case is a pure function of (seed, index): a target of `fuzz_targets`, arguments it takes, and
one or two of them replaced by something hostile. It runs in a process of its own, which is killed
if it does not come back.

What may come of a case:

    ours      ValueError or TypeError, or FileNotFoundError, from a `raise` of this package
    accepted  it ran, and what was given is not against the annotation
    wrong     it ran, though it should not have: NaN for a number, None for a tensor; or there
              was NaN in a tensor, and the numbers that came of it are finite
    foreign   ValueError or TypeError in the words of torch, NumPy or Python
    other     another type of error
    hang      more than 5 seconds of processor time
    crash     the process died

Beside the share of good ones stand two more, which say nothing of a hostile value:

    refused    as "ours", where no arguments were found that the target takes
    uncovered  nothing of what it asks for is there to be given
"""

import ast
import contextlib
import functools
import inspect
import json
import linecache
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import torch

import markovbridge as mb
from fuzz_annotations import against, hints_of
from fuzz_objects import quiet, with_files
from fuzz_targets import Pool, targets
from fuzz_values import COUNTS, arguments, good, hostile, rng_of

SECONDS = 5.0  # of processor time for one case
MEMORY = 6 * 2**30
GOOD = ("ours", "accepted")
# Tensors of which only the shape or the type is asked, or where NaN means not known; and caps of
# laws, which some have no use for.
UNREAD = ("like", "condition", "most", "couplings.Dirac.pair.x1")
REST = ("refused", "uncovered")  # no part of the share
VERDICTS = ("ours", "accepted", "wrong", "foreign", "other", "hang", "crash")


class Fuzzer:
    """Makes and runs cases, in the process it is in."""

    def __init__(self, seed):
        self.seed = seed
        self.pool = Pool()
        self.bases = {}

    def base(self, target, k=0):
        """The attempt whose arguments a target takes, and whether it does.

        Without any, one that it refuses: what it cannot do may still be asked of it.
        """
        key = target.name, k
        if key not in self.bases:
            self.bases[key] = None, False
            for attempt in range(300):
                rng = rng_of("base", target.name, k, attempt)
                try:
                    owner = self._owner(target, rng)
                    given = arguments(target.function, target.fields, self.pool, rng)
                except LookupError:
                    continue
                self.bases[key] = attempt, False
                with contextlib.suppress(Exception), quiet():
                    call(target, owner, given)
                    self.bases[key] = attempt, True
                    break
        return self.bases[key]

    def _owner(self, target, rng):
        if not target.of_instance:
            return None
        found = self.pool.of(target.owner)
        found = [o for o in found if type(o) is target.owner]
        if not found:
            raise LookupError(target.name)
        return rng.choice(found)

    def case(self, index):
        """A case: target, owner, arguments, names of the hostile ones.

        And whether good ones are taken. No arguments if there are none to be given.
        """
        rng = rng_of(self.seed, index)
        target = rng.choice(list(targets().values()))
        k = rng.randrange(3)
        attempt, taken = self.base(target, k)
        if attempt is None:
            return target, None, None, None, False
        again = rng_of("base", target.name, k, attempt)
        owner = self._owner(target, again)
        given = arguments(target.function, target.fields, self.pool, again)
        hints = hints_of(target.function, target.fields)
        names = [
            name
            for name, p in inspect.signature(target.function).parameters.items()
            if name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        bad = {}
        for name in rng.sample(names, min(len(names), 1 if rng.random() < 0.8 else 2)):
            value = given.get(name)
            if name not in given:
                with contextlib.suppress(LookupError):
                    value = good(hints.get(name), name, self.pool, rng)
            bad[name], given[name] = hostile(value, rng)
        return target, owner, given, bad, taken

    def run(self, index):
        """The verdict on a case: (target, what was hostile, verdict, detail)."""
        target, owner, given, bad, taken = self.case(index)
        if given is None:
            return target.name, {}, "uncovered", ""
        hints = hints_of(target.function, target.fields)
        try:
            with quiet():
                made = call(target, owner, given)
        except (KeyboardInterrupt, SystemExit) as error:
            return target.name, bad, "other", repr(error)[:200]
        except BaseException as error:
            return target.name, bad, *judged(error, taken)
        wrong = [n for n in bad if against(hints.get(n), f"{target.name}.{n}", given[n])]
        read = [n for n in bad if not {n, f"{target.name}.{n}"} & {*UNREAD}]
        if not target.name.endswith(".marginal"):  # which asks for the shape of its first
            wrong += [n for n in read if _unknown(given[n]) and _known(made)]
        return target.name, bad, "wrong" if wrong else "accepted", ", ".join(wrong)


def call(target, owner, given):
    """Call it, and return what it gives: of a law a draw and moments, of an iterator one."""
    function = target.function
    if target.owner is None:
        made = function(**given)
    elif target.method is None:
        made = target.owner(**given)
    elif target.of_instance:
        made = function(owner, **given)
    else:
        made = function(**given)
    if isinstance(made, mb.laws.Law):
        return made.sample(generator=torch.Generator().manual_seed(0)), made.mean, made.variance
    return next(made, None) if inspect.isgenerator(made) else made


def _unknown(value):
    """Whether a tensor holds NaN."""
    held = isinstance(value, torch.Tensor) and not value.is_meta and not value.is_sparse
    return held and bool(value.isnan().any())


def _known(made):
    """Whether a result is numbers, and all of them finite."""
    parts = made if isinstance(made, tuple) else (made,)
    if not all(isinstance(part, torch.Tensor | int | float) for part in parts):
        return False
    tensors = [torch.as_tensor(part) for part in parts]
    return all(not part.is_meta and bool(part.isfinite().all()) for part in tensors)


def judged(error, taken):
    """Verdict and detail of an exception, of a target that takes its good arguments or not."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    text = f"{type(error).__name__}: {error}"[:160].replace("\n", " ")
    where = f"{Path(last.filename).name}:{last.lineno}"
    ours = [f for f in frames if "/markovbridge/" in f.filename]
    if ours and ours[-1] is not last:
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    detail = f"{where} {text}"
    told = "/markovbridge/" in last.filename and last.lineno in _raise_lines(last.filename)
    if not taken and told:
        return "refused", detail
    if isinstance(error, ValueError | TypeError):
        return "ours" if told else "foreign", detail
    return "ours" if told and isinstance(error, FileNotFoundError) else "other", detail


@functools.cache
def _raise_lines(filename):
    tree = ast.parse("".join(linecache.getlines(filename)))
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


# Processes.


def work():
    """A worker: indices come in, verdicts go out, one a line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        np.save("counts.npy", COUNTS.numpy())
        from markovbridge.data import write_table

        write_table("table.npz", COUNTS.numpy())
        with_files()
        fuzzer = None
        for line in sys.stdin:
            seed, index = map(int, line.split())
            if fuzzer is None or fuzzer.seed != seed:
                fuzzer = Fuzzer(seed)
            try:
                target = fuzzer.case(index)[0]  # finds a base, which is not the case's time
                print(json.dumps(["start", target.name]), file=out, flush=True)
                print(json.dumps(["done", *fuzzer.run(index)]), file=out, flush=True)
            except Exception:  # of the fuzzer itself
                print(json.dumps(["fault", traceback.format_exc()]), file=out, flush=True)


class Worker:
    """A process that runs cases, started again when it had to be killed."""

    def __init__(self):
        self.process = None
        self._rest = b""

    def _started(self):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
            )
            self._rest = b""
        return self.process

    def _line(self, seconds):
        """The next line, None after so much processor time, b"" at the end of the process."""
        watched = psutil.Process(self.process.pid)
        begun, since = time.monotonic(), _spent(watched)
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.2)
            if ready:
                more = os.read(self.process.stdout.fileno(), 65536)
                if not more:
                    return b""
                self._rest += more
            elif _spent(watched) - since > seconds or time.monotonic() - begun > 24 * seconds:
                return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def run(self, seed, index):
        """(target, hostile, verdict, detail) of a case, whatever it does to the process."""
        process = self._started()
        process.stdin.write(f"{seed} {index}\n".encode())
        process.stdin.flush()
        answer, name = [], "?"
        for seconds in (40 * SECONDS, SECONDS):
            line = self._line(seconds)
            if not line:
                break
            kind, name, *answer = json.loads(line)
            if kind == "fault":
                raise RuntimeError(f"the fuzzer failed at case {index}: {name}")
        if line:
            return name, *answer
        self.close()
        return name, {"case": str(index)}, "hang" if line is None else "crash", ""

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def _spent(process):
    try:
        return sum(process.cpu_times()[:2])
    except psutil.NoSuchProcess:
        return 0.0


def campaign(indices, seed):
    """Results of many cases: a list of (index, target, hostile, verdict, detail)."""
    worker = Worker()
    try:
        return [(i, *worker.run(seed, i)) for i in indices]
    finally:
        worker.close()


def summary(results):
    """How many of each verdict, and the share of good ones among the cases that ran."""
    counts = Counter(verdict for *_, verdict, _ in results)
    ran = sum(counts[v] for v in VERDICTS)
    return counts, sum(counts[v] for v in GOOD) / max(1, ran)


if __name__ == "__main__":
    work()
