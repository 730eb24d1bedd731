"""Exact laws under linear diffusions, against conditioning, softmaxes and published digits."""

import math

import numpy as np
import pytest
import torch

from markovbridge import (
    VE,
    VP,
    Brownian,
    Dirac,
    Independent,
    LinearDiffusion,
    MinibatchOT,
    Noised,
    OrnsteinUhlenbeck,
    PureDeath,
    exact,
)
from markovbridge.couplings import Gaussian
from markovbridge.covariances import Dense, Matern, Torus
from markovbridge.exact import empirical

WEIGHTS, MEANS, DEVIATIONS = (0.3, 0.7), (-2.0, 1.0), (0.5, 0.3)


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positive(size, seed):
    root = random(size, size, seed=seed)
    return root @ root.T + 0.3 * torch.eye(size)


def mixture(process, coupling=None):
    coupling = coupling or Independent()
    parts = [
        exact.Gaussian.coupled(process, coupling, double([m]), double([[s**2]]))
        for m, s in zip(MEANS, DEVIATIONS, strict=True)
    ]
    return exact.Mixture(process, WEIGHTS, parts)


def test_published_digits_of_the_mixture():
    process, kernel = LinearDiffusion(Brownian()), Independent().kernel
    law = mixture(process)
    expected = {
        (0.0, 0.25): (0.184576577, -0.0461441443, 0.2461021027, 0.0615255257, 0.2153393399),
        (-1.0, 0.75): (
            -1.7079676528,
            None,
            -2.8318706113,
            -1.1239029585,
            -2.2699191321,
        ),
    }
    for (at, t), values in expected.items():
        x = double([[at]])
        end = law(x, t).mean
        start = kernel(process, t).start_mean(x, end)
        drift, score = process.drift(x, end, t), process.score(x, start, end, t)
        flow = drift - 0.5 * score
        for value, digits in zip((end, start, drift, score, flow), values, strict=True):
            assert digits is None or float(value) == pytest.approx(digits, abs=6e-10)
        # What x_t says of the source is the law of the reversed pair.
        back = exact.Mixture(process.reversed(), WEIGHTS, [p.reversed() for p in law.components])
        torch.testing.assert_close(back(x, 1 - t).mean, start)


def test_without_noise_the_drift_is_the_velocity_of_flow_matching():
    x = double([[0.5]])
    against_ends, against_limit = [], []
    limit = (mixture_mean_without_noise(x) - x) / 0.5
    for sigma in (1e-2, 1e-3):
        process = LinearDiffusion(Brownian(sigma))
        end = mixture(process)(x, 0.5).mean
        start = Independent().kernel(process, 0.5).start_mean(x, end)
        drift = process.drift(x, end, 0.5)
        against_ends.append(float(drift - (end - start)))
        against_limit.append(float(drift - limit))
    assert against_ends[0] == pytest.approx(-2.60e-6, abs=5e-9)
    assert against_ends[1] == pytest.approx(-2.60e-8, abs=5e-11)
    assert against_limit[0] / against_limit[1] == pytest.approx(100, rel=1e-3)


def mixture_mean_without_noise(x, t=0.5):
    """E[x_1 | (1 - t) x_0 + t x_1 = x], written out."""
    numerator = denominator = torch.zeros_like(x)
    for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True):
        spread = (1 - t) ** 2 + t**2 * s**2
        r = w * torch.exp(-((x - t * m) ** 2) / (2 * spread)) / spread**0.5
        numerator = numerator + r * (m + t * s**2 / spread * (x - t * m))
        denominator = denominator + r
    return numerator / denominator


def test_a_denoiser_serves_every_bridge():
    # E[x_1 | x_t] = D((x - p μ_0)/κ; √ρ/κ) for the denoiser D of x_1 + σ z: no retraining.
    x, t = double([[0.5]]), 0.5
    process = LinearDiffusion(Brownian())
    end = mixture(process)(x, t).mean
    assert float(end) == pytest.approx(0.8588236829, abs=1e-10)
    kernel = Independent().kernel(process, t)
    level = float(kernel.variance.sqrt() / kernel.gain)
    noisy = LinearDiffusion(VE(0.01, 50.0), direction="noising")
    variance = noisy.sde.sigma_min**2
    rate = 2 * math.log(50.0 / 0.01)
    time = 1 - math.log1p(level**2 / variance) / rate
    denoised = mixture(noisy, Noised())(x / kernel.gain, time).mean
    assert float(denoised) == pytest.approx(float(end), abs=1e-10)


