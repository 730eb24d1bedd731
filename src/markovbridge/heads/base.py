"""What a head is: it turns a network's output into the law of x_1 given x_t."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge


class Head(ABC):
    """Turns a network's output into the law of x_1 given x_t."""

    @abstractmethod
    def outputs(self, process: Process) -> int:
        """How many numbers per site the network must put out."""

    def coupled(self, process: Process, coupling: Coupling) -> Head:
        """This head, told the coupling of its transport; itself if that does not matter.

        Raises:
            TypeError: If the head is none for this process.
            ValueError: If it says nothing of the data under this coupling, with what to use.
        """
        return self

    def sampler(self, process: Process) -> Sampler:
        """The sampler to take if none is named: `Bridge`, which every law can be drawn by."""
        return Bridge()

    @abstractmethod
    def __call__(
        self, process: Process, raw: Tensor, x: Tensor, t: Tensor, mean: Tensor, variance: Tensor
    ) -> Law:
        """Make the law.

        Args:
            process: The reference process.
            raw: The network's output, (batch, outputs, *event), float32.
            x: State at t, (batch, *event).
            t: Times, (batch,).
            mean: Mean of the data, broadcastable to event.
            variance: Variance of the data, broadcastable to event.
        """


doors.guard(__name__)
