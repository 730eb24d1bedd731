"""Linear diffusions by mode, against those of numbers and against dense matrices."""

import math

import pytest
import torch

import markovbridge as mb
from markovbridge import covariances, exact
from markovbridge.covariances import (
    GMRF,
    Cosine,
    Dense,
    Eigenvectors,
    Fourier,
    Grouped,
    Haar,
    Matern,
    Modal,
    Torus,
)
from markovbridge.processes import BandClocks, BandSDE
from markovbridge.processes.base import Setting
from markovbridge.testing import check_process

EVENT = (2, 3, 4)
EDGES = (0.1, 0.3)
ODDS = (5.0, 1.0, 0.2)
VP = mb.VP(0.1, 8.0)


def states(rows=3, event=EVENT, seed=0):
    return torch.randn(rows, *event, generator=torch.Generator().manual_seed(seed)).double()


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def matrix(modes, event):
    """U, (mode, site), from its own inverse."""
    size = math.prod(event)
    every = torch.eye(size, dtype=torch.float64).reshape(-1, *event)
    return modes.inverse(every).reshape(size, size)


SAME = {
    "isotropic": (covariances.Isotropic(0.7), Cosine(edges=EDGES)),
    "torus": (Torus(Matern(0.8, 1.5, 1.0)), Fourier(edges=EDGES)),
    "gmrf": (GMRF(Matern(0.8, 1.5, 1.0)), Cosine(edges=EDGES)),
    "dense": (Dense(torch.eye(4) + 0.3), Dense(torch.eye(4) + 0.3).modes),
}


@pytest.mark.parametrize("direction", ["forward", "noising"])
@pytest.mark.parametrize("name", SAME)
def test_bands_that_are_alike_are_no_bands(name, direction):
    # All f_k, g_k alike: today's process of this covariance, white noise or not.
    covariance, modes = SAME[name]
    whole = mb.LinearDiffusion(VP, covariance, mb.CosineSchedule(), direction)
    alike = BandSDE((VP,) * modes.bands), BandClocks((1.0,) * modes.bands)
    x, y, z = states(), states(seed=1), states(seed=2)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    setting = Setting(whole, mb.Independent(), y.mean(0), torch.tensor(0.8).double())
    for sde, clocks in (alike, (VP, alike[1])):
        own = mb.LinearDiffusion(
            sde, covariance, mb.CosineSchedule(), direction, modes=modes, clocks=clocks
        )
        for ask in (
            lambda p: p.drift(x, y, t),
            lambda p: p.end_of_drift(x, y, t),
            lambda p: p.smoothed_score(x, y, z, t),
            lambda p: p.score(x, y, z, t),
            lambda p: p.divergence(mb.laws.Delta(z), x, y, t),
            lambda p: p.transition(x, 0.3, t.clamp_min(0.4)).log_prob(y),
            lambda p: p.transition(x, 0.95, t).log_prob(y),
            lambda p: p.bridge(x, y, 0.1, t, 1.0).log_prob(z),
            lambda p: p.bridge(x, y, 0.1, t, 1.0).variance,
            lambda p: p.source(x).log_prob(y),
            lambda p: p.extrapolated(x, y, 0.2, p.halfway(0.2, 0.9), 0.9),
        ):
            close(ask(own), ask(whole))
        if name == "isotropic":  # sites are no modes, but alike if their variances are
            for ask in (
                lambda p: p.standardise(x, t, setting),
                lambda p: p.regression(x, t, setting)[0],
            ):
                close(ask(own), ask(whole))


PULLS = (0.9, -1.3, -0.2)


