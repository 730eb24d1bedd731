"""Processes that are known by simulation only: moves and rates, or drift and noise, are enough."""

from markovbridge.simulated.diffusions import DiffusionDynamics, ReverseDrift
from markovbridge.simulated.dynamics import JumpDynamics, Reactions
from markovbridge.simulated.enumerated import Enumerated, rate_matrix, reachable
from markovbridge.simulated.fitting import Learned, fit
from markovbridge.simulated.objectives import OneTime, PathObjective, WholePath
from markovbridge.simulated.reverse import ReverseRates
from markovbridge.simulated.samplers import Leaping, Thinning
from markovbridge.simulated.sources import Ends, OfLaw, StartLaw, Tabulated
from markovbridge.simulated.walks import Path, Visits, leap, simulate, walk

__all__ = [
    "DiffusionDynamics",
    "Ends",
    "Enumerated",
    "JumpDynamics",
    "Leaping",
    "Learned",
    "OfLaw",
    "OneTime",
    "Path",
    "PathObjective",
    "Reactions",
    "ReverseDrift",
    "ReverseRates",
    "StartLaw",
    "Tabulated",
    "Thinning",
    "Visits",
    "WholePath",
    "fit",
    "leap",
    "rate_matrix",
    "reachable",
    "simulate",
    "walk",
]
