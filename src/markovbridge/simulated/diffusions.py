r"""Nonlinear diffusions that can only be simulated: local denoising of single Euler steps.

The noising process runs from t = 1, the data, to t = 0. With s = 1 - t the time that has passed,

    dX  =  b(X, t) ds + σ(X, t) dW,       σ one number for each entry of X,

and its reverse, up in t, is dX = (-b + σ² ∂ log f_t + ∂σ²) dt + σ dW (Anderson 1982), ∂σ² being
∂σ_i²/∂x_i. An Euler step of length h, y = x + b h + σ √h ξ, has a Gaussian law, whose score is
-ξ/(σ √h); the mean of that given y is the score of the law of y (Vincent 2011). So

    E σ(y)² [ ½ |s(y)|² + s(y) · ξ/(σ √h) ]

is least at s = ∂ log f, for the chain of Euler steps exactly, whatever h. ξ and -ξ are taken
together, which keeps the variance bounded as h -> 0: the noise then meets the difference of s at
two points 2σ√h apart. The limit is implicit score matching (Hyvärinen 2005).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.simulated.dynamics import rows_of
from markovbridge.simulated.fitting import Learned
from markovbridge.simulated.sources import StartLaw
from markovbridge.simulated.walks import Visits
from markovbridge.transport.likelihood import Bound


class DiffusionDynamics(ABC):
    """A diffusion on whole events with noise of its own for each entry."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Event shape, without the batch."""

    @abstractmethod
    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """Drift b(x, t) at times t (batch,), per unit of time that passes from 1 to 0: as x."""

    @abstractmethod
    def noise(self, x: Tensor, t: Tensor) -> Tensor:
        """σ(x, t) > 0, broadcastable to x; made of x by torch where it depends on x."""

    @property
    def features(self) -> int:
        """How many numbers `encode` gives about each entry of the event."""
        return 1

    def encode(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network sees, (batch, features, *event) float32; the state by default."""
        return x.unsqueeze(1).to(torch.float32)

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        """∂σ_i²/∂x_i, as x; by autograd, an entry at a time, where σ depends on x."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            variance = (self.noise(x, t) ** 2).expand_as(x).flatten(1)
            if not variance.requires_grad:
                return torch.zeros_like(x)
            columns = []
            for i in range(variance.shape[1]):
                grad = torch.autograd.grad(variance[:, i].sum(), x, retain_graph=True)[0]
                columns.append(grad.flatten(1)[:, i])
        return torch.stack(columns, 1).reshape(x.shape)

    def step(self, x: Tensor, t: Tensor, h: float, noise: Tensor) -> Tensor:
        """An Euler step of length h down from t, with standard normal noise."""
        return x + self.drift(x, t) * h + self.noise(x, t) * math.sqrt(h) * noise

    @torch.no_grad()
    def simulate(
        self,
        x: Tensor,
        steps: int = 100,
        *,
        keep: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Run from t = 1 to t = 0 in Euler steps.

        Args:
            x: States at t = 1, (batch, *event).
            steps: How many.
            keep: Whether to return the states at all times, 1 first: (steps + 1, batch, *event).
            generator: Source of randomness.

        Returns:
            The states at t = 0, (batch, *event), or all.
        """
        checks.turns(steps, "steps")
        x = rows_of(x, self.shape)
        path = [x]
        for k in range(steps):
            x = self.step(x, _full(x, 1 - k / steps), 1 / steps, _normal(x, generator))
            path = [*path, x] if keep else [x]
        return torch.stack(path) if keep else x


class ReverseDrift(Learned):
    """The reverse of a diffusion, learned from simulated steps.

    Args:
        dynamics: The noising process.
        network: Called as `network(dynamics.encode(x, t), t)`, times (batch,) float32; it
            returns the score less 2b/σ², one number for each entry of the event, in any shape.
        source: What the reverse starts from.
        steps: Euler steps of the process, and of its reverse.
        points: Times of a path that a step of training looks at.
    """

    def __init__(
        self,
        dynamics: DiffusionDynamics,
        network: nn.Module,
        source: StartLaw,
        steps: int = 100,
        points: int = 4,
    ) -> None:
        super().__init__()
        self.dynamics, self.network, self.source = dynamics, network, source
        self.steps = checks.turns(steps, "steps")
        self.points = checks.whole(points, "points", least=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dynamics.shape

    def correction(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network says of ∂ log f_t(x) - 2b/σ², as x.

        Raises:
            ValueError: If the network returns another number of values.
        """
        out = self.network(self.dynamics.encode(x, t), t.to(torch.float32))
        if out.numel() != x.numel():
            raise ValueError(
                f"the network returns {tuple(out.shape)} for states {tuple(x.shape)}: give it "
                "one output for each entry of the event"
            )
        return out.reshape(x.shape).to(x)

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """∂ log f_t(x), as x."""
        variance = self.dynamics.noise(x, t) ** 2
        return 2 * self.dynamics.drift(x, t) / variance + self.correction(x, t)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """The drift of the reverse, up in t: -b + σ² s + ∂σ², as x."""
        variance = self.dynamics.noise(x, t) ** 2
        slope = self.dynamics.slope(x, t)
        return self.dynamics.drift(x, t) + variance * self.correction(x, t) + slope

    @torch.no_grad()
    def paths(self, x1: Tensor, *, generator: torch.Generator | None = None) -> Visits:
        x1 = rows_of(x1, self.dynamics.shape, "x1").to(self.device)
        path = self.dynamics.simulate(x1, self.steps, keep=True, generator=generator)
        size = len(x1), self.points
        k = torch.randint(self.steps, size, generator=generator, device=x1.device)
        states = path[k, torch.arange(len(x1), device=x1.device).unsqueeze(1)]
        return Visits(1 - k.double() / self.steps, states)

    def loss_of(self, paths: Visits, *, generator: torch.Generator | None = None) -> Tensor:
        """The loss of the module's first lines, averaged over times of each path, (batch,)."""
        x, t, h = paths.states.flatten(0, 1), paths.times.flatten(), 1 / self.steps
        noise = _normal(x, generator)
        spread = self.dynamics.noise(x, t)
        total = torch.zeros_like(t)
        for sign in (1.0, -1.0):
            y = self.dynamics.step(x, t, h, sign * noise)
            score = self.score(y, t - h)
            weight = self.dynamics.noise(y, t - h) ** 2
            target = sign * noise / (spread * math.sqrt(h))
            lost = weight * (0.5 * score**2 + score * target)
            total = total + lost.flatten(1).sum(1).double() / 2
        return total.reshape(paths.times.shape).mean(1)

    @torch.no_grad()
    def sample(
        self, n: int, *, keep: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Data by Euler steps, (n, *event); or all states, t = 0 first: (steps + 1, n, *event)."""
        x = self._sources(n, generator)
        path = [x]
        for k in range(self.steps):
            mean, std = self._reverse(x, k / self.steps, 1 / self.steps)
            x = mean + std * _normal(x, generator)
            path = [*path, x] if keep else [x]
        return torch.stack(path) if keep else x

    @torch.no_grad()
    def frames(
        self, x: Tensor | int, times: Sequence[float], *, generator: torch.Generator | None = None
    ) -> Tensor:
        found = [self._begun(x, times, generator)]
        for t, s in pairwise(times):
            if not 0 <= t <= s <= 1:
                raise ValueError(f"times must increase within [0, 1]: after {t:g} comes {s:g}")
            # Steps as long as those of `sample`, or a little shorter.
            count = math.ceil((s - t) * self.steps - 1e-9)
            x = found[-1]
            for k in range(count):
                h = (s - t) / count
                mean, std = self._reverse(x, t + k * h, h)
                x = mean + std * _normal(x, generator)
            found.append(x)
        return torch.stack(found)

    @torch.no_grad()
    def log_likelihood(
        self, x1: Tensor, *, paths: int = 16, generator: torch.Generator | None = None
    ) -> Bound:
        """A lower bound on the log-density of `sample`, its steps included, estimated.

        Args:
            x1: Data, (batch, *event).
            paths: Noising paths of each data point.
            generator: Source of randomness.

        Raises:
            ValueError: If x1 is not (batch, *event), or there are less than 2 paths.
            TypeError: If the source knows no density.
        """
        x1 = rows_of(x1, self.dynamics.shape, "x1").to(self.device)
        h = 1 / self.steps

        def value(rows: Tensor) -> Tensor:
            path = self.dynamics.simulate(rows, self.steps, keep=True, generator=generator)
            x, still = path[-1], torch.zeros_like(rows)
            total = self.source.log_prob(x).double()
            for k, y in enumerate(path.flip(0)[1:]):
                mean, std = self._reverse(x, k / self.steps, h)
                t = _full(y, (k + 1) / self.steps)
                back = self.dynamics.noise(y, t) * math.sqrt(h)
                total = total + _log_normal(y, mean, std)
                total = total - _log_normal(x, self.dynamics.step(y, t, h, still), back)
                x = y
            return total

        return self._bound(x1, paths, value)

    def _reverse(self, x: Tensor, at: float, h: float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a step of length h up."""
        t = _full(x, at)
        return x + self.drift(x, t) * h, self.dynamics.noise(x, t) * math.sqrt(h)


def _full(x: Tensor, t: float) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float64, device=x.device)


def _normal(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def _log_normal(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    z = (x - mean) / std
    log = -0.5 * z**2 - std.log() - 0.5 * math.log(2 * math.pi)
    return log.expand_as(x).flatten(1).double().sum(1)


doors.guard(__name__)
