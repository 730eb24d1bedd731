"""Simulated noising has the law of the matrix exponential, state by state."""

import math

import pytest
import torch

from markovbridge.simulated import JumpDynamics, Reactions, leap, simulate, walk
from markovbridge.simulated.walks import Noising
from problems_simulated import Flips, Known, epidemic, follows, ring

N = 20_000
RING = {(1, 1, 0, 0): 0.5, (1, 0, 1, 0): 0.5}
SIR = {(9, 3): 0.7, (2, 1): 0.2, (12, 0): 0.1}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def known(name):
    dynamics, law = {
        "ring": (ring(), RING),
        "epidemic": (epidemic(), SIR),
        "flips": (Flips(), {(0, 1): 0.3, (0, 0): 0.7}),
    }[name]
    return Known.of(dynamics, law)


@pytest.mark.parametrize("name", ["ring", "epidemic", "flips"])
def test_exact_simulation(name):
    it = known(name)
    assert len(it.states) == {"ring": 6, "epidemic": 91, "flips": 4}[name]
    for t in (0.7, 0.0):
        assert follows(it.counts(it.noised(N, t, rng())), it.marginal(t))


@pytest.mark.parametrize("name", ["ring", "epidemic"])
def test_leaps_converge(name):
    it = known(name)
    x = leap(it.dynamics, it.data(N, rng()), 1.0, 0.5, steps=100, generator=rng(1))
    assert follows(it.counts(x), it.marginal(0.5))
    # A single long leap does not.
    x = leap(it.dynamics, it.data(N, rng()), 1.0, 0.5, steps=1, generator=rng(1))
    assert bool(it.dynamics.possible(x).all())
    assert not follows(it.counts(x), it.marginal(0.5))


def test_a_path_is_what_happened():
    it = known("epidemic")
    x1 = it.data(3000, rng())
    times = torch.tensor([[0.9, 0.4]]).expand(3000, 2)
    path = walk(it.dynamics, x1, times, stop=0.2, generator=rng(1))
    for k, t in enumerate((0.9, 0.4)):
        assert follows(it.counts(path.states[:, k]), it.marginal(t))
    assert follows(it.counts(path.end), it.marginal(0.2))
    # Jumps made one after the other lead from the data to the end, through what was seen.
    x = x1.clone()
    for k in path.when.argsort(descending=True).tolist():
        row, which = int(path.rows[k]), int(path.which[k])
        x[row] += it.dynamics.changes[which]
        assert torch.equal(x[row], path.after[k])
        if row == 3:
            assert 0.2 < path.when[k] < 1
    torch.testing.assert_close(x, path.end)
    part = path.part(10, 12)
    assert torch.equal(part.end, path.end[10:12]) and set(part.rows.tolist()) <= {0, 1}
    assert len(part.rows) == int(((path.rows == 10) | (path.rows == 11)).sum())


def test_rates_that_change_with_time():
    """Counts that die at rate 3 t² per unit of t: survival is exp(t³ - 1)."""
    change = torch.tensor([[-1]])
    dynamics = Reactions(change, lambda x, t: x * (3 * t**2).unsqueeze(1))
    x1 = torch.full((N, 1), 5)
    for windows in (1, 7):
        x = simulate(dynamics, x1, 1.0, 0.3, windows=windows, generator=rng())
        p = torch.exp(torch.tensor(0.3**3 - 1).double())
        law = torch.distributions.Binomial(5, p).log_prob(torch.arange(6).double()).exp()
        assert follows(torch.bincount(x[:, 0], minlength=6).double(), law)


def test_starts_and_stops_of_each_row():
    it = known("ring")
    start = torch.where(torch.arange(N) % 2 == 0, 1.0, 0.6)
    x = simulate(it.dynamics, it.data(N, rng()), start, start - 0.3, generator=rng(2))
    assert follows(it.counts(x), it.marginal(0.7))


class Rising(Reactions):
    """Its bound is too low."""

    def bound(self, x, late, early):
        return torch.ones_like(late)


class Misshapen(Flips):
    def rates(self, x, t):
        return torch.ones(len(x), 3)


def test_what_is_wrong_is_named():
    up = torch.tensor([[1]])
    x = torch.zeros(3, 1, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="30 times its bound at t = 0.*state a larger `bound`"):
        simulate(Rising(up, lambda x, t: 30.0 + 0 * x), x.repeat(20, 1), generator=rng())
    with pytest.raises(ValueError, match="rate of move 0 of Reactions is -1 at t = 1"):
        simulate(Reactions(up, lambda x, t: x - 1.0), x)
    with pytest.raises(ValueError, match=r"propensities must return rates \(3, 1\)"):
        simulate(Reactions(up, lambda x, t: None), x)
    with pytest.raises(ValueError, match=r"rates of Misshapen must be \(3, 2\)"):
        simulate(Misshapen(), torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"x must be \('batch', 4\), not \(3, 1\)"):
        simulate(ring(), x)
    with pytest.raises(ValueError, match="start must not be before stop"):
        simulate(ring(), torch.ones(2, 4, dtype=torch.int64), 0.2, 0.5)
    with pytest.raises(ValueError, match=r"leave out \[1\] of 2 changes"):
        Reactions(torch.tensor([[1], [0]]), lambda x, t: 1.0 + 0 * x)
    assert issubclass(Misshapen, JumpDynamics)


def test_every_window_ends_below_where_it_begins():
    """Whatever rounding makes of k/windows; else a simulation stands still."""
    dynamics = ring()
    for windows in range(1, 100):
        edges = torch.arange(windows, 0, -1).double() / windows
        found = Noising(dynamics, windows).window(edges, torch.zeros(()).double())
        below = torch.arange(windows - 1, -1, -1).double() / windows
        torch.testing.assert_close(found, below, atol=1e-12, rtol=0)


def test_times_at_which_no_path_is_are_refused():
    x, dynamics = torch.tensor([[1, 1, 0, 0]]), ring()
    for at, start, stop in ((0.9, 0.5, 0.0), (0.2, 1.0, 0.5), (math.nan, 1.0, 0.0)):
        with pytest.raises(ValueError, match="times must lie between stop and start"):
            walk(dynamics, x, torch.tensor([[at]]), start, stop)
    ends = torch.tensor([0.3, 0.7]).double()  # above and below what float32 makes of them
    fast, looks = ring(30.0), ends.float().unsqueeze(1)
    path = walk(fast, x.expand(2, -1), looks, 1.0, ends, generator=rng())
    assert torch.equal(path.states[:, 0], path.end) and len(path.rows)


def test_what_is_no_state_is_named():
    for call in (simulate, leap):
        with pytest.raises(ValueError, match=r"x holds \[2, 0, 0, 0\], which is no state of Reac"):
            call(ring(), torch.tensor([[1, 0, 0, 0], [2, 0, 0, 0]]))


def test_no_rows_are_simulated_to_none():
    x = torch.zeros(0, 4, dtype=torch.int64)
    for made in (simulate(ring(), x), leap(ring(), x), walk(ring(), x, torch.zeros(0, 2)).end):
        assert made.shape == (0, 4)
