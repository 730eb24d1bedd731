r"""The learned reverse of a jump process that can only be simulated.

    >>> from markovbridge import simulated as sim
    >>> from markovbridge.networks import MLP
    >>> def rates(x, t):  # of a birth and of a death
    ...     return torch.cat([torch.ones(len(x), 1), x], 1)
    >>> dynamics = sim.Reactions(torch.tensor([[1], [-1]]), rates)
    >>> data = torch.full((64, 1), 5)
    >>> source = sim.Ends(data, lambda x, g: sim.simulate(dynamics, x, generator=g))
    >>> network = MLP((1,), dynamics.features, 2, width=16, depth=1)
    >>> model = ReverseRates(dynamics, network, source)
    >>> _ = sim.fit(model, data, steps=2)  # 2,000 and more are of use
    >>> model.sample(100).shape
    torch.Size([100, 1])

On a noising path with jumps (t_k: x_k -> x_k', label m_k) from x_1 to x_0, of law q, the model,
started at the source, has p(x_1) >= exp E_q[...] with

    log p(source = x_0) + Σ_k log λ_{m_k}(x_k', t_k) - ∫ Σ λ dt
                        - Σ_k log r_{m_k}(x_k, t_k)  + ∫ Σ r dt,

the log of the ratio of two laws of paths, both known. At the exact reverse it is log p(x_1) on
every path.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.simulated.dynamics import JumpDynamics, states_of
from markovbridge.simulated.fitting import Learned
from markovbridge.simulated.objectives import OneTime, PathObjective, times, weights
from markovbridge.simulated.ratios import Ratios
from markovbridge.simulated.samplers import Leaping, Thinning
from markovbridge.simulated.sources import StartLaw
from markovbridge.simulated.walks import Path, walk
from markovbridge.transport.likelihood import Bound


class ReverseRates(Ratios, Learned):
    """Reverse rates, learned from simulated paths.

    Args:
        dynamics: The noising process.
        network: See `Ratios`.
        source: What the reverse starts from.
        objective: How to train; None is `OneTime()`.
        windows: Bounds on the way of a simulated path; see `walk`.
    """

    def __init__(
        self,
        dynamics: JumpDynamics,
        network: nn.Module,
        source: StartLaw,
        objective: PathObjective | None = None,
        windows: int = 1,
    ) -> None:
        super().__init__(dynamics, network)
        self.source = source
        self.objective = OneTime() if objective is None else objective
        self.windows = checks.turns(windows, "windows")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dynamics.shape

    @torch.no_grad()
    def paths(self, x1: Tensor, *, generator: torch.Generator | None = None) -> Path:
        x1 = states_of(self.dynamics, x1, "x1").to(self.device)
        return self.objective.paths(self, x1, self.windows, generator)

    def loss_of(self, paths: Path, *, generator: torch.Generator | None = None) -> Tensor:
        """A bound on -log p(x_1) but for the source, of each path, in nats: (batch,)."""
        return self.objective.loss(self, paths, generator)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        sampler: Thinning | Leaping | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Data, (n, *event).

        Args:
            n: How many.
            sampler: How to walk; None is `Thinning()`.
            generator: Source of randomness.
        """
        x0 = self._sources(n, generator)
        return (Thinning() if sampler is None else sampler).run(self, x0, generator=generator)

    @torch.no_grad()
    def frames(
        self,
        x: Tensor | int,
        times: Sequence[float],
        sampler: Thinning | Leaping | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """States on the way to the data, for pictures, or from an observed state.

        Args:
            x: States at the first of the times, (batch, *event), or how many to draw from the
                source, which is at t = 0.
            times: When, in increasing order.
            sampler: How to walk from each to the next; None is `Thinning()`.
            generator: Source of randomness.

        Returns:
            The states at these times, (times, batch, *event).
        """
        walker = Thinning() if sampler is None else sampler
        found = [self._begun(x, times, generator)]
        for t, s in pairwise(times):
            found.append(walker.run(self, found[-1], t, s, generator=generator))
        return torch.stack(found)

    @torch.no_grad()
    def log_likelihood(
        self,
        x1: Tensor,
        *,
        paths: int = 16,
        points: int = 32,
        generator: torch.Generator | None = None,
    ) -> Bound:
        """A lower bound on log p(x_1), estimated.

        Args:
            x1: Data, (batch, *event).
            paths: Noising paths of each data point.
            points: Times at which the integral over a path is estimated.
            generator: Source of randomness.

        Raises:
            ValueError: If x1 is not (batch, *event), or there are less than 2 paths.
            TypeError: If the source knows no probabilities.
        """
        x1 = states_of(self.dynamics, x1, "x1").to(self.device)

        def value(rows: Tensor) -> Tensor:
            t = times(len(rows), points, generator=generator, device=rows.device)
            path = walk(self.dynamics, rows, t, windows=self.windows, generator=generator)
            return self.source.log_prob(path.end) - self.path_loss(path, weights(t))

        return self._bound(x1, paths, value)


doors.guard(__name__)
