"""A mixture of negative binomials against enumeration, Bayes' rule on tables, and its samples."""

import copy
import functools
import gc
import math
import weakref

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import (
    BirthDeath,
    Bridge,
    Gillespie,
    LinearSchedule,
    PureDeath,
    TauLeaping,
    Transport,
    Trapezoidal,
)
from markovbridge.doors.randomness import generator
from markovbridge.exact import CountMixture, Empirical
from markovbridge.samplers.known_sites import Observed

TOP = 160  # of a table of two features
PROCESS = PureDeath(schedule=LinearSchedule())  # p = t


def mixture(key, *, profiles=3, depths=4, features=2, mean=3.0, process=PROCESS):
    rng = generator("cpu", "mixture", key)

    def uniform(*shape, low, high):
        return low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=rng)

    return CountMixture.of(
        process,
        uniform(depths, profiles, low=-1, high=1),
        torch.linspace(-0.6, 0.6, depths, dtype=torch.float64).exp(),
        uniform(profiles, features, low=0.1, high=1) * mean,
        uniform(features, low=0.3, high=4),
    )


def components(model):
    """Weights, means (Q·K, d) and sizes, as NumPy."""
    weights = model.log_weights.exp().flatten().numpy()
    means = model.depths[:, None, None] * model.profiles
    return weights, means.flatten(0, 1).numpy(), model.sizes.numpy()


def pmf(x, mean, r):
    return stats.nbinom.pmf(x, r, r / (r + mean))


def table(model):
    """P(x) of two features, (TOP, TOP)."""
    weights, means, r = components(model)
    n = np.arange(TOP)
    each = (np.outer(pmf(n, a, r[0]), pmf(n, b, r[1])) for a, b in means)
    return sum(w * one for w, one in zip(weights, each, strict=True))


def weights_of(model, x, p):
    """Of components given x_t = x, by their formula: (n, Q·K)."""
    weights, means, r = components(model)
    log = stats.nbinom.logpmf(x[:, None], r, r / (r + p * means)).sum(-1) + np.log(weights)
    log -= log.max(1, keepdims=True)
    return np.exp(log) / np.exp(log).sum(1, keepdims=True)


def excess(model, x, p):
    """E[x_1 - x_t | x_t = x] as the sum over components of their means, (n, d)."""
    _, means, r = components(model)
    each = means / (r + p * means)
    return (1 - p) * (r + x) * (weights_of(model, x, p) @ each)


