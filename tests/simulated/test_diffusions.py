"""Diffusions known by simulation: scores, reverse drifts and bounds against closed forms."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from markovbridge import laws
from markovbridge.simulated import DiffusionDynamics, OfLaw, ReverseDrift, fit
from problems_simulated import Small

PULL, NOISE, MEAN, STD = 1.5, 1.2, 0.8, 0.4


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass
class OU(DiffusionDynamics):
    """dX = -1.5 X ds + 1.2 dW, treated as if only simulation were known."""

    shape = (1,)

    def drift(self, x, t):
        return -PULL * x

    def noise(self, x, t):
        return torch.full_like(x[:, :1], NOISE)


class Bent(OU):
    """Noise that depends on the state."""

    shape = (2,)

    def noise(self, x, t):
        return 1 + 0.5 * torch.tanh(x) + 0.1 * x.sum(1, keepdim=True).sin()


def moments(t):
    """Mean and variance of the process at time t."""
    kept = math.exp(-PULL * (1 - t))
    limit = NOISE**2 / (2 * PULL)
    return kept * MEAN, kept**2 * STD**2 + limit * (1 - kept**2)


def chain(steps):
    """Those of its chain of Euler steps, from t = 1 down."""
    mean, variance, found = MEAN, STD**2, [(MEAN, STD**2)]
    for _ in range(steps):
        shrink = 1 - PULL / steps
        mean, variance = shrink * mean, shrink**2 * variance + NOISE**2 / steps
        found.append((mean, variance))
    return found


def data(n, seed=0):
    return MEAN + STD * torch.randn(n, 1, dtype=torch.float64, generator=rng(seed))


def normal(mean, variance):
    def law(n):
        like = torch.ones(n, 1, dtype=torch.float64)
        return laws.Normal(mean * like, math.sqrt(variance) * like)

    return OfLaw(law)


class Mirror(nn.Module):
    def forward(self, features, t):
        return features


class Line(nn.Module):
    """An affine score for each Euler step."""

    def __init__(self, steps, values=None):
        super().__init__()
        values = torch.zeros(steps + 1, 2, dtype=torch.float64) if values is None else values
        self.steps, self.values = steps, nn.Parameter(values)

    def forward(self, features, t):
        slope, offset = self.values[(t.double() * self.steps).round().long()].unbind(1)
        return slope * features[:, 0, 0].double() + offset


def exact_line(steps):
    """The score of the chain's marginals less 2b/σ², time 0 first."""
    found = [[2 * PULL / NOISE**2 - 1 / v, m / v] for m, v in reversed(chain(steps))]
    return Line(steps, torch.tensor(found, dtype=torch.float64))


def model(steps, network, points=4):
    return ReverseDrift(OU(), network, normal(*chain(steps)[-1]), steps, points)


def test_simulation_has_the_moments_of_the_chain():
    path = OU().simulate(data(40_000), 10, keep=True, generator=rng(1))
    for x, (mean, variance) in zip(path, chain(10), strict=True):
        assert abs(float(x.mean()) - mean) < 4 * math.sqrt(variance / 40_000)
        assert abs(float(x.var()) / variance - 1) < 4 * math.sqrt(2 / 40_000)
    end = OU().simulate(data(5), 10, generator=rng(1))
    assert end.shape == (5, 1)


