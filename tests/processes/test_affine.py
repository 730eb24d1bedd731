"""Diffusions with a drift of their own beside the pull: against quadrature and closed forms."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import markovbridge as mb
from markovbridge import exact, processes
from markovbridge.couplings import Gaussian
from markovbridge.couplings.base import same
from markovbridge.covariances import Dense
from markovbridge.processes import Setting
from markovbridge.samplers import EulerMaruyama, Midpoint, ProbabilityFlow
from markovbridge.storage.config import from_config, to_config

LEVEL = 1e-5
C = torch.tensor([1.5, -0.7], dtype=torch.float64)
GAMMA = Dense(torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64))
SDES = {
    "brownian": mb.Brownian(0.8),
    "ou": mb.OrnsteinUhlenbeck(-1.3, 0.7),
    "unstable": mb.OrnsteinUhlenbeck(0.9, 0.7),
    "ve": processes.VE(0.1, 3.0),
    "vp": mb.VP(0.1, 6.0),
    "sub-vp": processes.SubVP(0.1, 6.0),
    "own": mb.Coefficients(lambda r: torch.cos(3 * r), lambda r: 0.5 + r),
}
TIMES = (0.15, 0.5, 0.85)


DIRECTIONS = ("forward", "noising")


def turns():
    """Every SDE in one direction, the two taking turns; in both with --whole."""
    for k, name in enumerate(SDES):
        for direction in DIRECTIONS:
            marks = [] if direction == DIRECTIONS[k % 2] else [pytest.mark.whole]
            yield pytest.param((name, direction), marks=marks, id=f"{name}-{direction}")


@pytest.fixture(params=turns())
def pair(request):
    """A process with the drift, and the same without."""
    name, direction = request.param
    plain = mb.LinearDiffusion(SDES[name], GAMMA, mb.CosineSchedule(), direction)
    return replace(plain, offset=C), plain


def path(process, t):
    """h(t) with h = 0 where the clock begins: without noise, the affine SDE goes there."""
    clock = process.schedule.survival(t)
    if process.direction == "noising":
        clock = process.schedule.mortality(t)

    return torch.from_numpy(integrated(process.sde, float(clock)))


@functools.cache  # as many tests ask for few
def integrated(sde, clock):
    def slope(r, h):
        return float(sde.drift_rate(one(r))) * h + C.numpy()

    if clock == 0:
        return np.zeros(2)
    options = {"rtol": 1e-11, "atol": 1e-12, "method": "DOP853"}
    return integrate.solve_ivp(slope, (0, clock), np.zeros(2), **options).y[:, -1]


def points(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, dtype=torch.float64, generator=generator)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


def one(number):
    return torch.tensor(number, dtype=torch.float64)


def gain(u, sde, end):
    return math.exp(float(sde.log_gain(one(u), one(end - u))))


@pytest.mark.parametrize("name", SDES)
def test_shifts_are_integrals_of_gains(name):
    sde = SDES[name]
    for r, d in ((0.0, 1.0), (0.3, 0.5), (0.9, 1e-5), (0.2, 0.0)):
        expected, _ = integrate.quad(gain, r, r + d, (sde, r + d), epsabs=0, epsrel=1e-12)
        assert float(sde.shift(one(r), one(d))) == pytest.approx(expected, rel=1e-10)


def test_shifts_of_the_hardest_pull():
    r, d = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for alpha in (-300.0, 300.0):
        expected = math.expm1(alpha) / alpha
        found = float(mb.OrnsteinUhlenbeck(alpha).shift(r, d))
        assert found == pytest.approx(expected, rel=1e-10)


def test_less_the_noiseless_path_it_is_the_plain_process(pair):
    process, plain = pair
    x, y = points(3, 0), points(3, 1)
    begin, end = path(process, 0.0), path(process, 1.0)
    for t in TIMES:
        h = path(process, t)
        for s in (0.0, 0.3, 1.0):
            found, other = (
                process.transition(x, s, t),
                plain.transition(x - path(process, s), s, t),
            )
            close(found.mean, other.mean + h)
            close(found.variance, other.variance)
        found = process.bridge(x, y, 0.0, t, 1.0)
        other = plain.bridge(x - begin, y - end, 0.0, t, 1.0)
        close(found.mean, other.mean + h)
        close(found.variance, other.variance)
        slope = (path(process, t + 1e-4) - path(process, t - 1e-4)) / 2e-4
        drift, other = process.drift(x, y, t), plain.drift(x - h, y - end, t)
        torch.testing.assert_close(drift, other + slope, rtol=1e-5, atol=1e-5)
        speed = float(process.schedule.rate(t))
        close(process.end_of_drift(x, drift / speed, t), y)
        score = process.score(x, y, 2 * y, t)
        close(score, plain.score(x - h, y - begin, 2 * y - end, t))
        mean, variance = y.abs()[:2]
        sources = mb.Independent(Gaussian(x[0], 0.7)), mb.Independent(Gaussian(x[0] - begin, 0.7))
        for moved, still in ((mb.Noised(), mb.Noised()), sources):
            found = Setting(process, moved, mean, variance).standardise(x, t)
            other = Setting(plain, still, mean - end, variance).standardise(x - h, t)
            close(found, other)
    ends = process.bridge(x, y, 0.0, 0.0, 1.0).mean, process.bridge(x, y, 0.0, 1.0, 1.0).mean
    close(ends[0], x)
    close(ends[1], y)


def test_what_is_known_given_the_end(pair):
    process, plain = pair
    x, end = points(3, 0), points(3, 1)
    begin, last = path(process, 0.0), path(process, 1.0)
    source = torch.tensor([0.3, -0.4], dtype=torch.float64)
    couplings = [
        (mb.Noised(), mb.Noised()),
        (mb.Dirac(source), mb.Dirac(source - begin)),
        *[
            tuple(mb.Independent(Gaussian(mean, 0.6, correlated=True)) for mean in means)
            for means in [(source, source - begin)]
        ],
    ]
    times = torch.tensor(TIMES, dtype=torch.float64)
    for coupling, other in couplings:
        for t in (0.4, times):
            known, less = coupling.kernel(process, t), other.kernel(plain, t)
            h = torch.stack([path(process, float(u)) for u in times.reshape(-1)])
            h = path(process, 0.4) if isinstance(t, float) else h
            close(known.centre(end), less.centre(end - last) + h)
            close(known.smoothed_score(x, end), less.smoothed_score(x - h, end - last))
            close(known.noise(x, end), less.noise(x - h, end - last))
            close(known.start_mean(x, end), less.start_mean(x - h, end - last) + begin)
            close(known.end_of_centre(known.centre(end), x), end)
            if coupling is not couplings[0][0] and coupling.kernel(process, 0.4).recall > 0:
                close(known.end_of_start(x, known.start_mean(x, end), x), end)
            law = coupling.given_end(process, end, t)
            close(law.mean, known.centre(end))


def test_likelihoods_end_and_are_compared_as_the_plain_ones(pair):
    process, plain = pair
    x, x0, x1, t = points(3, 0), points(3, 1), points(3, 2), torch.tensor(TIMES).double()
    begin, end = path(process, 0.0), path(process, 1.0)
    h = torch.stack([path(process, u) for u in TIMES])
    found = process.decoder(x0, x1, 0.05)
    close(found, plain.decoder(x0 - begin, x1 - end, 0.05))
    site = x1[:, :1].expand(3, 2)
    for coupling, told in ((mb.Noised(), None), (mb.Dirac(0.3), None), (mb.Paired(), x0)):
        ours = process.baseline(coupling, site, told, 0.01)
        mean = ours.mean
        law = ours.law(x, t, x0)
        if told is not None:
            expected = plain.bridge(x0 - begin, mean - end.expand(3, 2), 0.0, t, 1.0).mean
        elif isinstance(coupling, mb.Dirac):
            from_point = torch.full_like(x, 0.3) - begin
            expected = plain.bridge(from_point, mean - end.expand(3, 2), 0.0, t, 1.0).mean
        else:
            expected = plain.transition(mean - end.expand(3, 2), 1.0, t).mean
        at_centre = ours.law(expected + h, t, x0)
        torch.testing.assert_close(at_centre.mean, mean.expand(3, 2).clone(), rtol=1e-5, atol=1e-6)
        assert float((law.mean - mean).abs().max()) > 0.01


def test_it_reverts_to_a_level():
    alpha, level = 1.7, torch.tensor([2.0, -1.0], dtype=torch.float64)
    for direction in ("forward", "noising"):
        process = mb.LinearDiffusion(
            mb.OrnsteinUhlenbeck(-alpha, 0.6), direction=direction, offset=alpha * level
        )
        x = points(4, 0)
        s, t = (0.2, 0.9) if direction == "forward" else (0.9, 0.2)
        found = process.transition(x, s, t)
        close(found.mean, level + math.exp(-alpha * 0.7) * (x - level))
        spread = 0.36 * -math.expm1(-2 * alpha * 0.7) / (2 * alpha)
        close(found.variance, torch.full_like(x, spread))
        close(process.bridge(x * 0 + level, x * 0 + level, 0.0, 0.4, 1.0).mean, x * 0 + level)
    mean = process.source(torch.zeros(1, 2, dtype=torch.float64)).mean
    close(mean, (1 - math.exp(-alpha)) * level.unsqueeze(0))


def test_number_and_tensor_and_none(pair):
    process, plain = pair
    x = points(3, 0)
    assert torch.equal(replace(process, offset=0.0).drift(x, x, 0.4), plain.drift(x, x, 0.4))
    number, each = (replace(process, offset=c) for c in (2.0, torch.full((2,), 2.0)))
    close(number.bridge(x, x, 0.0, 0.4, 1.0).mean, each.bridge(x, x, 0.0, 0.4, 1.0).mean)
    assert not plain.affine and number.affine


NORMAL = torch.tensor([0.5, 1.0], dtype=torch.float64), torch.tensor([[0.3, 0.1], [0.1, 0.5]])
COUPLINGS = {
    "noised": mb.Noised(),
    "dirac": mb.Dirac(0.4),
    "independent": mb.Independent(Gaussian(-0.5, 0.8, correlated=True)),
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_gaussian_data_are_carried(name):
    coupling, (mean, covariance) = COUPLINGS[name], NORMAL
    noised = name == "noised"
    process = mb.LinearDiffusion(
        mb.OrnsteinUhlenbeck(-3.0 if noised else 0.7, 1.5),
        GAMMA,
        direction="noising" if noised else "forward",
        offset=C,
    )
    law = exact.Gaussian.coupled(process, coupling, mean, covariance.double())
    model = mb.Transport(process, law, shape=(2,))
    x = points(5, 0)
    for t in (0.3, 0.8):
        score = model.score(x, t)
        y = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(law.marginal(y, t).log_prob(y).sum(), y)
        torch.testing.assert_close(score, slope, rtol=1e-4, atol=1e-5)
    bound = model.log_likelihood(x.float(), draws=64, generator=torch.Generator().manual_seed(0))
    true = stats.multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x.numpy())
    off = (bound.nats - torch.from_numpy(true)).numpy()
    slack = 5 * bound.standard_error.numpy() + 2e-3
    if noised:  # the source is that of centred data of unit variance, which these are not
        exact_source = law.marginal(x[:1], 0.0)
        assert float((exact_source.mean - process.source(x[:1]).mean).abs().max()) < 0.1
        slack = slack + 0.1
    assert (off < slack).all()
    if name == "dirac":
        assert (off > -slack).all()
    walks = [mb.Bridge(), Midpoint()] + [EulerMaruyama(), ProbabilityFlow()] * (not noised)
    for sampler in walks[: 2 if name == "dirac" else 4]:
        if noised:
            start = law.marginal(torch.zeros(4000, 2), 0.0)
            begun = start.sample(generator=torch.Generator().manual_seed(1))
            options = {"steps": 20, "sampler": sampler, "block": 4000}
            made = model.translate(begun, generator=torch.Generator().manual_seed(2), **options)
        else:
            generator = torch.Generator().manual_seed(2)
            made = model.sample(4000, steps=60, sampler=sampler, block=4000, generator=generator)
        for site in range(2):
            normal = stats.norm(float(mean[site]), float(covariance[site, site]) ** 0.5)
            assert stats.kstest(made[:, site].double().numpy(), normal.cdf).pvalue > LEVEL


def test_data_sets_are_carried(pair):
    process, plain = pair
    begin, end = path(process, 0.0), path(process, 1.0)
    x, data, sources = points(4, 0), points(6, 1), points(4, 2)
    for coupling, other in (
        (mb.Noised(), mb.Noised()),
        (mb.Independent(sources), mb.Independent(sources - begin)),
    ):
        law = exact.Empirical(process, data, coupling=coupling)
        less = exact.Empirical(plain, data - end, coupling=other)
        for t in TIMES:
            h = path(process, t)
            close(law(x, t).log_weights, less(x - h, t).log_weights)
            close(law.marginal(x, t).log_prob(x), less.marginal(x - h, t).log_prob(x - h))
            if isinstance(coupling, mb.Independent):
                told = law.given_start(x, t, sources).log_weights
                close(told, less.given_start(x - h, t, sources - begin).log_weights)
    law = exact.Gaussian(process, *NORMAL)
    less = exact.Gaussian(plain, NORMAL[0] - end, NORMAL[1], -begin)
    for t in TIMES:
        h = path(process, t)
        close(law(x, t).mean, less(x - h, t).mean + end)
        told = law.given_start(x, t, sources).mean
        close(told, less.given_start(x - h, t, sources - begin).mean + end)
    back = process.reversed()
    for t in TIMES:
        forth = process.bridge(x, sources, 0.0, t, 1.0).mean
        close(back.bridge(sources, x, 0.0, 1 - t, 1.0).mean, forth)


def test_it_is_written_and_read():
    process = mb.LinearDiffusion(mb.VP(), offset=torch.tensor([0.5, 1.0]))
    again = from_config(to_config(process))
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    bridges = [p.bridge(x, x, 0.0, 0.4, 1.0).mean for p in (process, again)]
    assert torch.equal(*bridges)
    assert same(process, replace(process, offset=torch.tensor([0.5, 1.0])))
    for wrong in (math.nan, "much", torch.tensor([math.inf])):
        with pytest.raises((TypeError, ValueError), match="offset"):
            mb.LinearDiffusion(offset=wrong)
