"""Gillespie for chains on many states, whose rates are bounded for a while by sparse rows."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse, stats
from scipy.linalg import expm

import markovbridge as mb
from markovbridge import exact
from markovbridge.doors.randomness import generator
from markovbridge.processes import sparse as vectors
from markovbridge.processes.clock import instant, speed
from problems import assert_follows

S = 6
POINTS = torch.tensor([[0, 3], [5, 1], [2, 2], [4, 0]])
WEIGHTS = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def rates():
    """Few ways out of a state, at rates over two decades."""
    random = np.random.default_rng(5)
    found = np.where(random.uniform(size=(S, S)) < 0.3, random.uniform(0.1, 10, (S, S)), 0.0)
    found += np.diag(np.full(S - 1, 0.3), 1) + np.diag(np.full(1, 0.5), 1 - S)
    np.fill_diagonal(found, 0.0)
    found[4] *= 8
    return (found - np.diag(found.sum(1))) / 3


@pytest.fixture(params=[True, False], ids=["rows", "array"])
def chain(request, monkeypatch):
    """A small chain that is treated as one on many states; both ways to hold its rates."""
    monkeypatch.setattr(vectors, "FEW", 2)
    given = sparse.csr_matrix(rates()) if request.param else rates()
    process = mb.FiniteChain(given)
    assert isinstance(process.motion, vectors.Sparse) and process.local
    return process


def joint(s, t):
    """p(x_t | x_s), both sites, of the reverse towards the data: from matrix exponentials."""

    def table(time):
        survival = float(mb.CosineSchedule().survival(torch.tensor(time).double()))
        return expm(rates() * -np.log(survival))

    law = np.zeros((S, S))
    law[tuple(POINTS.numpy().T)] = WEIGHTS
    late, early = (law if u == 1 else table(u).T @ law @ table(u) for u in (t, s))
    step = table(s) if t == 1 else np.linalg.solve(table(t), table(s))
    return late.reshape(-1, 1) * np.kron(step, step) / early.reshape(-1)


# Of rows up to the data and of an array within, and the other way round with `--whole`.
@pytest.mark.parametrize(
    ("chain", "t", "s"),
    [
        (True, 0.7, 1.0),
        (False, 0.4, 0.6),
        pytest.param(True, 0.4, 0.6, marks=pytest.mark.whole),
        pytest.param(False, 0.7, 1.0, marks=pytest.mark.whole),
    ],
    indirect=["chain"],
)
def test_walks_have_the_law_of_the_reverse(chain, t, s):
    model = mb.Transport(chain, exact.Empirical(chain, POINTS, WEIGHTS), shape=(2,))
    n, seen = 400, torch.tensor([4, 1])
    x = seen.expand(n, -1)
    drawn = mb.Gillespie().step(model, x, t, s, generator=generator("cpu", "many", str(t)))
    wanted = joint(t, s)[:, 4 * S + 1]
    assert_allclose(wanted.sum(), 1, rtol=1e-9)
    assert_follows(drawn[:, 0] * S + drawn[:, 1], wanted.clip(0) / wanted.sum())


def test_exact_rates_grow_no_faster_than_is_stated(chain):
    """Over a window of log(1 + c/2λ)/c the total is at most 2λ + c, at every state."""
    clock = torch.logspace(0.7, -2, 25, dtype=torch.float64)
    states = torch.cartesian_prod(torch.arange(S), torch.arange(S))
    law, x = exact.Empirical(chain, POINTS, WEIGHTS), states.repeat(25, 1)
    clock = clock.repeat_interleave(S * S)

    def total(clock):
        t = instant(chain.schedule, clock)
        found = chain.expected_rates(law(x, t), x, t).sum((1, 2))
        return found / speed(chain.schedule, t)

    now, c = total(clock), chain.growths(x)
    exits = torch.from_numpy(-np.diag(rates()))
    into = torch.from_numpy(rates()).fill_diagonal_(0) > 0
    more = torch.where(into, exits.unsqueeze(1), -torch.inf).amax(0) - exits
    least = 1e-3 * float(exits.max())
    torch.testing.assert_close(c[: S * S], more.clamp_min(least)[states].amax(1))
    tightest = []
    for share in (0.01, 0.5, 1.0):
        window = torch.log1p(c / (2 * now)) / c * share
        bound = c * now * (c * window).exp() / (c - now * torch.expm1(c * window))
        assert bool((bound < (2 * now + c) * (1 + 1e-9)).all())
        later = total((clock - window).clamp_min(1e-9))
        tightest.append(float((bound / later).min()))
    assert min(tightest) > 1 - 1e-6
    assert tightest[0] < 1.1  # and some grow about as fast


def test_a_chain_of_many_states_is_walked_to_its_data():
    size = 600
    up = np.full(size - 1, 1.0)
    moves = sparse.diags([up, up, [0.2], [0.2]], [1, -1, size - 1, 1 - size]).tocsr()
    process = mb.FiniteChain(moves - sparse.diags(np.asarray(moves.sum(1)).reshape(-1)))
    points, weights = (
        torch.tensor([[10], [11], [300]]),
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
    )
    model = mb.Transport(process, exact.Empirical(process, points, weights), shape=(1,))
    g, n = generator("cpu", "walked"), 60
    y = points[torch.multinomial(weights, n, True, generator=g)]
    x = process.transition(y, 1.0, 0.5).sample(generator=g)
    drawn = mb.Gillespie().step(model, x, 0.5, 1.0, generator=g).flatten()
    counts = (drawn.unsqueeze(1) == points.flatten()).sum(0)
    assert int(counts.sum()) == n
    assert stats.chisquare(counts, weights * n).pvalue > 1e-5
