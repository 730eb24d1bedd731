"""Objectives for counts: the likelihood bound against entropies, the published losses by hand."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import (
    EndNLL,
    FiniteTime,
    Instantaneous,
    LinearSchedule,
    LogisticSchedule,
    PathKL,
    PureDeath,
    Transport,
    exact,
    laws,
)
from markovbridge.doors.randomness import generator
from markovbridge.transport.objectives import Sum
from problems import PROBLEMS, SCHEDULES, assert_follows, assert_uniform, entropy, thinning

BY_NAME = {problem.name: problem for problem in PROBLEMS}
HIGHEST = 45


def quadrature(nodes=120):
    """Times and weights for integrals over [0, 1], steep powers and logarithms at both ends."""
    v, w = np.polynomial.legendre.leggauss(nodes)
    v, w = (v + 1) / 2, w / 2
    return v**3 * (10 - 15 * v + 6 * v**2), 30 * (v * (1 - v)) ** 2 * w


def bounds(process, law, top, objective=PathKL()):  # noqa: B008 (a frozen dataclass)
    """The bound on -log p(x_1) for x_1 = 0 .. top: ∫ E[PathKL] dt, x_t enumerated."""
    pairs = [(y, x) for y in range(top + 1) for x in range(y + 1)]
    y, x = torch.tensor(pairs).T.unsqueeze(-1)
    total = np.zeros(top + 1)
    for t, w in zip(*quadrature(), strict=True):
        times = torch.full((len(x),), t, dtype=torch.float64)
        loss = objective(process, law(x, t), x, y, times).numpy()
        p = thinning(float(process.schedule.survival(t)), top)
        weight = np.array([p[pair] for pair in pairs])
        np.add.at(total, y.squeeze(1).numpy(), w * weight * loss)
    return total


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_bound_is_tight_at_the_true_mean(problem):
    """For each count it is -log p(x_1), so its average is the entropy."""
    process = PureDeath(problem.maximum)
    top = HIGHEST if problem.maximum is None else problem.maximum
    found = bounds(process, problem.law(process), top)
    pmf = problem.pmf[: top + 1]
    np.testing.assert_allclose(found, -np.log(pmf), rtol=1e-6)
    assert pmf @ found == pytest.approx(problem.entropy, abs=2e-6)
    assert entropy(pmf) == pytest.approx(problem.entropy, abs=1e-6)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_bound_does_not_depend_on_the_schedule(schedule):
    problem = BY_NAME["negative-binomial"]
    process = PureDeath(schedule=SCHEDULES[schedule])
    found = bounds(process, problem.law(process), 8)
    # Less than e^-15 of the time is beyond the ends of the logistic.
    np.testing.assert_allclose(found, -np.log(problem.pmf[:9]), atol=1e-4)
    assert found[4] == pytest.approx(2.266446, abs=2e-5)


def test_the_bound_of_another_model_is_its_own_likelihood():
    """The exact mean of Poisson data bounds the likelihood under the Poisson law."""
    process = PureDeath()
    found = bounds(process, exact.Poisson(process, 3.0), 20)
    np.testing.assert_allclose(found, -stats.poisson.logpmf(np.arange(21), 3), rtol=1e-6)


def test_a_wrong_mean_costs_likelihood():
    """A mean that no law has: the bound is then above -log of any normalised law's average."""
    problem, process = BY_NAME["poisson"], PureDeath()

    def wrong(x, t):
        right = exact.Poisson(process, 3.0)(x, t)
        return laws.Shifted(x, laws.Poisson(right.base.log_rate + 0.2))

    found = problem.pmf[: HIGHEST + 1] @ bounds(process, wrong, HIGHEST)
    # ŷ = e^0.2 y: the extra is ∫ dp/q E[ŷ - y + m log(y/ŷ)] = 3 (e^0.2 - 1 - 0.2).
    assert found == pytest.approx(problem.entropy + 3 * (math.exp(0.2) - 1.2), abs=1e-6)


@pytest.mark.parametrize("damping", [0.5, 1.0])
def test_the_loss_of_a_transport_has_this_mean(damping):
    """Times, bridge and law as in training, against the quadrature; damped, for the variance."""
    problem, n, process = BY_NAME["negative-binomial"], 40_000, PureDeath()
    objective = PathKL(damping)
    transport = Transport(process, problem.law(process), shape=(1,), objective=objective)
    g = generator("cpu", "bound")
    x1 = torch.multinomial(torch.tensor(problem.pmf), n, replacement=True, generator=g)
    loss = transport.loss(x1.unsqueeze(1), generator=g)
    expected = problem.pmf[: HIGHEST + 1] @ bounds(process, transport.law, HIGHEST, objective)
    error = float(loss.std()) / math.sqrt(n)
    assert error < 0.02 * expected
    assert abs(float(loss.mean()) - expected) < 4.5 * error


def test_damping_weighs_with_the_mortality():
    process, x, y = PureDeath(), torch.tensor([[1], [0]]), torch.tensor([[4], [2]])
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    law = exact.Poisson(process, 3.0)(x, t)
    plain = PathKL()(process, law, x, y, t)
    torch.testing.assert_close(plain, process.divergence(law, x, y, t))
    for damping in (0.5, 1.0, 2.0):
        weighted = PathKL(damping)(process, law, x, y, t)
        torch.testing.assert_close(weighted, plain * process.schedule.mortality(t) ** damping)