@pytest.mark.parametrize("coupled", ["any", "independent", "dirac", "noised"])
def test_gaussian_pairs_are_conditioned(coupled):
    gamma = positive(3, 5)
    process = LinearDiffusion(OrnsteinUhlenbeck(0.7, 1.2), covariance=Dense(gamma))
    mean, start = random(3, seed=1), random(3, seed=2)
    joint = positive(6, 3)
    if coupled == "any":
        law = exact.Gaussian(process, mean, joint[3:, 3:], start, joint[:3, :3], joint[:3, 3:])
    else:
        coupling = {
            "independent": Independent(Gaussian(start, 0.7, correlated=True)),
            "dirac": Dirac(start),
            "noised": Noised(),
        }[coupled]
        law = exact.Gaussian.coupled(process, coupling, mean, joint[3:, 3:])
        joint = torch.zeros(6, 6, dtype=torch.float64)
        joint[3:, 3:] = law.covariance
        if coupled == "independent":
            joint[:3, :3] = 0.49 * gamma
        if coupled == "noised":
            gain, variance = (float(v) for v in process.piece(0.0, 1.0))
            start = mean / gain
            joint[:3, :3] = (law.covariance + variance * gamma) / gain**2
            joint[:3, 3:] = law.covariance / gain
            joint[3:, :3] = joint[:3, 3:].T
    t = 0.35
    p, k, c = (float(w) for w in process.weights(0.0, t, 1.0))
    # (x_1, x_t) as a linear map of (x_0, x_1) and the noise of the bridge.
    eye = torch.eye(3, dtype=torch.float64)
    mix = torch.cat([torch.cat([0 * eye, eye], 1), torch.cat([p * eye, k * eye], 1)])
    whole = mix @ joint @ mix.T
    whole[3:, 3:] += c * gamma
    x = random(4, 3, seed=7)
    regression = torch.linalg.solve(whole[3:, 3:], whole[3:, :3]).T
    expected = mean + (x - p * start - k * mean) @ regression.T
    posterior = law(x, torch.full((4,), t, dtype=torch.float64))
    torch.testing.assert_close(posterior.mean, expected)
    left = whole[:3, :3] - regression @ whole[3:, :3]
    torch.testing.assert_close(posterior.variance, left.diagonal().expand(4, 3))
    reference = torch.distributions.MultivariateNormal(expected[0], left)
    torch.testing.assert_close(posterior.log_prob(x)[0], reference.log_prob(x[0]))
    marginal = torch.distributions.MultivariateNormal(p * start + k * mean, whole[3:, 3:])
    torch.testing.assert_close(law.marginal(x, t).log_prob(x), marginal.log_prob(x))


def test_draws_of_a_pair_have_its_covariance():
    process = LinearDiffusion()
    law = exact.Gaussian(process, torch.zeros(2), positive(2, 0))
    posterior = law(torch.zeros(40000, 2, dtype=torch.float64), 0.5)
    draws = posterior.sample(generator=torch.Generator().manual_seed(0))
    matrix = posterior.matrices[0]
    # Each entry of a sample covariance has a variance below 2 (largest diagonal)²/n.
    error = (draws.T @ draws / len(draws) - matrix).abs().max()
    assert float(error) < 5 * math.sqrt(2 / len(draws)) * float(matrix.diagonal().max())


SIGMA0 = double([[2.0, 0.0], [0.0, 0.5]])
SIGMA1 = double([[1.0, 0.6], [0.6, 1.0]])
FIRST = (0.830776309, 0.355732835, 0.162961590, 0.312081884)
SECOND = (0.940924412, 0.441176898, 0.160472365, 0.339275149)
LIMIT = (0.977203810, 0.521033223, 0.130258306, 0.325912280)


def next_coupling(cross):
    """Cov(x_0, x_1) and Cov(x_1) of the transport made from this coupling, by its drift."""
    process = LinearDiffusion(Brownian())
    law = exact.Gaussian(process, torch.zeros(2).double(), SIGMA1, None, SIGMA0, cross)

    def slope(t):
        basis = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
        drift = process.drift(basis, law(basis, t).mean, t)
        return (drift[1:] - drift[0]).T

    flow, spread = torch.eye(2, dtype=torch.float64), SIGMA0
    steps = 200
    for i in range(steps):
        # Gauss–Legendre collocation of order 4 never asks for the end of the interval.
        h, c = 1 / steps, 0.5 - 3**0.5 / 6
        a, b = slope((i + c) * h), slope((i + 1 - c) * h)
        # Magnus' expansion of order 4 for the linear flow.
        generator = h * (a + b) / 2 + 3**0.5 / 12 * h**2 * (b @ a - a @ b)
        step = torch.linalg.matrix_exp(generator)
        noise = torch.zeros(2, 2, dtype=torch.float64)
        for node, w in zip(*np.polynomial.legendre.leggauss(4), strict=True):
            # Noise entering at a fraction of the step is carried by what is left of it.
            rest = torch.linalg.matrix_exp(generator * (1 - (node + 1) / 2))
            noise = noise + w / 2 * h * rest @ rest.T
        flow, spread = step @ flow, step @ spread @ step.T + noise
    return SIGMA0 @ flow.T, spread