def test_it_is_a_law():
    model, n = mixture(0), torch.arange(TOP)
    x = torch.cartesian_prod(n, n)
    np.testing.assert_allclose(model.log_prob(x).exp(), table(model).ravel(), atol=1e-13)
    assert float(model.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("p", [1e-6, 1e-3, 0.2, 0.7, 1 - 1e-6])
def test_means_are_those_of_enumeration(p):
    """The formula for all p, and Bayes' rule on a table where that holds all mass."""
    for key in range(3):
        model = mixture(key, profiles=1 + 2 * key, depths=(4, 1, 7)[key])
        x = torch.tensor([[0, 0], [1, 0], [2, 5], [9, 1]])
        law = model(x, p)
        expected = excess(model, x.numpy(), p)
        np.testing.assert_allclose(law.excess(x), expected, rtol=1e-10)
        np.testing.assert_allclose(law.log_excess(x), np.log(expected), atol=1e-10)
        np.testing.assert_allclose(law.mean, x.numpy() + expected, rtol=1e-10)
        if p < 0.1:
            continue
        data, n = table(model), np.arange(TOP)
        for i, (a, b) in enumerate(x.tolist()):
            joint = data * np.outer(stats.binom.pmf(a, n, p), stats.binom.pmf(b, n, p))
            joint /= joint.sum()
            means = [(joint.sum(1 - j) * n).sum() for j in range(2)]
            second = [(joint.sum(1 - j) * n**2).sum() for j in range(2)]
            np.testing.assert_allclose(law.mean[i], means, rtol=1e-10)
            variance = np.array(second) - np.array(means) ** 2
            np.testing.assert_allclose(law.variance[i], variance, rtol=1e-7, atol=1e-12)
            some = torch.cartesian_prod(torch.arange(12), torch.arange(12))
            found = model(x[i].expand(len(some), 2), p).log_prob(some).exp()
            np.testing.assert_allclose(found, joint[:12, :12].ravel(), rtol=1e-9, atol=1e-14)


def test_the_ends_and_the_marginal():
    model, n = mixture(3), torch.arange(TOP)
    x = torch.cartesian_prod(n, n)
    some = x[(x < 12).all(1)]
    black = torch.zeros_like(some)
    np.testing.assert_allclose(model(black, 0.0).log_prob(some), model.log_prob(some), rtol=1e-10)
    last = model(some, 1.0)
    assert float(last.excess(some).abs().max()) == 0
    assert torch.equal(last.sample(generator=generator("cpu", 0)), some)
    np.testing.assert_allclose(last.log_prob(some), 0, atol=1e-10)
    assert float(model.marginal(black, 0.0).log_prob(black).abs().max()) < 1e-20
    thin = np.stack([stats.binom.pmf(np.arange(12), k, 0.3) for k in range(TOP)])
    expected = thin.T @ table(model) @ thin
    law = model.marginal(black, 0.3)
    np.testing.assert_allclose(law.log_prob(some).exp(), expected.ravel(), atol=1e-13)
    weights, means, r = components(model)
    np.testing.assert_allclose(law.mean[0], 0.3 * weights @ means, rtol=1e-12)
    second = weights @ (0.3 * means + (0.3 * means) ** 2 * (1 + 1 / r))
    np.testing.assert_allclose(law.variance[0], second - (0.3 * weights @ means) ** 2, rtol=1e-10)


def test_known_sites_enter_by_their_ends():
    """Means of the others given x_t there and x_1 here, by Bayes' rule on a table."""
    model, n, p = mixture(4), np.arange(TOP), 0.3
    data = table(model)
    x = torch.tensor([[1, 2], [0, 0], [3, 1]])
    ends = torch.tensor([[4, 99], [0, 99], [15, 99]])  # of the unknown nothing is read
    known = torch.tensor([[True, False]] * 3)
    law = model.given_known(x, p, Observed(ends, known))
    for i in range(3):
        joint = data[ends[i, 0]] * stats.binom.pmf(int(x[i, 1]), n, p)
        joint /= joint.sum()
        assert float(law.mean[i, 1]) == pytest.approx((joint * n).sum(), rel=1e-10)
        assert float(law.mean[i, 0]) == float(ends[i, 0])
        end = torch.tensor([[int(ends[i, 0]), y] for y in range(10)])
        one = model.given_known(
            x[i].expand(10, 2), p, Observed(ends[i].expand(10, 2), known[0].expand(10, 2))
        )
        np.testing.assert_allclose(one.log_prob(end).exp(), joint[:10], rtol=1e-9)
        assert bool((one.log_prob(end + torch.tensor([1, 0])) == -math.inf).all())
    assert torch.equal(law.sample(generator=generator("cpu", 1))[:, 0], ends[:, 0])
    assert float(law.variance[:, 0].abs().max()) == 0
    assert float(law.log_excess(x)[0, 0]) == pytest.approx(math.log(3))
    other = Empirical(PROCESS, torch.tensor([[1, 2], [4, 3]]))
    told = other.given_known(x[:1], p, Observed(ends[:1], known[:1]))
    assert torch.equal(told.mean, other(x[:1], p).mean)


def test_in_place_of_a_network_it_is_told_known_sites():
    """One step to an end that is drawn jointly is the conditional law, whatever is replaced."""
    model, n, shown = mixture(4), 20_000, 9
    transport = Transport(PROCESS, model, shape=(2,))
    assert transport.conditions_itself
    x, known = torch.tensor([[shown, 0]]).expand(n, 2), torch.tensor([True, False])
    drawn = transport.impute(
        x, known, steps=1, sampler=Bridge(), generator=generator("cpu", "known"), block=n
    )
    right = table(model)[shown] / table(model)[shown].sum()
    found = np.bincount(drawn[:, 1].numpy(), minlength=TOP) / n
    free = table(model).sum(0)
    assert np.abs(found - right).sum() / 2 < 0.02 < np.abs(free - right).sum() / 4


def test_residuals_are_those_of_pearson():
    """Of one profile (x - pm)/sd exactly, of ends that are known (y - m)/sd; several: a mean m."""
    one, n = mixture(7, profiles=1, depths=1), torch.tensor([[0, 2], [5, 1], [3, 40]])
    mask = torch.tensor([[False, True], [False, False], [True, False]])
    _, means, r = components(one)
    for p in (0.0, 0.3, 1.0):
        law = one.given_known(n, p, Observed(n + 4, mask))
        mean = np.where(mask, means, p * means).clip(1e-6)
        expected = (np.where(mask, n + 4, n) - mean) / np.sqrt(mean + mean**2 / r)
        np.testing.assert_allclose(law.residual, expected, rtol=1e-7)
    many, p = mixture(8), 0.4
    weights, means, r = components(many)
    share = weights_of(many, n.numpy(), p) @ (means / (r + p * means))
    mean = p * r * share / (1 - p * share)
    expected = (n.numpy() - mean) / np.sqrt(mean + mean**2 / r)
    np.testing.assert_allclose(many(n, p).residual, expected, rtol=1e-9)
    told = CountMixture(PROCESS, components=1, depths=1, features=2, residuals=True)
    assert told.more_features == 1 and many.more_features == 0
    torch.testing.assert_close(told.more(law)[:, 0], law.residual.float())
    with pytest.raises(TypeError, match="Empirical has nothing to tell"):
        Empirical(PROCESS, n).more(law)


def test_times_of_their_own_say_what_one_time_says():
    """Tables for all p against tables at each: float32 and float64, masks, counts to 10^6."""
    model = mixture(5, profiles=5, depths=9, features=60, mean=40.0)
    model.profiles[:, :3] *= 2e4
    rng = generator("cpu", "times")
    ends = model.marginal(torch.zeros(40, 60, dtype=torch.int64), 1.0).sample(generator=rng)
    t = torch.rand(40, generator=rng, dtype=torch.float64) ** 2
    t[:4] = torch.tensor([0.0, 1.0, 1e-7, 1 - 1e-7])
    t[4:10] = torch.logspace(-9, -1, 6)
    x = PROCESS.bridge(torch.zeros_like(ends), ends, 0.0, t, 1.0).sample(generator=rng)
    mask = torch.rand(ends.shape, generator=rng) < 0.3
    mask[1::5], mask[t < 2e-3] = False, False  # some rows, and all of the last panel
    observed = Observed(ends, mask)
    for dtype in (torch.float32, torch.float64):
        together, given = model(x, t.to(dtype)), model.given_known(x, t.to(dtype), observed)
        assert together.log_excess(x).dtype == together.variance.dtype == dtype
        for i in range(40 if dtype is torch.float32 else 10):
            row, time = slice(i, i + 1), t[i : i + 1].to(dtype)
            alone, told = model(x[row], time), Observed(ends[row], observed.mask[row])
            for one, law in (
                (alone, together),
                (model.given_known(x[row], time, told), given),
            ):
                found, known = law.log_excess(x)[i], one.log_excess(x[row])[0]
                torch.testing.assert_close(found, known, atol=1e-5, rtol=1e-5)
            if i % 4 == 0:
                close = {"atol": 1e-3, "rtol": 1e-6}
                found, known = together.log_prob(ends)[i], alone.log_prob(ends[row])[0]
                torch.testing.assert_close(found, known, **close)
                torch.testing.assert_close(
                    variance(together)[i], variance(alone)[0], rtol=1e-4, atol=1e-7
                )
    # Few counts take another way to the same scores.
    few = torch.where(torch.rand(x.shape, generator=rng) < 0.1, x, 0)
    alone = torch.cat(
        [model(few[i : i + 1], t[i : i + 1]).excess(few[i : i + 1]) for i in range(40)]
    )
    torch.testing.assert_close(model(few, t).excess(few), alone, rtol=1e-5, atol=0)


@functools.cache
def variance(law):
    return law.variance


@pytest.mark.parametrize("many", [False, True], ids=["one time each", "all times at once"])
def test_the_bound_is_tight(many):
    """Its divergence from paths to a data point, in full over states and times, is -log p."""
    model = mixture(6)
    nodes, widths = np.polynomial.legendre.leggauss(24)
    left = ((nodes + 1) / 2) ** 4  # 1 - p: closer together at the data, where it is like log q
    times, widths = 1 - left, 2 * left**0.75 * widths
    for end in ([0, 0], [0, 3], [4, 2]):
        end = torch.tensor([end])
        states = torch.cartesian_prod(*[torch.arange(int(n) + 1) for n in end[0]])
        chance = [stats.binom.pmf(states.numpy(), end.numpy(), t).prod(1) for t in times]
        if many:
            x, t = states.repeat(24, 1), torch.tensor(times).repeat_interleave(len(states))
            each = PROCESS.divergence(model(x, t), x, end.expand_as(x), t).reshape(24, -1)
        else:
            ends = end.expand_as(states)
            each = [PROCESS.divergence(model(states, t), states, ends, t) for t in times.tolist()]
            each = torch.stack(each)
        total = float((each.numpy() * chance * widths[:, None]).sum())
        assert total == pytest.approx(-float(model.log_prob(end)), abs=1e-6)


def test_the_bound_of_a_transport_is_tight():
    model = mixture(6, process=PureDeath())
    transport = Transport(PureDeath(), model, shape=(2,))
    x = torch.tensor([[0, 0], [0, 3], [2, 1], [6, 0], [4, 9]])
    bound = transport.log_likelihood(x, draws=1024, generator=generator("cpu", 2), block=1024)
    off = (bound.nats - model.log_prob(x)).abs()
    assert bool((off < 1e-3 + 4.5 * bound.standard_error).all())
    assert float(bound.standard_error.max()) < 0.08


@pytest.mark.parametrize("name", ["gillespie", "bridge", "trapezoidal", "leaping"])
def test_samples_follow_it(name):
    """Chi-square against the table of the law; leaps are judged by their means alone."""
    samplers = {"gillespie": Gillespie(), "trapezoidal": Trapezoidal(), "leaping": TauLeaping()}
    model = mixture(7, mean=1.5, process=PureDeath())
    transport, count = Transport(PureDeath(), model, shape=(2,)), 4000
    made = transport.sample(
        count,
        steps=1 if name == "gillespie" else 16,
        sampler=samplers.get(name, Bridge()),
        generator=generator("cpu", 3),
        block=count,
    )
    weights, means, _ = components(model)
    error = made.double().std(0) / count**0.5
    assert bool(((made.double().mean(0) - torch.tensor(weights @ means)).abs() < 5 * error).all())
    if name in ("gillespie", "bridge"):
        expected = table(model)[:4, :4]
        inside = (made < 4).all(1)
        cells = torch.bincount(made[inside] @ torch.tensor([4, 1]), minlength=16).numpy()
        seen = np.append(cells, count - cells.sum())
        wanted = count * np.append(expected.ravel(), 1 - expected.sum())
        assert stats.chisquare(seen, wanted).pvalue > 1e-5


def test_draws_of_its_laws_follow_them():
    model = mixture(8)
    x = torch.tensor([[1, 0]]).expand(20000, 2)
    law = model(x, 0.4)
    drawn = law.sample(generator=generator("cpu", 4)).double()
    error = drawn.std(0) / 20000**0.5
    assert bool(((drawn.mean(0) - law.mean[0]).abs() < 5 * error).all())
    both = ((drawn[:, 0] - law.mean[0, 0]) * (drawn[:, 1] - law.mean[0, 1])).mean()
    weights, (_, means, r) = weights_of(model, np.array([[1, 0]]), 0.4)[0], components(model)
    each = 0.6 * (r + np.array([1, 0])) * means / (r + 0.4 * means)
    centred = each - weights @ each
    expected = (weights * centred[:, 0] * centred[:, 1]).sum()
    assert float(both) == pytest.approx(expected, abs=0.1 * expected + 0.02)


def test_a_wide_range_stays_finite():
    """Means from 10 to 10^6 in one table, at all times, in float32."""
    means = torch.logspace(1, 6, 24, dtype=torch.float64)
    rng = generator("cpu", "wide")
    profiles = means * (0.5 * torch.randn(6, 24, generator=rng, dtype=torch.float64)).exp()
    depths = torch.linspace(-1, 1, 9, dtype=torch.float64).exp()
    sizes = torch.logspace(-2, 4, 24, dtype=torch.float64)[torch.randperm(24, generator=rng)]
    model = CountMixture.of(PROCESS, torch.zeros(9, 6), depths, profiles, sizes)
    ends = model.marginal(torch.zeros(64, 24, dtype=torch.int64), 1.0).sample(generator=rng)
    t = torch.cat([torch.zeros(1), torch.logspace(-12, -1e-6, 62), torch.ones(1)])
    x = PROCESS.bridge(torch.zeros_like(ends), ends, 0.0, t, 1.0).sample(generator=rng)
    law = model(x, t)
    for values in (law.log_excess(x), law.mean, law.variance, law.log_prob(ends).clamp_max(0)):
        assert bool(torch.isfinite(values).all())
    alone = torch.cat(
        [model(x[i : i + 1], t[i : i + 1]).log_excess(x[i : i + 1]) for i in range(64)]
    )
    assert float((law.log_excess(x) - alone).abs().max()) < 1e-3
    torch.testing.assert_close(
        law.excess(x).double().sum(), alone.double().exp().sum(), rtol=1e-4, atol=0
    )


def test_it_is_saved_with_a_model_and_copied(tmp_path):
    model = mixture(9, process=PureDeath())
    transport = Transport(PureDeath(), model, shape=(2, 1))
    transport.save_pretrained(tmp_path / "model")
    found = Transport.from_pretrained(tmp_path / "model")
    x = torch.tensor([[[0], [2]], [[1], [0]]])
    for name, value in model.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value)
    before = found.network(x, 0.5).log_excess(x)
    assert torch.equal(before, model(x, 0.5).log_excess(x))
    twin = copy.deepcopy(model)
    twin.profiles.mul_(2)  # tables follow the numbers
    assert float((twin(x, 0.5).log_excess(x) - before).abs().min()) > 0.01
    assert torch.equal(model(x, 0.5).log_excess(x), before)
    fresh = CountMixture(PureDeath(), components=3, depths=4, features=2)
    assert bool(torch.isfinite(fresh.log_prob(x)).all())
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x, 0.5).log_excess(x), before)


