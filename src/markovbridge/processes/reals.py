r"""Diffusions, whatever their law: what samplers and heads ask of a process on reals.

Pinned at x_1 = y a diffusion is dX = b(X, y, t) dt + g_t dW, its drift b being affine in y for
all that is here; the generative process has the drift at y = E[x_1 | x_t] (Peluchetti,
https://arxiv.org/abs/2312.14589). `LinearDiffusion` is the one whose numbers are known; one of
your own states `transition`, `bridge`, `source`, `drift` and `diffusion`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.laws.numbers import by_row
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.clock import coefficient
from markovbridge.processes.schedules import Time


class Diffusion(Process):
    """A process on reals with continuous paths, whose pinned drift is affine in its end."""

    dtype: ClassVar[torch.dtype] = torch.float32

    @abstractmethod
    def drift(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Drift of the process pinned at x_1 = y, per unit of time, for t < 1: (batch, *event).

        With y = E[x_1 | x_t = x] it is the drift of the generative process.
        """

    @abstractmethod
    def diffusion(self, t: Time) -> Tensor:
        """g_t, the size of the noise per root of time, in the shape of t."""

    def noise(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Noise of an instant in the shape of `like`, of variance 1: by default white."""
        return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)

    def shake(
        self,
        like: Tensor,
        t: float,
        s: float,
        *,
        level: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The noise of a step from t to s: level · g_t · (s - t)^{1/2} times `noise`.

        A process of one's own keeps to the g of the beginning: `StochasticHeun` counts on it.
        """
        scale = level * float(self.diffusion(t)) * (s - t) ** 0.5
        return scale * self.noise(like, generator=generator)

    def damp(self, score: Tensor, t: Time, share: float) -> Tensor:
        """½ · share · g_t² times a smoothed score."""
        return (0.5 * share * self.diffusion(t) ** 2).to(score) * score

    def extrapolated(self, first: Tensor, second: Tensor, t: float, m: float, s: float) -> Tensor:
        """Where `Midpoint` aims in the second part of a step: 2 D_m - D_t."""
        return 2 * second - first

    def halfway(self, s: float, t: float) -> float:
        """When half of the noise that a step from s to t leaves at its end has come.

        By default the middle, as where g is constant.
        """
        return (s + t) / 2

    def smoothed_score(self, x: Tensor, start: Tensor, end: Tensor, t: Time) -> Tensor:
        """The covariance of the noise times the score, from the means of both ends.

        Raises:
            TypeError: If the process does not say.
        """
        raise TypeError(
            f"{type(self).__name__} states no score from the means of both ends "
            "(`smoothed_score`): take EulerMaruyama() with level 1, Midpoint() or Bridge()"
        )

    def refined(self, factor: int, dimension: int) -> Diffusion:
        """The same process where the last `dimension` axes have `factor` times as many sites.

        Raises:
            NotImplementedError: If the process does not say.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say what it is on a finer grid (`refined`): take a "
            "LinearDiffusion"
        )

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """½ |b(x, y, t) - b(x, ŷ, t)|²/g², ŷ = law.mean, for white noise: (batch,)."""
        t = self.schedule.at(t)
        apart = self.drift(x, y, t) - self.drift(x, law.mean.to(x.dtype), t)
        scaled = apart / coefficient(self.diffusion(t), x).clamp_min(1e-12)
        return 0.5 * by_row(scaled**2).sum(1)

    def truncation(self, event: torch.Size) -> float:
        """Where a likelihood bound stops paths.

        Raises:
            TypeError: If the process does not say.
        """
        raise TypeError(
            f"{type(self).__name__} does not say how its likelihood bound ends (`truncation` and "
            "`decoder`), path measures of diffusions being singular at the data: take a "
            "LinearDiffusion for likelihoods"
        )

    def pull(self, law: Law, x: Tensor, t: float) -> Tensor:
        """Root mean square of the drift."""
        return self.drift(x, law.mean.to(x.dtype), t).double().square().mean().sqrt()

    @property
    def samplers(self) -> tuple[str, ...]:
        """Of second order, and `Bridge`."""
        return ("Midpoint()", "Bridge()")

    @property
    def features(self) -> int:
        """One: the standardised state."""
        return 1

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - m)/√v, m and v being those of x_t if x_1 is one of the two values μ ± σ.

        Of a process stated from source to data, they are those of x_1.
        """
        if self.direction == "forward":
            centre, spread = setting.mean, setting.variance.clamp_min(1e-12).sqrt()
        else:
            deviation = setting.variance.sqrt()
            ends = (setting.mean - deviation, setting.mean + deviation)
            low, high = (self.transition(end.expand(x.shape).to(x), 1.0, t) for end in ends)
            centre, apart = (low.mean + high.mean) / 2, (high.mean - low.mean) / 2
            spread = ((low.variance + high.variance) / 2 + apart**2).clamp_min(1e-12).sqrt()
        return ((x - centre) / spread).float().unsqueeze(1)

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Reals as float32 (float64 is kept), in the coordinates of `support`."""
        if x.dtype == torch.bool or x.is_complex():
            raise TypeError(f"{name} must hold real numbers, not {x.dtype}")
        if x.dtype != torch.float64:
            x = x.to(torch.float32)
        if not bool(torch.isfinite(x).all()):
            raise ValueError(
                f"{name} holds {x[~torch.isfinite(x)][0].item()}: fill in or drop such entries"
            )
        return x if self.support is None else self.support.encode(x, name)

    def project(self, x: Tensor) -> Tensor:
        """The state itself: every real is a state."""
        return x


doors.guard(__name__)
