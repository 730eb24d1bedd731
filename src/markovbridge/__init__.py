"""Generative modelling with any Markov process.

import markovbridge as mb

digits = mb.data.Digits().load()
process = mb.PureDeath(maximum=16)
...
"""

from markovbridge.couplings import Dirac, Independent, MinibatchOT, Noised, Paired
from markovbridge.heads import Categorical, Endpoint, LogisticMixture, Mean, NegativeBinomial
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
    Brownian,
    Coefficients,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    PureDeath,
    SubVP,
)
from markovbridge.samplers import Bridge, EulerMaruyama, Gillespie, ProbabilityFlow
from markovbridge.schedules import Cosine, Linear, Logistic, Survival
from markovbridge.transport import Transport, statistics

__all__ = [
    "Bridge",
    "Brownian",
    "Categorical",
    "Coefficients",
    "Cosine",
    "Dirac",
    "DriftMatching",
    "EndMSE",
    "EndNLL",
    "Endpoint",
    "EulerMaruyama",
    "FiniteTime",
    "Gillespie",
    "Independent",
    "Instantaneous",
    "Linear",
    "LinearDiffusion",
    "Logistic",
    "LogisticMixture",
    "Mean",
    "MinibatchOT",
    "NegativeBinomial",
    "Noised",
    "OrnsteinUhlenbeck",
    "Paired",
    "PathKL",
    "ProbabilityFlow",
    "PureDeath",
    "SubVP",
    "Survival",
    "Transport",
    "VE",
    "VP",
    "statistics",
]
