"""What a head is: it turns a network's output into the law of x_1 given x_t."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.laws import Law
from markovbridge.processes.base import Process, Setting
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge


class Head(ABC):
    """Turns a network's output into the law of x_1 given x_t."""

    @property
    def corrects(self) -> bool:
        """Whether its output corrects a base law, `setting.base`, where there is one."""
        return False

    @property
    def starts_from_moments(self) -> bool:
        """Whether to start from `process.closed_form`, if no base law is named."""
        return False

    @abstractmethod
    def outputs(self, process: Process) -> int:
        """How many numbers per site the network must put out."""

    def check(self, process: Process, coupling: Coupling) -> None:
        """Check that it can be used with a process and a coupling.

        Raises:
            TypeError: If it is none for this process.
            ValueError: If it says nothing of the data under them, with what to use.
        """
        self.outputs(process)

    def sampler(self, process: Process) -> Sampler:
        """The sampler to take if none is named: `Bridge`, which every law can be drawn by."""
        return Bridge()

    @abstractmethod
    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        """Make the law.

        Args:
            setting: What the output is relative to: process, coupling, moments of the data, and
                the law that it corrects, if there is one.
            raw: The network's output, (batch, outputs, *event), float32.
            x: State at t, (batch, *event).
            t: Times, (batch,).
        """


class CorrectingHead(Head):
    """A head whose output corrects a base law; without a named one, that of the moments."""

    @property
    def corrects(self) -> bool:
        """Yes."""
        return True

    @property
    def starts_from_moments(self) -> bool:
        """Yes."""
        return True


doors.guard(__name__)
