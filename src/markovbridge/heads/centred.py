r"""A head with two parts: the mean, and a table around it.

A network trained for the law of each site learns its mean less well than one trained for the
mean. Here the first output is the mean y of the remaining count, and the others are a table π,
tilted until its mean is y:

    π_η(v) ∝ π(v) exp(η (v - x)),      E_η[x_1 - x] = y.

Of all tables with that mean, the tilted one is nearest to π in Kullback-Leibler divergence
(Csiszár, 1975, https://doi.org/10.1214/aop/1176996454). η takes no gradient, so the likelihood
of the table tells the mean nothing. Give `EndNLL` a weight so small that it hardly reaches the
trunk, such as 0.001 beside `PathKL`: an optimiser that normalises gradients weight by weight, as
Adam does, learns the table's own output layer at full speed all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from markovbridge import laws
from markovbridge.heads.base import Head
from markovbridge.heads.counts import Categorical, LogisticMixture, Mean
from markovbridge.laws import Law
from markovbridge.processes.base import Process

__all__ = ["Centred", "Tilted"]

ITERATIONS = 12  # of Newton's method; far fewer are needed
LONGEST = 2.0  # step of η
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Tilted(laws.Categorical):
    """A table per site that was given its mean by exponential tilting.

    Attributes:
        logits: Unnormalised log-probabilities, (batch, *event, S).
        origin: Where the mean counts from, (batch, *event); nothing lies below.
        log_above: Log of the mean above it, which the table has up to rounding.
    """

    origin: Tensor
    log_above: Tensor

    @classmethod
    def towards(cls, law: laws.Categorical, origin: Tensor, log_above: Tensor) -> Tilted:
        """The table nearest to `law` whose mean above `origin` has this logarithm."""
        values = torch.arange(law.logits.shape[-1], device=origin.device)
        above = (values - origin.unsqueeze(-1)).to(law.logits.dtype)
        with torch.no_grad():
            base, wanted = law.log_probs, log_above.unsqueeze(-1)
            tilt = torch.zeros_like(wanted)
            for _ in range(ITERATIONS):
                p = (base + tilt * above).softmax(-1)
                mean = (p * above).sum(-1, keepdim=True).clamp_min(TINY)
                spread = (p * (above - mean) ** 2).sum(-1, keepdim=True)
                # Newton for the logarithm of the mean: exact at once where the mean is small.
                step = (wanted - mean.log()) * mean / spread.clamp_min(TINY)
                tilt = tilt + step.clamp(-LONGEST, LONGEST)
        return cls(law.logits + tilt * above, origin, log_above)

    def excess(self, origin: Tensor) -> Tensor:
        return self.log_above.exp() + (self.origin - origin)

    def log_excess(self, origin: Tensor) -> Tensor:
        return self.log_above if origin is self.origin else super().log_excess(origin)


@dataclass(frozen=True)
class Centred(Head):
    """The mean as `Mean` learns it, and a table around it, for bounded counts.

    Attributes:
        table: The head of the table: `Categorical` or `LogisticMixture`.
    """

    table: Head = field(default_factory=Categorical)

    def __post_init__(self) -> None:
        if not isinstance(self.table, Categorical | LogisticMixture):
            raise ValueError(
                f"table must be a Categorical or LogisticMixture head, not {self.table!r}"
            )

    def outputs(self, process: Process) -> int:
        """One for the mean, and those of the table."""
        return 1 + self.table.outputs(process)

    def __call__(
        self, process: Process, raw: Tensor, x: Tensor, t: Tensor, mean: Tensor, variance: Tensor
    ) -> Law:
        about = Mean()(process, raw[:, :1], x, t, mean, variance)
        law = self.table(process, raw[:, 1:], x, t, mean, variance)
        if isinstance(law, laws.LogisticMixture):
            law = law.table()
        assert isinstance(law, laws.Categorical)
        return Tilted.towards(law, x, about.log_excess(x))
