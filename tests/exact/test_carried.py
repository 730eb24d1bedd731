"""Every exact law carries its process and coupling to the transport that is made of it."""

import inspect
import math

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import (
    VP,
    Bridge,
    Brownian,
    Dirac,
    Independent,
    LinearDiffusion,
    LinearSchedule,
    MinibatchOT,
    Noised,
    OrnsteinUhlenbeck,
    Paired,
    PureDeath,
    Transport,
    exact,
)
from markovbridge.couplings import Gaussian
from markovbridge.couplings.base import same
from markovbridge.covariances import Dense, Isotropic
from markovbridge.exact.base import Pairs

LEVEL = 1e-5
N = 4000
DEATH = PureDeath()
UNSTABLE = LinearDiffusion(OrnsteinUhlenbeck(-1.0, 1.0))
BROWNIAN = LinearDiffusion(Brownian(0.8))
NOISING = LinearDiffusion(VP(), direction="noising")
TWO, QUARTER = torch.full((1,), 2.0), torch.full((1, 1), 0.25)
QUARTERS = Isotropic(0.25)
POINTS = torch.tensor([[0], [2], [7]])
THIRDS = ([0, 2, 7], [1 / 3, 1 / 3, 1 / 3])
OTHERS = (
    Noised(),
    Dirac(0.0),
    Dirac(3.0),
    Independent(),
    Independent(preserve=True),
    Independent(Gaussian(-1.0, 3.0)),
    Independent(torch.zeros(3, 1)),
    MinibatchOT(),
    Paired(),
)
NORMAL = stats.norm(2, 0.5)


def normal(process, coupling, mean=TWO, covariance=QUARTER):
    return exact.Gaussian.coupled(process, coupling, mean, covariance)


def moments(*numbers):
    """N(2, 1/4) with a source of its own: mean, variance, and covariance with the data."""
    start, spread, cross = (torch.tensor([n], dtype=torch.float64) for n in numbers)
    return exact.Gaussian(UNSTABLE, TWO, QUARTER, start, spread[:, None], cross[:, None])


def mixed(coupling):
    parts = [normal(BROWNIAN, coupling), normal(BROWNIAN, coupling, -TWO)]
    return exact.Mixture(BROWNIAN, (0.3, 0.7), parts)


def two(x):
    return 0.3 * NORMAL.cdf(x) + 0.7 * stats.norm(-2, 0.5).cdf(x)


def points(values, weights):
    return stats.rv_discrete(values=(values, weights))


def pmf(law, count=60):
    return law.pmf(np.arange(count)) / law.cdf(count - 1)


def alone():
    """The guess of a single site, of no neighbours: a negative binomial."""
    law = exact.LinearCounts(DEATH, shape=(1,))
    law.mean.fill_(3.0)
    law.spread.fill_(1.5)
    return law


