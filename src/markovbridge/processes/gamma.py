r"""The gamma process: positive amounts that grow from 0 to the data by jumps of all sizes.

Read from source to data it is a subordinator, whose increments are independent gamma variables
(Dufresne, Gerber and Shiu 1991, https://doi.org/10.2143/AST.21.2.2005362). Between given ends its
scale does not matter and the increments are a Dirichlet vector (Émery and Yor 2004,
https://doi.org/10.2977/prims/1145475500). With shape a from end to end, on the clock p(t):

    x_t | x_s, x_u  ~  x_s + (x_u - x_s) Beta(a (p_t - p_s), a (p_u - p_t))

Stated from data to source, where all paths end at 0, it is a thinning of amounts,

    x_t | x_u  ~  x_u Beta(a p_t, a (p_u - p_t)),     E = p_t/p_u x_u,

to positive reals what pure death is to counts: large a is many small units, and
Var[x_t | x_1] = p q x_1²/(a + 1). Of the data x_t says

    p(x_1 = y | x_t = x)  ∝  f(y) y^(1-a) (y - x)^(a q - 1),       y > x;

for gamma data of shape a what remains is gamma of shape a q, whatever x is. There are infinitely
many jumps in any time, so that neither rates nor a drift move it: `Bridge` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.laws import Beta, Delta, Law
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.clock import match
from markovbridge.processes.schedules import CosineSchedule, Schedule, Time


@dataclass(frozen=True)
class GammaProcess(Process):
    """A gamma process on non-negative reals, with beta bridges; the source is 0.

    Attributes:
        shape: Shape a of the whole way. The share x_t/x_1 is Beta(a p, a (1 - p)).
        schedule: The share of the data that is there on average, over time.
    """

    shape: float
    schedule: Schedule = field(default_factory=CosineSchedule)
    direction: ClassVar[Literal["forward", "noising"]] = "noising"
    dtype: ClassVar[torch.dtype] = torch.float32
    dies_out: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.number(self.shape, "shape", above=0)

    def _between(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """The shape of the way from s on to t >= s, broadcastable to states."""
        return match(self.shape * self.schedule.increment(s, t).clamp_min(0), x)

    def transition(self, x: Tensor, s: Time, t: Time) -> Beta:
        """The share Beta(a p_t, a (p_s - p_t)) of x, for t <= s."""
        t, s = self.schedule.ordered(t, s)
        kept = match(self.shape * self.schedule.survival(t), x)
        return Beta(torch.zeros_like(x), x, kept, self._between(x, t, s))

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Beta:
        """x_t | x_s = x, x_u = y: x + (y - x) Beta(a (p_t - p_s), a (p_u - p_t)).

        Raises:
            ValueError: If times are not ordered or x > y anywhere.
        """
        s, t, u = self.schedule.ordered(s, t, u)
        apart = y - x
        if apart.numel() and not bool((apart >= 0).all()):
            raise ValueError(
                "a gamma process only grows towards the data: x at s exceeds y at u by "
                f"{-apart.min().item():g} at some site; sources must not exceed the data"
            )
        return Beta(x, y, self._between(x, s, t), self._between(x, t, u))

    def source(self, like: Tensor) -> Delta:
        """0 at every site."""
        return Delta(torch.zeros_like(like))

    @property
    def has_path_kl(self) -> bool:
        return False

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """None: the path KL of two mixtures of gamma bridges is an integral over sizes of jumps.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "the path KL of a GammaProcess has no closed form: train with the objective EndNLL(), "
            "or EndMSE() for the mean alone"
        )

    def truncation(self, event: torch.Size) -> float:
        """None, as there is no likelihood bound.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "a GammaProcess has no likelihood bound, neither in continuous time nor of steps, its "
            "path KL having no closed form: compare samples with held-out data, or models by "
            "their EndNLL() loss"
        )

    @property
    def features(self) -> int:
        """One: the standardised state."""
        return 1

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - pμ) / sqrt(p²σ² + pq (σ² + μ²)/(a + 1))."""
        t = self.schedule.at(t)
        p = match(self.schedule.survival(t), x).to(torch.float32)
        q = match(self.schedule.mortality(t), x).to(torch.float32)
        mean, variance = setting.mean, setting.variance
        spread = p**2 * variance + p * q * (variance + mean**2) / (self.shape + 1)
        return ((x - p * mean) / spread.clamp_min(1e-12).sqrt()).float().unsqueeze(1)

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Non-negative reals as float32 (float64 is kept)."""
        if x.dtype == torch.bool or x.is_complex():
            raise TypeError(f"{name} must hold real numbers, not {x.dtype}")
        if x.dtype != torch.float64:
            x = x.to(torch.float32)
        good = torch.isfinite(x) & (x >= 0)
        if not bool(good.all()):
            raise ValueError(
                f"{name} holds {x[~good][0].item():g}: a GammaProcess carries finite amounts from "
                "0 on; shift such data, or take a LinearDiffusion"
            )
        return x

    def project(self, x: Tensor) -> Tensor:
        """Cut at 0."""
        return x.clamp_min(0)


doors.guard(__name__)
