"""Pure death against enumeration of counts up to 12, on every schedule."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg, special, stats

from markovbridge import LogisticSchedule, Noised, PureDeath, laws
from markovbridge.doors.randomness import generator
from markovbridge.processes import Setting
from problems import PROBLEMS, SCHEDULES, TOP, assert_follows, thinning

N = 12
ALL = torch.arange(N + 1)
TIMES = (0.0, 0.2, 0.45, 0.8, 1.0)


@pytest.fixture(params=sorted(SCHEDULES))
def process(request):
    return PureDeath(N, SCHEDULES[request.param])


def rows(law, n):
    """A table (n, N + 1): probabilities of 0 .. N for each of n one-site laws."""
    return np.stack(
        [law.log_prob(torch.full((n, 1), v)).exp().double().numpy() for v in range(N + 1)], 1
    )


def transition(process, s, t):
    """Table over (x_s, x_t), for s the later time."""
    return rows(process.transition(ALL.unsqueeze(1), s, t), N + 1)


def bridges(process, x, y, s, t, u):
    """Tables over x_t for pinned pairs, a row for each."""
    x, y = (torch.as_tensor(v).unsqueeze(1) for v in (x, y))
    return rows(process.bridge(x, y, s, t, u), len(x))


def bridge(process, x, y, s, t, u):
    """Table over x_t for one pinned pair."""
    return bridges(process, [x], [y], s, t, u)[0]


def at(process, p):
    """The time with survival p."""
    pq = (torch.tensor(v, dtype=torch.float64) for v in (p, 1 - p))
    return float(process.schedule.time(*pq))


def test_transition_is_the_exponential_of_the_death_generator(process):
    generator_of_death = np.zeros((N + 1, N + 1))
    for n in range(1, N + 1):
        generator_of_death[n, n - 1], generator_of_death[n, n] = n, -n
    for t, s in itertools.combinations_with_replacement(TIMES[1:], 2):
        elapsed = float(process.schedule.survival(s).log() - process.schedule.survival(t).log())
        expected = linalg.expm(generator_of_death * elapsed)
        np.testing.assert_allclose(transition(process, s, t), expected, atol=1e-13)


def test_transitions_compose(process):
    for r, t, s in itertools.combinations(TIMES, 3):
        np.testing.assert_allclose(
            transition(process, s, t) @ transition(process, t, r),
            transition(process, s, r),
            atol=1e-13,
        )


def test_bridge_is_bayes_of_the_transitions(process):
    """p(x_t | x_s, x_u) = p(x_t | x_u) p(x_s | x_t) / p(x_s | x_u), noising from u to s."""
    for s, t, u in itertools.combinations(TIMES, 3):
        down, further, both = (transition(process, *pair) for pair in ((u, t), (t, s), (u, s)))
        y, x = np.nonzero(both > 1e-12)
        expected = down[y] * further[:, x].T / both[y, x, None]
        found = bridges(process, x, y, s, t, u)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_bridges_compose(process):
    """Chapman-Kolmogorov: on to v by way of t is on to v."""
    for s, t, v, u in itertools.combinations(TIMES, 4):
        for x, y in ((0, 12), (2, 9), (5, 5)):
            first = bridge(process, x, y, s, t, u)
            between = np.arange(x, y + 1)
            second = np.zeros((N + 1, N + 1))
            second[between] = bridges(process, between, np.full_like(between, y), t, v, u)
            np.testing.assert_allclose(first @ second, bridge(process, x, y, s, v, u), atol=1e-13)


def test_bridge_holds_its_ends(process):
    for s, u in ((0.0, 1.0), (0.3, 0.7), (0.3, 1.0)):
        assert bridge(process, 2, 7, s, s, u)[2] == 1
        assert bridge(process, 2, 7, s, u, u)[7] == 1
    t = torch.tensor([0.0, 0.4, 1.0])
    same = torch.full((3, 1), 4)
    assert process.bridge(same, same, 0.0, t, 1.0).sample().tolist() == [[4]] * 3


def test_bridge_draws_follow_its_law(process):
    n = 20_000
    x, y = torch.full((n, 1), 2), torch.full((n, 1), 9)
    draws = process.bridge(x, y, 0.1, 0.6, 0.9).sample(generator=generator("cpu", "bridge"))
    assert draws.dtype == torch.int64
    assert_follows(draws, bridge(process, 2, 9, 0.1, 0.6, 0.9))


def test_a_time_for_each_sample(process):
    x, y = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[5, 6], [7, 8]])
    z = torch.tensor([[1, 2], [4, 5]])
    t = torch.tensor([0.3, 0.6], dtype=torch.float64)
    together = process.bridge(x, y, 0.1, t, 1.0).site_log_prob(z)
    apart = [
        process.bridge(x[i : i + 1], y[i : i + 1], 0.1, float(t[i]), 1.0).site_log_prob(
            z[i : i + 1]
        )
        for i in range(2)
    ]
    assert torch.equal(together, torch.cat(apart))
    assert process.bridge(x, y, 0.1, t.float(), 1.0).mean.dtype in (torch.float32, torch.float64)
    assert process.transition(y, 1.0, t.float()).mean.dtype == torch.float32


@pytest.mark.parametrize("t", [1e-8, 1e-4, 1 - 1e-4, 1 - 2**-24])
def test_bridge_in_float32_next_to_the_ends(process, t):
    """The probability of a birth, or of one left to come, keeps its digits next to 0 and 1."""
    time = torch.tensor([t], dtype=torch.float32)
    law = process.bridge(torch.tensor([[0]]), torch.tensor([[N]]), 0.0, time, 1.0)
    t, schedule, k = float(time), process.schedule, np.arange(N + 1)
    whole = float(schedule.mortality(0.0))
    done, left = float(schedule.increment(0.0, t)) / whole, float(schedule.mortality(t)) / whole
    expected = special.comb(N, k) * done**k * left ** (N - k)
    np.testing.assert_allclose(rows(law, 1)[0], expected, rtol=1e-4, atol=1e-37)


def test_rates_are_the_speed_of_the_bridge(process):
    """P(x_(t+h) = x + 1 | x_t = x, x_1 = y) = rate h + O(h²), and no jump is longer."""
    h = 1e-6
    for t, x, y in itertools.product((0.2, 0.5, 0.9), (0, 3), (3, 8)):
        moved = bridge(process, x, y, t, t + h, 1.0) / h
        start, end = torch.tensor([[x]]), torch.tensor([[y]])
        assert process.moves(start).tolist() == [[[x + 1]]]
        rate = float(process.rates(start, end, t))
        assert moved[x + 1] == pytest.approx(rate, rel=2e-3, abs=1e-12)
        assert (1 / h - moved[x]) == pytest.approx(rate, rel=2e-3, abs=1e-3)
        assert moved[x + 2 :].sum() < 1e-3 * max(rate, 1)


def test_expected_rates_are_the_average_over_the_law(process):
    pmf = torch.tensor([[[0.0, 0.0, 0.1, 0.3, 0.0, 0.6]]], dtype=torch.float64)
    law, x = laws.Categorical(pmf.log()), torch.tensor([[2]])
    for t in (0.1, 0.5, 0.95):
        rates = [float(process.rates(x, torch.tensor([[y]]), t)) for y in range(2, 6)]
        expected = np.dot(pmf[0, 0, 2:].numpy(), rates)
        assert float(process.expected_rates(law, x, t)) == pytest.approx(expected, rel=1e-12)


def test_divergence_is_the_rate_of_relative_entropy(process):
    """KL of one short step, between the pinned bridge and the mixture of bridges, per time."""
    pmf = np.array([0, 0.2, 0.3, 0.0, 0.5])
    with np.errstate(divide="ignore"):
        law = laws.Categorical(torch.tensor(np.log(pmf)).reshape(1, 1, 5))
    x = 1
    for t, y in itertools.product((0.15, 0.5, 0.9), (1, 2, 4)):

        def step(h, t=t, y=y):
            pinned = bridge(process, x, y, t, t + h, 1.0)
            model = sum(
                w * bridge(process, x, z, t, t + h, 1.0) for z, w in enumerate(pmf) if w > 0
            )
            mass = pinned > 0
            return (pinned[mass] * np.log(pinned[mass] / model[mass])).sum() / h

        h = 1e-5
        expected = 2 * step(h) - step(2 * h)  # removes the error of order h
        found = process.divergence(law, torch.tensor([[x]]), torch.tensor([[y]]), t)
        assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_divergence_adds_over_sites_and_vanishes_at_the_truth():
    process = PureDeath()
    x, y = torch.tensor([[[1, 0], [2, 5]]]), torch.tensor([[[4, 0], [2, 6]]])
    truth = laws.Shifted(x, laws.Poisson((y - x).double().log()))
    assert float(process.divergence(truth, x, y, 0.4)) == pytest.approx(0, abs=1e-14)
    law = laws.Shifted(x, laws.Poisson(torch.full(x.shape, 0.3, dtype=torch.float64)))
    sites = [
        float(
            process.divergence(
                laws.Shifted(x[:, i, j : j + 1], laws.Poisson(law.base.log_rate[:, i, j : j + 1])),
                x[:, i, j : j + 1],
                y[:, i, j : j + 1],
                0.4,
            )
        )
        for i, j in itertools.product(range(2), repeat=2)
    ]
    total = process.divergence(law, x, y, 0.4)
    assert total.shape == (1,)
    assert float(total) == pytest.approx(sum(sites), rel=1e-13)


def test_divergence_at_the_data_is_finite():
    """A law that knows the end leaves log 0, times a remaining count of 0."""
    process = PureDeath()
    x = torch.tensor([[3]])
    law = laws.Shifted(x, laws.Poisson(torch.tensor([[-math.inf]], dtype=torch.float64)))
    for t in (0.5, 1.0):
        assert float(process.divergence(law, x, x, t)) == 0


@pytest.mark.parametrize("p", [0.03, 0.3, 0.95])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_size_bias(problem, p):
    """E[x g(x - 1)] / p = E[(x_1 - x) g(x)] / q, for any g."""
    process = PureDeath()
    t = at(process, p)
    n = torch.arange(TOP + 1)
    y, x = (v.reshape(-1, 1) for v in torch.meshgrid(n, n, indexing="ij"))
    weight = process.transition(y, 1.0, t).log_prob(x).exp() * torch.tensor(
        problem.pmf
    ).repeat_interleave(TOP + 1)
    x, y = x.squeeze(1).double(), y.squeeze(1).double()
    for g in (lambda v: v + 1, lambda v: torch.exp(-0.3 * v), lambda v: torch.sin(v)):
        left = float((weight * x * g(x - 1)).sum() / p)
        right = float((weight * (y - x) * g(x)).sum() / (1 - p))
        assert left == pytest.approx(right, rel=1e-9)


def test_noised_is_where_the_schedule_starts(process):
    x = torch.full((10, 3), N)
    law = process.noised(x)
    if process.schedule == SCHEDULES["published"]:
        expected = stats.binom.pmf(np.arange(N + 1), N, math.exp(-15))
        first = law.site_log_prob(torch.zeros_like(x)).exp()
        torch.testing.assert_close(first, torch.full_like(first, expected[0]), rtol=1e-12, atol=0)
    else:
        assert torch.equal(law.sample(), torch.zeros_like(x))
    assert torch.equal(process.source(x).sample(), torch.zeros_like(x))


def test_the_share_of_images_that_are_not_black_at_the_published_start():
    # One in nine CIFAR-10 images: mean 120.7 over 3072 pixels, survival e^-15.
    process = PureDeath(255, LogisticSchedule(15, exact_ends=False))
    x = torch.full((1, 3, 32, 32), 121)
    black = float(process.noised(x).log_prob(torch.zeros_like(x)).exp())
    assert 1 - black == pytest.approx(0.107, abs=0.001)


def test_evidence_is_the_likelihood_of_the_end(process):
    x = torch.tensor([[0, 4], [12, 7]])
    for t in (0.0, 1e-8, 0.3, 0.9, 1.0):
        evidence = process.evidence(x, t)
        assert evidence.shape == (2, 2, N + 1)
        if t == 0 and process.schedule != SCHEDULES["published"]:
            # The source says nothing; only x = 0 can occur there.
            assert bool((evidence[0, 0] == 0).all())
            continue
        likelihood = torch.stack(
            [process.transition(torch.full_like(x, v), 1.0, t).site_log_prob(x) for v in ALL], -1
        )
        possible = torch.isfinite(likelihood)
        assert bool((torch.isneginf(evidence) == ~possible).all()) or t == 1
        posterior = evidence.double().softmax(-1)
        torch.testing.assert_close(posterior, likelihood.softmax(-1), atol=2e-6, rtol=2e-5)
    with pytest.raises(ValueError, match="set `maximum` of the process"):
        PureDeath().evidence(x, 0.5)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_standardised_inputs_have_mean_0_and_variance_1(process, problem):
    process = PureDeath(schedule=process.schedule)
    n = np.arange(TOP + 1)
    mean = problem.pmf @ n
    variance = problem.pmf @ (n - mean) ** 2
    for t in (0.05, 0.5, 0.95):
        p = float(process.schedule.survival(t))
        weight = problem.pmf @ thinning(p)
        x = torch.arange(TOP + 1).unsqueeze(1)
        setting = Setting(process, Noised(), torch.tensor(mean), torch.tensor(variance))
        features = setting.standardise(x, t)
        assert features.shape == (TOP + 1, process.features, 1)
        z = features.double().reshape(-1).numpy()
        assert weight @ z == pytest.approx(0, abs=1e-5)
        assert weight @ z**2 == pytest.approx(1, rel=1e-5)


def test_standardised_inputs_are_finite_everywhere(process):
    t = torch.tensor([0.0, 1e-8, 0.5, 1 - 1e-7, 1.0])
    x = torch.zeros((5, 2), dtype=torch.int64)
    for mean, variance in ((1e-6, 1e-6), (120.0, 6000.0)):
        setting = Setting(process, Noised(), torch.tensor(mean), torch.tensor(variance))
        features = setting.standardise(x, t)
        assert bool(torch.isfinite(features).all())
        assert float(features.abs().max()) < 1e4


def test_check_and_project():
    process = PureDeath(255)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32):
        checked = process.check(torch.tensor([[0, 7, 255]], dtype=torch.uint8).to(dtype))
        assert checked.dtype == torch.int64
        assert checked.tolist() == [[0, 7, 255]]
    assert process.project(torch.tensor([0, 255, 300])).tolist() == [0, 255, 255]
    assert PureDeath().project(torch.tensor([0, 255, 300])).tolist() == [0, 255, 300]
    assert (process.states, PureDeath().states) == (256, None)
    assert PureDeath().check(torch.tensor([10**9])).tolist() == [10**9]
    assert process.check(torch.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1, -2], ValueError, "counts holds -2: counts cannot be negative"),
        ([0, 256], ValueError, "counts holds 256, above the maximum 255 .*: raise `maximum`"),
        ([0.0, 0.5], ValueError, "counts holds 0.5, which is no count"),
        ([0.0, float("nan")], ValueError, "counts holds nan, which is no count"),
        ([0.0, float("inf")], ValueError, "counts holds inf, which is no count"),
        ([True, False], TypeError, "counts must hold integer counts, not torch.bool"),
        ([1j], TypeError, "counts must hold integer counts, not torch.complex64"),
    ],
)
def test_what_is_no_count_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        PureDeath(255).check(torch.tensor(x), "counts")


def test_impossible_bridges_and_times_are_refused():
    process, x = PureDeath(), torch.tensor([[3], [4]])
    with pytest.raises(ValueError, match="x at s exceeds y at u by 2 at some site"):
        process.bridge(x, x - 2, 0.0, 0.5, 1.0)
    for times in ((0.5, 0.4, 1.0), (0.0, 0.9, 0.8)):
        with pytest.raises(ValueError, match="times must be ordered from the source"):
            process.bridge(x, x, *times)
    with pytest.raises(ValueError, match="times must be ordered"):
        process.transition(x, 0.2, 0.6)
    with pytest.raises(ValueError, match=r"one per sample \(2,\), not \(3,\)"):
        process.bridge(x, x, 0.0, torch.rand(3), 1.0)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        process.bridge(x, x, 0.0, 0.5, 1.5)
    with pytest.raises(ValueError, match="maximum must be at least 1 or None, not 0"):
        PureDeath(0)