# By class, laws of one number and what they are the law of, from other hands.
KNOWN = {
    "Poisson": [(exact.Poisson(DEATH, 3.0), stats.poisson(3.0))],
    "Binomial": [(exact.Binomial(DEATH, 9, 0.3), stats.binom(9, 0.3))],
    "NegativeBinomial": [(exact.NegativeBinomial(DEATH, 3.0, 2.0), stats.nbinom(2, 2 / 5))],
    "CountMixture": [
        (
            exact.CountMixture.of(
                DEATH,
                torch.tensor([[0.4, 0.6]]).log(),
                torch.ones(1),
                torch.tensor([[1.0], [8.0]]),
                torch.tensor([2.0]),
            ),
            points(
                range(200),
                0.4 * pmf(stats.nbinom(2, 2 / 3), 200) + 0.6 * pmf(stats.nbinom(2, 1 / 5), 200),
            ),
        )
    ],
    "LinearCounts": [(alone(), stats.nbinom(2, 2 / 5))],
    "ZeroInflatedPoisson": [
        (
            exact.ZeroInflatedPoisson(DEATH, 0.4, 3.0),
            points(range(60), 0.6 * pmf(stats.poisson(3.0)) + 0.4 * np.eye(60)[0]),
        )
    ],
    "Empirical": [
        (
            exact.Empirical(DEATH, POINTS, torch.tensor([1.0, 2.0, 1.0])),
            points([0, 2, 7], [0.25, 0.5, 0.25]),
        ),
        (
            exact.Empirical(DEATH, POINTS, torch.tensor([1.0, 2.0, 1.0]), coupling=Dirac(0.0)),
            points([0, 2, 7], [0.25, 0.5, 0.25]),
        ),
    ],
    "Mixture": [
        (
            exact.Mixture(DEATH, (0.4, 0.6), [exact.Poisson(DEATH, m) for m in (1.0, 8.0)]),
            points(range(60), 0.4 * pmf(stats.poisson(1.0)) + 0.6 * pmf(stats.poisson(8.0))),
        ),
        (mixed(Independent()), two),
        (mixed(Dirac(0.0)), two),
        (mixed(Dirac(0.0)).reversed().reversed(), two),
        (
            exact.Mixture(UNSTABLE, (0.5, 0.5), [moments(1.0, 0.5, 0.2), moments(0.0, 2.0, 0.0)]),
            NORMAL.cdf,
        ),
    ],
    "Gaussian": [
        (normal(UNSTABLE, Independent()), NORMAL.cdf),
        (normal(UNSTABLE, Independent(Gaussian(-1.0, 0.3, correlated=True))), NORMAL.cdf),
        (normal(UNSTABLE, Dirac(0.0)), NORMAL.cdf),
        (normal(NOISING, Noised(), 0 * TWO, 4 * QUARTER), stats.norm.cdf),
        (exact.Gaussian(UNSTABLE, TWO, QUARTER), NORMAL.cdf),
        (moments(-1.0, 0.0, 0.0), NORMAL.cdf),
        (moments(-1.0, 0.7, 0.0), NORMAL.cdf),
        (moments(-1.0, 0.7, -0.4), NORMAL.cdf),
        (normal(UNSTABLE, Independent()).reversed(), stats.norm.cdf),
        (normal(UNSTABLE, Independent()).reversed().reversed(), NORMAL.cdf),
        (moments(-1.0, 0.7, -0.4).reversed(), stats.norm(-1, 0.7**0.5).cdf),
        (moments(-1.0, 0.7, -0.4).reversed().reversed(), NORMAL.cdf),
    ],
    "GaussianField": [
        (exact.GaussianField(UNSTABLE, QUARTERS, TWO, Dirac(0.0)), NORMAL.cdf),
        (exact.GaussianField(UNSTABLE, QUARTERS, 2.0, Independent()), NORMAL.cdf),
    ],
    "Frequencies": [
        (exact.FitFrequencies(1e-9)(PureDeath(7), POINTS), stats.rv_discrete(values=THIRDS)),
    ],
    "MeanOnly": [
        (exact.MeanOnly(exact.Poisson(DEATH, 3.0)), stats.poisson(3.0)),
    ],
}
CASES = [
    pytest.param(law, truth, id=f"{name}-{number}")
    for name, laws in KNOWN.items()
    for number, (law, truth) in enumerate(laws)
]


def process_of(law):
    return getattr(law, "process", DEATH)


def alike(a, b):
    """Whether two couplings are the same, a number and a tensor of one being the same."""
    if type(a) is type(b) is Dirac:
        return float(a.value) == float(b.value)
    if type(a) is type(b) is Independent and type(a.source) is type(b.source) is Gaussian:
        one, other = ((float(c.source.mean), c.source.std, c.preserve) for c in (a, b))
        return one == pytest.approx(other)
    return same(a, b)


def every_law():
    """The classes of `exact` that stand where a network would, whether exported or not."""
    found = {value for value in vars(exact).values() if inspect.isclass(value)}
    todo = [exact.DataLaw]
    while todo:
        todo += (subclasses := todo.pop().__subclasses__())
        found.update(subclasses)
    return {
        cls.__name__
        for cls in found
        if any("__call__" in vars(base) for base in cls.__mro__)
        and not inspect.isabstract(cls)
        and not issubclass(cls, exact.BaseFit)  # which gives one, of data
        and cls.__module__.startswith("markovbridge.")
    }


def test_every_law_is_tried_here():
    assert len(every_law()) >= 8
    missing = every_law() - KNOWN.keys()
    assert not missing, f"give an instance of {', '.join(sorted(missing))} and its law in KNOWN"


