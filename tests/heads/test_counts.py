"""Heads for counts: their laws by enumeration, and no NaN anywhere on [0, 1]."""

import math

import numpy as np
import pytest
import torch

from grid.worlds import rows
from markovbridge import (
    CategoricalHead,
    EndNLL,
    FiniteTime,
    Instantaneous,
    LogisticMixtureHead,
    MeanHead,
    NegativeBinomialHead,
    Noised,
    PathKL,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.doors.randomness import generator
from markovbridge.heads.counts import log_softplus
from markovbridge.processes import Setting
from problems import SCHEDULES, assert_follows

TOP = 16
HEADS = {
    "poisson": MeanHead(),
    "stochastic": MeanHead("stochastic"),
    "nearest": MeanHead("nearest"),
    "exp": MeanHead(link="exp"),
    "bounded": MeanHead(bounded=True),
    "bounded-stochastic": MeanHead("stochastic", bounded=True),
    "categorical": CategoricalHead(),
    "logistic-1": LogisticMixtureHead(1),
    "logistic-3": LogisticMixtureHead(3),
    "negative-binomial": NegativeBinomialHead(),
    "negative-binomial-3": NegativeBinomialHead(3),
}
WITH_LAW = [
    "poisson",
    "categorical",
    "logistic-1",
    "logistic-3",
    "negative-binomial",
    "negative-binomial-3",
]
MEAN, VARIANCE = torch.tensor(4.0), torch.tensor(30.0)


@pytest.fixture(params=sorted(SCHEDULES))
def process(request):
    return PureDeath(TOP, SCHEDULES[request.param])


def head_law(head, process, raw, x, t, mean=MEAN, variance=VARIANCE):
    """The law for (batch, outputs) raw outputs and one site."""
    t = torch.as_tensor(t, dtype=torch.float32).expand(len(x))
    return head(Setting(process, Noised(), mean, variance), raw.unsqueeze(-1), x, t)


def random_raw(head, process, n, scale, key):
    raw = torch.randn(n, head.outputs(process), generator=generator("cpu", key))
    return scale * raw


def table(law, n, top):
    """Log-probabilities of 0 .. top, a thousand values at a time, of a law of (n, 1)."""
    parts = []
    for values in torch.arange(top + 1).split(1000):
        index = torch.arange(n).repeat_interleave(len(values))
        parts.append(rows(law, index).site_log_prob(values.repeat(n)[:, None]).reshape(n, -1))
    return torch.cat(parts, 1).double()


def test_outputs():
    process, unbounded = PureDeath(TOP), PureDeath()
    counts = {name: head.outputs(process) for name, head in HEADS.items()}
    assert counts == {
        "poisson": 1,
        "exp": 1,
        "stochastic": 1,
        "nearest": 1,
        "bounded": 1,
        "bounded-stochastic": 1,
        "categorical": TOP + 1,
        "logistic-1": 3,
        "logistic-3": 9,
        "negative-binomial": 2,
        "negative-binomial-3": 9,
    }
    assert MeanHead().outputs(unbounded) == 1
    assert NegativeBinomialHead().outputs(unbounded) == 2
    for head in (CategoricalHead(), LogisticMixtureHead()):
        with pytest.raises(ValueError, match="set `maximum` of the process"):
            head.outputs(unbounded)


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize(("scale", "t"), [(0.0, 0.3), (1.0, 1 - 1e-6), (20.0, 0.0), (20.0, 0.3)])
def test_laws_normalise_and_have_their_moments(name, scale, t):
    head, n = HEADS[name], 6 if name.startswith("negative-binomial") else 24
    process = PureDeath(TOP)
    x = (torch.arange(n) % (TOP + 1)).unsqueeze(1)
    raw = random_raw(head, process, n, scale, name)
    if not name.startswith(("bounded", "categorical", "logistic")):
        raw = raw.clamp(-2, 3)  # unbounded means and heavy tails: keep the table short
    law = head_law(head, process, raw, x, t)
    top = TOP if name.startswith(("categorical", "logistic")) else 300
    if name.startswith("negative-binomial"):
        top = 2500
    log_probs = table(law, n, top)
    below = torch.arange(top + 1) < x
    assert bool((log_probs[below.expand_as(log_probs)] == -math.inf).all())
    probs, value = log_probs.exp(), torch.arange(top + 1, dtype=torch.float64)
    if name != "nearest":
        torch.testing.assert_close(probs.sum(1), torch.ones(n).double(), atol=1e-4, rtol=0)
    mean = probs @ value
    # The excess, from the same table without cancellation.
    excess = (probs * (value - x)).sum(1)
    if name == "nearest":
        excess = law.base.log_target.exp().squeeze(1).double()
        assert bool(((mean - x.squeeze(1) - excess).abs() <= 0.5001).all())
    torch.testing.assert_close(law.excess(x).squeeze(1).double(), excess, rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(
        law.log_excess(x).squeeze(1).double().exp(), excess, rtol=2e-3, atol=1e-6
    )
    if name != "nearest":
        variance = (probs * (value - mean.unsqueeze(1)) ** 2).sum(1)
        torch.testing.assert_close(
            law.variance.squeeze(1).double(), variance, rtol=1e-2, atol=1e-3
        )


@pytest.mark.parametrize("name", sorted(HEADS))
def test_draws_follow_the_law(name):
    head, process, n = HEADS[name], PureDeath(TOP), 20_000
    x = torch.full((n, 1), 3)
    for key, t in (("a", 0.2), ("b", 0.7)):
        raw = random_raw(head, process, 1, 1.0, (name + key)).expand(n, -1)
        law = head_law(head, process, raw, x, t)
        top = TOP if name.startswith(("categorical", "logistic")) else 300
        one = head_law(head, process, raw[:1], x[:1], t)
        probs = table(one, 1, top)[0].exp().numpy()
        assert_follows(law.sample(generator=generator("cpu", name)), probs / probs.sum())


RAWS = (-1000.0, -80.0, 0.0, 80.0, 1000.0)
EDGES = (0.0, 1e-8, 1e-4, 0.5, 1 - 1e-4, 1 - 1e-7, 1 - 2**-24, 1.0)
OBJECTIVES = {
    "path": PathKL(),
    "damped": PathKL(damping=1.0),
    "instantaneous": Instantaneous(1000),
    "finite-time": FiniteTime(1000),
    "end": EndNLL(),
}


@pytest.mark.parametrize("name", sorted(HEADS))
def test_losses_and_gradients_are_finite_everywhere(process, name):
    """Float32, all of t in [0, 1], outputs up to 1000 in size, every state the bridge allows."""
    head = HEADS[name]
    outputs = head.outputs(process)
    g = generator("cpu", name)
    signs = torch.randint(0, 5, (40, outputs), generator=g)
    patterns = torch.cat(
        [torch.tensor(RAWS)[:, None].expand(-1, outputs), torch.tensor(RAWS)[signs]]
    )
    cases = [
        (raw, x, y, t)
        for t in EDGES
        for x, y in ((0, 0), (0, 1), (0, TOP), (3, 7), (TOP - 1, TOP), (TOP, TOP))
        # Only pairs that occur: all units dead at the source, alive at the data.
        if (t > 0 or x == 0) and (t < 1 or x == y)
        for raw in patterns
    ]
    raw = torch.stack([case[0] for case in cases]).requires_grad_()
    x, y = (torch.tensor([[case[i]] for case in cases]) for i in (1, 2))
    t = torch.tensor([case[3] for case in cases], dtype=torch.float32)
    for mean, variance in ((4.0, 30.0), (1e-6, 1e-6), (15.9, 0.5)):
        setting = Setting(process, Noised(), torch.tensor(mean), torch.tensor(variance))
        law = head(setting, raw.unsqueeze(-1), x, t)
        for key, objective in OBJECTIVES.items():
            if key == "end" and name not in WITH_LAW:
                continue  # a rounded mean has no probability for most ends
            loss = objective(process, law, x, y, t)
            assert loss.dtype == torch.float32
            assert bool(torch.isfinite(loss).all())
            (gradient,) = torch.autograd.grad(loss.sum(), raw, retain_graph=True)
            assert bool(torch.isfinite(gradient).all())
        for value in (law.mean, law.excess(x), law.log_excess(x)):
            assert bool(torch.isfinite(value).all())
        draw = law.sample(generator=g)
        assert bool((draw >= x).all())


@pytest.mark.parametrize(
    "name", ["poisson", "stochastic", "nearest", "negative-binomial", "negative-binomial-3"]
)
def test_a_zero_output_expects_the_mean_that_is_missing(process, name):
    """q μ remain of data with mean μ, whatever x_t: the law of Poisson data."""
    head = HEADS[name]
    for t in (0.0, 0.3, 0.9):
        x = torch.tensor([[0], [5]])
        law = head_law(head, process, torch.zeros(2, head.outputs(process)), x, t)
        q = float(process.schedule.mortality(torch.tensor(t)))
        np.testing.assert_allclose(law.excess(x), q * 4.0, rtol=1e-5)


def test_a_zero_negative_binomial_has_the_data_s_overdispersion():
    """Variance μ + μ²/r at the source, r = μ²/(σ² - μ): that of the data."""
    x = torch.tensor([[0]])
    law = head_law(NegativeBinomialHead(), PureDeath(), torch.zeros(1, 2), x, 0.0)
    assert float(law.variance) == pytest.approx(30.0, rel=1e-4)


def same_components(k, mean, size):
    """Outputs of k components, of any weights, whose means and sizes are all the same."""
    offsets = torch.linspace(-1, 1, k)
    factor = mean * offsets.exp().mean() / offsets.exp()  # undoes the spread of the means
    size = torch.tensor(size).expand(k)
    weights = torch.randn(k, generator=generator("cpu", "weights"))
    return torch.cat([weights, torch.expm1(factor).log(), torch.expm1(size).log()]) - torch.cat(
        [torch.zeros(k), torch.full((2 * k,), math.log(math.e - 1))]
    )


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_mixture_of_equal_negative_binomials_is_one_of_them(process, k):
    centre = math.log(math.e - 1)
    one = torch.tensor([[math.log(math.expm1(v)) - centre for v in (1.7, 0.6)]])
    x, value = torch.full((60, 1), 2), torch.arange(60).unsqueeze(1)
    for t in (0.0, 0.4, 0.9):
        head = NegativeBinomialHead(k)
        found = head_law(head, process, same_components(k, 1.7, 0.6).expand(60, -1), x, t)
        expected = head_law(NegativeBinomialHead(), process, one.expand(60, -1), x, t)
        for law in ("mean", "variance"):
            torch.testing.assert_close(getattr(found, law), getattr(expected, law))
        torch.testing.assert_close(
            found.site_log_prob(value), expected.site_log_prob(value), rtol=1e-5, atol=1e-5
        )


def test_the_path_loss_of_a_mixture_depends_on_its_mean_alone(process):
    """That of a Poisson law of the same mean; its probabilities are others."""
    n = 40
    g = generator("cpu", "paths")
    raw = torch.randn(n, 9, generator=g).unsqueeze(-1)
    x, t = torch.randint(0, 4, (n, 1), generator=g), 0.05 + 0.9 * torch.rand(n, generator=g)
    x1 = x + torch.randint(0, 6, (n, 1), generator=g)
    mixed = NegativeBinomialHead(3)(Setting(process, Noised(), MEAN, VARIANCE), raw, x, t)
    poisson = MeanHead().around(x, mixed.log_excess(x))
    for objective in (PathKL(), PathKL(damping=1.0)):
        torch.testing.assert_close(
            objective(process, mixed, x, x1, t), objective(process, poisson, x, x1, t)
        )
    assert bool((mixed.log_prob(x1) - poisson.log_prob(x1)).abs().max() > 0.1)


def test_a_zero_bounded_mean_is_that_of_binomial_data(process):
    """Binomial(N, θ) data: (N - x) θq/(1 - θp), in closed form."""
    mean = torch.tensor(0.4 * TOP)
    for t in (0.0, 0.3, 0.9):
        x = torch.tensor([[0], [5], [TOP]])
        law = head_law(MeanHead(bounded=True), process, torch.zeros(3, 1), x, t, mean)
        t = float(torch.tensor(t))
        expected = exact.Binomial(process, TOP, 0.4)(x, t).excess(x)
        np.testing.assert_allclose(law.excess(x), expected, rtol=1e-5, atol=1e-20)


def test_a_zero_bounded_mean_is_exact_for_bernoulli_data():
    process, x = PureDeath(1), torch.tensor([[0], [1]])
    for theta in (0.02, 0.3, 0.97):
        for t in (0.1, 0.5, 0.99):
            law = head_law(
                MeanHead(bounded=True), process, torch.zeros(2, 1), x, t, torch.tensor(theta)
            )
            t32 = float(torch.tensor(t))
            p = float(process.schedule.survival(t32))
            q = float(process.schedule.mortality(t32))
            assert float(law.excess(x)[0]) == pytest.approx(theta * q / (1 - theta * p), rel=1e-5)
            assert float(law.excess(x)[1]) < 1e-29


def test_a_zero_table_is_the_posterior_of_a_flat_prior(process):
    values = torch.arange(TOP + 1).unsqueeze(1)
    law = exact.Empirical(process, values, states=TOP + 1)
    x = torch.tensor([[0], [5], [TOP]])
    for t in (0.2, 0.6, 0.95):
        t = float(torch.tensor(t))
        found = head_law(CategoricalHead(), process, torch.zeros(3, TOP + 1), x, t)
        torch.testing.assert_close(
            found.log_probs.exp().double(), law(x, t).log_probs.exp(), rtol=1e-4, atol=1e-6
        )


def test_raw_outputs_of_a_table_are_log_weights():
    """With the log-weights of the data as output the law is the exact posterior."""
    process = PureDeath(TOP)
    weights = torch.rand(TOP + 1, generator=generator("cpu", "weights")) + 0.01
    values = torch.arange(TOP + 1).unsqueeze(1)
    law = exact.Empirical(process, values, weights.double(), states=TOP + 1)
    x = torch.tensor([[2], [9]])
    found = head_law(CategoricalHead(), process, weights.log().expand(2, -1), x, 0.5)
    torch.testing.assert_close(
        found.log_probs.exp().double(), law(x, 0.5).log_probs.exp(), rtol=1e-4, atol=1e-6
    )


def test_a_zero_mixture_of_logistics_is_about_the_remaining_mean():
    """Centred on x + qμ, with the spread of the remaining count and no more than data have."""
    process = PureDeath(255)
    mean, variance = torch.tensor(120.0), torch.tensor(400.0)
    for t in (0.05, 0.5, 0.9):
        p, q = (float(f(t)) for f in (process.schedule.survival, process.schedule.mortality))
        x = torch.tensor([[round(120 * p)]])
        head = LogisticMixtureHead(1)
        law = head_law(head, process, torch.zeros(1, 3), x, t, mean, variance)
        assert float(law.excess(x)) == pytest.approx(120 * q, rel=0.05)
        spread = q * 120 + q**2 * 400
        assert float(law.variance) == pytest.approx(spread, rel=0.2)


def test_kernels_share_the_loss():
    """What a mean head is trained on does not depend on how it will be sampled."""
    process, x, x1 = PureDeath(TOP), torch.tensor([[0], [2]]), torch.tensor([[3], [2]])
    raw = torch.tensor([[0.3], [-0.7]], requires_grad=True)
    t = torch.tensor([0.3, 0.6])
    found, setting = [], Setting(process, Noised(), MEAN, VARIANCE)
    for kernel in ("poisson", "stochastic", "nearest"):
        law = MeanHead(kernel)(setting, raw.unsqueeze(-1), x, t)
        loss = PathKL()(process, law, x, x1, t)
        found.append((loss, torch.autograd.grad(loss.sum(), raw)[0]))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])
    assert bool((found[0][1] != 0).all())


