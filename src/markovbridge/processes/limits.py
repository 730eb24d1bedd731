r"""Where chains on many states end, and the modes of those that step to neighbours.

States that reach each other are a class, and a class that is never left is closed. From state v
the chain ends in closed class c with probability h_c(v), and there in its stationary law π_c,

    P(v, x; ∞)  =  Σ_c h_c(v) π_c(x),        π_c Q_cc = 0,        Q_TT h_c = -Q_Tc 1

with T the states that are left for ever. A class whose steps lead to neighbours has π in closed
form, π_{i+1}/π_i = q_{i,i+1}/q_{i+1,i}, in logarithms. Else π is what the powers of U = 1 + Q/Λ
tend to, if they do soon, and the solution of a sparse system, which nothing is taken away from
but on its diagonal, if they do not.

A chain of steps to neighbours on all states has the symmetric matrix √(π_i/π_j) q_ij, which is
tridiagonal, and one decomposition for all times. Its errors, 1e-15 of the largest √(π_i/π_j),
are absolute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes.exponential import LEAST

FLAT = 14.0  # range of log π up to which errors of eigenvectors stay below 1e-11
WIDEST = 8192  # states of which eigenvectors are kept: 512 MiB
POWERS = 4000  # of U that are tried, before a system is solved
LAG = 61  # powers, or products, between looks: prime, so that few cycles look settled
SETTLED = 1e-14


class Limit:
    """The transition probabilities at infinite time.

    Args:
        jumps: Rates from row to column, without a diagonal: (S, S), a sparse matrix of SciPy
            or an array.
    """

    def __init__(self, jumps: Any) -> None:
        from scipy import sparse

        self._jumps = sparse.csr_matrix(jumps)
        self.size = jumps.shape[0]

    @cached_property
    def _labels(self) -> np.ndarray:
        from scipy.sparse.csgraph import connected_components

        return connected_components(self._jumps, directed=True, connection="strong")[1]

    @cached_property
    def _closed(self) -> list[np.ndarray]:
        """The states of each closed class."""
        moves, labels = self._jumps.tocoo(), self._labels
        left = np.zeros(labels.max() + 1, dtype=bool)
        left[labels[moves.row[labels[moves.row] != labels[moves.col]]]] = True
        order = np.argsort(labels, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(labels))[:-1])
        found = sorted((g for k, g in enumerate(groups) if not left[k]), key=lambda g: g[0])
        checks.room(
            len(found) * self.size * 2, f"{len(found)} ends of a chain would", "take fewer"
        )
        return found

    @cached_property
    def _log_laws(self) -> Tensor:
        """The stationary law of each closed class, in logarithms: (classes, S)."""
        out = torch.full((len(self._closed), self.size), -torch.inf, dtype=torch.float64)
        for k, states in enumerate(self._closed):
            out[k, torch.from_numpy(states)] = _stationary(self._jumps[states][:, states])
        return out

    @cached_property
    def laws(self) -> Tensor:
        """The stationary law of each closed class, (classes, S)."""
        return self._log_laws.exp()

    @property
    def log_law(self) -> Tensor:
        """The logarithm of the first of them, (S,)."""
        return self._log_laws[0]

    @cached_property
    def ends(self) -> Tensor:
        """In which of them the chain ends, from each state: (S, classes)."""
        out = np.zeros((self.size, len(self._closed)))
        for k, states in enumerate(self._closed):
            out[states, k] = 1.0
        passing = np.flatnonzero(out.sum(1) == 0)
        if len(passing) and len(self._closed) == 1:
            out[passing] = 1.0
        elif len(passing):
            from scipy import sparse
            from scipy.sparse.linalg import splu

            exits = np.asarray(self._jumps.sum(1)).reshape(-1)[passing]
            system = sparse.diags(exits) - self._jumps[passing][:, passing]
            into = self._jumps[passing] @ out
            found = np.clip(splu(system.tocsc()).solve(into), 0, None)
            out[passing] = found / found.sum(1, keepdims=True)
        return torch.from_numpy(out)

    def act(self, block: Tensor, transposed: bool) -> Tensor:
        """Vectors (S, columns) moved on for ever, or back: (columns, S)."""
        if transposed:
            return (self.laws @ block).T @ self.ends.T
        return (block.T @ self.ends) @ self.laws

    @cached_property
    def _backwards(self) -> Any:
        return self._jumps.T.tocsr()

    def reached(self, state: int, transposed: bool) -> Tensor:
        """Which states can be reached from one, or reach it: (S,) bool."""
        if self._labels.max() == 0:
            return torch.ones(self.size, dtype=torch.bool)
        from scipy.sparse.csgraph import breadth_first_order

        graph = self._backwards if transposed else self._jumps
        out = torch.zeros(self.size, dtype=torch.bool)
        found = breadth_first_order(graph, state, return_predecessors=False)
        out[torch.from_numpy(np.asarray(found, dtype=np.int64))] = True
        return out


def _stationary(jumps: Any) -> Tensor:
    """The stationary law of an irreducible chain, in logarithms."""
    steps = _neighbours(jumps)
    if steps is not None:
        up, down = steps
        log = np.concatenate([[0.0], np.cumsum(np.log(up) - np.log(down))])
        return torch.log_softmax(torch.from_numpy(log), 0)
    law = _power_limit(jumps)
    law = _solved(jumps) if law is None else law
    law = np.maximum(law, LEAST)
    return torch.from_numpy(np.log(law / law.sum()))


def _neighbours(jumps: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Rates up and down, (S - 1,) each, of steps to neighbours; None if there are others."""
    up, down = jumps.diagonal(1), jumps.diagonal(-1)
    if jumps.count_nonzero() != np.count_nonzero(up) + np.count_nonzero(down):
        return None
    return (up, down) if bool((up > 0).all() and (down > 0).all()) else None


