"""Linear birth and death: against the exponential of its rate matrix, and as a model."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm

import markovbridge as mb
from markovbridge import exact
from markovbridge.doors.randomness import generator
from markovbridge.laws import lineages
from markovbridge.processes import Setting
from markovbridge.testing import check_process
from problems import assert_follows

BIRTHS, STATES, SEEN = 0.7, 160, 40
S, T, U = 0.25, 0.5, 0.8


def survival(t):
    return np.sin(np.pi * t / 2) ** 2


def rate_matrix(births=BIRTHS):
    """Per unit of the clock -log p; the last state gives no birth."""
    n = np.arange(STATES, dtype=float)
    up, down = births * n[:-1], (1 + births) * n[1:]
    rates = np.diag(up, 1) + np.diag(down, -1)
    return rates - np.diag(rates.sum(1))


def table(u, t):
    """P(x_t | x_u) by the exponential of the rate matrix."""
    return expm(rate_matrix() * np.log(survival(u) / survival(t)))


def rows(values):
    return torch.as_tensor(np.asarray(values)).reshape(-1, 1)


def constant(value):
    return torch.full((SEEN, 1), value)


X = rows(np.arange(SEEN))


@pytest.mark.parametrize(("u", "t"), [(1.0, T), (U, S), (1.0, 0.999), (1.0, 0.02), (T, T)])
def test_transitions_are_those_of_the_rate_matrix(u, t):
    process, known = mb.LinearBirthDeath(BIRTHS), table(u, t)
    for y in (0, 1, 2, 7, 15):
        law = process.transition(constant(y), u, t)
        found = law.site_log_prob(X).exp()[:, 0]
        np.testing.assert_allclose(found, known[y, :SEEN], atol=1e-9)
        mean = y * survival(t) / survival(u)
        assert float(law.mean[0]) == pytest.approx(mean, abs=1e-9)
        variance = known[y] @ np.arange(STATES) ** 2 - mean**2
        assert float(law.variance[0]) == pytest.approx(variance, abs=1e-6)
    law = process.transition(torch.full((8000, 1), 4), u, t)
    assert_follows(law.sample(generator=generator("cpu", 0)), known[4])


def test_all_die_out_at_the_source():
    process = mb.LinearBirthDeath(BIRTHS)
    law = process.transition(constant(5), 1.0, 0.0)
    assert torch.equal(law.site_log_prob(X).exp(), (X == 0).double())
    assert torch.equal(process.noised(X).sample(), torch.zeros_like(X))
    left = mb.LinearBirthDeath(BIRTHS, schedule=mb.LogisticSchedule(3.0, exact_ends=False))
    kept = np.exp(-3.0)
    known = expm(rate_matrix() * 3.0)[5, :SEEN]
    np.testing.assert_allclose(left.noised(constant(5)).site_log_prob(X).exp()[:, 0], known)
    assert float(left.noised(constant(5)).mean[0]) == pytest.approx(5 * kept)


def test_two_pieces_are_one():
    process = mb.LinearBirthDeath(3.0)
    many = torch.arange(120).unsqueeze(1)

    def matrix(u, t):
        law = process.transition(many.repeat_interleave(120, 0), u, t)
        return law.site_log_prob(many.repeat(120, 1)).exp().reshape(120, 120)

    whole = matrix(0.98, 0.9)
    two = matrix(0.98, 0.95) @ matrix(0.95, 0.9)
    torch.testing.assert_close(two[:12, :30], whole[:12, :30], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(("s", "t", "u"), [(S, T, U), (0.0, T, 1.0), (S, S, U), (S, U, U)])
def test_the_bridge_is_bayes(s, t, u):
    process = mb.LinearBirthDeath(BIRTHS)
    after = table(t, s) if s else None
    for start, end in ((0, 0), (0, 6), (9, 2), (5, 5), (3, 12)):
        if s == 0 and start:
            continue
        # From an infinite clock all states die out alike.
        known = table(u, t)[end] * (after[:, start] if s else 1)
        known = known / known.sum()
        law = process.bridge(constant(start), constant(end), s, t, u)
        found = law.site_log_prob(X).exp()[:, 0]
        np.testing.assert_allclose(found, known[:SEEN], atol=1e-9)
        mean = known @ np.arange(STATES)
        assert float(law.mean[0]) == pytest.approx(mean, abs=1e-9)
        variance = known @ np.arange(STATES) ** 2 - mean**2
        assert float(law.variance[0]) == pytest.approx(variance, abs=1e-8)
        ends = torch.full((8000, 1), start), torch.full((8000, 1), end)
        draws = process.bridge(*ends, s, t, u).sample(generator=generator("cpu", start, end))
        assert_follows(draws, known)


def test_from_a_start_that_cannot_be_there_is_the_limit_of_starts_that_can():
    """At an infinite clock nothing is left; a source that is not 0 has bridges all the same."""
    process, ends = mb.LinearBirthDeath(BIRTHS), (constant(3), constant(4))
    found = process.bridge(*ends, 0.0, T, 1.0)
    near = process.bridge(*ends, 1e-5, T, 1.0)
    torch.testing.assert_close(found.site_log_prob(X), near.site_log_prob(X), atol=1e-8, rtol=0)
    torch.testing.assert_close(found.mean, near.mean)
    assert found.site_log_prob(X).exp().sum() == pytest.approx(1, abs=1e-9)


def test_rates_are_those_of_the_chain_conditioned_on_its_end():
    process, rates, t = mb.LinearBirthDeath(BIRTHS), rate_matrix(), 0.6
    speed, known = np.pi / np.tan(np.pi * t / 2), table(1.0, t)
    for y in (1, 4, 9):
        x = np.arange(1, SEEN - 1)
        up = rates[x + 1, x] * known[y, x + 1] / known[y, x] * speed
        down = rates[x - 1, x] * known[y, x - 1] / known[y, x] * speed
        found = process.rates(rows(x), torch.full((len(x), 1), y), t)[:, 0]
        np.testing.assert_allclose(found[:25], np.stack([down, up], -1)[:25], rtol=1e-8)
        start = process.rates(rows([0]), rows([y]), t)[0, 0]
        wanted = [0, rates[1, 0] * known[y, 1] / known[y, 0] * speed]
        np.testing.assert_allclose(start, wanted, rtol=1e-8)


@pytest.mark.parametrize(
    "process", [mb.LinearBirthDeath(0.5), mb.LinearBirthDeath(0.5, maximum=6)]
)
def test_what_it_says_belongs_together(process):
    report = check_process(process, torch.tensor([[0, 2], [4, 1], [6, 3], [2, 2]]))
    bounded = process.states is not None
    assert ("evidence" in report.checked) == ("bounds of rates" in report.checked) == bounded


def test_what_a_state_says_of_the_data():
    """The table over x_1 is that of the transitions, and does not vanish at the source."""
    process, x = mb.LinearBirthDeath(BIRTHS, maximum=9), rows([0, 1, 2, 5])
    known = torch.as_tensor(table(1.0, T)[:10, [0, 1, 2, 5]].T)
    found = process.evidence(x, T)[:, 0].softmax(-1)
    torch.testing.assert_close(found, known / known.sum(1, keepdim=True))
    found, near = process.evidence(x, 0.0), process.evidence(x, 1e-5)
    torch.testing.assert_close(found.softmax(-1), near.softmax(-1), atol=1e-8, rtol=0)


def test_without_births_it_is_pure_death():
    few, death = mb.LinearBirthDeath(1e-13), mb.PureDeath()
    y = constant(SEEN - 1)
    torch.testing.assert_close(
        few.transition(y, U, T).site_log_prob(X), death.transition(y, U, T).site_log_prob(X)
    )
    x = constant(7)
    bridges = [process.bridge(x, y, S, T, U).site_log_prob(X)[7:] for process in (few, death)]
    torch.testing.assert_close(*bridges)
    torch.testing.assert_close(few.rates(x, y, T)[..., 1], death.rates(x, y, T)[..., 0])


def test_windows_over_founders_hold_all_of_them(monkeypatch):
    """Of large counts a window is summed over; it leaves nothing out that can be seen."""
    process = mb.LinearBirthDeath(1.5)
    y, x = rows([30_000, 30_000, 5_000, 30_000]), rows([9_000, 29_000, 12_000, 3])

    def answers():
        law = process.transition(y, 1.0, T)
        bridge = process.bridge(x, y, S, T, 1.0)
        return law.site_log_prob(x), bridge.mean, bridge.variance

    narrow = answers()
    monkeypatch.setattr(lineages, "_reach", lambda mode: 40_000)
    for found, wanted in zip(narrow, answers(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_populations_are_restored():
    """`restore` draws from p(x_1 | x_t), jump by jump and by bridges."""
    process, n, t, seen = mb.LinearBirthDeath(BIRTHS), 1000, 0.5, 3
    counts = np.arange(12)
    pmf = stats.poisson.pmf(counts, 4.0)
    pmf = pmf / pmf.sum()
    law = exact.Empirical(process, rows(counts), torch.tensor(pmf))
    model = mb.Transport(process, law, shape=(1,))
    wanted = pmf * table(1.0, t)[:12, seen]
    for sampler in (mb.Bridge(), mb.Gillespie()):
        start, g = torch.full((n, 1), seen), generator("cpu", "populations")
        found = model.restore(start, t, steps=2, sampler=sampler, generator=g, block=n)
        assert_follows(found, wanted / wanted.sum())


def test_the_likelihood_bound_is_tight():
    """The source tells nothing of the data: at the exact law the bound is the likelihood."""
    process, pmf = mb.LinearBirthDeath(0.6, maximum=3), np.array([0.2, 0.4, 0.1, 0.3])
    points = rows(np.arange(4))
    law = exact.Empirical(process, points, torch.tensor(pmf))
    model = mb.Transport(process, law, shape=(1,))
    assert torch.equal(model.coupling.prior(process, points), torch.zeros(4).double())
    bound = model.log_likelihood(points, draws=2000, generator=generator("cpu", 3), block=2**12)
    off, error = bound.nats.numpy() - np.log(pmf), bound.standard_error.numpy()
    assert (error < 0.1).all() and (np.abs(off) < 5 * error + 1e-6).all()
    by_steps = model.log_likelihood(points, steps=3, draws=64, generator=generator("cpu", 4))
    np.testing.assert_allclose(by_steps.nats, np.log(pmf), atol=0.05)


def test_two_means_make_the_bound_tight():
    """What a perfect `TwoMeansHead` says has the rates of the exact law, and so its path KL."""
    process, points = mb.LinearBirthDeath(0.6, maximum=3), rows(np.arange(4))
    law = exact.Empirical(process, points, torch.tensor([0.2, 0.4, 0.1, 0.3]))
    x = rows([0, 1, 2, 5])
    atoms = law(x, 0.4)
    up, down = process.expected_steps(atoms, x, 0.4)
    means = process.stepped(x, up.log(), down.log())
    torch.testing.assert_close(
        process.expected_rates(means, x, 0.4), process.expected_rates(atoms, x, 0.4)
    )
    torch.testing.assert_close(means.mean, x + up - down)
    assert int(means.sample(generator=generator("cpu", 0))[1:].min()) > 0


def test_a_network_starts_from_what_the_mean_tells():
    process, head = mb.LinearBirthDeath(BIRTHS), mb.TwoMeansHead()
    mean = torch.tensor([6.0])
    y = torch.poisson(torch.full((20_000, 1), 6.0), generator=generator("cpu", 5)).long()
    t = torch.full((len(y),), 0.4)
    x = process.transition(y, 1.0, t).sample(generator=generator("cpu", 6))
    law = head(Setting(process, mb.Noised(), mean, mean), torch.zeros(len(y), 2, 1), x, t)
    up, down = process.steps(x, y, t)
    assert float(law.log_up.exp().mean()) == pytest.approx(float(up.mean()), rel=0.02)
    assert float(law.log_down.exp().mean()) == pytest.approx(float(down.mean()), rel=0.03)


def test_refuses():
    for births in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="births must be"):
            mb.LinearBirthDeath(births)
    with pytest.raises(ValueError, match="maximum must be at least 1 or None, not 0"):
        mb.LinearBirthDeath(1.0, maximum=0)
    with pytest.raises(ValueError, match="nothing is born to no units: y at u is 0 and x at s is"):
        mb.LinearBirthDeath(1.0).bridge(rows([2]), rows([0]), 0.1, 0.5, 1.0)
    with pytest.raises(ValueError, match="have no bound while the data have none"):
        mb.LinearBirthDeath(1.0).bounds(1.0, 0.5).of(rows([1]))
