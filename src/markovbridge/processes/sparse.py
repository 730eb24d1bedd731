r"""Chains on many states, whose transition probabilities act on vectors: no table is made.

With Λ the largest exit rate and U = 1 + Q/Λ, a stochastic matrix,

    v exp(Qτ)  =  Σ_m e^{-Λτ} (Λτ)^m / m! · v U^m          (uniformisation)

adds and multiplies non-negative numbers only, so that small probabilities keep their digits
(see `processes.exponential`). It takes Λτ + O(√Λτ) products of a sparse matrix with a block of
vectors, which serve all times at once; they end where the vectors have settled. States so far
that the sum does not get to them, below 1e-15 of the mass, have probability 1e-300.

A chain of steps to neighbours, q_ij = 0 but for |i - j| = 1, is reversible: with its
eigenvectors (`processes.limits`) a transition costs one product whatever the time, but with
absolute errors. They take over where more than `MANY` products would be needed, if the
stationary law is flat enough.

The limit τ = ∞ is exact: `processes.limits`.

Bounds of the rates of the reverse over all ends would be tables too. How fast these rates can grow
is in the rows: by r(x') - r(x), r being exit rates, along a move from x to x'
(`samplers.local_bounds`).
"""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes.clock import elapsed
from markovbridge.processes.exponential import LEAST, Semigroup
from markovbridge.processes.limits import LAG, Limit, Modes, settled
from markovbridge.processes.motion import Fixed, Motion, remembered
from markovbridge.processes.schedules import Schedule, Time

FEW = 512  # states of which tables are made
DENSE = 0.25  # share of moves that are possible from which a matrix is kept dense
BLOCK = 2**22  # numbers of vectors held at once: 32 MiB
MANY = 8000  # products beyond which eigenvectors are better
UNDER = 1e-280  # below it numbers are zero, before they slow down
LONG = 3e10  # numbers read and written, beyond which a warning is due: about half a minute


