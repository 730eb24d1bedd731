"""Reference Markov processes: how the reference moves, and what its bridge is."""

from markovbridge.processes.base import DiscreteProcess, Process, Setting
from markovbridge.processes.categories import AbsorbingChain, UniformChain
from markovbridge.processes.chains import DiscretisedGaussianChain, FiniteChain
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.discrete_time import DiscreteTimeChain
from markovbridge.processes.ehrenfest import Ehrenfest
from markovbridge.processes.integers import IntegerProcess
from markovbridge.processes.jumps import JumpProcess
from markovbridge.processes.pure_death import PureDeath
from markovbridge.processes.random_walks import BirthDeath, PureBirth, RandomWalk
from markovbridge.processes.reals import Diffusion
from markovbridge.processes.schedules import (
    Cosine,
    Linear,
    Logistic,
    Mirrored,
    Schedule,
    Survival,
)
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
from markovbridge.processes.yule import Yule

__all__ = [
    "AbsorbingChain",
    "Brownian",
    "Coefficients",
    "BirthDeath",
    "Cosine",
    "Diffusion",
    "DiscreteProcess",
    "DiscreteTimeChain",
    "DiscretisedGaussianChain",
    "Ehrenfest",
    "FiniteChain",
    "Interval",
    "IntegerProcess",
    "JumpProcess",
    "Linear",
    "LinearDiffusion",
    "LinearSDE",
    "Logistic",
    "Mirrored",
    "OrnsteinUhlenbeck",
    "Positive",
    "Process",
    "PureBirth",
    "PureDeath",
    "RandomWalk",
    "Rounded",
    "Schedule",
    "Setting",
    "SubVP",
    "Support",
    "Survival",
    "UniformChain",
    "VE",
    "VP",
    "Yule",
]