# The published losses ---------------------------------------------------------------------


def expecting(y, x):
    """A law that expects y more."""
    return laws.Shifted(x, laws.Poisson(torch.full(x.shape, math.log(y), dtype=torch.float64)))


def test_published_losses_by_hand():
    """On four steps of p(t) = t: at t = 1/4 the next survival is 1/2."""
    process = PureDeath(schedule=LinearSchedule())
    x, x1 = torch.tensor([[1, 0]]), torch.tensor([[4, 2]])
    law, y = expecting(1.5, x), 1.5
    each = 2 * y - (3 + 2) * math.log(y)
    cases = {0.0: (0.0, 0.25), 0.25: (math.log(2), 0.25), 0.75: (3 * math.log(4 / 3), 0.25)}
    for t, (instantaneous, finite) in cases.items():
        time = torch.tensor([t])
        found = Instantaneous(4)(process, law, x, x1, time)
        assert float(found) == pytest.approx(instantaneous * each, rel=1e-12)
        found = FiniteTime(4)(process, law, x, x1, time)
        assert float(found) == pytest.approx(finite * each, rel=1e-12)


def weights(objective, schedule, steps):
    """The weight of each time of the grid: the loss of a law that expects 1 of 0."""
    x = torch.zeros((steps, 1), dtype=torch.int64)
    t = (torch.arange(steps) / steps).float()
    process = PureDeath(schedule=schedule)
    return objective(process, expecting(1.0, x), x, x, t).double().numpy()


def test_the_two_published_losses_agree_up_to_the_number_of_steps():
    schedule = LogisticSchedule(15, exact_ends=False)
    instantaneous = weights(Instantaneous(1000), schedule, 1000) / 1000
    finite = weights(FiniteTime(1000), schedule, 1000)
    ratio = instantaneous / finite
    assert ratio.min() == pytest.approx(0.985, abs=5e-4)
    assert ratio.max() <= 1 + 1e-6
    # Both approximate the integral over survival.
    assert finite.sum() == pytest.approx(1 - math.exp(-15), rel=1e-6)
    assert instantaneous.sum() == pytest.approx(1, rel=0.01)


STEPS = 3
MEANS = [0.7, 2.2]  # of two models: y(x, t) = mean (1 - t) + x / 5


def two_laws(x, t):
    """The laws of two models, which know nothing but some mean."""
    late = (1 - torch.as_tensor(t, dtype=torch.float64)).reshape(-1, 1)
    for mean in MEANS:
        yield laws.Shifted(x, laws.Poisson((mean * late + x / 5 + 0.1).log()))


def test_the_exact_weight_gives_the_path_kl_of_the_steps():
    """By enumeration of the states of every step, for one count of 4."""
    process, count = PureDeath(), 4
    objective = FiniteTime(STEPS, weight="exact")
    x = torch.arange(count + 1).unsqueeze(1)
    losses, nats = [0.0, 0.0], [0.0, 0.0]
    for k in range(STEPS):
        t, s = k / STEPS, (k + 1) / STEPS
        p, p_s = (float(process.schedule.survival(time)) for time in (t, s))
        here = stats.binom.pmf(range(count + 1), count, p)
        time = torch.full((count + 1,), t, dtype=torch.float64)
        for model, law in enumerate(two_laws(x, time)):
            loss = objective(process, law, x, torch.full_like(x, count), time)
            losses[model] += float(loss @ torch.tensor(here)) / STEPS
            share, y = (p_s - p) / (1 - p), law.excess(x).flatten().numpy()
            for state in range(count + 1):
                born = np.arange(count - state + 1)
                pinned = stats.binom.pmf(born, count - state, share)
                ratio = stats.binom.logpmf(born, count - state, share)
                ratio = ratio - stats.poisson.logpmf(born, y[state] * share)
                nats[model] += here[state] * float(pinned[pinned > 0] @ ratio[pinned > 0])
    assert losses[0] - losses[1] == pytest.approx(nats[0] - nats[1], rel=1e-9)
    for model in (0, 1):
        network = functools.partial(_law_of, model)
        transport = Transport(process, network, shape=(1,))
        bound = transport.log_likelihood(
            torch.tensor([[count]]), draws=4000, steps=STEPS, generator=generator("cpu", model)
        )
        assert abs(float(bound.nats) + nats[model]) < 4.5 * float(bound.standard_error)
        assert float(bound.standard_error) < 0.1


def _law_of(model, x, t, condition=None):
    return list(two_laws(x, t))[model]


def test_the_exact_weight_is_the_share_of_what_is_left_that_is_born():
    found = weights(FiniteTime(4, weight="exact"), LinearSchedule(), 4)
    np.testing.assert_allclose(found / 4, [1 / 4, 1 / 3, 1 / 2, 1], rtol=1e-6)


