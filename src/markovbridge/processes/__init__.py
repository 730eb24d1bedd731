"""Reference Markov processes: how the reference moves, and what its bridge is."""

from markovbridge.processes.base import DiscreteProcess, JumpProcess, Process
from markovbridge.processes.categories import AbsorbingChain, UniformChain
from markovbridge.processes.chains import DiscretisedGaussianChain, FiniteChain
from markovbridge.processes.counts import PureDeath
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.discrete import DiscreteTimeChain
from markovbridge.processes.ehrenfest import Ehrenfest
from markovbridge.processes.integers import BirthDeath, IntegerProcess, PureBirth, RandomWalk
from markovbridge.processes.reals import Diffusion
from markovbridge.processes.sdes import (
    VE,
    VP,
    Brownian,
    Coefficients,
    LinearSDE,
    OrnsteinUhlenbeck,
    SubVP,
)
from markovbridge.processes.supports import Interval, Positive, Rounded, Support

__all__ = [
    "AbsorbingChain",
    "Brownian",
    "Coefficients",
    "BirthDeath",
    "Diffusion",
    "DiscreteProcess",
    "DiscreteTimeChain",
    "DiscretisedGaussianChain",
    "Ehrenfest",
    "FiniteChain",
    "Interval",
    "IntegerProcess",
    "JumpProcess",
    "LinearDiffusion",
    "LinearSDE",
    "OrnsteinUhlenbeck",
    "Positive",
    "Process",
    "PureBirth",
    "PureDeath",
    "RandomWalk",
    "Rounded",
    "SubVP",
    "Support",
    "UniformChain",
    "VE",
    "VP",
]
