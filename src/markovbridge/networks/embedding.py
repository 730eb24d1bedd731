"""How a network sees the time and the condition.

The time enters through sinusoids of tau = 1000 t,

    cos(tau w_k), sin(tau w_k),   w_k = 10000^(-k / K),   k = 0 .. K-1,

the positional code of Vaswani et al. (https://arxiv.org/abs/1706.03762, section
3.5) as diffusion models use it (https://arxiv.org/abs/2006.11239, appendix B).
Its wavelengths run from 6 to 60,000: it barely sees a number in [0, 1], hence
the factor 1000.

A condition is numbers, each of which may be unknown (NaN). It is added to the
embedding through one linear layer, which sees for each number its value, 0 if
unknown, and whether it is known. So one network learns conditional and
unconditional laws (Ho & Salimans, https://arxiv.org/abs/2207.12598).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from markovbridge import doors

TIME_SCALE = 1000.0


class TimeEmbedding(nn.Module):
    """Sinusoids of the time and two linear layers: (B,) to (B, width).

    Args:
        width: Size of the embedding, even.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * half, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, t: Tensor) -> Tensor:
        """Embed times `t` (B,) in [0, 1]."""
        angles = (TIME_SCALE * t.float())[:, None] * self.frequencies
        return self.layers(torch.cat([angles.cos(), angles.sin()], dim=1))


class ConditionEmbedding(nn.Module):
    """A linear layer from a condition to what is added to the embedding of time.

    Args:
        size: Numbers in the condition of one sample; 0 takes no condition.
        width: Size of the embedding of time.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.layer = nn.Linear(2 * size, width) if size else None

    def forward(self, condition: Tensor | None) -> Tensor | None:
        """Embed a condition, in which NaN stands for unknown.

        Args:
            condition: (B, size), or None for all unknown.

        Returns:
            (B, width), (1, width) for None; None if the network takes no condition.

        Raises:
            ValueError: If the condition is not wanted, or of another size.
        """
        if self.layer is None:
            if condition is not None:
                raise ValueError(
                    f"This network takes no condition, but one of shape {tuple(condition.shape)} "
                    "was given; build the network with condition=<its size>."
                )
            return None
        if condition is None:
            condition = self.layer.weight.new_full((1, self.size), torch.nan)
        if condition.ndim != 2 or condition.shape[1] != self.size:
            raise ValueError(
                f"The condition has shape {tuple(condition.shape)}; "
                f"this network takes (batch, {self.size})."
            )
        condition = condition.float()
        known = ~condition.isnan()
        return self.layer(torch.cat([condition.nan_to_num(nan=0.0), known.float()], 1))


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift are read from the embedding.

    Args:
        width: Size of what is normalised, (B, width) or (B, tokens, width).
        code: Size of the embedding, (B, code) or (1, code).
        normed: Whether it is normalised at all, or scaled and shifted only.
    """

    def __init__(self, width: int, code: int, normed: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False) if normed else nn.Identity()
        self.modulation = nn.Linear(code, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Normalise `hidden` over its last axis."""
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        if hidden.ndim == 3:
            scale, shift = scale.unsqueeze(1), shift.unsqueeze(1)
        return self.norm(hidden) * (1 + scale) + shift


doors.guard(__name__, inside=("AdaptiveNorm", "TimeEmbedding"))
