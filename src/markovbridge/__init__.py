"""Generative modelling with any Markov process.

import markovbridge as mb

digits = mb.data.Digits().load()
process = mb.PureDeath(maximum=16)
...
"""

from markovbridge.couplings import Noised
from markovbridge.heads import Categorical, LogisticMixture, Mean, NegativeBinomial
from markovbridge.objectives import EndNLL, FiniteTime, Instantaneous, PathKL
from markovbridge.processes import PureDeath
from markovbridge.samplers import Bridge, Gillespie
from markovbridge.schedules import Cosine, Linear, Logistic, Survival
from markovbridge.transport import Transport, statistics

__all__ = [
    "Bridge",
    "Categorical",
    "Cosine",
    "EndNLL",
    "FiniteTime",
    "Gillespie",
    "Instantaneous",
    "Linear",
    "Logistic",
    "LogisticMixture",
    "Mean",
    "NegativeBinomial",
    "Noised",
    "PathKL",
    "PureDeath",
    "Survival",
    "Transport",
    "statistics",
]
