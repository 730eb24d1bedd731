"""Finite chains against the matrix exponential and enumeration, in float64."""

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.linalg import expm

from markovbridge import Noised, processes
from markovbridge.laws import Categorical
from markovbridge.processes import Setting
from markovbridge.processes.exponential import Semigroup
from problems_chains import (
    CHAINS,
    conserve,
    ehrenfest,
    elapsed,
    pairs,
    random_rates,
    speed,
    table,
    trap,
)

S, T, U = 0.25, 0.6, 0.85
NAMES = list(CHAINS)


@pytest.mark.parametrize("name", NAMES)
def test_transitions_are_the_matrix_exponential(name):
    process, rates, _ = CHAINS[name]
    for t, s in [(S, T), (S, 1.0), (0.999, 1.0), (0.01, 0.9)]:
        assert_allclose(table(process, s, t), expm(rates * elapsed(t, s)), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_source_is_the_limit(name):
    process, rates, _ = CHAINS[name]
    limit = table(process, 1.0, 0.0)
    assert_allclose(limit, expm(rates * 2000), atol=1e-10)
    assert_allclose(limit, limit @ expm(rates), atol=1e-12)
    source = process.source(torch.zeros(1, 1, dtype=torch.int64)).log_probs.exp()[0, 0]
    assert_allclose(source.numpy(), limit[0], atol=1e-6)  # sources are drawn in float32


@pytest.mark.parametrize("name", NAMES)
def test_chapman_kolmogorov(name):
    process, _, _ = CHAINS[name]
    for s in (0.0, S):
        assert_allclose(
            table(process, U, T) @ table(process, T, s), table(process, U, s), atol=1e-12
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [(S, T, U), (0.0, T, 1.0), (S, T, 1.0)])
def test_bridge_is_bayes(name, times):
    process, _, _ = CHAINS[name]
    s, t, u = times
    late, early, whole = table(process, u, t), table(process, t, s), table(process, u, s)
    x, y = pairs(process.size, process.size)
    possible = torch.tensor(whole[y[:, 0], x[:, 0]] > 0)
    x, y = x[possible], y[possible]
    expected = late[y[:, 0]] * early.T[x[:, 0]] / whole[y[:, 0], x[:, 0]][:, None]
    got = process.bridge(x, y, s, t, u).log_probs.exp()[:, 0].numpy()
    assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_times_per_sample_agree_with_one_time(name):
    process, _, _ = CHAINS[name]
    x, y = pairs(process.size, process.size)
    t = torch.linspace(0.1, 0.9, len(x), dtype=torch.float64)[torch.randperm(len(x))]
    rows, columns = process.log_rows(y, 1.0, t), process.log_columns(x, t, 0.05)
    for i in range(len(x)):
        one = float(t[i])
        torch.testing.assert_close(rows[i], process.log_rows(y[i : i + 1], 1.0, one)[0])
        torch.testing.assert_close(columns[i], process.log_columns(x[i : i + 1], one, 0.05)[0])


def test_blocks_of_times_change_nothing(monkeypatch):
    process = CHAINS["ring"][0]
    x = torch.randint(0, 6, (9, 2, 3))
    t = torch.linspace(0.1, 0.9, 9)
    weights = torch.rand(9, 2, 3, 6)
    whole = process.log_rows(x, 1.0, t), process.push(weights, 1.0, t)
    monkeypatch.setattr("markovbridge.processes.motion.ENTRIES", 80)
    torch.testing.assert_close(process.log_rows(x, 1.0, t), whole[0])
    torch.testing.assert_close(process.push(weights, 1.0, t), whole[1])


@pytest.mark.parametrize("name", NAMES)
def test_pinned_rates_are_rates_times_ratios(name):
    process, rates, states = CHAINS[name]
    p = expm(rates * elapsed(T, 1.0))
    x, y = pairs(process.size, states)
    possible = torch.tensor(p[y[:, 0], x[:, 0]] > 0)
    x, y = x[possible], y[possible]
    got, moves = process.rates(x, y, T)[:, 0].numpy(), process.moves(x)[:, 0].numpy()
    dense = np.zeros((len(x), process.size))
    for row in range(len(x)):
        for rate, move in zip(got[row], moves[row], strict=True):
            if 0 <= move < process.size:
                dense[row, move] += rate
            else:
                assert rate == 0
    x, y = x[:, 0].numpy(), y[:, 0].numpy()
    expected = rates.T[x] * p[y] / p[y, x][:, None] * speed(T)
    expected[np.arange(len(x)), x] = 0
    assert_allclose(dense, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_expected_rates_are_averages_of_pinned_ones(name):
    process, _, states = CHAINS[name]
    x = torch.arange(process.size).unsqueeze(1)
    seen = process.evidence(x, T)
    raw = torch.randn(seen.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    law = Categorical(raw + seen)
    expected = torch.zeros_like(process.expected_rates(law, x, T))
    for v in range(states):
        weight = law.log_probs[..., v].exp().unsqueeze(-1)
        pinned = process.rates(x, torch.full_like(x, v), T)
        expected += torch.where(weight > 0, weight * pinned, 0.0)
    torch.testing.assert_close(process.expected_rates(law, x, T), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_divergence_is_the_sum_over_jumps(name):
    process, _, _ = CHAINS[name]
    y = torch.arange(min(process.size, 4)).unsqueeze(1)
    x = process.bridge(
        process.noised(y).sample(generator=torch.manual_seed(1)), y, 0.0, T, 1.0
    ).sample(generator=torch.manual_seed(2))
    raw = torch.randn((*x.shape, process.states), generator=torch.manual_seed(3)).double()
    law = Categorical(raw + process.evidence(x, T))
    pinned, model = process.rates(x, y, T), process.expected_rates(law, x, T)
    expected = (model - pinned + torch.xlogy(pinned, pinned / model.clamp_min(1e-300))).sum((1, 2))
    torch.testing.assert_close(process.divergence(law, x, y, T), expected, rtol=1e-9, atol=1e-10)


def test_short_probabilities_keep_their_digits():
    # Six decades of rates and short times, against arithmetic of 60 digits.
    mpmath.mp.dps = 60
    random = np.random.default_rng(5)
    for trap_last in (False, True):
        rates = 10 ** random.uniform(-3, 3, (6, 6)) * (random.uniform(size=(6, 6)) < 0.6)
        if trap_last:
            rates[5] = 0
        exact = mpmath.matrix(conserve(rates).tolist())
        for i in range(6):
            exact[i, i] = -mpmath.fsum(exact[i, j] for j in range(6) if j != i)
        semigroup = Semigroup(torch.tensor(rates))
        for tau in (1e-9, 1e-4, 0.3, 40.0):
            got = semigroup(torch.tensor([tau], dtype=torch.float64))[0].numpy()
            truth = np.array(mpmath.expm(exact * tau).tolist(), dtype=float)
            here = truth > 1e-290
            assert_allclose(got[here], truth[here], rtol=1e-10)


def test_eigenvectors_and_series_agree():
    random = np.random.default_rng(6)
    flows = random.uniform(0.1, 1, (12, 12))
    law = random.uniform(0.5, 1, 12)
    rates = torch.tensor((flows + flows.T) / law[:, None])
    semigroup = Semigroup(rates)
    assert semigroup.reversible
    tau = torch.tensor([0.2, 1.0, 7.0, 300.0], dtype=torch.float64) / 10
    torch.testing.assert_close(semigroup(tau), semigroup._squared(tau), rtol=1e-9, atol=1e-14)
    assert not Semigroup(torch.tensor(random_rates(5))).reversible


@pytest.mark.parametrize("seed", range(60))
def test_any_rate_matrix_gives_laws(seed):
    random = np.random.default_rng(seed)
    size, density, absorbing = random.integers(2, 9), random.uniform(0.2, 1), random.integers(3)
    ends = (0.0, 5e-324, 1e-12, 1 - 1e-12, 1 - 2**-53, 1.0)
    times = [float(random.uniform()), ends[seed % 6], float(random.choice(ends))]
    rates = 10 ** random.uniform(-3, 3, (size, size))
    rates *= random.uniform(size=(size, size)) < density
    rates[size - absorbing :] = 0
    rates[0, 1] = 1.0
    process = processes.FiniteChain(conserve(rates))
    x = torch.arange(size).unsqueeze(1)
    for t in times:
        probabilities = process.transition(x, 1.0, t).log_probs.exp()
        assert bool((probabilities >= 0).all())
        torch.testing.assert_close(
            probabilities.sum(-1), torch.ones(size, 1, dtype=torch.float64), rtol=0, atol=1e-12
        )
        x_t = process.transition(x, 1.0, t).sample(generator=torch.manual_seed(seed))
        x_0 = process.transition(x_t, t, 0.0).sample(generator=torch.manual_seed(seed))
        bridge = process.bridge(x_0, x, 0.0, t, 1.0).log_probs
        assert not bool(bridge.isnan().any())
        if 0 < t < 1:
            pinned = process.rates(x_t, x, t)
            assert bool(torch.isfinite(pinned).all()) and bool((pinned >= 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_no_nan_in_float32_from_end_to_end(name):
    process, _, states = CHAINS[name]
    generator = torch.manual_seed(0)
    y = torch.randint(0, states, (64, 3), generator=generator)
    t = torch.cat([torch.tensor([0.0, 1e-12, 1e-6, 1 - 2**-24, 1.0]), torch.rand(59)])
    x = process.bridge(process.noised(y).sample(generator=generator), y, 0.0, t, 1.0).sample(
        generator=generator
    )
    raw = torch.randn(64, 3, states, generator=generator, requires_grad=True)
    law = Categorical(raw + process.evidence(x, t))
    inner = (t > 0) & (t < 1)
    loss = process.divergence(law, x, y, t)[inner].sum() - law.log_prob(y).sum()
    loss.backward()
    assert bool(torch.isfinite(loss)) and bool(torch.isfinite(raw.grad).all())
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("name", ["uniform", "black", "ehrenfest"])
def test_features_have_unit_variance(name):
    process, _, states = CHAINS[name]
    values = torch.arange(states, dtype=torch.float64)
    law = torch.softmax(torch.sin(values), 0)
    mean, variance = law @ values, law @ values**2 - (law @ values) ** 2
    if name != "ehrenfest":
        mask = {"mask": 0} if name == "black" else {}
        process = type(process)(process.states, **mask, ordered=True)
    for t in (0.05, 0.5, 0.95):
        marginal = law @ torch.tensor(table(process, 1.0, t))
        x = torch.arange(process.size).unsqueeze(1)
        setting = Setting(process, Noised(), mean, variance)
        z = setting.standardise(x, t)[:, 0, 0].double()
        assert float(marginal @ z) == pytest.approx(0, abs=1e-5)
        assert float(marginal @ z**2) == pytest.approx(1, abs=1e-5)


def test_a_mask_has_a_feature_of_its_own():
    process = processes.AbsorbingChain(4, ordered=True)
    x = torch.tensor([[0, 3, 4]])
    setting = Setting(process, Noised(), torch.tensor(1.0), torch.tensor(4.0))
    features = setting.standardise(x, 0.5)
    torch.testing.assert_close(features, torch.tensor([[[-0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]]))
    assert process.features == 2 and processes.AbsorbingChain(4).features == 5


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[-1, 1], [2, -1]], "row 1 of the rate matrix sums to 1"),
        ([[1, -1], [2, -2]], "row 0 of the rate matrix holds -1.0 at column 1"),
        ([[0, 0], [0, 0]], "never moves"),
        ([[-1, 1, 0], [2, -2, 0]], "square"),
        ([[float("nan"), 1], [1, -1]], "row 0 .* not finite"),
    ],
)
def test_what_is_no_rate_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        processes.FiniteChain(matrix)


def test_a_chain_that_remembers_has_no_source():
    two = np.zeros((4, 4))
    two[0, 1] = two[1, 0] = two[2, 3] = two[3, 2] = 1.0
    process = processes.FiniteChain(conserve(two))
    with pytest.raises(ValueError, match="never forgets its start: from states 0 and 2"):
        process.source(torch.zeros(1, 1, dtype=torch.int64))
    y = torch.tensor([[0], [3]])
    assert_allclose(
        process.noised(y).log_probs.exp()[:, 0].numpy(), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    )


def test_impossible_ends_are_named():
    process = processes.FiniteChain(trap(5))
    with pytest.raises(ValueError, match="no bridge between 1 and 4"):
        process.bridge(torch.tensor([[1]]), torch.tensor([[4]]), 0.2, 0.5, 1.0)
    with pytest.raises(ValueError, match="ordered"):
        process.transition(torch.tensor([[1]]), 0.2, 0.5)


@pytest.mark.parametrize("bad", [[-1], [6], [0.5], [float("nan")]])
def test_states_are_checked(bad):
    with pytest.raises(ValueError, match="x holds"):
        processes.UniformChain(6).check(torch.tensor(bad))


def test_far_states_of_a_long_chain():
    # 63 steps in a short time: far below what a float can add to 1, yet not lost.
    process = processes.FiniteChain(ehrenfest(63))
    closed = processes.Ehrenfest(63)
    x = torch.tensor([[0]])
    got, expected = process.log_rows(x, 1.0, 0.97), closed.log_rows(x, 1.0, 0.97)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=0)
    assert float(got.min()) < -300


def test_a_chain_of_a_list_of_matrices_is_made_again_of_its_own():
    """To the bit, though rows do not sum to 1 in float64."""
    rates = torch.tensor([[-1.0, 0.7, 0.3], [0.2, -0.6, 0.4], [0.5, 0.8, -1.3]])
    matrix = torch.linalg.matrix_exp(0.3 * rates.double()) * (1 + 1e-8)
    chain = processes.DiscreteTimeChain([matrix] * 3)
    again = processes.DiscreteTimeChain(chain.transition_matrices)
    assert again.transition_matrices.equal(chain.transition_matrices)
    stacked = processes.DiscreteTimeChain(torch.stack([matrix] * 3))
    assert stacked.transition_matrices.equal(chain.transition_matrices)
    assert_allclose(chain.transition_matrices.sum(-1).numpy(), 1, atol=1e-15)
