"""Chains whose rates change with time: exact numbers, SciPy's exponential and integrator."""

import functools
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm

import markovbridge as mb
from markovbridge import exact, laws
from markovbridge.doors.randomness import generator
from markovbridge.exact import Reverse
from markovbridge.processes import Setting, driven
from markovbridge.storage import config
from problems_chains import conserve, pairs, random_rates, table

A = np.array([[-1.0, 1, 0], [0, -1, 1], [1, 0, -1]])
B = np.array([[-2, 1, 1], [3, -3, 0], [0, 0.5, -0.5]])


def mixed(t):
    """Rates that do not commute with those of other times."""
    return t * A + (1 - t) * B


def quick(t):
    """The same six times over, so that the start is forgotten."""
    return 6 * mixed(t)


CHAIN = mb.FiniteChain(mixed)
ONES = torch.ones(2)
FORGETFUL = mb.FiniteChain(quick)
STATES = torch.arange(3).unsqueeze(1)
DATA = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)


def matrix(text):
    return np.array([[float(v) for v in row.split()] for row in text.split("/")])


def integrated(rates, s, t):
    """P(s->t) by an integrator of initial value problems."""
    n = len(rates(0.0))

    def slope(r, flat):
        return (flat.reshape(n, n) @ rates(s - r)).reshape(-1)

    found = solve_ivp(
        slope, (0, s - t), np.eye(n).reshape(-1), method="DOP853", rtol=1e-12, atol=1e-14
    )
    return found.y[:, -1].reshape(n, n)


# Made by an integrator of order 8 with a relative tolerance of 1e-12.
WHOLE = matrix(
    ".467102419494 .241558807345 .291338773161 / .387707851088 .277601914031 .334690234881 / "
    ".249222807321 .160807996155 .589969196524"
)
INNER = matrix(
    ".579616356638 .224687368344 .195696275019 / .374222430495 .434481071073 .191296498432 / "
    ".161307243189 .105704917482 .732987839329"
)
GENERATOR = matrix(
    "-1.089887269912 .885076268123 .204811001789 / 1.694769201281 -1.868322890239 "
    ".173553688958 / 1.220637552750 .720238219946 -1.940875772695"
)
REVERSE = matrix(
    ".863617713123 .104967794584 .031414492293 / .277336735653 .700994665920 .021668598428 / "
    ".199678756912 .144156822695 .656164420393"
)


@pytest.mark.parametrize(
    "schedule", [mb.CosineSchedule(), mb.LinearSchedule(), mb.LogisticSchedule(8.0)]
)
def test_the_numbers_of_an_integrator_whatever_the_schedule(schedule):
    chain = mb.FiniteChain(mixed, schedule=schedule)
    assert_allclose(table(chain, 1.0, 0.0), WHOLE, rtol=0, atol=1e-11)
    assert_allclose(table(chain, 0.7, 0.2), INNER, rtol=0, atol=1e-11)
    x, y = torch.tensor([[0]]), torch.tensor([[2]])
    bridge = chain.bridge(x, y, 0.2, 0.5, 1.0).log_probs.exp().flatten().numpy()
    assert_allclose(bridge, [0.623006432418, 0.123811679979, 0.253181887602], rtol=0, atol=1e-11)
    pinned = chain.rates(x, y, 0.5).flatten().numpy()
    assert_allclose(pinned, [0, 0.590382618228, 1.462708320172], rtol=0, atol=1e-11)
    reverse = Reverse(chain, DATA)
    assert_allclose(
        reverse.marginal(0.5).numpy(),
        [0.500081801132, 0.295073689535, 0.204844509333],
        rtol=0,
        atol=1e-11,
    )
    assert_allclose(reverse.generator(0.5).numpy(), GENERATOR, rtol=0, atol=1e-11)
    assert_allclose(reverse.matrix(0.5, 0.7).numpy(), REVERSE, rtol=0, atol=1e-11)


