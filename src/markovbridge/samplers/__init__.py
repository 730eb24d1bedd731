"""Samplers: how to walk from the source (t = 0) to the data (t = 1)."""

from markovbridge.model import Model
from markovbridge.samplers.adaptive import Adaptive
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.corrected import Corrected
from markovbridge.samplers.diffusions import EulerMaruyama, Midpoint, ProbabilityFlow
from markovbridge.samplers.jumps import Gillespie
from markovbridge.samplers.leaping import TauLeaping
from markovbridge.samplers.second_order import SecondOrderBridge, Trapezoidal

__all__ = [
    "Adaptive",
    "Bridge",
    "Corrected",
    "EulerMaruyama",
    "Gillespie",
    "Midpoint",
    "Model",
    "ProbabilityFlow",
    "Sampler",
    "SecondOrderBridge",
    "TauLeaping",
    "Trapezoidal",
]
