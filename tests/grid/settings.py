"""What all pairs share: samplers and their steps, ways to draw, and how a law is judged."""

import zlib

import numpy as np
import torch
from scipy import stats

import markovbridge as mb
from markovbridge import samplers

N = 4_000
SLOW = 800  # of processes whose bridges are sums over all ways between
FEW = 200  # of samplers that cost an evaluation for each jump
LEVEL = 1e-5  # of every statistical test
ALLOWED = 0.015  # total variation of samplers that are right in the limit of many steps
SHIFT = 0.03  # of means, and of covariances, in standard deviations, likewise
SIZE = 0.05  # of corrector moves: about as long as the steps, as their errors add to those
FAR = 0.1  # sums of differences of a law from that of the data, whose source noise does not make
INNER = 0.5  # a time to start from
GUIDANCE = 1.5
MODES = ("plain", "inner", "told", "guided", "conditioned", "corrected", "corrected inner")

# For every class of sampler: how it is made, and its number of steps, less where the joint law
# makes it exact at any number of steps.
SAMPLERS = {
    mb.Bridge: (lambda: mb.Bridge(), 48, 3),
    samplers.Adaptive: (lambda: samplers.Adaptive(5e-3), 1, 1),
    mb.EulerMaruyama: (lambda: mb.EulerMaruyama(), 256, 256),
    mb.HandOver: (lambda: mb.HandOver(0.3), 48, 48),
    mb.Midpoint: (lambda: mb.Midpoint(), 24, 24),
    mb.ProbabilityFlow: (lambda: mb.ProbabilityFlow(), 48, 48),
    mb.StochasticAdams: (lambda: mb.StochasticAdams(), 48, 48),
    mb.StochasticHeun: (lambda: mb.StochasticHeun(), 48, 48),
    mb.Gillespie: (lambda: mb.Gillespie(), 1, 1),
    mb.TauLeaping: (lambda: mb.TauLeaping(), 80, 80),
    samplers.SecondOrderBridge: (lambda: samplers.SecondOrderBridge(), 12, 12),
    mb.Trapezoidal: (lambda: mb.Trapezoidal(), 24, 24),
    # Around each of the others, as modes of their own.
    mb.Corrected: None,
}
STEPWISE = (mb.Gillespie,)


def made(sampler_class, joint, mode):
    """A sampler for a mode, and its number of steps."""
    make, many, few = SAMPLERS[sampler_class]
    steps = few if joint else many
    if not mode.startswith("corrected"):
        return make(), steps
    return mb.Corrected(make(), moves=1, size=SIZE), max(steps, 2)


def seed(*names):
    return torch.Generator().manual_seed(zlib.crc32(" ".join(map(str, names)).encode()))


def assert_close(found, wanted, allowed):
    """Compare numbers of draws with a law: by chi-square, or by total variation.

    Args:
        found: Number of draws in each cell; what fell outside of the cells comes last.
        wanted: Probabilities of the cells, without what falls outside.
        allowed: Total variation that the steps may have; 0 for a chi-square test.
    """
    n, found, outside = found.sum(), found[:-1], found[-1]
    if allowed == 0:
        assert outside == 0, f"{outside} draws are outside of the data"
        keep = wanted > 0
        assert found[~keep].sum() == 0, "drew what cannot be"
        order = np.argsort(wanted[keep])
        f, e = found[keep][order], wanted[keep][order] * n
        while len(e) > 1 and e[0] < 5:
            f, e = np.r_[f[0] + f[1], f[2:]], np.r_[e[0] + e[1], e[2:]]
        if len(e) > 1:
            p_value = stats.chisquare(f, e * f.sum() / e.sum()).pvalue
            assert p_value > LEVEL, f"chi-square p-value {p_value:.1e}"
        return
    variation = 0.5 * (np.abs(found / n - wanted).sum() + outside / n)
    # What n draws of the law itself would have, five standard deviations above their mean.
    chance = np.random.default_rng(0).multinomial(n, wanted / wanted.sum(), 400) / n
    chance = 0.5 * np.abs(chance - wanted).sum(1)
    noise = chance.mean() + 5 * chance.std()
    assert variation < noise + allowed, (
        f"total variation {variation:.4f}, of which {noise:.4f} may be chance and "
        f"{allowed} the steps"
    )
