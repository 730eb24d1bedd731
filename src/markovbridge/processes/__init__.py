"""Reference Markov processes: how the reference moves, and what its bridge is."""

from markovbridge.processes.base import JumpProcess, Process
from markovbridge.processes.counts import PureDeath

__all__ = ["JumpProcess", "Process", "PureDeath"]