@pytest.mark.parametrize("modes", [Cosine(edges=EDGES), Haar(1, EDGES), Fourier(1, EDGES)])
def test_transitions_and_bridges_are_those_of_the_matrix_exponential(modes):
    # dX = U^T diag(α) U X dr + dW, transitions by Van Loan's matrix exponential.
    event = (2, 4)
    process = mb.LinearDiffusion(
        BandSDE(tuple(mb.OrnsteinUhlenbeck(a, 0.5 + a**2) for a in PULLS)), modes=modes
    )
    size = math.prod(event)
    transform = matrix(modes, event)
    band = modes.band(event).expand(event).flatten()
    pull = transform.T @ torch.diag(torch.tensor(PULLS, dtype=torch.float64)[band]) @ transform
    sigma = torch.tensor([(0.5 + a**2) ** 2 for a in PULLS], dtype=torch.float64)[band]
    noise = transform.T @ torch.diag(sigma) @ transform

    def moves(s, t):
        block = torch.cat(
            [torch.cat([-pull, noise], 1), torch.cat([torch.zeros_like(pull), pull.T], 1)]
        )
        made = torch.linalg.matrix_exp(block * (t - s))
        gain = made[size:, size:].T
        return gain, gain @ made[:size, size:]

    s, t, u = 0.1, 0.45, 0.8
    x, y = states(2, event), states(2, event, 1)
    gain, spread = moves(s, t)
    law = process.transition(x, s, t)
    close(law.mean.flatten(1), x.flatten(1) @ gain.T)
    close(law.variance.flatten(1)[0], spread.diagonal())
    normal = torch.distributions.MultivariateNormal(x.flatten(1) @ gain.T, spread)
    close(law.log_prob(y), normal.log_prob(y.flatten(1)))
    after, later = moves(t, u)
    whole = after @ spread @ after.T + later
    slope = spread @ after.T @ torch.linalg.inv(whole)
    mean = x.flatten(1) @ gain.T + (y.flatten(1) - x.flatten(1) @ (after @ gain).T) @ slope.T
    bridge = process.bridge(x, y, s, t, u)
    close(bridge.mean.flatten(1), mean)
    normal = torch.distributions.MultivariateNormal(mean, spread - slope @ after @ spread)
    close(bridge.log_prob(x), normal.log_prob(x.flatten(1)), 1e-8)
    left, noise_left = moves(t, 1.0)
    aim = y.flatten(1) - x.flatten(1) @ left.T
    drift = x.flatten(1) @ pull.T + aim @ (noise @ left.T @ torch.linalg.inv(noise_left)).T
    close(process.drift(x, y, t).flatten(1), drift)