def test_the_loss_is_least_at_the_score_of_the_chain():
    """For steps as long as a quarter of the time: it is no matter of small steps."""
    steps, n = 4, 40_000
    it = model(steps, Line(steps), points=1)
    paths = it.paths(data(n), generator=rng(1))
    solver = torch.optim.LBFGS(it.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        value = it.loss_of(paths, generator=rng(2)).mean()
        value.backward()
        return value

    solver.step(loss)
    found, wanted = it.network.values.detach(), exact_line(steps).values.detach()
    torch.testing.assert_close(found[:-1], wanted[:-1], rtol=0.03, atol=0.03)


def test_the_loss_keeps_its_variance_when_steps_are_short():
    errors = []
    for steps in (10, 1000):
        torch.manual_seed(0)
        it = model(steps, Small(1, 1))
        x = data(500)
        visits = it.paths(x, generator=rng(1))
        with torch.no_grad():
            losses = it.loss_of(visits, generator=rng(2))
        errors.append(float(losses.std()))
    assert errors[1] < 2 * errors[0]


def test_noise_that_depends_on_the_state():
    """One step from two points: at the exact score the loss has no slope in any direction."""
    points = torch.tensor([[0.0, 0.5], [1.0, -0.8]], dtype=torch.float64)
    dynamics = Bent()
    ones = torch.ones(2, dtype=torch.float64)
    means = points + dynamics.drift(points, ones)
    stds = dynamics.noise(points, ones)

    class Score(nn.Module):
        def __init__(self, tilt):
            super().__init__()
            self.tilt = tilt

        def forward(self, features, t):
            y = features[:, 0].double()
            z = (y.unsqueeze(1) - means) / stds
            log = (-0.5 * z**2 - stds.log()).sum(-1)
            score = (log.softmax(1).unsqueeze(-1) * (-z / stds)).sum(1)
            offset = 2 * dynamics.drift(y, t) / dynamics.noise(y, t) ** 2
            return score - offset + self.tilt(y)

    x1 = points.repeat(100_000, 1)
    for direction in (torch.sin, lambda y: y**2 / 4, lambda y: y.flip(1)):
        values = []
        for sign in (1, -1):
            network = Score(lambda y, d=direction, s=sign: 0.1 * s * d(y))
            it = ReverseDrift(dynamics, network, normal(0, 1), steps=1, points=1)
            values.append(it.loss(x1, generator=rng(3)))
        slope = (values[0] - values[1]) / 0.2
        assert abs(float(slope.mean())) < 4 * float(slope.std()) / math.sqrt(len(slope))
        assert float(slope.std()) / math.sqrt(len(slope)) < 0.01


def test_the_slope_of_the_noise_is_in_the_drift():
    x = torch.randn(6, 2, dtype=torch.float64, generator=rng())
    t = torch.full((6,), 0.5).double()
    variance = Bent().noise(x, t) ** 2
    h = 1e-6
    for i in range(2):
        moved = x.clone()
        moved[:, i] += h
        slope = (Bent().noise(moved, t) ** 2 - variance)[:, i] / h
        torch.testing.assert_close(Bent().slope(x, t)[:, i], slope, atol=1e-4, rtol=1e-4)
    assert torch.equal(OU().slope(x[:, :1], t), torch.zeros(6, 1).double())
    it = ReverseDrift(Bent(), Mirror(), normal(0, 1))
    drift = it.drift(x, t)
    wanted = variance * x.float() - PULL * x + Bent().slope(x, t)
    torch.testing.assert_close(drift, wanted, atol=1e-6, rtol=1e-6)
    again = PULL * x + variance * it.score(x, t) + Bent().slope(x, t)
    torch.testing.assert_close(drift, again)


class Affine(nn.Module):
    """A score that is affine in x, in a way that it learns for each time."""

    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def forward(self, features, t):
        slope, offset = self.layers(4 * t.unsqueeze(1) - 2).unbind(1)
        return slope * features[:, 0, 0] + offset


def test_a_network_learns_the_reverse_drift(tmp_path):
    torch.manual_seed(0)
    it = model(50, Affine(), points=8)
    fit(it, data(20_000), 600, learning_rate=1e-2)
    for t in (0.1, 0.4, 0.7, 0.95):
        mean, variance = moments(t)
        x = (mean + math.sqrt(variance) * torch.linspace(-2, 2, 21).double()).unsqueeze(1)
        with torch.no_grad():
            found = it.drift(x, torch.full((21,), t).double())
        # The reverse is dX = (PULL x - NOISE² (x - m_t)/v_t) dt + NOISE dW.
        wanted = PULL * x - NOISE**2 * (x - mean) / variance
        weight = torch.exp(-((x - mean) ** 2) / (2 * variance))
        score = NOISE**2 * (x - mean) / variance
        error = (weight * (found - wanted) ** 2).sum() / (weight * score**2).sum()
        assert float(error) < 0.1**2
    x = it.sample(20_000, generator=rng(1))
    assert abs(float(x.mean()) - MEAN) < 0.03
    assert abs(float(x.std()) - STD) < 0.06
    mean, error = it.log_likelihood(data(2000, 5), paths=2, generator=rng(2)).average()
    entropy = 0.5 * math.log(2 * math.pi * math.e * STD**2)
    assert -entropy - 0.1 < mean < -entropy + 3 * error
    it.save(tmp_path / "weights")
    again = model(50, Affine())
    again.load(tmp_path / "weights")
    path = it.sample(5, keep=True, generator=rng())
    assert path.shape == (51, 5, 1) and torch.equal(again.sample(5, generator=rng()), path[-1])


def test_the_bound_of_the_exact_score():
    """Sampler and bound are Gaussian: the law of the sampler is known, and never below."""
    steps = 60
    it = model(steps, exact_line(steps))
    mean, variance = chain(steps)[-1]
    for k in range(steps):
        slope, offset = it.network.values[k].tolist()
        grow = 1 + (NOISE**2 * slope - PULL) / steps
        mean = grow * mean + NOISE**2 * offset / steps
        variance = grow**2 * variance + NOISE**2 / steps
    x = it.sample(20_000, generator=rng(1))
    assert abs(float(x.mean()) - mean) < 4 * math.sqrt(variance / 20_000)
    assert abs(float(x.var()) / variance - 1) < 4 * math.sqrt(2 / 20_000)
    x1 = data(40)
    bound = it.log_likelihood(x1, paths=60, generator=rng(2))
    made = torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x1)[:, 0]
    gap = made - bound.nats
    assert float(gap.mean()) < 0.08 and bool((gap > -4 * bound.standard_error).all())