random = functools.cache(random_rates)
CASES = {
    "waves": lambda t: (2 + math.sin(9 * t)) * random(5, 1) + (1 + math.cos(5 * t)) * random(5, 2),
    "kink": lambda t: random(4) + 6 * max(0.0, t - 0.37) * random(4, 3),
    "jump": lambda t: random(4) * (4 if t < 0.3719 else 1) + (t > 0.6) * random(4, 5),
    "off at first": lambda t: max(0.0, 0.5 - t) * A,
    "strong": lambda t: (60 + 30 * t) * random(3, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_any_rates_against_an_integrator(name):
    rates = CASES[name]
    chain = mb.FiniteChain(rates)
    breaks = [0.3719, 0.37, 0.5, 0.6]
    for s, t in [
        (1.0, 0.0),
        (0.61, 0.6),
        (0.99, 0.35),
        (0.5, 0.25),
        (0.375, 0.0),
        (0.437, 0.4365),
    ]:
        expected, times = np.eye(chain.size), [s, *sorted(b for b in breaks if t < b < s)[::-1], t]
        for late, early in zip(times, times[1:], strict=False):
            inside = np.nextafter(late, early), np.nextafter(early, late)
            piece = integrated(
                lambda r, i=inside: rates(float(np.clip(r, i[1], i[0]))), late, early
            )
            expected = expected @ piece
        assert_allclose(table(chain, s, t), expected, rtol=0, atol=1e-10)


def test_rates_that_commute_are_a_clock_times_a_matrix():
    matrix = random_rates(6)
    chain = mb.FiniteChain(lambda t: (1 + 3 * t**2) * matrix)
    for s, t in [(1.0, 0.0), (0.8, 0.123), (0.31, 0.3)]:
        expected = expm(matrix * quad(lambda r: 1 + 3 * r**2, t, s)[0])
        assert_allclose(table(chain, s, t), expected, rtol=1e-11, atol=0)


def test_small_probabilities_keep_their_digits():
    steps = conserve(np.diag([1.0, 2, 0.5, 3, 1], 1) + np.diag([0.3, 1, 2, 1, 0.7], -1))
    chain, fixed = mb.FiniteChain(lambda t: steps), mb.FiniteChain(steps)
    x = torch.arange(6).unsqueeze(1)
    for s, length in [(1.0, 1e-4), (0.8, 1e-3), (0.6, 1e-2), (0.51, 0.3)]:
        tau = torch.tensor([length], dtype=torch.float64)
        expected = fixed.motion.semigroup(tau)[0]
        got = chain.log_rows(x, s, s - length)[:, 0].exp()
        assert float(expected.min()) < 1e-4
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=0)


def test_what_is_impossible_stays_so():
    up = conserve(np.diag([1.0, 2, 3], 1))
    chain = mb.FiniteChain(lambda t: up * (1 + t))
    rows = chain.log_rows(torch.tensor([[1]]), 0.9, 0.2)[0, 0]
    assert bool((rows[:1] == -torch.inf).all()) and bool(torch.isfinite(rows[1:]).all())


def test_chapman_kolmogorov_and_times_per_sample():
    t = torch.rand(40, dtype=torch.float64, generator=generator("cpu", "times"))
    x = torch.arange(40).unsqueeze(1) % 3
    rows, columns = CHAIN.log_rows(x, 1.0, t), CHAIN.log_columns(x, t, 0.0)
    for i, time in enumerate(t.tolist()):
        late, early = table(CHAIN, 1.0, time), table(CHAIN, time, 0.0)
        assert_allclose(late @ early, WHOLE, rtol=0, atol=1e-11)
        assert_allclose(rows[i, 0].exp().numpy(), late[i % 3], rtol=1e-12)
        assert_allclose(columns[i, 0].exp().numpy(), early[:, i % 3], rtol=1e-12)


def test_expected_rates_are_averages_and_the_divergence_their_sum():
    seen = CHAIN.evidence(STATES, 0.6)
    raw = torch.randn(seen.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    law = laws.Categorical(raw + seen)
    y = torch.tensor([[0], [1], [2]])
    pinned = [CHAIN.rates(STATES, torch.full_like(STATES, v), 0.6) for v in range(3)]
    expected = sum(law.log_probs[..., v].exp().unsqueeze(-1) * pinned[v] for v in range(3))
    model = CHAIN.expected_rates(law, STATES, 0.6)
    torch.testing.assert_close(model, expected, rtol=1e-11, atol=1e-12)
    mine = CHAIN.rates(STATES, y, 0.6)
    cost = (model - mine + torch.xlogy(mine, mine / model.clamp_min(1e-300))).sum((1, 2))
    torch.testing.assert_close(CHAIN.divergence(law, STATES, y, 0.6), cost, rtol=1e-9, atol=1e-11)


def test_pinned_rates_are_those_of_the_bridge():
    x, y = pairs(3, 3)
    h = 1e-6
    law = CHAIN.bridge(x, y, 0.4, 0.4 + h, 1.0).log_probs.exp()[:, 0]
    rates = CHAIN.rates(x, y, 0.4)[:, 0]
    off = x != torch.arange(3)
    torch.testing.assert_close((law / h)[off], rates[off], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "schedule", [mb.CosineSchedule(), mb.LinearSchedule(), mb.LogisticSchedule(6.0)]
)
def test_bounds_hold_for_all_times_of_their_window(schedule):
    chain = mb.FiniteChain(CASES["waves"], schedule=schedule)
    x, y = pairs(5, 5)
    for low, high in [(0.01, 0.02), (0.3, 0.4), (1.0, 2.0)]:
        bounds = chain.bounds(high, low).of(x[:, 0])
        for clock in np.linspace(low, high, 30):
            p = torch.tensor(math.exp(-clock), dtype=torch.float64)
            t = float(schedule.time(p, 1 - p))
            pace = float(schedule.rate(t) / p)
            total = chain.rates(x, y, t)[:, 0].sum(1) / pace
            assert bool((total <= bounds).all())


def test_the_likelihood_of_one_site_is_exact():
    law = exact.Empirical(FORGETFUL, STATES, DATA)
    model = mb.Transport(FORGETFUL, law, shape=(1,))
    bound = model.log_likelihood(STATES, draws=256, generator=generator("cpu", "likelihood"))
    error = bound.nats - DATA.log()
    # Up to what is left of the data at t = 0.
    assert bool((error.abs() < 4 * bound.standard_error + 1e-3).all()), error


def test_it_trains_and_has_features_of_unit_variance():
    network = mb.networks.MLP((2,), FORGETFUL.features, 3, width=16, depth=1)
    model = mb.Transport(
        FORGETFUL, network, mb.CategoricalHead(), shape=(2,), objective=mb.PathKL() + mb.EndNLL()
    )
    data = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]])
    model.loss(data, generator=generator("cpu", "driven")).sum().backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert grads and all(bool(g.isfinite().all()) for g in grads)
    ordered = mb.FiniteChain(mixed, ordered=True)
    assert ordered.features == 1
    even = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)  # the two values next to μ ± σ
    for t in (0.1, 0.6, 0.95):
        law = even @ torch.tensor(table(ordered, 1.0, t))
        z = Setting(ordered, mb.Noised(), *ONES).standardise(STATES, t)[:, 0, 0].double()
        assert float(law @ z) == pytest.approx(0, abs=1e-5)
        assert float(law @ z**2) == pytest.approx(1, abs=1e-5)


