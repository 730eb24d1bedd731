"""A fuzzer of everything public: generated, seeded, and run where it can do no harm.

Targets are found by looking: every function, constructor and public method in `__all__` of the
public modules, so that a new one is a target by itself. A case is a pure function of
(seed, index): a target, arguments it takes, and one or two of them replaced by something
hostile. It runs in a process of its own, which is killed if it does not come back.

What may come of a case:

    ours      ValueError or TypeError from a `raise` of this package
    accepted  it ran, and what was given is not against the annotation
    wrong     it ran, though it should not have: NaN for a number, None for a tensor
    foreign   ValueError or TypeError in the words of torch, NumPy or Python
    other     another type of error
    hang      more than 5 seconds of processor time
    crash     the process died
"""

import ast
import contextlib
import functools
import importlib
import inspect
import io
import json
import linecache
import os
import pkgutil
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import nn

import markovbridge as mb
from fuzz_values import COUNTS, allows, arguments, good, hints_of, hostile, rng_of

SECONDS = 5.0  # of processor time for one case
MEMORY = 6 * 2**30
GOOD = ("ours", "accepted")
VERDICTS = ("ours", "accepted", "wrong", "foreign", "other", "hang", "crash")

# Namespaces and targets that are not fuzzed here, and why.
LEFT_OUT = {
    "cli": "the command line has tests of its own",
    "report": "takes a run folder, and damaged ones have tests of their own",
    "recipes": "files",
    "files": "takes any path",
    "checks": "checks of values, which take anything",
    "doors": "takes a module",
    "kinds": "takes annotations",
    "reading": "files",
    "locks": "files",
    "training.accelerator": "changes the process",
    "training.Trainer.__iter__": "trains",
    "metrics.Inception": "takes a file of weights that is not there",
    "metrics.MobileNetV2": "takes a file of weights that is not there",
}


def namespaces():
    """The public modules: the package, and what lies in it, without the insides of packages."""
    yield mb
    for found in pkgutil.iter_modules(mb.__path__):
        if not found.name.startswith("_") and found.name not in LEFT_OUT:
            yield importlib.import_module(f"markovbridge.{found.name}")


@dataclass(frozen=True)
class Target:
    """Something to call."""

    name: str
    owner: type | None
    """The class whose constructor or method it is."""
    method: str | None

    @property
    def function(self):
        if self.owner is None:
            module, _, name = self.name.rpartition(".")
            return getattr(importlib.import_module(f"markovbridge.{module}"), name)
        if self.method is None:
            return self.owner.__init__
        return inspect.getattr_static(self.owner, self.method)


@functools.cache
def targets():
    """All of them, by name."""
    found, seen = {}, set()
    for module in sorted(namespaces(), key=lambda m: m is mb):
        space = module.__name__.removeprefix("markovbridge").removeprefix(".")
        for name in module.__all__:
            value = getattr(module, name)
            if id(value) in seen or inspect.ismodule(value):
                continue
            seen.add(id(value))
            path = f"{space}.{name}".removeprefix(".")
            if inspect.isclass(value):
                found.update({t.name: t for t in _of_class(path, value)})
            elif inspect.isfunction(value):
                found[path] = Target(path, None, None)
    return {
        name: target
        for name, target in found.items()
        if not any(name == left or name.startswith(f"{left}.") for left in LEFT_OUT)
    }


def _of_class(path, cls):
    if issubclass(cls, dict | Exception) or getattr(cls, "_is_protocol", False):
        return
    if inspect.isabstract(cls):
        return
    yield Target(path, cls, None)
    for name in sorted({name for base in cls.__mro__ for name in vars(base)}):
        member = inspect.getattr_static(cls, name)
        ours = str(getattr(member, "__module__", "")).startswith("markovbridge")
        shown = not name.startswith("_") or name == "__call__"
        if shown and ours and inspect.isfunction(member) and name != "forward":
            yield Target(f"{path}.{name}", cls, name)


class Pool:
    """Objects to give, made by calling constructors with arguments that they take."""

    def __init__(self):
        self._made = {}
        self._busy = set()

    def __contains__(self, kind):
        return kind in FACTORIES

    def of(self, kind):
        """Some objects of a class; of its subclasses, if it is abstract."""
        if kind in self._made:
            return self._made[kind]
        if kind in self._busy:
            return ()
        self._busy.add(kind)
        found = []
        classes = [t.owner for t in targets().values() if t.owner and t.method is None]
        for cls in dict.fromkeys([*classes, *FACTORIES]):
            if issubclass(cls, kind):
                found += self._instances(cls)
        self._busy.discard(kind)
        self._made[kind] = tuple(found)
        return self._made[kind]

    def _instances(self, cls):
        if cls in FACTORIES:
            return FACTORIES[cls]()
        if inspect.isabstract(cls):
            return ()
        found = []
        for k in range(60):
            rng = rng_of("instance", cls.__qualname__, k)
            with contextlib.suppress(Exception), quiet():
                found.append(cls(**arguments(cls.__init__, cls, self, rng)))
            if len(found) == 3:
                break
        return found


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield


def _transports():
    net = functools.partial(mb.networks.MLP, (3,), width=8, depth=1)
    death, gauss = mb.PureDeath(maximum=8), mb.LinearDiffusion()
    return [
        mb.Transport(death, net(features=1, outputs=1), mb.Mean(), shape=(3,)),
        mb.Transport(gauss, net(features=1, outputs=1), mb.Endpoint(), shape=(3,)),
        mb.Transport(mb.UniformChain(3), net(features=3, outputs=3), mb.Categorical(), shape=(3,)),
        mb.Transport(mb.PureDeath(), mb.exact.NegativeBinomial(3.0, 2.0), shape=(3,)),
    ]