def test_what_does_not_fit_is_named():
    it = model(5, Small(1, 2))
    with pytest.raises(ValueError, match=r"the network returns \(4, 2\) for states \(4, 1\)"):
        it.loss(data(1), generator=rng())
    with pytest.raises(ValueError, match=r"x1 must be \('batch', 1\)"):
        it.loss(torch.zeros(2, 3))


def test_frames_walk_as_samples_do():
    model = ReverseDrift(OU(), Small(1, 1), normal(0.0, 1.0), steps=8)
    grid = [k / 8 for k in range(9)]
    frames = model.frames(5, grid, generator=rng(3))
    torch.testing.assert_close(frames, model.sample(5, keep=True, generator=rng(3)))
    # The same steps, of which fewer are looked at.
    few = model.frames(frames[2], (0.25, 0.25, 0.75, 1.0), generator=rng(4))
    assert torch.equal(few[0], few[1]) and len(few) == 4
    rest = [k / 8 for k in range(2, 9)]
    torch.testing.assert_close(few[2:], model.frames(frames[2], rest, generator=rng(4))[[4, 6]])


def test_frames_refuse_times_that_do_not_fit():
    model = ReverseDrift(OU(), Small(1, 1), normal(0.0, 1.0), steps=8)
    for x, times, message in (
        (3, (0.5, 1.0), "the source is at t = 0, and the first of the times is 0.5"),
        (3, (), "times hold none"),
        (torch.zeros(2, 1), (0.5, 0.25), "after 0.5 comes 0.25"),
        (torch.zeros(2, 1), (0.5, 1.25), "after 0.5 comes 1.25"),
        (torch.zeros(2, 3), (0.5, 1.0), r"x must be \('batch', 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.frames(x, times)