def test_couplings_that_do_not_commute():
    first, spread = next_coupling(torch.zeros(2, 2).double())
    torch.testing.assert_close(first.flatten(), double(FIRST), rtol=0, atol=2e-9)
    torch.testing.assert_close(spread, SIGMA1, rtol=0, atol=1e-5)
    second, _ = next_coupling(first)
    torch.testing.assert_close(second.flatten(), double(SECOND), rtol=0, atol=2e-9)
    # The Schrödinger bridge is the fixed point: precision -I between the ends.
    limit = double(LIMIT).reshape(2, 2)
    again, _ = next_coupling(limit)
    torch.testing.assert_close(again, limit, rtol=0, atol=5e-9)
    joint = torch.cat([torch.cat([SIGMA0, limit], 1), torch.cat([limit.T, SIGMA1], 1)])
    torch.testing.assert_close(
        torch.linalg.inv(joint)[:2, 2:], -torch.eye(2).double(), rtol=0, atol=2e-8
    )


COUPLINGS = {
    "noised": (LinearDiffusion(VP(), direction="noising"), Noised()),
    "dirac": (LinearDiffusion(Brownian(0.6)), Dirac(0.4)),
    "independent": (LinearDiffusion(OrnsteinUhlenbeck(0.5)), Independent(Gaussian(-0.5, 0.8))),
    "correlated": (
        LinearDiffusion(
            Brownian(0.6), covariance=Torus(Matern(smoothness=1.5, length=1.0), dimension=2)
        ),
        Independent(Gaussian(0.2, 0.8, correlated=True)),
    ),
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_data_sets_weigh_points_by_bayes(name, monkeypatch):
    process, coupling = COUPLINGS[name]
    data, x = random(7, 1, 4, 4), random(3, 1, 4, 4, seed=1)
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)
    law = exact.Empirical(process, data, weights, coupling=coupling)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    joint = torch.stack(
        [
            coupling.given_end(process, y.expand(3, 1, 4, 4), t).log_prob(x) + w.log()
            for y, w in zip(data, weights / weights.sum(), strict=True)
        ],
        1,
    )
    torch.testing.assert_close(law(x, t).log_weights, joint.log_softmax(1), atol=1e-9, rtol=1e-9)
    expected = torch.einsum("bk,k...->b...", joint.softmax(1), data)
    torch.testing.assert_close(law(x, t).mean, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(
        law.marginal(x[:1], 0.2).log_prob(x[:1]), joint[:1].logsumexp(1), atol=1e-9, rtol=1e-9
    )
    monkeypatch.setattr(empirical, "PAIRS", 40)  # two points at a time
    chunked = exact.Empirical(process, data, weights, coupling=coupling)
    torch.testing.assert_close(chunked(x, t).log_weights, law(x, t).log_weights)


def test_near_the_data_one_point_carries_the_weight():
    process, coupling = COUPLINGS["independent"]
    data = random(200, 16).float()
    law = exact.Empirical(process, data, coupling=coupling)
    x = process.bridge(torch.zeros_like(data), data, 0.0, 1 - 1e-4, 1.0)
    atoms = law(x.sample(generator=torch.Generator().manual_seed(0)), 1 - 1e-4)
    assert bool((atoms.log_weights.argmax(1) == torch.arange(200)).all())
    effective = 1 / (atoms.log_weights.exp() ** 2).sum(1)
    torch.testing.assert_close(effective, torch.ones(200))
    start = law(torch.zeros(2, 16), 0.0)
    torch.testing.assert_close(start.log_weights.exp(), torch.full((2, 200), 1 / 200))


@pytest.mark.parametrize("name", COUPLINGS)
def test_at_the_data_the_point_that_is_there_carries_the_weight(name):
    process, coupling = COUPLINGS[name]
    data = random(7, 1, 4, 4)
    data[5] = data[2]
    data[6] = data[3]
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 3.0, 2.0])
    law = exact.Empirical(process, data, weights, coupling=coupling)
    near = data[1] + 1e-3
    x = torch.stack([data[0], near, data[2], data[3]])
    expected = torch.zeros(4, 7, dtype=torch.float64)
    expected[0, 0] = expected[1, 1] = expected[3, 6] = 1.0
    expected[2, 2], expected[2, 5] = 0.25, 0.75  # a point that is there twice
    torch.testing.assert_close(law(x, 1.0).log_weights.exp(), expected)
    torch.testing.assert_close(law(x, 1.0).mean[2:], data[2:4])
    # Times of a batch are not in each other's way.
    mixed = law(x, torch.tensor([0.5, 1.0, 0.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(mixed.log_weights[1::2].exp(), expected[1::2])
    torch.testing.assert_close(mixed.log_weights[::2], law(x[::2], 0.5).log_weights)


def test_counts_have_couplings_too():
    process = PureDeath(maximum=5)
    data = torch.tensor([[1], [4]])
    x = torch.tensor([[0], [1], [2]])
    noised = exact.Empirical(process, data)(x, 0.4)
    dirac = exact.Empirical(process, data, coupling=Dirac(0.0))(x, 0.4)
    torch.testing.assert_close(noised.log_weights, dirac.log_weights)


def test_what_has_no_closed_form_is_refused():
    process = LinearDiffusion()
    for coupling in (MinibatchOT(), Independent(lambda like, g: like)):
        with pytest.raises(ValueError, match=rf"under {type(coupling).__name__}.* take Noised"):
            exact.Empirical(process, random(3, 2), coupling=coupling)
    with pytest.raises(TypeError, match="PureDeath"):
        exact.Gaussian(PureDeath(), torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="covariance"):
        exact.Gaussian(process, torch.zeros(2), torch.eye(3))
    with pytest.raises(ValueError, match="start_mean"):
        exact.Gaussian(process, torch.zeros(2), torch.eye(2), torch.zeros(3))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.0, 1.0],), TypeError, "data must be a Tensor, not a list"),
        ((torch.zeros(3),), ValueError, r"not of shape \(3,\): .*data.unsqueeze\(1\)"),
        ((torch.zeros(0, 2),), ValueError, r"not of shape \(0, 2\)$"),
        ((torch.zeros(3, 2).long(),), TypeError, r"torch.int64: pass process.check\(data\)"),
        ((torch.zeros(3, 2), [1, 1, 1]), TypeError, "weights must be a tensor, not list"),
        ((torch.zeros(3, 2), torch.zeros(3)), ValueError, "not all zero"),
    ],
)
def test_data_sets_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        exact.Empirical(LinearDiffusion(), *arguments, coupling=Independent())


