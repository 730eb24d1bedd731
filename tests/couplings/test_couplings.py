"""Couplings against the joint laws they stand for."""

import itertools
import math

import pytest
import torch
from scipy import stats

from markovbridge import (
    VP,
    Brownian,
    Dirac,
    EndpointHead,
    Independent,
    LinearDiffusion,
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
from markovbridge.covariances import Dense, Matern, Torus
from markovbridge.processes import IntervalSupport, Setting
from markovbridge.storage.config import from_config, to_config

LEVEL = 1e-5
CORRELATED = Torus(Matern(smoothness=1.5, length=1.0), dimension=1)

KNOWN = {
    "noised": (LinearDiffusion(VP(0.1, 3.0), direction="noising"), Noised()),
    "noised-forward": (LinearDiffusion(OrnsteinUhlenbeck(0.7)), Noised()),
    "dirac": (LinearDiffusion(Brownian(0.8)), Dirac(0.5)),
    "independent": (LinearDiffusion(Brownian(0.8)), Independent(Gaussian(-1.0, 0.5))),
    "correlated": (
        LinearDiffusion(Brownian(0.8), covariance=CORRELATED),
        Independent(Gaussian(0.3, 0.5, correlated=True)),
    ),
}


def draws(name, t, x1, seed=0):
    """x_0 and x_t given x_1, by the coupling and the bridge alone."""
    process, coupling = KNOWN[name]
    generator = torch.Generator().manual_seed(seed)
    x0 = coupling.pair(process, x1, generator=generator)
    return x0, process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator)


@pytest.mark.parametrize("name", KNOWN)
def test_law_given_the_end_is_that_of_the_mixture(name):
    process, coupling = KNOWN[name]
    x1 = torch.full((20000, 8), 1.5, dtype=torch.float64)
    _, x = draws(name, 0.4, x1)
    law = coupling.given_end(process, x1, 0.4)
    total = x.sum(1).numpy()  # sees the correlations as well
    ones = torch.ones(1, 8, dtype=torch.float64)
    scale = float(law.variance[0, 0] / process.covariance.variance((8,))[0]) ** 0.5
    deviation = scale * float((ones * (process.covariance @ ones)).sum()) ** 0.5
    reference = stats.norm(float(law.mean[0].sum()), deviation)
    assert stats.kstest(total, reference.cdf).pvalue > LEVEL


@pytest.mark.parametrize("name", KNOWN)
def test_kernel_regresses_the_source(name):
    # E[x_0 | x_t, x_1] minimises the squared error: its residual is uncorrelated with x_t.
    process, coupling = KNOWN[name]
    x1 = torch.full((20000, 8), 1.5, dtype=torch.float64)
    x0, x = draws(name, 0.4, x1)
    residual = x0 - coupling.kernel(process, 0.4).start_mean(x, x1)
    if name == "dirac":
        assert float(residual.abs().max()) < 1e-12
        return
    assert abs(float(residual.mean(1).mean())) < 5 * float(residual.mean(1).std()) / 20000**0.5
    products = (residual * (x - x.mean(0))).mean(1)
    assert abs(float(products.mean())) < 5 * float(products.std()) / 20000**0.5


