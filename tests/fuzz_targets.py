"""What the fuzzer calls: every public function, constructor and method, and objects to give them.

Targets are found by looking at the package, so that a new one is a target by itself. Objects are
made by constructors, with arguments that they take.
"""

import contextlib
import functools
import importlib
import inspect
import io
import pkgutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn

import markovbridge as mb
from fuzz_values import COUNTS, REALS, arguments, rng_of
from laws_examples import EXAMPLES, Draws
from markovbridge import counts, covariances, data, exact, laws, simulated, training
from markovbridge.data import covariates
from markovbridge.data.sparse import Stored
from markovbridge.data.tables.objects import TableObject, read_object
from markovbridge.evaluation import linear_restoration, metrics, restoration
from markovbridge.evaluation.metrics.points import CountRows
from markovbridge.samplers import Masking
from markovbridge.samplers.model import Model
from markovbridge.storage import parts

# Packages whose modules one imports from.
OPEN = ("doors", "evaluation", "samplers", "storage", "transport")
# Namespaces and targets that are not fuzzed here, and why.
LEFT_OUT = {
    "cli": "the command line has tests of its own",
    "evaluation.report": "takes a run folder, and damaged ones have tests of their own",
    "recipes": "files",
    "testing": "finds faults on purpose, and has tests of its own",
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


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield


@functools.cache
def _transports():
    net = functools.partial(mb.networks.MLP, (3,), width=8, depth=1)
    death, gauss, chain = mb.PureDeath(maximum=8), mb.LinearDiffusion(), mb.UniformChain(3)
    told = covariates.Covariates((covariates.Covariate("batch", ("a", "b")),))
    return [
        mb.Transport(death, net(features=1, outputs=1), mb.MeanHead(), shape=(3,)),
        mb.Transport(gauss, net(features=1, outputs=1), mb.EndpointHead(), shape=(3,)),
        mb.Transport(chain, net(features=1, outputs=3), mb.CategoricalHead(), shape=(3,)),
        mb.Transport(mb.PureDeath(), exact.Poisson(mb.PureDeath(), 3.0), shape=(3,)),
        mb.Transport(
            death,
            net(features=3, outputs=1, condition=2),
            mb.NegativeBinomialHead(),
            shape=(3,),
            masking=Masking(),
            covariates=told,
        ),
    ]


@functools.cache
def _count_model():
    model = mb.CountModel(
        width=8, depth=1, steps=4, batch_size=8, random_state=0, library_size="covariate"
    )
    return model.fit(torch.randint(5, (40, 3)).numpy(), covariates={"batch": ["a", "b"] * 20})


def _trainers():
    config = training.TrainingConfig(steps=2, batch_size=4, warmup=0)
    return [training.Trainer(_transports()[0], COUNTS, config)]


def _chains():
    rates = [[-1.0, 0.5, 0.5], [1.0, -2.0, 1.0], [0.5, 0.5, -1.0]]
    sparse = torch.tensor(rates).to_sparse()
    return [
        mb.processes.FiniteChain(rates),
        mb.processes.FiniteChain(sparse, ordered=True),
        mb.processes.FiniteChain(lambda t: (1 + t) * torch.tensor(rates)),
    ]


def _discrete_chains():
    steps = [[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]]] * 3
    return [mb.processes.DiscreteTimeChain(steps)]


def _laws():
    """Two of each class of law, of 4 rows."""
    for make in EXAMPLES.values():
        for seed in (0, 1):
            yield make(Draws(seed, torch.float64)).make(4)


def _of_laws(cls):
    return [law for law in _laws() if type(law) is cls]


def _reactions():
    """Counts that are born and die."""
    changes = torch.tensor([[1], [-1]])
    return [simulated.Reactions(changes, lambda x, t: torch.ones(len(x), 2), most=5)]


class _Pull(simulated.DiffusionDynamics):
    shape = (3,)

    def drift(self, x, t):
        return -x

    def noise(self, x, t):
        return torch.ones_like(x)


def _reverse_rates():
    states = torch.arange(6).unsqueeze(1)
    network = mb.networks.MLP((1,), features=2, outputs=2, width=8, depth=1)
    source = simulated.Tabulated(states, torch.ones(6))
    return [simulated.ReverseRates(_reactions()[0], network, source)]


def _reverse_drifts():
    network = mb.networks.MLP((3,), features=1, outputs=1, width=8, depth=1)
    return [simulated.ReverseDrift(_Pull(), network, _normal_source(), steps=3)]


def _normal_source():
    return simulated.OfLaw(lambda n: laws.Normal(torch.zeros(n, 3), torch.ones(n, 3)))


def _enumerated():
    return [simulated.Enumerated.of(_reactions()[0], torch.zeros(1, 1, dtype=torch.int64))]


