r"""Known sites: what a model is told of x_1 itself, in training and for imputation.

Where sites of x_1 are known, their law is certain (`pinned`): any sampler then carries them
along the bridge to their value. A network trained with `Masking` sees them too, in more
features per site, and learns the law of the other sites given them and x_t, which is all that
imputation needs; with a perfect network it is exact. Training so is amortised conditioning on
random subsets, as in Ho et al. (https://arxiv.org/abs/2204.03458, section 3.1) and CSDI
(Tashiro et al., https://arxiv.org/abs/2107.03502). A network that was not trained so gives the
law of the others given x_t alone: see `Transport.impute`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.clock import match


@dataclass(frozen=True, eq=False)
class Observed:
    """Sites of x_1 that are known.

    Attributes:
        values: x_1, (batch, *event), of which only the known sites count.
        mask: Which sites are known, (batch, *event) bool.

    Raises:
        ValueError: If the mask is of another type or shape.
    """

    values: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype is not torch.bool or self.mask.shape != self.values.shape:
            raise ValueError(
                f"mask must be bool of the shape of values, {tuple(self.values.shape)}, not "
                f"{self.mask.dtype} of {tuple(self.mask.shape)}: write mask > 0"
            )

    def features(self, setting: Setting) -> Tensor:
        """What a network is told: standardised values, and which are known.

        Returns:
            (batch, process.features + 1, *event) float32, 0 where a site is not known.
        """
        values = setting.standardise(self.values, 1.0)
        shown = self.mask.unsqueeze(1)
        return torch.cat([torch.where(shown, values, 0.0), shown.to(values.dtype)], 1).float()


@dataclass(frozen=True)
class Masking:
    """Training with known sites: of each sample a random part of x_1 is shown to the network.

    The loss then counts the other sites only. Sampling without known sites stays possible.

    Attributes:
        low: Least share of the sites that are shown.
        high: Largest share; the share is uniform between the two.
        none: Probability that none is shown.
        pattern: Which sites: each on its own ("sites"); of images (channels, height, width)
            the inside or the outside of a box of that area, in all channels ("boxes"); or one
            or the other, by a coin ("mixed").
    """

    low: float = 0.0
    high: float = 1.0
    none: float = 0.1
    pattern: Literal["sites", "boxes", "mixed"] = "sites"

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(
                f"low and high must satisfy 0 <= low <= high <= 1, not {self.low}, {self.high}"
            )
        if not 0 <= self.none <= 1:
            raise ValueError(f"none must lie in [0, 1], not {self.none}")

    def features(self, process: Process) -> int:
        """How many more features per site the network sees."""
        return process.features + 1

    def draw(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Masks in the shape of `like`, (batch, *event) bool: True is shown."""
        if self.pattern != "sites" and like.ndim != 4:
            raise ValueError(
                f"boxes are for images (channels, height, width), not {tuple(like.shape[1:])}: "
                "take pattern='sites'"
            )

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, device=like.device, generator=generator)

        batch = len(like)
        share = self.low + (self.high - self.low) * uniform(batch)
        share = torch.where(uniform(batch) < self.none, 0.0, share)
        mask = torch.zeros_like(like, dtype=torch.bool)
        if self.pattern != "boxes":
            mask = uniform(*like.shape) < match(share, like)
        if self.pattern != "sites":
            u = uniform(6, batch)
            inside = u[0] < 0.5
            area = torch.where(inside, share, 1 - share)
            # A box of this area: any proportions, whole rows and columns included.
            sides = area ** u[1], area ** (1 - u[1])
            box = torch.ones_like(mask[:, :1])
            for axis, side, place in zip((2, 3), sides, u[2:4], strict=True):
                size = like.shape[axis]
                first = place * (1 - side) * size
                # With a random offset below one site the expected area is that asked for.
                at = torch.arange(size, device=like.device) + u[4].unsqueeze(1)
                within = (at >= first.unsqueeze(1)) & (at < (first + side * size).unsqueeze(1))
                box = box & within.reshape(batch, 1, *(size if axis == a else 1 for a in (2, 3)))
            box = (box == match(inside, box)).expand_as(mask)
            if self.pattern == "boxes":
                return box
            mask = torch.where(match(u[5] < 0.5, mask), box, mask)
        return mask


def broadcast(mask: Tensor, x: Tensor) -> Tensor:
    """A mask of known sites in the shape of x, (n, *event).

    Raises:
        TypeError: If it is not bool.
        ValueError: If it does not broadcast to x.
    """
    if mask.dtype != torch.bool:
        raise TypeError(
            f"a mask of known sites is bool, not {mask.dtype}: True is known, False is drawn"
        )
    try:
        return mask.expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} does not broadcast to {tuple(x.shape)}"
        ) from None


def pinned(process: Process, x: Tensor, t: Tensor, law: Law, observed: Observed) -> Law:
    """A law of x_1 given x_t = x whose known sites are certain.

    Tables stay tables, and expected steps stay expected steps, for samplers that ask for them.
    """
    return process.pinned(law, x, t, observed.values, observed.mask)


doors.guard(__name__)
