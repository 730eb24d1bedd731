"""Birth and death, the random walk and pure birth against SciPy and enumeration."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from markovbridge import Noised, processes
from markovbridge.laws import Atoms, Categorical
from markovbridge.laws.sums import TwoMeans
from markovbridge.processes import Setting
from problems import assert_follows
from problems_chains import UNBOUNDED, noised_counts, speed, survival

NAMES = list(UNBOUNDED)
WINDOW = np.arange(-40, 60)
S, T, U = 0.25, 0.6, 0.85


def window(name):
    return WINDOW if name == "walk" else WINDOW[WINDOW >= 0]


def law_on(law_of, values):
    """Probabilities of values under a law made for a column of as many states."""
    return law_of.site_log_prob(values).exp().numpy()[:, 0]


def column(values):
    return torch.tensor(np.asarray(values)).reshape(-1, 1)


def step_table(process, values, s, t):
    """P(s->t) on `values`, (n, n)."""
    n = len(values)
    x = column(np.repeat(values, n))
    law = process.transition(x, s, t)
    return law_on(law, column(np.tile(values, n))).reshape(n, n)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 0.999, 1.0])
def test_marginals_match_scipy(name, t):
    process, values = UNBOUNDED[name], window(name)
    for y in (0, 3):
        law = process.transition(column(np.full(len(values), y)), 1.0, t)
        got = law_on(law, column(values))
        assert_allclose(got, noised_counts(name, y, values, t), atol=1e-12)
        assert_allclose(float(law.mean[0]), got @ values, rtol=1e-9, atol=1e-12)
        assert_allclose(
            float(law.variance[0]), got @ values**2 - (got @ values) ** 2, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("name", NAMES)
def test_chapman_kolmogorov(name):
    process, values = UNBOUNDED[name], window(name)[:70]
    first, second = step_table(process, values, U, T), step_table(process, values, T, S)
    whole = step_table(process, values, U, S)
    inner = np.abs(values) <= 8
    assert_allclose((first @ second)[inner][:, inner], whole[inner][:, inner], atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [(S, T, U), (0.0, T, 1.0)])
def test_bridge_is_bayes(name, times):
    process, values = UNBOUNDED[name], window(name)
    s, t, u = times
    for x, y in [(4, 2), (7, 0), (3, 3), (1, 5)]:
        if name == "birth" and y > x:
            continue
        ys, xs = column(np.full(len(values), y)), column(np.full(len(values), x))
        late = law_on(process.transition(ys, u, t), column(values))
        early = law_on(process.transition(column(values), t, s), xs)
        expected = late * early / (late @ early)
        law = process.bridge(xs, ys, s, t, u)
        got = law_on(law, column(values))
        assert_allclose(got, expected, atol=1e-9)
        assert_allclose(float(law.mean[0]), got @ values, rtol=1e-8)
        assert_allclose(
            float(law.variance[0]), got @ values**2 - (got @ values) ** 2, rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_laws(name):
    process = UNBOUNDED[name]
    x, y = torch.full((20000, 1), 5), torch.full((20000, 1), 2)
    values = window(name)
    low = int(values[0])
    for law in (process.transition(y, 1.0, T), process.bridge(x, y, S, T, 1.0)):
        draws = law.sample(generator=torch.manual_seed(11))
        one = type(law)(**{k: _first(v, len(values)) for k, v in vars(law).items()})
        assert_follows(draws.numpy() - low, law_on(one, column(values)))


def _first(field, n):
    """The first entry of a field of a law, for n states."""
    if isinstance(field, tuple):
        return tuple(_first(f, n) for f in field)
    if isinstance(field, torch.Tensor):
        return field.reshape(-1)[:1].expand(n, 1)
    return type(field)(**{k: _first(v, n) for k, v in vars(field).items()})


@pytest.mark.parametrize("name", NAMES)
def test_rates_are_ratios(name):
    process, values = UNBOUNDED[name], window(name)
    t = T
    for y in (0, 3, 5):
        law = noised_counts(name, y, values, t)
        inner = np.flatnonzero((law > 1e-10) & (values > values[0]))
        x = column(values[inner])
        down, up = process.rates(x, torch.full_like(x, y), t)[:, 0].numpy().T
        here, below = law[inner], law[inner - 1]
        above = law[inner + 1]
        if name == "birth-death":
            expected = 2.5 * below / here * speed(t), (values[inner] + 1) * above / here * speed(t)
        else:
            hazard = speed(t) * survival(t)  # p', as the clock is q
            rate = 3.0 if name == "walk" else 2.0
            expected = (
                rate * below / here * hazard,
                (name == "walk") * rate * above / here * hazard,
            )
        assert_allclose(down, expected[0], rtol=1e-8, atol=1e-12)
        assert_allclose(up, expected[1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_two_means_give_the_rates_of_the_whole_law(name):
    # The rates of the generative process from a table, from points, and from two numbers.
    process = UNBOUNDED[name]
    x = torch.tensor([[6], [7], [9]])
    raw = torch.randn(6, dtype=torch.float64, generator=torch.manual_seed(0))
    table = Categorical(raw + process.evidence(x, T))
    atoms = Atoms(torch.arange(6).unsqueeze(1), table.log_probs[:, 0])
    rates = process.expected_rates(table, x, T)
    torch.testing.assert_close(process.expected_rates(atoms, x, T), rates, rtol=1e-9, atol=1e-12)

    up, down = torch.zeros(2, 3, 1, dtype=torch.float64)
    for v in range(6):
        steps = process.steps(x, torch.full_like(x, v), T)
        up += table.log_probs[..., v].exp() * steps[0]
        down += table.log_probs[..., v].exp() * steps[1]
    means = process.stepped(x, up.log(), down.log())
    assert isinstance(means, TwoMeans)
    torch.testing.assert_close(process.expected_rates(means, x, T), rates, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(means.mean, x + up - down, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(means.mean, table.mean, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_features_have_unit_variance(name):
    process, values = UNBOUNDED[name], window(name)
    data = np.array([0.1, 0.2, 0.05, 0.3, 0.15, 0.2])
    mean = data @ np.arange(6)
    variance = data @ np.arange(6) ** 2 - mean**2
    for t in (0.05, 0.5, 0.95):
        law = sum(data[y] * noised_counts(name, y, values, t) for y in range(6))
        setting = Setting(process, Noised(), torch.tensor(mean), torch.tensor(variance))
        z = setting.standardise(column(values), t)[:, 0, 0].double()
        assert law @ z.numpy() == pytest.approx(0, abs=1e-5)
        assert law @ z.numpy() ** 2 == pytest.approx(1, abs=1e-5)


def test_birth_death_source_is_stationary():
    process = processes.BirthDeath(immigration=2.5)
    values = np.arange(40)
    law = law_on(process.source(column(values)), column(values))
    assert_allclose(law, noised_counts("birth-death", 0, values, 0.0), atol=1e-6)
    assert_allclose(law @ step_table(process, values, 0.9, 0.5), law, atol=1e-6)


def test_invalid_input_is_named():
    with pytest.raises(ValueError, match="immigration must be positive, not 0"):
        processes.BirthDeath(immigration=0)
    with pytest.raises(ValueError, match="rate must be positive, not -1"):
        processes.RandomWalk(rate=-1)
    with pytest.raises(ValueError, match="holds -1: counts"):
        processes.PureBirth(rate=1.0).check(torch.tensor([[-1]]))
    assert processes.RandomWalk(rate=1.0).check(torch.tensor([[-1]])).item() == -1
    with pytest.raises(ValueError, match="integers"):
        processes.RandomWalk(rate=1.0).check(torch.tensor([[0.5]]))
    with pytest.raises(ValueError, match="exceeds x at s by 2"):
        processes.PureBirth(rate=1.0).bridge(
            torch.tensor([[1]]), torch.tensor([[3]]), 0.0, 0.5, 1.0
        )
    with pytest.raises(ValueError, match="set `maximum`"):
        processes.BirthDeath(immigration=1.0).evidence(torch.tensor([[1]]), 0.5)