@functools.cache
def _count_model():
    model = mb.CountModel(
        width=8, depth=1, steps=4, batch_size=8, random_state=0, library_size="covariate"
    )
    return model.fit(torch.randint(5, (40, 3)).numpy(), covariates={"batch": ["a", "b"] * 20})


def _trainers():
    from markovbridge.training import Trainer, TrainingConfig

    config = TrainingConfig(steps=2, batch_size=4, warmup=0)
    return [Trainer(_transports()[0], COUNTS, config)]


# What a constructor alone does not give.
FACTORIES = {
    mb.Transport: _transports,
    mb.CountModel: lambda: [_count_model()],
    nn.Module: lambda: [nn.Linear(3, 3)],
    np.random.Generator: lambda: [np.random.default_rng(0)],
}


def _factories():
    import markovbridge.data as data
    from markovbridge.training import Trainer

    FACTORIES[Trainer] = _trainers
    FACTORIES[data.CountTable] = lambda: [data.CountTable(Path("table.npz"))]
    FACTORIES[data.Arrays] = lambda: [data.Arrays(Path("counts.npy"))]
    FACTORIES[data.Digits] = lambda: [data.Digits()]


# Cases.


class Fuzzer:
    """Makes and runs cases, in the process it is in."""

    def __init__(self, seed):
        self.seed = seed
        self.pool = Pool()
        self.bases = {}

    def base(self, target, k=0):
        """Arguments with which a target runs, and what it came to: None if none is found."""
        key = target.name, k
        if key not in self.bases:
            self.bases[key] = None
            for attempt in range(300):
                rng = rng_of("base", target.name, k, attempt)
                try:
                    owner = self._owner(target, rng)
                    given = arguments(target.function, _fields(target), self.pool, rng)
                    with quiet():
                        call(target, owner, given)
                except LookupError:
                    continue
                except Exception:
                    continue
                self.bases[key] = attempt
                break
        return self.bases[key]

    def _owner(self, target, rng):
        if target.method is None or target.owner is None:
            return None
        found = self.pool.of(target.owner)
        found = [o for o in found if type(o) is target.owner]
        if not found:
            raise LookupError(target.name)
        return rng.choice(found)

    def case(self, index):
        """A case: target, owner, arguments, and names of the hostile ones; None without base."""
        rng = rng_of(self.seed, index)
        target = rng.choice(list(targets().values()))
        k = rng.randrange(3)
        attempt = self.base(target, k)
        if attempt is None:
            return target, None, None, None
        again = rng_of("base", target.name, k, attempt)
        owner = self._owner(target, again)
        given = arguments(target.function, _fields(target), self.pool, again)
        hints = hints_of(target.function, _fields(target))
        missing = [
            name
            for name, p in inspect.signature(target.function).parameters.items()
            if name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if not missing:
            return target, owner, given, {}
        bad = {}
        for name in rng.sample(missing, min(len(missing), 1 if rng.random() < 0.8 else 2)):
            value = given.get(name)
            if name not in given:
                with contextlib.suppress(LookupError):
                    value = good(hints.get(name), name, self.pool, rng)
            bad[name], given[name] = hostile(value, rng)
        return target, owner, given, bad

    def run(self, index):
        """The verdict on a case: (target, what was hostile, verdict, detail)."""
        target, owner, given, bad = self.case(index)
        if given is None:
            return target.name, {}, "uncovered", ""
        hints = hints_of(target.function, _fields(target))
        try:
            with quiet():
                call(target, owner, given)
        except (KeyboardInterrupt, SystemExit) as error:
            return target.name, bad, "other", repr(error)[:200]
        except BaseException as error:
            return target.name, bad, *judged(error)
        against = [n for n in bad if not allows(hints.get(n), given[n])]
        if against:
            return target.name, bad, "wrong", ", ".join(against)
        return target.name, bad, "accepted", ""


def _fields(target):
    return target.owner if target.method is None else None


def call(target, owner, given):
    """Call it, and look at what it gives: a law is drawn from, an iterator begun."""
    function = target.function
    if target.owner is None:
        made = function(**given)
    elif target.method is None:
        made = target.owner(**given)
    else:
        made = function(owner, **given)
    if isinstance(made, mb.laws.Law):
        made.sample(generator=torch.Generator().manual_seed(0))
        _ = made.mean, made.variance
    elif inspect.isgenerator(made):
        next(made, None)


def judged(error):
    """Verdict and detail of an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    text = f"{type(error).__name__}: {error}"[:160].replace("\n", " ")
    where = f"{Path(last.filename).name}:{last.lineno}"
    ours = [f for f in frames if "/markovbridge/" in f.filename]
    if ours and ours[-1] is not last:
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    detail = f"{where} {text}"
    if not isinstance(error, ValueError | TypeError):
        return "other", detail
    mine = "/src/markovbridge/" in last.filename or "/markovbridge/" in last.filename
    return ("ours" if mine and _raises(last.filename, last.lineno) else "foreign"), detail


@functools.cache
def _raise_lines(filename):
    tree = ast.parse("".join(linecache.getlines(filename)))
    lines = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


def _raises(filename, line):
    return line in _raise_lines(filename)


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
        _factories()
        fuzzer = None
        for line in sys.stdin:
            seed, index = map(int, line.split())
            if fuzzer is None or fuzzer.seed != seed:
                fuzzer = Fuzzer(seed)
            target = fuzzer.case(index)[0]  # finds a base, which is not the case's time
            print(json.dumps(["start", target.name]), file=out, flush=True)
            print(json.dumps(["done", *fuzzer.run(index)]), file=out, flush=True)


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
        line = self._line(40 * SECONDS)
        name = json.loads(line)[1] if line else "?"
        line = line and self._line(SECONDS)
        if line:
            return tuple(json.loads(line)[1:])
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
