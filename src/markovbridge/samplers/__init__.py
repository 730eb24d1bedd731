"""Samplers: how to walk from the source (t = 0) to the data (t = 1).

Beside the steps themselves stand what they ask of a model (`model`, `known_sites`), where they
stop (`grids`), the walk along them (`walks`) and how far it may go (`extrapolation`).
"""

from markovbridge.samplers.adams import StochasticAdams
from markovbridge.samplers.adaptive import Adaptive
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.corrected import Corrected
from markovbridge.samplers.diffusions import (
    EulerMaruyama,
    Midpoint,
    ProbabilityFlow,
    StochasticHeun,
)
from markovbridge.samplers.gillespie import Gillespie
from markovbridge.samplers.grids import ErrorCurve
from markovbridge.samplers.hand_over import HandOver
from markovbridge.samplers.known_sites import Masking
from markovbridge.samplers.leaping import TauLeaping
from markovbridge.samplers.levels import Level, Levels
from markovbridge.samplers.model import Given, Model
from markovbridge.samplers.second_order import SecondOrderBridge, Trapezoidal

__all__ = [
    "Adaptive",
    "Bridge",
    "Corrected",
    "ErrorCurve",
    "EulerMaruyama",
    "Level",
    "Levels",
    "Gillespie",
    "Given",
    "HandOver",
    "Masking",
    "Midpoint",
    "Model",
    "ProbabilityFlow",
    "Sampler",
    "SecondOrderBridge",
    "StochasticAdams",
    "StochasticHeun",
    "TauLeaping",
    "Trapezoidal",
]