def test_the_published_loss_of_an_untrained_network():
    """A zero output is y = log 2 everywhere: log 2 - log(log 2) mean(x_1)/2 per pixel."""
    process = PureDeath(schedule=LogisticSchedule(15, exact_ends=False))
    y, steps, count = math.log(2), 1000, 6
    total = 0.0
    for k in range(0, steps):
        t = torch.full((count + 1,), k / steps)
        x = torch.arange(count + 1).unsqueeze(1)
        loss = Instantaneous(steps)(process, expecting(y, x), x, torch.full_like(x, count), t)
        p = float(process.schedule.survival(k / steps))
        total += float(loss @ torch.tensor(stats.binom.pmf(range(count + 1), count, p))) / steps
    assert -math.log(y) == pytest.approx(0.36651, abs=1e-5)
    assert total == pytest.approx(y - math.log(y) * count / 2, rel=0.01)


@pytest.mark.parametrize("objective", [Instantaneous(10), FiniteTime(10), PathKL(), PathKL(1.0)])
def test_losses_are_least_at_the_posterior_mean(objective):
    problem, process = BY_NAME["zero-inflated"], PureDeath()
    t = 0.3
    p = float(process.schedule.survival(t))
    x1 = torch.arange(40).unsqueeze(1)
    for x in (0, 2):
        state = torch.full_like(x1, x)
        weight = problem.pmf[:40] * stats.binom.pmf(x, np.arange(40), p)
        best = float(problem.remaining(np.array(x), p))
        log_y = torch.tensor(math.log(best), dtype=torch.float64, requires_grad=True)
        keep = x1.squeeze(1) >= x
        law = laws.Shifted(state[keep], laws.Poisson(log_y.expand(int(keep.sum()), 1)))
        times = torch.full((int(keep.sum()),), t, dtype=torch.float64)
        loss = objective(process, law, state[keep], x1[keep], times)
        weight = torch.tensor(weight)[keep]
        (slope,) = torch.autograd.grad((weight * loss).sum() / weight.sum(), log_y)
        assert float(slope) == pytest.approx(0, abs=1e-7)


# Times, sums -------------------------------------------------------------------------------


def test_times_are_one_in_each_stratum():
    for n in (1, 2, 64):
        t = PathKL().times(n, generator=generator("cpu", n), device="cpu")
        assert t.shape == (n,)
        assert t.dtype == torch.float32
        assert (t.double() * n).floor().sort().values.tolist() == list(range(n))


def test_the_time_of_each_sample_is_uniform():
    """Of every sample on its own, not of the batch only: its loss has the right mean."""
    g = generator("cpu", "times")
    t = torch.stack([PathKL().times(8, generator=g, device="cpu") for _ in range(2000)])
    for place in (0, 3, 7):
        assert_uniform(t[:, place])


def test_times_never_reach_the_data():
    g = generator("cpu", "last")
    t = torch.cat([PathKL().times(2**16, generator=g, device="cpu") for _ in range(64)])
    assert float(t.max()) < 1
    assert float(t.min()) >= 0


def test_times_of_the_published_losses_are_those_of_the_grid():
    for objective in (Instantaneous(20), FiniteTime(20)):
        t = objective.times(20_000, generator=generator("cpu", "grid"), device="cpu")
        k = (t.double() * 20).round().long()
        torch.testing.assert_close(t, (k.double() / 20).float())
        assert_follows(k, np.full(20, 0.05))


def test_end_nll_is_the_log_probability():
    process = PureDeath()
    x, x1 = torch.tensor([[0, 1], [2, 0]]), torch.tensor([[1, 1], [4, 3]])
    law = exact.Poisson(process, 3.0)(x, 0.4)
    found = EndNLL()(process, law, x, x1, torch.tensor([0.4, 0.4]))
    q = float(process.schedule.mortality(0.4))
    expected = -stats.poisson.logpmf((x1 - x).numpy(), 3 * q).sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_sums_are_weighted_sums():
    a, b, c = PathKL(1.0), EndNLL(), FiniteTime(10)
    both = a + 0.1 * b
    assert both == Sum((a, b), (1.0, 0.1))
    assert 2 * (both + c) == Sum((a, b, c), (2.0, 0.2, 2.0))
    process, x, x1 = PureDeath(), torch.tensor([[0], [1]]), torch.tensor([[2], [1]])
    t = torch.tensor([0.2, 0.6], dtype=torch.float64)
    law = exact.Poisson(process, 3.0)(x, t)
    parts = [objective(process, law, x, x1, t) for objective in (a, b)]
    torch.testing.assert_close(both(process, law, x, x1, t), parts[0] + 0.1 * parts[1])
    for objective, leader in ((c + a, c), (a + c, a)):
        found, expected = (
            o.times(9, generator=generator("cpu", 1), device="cpu") for o in (objective, leader)
        )
        assert torch.equal(found, expected)


def test_impossible_objectives_are_refused():
    for objective in (Instantaneous, FiniteTime):
        with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
            objective(0)
    with pytest.raises(ValueError, match="one weight per term, not 1 for 2"):
        Sum((PathKL(), EndNLL()), (1.0,))
    with pytest.raises(ValueError, match="one weight per term"):
        Sum((), ())