PROCESSES = {
    "clocks": mb.LinearDiffusion(
        mb.VP(),
        covariances.Isotropic(0.3),
        direction="noising",
        modes=Cosine(1, EDGES),
        clocks=BandClocks(ODDS, (2.0, 0.5, 0.1)),
    ),
    "sdes": mb.LinearDiffusion(
        BandSDE((mb.VP(), mb.OrnsteinUhlenbeck(-1.0), mb.Brownian(0.5))),
        schedule=mb.CosineSchedule(),
        modes=Cosine(1, EDGES),
        clocks=BandClocks(ODDS),
    ),
    "flow": mb.LinearDiffusion(mb.Brownian(0.0), modes=Fourier(1, EDGES), clocks=BandClocks(ODDS)),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_by_mode_keep_the_promises_of_a_process(name):
    check_process(PROCESSES[name], states(4, (4,)).float(), draws=400)


@pytest.mark.parametrize("direction", ["forward", "noising"])
def test_a_band_is_a_process_on_its_own_clock(direction):
    # φ = m p/(q + m p): a schedule of its own, without bands, has the same pieces.
    process = mb.LinearDiffusion(
        VP, direction=direction, modes=Cosine(edges=EDGES), clocks=BandClocks(ODDS)
    )
    for k, odds in enumerate(ODDS):
        clock = mb.SurvivalSchedule(
            lambda t, m=odds: m * t / (1 - t + m * t), lambda t, m=odds: (1 - t) / (1 - t + m * t)
        )
        single = mb.LinearDiffusion(VP, direction=direction, schedule=clock)
        for own, theirs in (
            (process.weights(0.1, 0.4, 0.9), single.weights(0.1, 0.4, 0.9)),
            (process.rates(0.4), single.rates(0.4)),
        ):
            for a, b in zip(own, theirs, strict=True):
                close(a[0, k], b, 1e-6)  # a SurvivalSchedule finds its rate by differences


def test_the_way_back_has_the_same_bridges():
    process = PROCESSES["clocks"]
    x, y = states(2, (4,)), states(2, (4,), 1)
    back = process.reversed().bridge(y, x, 0.2, 0.7, 0.9)
    close(process.bridge(x, y, 1 - 0.9, 1 - 0.7, 1 - 0.2).mean, back.mean)
    close(process.bridge(x, y, 1 - 0.9, 1 - 0.7, 1 - 0.2).variance, back.variance)


COUPLINGS = {
    "independent": mb.Independent(mb.couplings.Gaussian(0.3, 1.2, correlated=True)),
    "point": mb.Dirac(0.4),
    "reversal": mb.Noised(),
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_data_sets_are_mixtures_of_gaussians(name):
    # Weights by exact.Empirical are those of the dense law of x_t given each point.
    process, coupling = PROCESSES["clocks"], COUPLINGS[name]
    data, x = states(5, (4,)), states(3, (4,), 1)
    law = exact.Empirical(process, data, coupling=coupling)
    logs = []
    for point in data:
        at = exact.Gaussian.coupled(process, coupling, point, 1e-12 * torch.eye(4))
        logs.append(at.marginal(x, 0.4).log_prob(x))
    close(law.log_likelihood(x, 0.4), torch.stack(logs, 1), 1e-6)
    wanted = torch.stack(logs, 1).softmax(1) @ data
    close(law(x, 0.4).mean, wanted, 1e-6)


@pytest.mark.parametrize("name", ["point", "reversal"])
def test_the_likelihood_is_that_of_the_gaussian(name):
    # Data ∝ Γ in each band: the baseline knows the integral, and the bound is tight.
    modes = Cosine(1, EDGES)
    noise = Modal(modes, (2.0, 0.6, 0.2))
    process = mb.LinearDiffusion(
        VP, noise, direction="noising", modes=modes, clocks=BandClocks(ODDS)
    )
    event = (4,)
    mean = torch.zeros(event, dtype=torch.float64)
    spread = (noise @ torch.eye(4, dtype=torch.float64)).double()
    law = exact.Gaussian.coupled(process, COUPLINGS[name], mean, spread)
    model = mb.Transport(process, law, shape=event)
    x = states(3, event, 3)
    x = (x - x.mean()) / x.std(correction=0) * spread.diagonal().mean().sqrt()
    found = model.log_likelihood(x, draws=32, generator=torch.Generator().manual_seed(0))
    normal = torch.distributions.MultivariateNormal(mean, spread)
    error = (found.nats - normal.log_prob(x)).abs()
    assert float(error.max()) < 1e-3
    assert float(found.standard_error.max()) < 5e-4


@pytest.mark.parametrize("predicts", ["end", "residual", "drift", "noise", "score", "start"])
def test_heads_say_the_same_mean_by_mode(predicts):
    process, coupling = PROCESSES["clocks"], COUPLINGS["independent"]
    head = mb.EndpointHead(predicts)
    head.check(process, coupling)
    mean, variance = torch.full((4,), 0.2).double(), torch.full((4,), 0.7).double()
    setting = Setting(process, coupling, mean, variance)
    x, end = states(3, (4,)), states(3, (4,), 1)
    t = torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64)
    kernel = coupling.kernel(process, t)
    guess, left = process.regression(x, t, setting)
    raw = {
        "end": (end - mean) / variance.sqrt(),
        "residual": (end - guess) / left,
        "drift": process.drift(x, end, t),
        "noise": kernel.noise(x, end),
        "score": process.covariance.solve(kernel.smoothed_score(x, end)),
        "start": kernel.start_mean(x, end),
    }[predicts]
    close(head.end(setting, raw, x, t), end, 1e-8)


def test_the_guess_by_mode_is_the_regression_of_the_data_with_this_spectrum():
    process = PROCESSES["clocks"]
    coupling = COUPLINGS["independent"]
    modes, spectrum = process.modes, process.clocks.spectrum
    data = Modal(modes, spectrum) @ torch.eye(4, dtype=torch.float64)
    mean = torch.full((4,), 0.2, dtype=torch.float64)
    law = exact.Gaussian.coupled(process, coupling, mean, data)
    setting = Setting(process, coupling, mean, data.diagonal())
    x = states(3, (4,))
    guess, left = process.regression(x, 0.4, setting)
    close(guess, law(x, 0.4).mean, 1e-5)
    close((left**2).expand_as(x), law(x, 0.4).variance, 1e-5)
    seen = process.standardise(x, torch.tensor(0.4), setting)[:, 0]
    marginal = law.marginal(x, 0.4)
    close(seen, (x - marginal.mean) / marginal.variance.sqrt(), 1e-5)


def test_what_does_not_fit_is_refused():
    modes, clocks = Cosine(1, EDGES), BandClocks(ODDS)
    for asked, says in (
        (lambda: mb.LinearDiffusion(clocks=clocks), "need modes"),
        (lambda: mb.LinearDiffusion(BandSDE((VP, VP))), "need modes"),
        (lambda: mb.LinearDiffusion(modes=modes, clocks=BandClocks((1.0, 2.0))), "3"),
        (lambda: mb.LinearDiffusion(modes=modes, clocks=clocks, offset=1.0), "offset"),
        (lambda: BandClocks((1.0, 0.0)), "positive"),
        (lambda: BandSDE((mb.Brownian(0.0), VP)), "noise"),
        (lambda: BandClocks((1.0, 2.0), (1.0,)), "spectrum"),
        (lambda: Grouped(modes, [0.5, 1.0]), "band"),
        (lambda: Haar(1).forward(torch.zeros(1, 6)), "8"),
        (lambda: Eigenvectors(torch.ones(2, 2)), "orthonormal"),
        (lambda: Eigenvectors(torch.eye(3)).forward(torch.zeros(1, 4)), "fit no"),
    ):
        with pytest.raises(ValueError, match=says):
            asked()
    other = mb.LinearDiffusion(
        covariance=Torus(Matern(), 1), modes=Cosine(1, EDGES), clocks=BandClocks(ODDS)
    )
    with pytest.raises(ValueError, match="do not diagonalise"):
        other.bridge(states(1, (4,)), states(1, (4,)), 0.0, 0.5, 1.0)


def test_models_by_mode_are_saved(tmp_path):
    process = mb.LinearDiffusion(
        BandSDE((mb.VP(), mb.VP(), mb.OrnsteinUhlenbeck(-1.0))),
        Modal(Cosine(1, EDGES), (1.0, 0.5, 0.2)),
        modes=Grouped(Cosine(1), [0, 1, 1, 2]),
        clocks=BandClocks(ODDS),
    )
    network = mb.networks.MLP((4,), 1, 1, width=8)
    model = mb.Transport(process, network, mb.EndpointHead(), shape=(4,), coupling=mb.Dirac())
    model.save_pretrained(tmp_path)
    again = mb.Transport.from_pretrained(tmp_path)
    draws = [
        m.sample(3, steps=2, generator=torch.Generator().manual_seed(0)) for m in (model, again)
    ]
    assert torch.equal(*draws)


def test_clocks_between_none_and_these():
    clocks = BandClocks((4.0, 1.0, 0.25), (3.0, 2.0, 1.0))
    assert clocks.between() == BandClocks((2.0, 1.0, 0.5))
    assert clocks.between(0) == BandClocks((1.0, 1.0, 1.0))
    assert clocks.between(1) == BandClocks(clocks.odds)
    for share in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="share"):
            clocks.between(share)