def _power_limit(jumps: Any) -> np.ndarray | None:
    """What a law tends to under powers of U, or None if it has not settled."""
    size = jumps.shape[0]
    if size == 1:
        return np.ones(1)
    exits = np.asarray(jumps.sum(1)).reshape(-1)
    step, kept = (jumps / exits.max()).T.tocsr(), 1 - exits / exits.max()
    law, change = np.full(size, 1 / size), math.inf
    for _ in range(POWERS // LAG):
        before = previous = law
        for _ in range(LAG):
            previous, law = law, step @ law + kept * law
        # Against the last law as well: a cycle may come back after so many powers.
        apart = np.maximum(np.abs(law - before), np.abs(law - previous))
        last, change = change, float((apart / np.maximum(law, LEAST)).max())
        if settled(change, last):
            return law
    return None


def settled(change: float, last: float) -> bool:
    """Whether what changed by so much, and by `last` before, moves on by next to nothing.

    Changes fall like a power: the rest of them is a geometric series.
    """
    return change == 0 or (change < last and change / (1 - change / last) < SETTLED)


def _solved(jumps: Any) -> np.ndarray:
    """The solution of π Q = 0 with π = 1 at the state that is left least."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    exits = np.asarray(jumps.sum(1)).reshape(-1)
    pivot = int(exits.argmin())
    rest = np.delete(np.arange(len(exits)), pivot)
    system = sparse.diags(exits[rest]) - jumps[rest][:, rest].T
    factors = splu(system.tocsc(), diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    out = np.ones(len(exits))
    out[rest] = factors.solve(jumps[pivot].toarray().reshape(-1)[rest])
    return out / out.sum()


@dataclass(frozen=True, eq=False)
class Modes:
    """The eigenvectors of a chain of steps to neighbours.

    Attributes:
        log_law: Its stationary law in logarithms, (S,).
        up: Rates from i to i + 1, (S - 1,).
        down: Rates from i + 1 to i, (S - 1,).
    """

    log_law: Tensor
    up: Tensor
    down: Tensor

    @staticmethod
    def of(jumps: Any) -> Modes | None:
        """The modes of a matrix of steps to neighbours; None of another, or where inexact."""
        if isinstance(jumps, np.ndarray) or jumps.shape[0] > WIDEST:
            return None
        steps = _neighbours(jumps)
        if steps is None:
            return None
        log = _stationary(jumps)
        if float(log.max() - log.min()) > FLAT:
            return None
        return Modes(log, *map(torch.from_numpy, steps))

    @cached_property
    def _decomposed(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (S,) and vectors (S, S)."""
        from scipy.linalg import eigh_tridiagonal

        exits = torch.zeros(len(self.log_law), dtype=torch.float64)
        exits[:-1] += self.up
        exits[1:] += self.down
        beside = (self.up * self.down).sqrt()
        values, vectors = eigh_tridiagonal(-exits.numpy(), beside.numpy())
        return torch.from_numpy(values).clamp_max(0.0), torch.from_numpy(vectors)

    def act(self, block: Tensor, which: Tensor, tau: Tensor, transposed: bool) -> Tensor:
        """As `Sparse` does: columns (S, columns) moved on, or back, each site by its time."""
        values, vectors = self._decomposed
        root = (self.log_law / 2).exp().unsqueeze(1)
        scale = root if transposed else 1 / root
        parts = vectors.T @ (block * scale)
        moved = vectors @ (parts[:, which] * torch.exp(values.unsqueeze(1) * tau))
        return (moved / scale).clamp_min(0.0).T


doors.guard(__name__, inside=("settled",))
