r"""The two-conditional-means head, for processes that move both ways.

A process on integers whose jumps are one up and one down has generative rates
affine in two numbers per site: the expected steps up and down that lead from x_t
to x_1 (`processes.integers`). So two means are all that continuous time asks of a
network, as one mean is for pure death. Trained by `PathKL` they bound the
likelihood, exactly at the true means.

With zero output the head says what the base law says, or else the mean of the data: no NaN and
no log 0 anywhere on t in [0, 1], in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.heads.base import CorrectingHead
from markovbridge.heads.counts import CENTRE, log_softplus
from markovbridge.laws import LOG_TINY
from markovbridge.laws.sums import TwoMeans as Law
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.integers import IntegerProcess


@dataclass(frozen=True)
class TwoMeansHead(CorrectingHead):
    """Expected steps up and down from x_t to x_1.

    Its law of x_1 has these means, and Poisson or binomial steps independent of one
    another: right in what the rates need, a guess in the rest. `TauLeaping` uses the rates
    alone; `Bridge` draws from the guess, and is of first order all the same.
    """

    def outputs(self, process: Process) -> int:
        """Two: steps up, and steps down."""
        _stepping(process)
        return 2

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        process, base = _stepping(setting.process), setting.base
        tiny = math.exp(LOG_TINY)
        if base is None:
            known = process.guess(x, t, setting.mean)
        else:
            known = process.expected_steps(base, x, t)
        up, down = (steps.float().clamp_min(tiny) for steps in known)
        log_up = up.log() + log_softplus(raw[:, 0] + CENTRE)
        if process.lowest is None:
            log_down = down.log() + log_softplus(raw[:, 1] + CENTRE)
        else:
            # Of a count at most so many can have come since the data.
            room = process.room(x).clamp_min(tiny)
            odds = torch.logit((down / room).clamp(1e-6, 1 - 1e-6))
            log_down = room.log() + F.logsigmoid(raw[:, 1] + odds)
        return process.stepped(x, log_up.clamp_min(LOG_TINY), log_down.clamp_min(LOG_TINY))


def _stepping(process: Process) -> IntegerProcess:
    """The process, or an error if it does not step up and down."""
    if isinstance(process, IntegerProcess):
        return process
    raise TypeError(
        f"TwoMeansHead is for processes on integers that step up and down, not "
        f"for {type(process).__name__}: take CategoricalHead or MeanHead"
    )


doors.guard(__name__)
