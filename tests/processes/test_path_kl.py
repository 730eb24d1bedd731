"""The path KL of jump processes bounds -log p(x_1), and is tight at the true posterior.

Pointwise: the path KL of the process pinned at y from the generative one, integrated over time,
plus the mismatch of the source, is -log p(y) for each y of the data.
"""

import numpy as np
import pytest
import torch

from markovbridge.exact import Reverse
from markovbridge.laws import Categorical
from markovbridge.processes import BirthDeath, PureBirth
from problems_chains import CHAINS, data_law

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


def grid():
    """Times and weights of a quadrature that is fine near the data."""
    v = (NODES + 1) / 2
    return 1 - (1 - v) ** 4, WEIGHTS / 2 * 4 * (1 - v) ** 3


def bound(reverse, law_of, y, size):
    x = torch.arange(size).unsqueeze(1)
    start = reverse.transition(1.0, 0.0)[y]
    source = reverse.marginal(0.0)
    total = float(torch.where(start > 0, start * (start / source).log(), 0.0).sum())
    for t, weight in zip(*grid(), strict=True):
        path = reverse.transition(1.0, float(t))[y]
        likely = path > 1e-14
        here, end = x[likely], torch.full_like(x[likely], y)
        each = reverse.process.divergence(law_of(here, float(t)), here, end, float(t))
        total += weight * float(path[likely] @ each)
    return total


@pytest.mark.parametrize("name", list(CHAINS))
def test_tight_for_finite_chains(name):
    process, _, states = CHAINS[name]
    data = data_law(states)
    reverse = Reverse(process, data)

    def law_of(x, t):
        return Categorical(reverse.matrix(t, 1.0)[x[:, 0], None, :states].log())

    y = len(name) % min(states, 3)
    got = bound(reverse, law_of, y, process.size)
    assert got == pytest.approx(-float(data[y].log()), abs=2e-5)


@pytest.mark.parametrize("name", ["birth-death", "birth"])
def test_tight_for_two_means(name):
    # The head's two numbers per site, without any law of x_1, make the bound tight.
    process = BirthDeath(0.5, maximum=2) if name == "birth-death" else PureBirth(0.5, maximum=2)
    size, values = 10 if name == "birth-death" else 12, 3
    data = data_law(values)
    reverse = Reverse(process, data, size=size)

    def law_of(x, t):
        posterior = reverse.matrix(t, 1.0)[x[:, 0], :values]
        up, down = torch.zeros(2, *x.shape, dtype=torch.float64)
        for v in range(values):
            possible = posterior[:, v : v + 1] > 0
            steps = process.steps(x, torch.where(possible, v, x), t)
            up += torch.where(possible, posterior[:, v : v + 1] * steps[0], 0.0)
            down += torch.where(possible, posterior[:, v : v + 1] * steps[1], 0.0)
        return process.stepped(x, up.log(), down.log())

    y = 0 if name == "birth" else 2
    got = bound(reverse, law_of, y, size)
    assert got == pytest.approx(-float(data[y].log()), abs=2e-5)


@pytest.mark.parametrize("name", ["random", "uniform", "ehrenfest"])
def test_a_wrong_law_costs(name):
    process, _, states = CHAINS[name]
    data = data_law(states)
    reverse = Reverse(process, data)

    def law_of(x, t):
        return Categorical(process.evidence(x, t))  # a flat prior on the data

    got = bound(reverse, law_of, 1, process.size)
    assert got == pytest.approx(np.log(states), abs=2e-5)  # the likelihood under that prior