def test_effects_multiply_under_the_exponential_link():
    head, process = MeanHead(link="exp"), PureDeath()
    x, t = torch.tensor([[3]]), torch.tensor([0.4])
    one, two = torch.tensor([[0.7]]), torch.tensor([[-1.9]])
    zero, a, b, both = (
        head_law(head, process, raw, x, t).log_excess(x) for raw in (0 * one, one, two, one + two)
    )
    torch.testing.assert_close(both - zero, (a - zero) + (b - zero))
    torch.testing.assert_close(a - zero, one)


def test_log_softplus_where_softplus_underflows():
    raw = torch.tensor([-1000.0, -200.0, -16.0, -14.0, 0.0, 3.0, 1000.0], requires_grad=True)
    found = log_softplus(raw)
    r = raw.detach().double()
    expected = torch.where(r < -30, r, torch.log1p(r.clamp(-30, 30).exp()).log())
    expected = torch.where(r > 30, r.abs().log(), expected)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    (slope,) = torch.autograd.grad(found.sum(), raw)
    ratio = torch.sigmoid(r) / expected.exp()  # of the derivative to the function
    torch.testing.assert_close(slope.double(), torch.where(r < -30, 1.0, ratio), rtol=1e-4, atol=0)


def test_heads_work_inside_a_transport_on_images():
    process = PureDeath(TOP)
    x1 = torch.randint(0, TOP + 1, (6, 1, 3, 2), generator=generator("cpu", "images"))
    for head in HEADS.values():
        outputs = head.outputs(process)
        transport = Transport(
            process,
            lambda features, t, condition, outputs=outputs: features.expand(
                -1, outputs, -1, -1, -1
            ),
            head,
            shape=(1, 3, 2),
            mean=4.0,
            variance=30.0,
        )
        loss = transport.loss(x1, generator=generator("cpu", 0))
        assert loss.shape == (6,)
        assert bool(torch.isfinite(loss).all())
        draws = transport.sample(5, steps=3, generator=generator("cpu", 0), block=5)
        assert draws.shape == (5, 1, 3, 2)
        assert 0 <= int(draws.min()) and int(draws.max()) <= TOP


def test_impossible_heads_are_refused():
    with pytest.raises(ValueError, match="kernel must be one of 'poisson', .*, not 'round"):
        MeanHead("round")
    with pytest.raises(ValueError, match="link must be one of 'softplus', 'exp', not 'log'"):
        MeanHead(link="log")
    with pytest.raises(ValueError, match="components must be at least 1, not 0"):
        LogisticMixtureHead(0)
    with pytest.raises(ValueError, match="components must be at least 1, not 0"):
        NegativeBinomialHead(0)
    x = torch.tensor([[0]])
    with pytest.raises(ValueError, match="MeanHead needs bounded counts"):
        head_law(MeanHead(bounded=True), PureDeath(), torch.zeros(1, 1), x, 0.5)
