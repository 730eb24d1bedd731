"""Chains of many states, by vectors, against tables, closed forms and enumeration."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.linalg import expm

import markovbridge as mb
from markovbridge import Noised, exact, laws
from markovbridge.processes import Setting, limits
from markovbridge.processes import sparse as vectors
from markovbridge.processes.exponential import Semigroup
from markovbridge.processes.limits import Limit
from markovbridge.processes.motion import Fixed
from markovbridge.processes.sparse import Sparse
from markovbridge.storage import config
from problems_chains import CHAINS, conserve, ehrenfest, random_rates, ring, trap

S = 40
RANDOM = np.random.default_rng(7)


def jumps(rates):
    return rates - np.diag(np.diag(rates))


def two_ends():
    """Two closed classes, and states that leave for one of them."""
    rates = np.zeros((S, S))
    rates[:10, :10] = RANDOM.uniform(size=(10, 10))
    rates[10:20, 10:20] = RANDOM.uniform(size=(10, 10))
    rates[20:] = RANDOM.uniform(size=(20, S)) * (RANDOM.uniform(size=(20, S)) < 0.3)
    rates[20:, 0] += 0.1
    return conserve(rates)


def circle():
    """A ring that is gone round one way: powers of its jumps never settle."""
    return conserve(np.eye(S, k=1) + np.eye(S, k=1 - S))


def wide():
    """Steps to neighbours, about as often up as down."""
    return conserve(
        np.diag(RANDOM.uniform(0.9, 1.1, S - 1), 1) + np.diag(RANDOM.uniform(0.9, 1.1, S - 1), -1)
    )


MATRICES = {
    "random": random_rates(S),
    "wide": wide(),
    "urn": ehrenfest(S - 1),
    "trap": trap(S),
    "two ends": two_ends(),
    "circle": circle(),
}
TIMES = [(1.0, 0.9), (1.0, 0.3), (0.6, 0.01), (1.0, 0.0), (0.4, 0.4)]


def motions(name):
    rates = MATRICES[name]
    made = Sparse(sparse.csr_matrix(jumps(rates)), mb.CosineSchedule())
    return made, Fixed(Semigroup(torch.tensor(jumps(rates))), mb.CosineSchedule())


@pytest.mark.parametrize("name", MATRICES)
def test_vectors_are_rows_and_columns_of_tables(name):
    by_vectors, by_tables = motions(name)
    x = torch.arange(S).unsqueeze(1)
    for s, t in TIMES:
        rows, columns = by_vectors.log_rows(x, s, t), by_vectors.log_columns(x, s, t)
        assert torch.equal(rows == -torch.inf, by_tables.log_rows(x, s, t) == -torch.inf)
        truth = by_tables.log_rows(x, s, t)[:, 0].exp()
        for found in (rows[:, 0].exp(), columns[:, 0].exp().T):
            seen = truth > 1e-13
            torch.testing.assert_close(found[seen], truth[seen], rtol=1e-11, atol=0)
            torch.testing.assert_close(found, truth, rtol=0, atol=1e-13)
        weights = torch.rand(3, 2, S, dtype=torch.float64, generator=torch.manual_seed(0))
        torch.testing.assert_close(
            by_vectors.push(weights, s, t), weights @ truth, rtol=0, atol=1e-12
        )


def test_times_per_sample_and_blocks_change_nothing(monkeypatch):
    by_vectors, by_tables = motions("random")
    x = torch.randint(0, S, (12, 2, 3), generator=torch.manual_seed(1))
    t = torch.linspace(0.01, 0.99, 12)
    t[3] = 0.0
    for size in (vectors.BLOCK, 5 * S):
        monkeypatch.setattr(vectors, "BLOCK", size)
        for ask in ("log_rows", "log_columns"):
            got, expected = (getattr(m, ask)(x, 1.0, t) for m in (by_vectors, by_tables))
            assert got.dtype == expected.dtype == torch.float32
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_no_rows_are_no_rows():
    by_vectors, by_tables = motions("random")
    x, t = torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0)
    for ask in ("log_rows", "log_columns"):
        got, expected = (getattr(m, ask)(x, 1.0, t) for m in (by_vectors, by_tables))
        assert got.shape == expected.shape and got.dtype == expected.dtype
    assert by_vectors.push(torch.zeros(0, 2, S), 1.0, t).shape == (0, 2, S)


def test_the_gradient_of_a_push_is_the_other_product():
    by_vectors, by_tables = motions("random")
    t = torch.tensor([0.2, 0.7, 0.0], dtype=torch.float64)
    grads = []
    for motion in (by_vectors, by_tables):
        weights = torch.rand(3, 2, S, generator=torch.manual_seed(2)).double().requires_grad_()
        signs = torch.randn(3, 2, S, generator=torch.manual_seed(3)).double()
        (motion.push(weights, 1.0, t) * signs).sum().backward()
        grads.append(weights.grad)
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-13)


def test_eigenvectors_where_products_are_many(monkeypatch):
    by_vectors, by_tables = motions("wide")
    x = torch.arange(S).unsqueeze(1)
    monkeypatch.setattr(vectors, "MANY", 2)
    monkeypatch.setattr(Sparse, "_sum", None)  # not asked
    for s, t in [(1.0, 0.1), (0.9, 0.02)]:
        truth = by_tables.log_rows(x, s, t)[:, 0].exp()
        assert_allclose(by_vectors.log_rows(x, s, t)[:, 0].exp(), truth, atol=1e-13)
        assert_allclose(by_vectors.log_columns(x, s, t)[:, 0].exp().T, truth, atol=1e-13)
    assert motions("urn")[0]._modes is None  # of a law that is not flat they are not exact
    assert motions("random")[0]._modes is None


@pytest.mark.parametrize("name", ["random", "wide", "circle"])
@pytest.mark.parametrize("powers", [0, limits.POWERS])
def test_the_stationary_law_by_powers_and_by_a_solution(name, powers, monkeypatch):
    monkeypatch.setattr(limits, "POWERS", powers)
    rates = MATRICES[name]
    limit = Limit(sparse.csr_matrix(jumps(rates)))
    law = limit.log_law.exp().numpy()
    assert_allclose(law @ rates, 0, atol=1e-14)
    assert law.sum() == pytest.approx(1, abs=1e-14)
    assert_allclose(law, Semigroup(torch.tensor(jumps(rates))).limit[0], rtol=1e-10)


def test_a_state_that_all_lead_to_has_rates_from_all():
    rates = conserve(np.eye(S, k=1) + np.eye(S)[np.zeros(S, dtype=int)])
    motion = Sparse(sparse.csr_matrix(jumps(rates)), mb.CosineSchedule())
    x = torch.tensor([[0, 5], [7, 1]])
    assert torch.equal(motion.moves(x)[0, 0], torch.arange(S))
    assert_allclose(motion.inward(x, 0.5), jumps(rates).T[x])


def test_two_ends_have_no_source():
    chain = mb.FiniteChain(sparse.csr_matrix(MATRICES["two ends"]))
    chain.__dict__["motion"] = motions("two ends")[0]
    with pytest.raises(ValueError, match="never forgets its start"):
        chain.log_stationary()
    limit = motions("two ends")[1].semigroup.limit
    assert_allclose(chain.usual(), limit.mean(0), atol=1e-13)


@pytest.fixture(scope="module")
def urn():
    """Ehrenfest's urn of 599 units, and its closed form."""
    return mb.FiniteChain(sparse.csr_matrix(ehrenfest(599)), ordered=True), mb.Ehrenfest(599)


