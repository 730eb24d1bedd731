"""Linear diffusions without noise, σ = 0: flows, against maps and posteriors in closed form."""

import math

import pytest
import torch

import markovbridge as mb
from markovbridge import couplings, exact
from markovbridge.covariances import Dense
from markovbridge.laws import Delta
from markovbridge.testing import check_process

FLOWS = {
    "lines": mb.Brownian(0.0),
    "curves": mb.OrnsteinUhlenbeck(-1.3, 0.0),
}
QUIET = {"lines": mb.Brownian(1e-4), "curves": mb.OrnsteinUhlenbeck(-1.3, 1e-4)}
DIRECTIONS = ("forward", "noising")
ENDS = torch.tensor([[0.3, -1.0], [2.0, 0.5]]).double(), torch.tensor([[1.2, 4.0], [0.1, -0.7]])


def flow(name="lines", **options):
    return mb.LinearDiffusion(FLOWS[name], **options)


def weights(name, r):
    """Those of the start and the end at clock r: of lines, and of sinh."""
    if name == "lines":
        return 1 - r, r
    return math.sinh(1.3 * (1 - r)) / math.sinh(1.3), math.sinh(1.3 * r) / math.sinh(1.3)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FLOWS)
def test_a_bridge_is_a_point_of_the_curve_between_its_ends(name, direction):
    process, (x, y) = flow(name, direction=direction), ENDS
    for t in (0.0, 0.2, 0.75, 1.0):
        law = process.bridge(x, y.double(), 0.0, t, 1.0)
        assert isinstance(law, Delta)
        p, k = weights(name, t)
        torch.testing.assert_close(law.value, p * x + k * y.double(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FLOWS)
def test_drifts_and_bridges_are_the_limit_of_little_noise(name, direction):
    options = {"direction": direction, "offset": 0.4, "schedule": mb.CosineSchedule()}
    process, near = flow(name, **options), mb.LinearDiffusion(QUIET[name], **options)
    x, y = ENDS[0], ENDS[1].double()
    for t in (0.1, 0.5, 0.9):
        torch.testing.assert_close(process.drift(x, y, t), near.drift(x, y, t))
        mean = near.bridge(x, y, 0.05, t, 0.95).mean
        torch.testing.assert_close(process.bridge(x, y, 0.05, t, 0.95).mean, mean)
        assert float(process.diffusion(t)) == 0
        back = process.end_of_drift(x, process.drift(x, y, t) / process.schedule.rate(t), t)
        torch.testing.assert_close(back, y)
        assert process.halfway(0.1, t) == near.halfway(0.1, t)
    there = 1.0 if direction == "noising" else 0.0
    moved = process.transition(x, there, 0.5)
    assert isinstance(moved, Delta)
    torch.testing.assert_close(moved.mean, near.transition(x, there, 0.5).mean)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FLOWS)
def test_the_check_of_processes_takes_flows(name, direction):
    report = check_process(flow(name, direction=direction), torch.randn(6, 2))
    assert {"points", "ends of bridges", "drift", "diffusion"} <= set(report.checked)


def gaussian(process, **options):
    """Data N(2, 9/4) from N(-1, 1/4): the flow is the increasing map of one to the other."""
    source = couplings.Gaussian(-1.0, 0.5)
    mean, spread = torch.tensor([2.0]).double(), torch.tensor([[2.25]]).double()
    law = exact.Gaussian.coupled(process, mb.Independent(source), mean, spread)
    return mb.Transport(process, law, shape=(1,), **options), law


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (mb.ProbabilityFlow("heun"), 2),
        (mb.ProbabilityFlow("euler"), 1),
        (mb.EulerMaruyama(), 1),
        (mb.StochasticHeun(), 2),
        (mb.Midpoint(), 2),
    ],
)
@pytest.mark.parametrize("name", FLOWS)
def test_gaussians_flow_to_gaussians_by_the_known_map(name, sampler, order):
    model, _ = gaussian(flow(name))
    x0 = torch.tensor([[-2.0], [-1.0], [0.4]])
    end = 2.0 + 1.5 * (x0 + 1.0) / 0.5
    errors = []
    for steps in (16, 32):
        found = model.translate(x0, steps=steps, sampler=sampler)
        errors.append(float((found - end).abs().max()))
    assert errors[1] < (0.4 if order == 1 else 0.01)
    assert errors[0] / errors[1] > 2**order * 0.92


