"""Independent sites, each with a table of its own over the values: under any discrete process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from markovbridge import doors, laws
from markovbridge.couplings import Coupling, Noised
from markovbridge.doors import checks
from markovbridge.exact.base import DataLaw, check_states
from markovbridge.laws import Law, SiteLaw
from markovbridge.processes.base import DiscreteProcess, Process
from markovbridge.processes.schedules import Time


class Frequencies(nn.Module, DataLaw):
    """Independent sites, each with its own table of probabilities.

    Its numbers are a buffer, `logits` (*event, states), the same for all values until they are
    filled: by `FitFrequencies`, or from a file.

    Args:
        process: The process, on a bounded number of values.
        states: How many values.
        shape: Event shape.

    Raises:
        TypeError: If the process is none on whole numbers.
        ValueError: If its values are another number.
    """

    coupling: Coupling = Noised()
    config: dict[str, Any]
    logits: Tensor

    def __init__(self, process: Process, *, states: int, shape: Sequence[int]) -> None:
        super().__init__()
        checks.whole(states, "states", least=1)
        known = process.states if isinstance(process, DiscreteProcess) else None
        if not isinstance(process, DiscreteProcess):
            raise TypeError(f"frequencies are of whole numbers, not of {type(process).__name__}")
        if known != states:
            raise ValueError(f"the data of {process} have {known} values, not {states}")
        self.process = process
        self.config = {"process": process, "states": states, "shape": list(shape)}
        self.register_buffer("logits", torch.zeros(*shape, states))

    @property
    def _discrete(self) -> DiscreteProcess:
        assert isinstance(self.process, DiscreteProcess), "as the constructor asks"
        return self.process

    def marginal(self, x: Tensor, t: Time) -> Law:
        check_states(x, self.logits.shape[:-1])
        process = self._discrete
        moved = process.transition(process.ends(x), 1.0, t)
        if not isinstance(moved, SiteLaw):
            raise TypeError(
                f"the transitions of {type(process).__name__} have no law per site, and so has "
                "x_t of frequencies: take Empirical"
            )
        log = self.logits.log_softmax(-1).expand(*x.shape, -1)
        return laws.SiteMixture(log, moved)

    def forward(self, x: Tensor, t: Time, condition: Tensor | None = None) -> laws.Categorical:
        """The law of x_1 given x_t = x."""
        check_states(x, self.logits.shape[:-1])
        known = self._discrete.evidence(x, t)
        return laws.Categorical(self.logits.to(known.dtype) + known)


doors.guard(__name__)
