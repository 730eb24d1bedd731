r"""The head of gamma processes: a mixture of gammas for what remains.

What remains of x_1 beyond x_t is positive. With data of mean μ and variance v, and a the shape of
the process, it has the mean qμ and, x_t not being looked at, a variance that makes its shape

    k  =  q μ² / (q v + p (v + μ²)/(a + 1)).

A zero output of one component states such a gamma, which is exact for gamma data of shape a,
whatever x_t is, and whose density near x_t is nearly (x_1 - x_t)^(aq - 1) for all data as t goes
to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.doors import checks
from markovbridge.heads.base import Head
from markovbridge.heads.counts import CENTRE, apart, log_softplus
from markovbridge.laws import LOG_TINY, Shifted
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.clock import match
from markovbridge.processes.gamma import GammaProcess

LEAST, MOST = 1e-6, 1e4  # of shapes


@dataclass(frozen=True)
class GammaHead(Head):
    """Gammas for the remaining amount x_1 - x_t, under a `GammaProcess`. Train it by `EndNLL`.

    Attributes:
        components: How many are mixed at each site. A zero output weighs them alike, with
            means from e times smaller to e times larger, that of the mixture being qμ.
    """

    components: int = 3

    def __post_init__(self) -> None:
        checks.whole(self.components, "components", least=1)

    def outputs(self, process: Process) -> int:
        """Weight, mean and shape of each gamma."""
        _gamma(process)
        return 3 * self.components

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Shifted:
        process, tiny = _gamma(setting.process), math.exp(LOG_TINY)
        t = process.schedule.at(t)
        p = match(process.schedule.survival(t), x).float()
        q = match(process.schedule.mortality(t), x).float()
        mean, variance = setting.mean.clamp_min(tiny), setting.variance
        left = q * variance + p * (variance + mean**2) / (process.shape + 1)
        shape = (q * mean**2 / left.clamp_min(tiny)).expand(x.shape).unsqueeze(-1)
        scale = (q * mean).clamp_min(tiny).log().expand(x.shape).unsqueeze(-1)
        weights, means, shapes = raw.float().movedim(1, -1).chunk(3, -1)
        offsets = apart(self.components, raw.device)
        log_mean = scale + offsets - offsets.exp().mean().log() + log_softplus(means + CENTRE)
        shape = (shape * F.softplus(shapes + CENTRE)).clamp(LEAST, MOST)
        mixed = laws.Gamma(log_mean.clamp_min(LOG_TINY), shape)
        return Shifted(x, laws.SiteMixture(weights.log_softmax(-1), mixed))


def _gamma(process: Process) -> GammaProcess:
    """The process, or an error if it is another one."""
    if isinstance(process, GammaProcess):
        return process
    raise TypeError(
        f"GammaHead is for the remaining amounts of a GammaProcess, not for "
        f"{type(process).__name__}: take EndpointHead for reals, and MeanHead or CategoricalHead "
        "for counts"
    )


doors.guard(__name__)
