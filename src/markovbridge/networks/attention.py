"""Attention over features, for tables of up to a few hundred columns.

Each entry of the event is a token: an embedding that says which entry it is, plus a linear
map of its own numbers. With the embedding e of time and condition, a block is

    h <- h + attend((1 + a(e)) * norm(h) + b(e)),
    h <- h + W2 drop(silu(W1 ((1 + c(e)) * norm(h) + d(e)))),

a transformer's (Vaswani et al., https://arxiv.org/abs/1706.03762) with the adaptive layer
norm of `networks.mlp`. Weights are shared by all entries, so columns and their embeddings may
be permuted together; cost grows with the square of the number of entries. Scales, shifts and
the output start at zero, as there.

Shapes: features (B, features, *shape) to (B, outputs, *shape).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.networks.base import Network
from markovbridge.networks.embedding import AdaptiveNorm, ConditionEmbedding, TimeEmbedding


class Attention(Network):
    """Transformer over the entries of the event.

    Args:
        shape: Event shape.
        features: Numbers the process gives about each entry.
        outputs: Numbers the head asks for about each entry.
        width: Size of a token, a multiple of `heads`.
        depth: Number of blocks.
        heads: Number of attention heads.
        dropout: Probability of zeroing a hidden unit while training.
        compress: Take asinh of the features, as `MLP` does.
        condition: Numbers in the condition of one sample; 0 takes none.
    """

    def __init__(
        self,
        shape: Sequence[int],
        features: int,
        outputs: int,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        dropout: float = 0.0,
        compress: bool = True,
        condition: int = 0,
    ) -> None:
        super().__init__(shape, features, outputs, condition)
        checks.whole(width, "width", least=2)
        checks.whole(depth, "depth", least=1)
        checks.whole(heads, "heads", least=1)
        weights = 8 * depth * width * width
        checks.room(weights, f"depth = {depth} blocks of width {width}", "take fewer", 4)
        checks.number(dropout, "dropout", least=0, below=1)
        if width % heads:
            raise ValueError(f"width is {width}; give a multiple of the {heads} heads.")
        self.compress = compress
        self.time = TimeEmbedding(width)
        self.condition_embedding = ConditionEmbedding(condition, width)
        self.place = nn.Parameter(torch.randn(math.prod(self.shape), width))
        self.input = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.norm = AdaptiveNorm(width, width)
        self.output = nn.Linear(width, outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """See `markovbridge.networks.base`."""
        embedding = self.time(t)
        extra = self.condition_embedding(condition)
        if extra is not None:
            embedding = embedding + extra
        sites = math.prod(features.shape[2:])  # 1 of an event that is one number
        tokens = features.reshape(len(features), self.features, sites).transpose(1, 2)
        hidden = self.input(tokens.asinh() if self.compress else tokens) + self.place
        for block in self.blocks:
            hidden = block(hidden, embedding)
        out = self.output(self.norm(hidden, embedding)).transpose(1, 2)
        return out.reshape(len(out), self.outputs, *self.shape)


class _Block(nn.Module):
    """Self-attention over the tokens, then a perceptron on each."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before = AdaptiveNorm(width, width)
        self.queries = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.between = AdaptiveNorm(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        parts = self.queries(self.before(hidden, embedding)).chunk(3, dim=2)
        # (B, heads, tokens, width / heads)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        hidden = hidden + self.merge(seen)
        return hidden + self.layers(self.between(hidden, embedding))


doors.guard(__name__)
