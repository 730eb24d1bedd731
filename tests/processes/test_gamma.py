"""The gamma process: beta bridges against quadrature and SciPy, and as a model of amounts."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import markovbridge as mb
from markovbridge import exact, laws
from markovbridge.doors.randomness import generator
from markovbridge.processes import Setting
from markovbridge.testing import check_process
from problems import LEVEL, assert_follows

SHAPE = 6.0
S, T, U = 0.25, 0.5, 0.8
POINTS = torch.tensor([[0.3, 2.0], [1.0, 1.0], [0.2, 0.4], [2.5, 2.2]])
WEIGHTS = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def survival(t):
    return np.sin(np.pi * t / 2) ** 2


def column(values):
    return torch.as_tensor(np.atleast_1d(values), dtype=torch.float64).reshape(-1, 1)


def which(made):
    """The point that each draw is, which it has to be."""
    same = (made.unsqueeze(1) == POINTS).all(2)
    assert bool(same.any(1).all())
    return same.long().argmax(1).numpy()


def test_what_it_says_belongs_together():
    data = 0.5 + 3 * torch.rand(8, 1, generator=generator("cpu", 0))
    report = check_process(mb.GammaProcess(60.0), data)
    assert {"Bayes: the bridge", "Chapman-Kolmogorov"} <= set(report.checked)
    check_process(mb.GammaProcess(60.0), data.expand(8, 3) * torch.tensor([1.0, 0.01, 50.0]))


@pytest.mark.parametrize("shape", [0.4, SHAPE, 90.0])
def test_transitions_are_betas_and_two_are_one(shape):
    process, y = mb.GammaProcess(shape), 1.7
    a, b = shape * survival(T), shape * (1 - survival(T))
    x = np.linspace(0.01, 0.99, 50) * y

    def through(z, s, t):
        """Density of the second of two steps at the points x."""
        law = process.transition(column(np.full(len(x), z)), s, t)
        return law.site_log_prob(column(x)).exp().numpy()[:, 0]

    whole = through(y, 1.0, T)
    np.testing.assert_allclose(whole, stats.beta.pdf(x / y, a, b) / y, rtol=1e-10)

    # By way of U: integrated over the logit of where it is between x and y.
    u = np.linspace(-36, 36, 6001)
    share, rest = stats.logistic.cdf(u), stats.logistic.sf(u)
    for i in (5, 25, 45) if shape > 1 else ():  # below, floats are too coarse at the ends
        z = x[i] + (y - x[i]) * share
        first = stats.beta.logpdf(z / y, shape * survival(U), shape * (1 - survival(U)))
        first = np.exp(first) / y
        gap = shape * (survival(U) - survival(T))
        law = process.transition(column(z), U, T)
        second = law.site_log_prob(column(np.full(len(z), x[i]))).exp().numpy()[:, 0]
        good = (rest > 1e-15) & (share > 1e-15)
        parts = np.where(good, first * second * (y - x[i]) * share * rest, 0)
        near = min(gap, shape * (1 - survival(U)))  # what the ends of the integral leave out
        found = integrate.trapezoid(parts, u)
        assert found == pytest.approx(whole[i], rel=1e-6 + 30 * 1e-15**near / near)


def test_bridges_are_betas():
    process, x, y = mb.GammaProcess(SHAPE), 0.4, 2.0
    z = np.linspace(0.45, 1.95, 30)
    a, b = (SHAPE * (survival(v) - survival(w)) for v, w in ((T, S), (U, T)))
    start, end = column(np.full(30, x)), column(np.full(30, y))
    law = process.bridge(start, end, S, T, U)
    wanted = stats.beta.pdf((z - x) / (y - x), a, b) / (y - x)
    np.testing.assert_allclose(law.site_log_prob(column(z)).exp()[:, 0], wanted, rtol=1e-10)
    many = process.bridge(start[:1].expand(6000, 1), end[:1].expand(6000, 1), S, T, U)
    draws = many.sample(generator=generator("cpu", 1))[:, 0].numpy()
    assert stats.kstest((draws - x) / (y - x), stats.beta(a, b).cdf).pvalue > LEVEL
    for t, certain in ((S, x), (U, y)):
        law = process.bridge(start, end, S, t, U)
        assert torch.equal(law.sample(), torch.full_like(start, certain))
        assert torch.equal(law.mean, torch.full_like(start, certain))
        assert torch.equal(law.site_log_prob(start) == 0, torch.full_like(start, t == S) > 0)


def test_increments_of_gamma_data_of_its_shape_are_independent_gammas():
    process, n = mb.GammaProcess(SHAPE), 6000
    y = torch.distributions.Gamma(SHAPE, 2.0)
    torch.manual_seed(0)
    x1 = y.sample((n, 1)).double()
    x_t = process.transition(x1, 1.0, T).sample(generator=generator("cpu", 2))
    x_s = process.transition(x_t, T, S).sample(generator=generator("cpu", 3))
    shares = [survival(S), survival(T) - survival(S), 1 - survival(T)]
    parts = [x_s, x_t - x_s, x1 - x_t]
    for part, share in zip(parts, shares, strict=True):
        law = stats.gamma(SHAPE * share, scale=0.5)
        assert stats.kstest(part[:, 0].numpy(), law.cdf).pvalue > LEVEL
    for one, other in ((0, 1), (1, 2), (0, 2)):
        together = stats.spearmanr(parts[one][:, 0], parts[other][:, 0])
        assert together.pvalue > LEVEL


@pytest.mark.parametrize("shape", [0.02, 1e-4])
def test_small_shapes_are_drawn_as_they_are(shape):
    """Where a draw of either gamma is smaller than any float, their ratio is not."""
    first = torch.full((20_000, 1), shape, dtype=torch.float64)
    low = torch.zeros(20_000, 1, dtype=torch.float32)
    law = laws.Beta(low, torch.ones_like(low), first, 3 * first)
    drawn = law.sample(generator=generator("cpu", 4))
    tiny = torch.finfo(torch.float32).tiny
    assert float(drawn.min()) == tiny and float(drawn.max()) == 1 - 2**-24
    cells = [(drawn < 1e-20).sum(), ((drawn >= 1e-20) & (drawn < 0.5)).sum(), (drawn >= 0.5).sum()]
    edges = stats.beta(shape, 3 * shape).cdf([0, 1e-20, 0.5, 1])
    assert stats.chisquare([int(c) for c in cells], 20_000 * np.diff(edges)).pvalue > LEVEL
    assert float(law.site_log_prob(drawn).isfinite().double().mean()) == 1


@pytest.mark.parametrize("x", [0.0, 1e-30, 0.15, 0.29])
def test_what_a_state_says_of_the_data(x):
    """Weights ∝ w y^(1-a) (y - x)^(aq - 1), of points above x."""
    process, points = mb.GammaProcess(SHAPE), torch.tensor([[0.3], [1.0], [2.5], [0.1]])
    law = exact.Empirical(process, points, WEIGHTS)(torch.tensor([[max(x, 1e-38)]]), T)
    y = points[:, 0].numpy().astype(float)
    gap = np.maximum(y - x, 0)
    with np.errstate(divide="ignore"):
        log = np.log(WEIGHTS.numpy()) + (1 - SHAPE) * np.log(y)
        log = log + (SHAPE * (1 - survival(T)) - 1) * np.log(gap)
    wanted = np.exp(log - log.max())
    np.testing.assert_allclose(law.log_weights[0].exp(), wanted / wanted.sum(), rtol=1e-5)


def test_zeros_of_the_data_are_told_from_what_has_begun():
    process, points = mb.GammaProcess(0.5), torch.tensor([[0.0], [1.0]])
    law = exact.Empirical(process, points)
    assert law(torch.zeros(1, 1), 0.0).log_weights.exp().tolist() == [[0.5, 0.5]]
    assert law(torch.zeros(1, 1), 0.1).log_weights.exp().tolist() == [[1.0, 0.0]]
    model = mb.Transport(process, law, shape=(1,))
    begun = process.transition(torch.ones(5000, 1), 1.0, 0.05)
    begun = begun.sample(generator=generator("cpu", 10))
    assert float(begun.min()) == torch.finfo(torch.float32).tiny
    made = model.sample(4000, steps=4, generator=generator("cpu", 5), block=4000)
    assert_follows((made[:, 0] == 1).long().numpy(), np.array([0.5, 0.5]))


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_bridge_sampling_under_the_exact_law_is_exact(steps):
    process = mb.GammaProcess(2.0)
    model = mb.Transport(process, exact.Empirical(process, POINTS, WEIGHTS), shape=(2,))
    n, seen = 4000, []
    made = model.sample(
        n,
        steps=steps,
        generator=generator("cpu", 6),
        block=n,
        callback=lambda t, x: seen.append((t, x)),
    )
    assert_follows(which(made), WEIGHTS.numpy())
    if steps > 1:
        t, x = seen[steps // 2]
        p = survival(float(t))
        for site in range(2):

            def cdf(value, site=site, p=p):
                each = stats.beta.cdf(value[:, None] / POINTS[:, site], 2 * p, 2 * (1 - p))
                return each @ WEIGHTS.numpy()

            assert stats.kstest(x[:, site].numpy(), cdf).pvalue > LEVEL


def test_amounts_are_restored():
    process, n, t = mb.GammaProcess(SHAPE), 4000, 0.5
    law = exact.Empirical(process, POINTS, WEIGHTS)
    model = mb.Transport(process, law, shape=(2,))
    seen = torch.tensor([[0.15, 0.3]])
    wanted = law(seen, t).log_weights[0].exp().numpy()
    for sampler in (mb.Bridge(), mb.Corrected(mb.Bridge(), moves=2)):
        g = generator("cpu", 7)
        made = model.restore(seen.expand(n, -1), t, steps=3, sampler=sampler, generator=g, block=n)
        assert_follows(which(made), wanted)


def test_the_head_knows_gamma_data_before_training():
    """Of gamma data of the shape of the process what remains is gamma, of shape aq."""
    process, head = mb.GammaProcess(SHAPE), mb.GammaHead(1)
    mean, variance = torch.tensor([3.0]), torch.tensor([9.0 / SHAPE])
    x, t = torch.tensor([[0.2], [4.0]]), torch.tensor([0.3, 0.9])
    law = head(Setting(process, mb.Noised(), mean, variance), torch.zeros(2, 3, 1), x, t)
    q = 1 - survival(t.numpy())
    y = x + torch.tensor([[0.7], [0.05]])
    wanted = stats.gamma.logpdf((y - x)[:, 0], SHAPE * q, scale=3.0 / SHAPE)
    np.testing.assert_allclose(law.site_log_prob(y)[:, 0], wanted, rtol=1e-5)


def test_the_log_density_of_a_mixture_integrates_to_one():
    process, head, t = mb.GammaProcess(2.0), mb.GammaHead(3), 0.4
    raw = torch.randn(1, 9, 1, generator=generator("cpu", 8)).expand(4001, 9, 1)
    log = torch.linspace(-40, 7, 4001, dtype=torch.float64)
    x = torch.full((4001, 1), 0.5)
    setting = Setting(process, mb.Noised(), torch.ones(1), torch.ones(1))
    law = head(setting, raw, x, torch.full((4001,), t))
    inner = law.base.site_log_prob(log.exp().unsqueeze(1))[:, 0].double()
    mass = inner.exp() * log.exp()
    assert float(torch.trapezoid(mass, log)) == pytest.approx(1, abs=1e-4)
    mean = float(torch.trapezoid(mass * log.exp(), log))
    assert float(law.excess(x)[0]) == pytest.approx(mean, rel=1e-3)
    assert mb.EndNLL()(process, law, x, x + 0.3, torch.full((4001,), t)).shape == (4001,)


def test_refuses():
    process = mb.GammaProcess(2.0)
    for shape in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="shape must be"):
            mb.GammaProcess(shape)
    with pytest.raises(ValueError, match="holds -0.5: a GammaProcess carries finite amounts"):
        process.check(torch.tensor([[-0.5]]))
    with pytest.raises(ValueError, match="x at s exceeds y at u by 1 at some site"):
        process.bridge(torch.full((1, 1), 2.0), torch.ones(1, 1), 0.1, 0.5, 1.0)
    law, objective = exact.Empirical(process, POINTS), mb.PathKL(damping=1.0)
    model = mb.Transport(process, law, shape=(2,), objective=objective)
    with pytest.raises(TypeError, match="train with the objective EndNLL"):
        model.loss(POINTS)
    for steps in (None, 5):
        with pytest.raises(TypeError, match="a GammaProcess has no likelihood bound, neither"):
            model.log_likelihood(POINTS, steps=steps)
    for sampler in (mb.Gillespie(), mb.TauLeaping(), mb.Midpoint(), mb.Trapezoidal()):
        with pytest.raises(TypeError, match=r"Bridge\(\)"):
            model.sample(2, steps=2, sampler=sampler)
    with pytest.raises(
        TypeError, match="GammaHead is for the remaining amounts of a GammaProcess"
    ):
        mb.GammaHead().outputs(mb.LinearDiffusion())


def test_a_transport_of_amounts_is_trained_by_the_likelihood_of_the_end():
    process = mb.GammaProcess(2.0)
    head = mb.GammaHead()
    network = mb.networks.MLP((1,), process.features, head.outputs(process), width=4, depth=1)
    model = mb.Transport(process, network, head, shape=(1,))
    assert model.objective == mb.EndNLL()
    assert bool(torch.isfinite(model.loss(torch.rand(4, 1) + 0.1)).all())


def test_where_no_time_passes_the_state_stays():
    law = mb.GammaProcess(2.0).transition(torch.full((3, 1), 2.0), 0.0, 0.0)
    assert bool((law.sample() == 2).all()) and bool((law.mean == 2).all())
