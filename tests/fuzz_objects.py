"""Objects that the fuzzer gives and calls, where a constructor does not make them by itself."""

import contextlib
import functools
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn

import markovbridge as mb
from fuzz_values import COUNTS, REALS
from laws_draws import Draws
from laws_examples import EXAMPLES
from markovbridge import counts, covariances, data, exact, laws, simulated, training
from markovbridge.data import covariates
from markovbridge.data.sparse import Stored
from markovbridge.data.tables.objects import TableObject, read_object
from markovbridge.evaluation import (
    calibration,
    conformal,
    linear_restoration,
    metrics,
    plots,
    restoration,
)
from markovbridge.evaluation.metrics.points import CountRows
from markovbridge.processes.baselines import Pairing
from markovbridge.samplers import Masking
from markovbridge.samplers.model import DataModel, Model
from markovbridge.storage import parts
from markovbridge.transport import tilt


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


def _settings():
    """Of these models, and of a process of steps."""
    moments = torch.ones(3), torch.full((3,), 2.0)
    steps = mb.processes.Setting(mb.BirthDeath(2.0, maximum=8), mb.Noised(), *moments)
    return [*(transport.setting for transport in _transports()), steps]


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


def _correction():
    return conformal.Correction((1.0,), (0.5,), ((0.0, 0.5),))


def _calibration():
    restored = restoration.Restoration(COUNTS.expand(3, 4, 3))
    facts = {"task": "impute", "share": 0.5, "walk": "Bridge(), steps 2", "levels": (0.5,)}
    return calibration.calibrate(restored, COUNTS, COUNTS >= 0, REALS[0].abs(), **facts)


# What a constructor does not give by itself, and what is no class of this package.
FACTORIES = {
    mb.Transport: _transports,
    mb.CountModel: lambda: [_count_model()],
    mb.PureDeath: lambda: (
        [mb.PureDeath(), mb.PureDeath(8), mb.PureDeath(8, mb.LinearSchedule())] * 3
    ),
    mb.LinearDiffusion: lambda: [mb.LinearDiffusion(), mb.LinearDiffusion(mb.processes.VP())] * 3,
    mb.heads.Denoiser: lambda: [
        mb.heads.Denoiser(mb.LinearDiffusion(), lambda x, sigma, condition: x, mb.Dirac(0.0))
    ],
    mb.processes.FiniteChain: _chains,
    mb.processes.Setting: _settings,
    Pairing: lambda: [mb.Noised(), mb.Dirac(0.0)],
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
    exact.CountMixture: lambda: [exact.CountMixture.fit(_many_counts(), components=2)],
    exact.Gaussian: lambda: [
        exact.Gaussian(mb.LinearDiffusion(), REALS[0].double(), torch.eye(3).double() + 0.1)
    ],
    exact.MeanOnly: lambda: [exact.MeanOnly(exact.Poisson(mb.PureDeath(), 3.0))],
    training.Trainer: _trainers,
    metrics.ModuleExtractor: lambda: [metrics.ModuleExtractor(nn.Flatten(), "flat")],
    metrics.Moments: lambda: [metrics.Moments(REALS[0].double(), torch.eye(3).double())],
    linear_restoration.Wiener: lambda: [linear_restoration.Wiener.fit(_many_counts(), 0.5)],
    counts.Prediction: lambda: [
        counts.Prediction(
            restoration.Restoration(COUNTS.expand(5, 4, 3)),
            COUNTS.float(),
            read_object(COUNTS.numpy()),
        )
    ],
    conformal.Correction: lambda: [_correction()],
    calibration.Calibration: lambda: [_calibration()],
    tilt.Multiplied: lambda: [tilt.Multiplied(_transports()[k], REALS[0]) for k in (0, 3)],
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
    DataModel: lambda: _transports(),
    Model: lambda: _transports(),
    plots.Shaped: lambda: _transports() + _reverse_rates(),
    plots.Walking: lambda: _transports() + _reverse_drifts(),
    plots.Marginals: lambda: [exact.Reverse(mb.UniformChain(3), torch.ones(3))],
    parts.Named: lambda: [parts.Named("markovbridge.PureDeath", lambda: mb.PureDeath)],
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
