"""Reference Markov processes: how the reference moves, and what its bridge is."""

from markovbridge.processes.bands import BandClocks, BandSDE
from markovbridge.processes.base import DiscreteProcess, Process, Setting
from markovbridge.processes.categories import AbsorbingChain, UniformChain
from markovbridge.processes.chains import DiscretisedGaussianChain, FiniteChain
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.discrete_time import DiscreteTimeChain
from markovbridge.processes.ehrenfest import Ehrenfest
from markovbridge.processes.gamma import GammaProcess
from markovbridge.processes.integers import IntegerProcess
from markovbridge.processes.jumps import JumpProcess
from markovbridge.processes.linear_birth_death import LinearBirthDeath
from markovbridge.processes.pure_death import PureDeath
from markovbridge.processes.random_walks import BirthDeath, PureBirth, RandomWalk
from markovbridge.processes.reals import Diffusion
from markovbridge.processes.schedules import (
    CosineSchedule,
    LinearSchedule,
    LogisticSchedule,
    MirroredSchedule,
    Schedule,
    SurvivalSchedule,
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
from markovbridge.processes.supports import (
    IntervalSupport,
    PositiveSupport,
    RoundedSupport,
    Support,
)
from markovbridge.processes.yule import Yule

__all__ = [
    "BandClocks",
    "BandSDE",
    "AbsorbingChain",
    "Brownian",
    "Coefficients",
    "BirthDeath",
    "CosineSchedule",
    "Diffusion",
    "DiscreteProcess",
    "DiscreteTimeChain",
    "DiscretisedGaussianChain",
    "Ehrenfest",
    "FiniteChain",
    "GammaProcess",
    "IntervalSupport",
    "IntegerProcess",
    "JumpProcess",
    "LinearBirthDeath",
    "LinearDiffusion",
    "LinearSDE",
    "LinearSchedule",
    "LogisticSchedule",
    "MirroredSchedule",
    "OrnsteinUhlenbeck",
    "PositiveSupport",
    "Process",
    "PureBirth",
    "PureDeath",
    "RandomWalk",
    "RoundedSupport",
    "Schedule",
    "Setting",
    "SubVP",
    "Support",
    "SurvivalSchedule",
    "UniformChain",
    "VE",
    "VP",
    "Yule",
]
