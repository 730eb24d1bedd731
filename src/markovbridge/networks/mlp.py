"""A residual multilayer perceptron for vectors, tables and small images.

The event is flattened. With the embedding e of time and condition, a block is

    h <- h + W2 drop(silu(W1 ((1 + a(e)) * norm(h) + b(e)))),

residual blocks (He et al., https://arxiv.org/abs/1512.03385) with adaptive layer
norm (Perez et al., FiLM, https://arxiv.org/abs/1709.07871; Peebles & Xie,
https://arxiv.org/abs/2212.09748, section 3.2). a, b and the output layer start
at zero, so training starts from the head's own default, blind to time.

Shapes: features (B, features, *shape) to (B, outputs, *shape).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.networks.base import Network
from markovbridge.networks.embedding import AdaptiveNorm, ConditionEmbedding, TimeEmbedding

LARGE = 2**17  # features beyond which asinh is put together from what is quick
PART = 2**16  # of them at once: few enough for a processor's cache
BOUND = 1e18  # whose square is no number beyond floating point


class MLP(Network):
    """Residual multilayer perceptron on the flattened event.

    Args:
        shape: Event shape.
        features: Numbers the process gives about each entry.
        outputs: Numbers the head asks for about each entry.
        width: Size of the hidden layers.
        depth: Number of residual blocks.
        dropout: Probability of zeroing a hidden unit while training.
        compress: Take asinh of the features, for heavy tails: linear near 0, logarithmic in
            what is many standard deviations away.
        condition: Numbers in the condition of one sample; 0 takes none.
        normed: Whether the last hidden layer is normalised before the output. Without, how much
            a row tells stays in the size of the layer: a few units ask for a small output.
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        outputs: int,
        width: int = 512,
        depth: int = 3,
        dropout: float = 0.0,
        compress: bool = False,
        condition: int = 0,
        normed: bool = True,
    ) -> None:
        super().__init__(shape, features, outputs, condition)
        checks.whole(width, "width", least=2)
        checks.whole(depth, "depth", least=1)
        weights = 2 * depth * width * width
        checks.room(weights, f"depth = {depth} blocks of width {width}", "take fewer", 4)
        checks.number(dropout, "dropout", least=0, below=1)
        self.compress = compress
        entries = math.prod(self.shape)
        code = max(32, width // 4)  # the embedding needs less room than the data
        self.time = TimeEmbedding(code)
        self.condition_embedding = ConditionEmbedding(condition, code)
        self.input = nn.Linear(features * entries, width)
        self.blocks = nn.ModuleList(_Block(width, code, dropout) for _ in range(depth))
        self.norm = AdaptiveNorm(width, code, normed)
        self.output = nn.Linear(width, outputs * entries)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `markovbridge.networks.base`."""
        embedding = self.time(t)
        extra = self.condition_embedding(condition)
        if extra is not None:
            embedding = embedding + extra
        hidden = self.input((asinh(features) if self.compress else features).flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.output(self.norm(hidden, embedding)).unflatten(1, (self.outputs, *self.shape))


def asinh(x: Tensor) -> Tensor:
    """Arsinh; of many numbers that no gradient is asked of, in a third of the time of torch.

    It is then sign(x) log(1 + |x| + x²/(1 + sqrt(1 + x²))), no less exact.
    """
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad
    if not plain or x.numel() < LARGE:
        return x.asinh()
    least, most = (float(end) for end in torch.aminmax(x))
    if not -BOUND < least <= most < BOUND:
        return x.asinh()
    found = torch.empty_like(x, memory_format=torch.contiguous_format)
    parts = zip(x.reshape(-1).split(PART), found.view(-1).split(PART), strict=True)
    for part, out in parts:
        size = part.abs()
        more = (size * size).add_(1).sqrt_().add_(1)
        more = size.div(more).mul_(size)
        out.copy_(size.add_(more).log1p_().copysign_(part))
    return found


class _Block(nn.Module):
    """One residual block."""

    def __init__(self, width: int, code: int, dropout: float) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(width, code)
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        return hidden + self.layers(self.norm(hidden, embedding))


doors.guard(__name__, inside=("asinh",))