@pytest.mark.parametrize(("law", "truth"), CASES)
def test_without_a_coupling_the_samples_are_those_of_the_law(law, truth):
    transport = Transport(process_of(law), law, shape=(1,))
    assert transport.coupling is law.coupling
    samples = transport.sample(
        N, steps=4, sampler=Bridge(), block=N, generator=torch.Generator().manual_seed(0)
    )
    x = samples.double().numpy().ravel()
    if not hasattr(truth, "pmf"):
        assert stats.kstest(x, truth).pvalue > LEVEL
        return
    seen = np.bincount(x.astype(int), minlength=80)[:80]
    expected = N * truth.pmf(np.arange(80))
    assert not seen[expected == 0].any()
    rare = expected < 5
    seen, expected = (np.append(v[~rare], v[rare].sum()) for v in (seen, expected))
    kept = expected > 0
    assert seen.sum() == N
    assert stats.chisquare(seen[kept], expected[kept] * N / expected.sum()).pvalue > LEVEL


@pytest.mark.parametrize(("law", "truth"), CASES)
def test_without_a_coupling_the_likelihood_is_that_of_the_law(law, truth):
    transport = Transport(process_of(law), law, shape=(1,))
    real = not hasattr(truth, "pmf")
    x = torch.tensor([[2]])
    if real:  # where the density is largest
        line = np.linspace(-4, 4, 801)
        x = torch.tensor([[line[np.diff(truth(line)).argmax()]]], dtype=torch.float32)
    if isinstance(law.coupling, Pairs):
        with pytest.raises(ValueError, match="under Pairs the law of the source .* pass x0"):
            transport.log_likelihood(x)
        return
    bound = transport.log_likelihood(
        x.repeat(4, 1), draws=1000, block=8000, generator=torch.Generator().manual_seed(0)
    )
    found, error = float(bound.nats.mean()), float(bound.standard_error.mean()) / 2
    if real:
        at = float(x)
        expected = math.log((truth(at + 1e-4) - truth(at - 1e-4)) / 2e-4)
    else:
        expected = math.log(truth.pmf(2))
    # A mixture of bridges over a source is not Markov: there the bound lies below.
    below = 0.15 if isinstance(law.coupling, Independent) else 0.01
    assert expected - below - 5 * error < found < expected + 0.01 + 5 * error


@pytest.mark.parametrize(("law", "truth"), CASES)
def test_another_coupling_is_refused(law, truth):
    process = process_of(law)
    for coupling in OTHERS:
        if alike(coupling, law.coupling):
            assert Transport(process, law, shape=(1,), coupling=coupling).coupling is coupling
        else:
            with pytest.raises(
                ValueError, match="the exact law is for .*: give the coupling once"
            ):
                Transport(process, law, shape=(1,), coupling=coupling)
    assert Transport(process, law, shape=(1,), coupling=law.coupling).coupling is law.coupling


@pytest.mark.parametrize(("law", "truth"), CASES)
def test_another_process_is_refused(law, truth):
    process = process_of(law)
    other = (
        PureDeath(schedule=LinearSchedule())
        if process is DEATH
        else LinearDiffusion(Brownian(3.0))
    )
    with pytest.raises(ValueError, match="the exact law is for .*, but the process is"):
        Transport(other, law, shape=(1,))
    if isinstance(law, exact.DataLaw):
        with pytest.raises(ValueError, match="the exact law is for .*, but the process is"):
            exact.Mixture(other, (1.0,), [law])


