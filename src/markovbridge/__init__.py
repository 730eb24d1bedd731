"""Generative modelling with any Markov process.

import markovbridge as mb

digits = mb.data.Digits().load()
process = mb.PureDeath(maximum=16)
...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from markovbridge import exact
from markovbridge.couplings import Dirac, Independent, MinibatchOT, Noised, Paired
from markovbridge.heads import (
    Categorical,
    Centred,
    Endpoint,
    LogisticMixture,
    Mean,
    NegativeBinomial,
    TwoMeans,
)
from markovbridge.masking import Masking
from markovbridge.model import Given
from markovbridge.objectives import (
    DriftMatching,
    EndMSE,
    EndNLL,
    FiniteTime,
    Instantaneous,
    PathKL,
)
from markovbridge.processes import (
    VE,
    VP,
    AbsorbingChain,
    BirthDeath,
    Brownian,
    Coefficients,
    DiscreteTimeChain,
    DiscretisedGaussianChain,
    Ehrenfest,
    FiniteChain,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    PureBirth,
    PureDeath,
    RandomWalk,
    SubVP,
    UniformChain,
)
from markovbridge.samplers import (
    Bridge,
    Corrected,
    EulerMaruyama,
    Gillespie,
    Midpoint,
    ProbabilityFlow,
    TauLeaping,
    Trapezoidal,
)
from markovbridge.schedules import Cosine, Linear, Logistic, Survival
from markovbridge.transport import Transport, statistics

if TYPE_CHECKING:
    from markovbridge import counts as counts
    from markovbridge import data as data
    from markovbridge import images as images
    from markovbridge import training as training
    from markovbridge.counts import CountModel

LATER = {
    "CountModel": "counts",
    **{name: name for name in ("counts", "data", "images", "training")},
}

__all__ = [
    "AbsorbingChain",
    "BirthDeath",
    "Bridge",
    "Brownian",
    "Categorical",
    "Centred",
    "Coefficients",
    "Corrected",
    "Cosine",
    "CountModel",
    "Dirac",
    "DiscreteTimeChain",
    "DiscretisedGaussianChain",
    "DriftMatching",
    "Ehrenfest",
    "EndMSE",
    "EndNLL",
    "Endpoint",
    "EulerMaruyama",
    "FiniteChain",
    "FiniteTime",
    "Gillespie",
    "Given",
    "Independent",
    "Instantaneous",
    "Linear",
    "LinearDiffusion",
    "Logistic",
    "LogisticMixture",
    "Masking",
    "Mean",
    "Midpoint",
    "MinibatchOT",
    "NegativeBinomial",
    "Noised",
    "OrnsteinUhlenbeck",
    "Paired",
    "PathKL",
    "ProbabilityFlow",
    "PureBirth",
    "PureDeath",
    "RandomWalk",
    "SubVP",
    "Survival",
    "TauLeaping",
    "Transport",
    "Trapezoidal",
    "TwoMeans",
    "UniformChain",
    "VE",
    "VP",
    "exact",
    "statistics",
]


def __getattr__(name: str) -> Any:
    """Import what a model is not made of, readers and the training loop, when it is asked for."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{LATER[name]}")
    return getattr(module, name) if name in __all__ else module


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