def test_in_several_dimensions_the_flow_is_along_common_axes():
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]]).double()
    before, after = torch.tensor([0.5, 2.0]).double(), torch.tensor([3.0, 0.2]).double()
    start, end = (turn @ torch.diag(v) @ turn.mT for v in (before, after))
    mean = torch.tensor([1.0, -2.0]).double()
    law = exact.Gaussian(flow(), mean, end, torch.zeros(2), start)
    model = mb.Transport(flow(), law, shape=(2,))
    x0 = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double()
    map_ = turn @ torch.diag((after / before).sqrt()) @ turn.mT
    found = model.translate(x0, steps=200, sampler=mb.ProbabilityFlow())
    torch.testing.assert_close(found.double(), mean + x0 @ map_.mT, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", FLOWS)
def test_the_posterior_of_a_data_set_is_in_closed_form(name):
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(5, 2, generator=generator)
    prior = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    coupling = mb.Independent(couplings.Gaussian(0.3, 0.8))
    law = exact.Empirical(flow(name), points, prior, coupling=coupling)
    x = torch.randn(7, 2, generator=generator)
    for t in (0.0, 0.3, 0.95):
        p, k = weights(name, t)
        apart = x.double().unsqueeze(1) - 0.3 * p - k * points.double()
        log = prior.double().log() - (apart**2).sum(-1) / (2 * (0.8 * p) ** 2)
        found = law(x, t).log_weights
        torch.testing.assert_close(found.exp(), log.softmax(1).float(), rtol=1e-5, atol=1e-6)
        density = (log - prior.double().sum().log()).logsumexp(1)
        density = density - math.log(2 * math.pi * (0.8 * p) ** 2)
        torch.testing.assert_close(law.marginal(x, t).log_prob(x), density, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sampler", [mb.Bridge(), mb.ProbabilityFlow(), mb.Midpoint()])
def test_samples_of_a_data_set_are_its_points_with_their_weights(sampler):
    points, prior = torch.tensor([[-3.0], [0.0], [4.0]]), torch.tensor([0.2, 0.5, 0.3])
    law = exact.Empirical(flow(), points, prior, coupling=mb.Independent())
    model = mb.Transport(flow(), law, shape=(1,))
    generator = torch.Generator().manual_seed(0)
    steps = 1 if isinstance(sampler, mb.Bridge) else 200
    found = model.sample(4000, steps=steps, sampler=sampler, generator=generator, block=4000)
    nearest = (found - points.mT).abs()
    assert float(nearest.min(1).values.max()) < 1e-3
    share = torch.nn.functional.one_hot(nearest.argmin(1), 3).double().mean(0)
    assert float((share - prior).abs().max()) < 0.04  # five standard errors


def test_a_network_learns_a_flow_by_the_squared_error_of_the_end():
    process, coupling = flow(), mb.Independent()
    for predicts in ("end", "drift", "residual", "noise", "start"):
        head = mb.EndpointHead(predicts)
        seen = {}

        def network(features, t, condition, seen=seen):
            seen["t"] = t
            return torch.full_like(features, 0.1)

        model = mb.Transport(process, network, head, shape=(3,), coupling=coupling)
        assert model.objective == mb.EndMSE()
        x1 = torch.randn(8, 3)
        loss = model.loss(x1, generator=torch.Generator().manual_seed(0))
        assert bool(loss.isfinite().all())
        if predicts == "drift":
            # |x_1 - ŷ|² = (1 - t)² |x_1 - x_0 - v|², which is what `DriftMatching` is.
            model.objective = mb.DriftMatching(truncation=0.0)
            again = model.loss(x1, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(again * (1 - seen["t"]) ** 2, loss, rtol=1e-4, atol=1e-4)


def test_paired_and_matched_sources_flow_without_a_score():
    head, network = mb.EndpointHead("drift"), lambda x, t, c: torch.ones_like(x)
    for coupling in (mb.Paired(), mb.MinibatchOT(torch.randn(9, 2)), mb.Independent(ENDS[1])):
        model = mb.Transport(flow(), network, head, shape=(2,), coupling=coupling)
        noisy = mb.EulerMaruyama(level=0.5), mb.StochasticHeun()  # of which nothing is left
        for sampler in (mb.ProbabilityFlow(), *noisy, mb.Midpoint()):
            found = model.translate(ENDS[1], steps=4, sampler=sampler)
            torch.testing.assert_close(found, ENDS[1] + 1, rtol=1e-5, atol=1e-5)


def network_of(coupling, **options):
    network = lambda x, t, c: torch.zeros_like(x[:, :1])  # noqa: E731
    return mb.Transport(
        flow(), network, mb.EndpointHead("end"), shape=(2,), coupling=coupling, **options
    )


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: network_of(mb.Noised()), ValueError, r"leads a state to one end.*Noised\(\)"),
        (lambda: network_of(mb.Dirac(0.0)), ValueError, r"leads a state to one end.*Dirac\(\)"),
        (lambda: network_of(mb.Paired(preserve=True)), ValueError, "take Independent"),
        (lambda: exact.Empirical(flow(), ENDS[1]), ValueError, "leads a state to one end"),
        (
            lambda: exact.Empirical(flow(), ENDS[1], coupling=mb.Independent(ENDS[1])),
            ValueError,
            "has no density",
        ),
        (
            lambda: network_of(mb.Independent(), objective=mb.PathKL()).loss(ENDS[1]),
            TypeError,
            r"no path KL: train with EndMSE\(\)",
        ),
        (
            lambda: network_of(mb.Independent()).log_likelihood(ENDS[1]),
            TypeError,
            "no likelihood bound: take sigma > 0",
        ),
        (lambda: flow().noised(ENDS[1]), TypeError, "no time reversal: take the coupling"),
        (
            lambda: flow().score(ENDS[1], ENDS[1], ENDS[1], 0.5),
            TypeError,
            "no score from the means of both ends",
        ),
        (
            lambda: mb.EndpointHead(spread=1.0).check(flow(), mb.Independent()),
            ValueError,
            "spread is in units of the noise",
        ),
        (lambda: mb.Brownian(-1.0), ValueError, "or 0 for a flow without noise"),
    ],
)
def test_what_has_no_limit_is_refused_in_a_sentence(ask, error, message):
    with pytest.raises(error, match=message):
        ask()


