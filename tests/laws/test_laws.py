"""Laws against SciPy and against enumeration."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from markovbridge import laws
from markovbridge.doors.randomness import generator
from problems import LEVEL, assert_follows

DRAWS = 40_000


def full(value, n=1, dtype=torch.float64):
    return torch.full((n, 1), float(value), dtype=dtype)


def count(value, n=1):
    return torch.full((n, 1), value)


def shifted(base):
    return lambda n: laws.Shifted(count(3, n), base(n))


# name: (law of n rows of one site, probabilities over 0, 1, ...)
CASES = {
    "binomial": (
        lambda n: laws.Binomial(count(9, n), full(0.3, n)),
        stats.binom.pmf(np.arange(10), 9, 0.3),
    ),
    "poisson": (
        lambda n: laws.Poisson(full(math.log(2.5), n)),
        stats.poisson.pmf(np.arange(40), 2.5),
    ),
    "negative-binomial": (
        lambda n: laws.NegativeBinomial(full(math.log(3), n), full(2, n)),
        stats.nbinom.pmf(np.arange(120), 2, 2 / 5),
    ),
    "negative-binomial-large-size": (
        lambda n: laws.NegativeBinomial(full(math.log(3), n), full(5e4, n)),
        stats.nbinom.pmf(np.arange(40), 5e4, 5e4 / (5e4 + 3)),
    ),
    "rounded": (lambda n: laws.Rounded(full(math.log(2.3), n)), np.array([0, 0, 0.7, 0.3])),
    "rounded-below-one": (lambda n: laws.Rounded(full(math.log(0.2), n)), np.array([0.8, 0.2])),
    "nearest": (
        lambda n: laws.Rounded(full(math.log(2.7), n), stochastic=False),
        np.array([0, 0, 0, 1.0]),
    ),
    "categorical": (
        lambda n: laws.Categorical(
            torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64).log().expand(n, 1, 4) + 7
        ),
        np.array([0.1, 0, 0.6, 0.3]),
    ),
    "zero-inflated": (
        lambda n: laws.ZeroInflated(full(0.4, n), laws.Poisson(full(math.log(2), n))),
        0.4 * (np.arange(40) == 0) + 0.6 * stats.poisson.pmf(np.arange(40), 2),
    ),
    "site-mixture": (
        lambda n: laws.SiteMixture(
            torch.tensor([0.3, 0.0, 0.7], dtype=torch.float64).log().expand(n, 1, 3),
            laws.NegativeBinomial(
                torch.tensor([0.5, 2.0, 6.0], dtype=torch.float64).log().expand(n, 1, 3),
                torch.tensor([2.0, 1.0, 9.0], dtype=torch.float64).expand(n, 1, 3),
            ),
        ),
        0.3 * stats.nbinom.pmf(np.arange(120), 2, 2 / 2.5)
        + 0.7 * stats.nbinom.pmf(np.arange(120), 9, 9 / 15),
    ),
    "delta": (lambda n: laws.Delta(count(2, n)), np.array([0, 0, 1.0])),
    "mixture": (
        lambda n: laws.Mixture(
            torch.tensor([0.25, 0.75]).double().log().expand(n, 2),
            [laws.Poisson(full(0, n)), laws.Binomial(count(5, n), full(0.5, n))],
        ),
        0.25 * stats.poisson.pmf(np.arange(40), 1) + 0.75 * stats.binom.pmf(np.arange(40), 5, 0.5),
    ),
    "atoms": (
        lambda n: laws.Atoms(
            torch.tensor([[4], [1], [4]]),
            torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log().expand(n, 3),
        ),
        np.array([0, 0.5, 0, 0, 0.5]),
    ),
}
CASES["shifted"] = (
    shifted(CASES["binomial"][0]),
    np.concatenate([np.zeros(3), CASES["binomial"][1]]),
)


def logistic_mixture(weights, centres, scales, low, high, n=1, dtype=torch.float64):
    def rows(values):
        return torch.tensor(values, dtype=dtype).expand(n, 1, len(values))

    return laws.LogisticMixture(
        rows(weights).log(), rows(centres), rows(scales).log(), count(low, n), high
    )


def logistic_table(weights, centres, scales, low, high):
    """The same probabilities from the definition, cells as integrals of the density."""
    weights, centres, scales = (
        np.array(v, dtype=np.longdouble) for v in (weights, centres, scales)
    )
    values = np.arange(low, high + 1)

    def above(z):  # survival function and distribution function, each from its own formula
        return 1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))

    joint = np.zeros((high + 1, len(weights)))
    for k, (w, c, s) in enumerate(zip(weights, centres, scales, strict=True)):
        a, b = (values - c - 0.5) / s, (values - c + 0.5) / s
        (sa, fa), (sb, fb) = above(a), above(b)
        joint[low:, k] = w * np.where(a > 0, sa - sb, fb - fa)
    return joint.sum(1) / joint.sum()


LOGISTICS = {
    "inside": ((0.3, 0.7), (4.0, 9.0), (0.8, 1.5), 2, 16),
    "narrow": ((0.5, 0.5), (3.2, 11.0), (0.05, 0.02), 0, 16),
    "above-the-top": ((1.0,), (40.0,), (2.0,), 3, 16),
    "below-the-bottom": ((1.0,), (-60.0,), (1.0,), 5, 16),
    "one-value": ((0.2, 0.8), (4.0, 9.0), (1.0, 2.0), 16, 16),
    "wide": ((1.0,), (8.0,), (500.0,), 0, 16),
}
for name, case in LOGISTICS.items():
    CASES[f"logistic-{name}"] = (
        lambda n, case=case: logistic_mixture(*case, n=n),
        logistic_table(*case),
    )


@pytest.fixture(params=sorted(CASES))
def case(request):
    return CASES[request.param]


def test_log_prob_is_that_of_scipy_or_the_definition(case):
    make, pmf = case
    law = make(len(pmf))
    found = law.log_prob(torch.arange(len(pmf)).unsqueeze(1)).double().numpy()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found, np.log(pmf), rtol=1e-9, atol=1e-9)


def test_mean_and_variance_are_those_of_the_table(case):
    make, pmf = case
    value = np.arange(len(pmf))
    mean = pmf @ value
    law = make(2)
    np.testing.assert_allclose(law.mean.double().numpy(), np.full((2, 1), mean), rtol=1e-7)
    variance = pmf @ (value - mean) ** 2
    np.testing.assert_allclose(
        law.variance.double().numpy(), np.full((2, 1), variance), rtol=1e-6, atol=1e-9
    )


def test_draws_follow_the_table(case):
    make, pmf = case
    law = make(DRAWS)
    draws = law.sample(generator=generator("cpu", "laws"))
    assert draws.shape == (DRAWS, 1)
    assert draws.dtype == torch.int64
    assert_follows(draws, pmf / pmf.sum())


def test_draws_depend_on_the_generator_only(case):
    law = case[0](50)
    before = torch.random.get_rng_state()
    first, again, other = (law.sample(generator=generator("cpu", key)) for key in (1, 1, 2))
    assert torch.equal(first, again)
    if bool((law.variance > 0.05).any()):
        assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_excess_is_the_mean_over_the_origin(case):
    law = case[0](2)
    origin = count(3, 2) if isinstance(law, laws.Shifted) else count(0, 2)
    if isinstance(law, laws.Rounded) and not law.stochastic:
        # The prediction itself: a loss must not see the rounding.
        expected = law.log_target.exp()
    else:
        expected = law.mean - origin
    torch.testing.assert_close(law.excess(origin).double(), expected.double())
    torch.testing.assert_close(law.log_excess(origin).exp().double(), expected.double())


@pytest.mark.parametrize("name", ["binomial", "poisson", "negative-binomial", "categorical"])
def test_nothing_lies_outside_the_support(name):
    law = CASES[name][0](1)
    assert float(law.log_prob(count(-1))) == -math.inf
    if name in ("binomial", "categorical"):
        assert float(law.log_prob(count(10))) == -math.inf
    assert float(laws.Shifted(count(3), law).log_prob(count(2))) == -math.inf


def test_a_mixture_at_each_site_keeps_what_underflows():
    """Means of e^-200 in float32, and a component of weight e^-300 that is all that is left."""
    law = laws.SiteMixture(
        torch.tensor([[[0.0, -300.0]]]), laws.Poisson(torch.tensor([[[-200.0, -5.0]]]))
    )
    assert float(law.log_excess(count(0))) == -200
    assert float(law.log_prob(count(2))) == pytest.approx(
        -300 - 10 - math.exp(-5) - math.log(2), rel=1e-6
    )


def test_an_impossible_event_leaves_a_mixture_s_gradient_finite():
    weights, rates = (torch.zeros(2, 1, 2, requires_grad=True) for _ in range(2))
    law = laws.SiteMixture(weights.log_softmax(-1), laws.Poisson(rates))
    found = law.log_prob(torch.tensor([[-1], [3]]))
    assert found[0].item() == -math.inf
    for gradient in torch.autograd.grad(found.sum(), [weights, rates]):
        assert bool(torch.isfinite(gradient).all())


def test_components_of_sites_are_drawn_apart():
    """Half of the sites of a row have each component, not all of them the same one."""
    logits = torch.tensor([0.0, -2000.0, -2000.0]), torch.tensor([-2000.0, -2000.0, 0.0])
    weights = torch.stack([v.log_softmax(0) for v in logits]).unsqueeze(0)
    component = laws.Delta(torch.arange(3).expand(1, 2, 3))
    assert laws.SiteMixture(weights, component).sample().tolist() == [[0, 2]]
    even = torch.full((1, DRAWS, 3), 1 / 3).log()
    draws = laws.SiteMixture(even, laws.Delta(torch.arange(3).expand(1, DRAWS, 3)))
    assert_follows(draws.sample(generator=generator("cpu", "apart")), np.full(3, 1 / 3))


def test_certain_and_impossible_events_have_no_nan():
    law = laws.Binomial(torch.tensor([[0, 4, 4]]), torch.tensor([[0.0, 0.0, 1.0]]))
    assert law.site_log_prob(torch.tensor([[0, 0, 4]])).tolist() == [[0, 0, 0]]
    assert law.site_log_prob(torch.tensor([[0, 1, 3]])).tolist() == [[0, -math.inf, -math.inf]]
    still = laws.Poisson(full(-math.inf))
    assert still.site_log_prob(count(0)).tolist() == [[0]]
    assert still.site_log_prob(count(1)).tolist() == [[-math.inf]]
    assert still.sample().tolist() == [[0]]


def test_a_known_complement_is_used():
    # 1 - 1e-20 is 1 in float64: without the complement a loss would be impossible.
    law = laws.Binomial(count(5), full(1.0), complement=full(1e-20))
    expected = math.log(5) - 20 * math.log(10)
    assert float(law.log_prob(count(4))) == pytest.approx(expected, rel=1e-12)


def test_sites_are_independent_and_add_up():
    rate = torch.tensor([[[0.5, 1.0], [2.0, 3.0]]]).log()
    x = torch.tensor([[[0, 1], [2, 3]]])
    law = laws.Poisson(rate)
    expected = stats.poisson.logpmf(x.numpy(), rate.exp().numpy())
    np.testing.assert_allclose(law.site_log_prob(x).numpy(), expected, rtol=1e-6)
    assert float(law.log_prob(x)) == pytest.approx(expected.sum(), rel=1e-6)


@pytest.mark.parametrize("size", [1e-3, 0.7, 8.0, 300.0, 1e3, 3e4, 1e6])
def test_negative_binomial_keeps_its_digits_in_float32(size):
    """lgamma(k + r) - lgamma(r) of large r cancels: at r = 1e6 nothing would be left."""
    k = torch.arange(200).unsqueeze(1)
    for mean in (1e-4, 0.3, 4.0, 80.0):
        law = laws.NegativeBinomial(
            full(math.log(mean), 200, torch.float32), full(size, 200, torch.float32)
        )
        r = float(np.float32(size))
        expected = stats.nbinom.logpmf(k.numpy(), r, r / (r + float(law.log_mean.exp()[0])))
        if size > 1e5:  # SciPy cancels as well: to second order in 1/r a Poisson law
            m, n = float(law.log_mean.exp()[0]), k.numpy()
            expected = stats.poisson.logpmf(n, m) + ((n - m) ** 2 - n) / (2 * r)
        found = law.site_log_prob(k).double().numpy()
        np.testing.assert_allclose(found, expected, rtol=3e-6, atol=2e-4)


@pytest.mark.parametrize("name", sorted(LOGISTICS))
def test_logistics_keep_their_digits_in_float32(name):
    case = LOGISTICS[name]
    low, high = case[3:]
    pmf = logistic_table(*case)
    law = logistic_mixture(*case, n=high + 1, dtype=torch.float32)
    found = law.site_log_prob(torch.arange(high + 1).unsqueeze(1)).squeeze(1)
    # Log-probabilities of a few hundred nats, to float32.
    np.testing.assert_allclose(found.exp().numpy(), pmf, atol=2e-5)
    assert bool(torch.isfinite(found[low:]).all())
    np.testing.assert_allclose(found[low:].numpy(), np.log(pmf[low:]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(law.table().log_probs.squeeze(1)[0].exp(), found.exp())


def test_logistics_in_tails_that_underflow():
    """Centre 3000 scales below: every probability of the definition is 0 / 0 in float64."""
    law = logistic_mixture((1.0,), (-3000.0,), (1.0,), 0, 16, n=17, dtype=torch.float32)
    found = law.site_log_prob(torch.arange(17).unsqueeze(1)).squeeze(1).double()
    # Far below its range a logistic is exponential: P(v) = (1 - e^-1) e^-v, cut at 16.
    expected = stats.boltzmann.logpmf(np.arange(17), 1.0, 17)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)
    many = logistic_mixture((1.0,), (-3000.0,), (1.0,), 0, 16, n=DRAWS, dtype=torch.float32)
    draws = many.sample(generator=generator("cpu", "tail"))
    assert_follows(draws, stats.boltzmann.pmf(np.arange(17), 1.0, 17))


def test_excess_near_a_large_origin_keeps_its_digits():
    """A remaining count of 1e-6 above 200 vanishes in a float32 mean."""
    x = count(200)
    tiny = full(1e-6, dtype=torch.float32)
    cases = {
        "poisson": laws.Shifted(x, laws.Poisson(tiny.log())),
        "rounded": laws.Shifted(x, laws.Rounded(tiny.log())),
        "negative-binomial": laws.Shifted(
            x, laws.NegativeBinomial(tiny.log(), full(2, dtype=torch.float32))
        ),
        "binomial": laws.Shifted(x, laws.Binomial(count(1), tiny)),
        "categorical": laws.Categorical(
            torch.where(torch.arange(256) == 200, 0.0, -torch.inf)
            .masked_fill(torch.arange(256) == 201, math.log(1e-6))
            .reshape(1, 1, 256)
        ),
        "atoms": laws.Atoms(
            torch.tensor([[200], [201]]), torch.tensor([[math.log1p(-1e-6), math.log(1e-6)]])
        ),
        "mixture": laws.Mixture(torch.zeros(1, 1), [laws.Shifted(x, laws.Poisson(tiny.log()))]),
    }
    for name, law in cases.items():
        assert float(law.mean) == pytest.approx(200, abs=2e-5), name
        assert float(law.excess(x)) == pytest.approx(1e-6, rel=1e-4), name
        assert float(law.log_excess(x)) == pytest.approx(math.log(1e-6), rel=1e-4), name
    narrow = laws.LogisticMixture(
        torch.zeros(1, 1, 1), torch.full((1, 1, 1), 200.0), torch.full((1, 1, 1), -3.0), x, 255
    )
    # Beyond 200.5 at a scale of e^-3: sum of the tails, normalised to values from 200 on.
    tails = special.expit(-(np.arange(56) + 0.5) * math.exp(3))
    expected = tails[:55].sum() / special.expit(0.5 * math.exp(3))
    assert float(narrow.excess(x)) == pytest.approx(expected, rel=1e-3)


def test_normal_against_scipy():
    loc = torch.tensor([[1.0, -2.0]]).double()
    law = laws.Normal(loc, torch.tensor([[0.5, 3.0]]).double())
    x = torch.tensor([[0.3, 4.0]]).double()
    expected = stats.norm.logpdf(x.numpy(), loc.numpy(), law.std.numpy())
    np.testing.assert_allclose(law.site_log_prob(x).numpy(), expected, rtol=1e-14)
    assert float(law.log_prob(x)) == pytest.approx(expected.sum(), rel=1e-14)
    assert law.variance.tolist() == [[0.25, 9.0]]
    many = laws.Normal(loc.expand(DRAWS, 2), law.std.expand(DRAWS, 2))
    draws = many.sample(generator=generator("cpu", "normal")).numpy()
    for i, (mean, std) in enumerate([(1, 0.5), (-2, 3)]):
        assert stats.kstest(draws[:, i], stats.norm(mean, std).cdf).pvalue > LEVEL
    assert abs(stats.pearsonr(*draws.T).statistic) < 5 / math.sqrt(DRAWS)


def test_joint_laws_keep_sites_together():
    """Atoms and mixtures are laws of the whole event: their draws are correlated."""
    points = torch.tensor([[0, 0], [1, 2], [3, 1]])
    weights = torch.tensor([0.5, 0.3, 0.2]).double()
    atoms = laws.Atoms(points, weights.log().expand(DRAWS, 3))
    draws = atoms.sample(generator=generator("cpu", "atoms"))
    code = {(0, 0): 0, (1, 2): 1, (3, 1): 2}
    assert_follows([code[tuple(row)] for row in draws.tolist()], weights.numpy())
    assert atoms.log_prob(torch.tensor([[1, 2]]).expand(DRAWS, 2))[0] == weights[1].log()
    assert float(atoms.log_prob(torch.tensor([[1, 1]]).expand(DRAWS, 2))[0]) == -math.inf

    zero, two = (laws.Delta(torch.full((DRAWS, 2), v)) for v in (0, 2))
    mixture = laws.Mixture(torch.tensor([0.6, 0.4]).log().expand(DRAWS, 2), [zero, two])
    draws = mixture.sample(generator=generator("cpu", "mixture"))
    assert torch.equal(draws[:, 0], draws[:, 1])
    assert_follows(draws[:, 0] // 2, [0.6, 0.4])


def test_sites_of_atoms_are_their_marginals():
    points = torch.tensor([[0, 0], [1, 2], [3, 2]])
    log_weights = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]).double().log()
    law = laws.Atoms(points, log_weights).sites(4)
    expected = torch.tensor(
        [
            [[0.5, 0.3, 0, 0.2], [0.5, 0, 0.5, 0]],
            [[0, 1, 0, 0], [0, 0, 1, 0]],
        ]
    ).double()
    torch.testing.assert_close(law.log_probs.exp(), expected)
    torch.testing.assert_close(law.mean, laws.Atoms(points, log_weights).mean)
