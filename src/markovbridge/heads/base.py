"""What a head is: it turns a network's output into the law of x_1 given x_t."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
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

    @property
    def noise(self) -> int:
        """How many standard normal numbers per site the network is shown: 0, of stated laws."""
        return 0

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

    draws: int = 0
    """Ends that are made of a training sample, for their score."""
    share: float = 1.0
    """Share of the training samples that ends are made of."""

    def times(
        self, n: int, generator: torch.Generator | None, device: torch.device | str
    ) -> Tensor:
        """Times of the training of ends, (n,) float32 in [0, 1)."""
        raise TypeError(f"{type(self).__name__} makes no ends")

    @property
    def stated(self) -> Head:
        """The head that states the law alone."""
        return self

    def from_noise(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        """The end that is made of noise, as a law in whose terms it is stated; see `noise`.

        Args:
            setting: As for the law.
            raw: The output of the network that was shown the noise, (batch, outputs, *event).
            x: State at t, (batch, *event).
            t: Times, (batch,).

        Raises:
            TypeError: If the head is shown none.
        """
        raise TypeError(f"{type(self).__name__} is shown no noise: a JointHead makes ends of it")

    def evened(self, noise: Tensor) -> Tensor:
        """Noise of the ends that are scored, made of independent noise of the same shape.

        Args:
            noise: Standard normal, (draws · batch, noise, *event): the first of each row first.
        """
        return noise

    def whole(self, law: Law, x: Tensor) -> Law:
        """The law of the state that an end stands for: what is left to chance is rounding."""
        return law

    def points(self, setting: Setting, x: Tensor, categories: int | None = None) -> Tensor:
        """States as points whose distances its score counts: (batch, d)."""
        return x.flatten(1).float()

    def score(self, setting: Setting, ends: Law, x1: Tensor) -> Tensor:
        """What is added to the loss for ends made of independent noise: (batch,).

        Args:
            setting: As for the law.
            ends: What `from_noise` gave: the first of each row, then the second, and so on.
            x1: Data, (batch, *event).
        """
        return torch.zeros(len(x1), device=x1.device)


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
