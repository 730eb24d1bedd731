r"""Transition matrices exp(Qτ) of a rate matrix, accurate entry by entry.

Bridges and rates are ratios of transition probabilities, small ones too: two
steps of 1e-6 make 1e-12, and an error of 1e-16 in such an entry is an error of
1e-4 in the ratio. So no digits may cancel. With Λ the largest exit rate,
U = I + Q/Λ is a stochastic matrix and

    exp(Qτ) = Σ_m e^{-Λτ} (Λτ)^m / m! · U^m          (uniformisation)

adds and multiplies non-negative numbers only. The series is summed for τ/2^k
with Λτ/2^k <= 4, the result squared k times, and rows are normalised on the
way: every entry keeps its relative accuracy (Xue & Ye, Math. Comp. 82, 2013,
"Computing exponentials of essentially non-negative matrices entrywise to high
relative accuracy", https://doi.org/10.1090/S0025-5718-2013-02677-4). The powers
of U are shared by all τ, so a batch of times costs a few matrix products each.

A reversible chain, π_i q_ij = π_j q_ji, has the symmetric matrix √(π_i/π_j) q_ij
and with its eigenvectors one product for any τ, but with *absolute* errors. It is
used from the τ on at which every entry exceeds `MIXED`; later ones do so too,
exp(Qτ)_ij being an average of entries of an earlier column.

At τ = ∞ the limit is taken by squaring until the chain has run for 2^60/Λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors

TERMS = 40  # of the series: the Poisson(4) tail beyond is below 1e-26
REACH = 4.0  # Λτ up to which the series is summed without squaring
MIXED = 1e-4  # entries above which absolute errors of 1e-14 do not matter
LEAST = 1e-300  # possible moves never have probability 0: their logarithms stay finite


@dataclass(frozen=True, eq=False)
class Semigroup:
    """The transition matrices of a chain, as a function of elapsed time.

    Attributes:
        rates: Rate matrix with rates from row to column, (S, S) float64; its diagonal is
            ignored, rows are conservative by construction.
    """

    rates: Tensor

    @cached_property
    def jumps(self) -> Tensor:
        """Rates between states, zero on the diagonal."""
        return self.rates.clone().fill_diagonal_(0.0)

    @cached_property
    def scale(self) -> float:
        """Λ, the largest exit rate."""
        return float(self.jumps.sum(1).max())

    @cached_property
    def _uniformised(self) -> Tensor:
        jumps = self.jumps / self.scale
        return jumps + torch.diag((1 - jumps.sum(1)).clamp_min(0))

    @cached_property
    def _powers(self) -> Tensor:
        powers = [torch.eye(len(self.rates), dtype=torch.float64)]
        for _ in range(TERMS):
            powers.append(_normalised(powers[-1] @ self._uniformised))
        return torch.stack(powers)

    @cached_property
    def reachable(self) -> Tensor:
        """Which states can be reached from which, at any later time: (S, S) bool."""
        return self._closure[0]

    @cached_property
    def _closure(self) -> tuple[Tensor, int]:
        """Reachability, and how many doublings of one jump it takes."""
        reach = (self.jumps > 0) | torch.eye(len(self.rates), dtype=torch.bool)
        doublings = 0
        while True:
            wider = (reach.double() @ reach.double()) > 0
            if bool((wider == reach).all()):
                return reach, doublings
            reach, doublings = wider, doublings + 1

    @cached_property
    def limit(self) -> Tensor:
        """The transition matrix at τ = ∞, (S, S)."""
        matrix = self._series(torch.tensor([REACH / self.scale], dtype=torch.float64))
        for _ in range(60):
            matrix = _normalised(matrix @ matrix)
        # States from which the chain can leave for ever hold no mass in the end.
        recurrent = (~self.reachable | self.reachable.T).all(1)
        return _normalised(torch.where(recurrent, matrix[0], 0.0))

    @cached_property
    def _eigen(self) -> tuple[float, Tensor, Tensor, Tensor] | None:
        """The τ from which eigenvectors serve, eigenvalues, left and right factors."""
        law = self.limit[0]
        if bool((law < MIXED).any()) or not bool(self.reachable.all()):
            return None
        flow = law.unsqueeze(1) * self.jumps
        if float((flow - flow.T).abs().max()) > 1e-12 * float(flow.max()):
            return None
        root = law.sqrt()
        symmetric = root.unsqueeze(1) * self.jumps / root
        symmetric = (symmetric + symmetric.T) / 2 - torch.diag(self.jumps.sum(1))
        values, vectors = torch.linalg.eigh(symmetric)
        values = values.clamp_max(0.0)
        factors = values, vectors / root.unsqueeze(1), vectors.T * root
        tau = REACH / self.scale
        for _ in range(60):
            matrix = _compose(*factors, torch.tensor([tau], dtype=torch.float64))
            if float(matrix.min()) > MIXED:
                return tau, *factors
            tau *= 2
        return None

    @cached_property
    def reversible(self) -> bool:
        """Whether one eigendecomposition serves for long times."""
        return self._eigen is not None

    def __call__(self, tau: Tensor) -> Tensor:
        """exp(Qτ) for elapsed times τ >= 0, infinite ones included.

        Args:
            tau: (T,), float64.

        Returns:
            (T, S, S), float64, on the device of tau. Rows sum to one; where a state can be
            reached at all, its probability at finite τ > 0 is at least 1e-300.
        """
        device = tau.device
        matrices = torch.empty((len(tau), *self.rates.shape), dtype=torch.float64, device=device)
        endless = torch.isinf(tau)
        matrices[endless] = self.limit.to(device)
        mixed = torch.zeros_like(endless)
        if self._eigen is not None:
            start, values, left, right = self._eigen
            mixed = (tau >= start) & ~endless
            if bool(mixed.any()):
                matrices[mixed] = _compose(
                    values.to(device), left.to(device), right.to(device), tau[mixed]
                )
        rest = ~(endless | mixed)
        if bool(rest.any()):
            matrices[rest] = self._squared(tau[rest])
        return matrices

    def _squared(self, tau: Tensor) -> Tensor:
        # Far states need enough halvings for the series to reach them at all.
        least = max(0, self._closure[1] + 2 - int(math.log2(TERMS)))
        halvings = (self.scale * tau / REACH).clamp_min(1.0).log2().ceil().long()
        halvings = halvings.clamp_min(least)
        matrices = self._series(tau / 2.0**halvings)
        for k in range(int(halvings.max())):
            more = halvings > k
            matrices[more] = _normalised(matrices[more] @ matrices[more])
        floor = torch.where(self.reachable, LEAST, 0.0).to(tau.device)
        moved = torch.maximum(matrices, floor)
        return torch.where(tau.reshape(-1, 1, 1) > 0, moved, matrices)

    def _series(self, tau: Tensor) -> Tensor:
        m = torch.arange(TERMS + 1, dtype=torch.float64, device=tau.device)
        a = (self.scale * tau).unsqueeze(1)
        weights = torch.exp(torch.xlogy(m, a) - torch.lgamma(m + 1) - a)
        return _normalised(torch.einsum("tm,mij->tij", weights, self._powers.to(tau.device)))


def _compose(values: Tensor, left: Tensor, right: Tensor, tau: Tensor) -> Tensor:
    decay = torch.exp(values * tau.unsqueeze(1))
    return _normalised(((left * decay.unsqueeze(1)) @ right).clamp_min(0.0))


def _normalised(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(-1, keepdim=True)


doors.guard(__name__)
