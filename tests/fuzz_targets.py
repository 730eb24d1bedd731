"""What the fuzzer calls: every public function, constructor and method, and objects to give them.

Targets are found by looking at the package, so that a new one is a target by itself. Objects are
made by constructors, with arguments that they take, or in `fuzz_objects`.
"""

import contextlib
import functools
import importlib
import inspect
import pkgutil
from dataclasses import dataclass

import markovbridge as mb
from fuzz_objects import FACTORIES, quiet
from fuzz_values import arguments, rng_of

# Packages whose modules one imports from.
OPEN = ("doors", "evaluation", "samplers", "storage", "transport")

# Namespaces and targets that are not fuzzed here, and why.
LEFT_OUT = {
    "cli": "the command line has tests of its own",
    "evaluation.calibration.read": "files",
    "evaluation.calibration.write": "files",
    "evaluation.calibration.is_calibration": "files",
    "evaluation.report": "takes a run folder, and damaged ones have tests of their own",
    "recipes": "files",
    "testing": "finds faults on purpose, and has tests of its own",
    "transport.asked.Asked": "a part of Transport, whose methods are tried there",
    "transport.dynamics.Dynamics": "likewise",
    "transport.draws.Sampling": "likewise",
    "storage.lazily": "imports what others offer",
    "public": "what others offer",
    "data.public": "what others offer",
    "storage.files": "takes any path",
    "storage.documents": "reads files, and damaged ones have tests of their own",
    "doors.checks": "checks of values, which take anything",
    "doors.guard": "takes a module",
    "doors.guarding": "takes a module",
    "doors.kinds": "takes annotations",
    "doors.annotations": "takes annotations",
    "processes.linear.GivenEnd": "numbers of a coupling, worked with behind doors",
    "processes.schedules.Reading": "times that were checked, made behind doors",
    "storage.reading": "files",
    "storage.locks": "files",
    "storage.kept": "files",
    "training.accelerator": "changes the process",
    "training.Trainer.__iter__": "trains",
    "simulated.fit": "trains",
    "evaluation.metrics.Inception": "takes a file of weights that is not there",
    "evaluation.metrics.MobileNetV2": "takes a file of weights that is not there",
}


def namespaces():
    """The public names of the package, of what lies in it, and of modules one may import from."""
    for found in pkgutil.walk_packages(mb.__path__, "markovbridge."):
        name = found.name.removeprefix("markovbridge.")
        inside = "." in name and not found.ispkg and name.split(".")[0] not in OPEN
        left = any(part.startswith("_") or part in LEFT_OUT for part in _prefixes(name))
        if not inside and not left:
            module = importlib.import_module(found.name)
            yield module, getattr(module, "__all__", None) or _defined(module)
    yield mb, mb.__all__


def _prefixes(name):
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _defined(module):
    """What a module defines by public names, but for helpers that stand behind its doors."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (inspect.isclass(value) or inspect.unwrap(value) is not value)
    ]


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
        return getattr(self.owner, self.method)

    @property
    def fields(self):
        """The class whose fields are the arguments."""
        return self.owner if self.method is None else None

    @property
    def of_instance(self):
        """Whether an object of the class is called, and not the class."""
        member = inspect.getattr_static(self.owner, self.method) if self.method else None
        return inspect.isfunction(member)


@functools.cache
def targets():
    """All that take something, by name."""
    return {
        name: target
        for name, target in everything().items()
        if set(inspect.signature(target.function).parameters) - {"self"}
    }


@functools.cache
def everything():
    """All of them, by name."""
    found, seen = {}, set()
    for module, names in namespaces():
        space = module.__name__.removeprefix("markovbridge").removeprefix(".")
        for name in names:
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
    if issubclass(cls, dict | tuple | Exception) or getattr(cls, "_is_protocol", False):
        return
    if inspect.isabstract(cls):
        return
    yield Target(path, cls, None)
    for name in sorted({name for base in cls.__mro__ for name in vars(base)}):
        member = inspect.getattr_static(cls, name)
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
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
        classes = [t.owner for t in everything().values() if t.owner and t.method is None]
        protocol = getattr(kind, "_is_protocol", False)
        for cls in (kind,) if protocol else dict.fromkeys([*classes, *FACTORIES]):
            if protocol or (not getattr(cls, "_is_protocol", False) and issubclass(cls, kind)):
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
            try:
                given = arguments(cls.__init__, cls, self, rng)
            except LookupError:
                continue
            with contextlib.suppress(Exception), quiet():
                found.append(cls(**given))
            if len(found) == 3:
                break
        return found
