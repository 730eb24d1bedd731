"""Reference Markov processes: how the reference moves, and what its bridge is."""

from markovbridge.processes.base import DiscreteProcess, JumpProcess, Process
from markovbridge.processes.categories import AbsorbingChain, UniformChain
from markovbridge.processes.chains import DiscretisedGaussianChain, FiniteChain
from markovbridge.processes.counts import PureDeath
from markovbridge.processes.ehrenfest import Ehrenfest

__all__ = [
    "AbsorbingChain",
    "DiscreteProcess",
    "DiscretisedGaussianChain",
    "Ehrenfest",
    "FiniteChain",
    "JumpProcess",
    "Process",
    "PureDeath",
    "UniformChain",
]
