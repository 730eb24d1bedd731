"""The learned reverse against the exact one, on spaces that can be enumerated."""

import math

import pytest
import torch
from torch import nn

from markovbridge.networks import MLP
from markovbridge.simulated import (
    Ends,
    Enumerated,
    Leaping,
    OfLaw,
    OneTime,
    ReverseRates,
    Tabulated,
    Thinning,
    WholePath,
    fit,
    simulate,
)
from problems_simulated import Exact, Flips, Known, Small, epidemic, exact, follows, ring

POINT = {(1, 1, 0, 0): 1.0}
PAIR = {(1, 1, 0, 0): 0.5, (1, 0, 1, 0): 0.5}
SIR = {(9, 3): 0.7, (2, 1): 0.2, (12, 0): 0.1}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Tabular(nn.Module):
    """A number for each state and move, at one time."""

    def __init__(self, known):
        super().__init__()
        self.known = known
        size = len(known.states), known.dynamics.labels
        self.values = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, features, t):
        return self.values[self.known.index(features[:, 0].long())]


@pytest.mark.parametrize("law", [POINT, PAIR], ids=["point", "pair"])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_loss_is_least_at_the_exact_reverse(law, t):
    known = Known.of(ring(), law)
    table = Tabular(known)
    model = ReverseRates(known.dynamics, table, known.source())
    weights, times = known.marginal(t), torch.full((6,), t).double()
    solver = torch.optim.LBFGS(
        [table.values],
        max_iter=500,
        tolerance_grad=1e-14,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss():
        solver.zero_grad()
        # Weighted states make all directions equally curved.
        value = (weights * model.loss_rate(known.states, times)).sum()
        value.backward()
        return value

    for _ in range(10):
        solver.step(loss)
    with torch.no_grad():
        found = model.rates(known.states, times)
    exact_rates = known.reverse(t)
    torch.testing.assert_close(found, exact_rates, atol=1e-6, rtol=1e-6)
    # And these are the rates of the theory: r(x' -> x) f(x')/f(x), of the enumerated chain.
    matrix = known.matrix()
    reverse = matrix.mT * weights / weights.unsqueeze(1)
    off = reverse.clone().fill_diagonal_(0).sum(1)
    torch.testing.assert_close(exact_rates.sum(1), off)


@pytest.mark.parametrize(
    "objective",
    [OneTime(2, 1), OneTime(2, 3), OneTime(3, None), WholePath(4)],
    ids=["one move", "three", "all moves", "paths"],
)
@pytest.mark.parametrize("name", ["ring", "epidemic"])
def test_losses_have_the_mean_of_the_theory(objective, name):
    dynamics, law, inputs = {"ring": (ring(), PAIR, 8), "epidemic": (epidemic(), SIR, 4)}[name]
    known = Known.of(dynamics, law)
    torch.manual_seed(0)
    network = Small(inputs, dynamics.labels, scale=0.3)
    model = ReverseRates(dynamics, network, known.source(), objective)
    with torch.no_grad():
        losses = model.loss(known.data(8000, rng()), generator=rng(1))
    error = float(losses.std()) / math.sqrt(len(losses))
    assert abs(float(losses.mean()) - known.mean_loss(model)) < 4 * error
    assert error < 0.05


class OnGrid(nn.Module):
    """Exact log ratios, linear in log(1 - t) between 200 times."""

    def __init__(self, known):
        super().__init__()
        self.known = known
        self.near = torch.logspace(0, -6, 200, dtype=torch.float64)
        self.tables = torch.stack([known.log_ratios(float(1 - near)) for near in self.near])

    def forward(self, features, t):
        index = self.known.index(features[:, 0].round().long())
        place = -torch.log10((1 - t.double()).clamp(1e-6, 1)) / 6 * (len(self.near) - 1)
        low = place.floor().long().clamp_max(len(self.near) - 2)
        share = (place - low).unsqueeze(1)
        return torch.lerp(self.tables[low, index], self.tables[low + 1, index], share)


@pytest.mark.parametrize("name", ["ring", "epidemic"])
def test_samplers_of_the_exact_reverse(name):
    dynamics, law = {"ring": (ring(), PAIR), "epidemic": (epidemic(), SIR)}[name]
    known = Known.of(dynamics, law)
    n = 1200
    # A table for each of many times would take long: the exact ratios on a grid of times.
    model = ReverseRates(dynamics, OnGrid(known), known.source())
    x = model.sample(n, Thinning(), generator=rng(3))
    assert follows(known.counts(x), known.law)
    x = model.sample(n, Leaping(100), generator=rng(4))
    assert known.distance(x) < (0.03 if name == "ring" else 0.08)
    start = known.source().sample(n, generator=rng(5))
    for sampler in (Thinning(), Leaping(100)):
        frames = model.frames(start, (0.0, 0.5, 0.8), sampler, generator=rng(6))
        assert torch.equal(frames[0], start)
        for x, t in zip(frames[1:], (0.5, 0.8), strict=True):
            assert follows(known.counts(x), known.marginal(t))


@pytest.mark.parametrize("name", ["ring", "epidemic", "flips"])
def test_the_bound_of_the_exact_reverse_is_the_likelihood(name):
    dynamics, law = {
        "ring": (ring(), PAIR),
        "epidemic": (epidemic(), SIR),
        "flips": (Flips(), {(0, 1): 0.3, (0, 0): 0.7}),
    }[name]
    known = Known.of(dynamics, law)
    model = ReverseRates(dynamics, OnGrid(known), known.source())
    x1 = torch.tensor(list(law)).repeat(200, 1)
    bound = model.log_likelihood(x1, paths=2, points=16, generator=rng(5))
    nats = bound.nats.reshape(200, len(law))
    mean, error = nats.mean(0), nats.std(0) / math.sqrt(200)
    log = torch.tensor(list(law.values())).double().log()
    assert bool(((mean - log).abs() < 2 * error).all())
    assert float(error.max()) < 0.05
    assert bound.sites == len(x1[0])


def evolved(known, model, steps=150):
    """The law of x_1 under a model, by the master equation."""
    grid = 1 - (1 - torch.linspace(0, 1, steps + 1).double()) ** 2
    law, size = known.marginal(0.0), len(known.states)
    target = known.dynamics.origins(known.states)
    column = known.index(target.flatten(0, 1)).reshape(size, -1)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        times = ((t + s) / 2).expand(size)
        with torch.no_grad():
            rates = model.rates(known.states, times)
        matrix = torch.zeros(size, size, dtype=torch.float64)
        rows = torch.arange(size).unsqueeze(1).expand_as(column)
        matrix.index_put_((rows, column), rates, accumulate=True)
        matrix.fill_diagonal_(0.0)
        matrix -= torch.diag(matrix.sum(1))
        law = law @ torch.matrix_exp(matrix * (s - t))
    return law


def check_trained(known, model, n=10_000):
    """A trained model by total variation, and its bound by enumeration."""
    x = model.sample(n, generator=rng(6))
    assert known.distance(x) < 0.03
    made = evolved(known, model)
    assert follows(known.counts(x), made)
    leapt = model.sample(n, Leaping(60), generator=rng(7))
    assert known.distance(leapt) < 0.08
    # The bound: its mean, estimated and by quadrature, and below the law of the model itself.
    data = known.data(500, rng(8))
    bound = model.log_likelihood(data, paths=4, generator=rng(9))
    source = known.marginal(0.0)
    exact_mean = float((source * source.log()).sum()) - known.mean_loss(model)
    mean, error = bound.average()
    share = known.counts(data) / len(data)
    by_state = torch.zeros_like(share).index_add(0, known.index(data), bound.nats) / len(data)
    seen = share > 0
    mean = float((by_state[seen] * known.law[seen] / share[seen]).sum())
    error = float(bound.standard_error.square().mean().sqrt()) / math.sqrt(len(data))
    assert abs(mean - exact_mean) < 2 * error
    nats = float((known.law[seen] * made[seen].log()).sum())
    assert exact_mean < nats < -known.entropy()
    assert nats - exact_mean < 0.1


def test_a_small_network_learns_the_ring():
    known = Known.of(ring(3.0), PAIR)
    torch.manual_seed(0)
    model = ReverseRates(known.dynamics, Small(8, 8), known.source())
    fit(model, known.states[known.law > 0], 350, learning_rate=1e-2)
    check_trained(known, model)


@pytest.mark.whole
def test_a_small_network_learns_the_epidemic_from_whole_paths():
    known = Known.of(epidemic(), SIR)
    torch.manual_seed(0)
    model = ReverseRates(known.dynamics, Small(27, 3, 64, values=13), known.source(), WholePath(8))
    data = torch.tensor([[9, 3]] * 7 + [[2, 1]] * 2 + [[12, 0]])
    fit(model, data, 1000, learning_rate=1e-2)
    check_trained(known, model)


def test_networks_of_the_package_fit_in_and_weights_are_kept(tmp_path):
    known = Known.of(ring(), PAIR)
    torch.manual_seed(0)
    models = [
        ReverseRates(known.dynamics, MLP((4,), 2, 2, width=8, depth=1), known.source())
        for _ in range(2)
    ]
    data = known.data(10, rng())
    fit(models[0], data, 20, batch_size=8)
    models[0].save(tmp_path / "weights.safetensors")
    models[1].load(tmp_path / "weights.safetensors")
    draws = [model.sample(50, Leaping(3), generator=rng()) for model in models]
    assert torch.equal(*draws)
    again = ReverseRates(known.dynamics, MLP((4,), 2, 2, width=8, depth=1), known.source())
    again.load_state_dict(models[0].state_dict())
    other = ReverseRates(known.dynamics, MLP((4,), 2, 2, width=16, depth=1), known.source())
    with pytest.raises(ValueError, match="holds the weights of another model"):
        other.load(tmp_path / "weights.safetensors")
    (tmp_path / "torn").write_bytes(b"x")
    with pytest.raises(ValueError, match="torn is damaged"):
        other.load(tmp_path / "torn")


def test_training_is_a_function_of_its_seed():
    known = Known.of(ring(), PAIR)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        model = ReverseRates(known.dynamics, Small(8, 8, width=4), known.source())
        fit(model, known.data(10, rng()), 3, batch_size=4, seed=seed)
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_sources():
    known = Known.of(ring(), PAIR)
    data = known.data(20_000, rng())
    ends = Ends(data, lambda x, g: simulate(known.dynamics, x, generator=g))
    assert follows(known.counts(ends.sample(20_000, generator=rng(1))), known.marginal(0.0))
    assert follows(
        known.counts(known.source().sample(20_000, generator=rng(2))), known.marginal(0)
    )
    x = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    logs = Tabulated(known.states, known.law).log_prob(x)
    torch.testing.assert_close(logs, torch.tensor([0.5, 0.0]).double().log())
    model = ReverseRates(known.dynamics, Exact(known), ends)
    with pytest.raises(TypeError, match="Ends knows no probabilities"):
        model.log_likelihood(x[:1])
    with pytest.raises(ValueError, match="one is in the list twice"):
        Tabulated(x[[0, 0]], torch.ones(2)).log_prob(x)
    with pytest.raises(ValueError, match=r"probabilities must be \(2,\)"):
        Tabulated(x, torch.ones(3))
    with pytest.raises(ValueError, match="a positive, finite sum"):
        Tabulated(x, torch.tensor([1.0, math.inf]))
    from markovbridge import laws

    poisson = OfLaw(lambda n: laws.Poisson(torch.full((n, 3), math.log(2))))
    assert poisson.sample(5, generator=rng()).shape == (5, 3)
    found = poisson.log_prob(torch.tensor([[0, 1, 2]]))
    wanted = torch.distributions.Poisson(2.0).log_prob(torch.tensor([0.0, 1, 2])).sum()
    torch.testing.assert_close(found, wanted.double().reshape(1), atol=1e-6, rtol=0)


def test_what_does_not_fit_is_named():
    known = Known.of(ring(), PAIR)
    narrow = ReverseRates(known.dynamics, Small(8, 5), known.source())
    with pytest.raises(ValueError, match=r"returns \(12, 5\) for 12 states, but there are 8 mo"):
        narrow.loss(known.data(3, rng()), generator=rng())
    with pytest.raises(ValueError, match="the model has no weights to train"):
        fit(exact(known), known.states)
    with pytest.raises(ValueError, match=r"x1 must be \('batch', 4\)"):
        narrow.loss(torch.zeros(2, 3, dtype=torch.int64))
    wild = Small(8, 8)
    nn.init.constant_(wild.layers[-1].bias, math.nan)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        fit(ReverseRates(known.dynamics, wild, known.source()), known.states, 2)
    with pytest.raises(FloatingPointError, match="a reverse rate is not finite at t = 0"):
        ReverseRates(known.dynamics, wild, known.source()).sample(2, generator=rng())
    with pytest.raises(FloatingPointError, match="3 proposals were made"):
        ReverseRates(ring(30.0), Exact(known), known.source()).sample(
            4, Thinning(events=3), generator=rng()
        )
    with pytest.raises(ValueError, match="a reverse runs up in time, not from 0.5 to 0.2"):
        Leaping().run(exact(known), known.states, 0.5, 0.2)
    assert Enumerated.of(known.dynamics, known.states).chain.size == 6
