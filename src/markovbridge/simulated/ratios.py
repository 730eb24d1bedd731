r"""Reverse rates from a network, and how wrong they are.

The network learns logarithms of score ratios, and the rates follow from those of the noising
process, so that what it cannot do is not undone:

    λ_m(x, t)  =  inward_m(x, t) exp(n_m(x, t)),      n_m -> log f_t(origins(x)[m]) / f_t(x).

With a noised state x ~ f_t the rate at which path KL is lost is, up to what no model can change,

    ℓ(x, t)  =  Σ_m λ_m(x, t) - Σ_m r_m(x, t) - Σ_m r_m(x, t) n_m(x_m, t),     x_m = moves(x)[m],

that is Σ λ - Σ r log λ of the reverse moves, with Σ r log r - Σ r added. Its mean over f_t is
convex in n and least at the exact reverse: the terms of n_m(x') are
f_t(x') inward_m e^n - f_t(x) r_m(x) n with x' = x_m. No transition probability is in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.simulated.dynamics import JumpDynamics, stated
from markovbridge.simulated.walkers import chosen, drawn
from markovbridge.simulated.walks import Path


class Ratios(nn.Module):
    """A network that says score ratios of a dynamics.

    Args:
        dynamics: The noising process, with M moves.
        network: Called as `network(dynamics.encode(x, t), t)`, with times (batch,) float32; it
            returns M numbers for each row, in any shape (batch, ...). A network of this package
            returns (batch, outputs, *event), so it fits where M is outputs times sites.
    """

    def __init__(self, dynamics: JumpDynamics, network: nn.Module) -> None:
        super().__init__()
        self.dynamics, self.network = dynamics, network

    def log_ratios(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network says of log f_t(origins(x)[m]) / f_t(x): (batch, M) float64.

        Raises:
            ValueError: If the network returns another number of values.
        """
        out = self.network(self.dynamics.encode(x, t), t.to(torch.float32)).flatten(1)
        if out.shape != (len(x), self.dynamics.labels):
            raise ValueError(
                f"the network returns {tuple(out.shape)} for {len(x)} states, but there are "
                f"{self.dynamics.labels} moves: give it as many outputs"
            )
        return out.double()

    def rates(self, x: Tensor, t: Tensor) -> Tensor:
        """Reverse rates from x to `dynamics.origins(x)`, per unit of t: (batch, M) float64."""
        inward = self.dynamics.inward(x, t)
        # Where nothing leads to x the network may say anything.
        log = torch.where(inward > 0, self.log_ratios(x, t), 0.0)
        return inward * log.exp()

    def leaving(self, x: Tensor, t: Tensor) -> Tensor:
        """Rate at which the reverse changes each number of the event: (batch, *event) float64."""
        return self._summed((self._steps(x) != 0).double(), x, t)

    def change(self, x: Tensor, t: Tensor) -> Tensor:
        """Mean change of each number by the reverse, per unit of t: (batch, *event) float64."""
        return self._summed(self._steps(x).double(), x, t)

    def _steps(self, x: Tensor) -> Tensor:
        """By how much each jump of the reverse changes x, (batch, M, *event)."""
        return self.dynamics.origins(x) - x.unsqueeze(1)

    def _summed(self, steps: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return torch.einsum("bm,bm...->b...", self.rates(x, t), steps)

    def excess(self, x: Tensor, t: Tensor) -> Tensor:
        """Σ λ - Σ r, the total rate of the reverse above that of the noising, (batch,)."""
        return self.rates(x, t).sum(1) - stated(self.dynamics, x, t).sum(1)

    def loss_rate(
        self,
        x: Tensor,
        t: Tensor,
        neighbours: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """ℓ(x, t) of the module's first lines, (batch,), in nats per unit of t.

        Args:
            x: Noised states, (batch, *event).
            t: Their times, (batch,) float64.
            neighbours: How many moves to draw for the last sum, ∝ their rates; None takes all.
            generator: Source of randomness.
        """
        rates = stated(self.dynamics, x, t)
        total = rates.sum(1)
        if neighbours is None:
            row, which = (rates > 0).nonzero(as_tuple=True)
            weight = rates[row, which]
        else:
            row = (total > 0).nonzero().squeeze(1).repeat(neighbours)
            which = drawn(rates[row], generator)
            weight = total[row] / neighbours
        loss = self.rates(x, t).sum(1) - total
        if len(row):
            after = chosen(self.dynamics.moves(x[row]), which)
            said = chosen(self.log_ratios(after, t[row]), which)
            loss = loss.index_add(0, row, -weight * said)
        return loss

    def path_loss(self, path: Path, weights: Tensor) -> Tensor:
        """The log of the law of noising paths over that of the reverse ones, (batch,), in nats.

        That of the source left out. Its mean over noised data is the integral of `loss_rate`.

        Args:
            path: Paths from 1 to 0.
            weights: Of the times at which its states were looked at, (batch, points): what
                they stand for of the unit of time.
        """
        flat = path.states.flatten(0, 1)
        excess = self.excess(flat, path.times.flatten()).reshape(weights.shape)
        loss = (weights * excess).sum(1)
        if len(path.rows):
            said = chosen(self.log_ratios(path.after, path.when), path.which)
            loss = loss.index_add(0, path.rows, -said)
        return loss


doors.guard(__name__)
