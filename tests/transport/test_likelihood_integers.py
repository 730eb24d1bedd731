"""Likelihood bounds of processes that step up and down, and relative entropies, by enumeration."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from laws_draws import Draws, concrete
from laws_examples import EXAMPLES
from markovbridge import LogisticSchedule, PureDeath, SurvivalSchedule, Transport, exact, laws
from markovbridge.couplings import MinibatchOT, Paired
from markovbridge.heads import TwoMeansHead
from markovbridge.laws import sums
from markovbridge.networks import MLP
from markovbridge.processes import VP, BirthDeath, LinearDiffusion, PureBirth, RandomWalk
from markovbridge.transport.likelihood import _prior

PMF = np.array([0.15, 0.35, 0.1, 0.4])
STATES = np.arange(-120, 160)
COUNTS = np.arange(4)


def noised_birth_death(kept):
    """P(x_0 | x_1) and the source, over STATES: survivors and immigrants, one by one."""
    arrived = stats.poisson.pmf(STATES, 3 * (1 - kept))
    shift = [np.roll(arrived, k) for k in range(4)]
    rows = [sum(stats.binom.pmf(k, n, kept) * shift[k] for k in range(n + 1)) for n in COUNTS]
    return np.array(rows), stats.poisson.pmf(STATES, 3)


KEPT = 0.3  # by a schedule that leaves survivors at the source
SURVIVORS = BirthDeath(
    3.0, 3, SurvivalSchedule(lambda t: KEPT + (1 - KEPT) * t, lambda t: (1 - KEPT) * (1 - t))
)
CASES = {
    "birth and death": (BirthDeath(3.0, 3), noised_birth_death(0.0)),
    "birth and death, survivors": (SURVIVORS, noised_birth_death(KEPT)),
    "walk": (
        RandomWalk(2.5, 1, 3),
        (
            np.array([stats.skellam.pmf(STATES - n, 2.5, 2.5) for n in COUNTS]),
            stats.skellam.pmf(STATES - 1, 2.5, 2.5),
        ),
    ),
    "births": (
        PureBirth(2.0, 0, 3),
        (
            np.array([stats.poisson.pmf(STATES - n, 2.0) for n in COUNTS]),
            stats.poisson.pmf(STATES, 2.0),
        ),
    ),
}


def entropy(p, q):
    """KL(p ‖ q) of tables."""
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / np.where(q > 0, q, 1)), 0).sum(-1)


@pytest.mark.parametrize("name", CASES)
def test_the_bound_is_tight_up_to_the_source(name):
    # By the chain rule -log p = KL(x_0 | x_1 ‖ p(x_0)) + integral at the exact law.
    process, (noised, source) = CASES[name]
    points = torch.arange(4).unsqueeze(1)
    law = exact.Empirical(process, points, torch.from_numpy(PMF))
    transport = Transport(process, law, shape=(1,))
    bound = transport.log_likelihood(
        points, draws=3000, generator=torch.Generator().manual_seed(0), block=2**13
    )
    expected = np.log(PMF) - entropy(noised, source) + entropy(noised, PMF @ noised)
    off, error = bound.nats.numpy() - expected, bound.standard_error.numpy()
    assert (error < 0.1).all()
    assert (np.abs(off) < 5 * error).all()
    np.testing.assert_allclose(_prior(transport, points), entropy(noised, source), atol=1e-9)


def test_correlated_sites():
    table = torch.tensor([[0.15, 0.02, 0.03], [0.1, 0.3, 0.05], [0.0, 0.05, 0.3]]).double()
    points = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    process = BirthDeath(1.5, 2)
    law = exact.Empirical(process, points, table.flatten(), states=3)
    alive = table.flatten() > 0
    bound = Transport(process, law, shape=(2,)).log_likelihood(
        points[alive], draws=2000, generator=torch.Generator().manual_seed(1), block=2**13
    )
    off = bound.nats - table.flatten()[alive].log()
    assert float((off.abs() / bound.standard_error).max()) < 5
    assert float(bound.standard_error.max()) < 0.15


@pytest.mark.parametrize("process", [BirthDeath(40.0), RandomWalk(60.0, 30), PureBirth(30.0)])
def test_unbounded_counts_under_a_network(process):
    x = torch.tensor([[3, 50], [0, 300]])
    network = MLP((2,), 1, 2, width=16, depth=1)
    transport = Transport(process, network, TwoMeansHead(), shape=(2,))
    bound = transport.log_likelihood(x, draws=32, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(bound.nats).all() and (bound.nats < 0).all()


@pytest.mark.parametrize(("a", "b"), [(3.0, 5.0), (1e-9, 5.0), (2e4, 2.1e4)])
def test_poissons(a, b):
    make = [laws.Poisson(torch.full((1, 2), math.log(m), dtype=torch.float64)) for m in (a, b)]
    expected = 2 * (a * math.log(a / b) - a + b)
    assert float(make[0].relative_entropy(make[1])) == pytest.approx(expected, rel=1e-7)


def test_gaussians_and_tables():
    process = LinearDiffusion(VP())
    x = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    noised, source = process.noised(x), process.source(x)
    a, b = (float(law.scale.flatten()[0]) for law in (noised, source))
    apart = float(((noised.loc - source.loc) ** 2).sum())
    expected = 2 * (math.log(b / a) + (a**2 / b**2 - 1) / 2) + apart / b**2 / 2
    assert float(noised.relative_entropy(source)) == pytest.approx(expected, rel=1e-9)
    p, q = torch.tensor([[0.2, 0.0, 0.8]]), torch.tensor([[0.5, 0.25, 0.25]])
    got = laws.Categorical(p.log()).relative_entropy(laws.Categorical(q.log()))
    assert float(got) == pytest.approx(0.2 * math.log(0.4) + 0.8 * math.log(3.2), rel=1e-6)
    assert laws.Categorical(q.log()).relative_entropy(laws.Categorical(p.log())) == math.inf


@pytest.mark.parametrize("kind", concrete(laws.SiteLaw), ids=lambda kind: kind.__name__)
def test_every_law_states_a_window_that_holds_it_or_none(kind):
    for seed in range(6):
        case = EXAMPLES[kind](Draws(seed, torch.float64))
        law = case.make(1)
        if law.window is None:
            with pytest.raises(TypeError, match="is not implemented: this says nothing"):
                law.relative_entropy(law)
            continue
        low, high = law.window
        assert low.shape == high.shape == law.mean.shape
        whole = case.make(len(case.values)).site_log_prob(case.values).exp()
        outside = (case.values < low) | (case.values > high)
        assert float(whole[outside].sum()) < 1e-13
        if int((high - low).max()) < 300:
            assert float(law.relative_entropy(law)) == 0


def test_what_is_infinite_and_what_is_not_known_are_told_apart():
    data = torch.tensor([[4], [2]])
    births = PureBirth(3.0, 3)
    transport = Transport(births, exact.Empirical(births, data), shape=(1,))
    with pytest.raises(ValueError, match=r"data point 1 is infinite: .* `centre` to the least"):
        transport.log_likelihood(data)
    assert torch.isfinite(transport.log_likelihood(data[:1]).nats).all()
    left = PureDeath(9, LogisticSchedule(2.0, exact_ends=False))
    transport = Transport(left, exact.Empirical(left, data), shape=(1,))
    with pytest.raises(ValueError, match=r"is infinite: .* survival at t = 0 is .*exact_ends"):
        transport.log_likelihood(data)
    for coupling in (Paired(), MinibatchOT()):
        with pytest.raises(ValueError, match="the law of the source given the data is not known"):
            coupling.prior(LinearDiffusion(), torch.zeros(2, 1))
    with pytest.raises(TypeError, match="is not implemented: this says nothing of whether"):
        laws.Normal(torch.zeros(1, 1), torch.ones(1, 1)).relative_entropy(
            sums.Skellam(torch.zeros(1, 1).long(), torch.zeros(1, 1), torch.zeros(1, 1))
        )
