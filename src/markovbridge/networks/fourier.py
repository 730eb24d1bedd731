r"""The Fourier neural operator: one set of weights for a field on grids of any size.

A layer of an operator is an integral over the field and a map of each site. On a torus, with a
kernel that depends on differences only, the integral multiplies waves (Li et al., Fourier neural
operator, https://arxiv.org/abs/2010.08895, section 4):

    (K h)(s) = Σ_{|k_a| < waves} R_k ĥ_k e^{2πi k·s},    ĥ_k = mean over sites of h e^{-2πi k·s},

R_k a complex matrix over channels, s in units of the domain. With the embedding e of time and
condition a block is

    h <- h + V silu((1 + a(e)) (K h + W h) + b(e)),

V and W acting on each site. a, b and the output layer start at zero, as in `networks.mlp`. Waves
count along the domain and ĥ is a mean over sites: no weight knows how many sites there are.

**What is the same on a finer grid.** A field whose waves are all longer than two sites is known
from its sites. K takes it to the same field on every grid that holds it, and maps of each site do
so by themselves: a network of one block gives at the sites of a coarse grid what it gives there on
a finer one, up to rounding. silu makes waves that are shorter than those it is given. A grid holds
those beyond its own as longer ones (aliasing), and the next K reads them. So deeper networks agree
as far as such waves are weak: to rounding where hidden fields vary slowly, less where they have
much at the scale of a site. Waves that a coarse grid lacks are left out of K there.

Opposite edges are neighbours, and the network commutes with shifts of the torus.

Shapes: event (C, *space) of one to three axes of space; features (B, features, C, *space) to
(B, outputs, C, *space), whatever the sizes of space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.networks.base import Network
from markovbridge.networks.embedding import ConditionEmbedding, TimeEmbedding

AXES = 3  # of space, at most


class FourierOperator(Network):
    """Fourier neural operator on fields, whose weights serve every grid.

    Args:
        shape: Event shape (C, *space), one to three axes of space. Its sizes do not bind: those of
            the features count.
        features: Numbers the process gives about each entry.
        outputs: Numbers the head asks for about each entry.
        width: Channels of the hidden fields.
        depth: Number of blocks.
        waves: Waves along each axis that are mixed over space: 0 to waves - 1 of them fit into
            the domain, both ways.
        condition: Numbers in the condition of one sample; 0 takes none.

    Raises:
        ValueError: If the event has no axis of space, or more than three.
    """

    any_grid = True

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        outputs: int,
        width: int = 32,
        depth: int = 4,
        waves: int = 12,
        condition: int = 0,
    ) -> None:
        super().__init__(shape, features, outputs, condition)
        axes = len(self.shape) - 1
        if not 1 <= axes <= AXES:
            raise ValueError(
                "FourierOperator needs events of shape (channels, *space), with one to three axes "
                f"of space, not {self.shape}; use MLP for vectors and tables."
            )
        for name, size in (("width", width), ("depth", depth), ("waves", waves)):
            checks.whole(size, name, least=1)
        mixed = waves * (2 * waves - 1) ** (axes - 1)
        weights = 2 * depth * mixed * width * width
        checks.room(weights, f"depth = {depth} blocks of {mixed} waves", "take fewer", 4)
        code = max(32, width)
        self.time = TimeEmbedding(code)
        self.condition_embedding = ConditionEmbedding(condition, code)
        self.input = nn.Conv1d(features * self.shape[0], width, 1)
        self.blocks = nn.ModuleList(_Block(width, code, waves, axes) for _ in range(depth))
        self.output = nn.Conv1d(width, outputs * self.shape[0], 1)
        nn.init.zeros_(self.output.weight)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `markovbridge.networks.base`; sizes of space may differ from those of `shape`."""
        channels, *sizes = features.shape[2:]
        embedding = self.time(t)
        extra = self.condition_embedding(condition)
        if extra is not None:
            embedding = embedding + extra
        sites = math.prod(sizes)
        hidden = self.input(features.reshape(len(features), self.features * channels, sites))
        for block in self.blocks:
            hidden = block(hidden, embedding, sizes)
        return self.output(hidden).reshape(len(features), self.outputs, channels, *sizes)