@pytest.mark.parametrize("name", ["noised", "dirac", "independent", "correlated"])
def test_score_of_the_kernel_is_that_of_both_ends(name):
    process, coupling = KNOWN[name]
    x, end = torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = coupling.kernel(process, 0.4)
    expected = process.smoothed_score(x, kernel.start_mean(x, end), end, 0.4)
    torch.testing.assert_close(kernel.smoothed_score(x, end), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("coupling", [Independent(Gaussian(torch.ones(2))), Dirac(torch.ones(2))])
def test_the_mean_of_a_source_goes_where_the_state_is(coupling):
    # At a float, as samplers ask: the mean is on the CPU, the state on another device.
    kernel = coupling.kernel(LinearDiffusion(), 0.5)
    x = torch.zeros(3, 2, device="meta")
    for found in (kernel.centre(x), kernel.start_mean(x, x), kernel.smoothed_score(x, x)):
        assert found.device == x.device
        assert found.shape == x.shape
    assert kernel.end_of_centre(x, x).device == x.device


def test_noised_vp_is_denoising_diffusion():
    # DDPM in discrete time: betas from the piecewise integral of β(r), their cumulative
    # products, q(x_t | x_1), and the posterior q(x_{t-1} | x_t, x_1) as published.
    process, coupling = LinearDiffusion(VP(), direction="noising"), Noised()
    steps = 20
    edges = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    b = 0.1 * edges + 19.9 * edges**2 / 2
    beta = 1 - torch.exp(-(b[1:] - b[:-1]))
    bar = torch.cumprod(1 - beta, 0)
    x1, x = torch.randn(2, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for i in (1, 7, 19):
        t, s = 1 - float(edges[i + 1]), 1 - float(edges[i])
        law = coupling.given_end(process, x1, t)
        torch.testing.assert_close(law.mean, bar[i].sqrt() * x1, rtol=1e-11, atol=0)
        torch.testing.assert_close(law.variance, (1 - bar[i]).expand(1, 4), rtol=1e-11, atol=0)
        posterior = process.bridge(x, x1, t, s, 1.0)
        mean = (bar[i - 1].sqrt() * beta[i] * x1 + (1 - beta[i]).sqrt() * (1 - bar[i - 1]) * x) / (
            1 - bar[i]
        )
        torch.testing.assert_close(posterior.mean, mean, rtol=1e-9, atol=1e-12)
        tilde = (1 - bar[i - 1]) / (1 - bar[i]) * beta[i]
        torch.testing.assert_close(posterior.variance, tilde.expand(1, 4), rtol=1e-9, atol=0)
        # The head's law around a predicted end makes the two variances of that paper.
        for spread, variance in ((0.0, tilde), (1.0, beta[i])):
            head = EndpointHead("noise", spread=spread).around(process, x1, t)
            gain = process.weights(t, s, 1.0)[1]
            total = posterior.variance + gain**2 * head.variance
            torch.testing.assert_close(total, variance.expand(1, 4), rtol=1e-9, atol=0)


def test_dirac_starts_where_it_says():
    process = LinearDiffusion()
    like = torch.zeros(3, 2)
    value = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(Dirac(value).start(process, like), value.expand(3, 2))
    counts = Dirac(0.0).pair(PureDeath(maximum=5), torch.ones(3, 2, dtype=torch.int64))
    assert counts.dtype == torch.int64
    assert not bool(counts.any())
    bounded = LinearDiffusion(support=IntervalSupport(0.0, 4.0))
    torch.testing.assert_close(Dirac(2.0).start(bounded, like), torch.zeros(3, 2))


def test_sources_are_drawn_from():
    process = LinearDiffusion()
    rows = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    like = torch.zeros(3000, 2)
    drawn = Independent(rows).start(process, like, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn[:, 1], 10 * drawn[:, 0])
    counts = drawn[:, 0].long().bincount(minlength=4)[1:].numpy()
    assert stats.chisquare(counts).pvalue > LEVEL

    def uniform(like, generator):
        return torch.rand(like.shape, generator=generator)

    drawn = Independent(uniform).pair(process, like, generator=torch.Generator().manual_seed(0))
    assert stats.kstest(drawn.numpy().ravel(), "uniform").pvalue > LEVEL
    first = Independent(uniform).pair(process, like, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, drawn)


def test_a_data_source_is_loaded():
    from markovbridge.data import Digits

    process = LinearDiffusion()
    like = torch.zeros(50, 1, 8, 8)
    drawn = Independent(Digits()).start(process, like, generator=torch.Generator().manual_seed(0))
    known = {tuple(row.tolist()) for row in Digits().load().x.flatten(1).float()}
    assert all(tuple(row.tolist()) in known for row in drawn.flatten(1))


def test_moments_of_a_source_standardise():
    process = LinearDiffusion(Brownian(0.1))
    rows = 5 + 3 * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    coupling = Independent(rows)
    setting = Setting(process, coupling, torch.zeros(2), torch.ones(2))
    features = setting.standardise(rows, 0.0)
    assert abs(float(features.mean())) < 1e-4
    assert abs(float(features.var(correction=0)) - 1) < 1e-4


def test_what_is_not_known_of_a_source_is_that_of_the_data():
    process, x = LinearDiffusion(), torch.zeros(3, 2)
    mean, variance = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    for coupling, known in (
        (Paired(), (mean, variance)),
        (Independent(lambda like, g: like), (mean, variance)),
        (MinibatchOT(Gaussian(0.5, 2.0)), (torch.tensor(0.5), torch.tensor(4.0))),
        (Dirac(7.0), (torch.full((2,), 7.0), torch.tensor(0.0))),
    ):
        found = Setting(process, coupling, mean, variance).source(x)
        assert all(torch.equal(a, b) for a, b in zip(found, known, strict=True)), coupling
    assert Setting(process, Noised(), mean, variance).source(x) is None


def test_minibatch_transport_is_the_best_matching():
    process = LinearDiffusion()
    generator = torch.Generator().manual_seed(3)
    x1 = torch.randn(6, 2, generator=generator)
    rows = torch.randn(40, 2, generator=generator)
    x0 = MinibatchOT(rows).pair(process, x1, generator=torch.Generator().manual_seed(5))
    drawn = Independent(rows).pair(process, x1, generator=torch.Generator().manual_seed(5))
    assert sorted(map(tuple, x0.tolist())) == sorted(map(tuple, drawn.tolist()))

    best = min(
        float(((x1 - drawn[list(order)]) ** 2).sum()) for order in itertools.permutations(range(6))
    )
    assert float(((x1 - x0) ** 2).sum()) == pytest.approx(best, rel=1e-6)
    # In one dimension the matching is the monotone one.
    x1 = torch.randn(50, 1, generator=generator)
    x0 = MinibatchOT().pair(process, x1, generator=generator)
    assert bool((x0[x1[:, 0].argsort(), 0].diff() >= 0).all())


class Both(torch.nn.Module):
    """The exact mean of x_1 given x_0 and x_t, for data that are twice their source."""

    def forward(self, features, t, condition):
        assert features.shape[1] == 2
        return 2 * features[:, 1:]


def test_preserving_the_coupling_takes_each_source_to_its_own_end():
    x0 = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    for coupling in (Paired(preserve=True), Independent(preserve=True)):
        transport = Transport(
            LinearDiffusion(), Both(), EndpointHead(), shape=(3,), mean=0.0, variance=1.0,
            coupling=coupling,
        )  # fmt: skip
        moved = transport.translate(x0, steps=4, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(moved, 2 * x0, rtol=1e-5, atol=1e-5)
        loss = transport.loss(2 * x0, x0=x0, generator=torch.Generator().manual_seed(1))
        assert float(loss.abs().max()) < 1e-6
        with pytest.raises(ValueError, match="x_0"):
            transport.law(x0, 0.5)
        with pytest.raises(ValueError, match="x_0"):
            transport.restore(x0, 0.5)


def test_translate_is_reproducible_row_by_row():
    process = LinearDiffusion()
    law = exact.Gaussian.coupled(process, Independent(), torch.zeros(3), torch.eye(3))
    transport = Transport(process, law, shape=(3,), coupling=Independent())
    x0 = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))

    def run(rows):
        generator = torch.Generator().manual_seed(1)
        return transport.translate(rows, steps=3, block=4, generator=generator)

    moved = run(x0)
    assert moved.shape == x0.shape
    assert torch.equal(run(x0[:6]), moved[:6])
    changed = x0.clone()
    changed[3] += 1
    again = run(changed)
    assert torch.equal(again[:3], moved[:3])
    assert torch.equal(again[4:], moved[4:])
    assert not torch.equal(again[3], moved[3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, x: Paired().pair(p, x), "pass x0 to the loss"),
        (lambda p, x: Paired().start(p, x), "translate"),
        (lambda p, x: Paired().kernel(p, 0.5), "backward model"),
        (lambda p, x: MinibatchOT().given_end(p, x, 0.5), "backward model"),
        (lambda p, x: Independent(torch.zeros(4, 3)).pair(p, x), "shape"),
        (lambda p, x: Independent(torch.zeros(4, 2)).kernel(p, 0.5), "backward model"),
        (lambda p, x: Independent(Gaussian(std=0.0)), "Dirac"),
        (lambda p, x: Gaussian(std=math.inf), "one finite number, not inf"),
        (lambda p, x: Gaussian(std=torch.ones(2)), "one finite number"),
        (lambda p, x: Independent(Gaussian(torch.zeros(3))).pair(p, x), r"shape \(3,\), which"),
        (lambda p, x: Dirac(torch.zeros(3)).start(p, x), r"shape \(3,\), which"),
        (lambda p, x: Dirac(torch.zeros(3)).given_end(p, x, 0.5), r"shape \(3,\), which"),
        (
            lambda p, x: Transport(
                p, Both(), EndpointHead(), shape=(2,), coupling=Paired(preserve=True)
            ).loss(x, x0=x[:3]),
            "x0 has 3 rows and x1 has",
        ),
        (lambda p, x: Noised().kernel(PureDeath(), 0.5), "LinearDiffusion"),
        (lambda p, x: Dirac(math.nan).pair(p, x), "nan"),
        (
            lambda p, x: Independent().kernel(LinearDiffusion(covariance=CORRELATED), 0.5),
            "correlated=True",
        ),
        (lambda p, x: Dirac().kernel(p, 0.0).smoothed_score(x, x), "no score"),
        (lambda p, x: Noised().kernel(p, 0.5).end_of_start(x, x, x), "says nothing"),
        (lambda p, x: Dirac().kernel(p, 0.5).end_of_start(x, x, x), "says nothing"),
    ],
)
def test_what_is_not_known_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(LinearDiffusion(), torch.zeros(5, 2))