class Sparse(Motion):
    """One rate matrix times the clock, acting on vectors.

    Args:
        jumps: Rates from row to column, without a diagonal: (S, S), a sparse matrix of SciPy in
            rows or an array, float64.
        schedule: Runs the clock.
    """

    local = True

    def __init__(self, jumps: Any, schedule: Schedule) -> None:
        self.size, self.schedule, self._jumps = jumps.shape[0], schedule, jumps
        self._exits = np.asarray(jumps.sum(1)).reshape(-1)
        self.scale = float(self._exits.max())

    @cached_property
    def _steps(self) -> tuple[Any, Any]:
        """U, and U transposed."""
        from scipy import sparse

        kept = np.maximum(1 - self._exits / self.scale, 0)
        if isinstance(self._jumps, np.ndarray):
            dense = self._jumps / self.scale + np.diag(kept)
            return dense, np.ascontiguousarray(dense.T)
        matrix = (self._jumps / self.scale + sparse.diags(kept)).tocsr()
        return matrix, matrix.T.tocsr()

    @cached_property
    def limit(self) -> Limit:
        """Where the chain ends."""
        return Limit(self._jumps)

    @cached_property
    def _modes(self) -> Modes | None:
        return Modes.of(self._jumps)

    # Rows and columns

    def log_rows(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Vectors that start at each state, moved on."""
        return self._logs(x, s, t, transposed=False)

    def log_columns(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Vectors that end at each state, moved back."""
        return self._logs(x, s, t, transposed=True)

    def _logs(self, x: Tensor, s: Time, t: Time, transposed: bool) -> Tensor:
        s, t = self.schedule.at(s), self.schedule.at(t)
        dtype = torch.result_type(s, t)
        out = torch.empty((x.numel(), self.size), dtype=dtype, device=x.device)
        if not x.numel():
            return out.reshape(*x.shape, self.size)
        tau = self._elapsed(x, s, t)
        starts, which = x.reshape(-1).cpu().unique(return_inverse=True)
        order = which.argsort()
        for sites in order.split(max(1, BLOCK // self.size)):
            here, index = which[sites].unique_consecutive(return_inverse=True)
            block = torch.zeros(self.size, len(here), dtype=torch.float64)
            block[starts[here], torch.arange(len(here))] = 1.0
            part = self._act(block, index, tau[sites], transposed)
            reached = [self.limit.reached(int(v), transposed) for v in starts[here]]
            moved = (tau[sites] > 0) & torch.isfinite(tau[sites])
            floor = torch.where(torch.stack(reached)[index] & moved.unsqueeze(1), LEAST, 0.0)
            out[sites.to(x.device)] = torch.maximum(part, floor).log_().to(x.device, dtype)
        return out.reshape(*x.shape, self.size)

    def _elapsed(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Clock times for each site, flat, on the CPU."""
        tau = elapsed(self.schedule, s, t).as_subclass(Tensor).cpu()
        return tau.reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape).reshape(-1)

    def push(self, weights: Tensor, s: Time, t: Time) -> Tensor:
        """Vectors of weights, moved on."""
        s, t = self.schedule.at(s), self.schedule.at(t)
        tau = self._elapsed(weights[..., 0], s, t)
        return _Push.apply(weights, self, tau)  # pyright: ignore[reportReturnType]

    def pushed(self, weights: Tensor, tau: Tensor, transposed: bool) -> Tensor:
        """Vectors (..., S) moved on, or back, for clock times (sites,)."""
        flat = weights.detach().reshape(-1, self.size)
        out = torch.empty_like(flat)
        if not len(flat):
            return out.reshape(weights.shape)
        for sites in torch.arange(len(flat)).split(max(1, BLOCK // self.size)):
            block = flat[sites].cpu().double().T.contiguous()
            part = self._act(block, torch.arange(len(sites)), tau[sites], transposed)
            out[sites] = part.to(flat)
        return out.reshape(weights.shape)

    def _act(self, block: Tensor, which: Tensor, tau: Tensor, transposed: bool) -> Tensor:
        """Products of P (transposed: P times the vector) with one column each of a block.

        Args:
            block: Vectors (S, columns).
            which: The column of each site, (sites,).
            tau: Clock time of each site.
            transposed: Whether vectors are moved back.

        Returns:
            (sites, S).
        """
        out = torch.empty((len(which), self.size), dtype=torch.float64)
        endless = torch.isinf(tau)
        far = ~endless & (self.scale * tau > MANY)
        far = far if bool(far.any()) and self._modes is not None else torch.zeros_like(far)
        near = ~(endless | far)
        if bool(endless.any()):
            out[endless] = self.limit.act(block, transposed)[which[endless]]
        if self._modes is not None and bool(far.any()):
            out[far] = self._modes.act(block, which[far], tau[far], transposed)
        if bool(near.any()):
            columns, index = which[near].unique(return_inverse=True)
            vectors = block[:, columns].contiguous()
            out[near] = self._sum(vectors, index, self.scale * tau[near], transposed)
        return out

    def _sum(self, vectors: Tensor, which: Tensor, mean: Tensor, transposed: bool) -> Tensor:
        """Uniformisation, `mean` = Λτ being the number of products on average: (sites, S)."""
        step = self._steps[0 if transposed else 1]
        most = float(mean.max())
        terms = math.ceil(most + 10 * math.sqrt(most + 9) + 20)
        self._warn(terms * (vectors.numel() * 2 + len(which) * self.size))
        alone = len(which) == vectors.shape[1] and bool((which == torch.arange(len(which))).all())
        out = torch.zeros(self.size, len(which), dtype=torch.float64)
        left = torch.ones_like(mean)
        before, previous, change = vectors, vectors, math.inf
        for m in range(terms + 1):
            weight = torch.exp(
                torch.xlogy(torch.tensor(float(m)), mean) - math.lgamma(m + 1) - mean
            )
            out.addcmul_(vectors if alone else vectors[:, which], weight)
            left = left - weight
            if m % LAG == 0 and m:
                # Against the last vectors as well: a cycle may come back after so many products.
                apart = torch.maximum(_change(before, vectors), _change(previous, vectors))
                last, change = change, float(apart)
                if settled(change, last):
                    out.addcmul_(vectors if alone else vectors[:, which], left.clamp_min(0))
                    break
                before = vectors
            previous = vectors
            vectors = torch.from_numpy(step @ vectors.numpy())
            if m % 8 == 0:
                vectors.masked_fill_(vectors < UNDER, 0.0)
        return out.T

    def _warn(self, work: float) -> None:
        if work > LONG:
            warnings.warn(
                f"transitions of this chain of {self.size} states take up to {self.scale:.3g} "
                "sparse products for each vector and unit of its clock, and minutes in all: give "
                "smaller batches, fewer states or slower rates, or a chain of steps to neighbours",
                stacklevel=2,
            )

    # The limit, and rates

    def log_stationary(self) -> Tensor:
        """The law in which the chain ends, if it is one."""
        laws = self.limit.laws
        if len(laws) > 1:
            raise remembered(*(int(law.argmax()) for law in laws[:2]))
        return self.limit.log_law

    def usual(self) -> Tensor:
        """The law in which the chain ends, averaged over starts."""
        return self.limit.ends.mean(0) @ self.limit.laws

    @cached_property
    def _columns(self) -> Any:
        """The rates, to be asked by columns."""
        return self._jumps if isinstance(self._jumps, np.ndarray) else self._jumps.tocsc()

    @cached_property
    def _into(self) -> tuple[Tensor, Tensor] | None:
        """For each state those that lead to it, and their rates: (S, most); None if too many."""
        if isinstance(self._jumps, np.ndarray):
            return None
        columns = self._columns
        counts = np.diff(columns.indptr)
        most = max(1, int(counts.max()))
        if most > DENSE * self.size:
            return None
        states = np.repeat(np.arange(self.size)[:, None], most, 1)  # no move: the state itself
        rates = np.zeros((self.size, most))
        target = np.repeat(np.arange(self.size), counts)
        place = np.arange(len(target)) - np.repeat(columns.indptr[:-1], counts)
        states[target, place], rates[target, place] = columns.indices, columns.data
        return torch.from_numpy(states), torch.from_numpy(rates)

    def moves(self, x: Tensor) -> Tensor:
        """The states that lead to x, filled up with x itself."""
        return super().moves(x) if self._into is None else self._into[0].to(x.device)[x]

    def inward(self, x: Tensor, t: Time) -> Tensor:
        """The rates of those moves."""
        if self._into is not None:
            return self._into[1].to(x.device)[x]
        columns = self._columns[:, x.reshape(-1).cpu().numpy()]
        dense = columns if isinstance(columns, np.ndarray) else columns.toarray()
        return torch.from_numpy(dense.T.copy()).to(x.device).reshape(*x.shape, self.size)

    def largest(self, x: Tensor, early: float, late: float) -> Tensor:
        """None: what is made of them is a table of all pairs of states."""
        raise TypeError(
            f"bounds of the rates of a chain of {self.size} states take tables of all pairs of "
            f"them, which are made up to {FEW} states: ask for `growths`, as Gillespie() does"
        )

    def growth(self, x: Tensor) -> Tensor:
        """How much larger the exit rates of states that lead to x are than its own, at most."""
        return self._growth.to(x.device)[x]

    @cached_property
    def _growth(self) -> Tensor:
        """The same for every state, (S,): a little above 0 where they are none."""
        rows, columns = self._jumps.nonzero()
        most = np.full(self.size, -np.inf)
        np.maximum.at(most, columns, self._exits[rows])
        return torch.from_numpy((most - self._exits).clip(min=1e-3 * self.scale))


class _Push(torch.autograd.Function):
    """The product with P, whose gradient is that with P transposed."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, chain: Sparse, tau: Tensor) -> Tensor:  # noqa: ANN401
        ctx.chain, ctx.tau = chain, tau
        return chain.pushed(weights, tau, transposed=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        # Signs are split: what is added up must not be negative to be cut where it is small.
        (grad,) = grads
        up = ctx.chain.pushed(grad.clamp_min(0), ctx.tau, transposed=True)
        return up - ctx.chain.pushed((-grad).clamp_min(0), ctx.tau, transposed=True), None, None


def _change(before: Tensor, after: Tensor) -> Tensor:
    """The largest change of an entry relative to itself."""
    return ((after - before).abs() / after.clamp_min(UNDER)).max()


def of_matrix(rates: Tensor, schedule: Schedule) -> Motion:
    """The motion of a dense rate matrix, (S, S) float64: by tables if there are few states."""
    if len(rates) <= FEW:
        return Fixed(Semigroup(rates), schedule)
    jumps = rates.clone().fill_diagonal_(0.0)
    if float((jumps > 0).double().mean()) > DENSE:
        return Sparse(jumps.numpy(), schedule)
    rows, columns = jumps.nonzero(as_tuple=True)
    return of_moves(len(rates), rows, columns, jumps[rows, columns], schedule)


def of_moves(
    states: int, rows: Tensor, columns: Tensor, rates: Tensor, schedule: Schedule
) -> Motion:
    """The motion of the rates from states, rows, to others, columns: (moves,) each."""
    if states <= FEW:
        matrix = torch.zeros(states, states, dtype=torch.float64)
        return Fixed(Semigroup(matrix.index_put_((rows, columns), rates)), schedule)
    from scipy import sparse

    entries = rates.numpy(), (rows.numpy(), columns.numpy())
    checks.room(len(rates) * 8, f"a chain of {len(rates)} moves would", "give fewer")
    return Sparse(sparse.csr_matrix(entries, shape=(states, states)), schedule)


doors.guard(__name__)
