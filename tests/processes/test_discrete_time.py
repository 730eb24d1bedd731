"""Chains in discrete time against products of their matrices."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from markovbridge.exact import Reverse
from markovbridge.laws import Categorical
from markovbridge.processes import DiscreteTimeChain
from problems_chains import data_law, pairs, table

STEPS, SIZE = 7, 4


def matrices(seed=0, concentration=1.0):
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(SIZE, concentration), (STEPS, SIZE))


CHAIN = DiscreteTimeChain(matrices())


def product(j, k):
    out = np.eye(SIZE)
    for matrix in matrices()[j:k]:
        out = out @ matrix
    return out


def test_transitions_are_products():
    for j in range(STEPS + 1):
        for k in range(j, STEPS + 1):
            got = table(CHAIN, 1 - j / STEPS, 1 - k / STEPS)
            assert_allclose(got, product(j, k), atol=1e-14)


def test_between_grid_times_the_chain_rests():
    for t in torch.rand(20, generator=torch.manual_seed(0)).tolist():
        made = int(CHAIN.index(t))
        assert 1 - made / STEPS <= t + 1e-3 and t < 1 - (made - 1) / STEPS + 1e-3
        assert_allclose(table(CHAIN, 1.0, t), product(0, made), atol=1e-14)
    grid = torch.linspace(0, 1, STEPS + 1)
    assert CHAIN.index(grid).tolist() == list(range(STEPS, -1, -1))


def test_bridge_is_bayes():
    s, t, u = 1 / STEPS, 4 / STEPS, 1.0
    x, y = pairs(SIZE, SIZE)
    late, early = product(0, 3), product(3, 6)
    expected = late[y[:, 0]] * early.T[x[:, 0]]
    expected /= expected.sum(1, keepdims=True)
    got = CHAIN.bridge(x, y, s, t, u).log_probs.exp()[:, 0]
    assert_allclose(got.numpy(), expected, atol=1e-12)


def test_reverse_mapping_undoes_each_step():
    data = data_law(SIZE)
    reverse = Reverse(CHAIN, data)
    law = reverse.marginal(0.0)
    for k in range(STEPS, 0, -1):
        matrix = reverse.matrix(1 - k / STEPS, 1 - (k - 1) / STEPS)
        torch.testing.assert_close(matrix.sum(1), torch.ones(SIZE, dtype=torch.float64))
        law = law @ matrix
    torch.testing.assert_close(law, data, rtol=0, atol=1e-12)
    with pytest.raises(TypeError, match="no rates"):
        reverse.generator(0.5)


def test_steps_of_divergence_add_up_to_the_likelihood():
    # With the exact posterior the bound of D3PM is tight, pointwise: the divergences of all
    # steps and the mismatch of the source add up to -log p(x_1).
    data = data_law(SIZE)
    reverse = Reverse(CHAIN, data)
    for y in range(SIZE):
        start = torch.tensor(product(0, STEPS)[y])
        total = (start * (start / reverse.marginal(0.0)).log()).sum()
        for k in range(1, STEPS + 1):
            t = 1 - k / STEPS
            x = torch.arange(SIZE).unsqueeze(1)
            law = Categorical(reverse.matrix(t, 1.0).log().unsqueeze(1))
            each = CHAIN.divergence(law, x, torch.full_like(x, y), t) / STEPS
            total = total + torch.tensor(product(0, k)[y]) @ each
        assert float(total) == pytest.approx(-float(data[y].log()), abs=1e-10)


def test_divergence_is_zero_at_the_data():
    x = torch.arange(SIZE).unsqueeze(1)
    law = Categorical(torch.zeros(SIZE, 1, SIZE))
    assert float(CHAIN.divergence(law, x, x, 1.0).abs().max()) == 0


def test_a_chain_that_remembers_has_no_source():
    slow = DiscreteTimeChain(0.95 * np.eye(SIZE) + 0.05 * matrices())
    with pytest.raises(ValueError, match="still remembers state .* by a total variation of 0"):
        slow.source(torch.zeros(1, 1, dtype=torch.int64))
    mixing = DiscreteTimeChain(np.full((3, 2, 2), 0.5))
    source = mixing.source(torch.zeros(1, 1, dtype=torch.int64))
    assert_allclose(source.log_probs.exp()[0, 0].numpy(), [0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([[[0.5, 0.5], [0.4, 0.5]]], "row 1 of matrix 0 sums to 0.9"),
        ([[[0.5, 0.5], [1.5, -0.5]]], "matrix 0 holds -0.5 in row 1"),
        (np.eye(3), "stack"),
        (np.zeros((0, 2, 2)), "at least one"),
    ],
)
def test_what_is_no_law_is_refused(stack, message):
    with pytest.raises(ValueError, match=message):
        DiscreteTimeChain(stack)