def test_hundreds_of_states_against_a_closed_form(urn):
    chain, closed = urn
    x = torch.tensor([[0], [299], [400]])
    for s, t in [(1.0, 0.6), (0.9, 0.5)]:
        for ask in ("log_rows", "log_columns"):
            got, expected = (getattr(p, ask)(x, s, t) for p in (chain, closed))
            seen = expected > -25
            torch.testing.assert_close(got[seen], expected[seen], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(chain.log_stationary(), closed.log_stationary(), rtol=1e-10, atol=0)
    assert torch.equal(chain.moves(x)[1].sort().values, torch.tensor([[298, 300]]))
    y = torch.tensor([[0], [290], [410]])
    torch.testing.assert_close(
        chain.rates(x, y, 0.6).sum(-1), closed.rates(x, y, 0.6).sum(-1), rtol=1e-9, atol=1e-9
    )
    raw = torch.randn(3, 1, 600, generator=torch.manual_seed(0)).double()
    law = laws.Categorical(raw + closed.evidence(x, 0.6))
    torch.testing.assert_close(
        chain.divergence(law, x, y, 0.6), closed.divergence(law, x, y, 0.6), rtol=1e-8, atol=1e-9
    )
    t = torch.tensor([0.2, 0.5, 0.9])
    setting = Setting(chain, Noised(), torch.tensor(300.0), torch.tensor(100.0))
    assert setting.standardise(x, t).shape == (3, 1, 1)


def test_no_table_is_made_of_many_states(urn, monkeypatch):
    chain, _ = urn
    monkeypatch.setattr(torch.Tensor, "nonzero", None)

    def refused(*size, **more):
        assert np.prod([n for n in size if isinstance(n, int)], dtype=float) < 600**2
        return made(*size, **more)

    made = torch.empty
    monkeypatch.setattr(torch, "empty", refused)
    x1 = torch.tensor([[3], [500]])
    x0 = chain.noised(x1).sample(generator=torch.manual_seed(0))
    x = chain.bridge(x0, x1, 0.0, torch.tensor([0.3, 0.8]), 1.0).sample(
        generator=torch.manual_seed(0)
    )
    assert x.shape == (2, 1)


def test_many_states_are_sampled_as_few_are():
    data = torch.tensor([[0, 1], [3, 2], [5, 5]])
    made = []
    for name in ("vectors", "ring"):
        process = CHAINS[name][0]
        model = mb.Transport(process, exact.Empirical(process, data), shape=(2,))
        made.append(model.sample(50, steps=4, generator=torch.manual_seed(0)))
    assert torch.equal(*made)


def test_bounds_over_all_ends_are_refused():
    process = CHAINS["vectors"][0]
    with pytest.raises(TypeError, match="tables of all pairs of them, which are made up to 512"):
        process.bounds(1.0, 0.9)


def test_a_long_way_is_warned_of(monkeypatch):
    monkeypatch.setattr(vectors, "LONG", 1e4)
    with pytest.warns(UserWarning, match="this chain of 40 states take up to"):
        motions("random")[0].log_rows(torch.tensor([[1]]), 1.0, 0.5)


def test_many_states_are_told_by_their_number():
    small, large = (mb.FiniteChain(ring(size)) for size in (512, 513))
    assert isinstance(small.motion, Fixed) and isinstance(large.motion, Sparse)
    assert isinstance(large.motion._jumps, sparse.csr_matrix)
    dense = mb.DiscretisedGaussianChain(513)
    assert isinstance(dense.motion, Sparse) and isinstance(dense.motion._jumps, np.ndarray)
    x = torch.tensor([[0], [400]])
    got = dense.log_rows(x, 1.0, 0.5).exp()
    truth = expm(conserve(dense.motion._jumps) * np.log(2))
    assert_allclose(got[:, 0], truth[x[:, 0]], atol=1e-13)
    assert_allclose(dense.log_stationary().exp(), np.full(513, 1 / 513), rtol=1e-10)
    assert torch.equal(dense.moves(x)[0, 0], torch.arange(513))
    rates = dense.inward(x, 0.5)
    assert_allclose(rates[:, 0], dense.motion._jumps.T[x[:, 0]])


FORMS = {
    "csr": sparse.csr_matrix,
    "array": sparse.coo_array,
    "torch": lambda rates: torch.tensor(rates).to_sparse(),
    "torch rows": lambda rates: torch.tensor(rates).to_sparse_csr(),
    "mapping": lambda rates: config.to_config(mb.FiniteChain(sparse.csr_matrix(rates)))[
        "init_args"
    ]["rate_matrix"],
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_sparse_matrices_are_what_dense_ones_are_and_are_saved(form):
    rates = trap(5)
    chain, dense = mb.FiniteChain(FORMS[form](rates)), mb.FiniteChain(rates)
    again = config.from_config(config.to_config(chain))
    x = torch.arange(5).unsqueeze(1)
    for one in (chain, again):
        torch.testing.assert_close(
            one.log_rows(x, 0.9, 0.2), dense.log_rows(x, 0.9, 0.2), rtol=1e-13, atol=0
        )
    assert chain.rate_matrix["states"] == 5 and len(chain.rate_matrix["rates"]) == 7


@pytest.mark.parametrize(
    ("rates", "kind", "message"),
    [
        (
            sparse.csr_matrix([[-1.0, 1], [2, -1]]),
            ValueError,
            "row 1 of the rate matrix sums to 1",
        ),
        (sparse.csr_matrix([[1.0, -1], [2, -2]]), ValueError, "row 0 .* holds -1.0 at column 1"),
        (sparse.csr_matrix((3, 3)), ValueError, "never moves"),
        (sparse.csr_matrix((3, 2)), ValueError, "square"),
        (sparse.csr_matrix([[np.nan, 1], [1, -1]]), ValueError, "row 0 .* not finite"),
        (torch.ones(2, 3).to_sparse(), ValueError, "square"),
        (torch.ones(2, 2).to(torch.complex64).to_sparse(), TypeError, "real numbers"),
        ({"states": 2}, TypeError, "keys states, from, to, rates, not states"),
        (
            {"states": 2, "from": [0], "to": [2], "rates": [1.0]},
            ValueError,
            "a move from 0 to 2, but its states are 0 .. 1",
        ),
        (
            {"states": 2, "from": [0, 1], "to": [1], "rates": [1.0]},
            ValueError,
            "lists of one length",
        ),
        ({"states": 2, "from": [0.5], "to": [1], "rates": [1.0]}, ValueError, "whole numbers"),
        ({"states": 1, "from": [0], "to": [0], "rates": [1.0]}, ValueError, "must be from 2 to"),
    ],
)
def test_what_is_no_sparse_rate_matrix_is_refused(rates, kind, message):
    with pytest.raises(kind, match=message):
        mb.FiniteChain(rates)


def test_a_cycle_that_comes_back_between_two_looks_is_no_rest():
    """Rings of as many states as there are products between looks."""
    n = vectors.LAG
    one = np.roll(np.eye(n), 1, 1)
    rates = np.kron(np.eye(2), 300.0 * one)
    chain = Sparse(sparse.csr_matrix(rates), mb.CosineSchedule())
    x = torch.tensor([[0], [n + 3]])
    tau = -2 * np.log(np.sin(np.pi * 0.6 / 2))  # -log p of the cosine schedule
    for found, at in ((chain.log_rows, (0, 3)), (chain.log_columns, (0, 3))):
        law = found(x, 1.0, 0.6).exp()[:, 0].numpy()
        wanted = expm(300.0 * tau * (one - np.eye(n)))
        wanted = wanted if found == chain.log_rows else wanted.T
        assert_allclose(law[0, :n], wanted[at[0]], atol=1e-10)
        assert_allclose(law[1, n:], wanted[at[1]], atol=1e-10)


def test_a_cycle_of_uneven_classes_has_its_stationary_law():
    """64 states, then 60 single ones, and round again: a law comes back after 61 jumps."""
    many, n = 64, limits.LAG
    rates = np.zeros((many + n - 1, many + n - 1))
    rates[:many, many] = 1.0
    rates[np.arange(many, many + n - 2), np.arange(many + 1, many + n - 1)] = 1.0
    rates[-1, :many] = 1 / many
    law = Limit(sparse.csr_matrix(rates)).laws[0].numpy()
    assert_allclose(law, np.r_[np.full(many, 1 / n / many), np.full(n - 1, 1 / n)], rtol=1e-12)