class _InMemory:
    """A table that stands for one on disk."""

    shape, dtype, chunk = tuple(COUNTS.shape), COUNTS.dtype, 2

    def take(self, rows):
        return sparse.csr_matrix(COUNTS.numpy()[rows])


def _files(kind):
    """Sources, and what is made of them; they read files of the working folder."""
    table, counts = data.CountTable(Path("table.npz")), data.Arrays(Path("counts.npy"))
    return {
        data.CountTable: [table],
        data.Arrays: [counts],
        data.Digits: [data.Digits()],
        data.Selected: [data.Selected(data.Digits(), (0, 1))],
        data.Binarised: [data.Binarised(data.Digits())],
    }[kind]


# What a constructor does not give by itself, and what is no class of this package.
FACTORIES = {
    mb.Transport: _transports,
    mb.CountModel: lambda: [_count_model()],
    mb.PureDeath: lambda: [mb.PureDeath(), mb.PureDeath(8), mb.PureDeath(8, mb.Linear())] * 3,
    mb.LinearDiffusion: lambda: [mb.LinearDiffusion(), mb.LinearDiffusion(mb.processes.VP())] * 3,
    mb.heads.Denoiser: lambda: [
        mb.heads.Denoiser(mb.LinearDiffusion(), lambda x, sigma, condition: x, mb.Dirac(0.0))
    ],
    mb.processes.FiniteChain: _chains,
    mb.processes.DiscreteTimeChain: _discrete_chains,
    covariances.Diagonal: lambda: [
        covariances.Diagonal([0.5, 1.0, 2.0]),
        covariances.Diagonal(torch.tensor([0.5, 1.0, 2.0])),
    ],
    exact.Poisson: lambda: [exact.Poisson(mb.PureDeath(), 3.0)],
    exact.NegativeBinomial: lambda: [exact.NegativeBinomial(mb.PureDeath(), 3.0, 2.0)],
    exact.ZeroInflatedPoisson: lambda: [exact.ZeroInflatedPoisson(mb.PureDeath(), 0.5, 2.0)],
    exact.Mixture: lambda: [
        exact.Mixture(
            mb.PureDeath(), (0.5, 0.5), [exact.Poisson(mb.PureDeath(), m) for m in (1.0, 3.0)]
        )
    ],
    exact.Gaussian: lambda: [
        exact.Gaussian(mb.LinearDiffusion(), REALS[0].double(), torch.eye(3).double() + 0.1)
    ],
    exact.MeanOnly: lambda: [exact.MeanOnly(exact.Poisson(mb.PureDeath(), 3.0))],
    training.Trainer: _trainers,
    metrics.ModuleExtractor: lambda: [metrics.ModuleExtractor(nn.Flatten(), "flat")],
    metrics.Moments: lambda: [metrics.Moments(REALS[0].double(), torch.eye(3).double())],
    metrics.NegativeBinomialMixture: lambda: [
        metrics.NegativeBinomialMixture.fit(_many_counts(), components=2)
    ],
    linear_restoration.Wiener: lambda: [linear_restoration.Wiener.fit(_many_counts(), 0.5)],
    counts.Prediction: lambda: [
        counts.Prediction(
            restoration.Restoration(COUNTS.expand(5, 4, 3)),
            COUNTS.float(),
            read_object(COUNTS.numpy()),
        )
    ],
    simulated.Reactions: _reactions,
    simulated.DiffusionDynamics: lambda: [_Pull()],
    simulated.ReverseRates: _reverse_rates,
    simulated.ReverseDrift: _reverse_drifts,
    simulated.Enumerated: _enumerated,
    simulated.OfLaw: lambda: [_normal_source()],
    Stored: lambda: [_InMemory()],
    TableObject: lambda: [read_object(COUNTS.numpy())],
    data.SparseRows: lambda: [data.SparseRows(sparse.csr_matrix(COUNTS.numpy()))],
    sparse.csr_matrix: lambda: [sparse.csr_matrix(COUNTS.numpy())],
    CountRows: lambda: [COUNTS, COUNTS.numpy(), sparse.csr_matrix(COUNTS.numpy())],
    Model: lambda: _transports(),
    parts.Named: lambda: [parts.Named("markovbridge.PureDeath", mb.PureDeath)],
    nn.Module: lambda: [nn.Linear(3, 3), nn.Flatten()],
    np.random.Generator: lambda: [np.random.default_rng(0)],
    **{cls: functools.partial(_of_laws, cls) for cls in {type(law) for law in _laws()}},
}


def _many_counts():
    return torch.randint(5, (40, 3), generator=torch.Generator().manual_seed(0))


def with_files():
    """Add sources that read files, which lie in the working folder."""
    for kind in (data.CountTable, data.Arrays, data.Digits, data.Selected, data.Binarised):
        FACTORIES[kind] = functools.partial(_files, kind)