def test_couplings_survive_their_configuration():
    process = LinearDiffusion()
    like = torch.zeros(4, 2)
    mean = torch.tensor([1.0, -2.0])
    for coupling in (Dirac(mean), Independent(Gaussian(mean, 0.5), preserve=True), MinibatchOT()):
        again = from_config(to_config(coupling))
        assert again.preserve == coupling.preserve
        first, second = (
            c.start(process, like, generator=torch.Generator().manual_seed(0))
            for c in (coupling, again)
        )
        assert torch.equal(first, second)
    kernel = from_config(to_config(Independent(Gaussian(mean)))).kernel(process, 0.5)
    torch.testing.assert_close(kernel.mean, mean.double(), rtol=0, atol=0)
    written = to_config(Independent(torch.zeros(1000, 2)))
    assert len(str(written)) < 300
    with pytest.raises(ValueError, match="pass `coupling` when loading"):
        from_config(written)


def test_a_source_is_checked():
    for source in (3.0, torch.distributions.Uniform(0.0, 1.0)):
        with pytest.raises(TypeError, match=r"source .* lambda like, g: torch.rand"):
            Independent(source)


def test_a_split_of_a_data_source():
    from markovbridge.couplings import Data
    from markovbridge.data import Digits

    coupling = Independent(Data(Digits(), "test"))
    assert from_config(to_config(coupling)).source == coupling.source
    like = torch.zeros(500, 1, 8, 8)
    drawn = coupling.start(LinearDiffusion(), like, generator=torch.Generator().manual_seed(0))
    known = {tuple(row.tolist()) for row in Digits().load("test").x.flatten(1).float()}
    assert {tuple(row.tolist()) for row in drawn.flatten(1)} <= known
    assert len(known) == 180


def test_processes_with_a_matrix_are_compared_by_value():
    matrix = torch.eye(2) + 0.1
    first, again, other = (
        LinearDiffusion(covariance=Dense(scale * matrix)) for scale in (1.0, 1.0, 2.0)
    )
    assert same(first, again) and not same(first, other)