def test_a_correlated_source_and_its_score():
    """x_t = (1 - t) x_0 + t x_1 has the score of a mixture of Gaussians of the source's Γ."""
    matrix = torch.tensor([[1.0, 0.4], [0.4, 0.5]]).double()
    process = flow(covariance=Dense(matrix))
    coupling = mb.Independent(couplings.Gaussian(correlated=True))
    law = exact.Empirical(process, ENDS[1].double(), coupling=coupling)
    model = mb.Transport(process, law, shape=(2,), coupling=coupling)
    x = torch.tensor([[0.2, 0.1], [-0.4, 1.0]]).double().requires_grad_()
    normal = torch.distributions.MultivariateNormal(0.6 * x.detach()[:1] * 0, 0.36 * matrix)
    log = torch.stack([normal.log_prob(x - 0.4 * y) for y in ENDS[1].double()], 1).logsumexp(1)
    (score,) = torch.autograd.grad(log.sum(), x)
    torch.testing.assert_close(model.score(x.detach(), 0.4), score, rtol=1e-6, atol=1e-6)


def test_remedies_of_refusals_can_be_taken():
    process = flow()
    model = mb.Transport(process, exact.Empirical(process, ENDS[1], coupling=mb.Independent()),
                         shape=(2,))  # fmt: skip
    x, t = torch.zeros(2, 2), torch.full((2,), 0.5)
    for objective in (mb.EndNLL(), mb.Instantaneous()):
        with pytest.raises(TypeError, match=r"take EndMSE\(\)"):
            objective(process, Delta(x), x, x, t)
    with pytest.raises(ValueError, match="train with sigma > 0 and the coupling Noised"):
        model.restore(x, 0.5, steps=2)
    with pytest.raises(ValueError, match="its square too, or 0 for a flow"):
        mb.Brownian(1e-170)
