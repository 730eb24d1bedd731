r"""The Yule process: units that multiply.

Stated from data to source, every unit gives birth at the same rate, on the clock log(1 + κq):

    x_t | x_1  ~  x_1 + NB(size x_1, mean κq x_1)       down p'/q E[x - x_1 | x]

with q = 1 - p the mortality, in the notation of `markovbridge.processes.random_walks`; the bridge
between given ends is that of `PureBirth`, as (1 + κq) is an affine function of q.

The births are the noise: a source x_0 is the population that x_1 founders have become, and the
generative process finds the founders. It never forgets them: x_0/(1 + κ) tends to a Gamma law of
shape x_1 as κ grows. So it is for `restore` from an observed population, for `Independent` and
`Paired` sources, and for data near `centre`.

Stated the other way, from one founder at the source to the population that is the data, it would
be nothing new: pinned at both ends births come independently, as those of `PureDeath` read
towards the data do, so that `PureDeath` of x_1 - 1 is that model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import NegativeBinomial, Shifted
from markovbridge.processes.base import Setting
from markovbridge.processes.clock import match
from markovbridge.processes.random_walks import Births
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time


@dataclass(frozen=True)
class Yule(Births):
    """Every unit gives birth at the same rate, and none dies: counts that have grown.

    A count of 0 stays 0. Given its ends the bridge is that of `PureBirth`; what differs is how
    many births a count of the data has on the way to the source, so `Noised` and every law of
    x_1 given x_t do.

    Attributes:
        rate: Expected descendants κ of a unit of the data at the source, beside itself.
        centre: The source is what becomes of this many units; about the mean of the data.
        maximum: Largest value of the data, None if unbounded.
        schedule: One minus the share of the expected births that have come, over time.
    """

    rate: float
    centre: int = 1
    maximum: int | None = None
    schedule: Schedule = field(default_factory=CosineSchedule)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centre < 1:
            raise ValueError(
                f"centre must be at least 1, not {self.centre}: nothing is born to no units"
            )

    def transition(self, x: Tensor, s: Time, t: Time) -> Shifted:
        """State x + NB of size x and mean x κ(p_s - p_t)/(1 + κ q_s), for t <= s."""
        t, s = self.schedule.ordered(t, s)
        log_steps = self._log_steps(x, s, t)
        grown = match(torch.log1p(self.rate * self.schedule.mortality(s)), x)
        log_each = (log_steps - grown).to(log_steps.dtype)
        log_mean = x.to(log_each.dtype).log() + log_each
        return Shifted(x, NegativeBinomial(log_mean, x.clamp_min(1).to(log_mean.dtype)))

    def guess(self, x: Tensor, t: Time, mean: Tensor) -> tuple[Tensor, Tensor]:
        """None up; down the share κq/(1 + κq) of x."""
        new = self._log_steps(x, 1.0, t).exp().to(torch.float32)
        return torch.zeros_like(x, dtype=torch.float32), x * (new / (1 + new))

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - gμ) / sqrt(g²σ² + g(g - 1)μ), g = 1 + κq."""
        new = self._log_steps(x, 1.0, t).exp().to(torch.float32)
        grown = 1 + new
        spread = grown**2 * setting.variance + grown * new * setting.mean
        return ((x - grown * setting.mean) / spread.clamp_min(1e-12).sqrt()).unsqueeze(1)


doors.guard(__name__)