def test_counts_are_integers():
    with pytest.raises(TypeError, match=r"PureDeath carries torch.int64, not torch.float32: pass"):
        exact.Empirical(PureDeath(), torch.ones(3, 2))


def test_states_are_those_of_the_data():
    process, data = LinearDiffusion(), torch.zeros(3, 2)
    laws = (
        exact.Empirical(process, data, coupling=Dirac()),
        exact.Empirical(PureDeath(), data.long()),
        exact.Gaussian(process, data[0], torch.eye(2)),
    )
    for law in laws:
        for call in (law, law.marginal):
            kind = law.process.dtype
            for shape in ((5, 3), (2,), (5, 2, 1)):
                with pytest.raises(ValueError, match=r"shape \(batch, 2\) of the data, not"):
                    call(torch.zeros(shape, dtype=kind), 0.5)
            with pytest.raises(TypeError, match=r"must be a [tT]ensor.*, not .*list"):
                call([[0.0, 0.0]], 0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.0], torch.eye(1)), TypeError, "mean must be a tensor, not list"),
        ((torch.zeros(1), [[1.0]]), TypeError, "covariance must be a tensor, not list"),
        ((torch.zeros(1), -torch.eye(1)), ValueError, "covariance .* negative eigenvalue, .*-1"),
        ((torch.zeros(1), torch.eye(1), None, -torch.eye(1)), ValueError, "^start_covariance"),
        ((torch.zeros(2), torch.ones(2, 2).triu()), ValueError, "covariance must be symmetric"),
        ((torch.zeros(1), torch.tensor([[math.nan]])), ValueError, "covariance .*finite"),
    ],
)
def test_gaussian_data_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        exact.Gaussian(LinearDiffusion(), *arguments)
    with pytest.raises(TypeError, match="mean must be a tensor"):
        exact.Gaussian.coupled(LinearDiffusion(), Independent(), [0.0], torch.eye(1))
