"""Processes from outside of the package, made of nothing but what it makes public."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from markovbridge import laws
from markovbridge.couplings import Dirac
from markovbridge.exact import FitFrequencies, Frequencies
from markovbridge.heads import CategoricalHead
from markovbridge.processes import Diffusion, JumpProcess, LinearSDE
from markovbridge.processes.clock import match
from markovbridge.processes.jumps import Bounds
from markovbridge.samplers import Bridge
from markovbridge.transport.objectives import EndNLL


def double(*times):
    return [torch.as_tensor(time, dtype=torch.float64) for time in times]


@dataclass(frozen=True)
class Redrawn(JumpProcess):
    """A value is redrawn evenly at rate 1 on the clock -log t: a uniform chain, told by hand.

    Attributes:
        levels: How many values there are.
    """

    levels: int = 3

    def _kept(self, s, t):
        """What is left from s back to t."""
        s, t = double(s, t)
        return torch.where(s == t, 1.0, t / s.clamp_min(1e-300))

    def _chance(self, x, y, s, t):
        """P(x_t = y | x_s = x) for t <= s."""
        kept = match(self._kept(s, t), x)
        return kept * (x == y) + (1 - kept) / self.levels

    def _every(self, ask):
        return laws.Categorical(torch.stack([ask(v) for v in range(self.levels)], -1).log())

    def transition(self, x, s, t):
        return self._every(lambda v: self._chance(x, torch.full_like(x, v), s, t))

    def bridge(self, x, y, s, t, u):
        return self._every(
            lambda v: (
                self._chance(y, torch.full_like(x, v), u, t)
                * self._chance(torch.full_like(x, v), x, t, s)
            )
        )

    def source(self, like):
        return self._every(lambda v: torch.full(like.shape, 1 / self.levels, device=like.device))

    def moves(self, x):
        return torch.arange(self.levels, device=x.device).expand(*x.shape, self.levels)

    def rates(self, x, y, t):
        (t,) = double(t)
        ahead = torch.stack(
            [self._chance(y, torch.full_like(x, v), 1.0, t) for v in range(self.levels)], -1
        )
        here = self._chance(y, x, 1.0, t) * self.levels * match(t, x)
        return ahead / here.unsqueeze(-1)

    def bounds(self, high, low):
        """Leaving x is fastest towards a y that is elsewhere, at the late end."""
        q = -torch.expm1(-torch.tensor(low, dtype=torch.float64))
        most = float((1 - (1 - 1 / self.levels) * q) / q + (self.levels - 2) / self.levels + 1)
        return Bounds(lambda x: torch.full(x.shape, most, dtype=torch.float64), most)


@dataclass(frozen=True)
class Thinned(JumpProcess):
    """Counts whose units are lost one by one, of which the share t is left at t.

    Attributes:
        most: Largest count of the data.
    """

    most: int = 2
    additive: ClassVar[bool] = True
    thins: ClassVar[bool] = True
    pace: ClassVar[str] = "survival"
    falling: ClassVar[bool] = True

    @property
    def size(self):
        return self.most + 1

    def transition(self, x, s, t):
        s, t = double(s, t)
        s = s.clamp_min(1e-300)
        return laws.Binomial(x, match(t / s, x), match((s - t) / s, x))

    def bridge(self, x, y, s, t, u):
        s, t, u = double(s, t, u)
        whole = (u - s).clamp_min(1e-300)
        return laws.Shifted(
            x, laws.Binomial(y - x, match((t - s) / whole, x), match((u - t) / whole, x))
        )

    def source(self, like):
        return laws.Delta(torch.zeros_like(like))

    def moves(self, x):
        return (x + 1).unsqueeze(-1)

    def rates(self, x, y, t):
        (t,) = double(t)
        return ((y - x).clamp_min(0) / match(1 - t, x)).unsqueeze(-1)

    def strengths(self, law, x, t):
        return law.excess(x).clamp_min(0).unsqueeze(-1)

    def resting(self, x):
        return x


@dataclass(frozen=True)
class Wiener(Diffusion):
    """Brownian motion of size 1 from source to data."""

    direction: ClassVar[str] = "forward"

    def transition(self, x, s, t):
        s, t = double(s, t)
        return laws.Normal(x, match((t - s).sqrt(), x).to(x.dtype).expand(x.shape))

    def bridge(self, x, y, s, t, u):
        s, t, u = double(s, t, u)
        share = (t - s) / (u - s)
        spread = match(((u - t) * share).sqrt(), x).to(x.dtype)
        share = match(share, x).to(x.dtype)
        return laws.Normal((1 - share) * x + share * y, spread.expand(x.shape))

    def source(self, like):
        return laws.Delta(torch.zeros_like(like))

    def drift(self, x, y, t):
        (t,) = double(t)
        return (y - x) / match(1 - t, x).to(x.dtype)

    def diffusion(self, t):
        return torch.ones_like(torch.as_tensor(t, dtype=torch.float64))


@dataclass(frozen=True)
class Pull(LinearSDE):
    """An Ornstein-Uhlenbeck process of noise 1, by its formulas.

    Attributes:
        strength: How hard it is pulled to zero.
    """

    strength: float = 0.7

    def drift_rate(self, r):
        return torch.full_like(r, -self.strength)

    def noise_rate(self, r):
        return torch.ones_like(r)

    def log_gain(self, r, d):
        return -self.strength * d

    def variance(self, r, d):
        return -torch.expm1(-2 * self.strength * d) / (2 * self.strength)


@dataclass(frozen=True)
class Black(Dirac):
    """Everything starts from the black state."""


@dataclass(frozen=True)
class Ends(EndNLL):
    """A loss of one's own."""


@dataclass(frozen=True)
class Values(CategoricalHead):
    """A head of one's own."""


@dataclass(frozen=True)
class Steps(Bridge):
    """A sampler of one's own."""


class Often(Frequencies):
    """A base law of one's own."""


@dataclass(frozen=True)
class FitOften(FitFrequencies):
    """How it is fitted."""

    def __call__(self, process, x, *, seed=0):
        found = super().__call__(process, x, seed=seed)
        law = Often(**found.config)
        law.load_state_dict(found.state_dict())
        return law
