"""Couplings: which source state goes with which data point.

The reference, pinned at both ends and mixed over a coupling, is what a model
learns to simulate. Time reversal ("denoising") is the coupling that draws the
source from the reference itself, given the data (Peluchetti,
https://arxiv.org/abs/2312.14589).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge.processes.base import Process

__all__ = ["Coupling", "Noised"]


class Coupling(ABC):
    """A joint law of source and data whose second marginal is the data."""

    @abstractmethod
    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """A source state for each data point: (batch, *event)."""

    @abstractmethod
    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """States to start sampling from, in the shape of `like`."""


@dataclass(frozen=True)
class Noised(Coupling):
    """Time reversal: x0 is the data point itself, carried to t = 0 by the reference.

    Sampling starts from the law the reference forgets to. For pure death that is the
    black state; where the schedule leaves survivors at t = 0 (`Logistic` as published)
    the two differ, and samples carry that prior mismatch.
    """

    def pair(
        self, process: Process, x1: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return process.noised(x1).sample(generator=generator)

    def start(
        self, process: Process, like: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return process.source(like).sample(generator=generator)