def test_what_it_is_not_for():
    with pytest.raises(TypeError, match="under PureDeath, not under BirthDeath"):
        CountMixture(BirthDeath(2.0), components=1, depths=1, features=2)
    model = mixture(10, process=PureDeath(maximum=20))
    with pytest.raises(ValueError, match="lies above the maximum 20 of the process"):
        model(torch.zeros(1, 2, dtype=torch.int64), 0.5)
    wide = mixture(10, process=PureDeath(maximum=400))
    same = mixture(10, process=PureDeath())
    x = torch.tensor([[1, 0]])
    assert torch.equal(wide(x, 0.5).excess(x), same(x, 0.5).excess(x))
    with pytest.raises(ValueError, match="of 2 features, x has 3"):
        same(torch.zeros(1, 3, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match="numbers are"):
        CountMixture.of(PROCESS, torch.zeros(2, 3), torch.ones(2), torch.ones(2, 5), torch.ones(5))
    with pytest.raises(ValueError, match="must be bool"):
        same.impute(x, x)
    with pytest.raises(ValueError, match="not 1"):
        same.lost(x, 1.0)


def test_copies_of_a_law_share_what_is_made_of_its_numbers():
    law, x = mixture("shared", features=3), torch.tensor([[1, 0, 2], [3, 1, 0]])
    t = torch.tensor([0.3, 0.6])
    copied = copy.deepcopy(law)
    before = law(x, t).mean
    assert torch.equal(copied(x, t).mean, before)
    copied.load_state_dict(law.state_dict())  # as averages and checkpoints do, no number new
    assert torch.equal(copied(x, t).mean, before)
    assert copied._tables() is law._tables()
    assert copied._panels(torch.float32) is law._panels(torch.float32)
    with torch.no_grad():
        copied.depths.mul_(2)
    other = CountMixture.of(law.process, law.log_weights, law.depths * 2, law.profiles, law.sizes)
    assert torch.equal(copied(x, t).mean, other(x, t).mean)
    assert torch.equal(law(x, t).mean, before)
    tables = weakref.ref(law._tables())
    del law
    gc.collect()
    assert tables() is None  # nothing else holds them