class _Block(nn.Module):
    """A layer of the operator, on hidden fields (B, width, sites)."""

    def __init__(self, width: int, code: int, waves: int, axes: int) -> None:
        super().__init__()
        self.integral = SpectralConvolution(width, waves, axes)
        self.local = nn.Conv1d(width, width, 1)
        self.modulation = nn.Linear(code, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.merge = nn.Conv1d(width, width, 1)

    def forward(self, hidden: Tensor, embedding: Tensor, sizes: Sequence[int]) -> Tensor:
        scale, shift = self.modulation(embedding).unsqueeze(2).chunk(2, dim=1)
        inner = self.integral(hidden, sizes) + self.local(hidden)
        return hidden + self.merge(functional.silu((1 + scale) * inner + shift))


class SpectralConvolution(nn.Module):
    """The integral K: a matrix over channels for each of the longest waves.

    Its weights are real, (*waves, width, width, 2), real and imaginary parts: waves run from
    1 - waves to waves - 1 along all axes but the last, and from 0 along that. Transforms are in
    float32, under autocast too, or in float64.

    Args:
        width: Channels.
        waves: How many waves along each axis.
        axes: Axes of space.
    """

    def __init__(self, width: int, waves: int, axes: int) -> None:
        super().__init__()
        self.waves = waves
        mixed = [2 * waves - 1] * (axes - 1) + [waves]
        # So that K h has the variance of h.
        start = torch.randn(*mixed, width, width, 2) / math.sqrt(2 * width)
        self.weight = nn.Parameter(start)

    def forward(self, hidden: Tensor, sizes: Sequence[int]) -> Tensor:
        """K h, of hidden fields (B, width, sites) on a grid of `sizes`."""
        wide = hidden if hidden.dtype == torch.float64 else hidden.float()
        with torch.autocast(hidden.device.type, enabled=False):
            return self._mixed(wide, sizes).to(hidden.dtype)

    def _mixed(self, hidden: Tensor, sizes: Sequence[int]) -> Tensor:
        if not len(hidden):  # of which some transforms make an error
            return hidden
        axes, last = tuple(range(2, 2 + len(sizes))), len(sizes) + 1
        spectrum = torch.fft.rfftn(hidden.unflatten(2, tuple(sizes)), dim=axes, norm="forward")
        weight = torch.view_as_complex(self.weight)
        # Waves of half the sites of an axis stand for two, and are left out.
        kept = [min(self.waves - 1, (n - 1) // 2) for n in sizes]
        for axis, most in zip(axes, kept, strict=True):
            if axis == last:
                spectrum = spectrum.narrow(axis, 0, most + 1)
                weight = weight.narrow(axis - 2, 0, most + 1)
            else:  # from -most on
                spectrum = spectrum.roll(most, axis).narrow(axis, 0, 2 * most + 1)
                weight = weight.narrow(axis - 2, self.waves - 1 - most, 2 * most + 1)
        shape = spectrum.shape[2:]
        mixed = spectrum.flatten(2).permute(2, 0, 1) @ weight.flatten(0, -3)
        spectrum = mixed.permute(1, 2, 0).unflatten(2, shape)
        for axis, n, most in zip(axes, sizes, kept, strict=True):
            length = n // 2 + 1 if axis == last else n
            rest = [0, 0] * (last - axis) + [0, length - spectrum.shape[axis]]
            spectrum = functional.pad(spectrum, rest)
            if axis != last:
                spectrum = spectrum.roll(-most, axis)
        if axes[:-1]:
            spectrum = torch.fft.ifftn(spectrum, dim=axes[:-1], norm="forward")
        # What is constant along the last axis is real; of more, transforms make what they like.
        level, waves = spectrum.split([1, spectrum.shape[last] - 1], last)
        spectrum = torch.cat(
            [torch.complex(level.real, torch.zeros_like(level.real)), waves], last
        )
        return torch.fft.irfft(spectrum, n=sizes[-1], dim=last, norm="forward").flatten(2)


doors.guard(__name__, inside=("SpectralConvolution",))
