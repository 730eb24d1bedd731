"""Problems with known answers, and exact comparisons.

Everything here is worked out from NumPy and SciPy alone, never from the package, so that a
test compares two independent derivations. Counts under thinning: x_t ~ Binomial(x_1, p).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from markovbridge import CosineSchedule, LinearSchedule, LogisticSchedule, SurvivalSchedule, exact

LEVEL = 1e-5  # of every statistical test
TOP = 100  # probability tables run over 0 .. TOP; what is left out is below 1e-12


def squared(t):
    """A survival function of the user's."""
    return t**2


def squared_complement(t):
    return (1 - t) * (1 + t)


SCHEDULES = {
    "linear": LinearSchedule(),
    "cosine": CosineSchedule(),
    "logistic": LogisticSchedule(15),
    "published": LogisticSchedule(15, exact_ends=False),
    "survival": SurvivalSchedule(squared, squared_complement),
}


@dataclass(frozen=True)
class Problem:
    """A law of one count with everything known about it.

    `remaining(x, p)` is E[x_1 - x | x_t = x] at survival p, and entropy is in nats.
    """

    name: str
    law: Callable  # of the process: the exact law of the package
    pmf: np.ndarray  # over 0 .. TOP
    remaining: Callable
    entropy: float
    maximum: int | None = None

    @property
    def mean(self):
        return self.pmf @ np.arange(len(self.pmf))


def _zip(zero, mean):
    pmf = (1 - zero) * stats.poisson.pmf(range(TOP + 1), mean)
    pmf[0] += zero
    return pmf


def _zip_remaining(zero, mean):
    def remaining(x, p):
        alive = (1 - zero) * np.exp(-mean * p)
        return np.where(x > 0, mean * (1 - p), mean * (1 - p) * alive / (zero + alive))

    return remaining


COUNTS = np.arange(TOP + 1)

PROBLEMS = [
    Problem(
        "poisson-low",
        lambda process: exact.Poisson(process, 0.3),
        stats.poisson.pmf(COUNTS, 0.3),
        lambda x, p: 0.3 * (1 - p) + 0 * x,
        0.691144,
    ),
    Problem(
        "poisson",
        lambda process: exact.Poisson(process, 3.0),
        stats.poisson.pmf(COUNTS, 3),
        lambda x, p: 3 * (1 - p) + 0 * x,
        1.931470,
    ),
    Problem(
        "negative-binomial",
        lambda process: exact.NegativeBinomial(process, 3.0, 2.0),
        stats.nbinom.pmf(COUNTS, 2, 2 / 5),
        lambda x, p: (1 - p) * 3 * (2 + x) / (2 + 3 * p),
        2.206714,
    ),
    Problem(
        "bernoulli",
        lambda process: exact.Binomial(process, 1, 0.3),
        stats.binom.pmf(COUNTS, 1, 0.3),
        lambda x, p: np.where(x == 0, 0.3 * (1 - p) / (1 - 0.3 * p), 0.0),
        0.610864,
        maximum=1,
    ),
    Problem(
        "binomial",
        lambda process: exact.Binomial(process, 10, 0.4),
        stats.binom.pmf(COUNTS, 10, 0.4),
        lambda x, p: (10 - x) * 0.4 * (1 - p) / (1 - 0.4 * p),
        1.853555,
        maximum=10,
    ),
    Problem(
        "zero-inflated",
        lambda process: exact.ZeroInflatedPoisson(process, 0.6, 4.0),
        _zip(0.6, 4),
        _zip_remaining(0.6, 4),
        1.468034,
    ),
]


def thinning(p, top=TOP):
    """Table of Binomial(y, p): rows y = 0 .. top (the count), columns x (what is left)."""
    n = np.arange(top + 1)
    return stats.binom.pmf(n[None, :], n[:, None], p)


def posterior(pmf, p):
    """Table of p(x_1 = y | x_t = x) by Bayes: rows x, columns y."""
    joint = (pmf[:, None] * thinning(p, len(pmf) - 1)).T
    return joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)


def entropy(pmf):
    """In nats."""
    pmf = pmf[pmf > 0]
    return -(pmf * np.log(pmf)).sum()


def distance(first, second):
    """Total variation."""
    return 0.5 * np.abs(np.asarray(first) - np.asarray(second)).sum()


def table(law, top):
    """The probabilities a law of one count gives to 0 .. top, for one row of parameters."""
    x = torch.arange(top + 1)
    return np.array([float(law.log_prob(v.reshape(1, 1)).exp()) for v in x])


def assert_follows(draws, pmf):
    """Chi-square: integers drawn from the probabilities `pmf` over 0, 1, ... .

    Cells with fewer than 5 expected draws are pooled with their neighbours.
    """
    draws, pmf = np.asarray(draws).ravel(), np.asarray(pmf, dtype=float)
    assert draws.min() >= 0
    assert math.isclose(pmf.sum(), 1, abs_tol=1e-6), "the table leaves out mass"
    found = np.bincount(draws, minlength=len(pmf)).astype(float)
    assert len(found) == len(pmf), f"drew {draws.max()}, outside the table"
    expected = pmf * len(draws)
    assert found[expected == 0].sum() == 0, "drew a value of probability 0"
    pooled, cell = [], [0.0, 0.0]
    for f, e in zip(found, expected, strict=True):
        cell = [cell[0] + f, cell[1] + e]
        if cell[1] >= 5:
            pooled.append(cell)
            cell = [0.0, 0.0]
    pooled[-1] = [pooled[-1][0] + cell[0], pooled[-1][1] + cell[1]]
    if len(pooled) == 1:
        return
    f, e = np.array(pooled).T
    p_value = stats.chisquare(f, e * f.sum() / e.sum()).pvalue
    assert p_value > LEVEL, f"chi-square p-value {p_value:.1e}"


def assert_uniform(u):
    """Kolmogorov-Smirnov: numbers uniform on [0, 1]."""
    p_value = stats.kstest(np.asarray(u), "uniform").pvalue
    assert p_value > LEVEL, f"Kolmogorov-Smirnov p-value {p_value:.1e}"


def assert_sums(law, every, t, joint):
    """An exact law of a data set, and its marginal, are sums over a joint table.

    Args:
        law: The law.
        every: All states, (states, *event).
        t: A time.
        joint: p(point, x_t) at every state, (points, states).
    """
    total = joint.sum(0)
    seen = total > 1e-12
    found = law(every[seen], t).log_weights.exp()
    right = (joint / total.clip(1e-300)).T[seen]
    np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-12)
    marginal = law.marginal(every[seen], t)
    np.testing.assert_allclose(marginal.log_prob(every[seen]).exp(), total[seen])
    mean = total @ every.numpy()
    np.testing.assert_allclose(marginal.mean[0], mean, rtol=1e-6, atol=1e-6)
    square = total @ every.numpy() ** 2 - mean**2
    np.testing.assert_allclose(marginal.variance[0], square, rtol=1e-5, atol=1e-6)
