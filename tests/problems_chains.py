"""Chains with their rate matrices, written down from the definitions and not from the package."""

import numpy as np
import torch
from scipy import sparse, stats

from markovbridge import processes
from markovbridge.processes.sparse import Sparse

CLOCK = processes.UniformChain(2).schedule  # the default schedule, cosine


def conserve(rates):
    """Put minus the row sums on the diagonal."""
    rates = np.array(rates, dtype=float)
    np.fill_diagonal(rates, 0)
    return rates - np.diag(rates.sum(1))


def random_rates(size, seed=0):
    """A dense chain that is not reversible."""
    return conserve(np.random.default_rng(seed).uniform(0.05, 1, (size, size)))


def ring(size):
    """A walk on a ring that goes round one way more often."""
    rates = np.zeros((size, size))
    for i in range(size):
        rates[i, (i + 1) % size] = 1.0
        rates[i, (i - 1) % size] = 0.25
    return conserve(rates)


def trap(size):
    """States in a row, the last of which keeps what it catches; all are caught at rate 1."""
    rates = np.diag(np.ones(size - 1), 1) + np.diag(np.r_[np.full(size - 2, 0.3), 0.0], -1)
    rates = conserve(rates)
    return rates / -np.sort(np.linalg.eigvals(rates).real)[-2]


def ehrenfest(maximum):
    n = np.arange(maximum + 1)
    return conserve(np.diag((maximum - n[:-1]) / 2, 1) + np.diag(n[1:] / 2, -1))


def redrawn(law):
    return conserve(np.tile(law, (len(law), 1)))


def gaussian(size, width):
    gap = np.subtract.outer(np.arange(size), np.arange(size))
    rates = conserve(np.exp(-(gap**2) / (2 * width**2)))
    return rates / -np.sort(np.linalg.eigvalsh(rates))[-2]


def by_vectors(rates):
    """A chain of few states by what chains of many are made of."""
    process = processes.FiniteChain(sparse.csr_matrix(rates))
    jumps = sparse.csr_matrix(rates - np.diag(np.diag(rates)))
    process.__dict__["motion"] = Sparse(jumps, process.schedule)
    return process


# name: (process, rate matrix, number of states the data take)
CHAINS = {
    "random": (processes.FiniteChain(random_rates(5)), random_rates(5), 5),
    "ring": (processes.FiniteChain(ring(6)), ring(6), 6),
    "trap": (processes.FiniteChain(trap(5)), trap(5), 5),
    "reversible": (processes.FiniteChain(ehrenfest(4)), ehrenfest(4), 5),
    "vectors": (by_vectors(ring(6)), ring(6), 6),
    "vectors into a trap": (by_vectors(trap(5)), trap(5), 5),
    "uniform": (processes.UniformChain(6), redrawn(np.full(6, 1 / 6)), 6),
    "masked": (processes.AbsorbingChain(4), redrawn(np.eye(5)[4]), 4),
    "black": (processes.AbsorbingChain(5, mask=0), redrawn(np.eye(5)[0]), 5),
    "gaussian": (processes.DiscretisedGaussianChain(7, width=1.5), gaussian(7, 1.5), 7),
    "ehrenfest": (processes.Ehrenfest(11), ehrenfest(11), 12),
}

UNBOUNDED = {
    "birth-death": processes.BirthDeath(immigration=2.5, maximum=5),
    "walk": processes.RandomWalk(rate=3.0, centre=2, maximum=5),
    "birth": processes.PureBirth(rate=2.0, centre=2, maximum=5),
}


def survival(t):
    return np.sin(np.pi * t / 2) ** 2


def elapsed(t, s):
    """Clock time from s back to t."""
    return np.log(survival(s) / survival(t))


def speed(t):
    return np.pi / np.tan(np.pi * t / 2)


def table(process, s, t):
    """P(s->t) of a finite chain through its public law."""
    values = torch.arange(process.size).unsqueeze(1)
    return process.transition(values, s, t).log_probs[:, 0].exp().numpy()


def pairs(first, second):
    """All pairs of states, as (n, 1) tensors."""
    x, y = torch.meshgrid(torch.arange(first), torch.arange(second), indexing="ij")
    return x.reshape(-1, 1), y.reshape(-1, 1)


def data_law(size, seed=3):
    """A law of the data with all states in it."""
    law = np.random.default_rng(seed).dirichlet(np.ones(size))
    return torch.tensor(law)


def joint_law(size, seed=4):
    """A correlated law of two sites."""
    a, b = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    law = np.exp(-((a - b) ** 2)) * np.random.default_rng(seed).uniform(0.2, 1, (size, size))
    return torch.tensor(law / law.sum())


def noised_counts(name, y, window, t):
    """p(x_t | x_1 = y) of the unbounded processes on `window`, from SciPy."""
    p = survival(t)
    q = 1 - p
    if name == "birth-death":
        total = np.zeros(len(window))
        for k in range(y + 1):
            total += stats.binom.pmf(k, y, p) * stats.poisson.pmf(window - k, 2.5 * q)
        return total
    if name == "walk" and q < 1e-12:
        return (window == y).astype(float)
    if name == "walk":
        return stats.skellam.pmf(window - y, 3.0 * q, 3.0 * q)
    return stats.poisson.pmf(window - y, 2.0 * q)