def test_a_start_that_is_remembered_has_no_source():
    with pytest.raises(ValueError, match="at t = 0 the chain still remembers state"):
        CHAIN.source(STATES)
    assert_allclose(CHAIN.noised(STATES).log_probs[:, 0].exp().numpy(), WHOLE, atol=1e-11)
    law = FORGETFUL.source(STATES).log_probs[0, 0].exp().double()
    assert_allclose(law.numpy(), table(FORGETFUL, 1.0, 0.0).mean(0), atol=1e-6)
    assert Setting(CHAIN, mb.Noised(), *ONES).standardise(STATES, 0.5).shape == (3, 3, 1)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (lambda t: A if t > 0.5 else -A, r"row 0 of the rate matrix at t = 0\.\d+ holds -1.0"),
        (lambda t: A + 1e-3 * t, "row 0 of the rate matrix at t = 1 sums to 0.003"),
        (lambda t: A if t == 1 else conserve(np.ones((2, 2))), "has 2 states, and that at t = 1"),
        (lambda t: 0 * A, "the chain never moves"),
        (lambda t: np.where(A > 0, np.inf, A), "not finite"),
        (lambda t: A[:2], "square with at least 2 states"),
        (lambda t: 1e4 * random(300), "take more than"),
    ],
)
def test_what_are_no_rates_is_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        mb.FiniteChain(rates)


def test_rates_that_are_seldom_not_zero():
    chain = mb.FiniteChain(lambda t: 4 * A if 0.6 < t < 0.9 else 0 * A)
    assert_allclose(table(chain, 1.0, 0.0), expm(0.3 * 4 * A), atol=1e-10)
    assert_allclose(table(chain, 0.6, 0.0), np.eye(3), atol=1e-12)


def test_rates_in_float32_are_taken_for_what_they_are():
    chain = mb.FiniteChain(lambda t: torch.tensor(mixed(t), dtype=torch.float32))
    assert len(chain.motion._powers) < 16
    assert_allclose(table(chain, 1.0, 0.0), WHOLE, rtol=0, atol=1e-6)


def test_noise_is_not_followed_for_ever(monkeypatch):
    monkeypatch.setattr(driven, "MOST", 200)
    with pytest.raises(ValueError, match="change too fast to be followed"):
        mb.FiniteChain(lambda t: (1 + 1e-6 * math.sin(1e9 * t)) * A)


def test_rates_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="the rates at t = 1 must be a Tensor"):
        mb.FiniteChain(lambda t: "fast")


def test_a_function_is_named_in_a_file_and_asked_for_again(tmp_path):
    written = config.to_config(FORGETFUL)
    assert written["init_args"]["rate_matrix"] == {"class_path": f"{__name__}.quick"}
    with pytest.raises(ValueError, match="quick.; it must be numbers"):
        config.from_config(written)
    network = mb.networks.MLP((2,), 3, 3, width=4, depth=1)
    model = mb.Transport(FORGETFUL, network, mb.CategoricalHead(), shape=(2,))
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="process"):
        mb.Transport.from_pretrained(tmp_path / "model")
    again = mb.Transport.from_pretrained(tmp_path / "model", process=FORGETFUL)
    assert again.process is FORGETFUL


def test_pieces_are_few_where_rates_are_smooth():
    assert len(CHAIN.motion._powers) == driven.FEWEST
    assert len(mb.FiniteChain(CASES["jump"]).motion._powers) < 200