def test_pairs_are_those_of_the_law():
    law = moments(-1.0, 0.7, -0.4)
    generator = torch.Generator().manual_seed(0)
    x1 = 2 + 0.5 * torch.randn(N, 1, dtype=torch.float64, generator=generator)
    joint = exact.Mixture(UNSTABLE, (0.5, 0.5), [law, moments(0.0, 2.0, 0.0)])
    for each, means, spreads in ((law, [-1.0], [0.7]), (joint, [-1.0, 0.0], [0.7, 2.0])):
        x0 = each.coupling.pair(UNSTABLE, x1, generator=generator)

        def cdf(x, means=means, spreads=spreads):
            each = [stats.norm(m, v**0.5).cdf(x) for m, v in zip(means, spreads, strict=True)]
            return sum(each) / len(each)

        assert stats.kstest(x0.numpy().ravel(), cdf).pvalue > LEVEL
        started = each.coupling.start(UNSTABLE, torch.zeros(N, 1), generator=generator)
        assert started.dtype == torch.float32
        assert stats.kstest(started.double().numpy().ravel(), cdf).pvalue > LEVEL
        cross = float(np.cov(x0.numpy().ravel(), x1.numpy().ravel())[0, 1])
        expected = -0.4 / len(means)
        assert abs(cross - expected) < 5 * (2 * 0.25 * 2 / N) ** 0.5
        mean, variance = each.coupling.moments(UNSTABLE, x1)
        assert float(mean) == pytest.approx(np.mean(means))
        assert float(variance) == pytest.approx(np.mean(spreads) + np.var(means))


def test_moments_that_a_coupling_has_are_those_of_the_coupling():
    gamma = torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
    process = LinearDiffusion(Brownian(), covariance=Dense(gamma))
    mean, start = torch.zeros(2), torch.tensor([1.0, 3.0])
    law = exact.Gaussian(process, mean, torch.eye(2), start, 0.49 * gamma)
    for coupling in (None, Independent(Gaussian(start, 0.7, correlated=True))):
        found = Transport(process, law, shape=(2,), coupling=coupling).coupling
        assert isinstance(found, Independent) and found.source.correlated
        assert found.source.std == pytest.approx(0.7)
    with pytest.raises(ValueError, match="another Independent"):
        other = Independent(Gaussian(start, 0.8, correlated=True))
        Transport(process, law, shape=(2,), coupling=other)
    kept = Independent(Gaussian(start, 0.7, correlated=True), preserve=True)
    with pytest.raises(ValueError, match="another Independent"):
        Transport(process, law, shape=(2,), coupling=kept)
    with pytest.raises(ValueError, match="under Dirac .* take Gaussian.coupled"):
        exact.Gaussian(process, mean, torch.eye(2), coupling=Dirac(0.0))
    with pytest.raises(TypeError, match="must be a Coupling, not 'independent'"):
        exact.Gaussian(process, mean, torch.eye(2), coupling="independent")


def test_components_of_several_couplings_need_pairs():
    parts = [
        exact.Empirical(BROWNIAN, torch.zeros(1, 1), coupling=Dirac(0.0)),
        normal(BROWNIAN, Independent()),
    ]
    with pytest.raises(ValueError, match="components of a mixture have one coupling, but the"):
        exact.Mixture(BROWNIAN, (0.5, 0.5), parts)


def test_a_reverse_process_is_one_of_time_reversal():
    data = exact.Empirical(PureDeath(maximum=7), POINTS, coupling=Dirac(0.0))
    with pytest.raises(ValueError, match="the exact law is for Dirac"):
        exact.Reverse(PureDeath(maximum=7), data)
    with pytest.raises(ValueError, match="but the process is"):
        exact.Reverse(PureDeath(7, LinearSchedule()), exact.Empirical(PureDeath(), POINTS))


def test_a_class_of_ones_own_says_its_coupling():
    with pytest.raises(TypeError, match="Silent does not say its coupling"):

        class Silent(exact.DataLaw):
            def marginal(self, x, t): ...
            def __call__(self, x, t, condition=None): ...

    class Told(exact.Poisson):
        pass

    assert Told(DEATH, 1.0).coupling == Noised()


def test_a_callable_that_says_nothing_is_taken_for_time_reversal():
    law = normal(UNSTABLE, Independent())

    def told(x, t, condition=None):
        return law(x, t)

    for each in (told, exact.MeanOnly(told)):
        assert Transport(UNSTABLE, each, shape=(1,)).coupling == Noised()
        assert Transport(UNSTABLE, each, shape=(1,), coupling=Dirac(0.0)).coupling == Dirac(0.0)
    told.coupling = Independent()
    assert Transport(UNSTABLE, told, shape=(1,)).coupling is told.coupling
    with pytest.raises(ValueError, match="the exact law is for Independent"):
        Transport(UNSTABLE, told, shape=(1,), coupling=Dirac(0.0))
