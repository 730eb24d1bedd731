r"""Separable covariance: Γ = Γ_channels ⊗ Γ_space.

Cov(x_{c,s}, x_{c',s'}) = (Γ_channels)_{cc'} (Γ_space)_{ss'}. Every operation is that of one
factor after that of the other, and

    log det Γ = |space| log det Γ_channels + |channels| log det Γ_space,

so that no matrix of the whole is formed. `channels` acts on the first axis of the event,
`space` on all the others; either may be separable again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import Covariance, check_field, unavailable


@dataclass(frozen=True)
class Separable(Covariance):
    """The Kronecker product of a covariance over channels and one over space.

    `Separable(Torus(Matern(length=4)), Dense(colours))` is noise of one texture in colours
    that vary together. The variances of the two factors multiply.

    Attributes:
        space: Acts on events without their first axis.
        channels: Acts on the first axis, as on events of shape (channels,).
    """

    space: Covariance
    channels: Covariance

    def refined(self, factor: int, dimension: int) -> Separable:
        """Over channels as before, over space the finer one."""
        return Separable(self.space.refined(factor, dimension), self.channels)

    @property
    def capabilities(self) -> frozenset[str]:
        both = self.space.capabilities & self.channels.capabilities
        drawn = "sample" in self.space.capabilities and "sqrt" in self.channels.capabilities
        return both - {"sample"} | ({"sample"} if drawn else set())

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._apply("matvec", x, self.space.__matmul__, self.channels.__matmul__)

    def sqrt(self, x: Tensor) -> Tensor:
        return self._apply("sqrt", x, self.space.sqrt, self.channels.sqrt)

    def inverse_sqrt(self, x: Tensor) -> Tensor:
        return self._apply("inverse_sqrt", x, self.space.inverse_sqrt, self.channels.inverse_sqrt)

    def solve(self, x: Tensor) -> Tensor:
        return self._apply("solve", x, self.space.solve, self.channels.solve)

    def sample(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        def draw(fields: Tensor) -> Tensor:
            return self.space.sample(fields, generator=generator)

        return self._apply("sample", like, draw, self.channels.sqrt)

    def logdet(self, event: Sequence[int]) -> float:
        self._check("logdet")
        channels, sizes = split(event)
        return math.prod(sizes) * self.channels.logdet((channels,)) + channels * (
            self.space.logdet(sizes)
        )

    def variance(self, event: Sequence[int]) -> Tensor:
        self._check("variance")
        channels, sizes = split(event)
        space = self.space.variance(sizes)
        return self.channels.variance((channels,)).reshape(-1, *[1] * len(sizes)) * space

    def _check(self, operation: str) -> None:
        if operation not in self.capabilities:
            weaker = self.channels if operation in self.space.capabilities else self.space
            name = type(weaker).__name__
            raise unavailable(self, operation, f"its factor {name} has none; take another factor")

    def _apply(
        self,
        operation: str,
        x: Tensor,
        space: Callable[[Tensor], Tensor],
        channels: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Apply `space` to each channel, then `channels` at each site."""
        self._check(operation)
        check_field(x, 1)
        count, sizes = split(x.shape[1:])
        textured = space(x.reshape(-1, *sizes)).reshape(x.shape).movedim(1, -1)
        return channels(textured.reshape(-1, count)).reshape(textured.shape).movedim(-1, 1)


def split(event: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The number of channels and the other axes."""
    if len(event) < 2:
        raise ValueError(
            f"Separable needs events of at least two axes, channels first, not {tuple(event)}"
        )
    return event[0], tuple(event[1:])


doors.guard(__name__, inside=("split",))
