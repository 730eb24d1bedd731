"""Gillespie for unbounded data: bounds for a short while, by how fast exact rates can grow."""

import pytest
import torch

from grid.heads import LAWS
from grid.worlds import INTEGERS, Perfect, World
from markovbridge import (
    BirthDeath,
    Bridge,
    Gillespie,
    LinearBirthDeath,
    PureDeath,
    RandomWalk,
    Transport,
    TwoMeansHead,
    exact,
)
from markovbridge.doors.randomness import generator
from markovbridge.processes.clock import instant, speed
from markovbridge.samplers import local_bounds
from markovbridge.samplers.rates import Events
from problems import assert_follows

PROCESSES = [BirthDeath(4.0), RandomWalk(3.0, centre=4), LinearBirthDeath(0.6)]
NAMES = [type(process).__name__ for process in PROCESSES]
POINTS = torch.tensor([[0], [3], [12]])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def totals(process, clock, x):
    """The total rate of the exact reverse per unit of -log p, of each state at its time."""
    t, x = instant(process.schedule, clock), x.unsqueeze(1)
    law = exact.Empirical(process, POINTS, WEIGHTS)(x, t)
    return process.expected_rates(law, x, t).sum((1, 2)) / speed(process.schedule, t)


@pytest.mark.parametrize("process", PROCESSES, ids=NAMES)
def test_exact_rates_grow_no_faster_than_is_stated(process):
    """Over a window of log(1 + c/2λ)/c the total is at most 2λ + c, from wherever it starts."""
    states = torch.arange(-3 if process.lowest is None else 0, 16)
    clock = torch.logspace(0.7, -3, 40, dtype=torch.float64)
    clock, x = clock.repeat_interleave(len(states)), states.repeat(40)
    now, c, tightest = totals(process, clock, x), process.growth, []
    for share in (0.01, 0.5, 1.0):
        window = torch.log1p(c / (2 * now)) / c * share
        bound = c * now * (c * window).exp() / (c - now * torch.expm1(c * window))
        assert bool((bound < (2 * now + c) * (1 + 1e-9)).all())
        later = totals(process, (clock - window).clamp_min(1e-9), x)
        tightest.append(float((bound / later).min()))
    assert min(tightest) > 1 - 1e-6
    assert tightest[-1] < 1.5  # and some grow about as fast


@pytest.mark.parametrize("process", PROCESSES, ids=NAMES)
def test_draws_follow_the_data(process):
    """From an inner time on, where the exact process is: no source that is approximate."""
    g, n = generator("cpu", "local"), 600
    model = Transport(process, exact.Empirical(process, POINTS, WEIGHTS), shape=(1,))
    y = POINTS[torch.multinomial(WEIGHTS, n, True, generator=g)]
    x = process.transition(y, 1.0, 0.3).sample(generator=g)
    drawn = Gillespie().step(model, x, 0.3, 1.0, generator=g)
    pmf = torch.zeros(13, dtype=torch.float64)
    pmf[POINTS.flatten()] = WEIGHTS
    assert_follows(drawn, pmf.numpy())


@pytest.mark.parametrize("process", PROCESSES, ids=NAMES)
def test_a_walk_from_one_state_has_the_right_law_at_an_inner_time(process):
    """Σ_y p(y | x_t) p(x_s | x_t, y), after about one jump."""
    n, t, s, seen = 4000, 0.5, 0.55, 2
    law = exact.Empirical(process, POINTS, WEIGHTS)
    model = Transport(process, law, shape=(1,))
    start = torch.full((n, 1), seen)
    drawn = Gillespie().step(model, start, t, s, generator=generator("cpu", "inner"))
    states = torch.arange(-20, 40).unsqueeze(1)
    here, posterior = torch.full_like(states, seen), law(start[:1], t).log_weights[0].exp()
    each = [
        process.bridge(here, torch.full_like(states, int(y)), t, s, 1.0).site_log_prob(states)
        for y in POINTS[posterior > 0]
    ]
    wanted = torch.cat(each, 1).double().exp() @ posterior[posterior > 0].double()
    assert_follows(drawn + 20, wanted.numpy())


def constant(rate):
    """Expected steps such that births come at this rate per unit of the clock, for ever."""

    def network(features, t, condition):
        return torch.full((len(features), 2, 1), float(rate))

    return network


def test_a_law_that_rises_faster_than_any_exact_one_is_warned_of():
    process = BirthDeath(1.0)

    def sudden(x, t, condition=None):
        up = torch.where(t < 0.5, 1e-3, 500.0).log().double().unsqueeze(1).expand(x.shape)
        return process.stepped(x, up, torch.full_like(up, -60.0))

    model = Transport(process, sudden, shape=(1,))
    with pytest.warns(UserWarning, match="what it can be under an exact law"):
        Gillespie().step(
            model, torch.zeros(100, 1, dtype=torch.int64), 0.3, 0.7, generator=generator("cpu", 0)
        )


def test_a_network_of_two_means_is_walked_to_the_data():
    process = BirthDeath(2.0)
    model = Transport(process, constant(0.0), TwoMeansHead(), shape=(1,), mean=2.0, variance=2.0)
    x = model.sample(60, steps=1, sampler=Gillespie(), generator=generator("cpu", 1))
    assert x.shape == (60, 1) and int(x.min()) >= 0


def test_a_process_that_does_not_state_its_growth_is_refused():
    process = PureDeath()
    model = Transport(process, exact.Poisson(process, 1.0), shape=(1,))
    with pytest.raises(TypeError, match="PureDeath does not state how fast its rates grow"):
        local_bounds.run(model, process, torch.zeros(2, 1, dtype=torch.int64), 1.0, 0.5, Events(9))


@pytest.mark.parametrize("kind", [BirthDeath, RandomWalk])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_law_of_means_alone_does_not_take_the_last_jump(kind, bounded):
    """Nor leaves a state where no data are as often as it would by a step of the bridge."""
    process, low, states = INTEGERS[kind]()[0 if bounded else 1]
    world = World(process, low, states)
    model = Transport(process, Perfect(world, LAWS[TwoMeansHead](world)), shape=(2,))
    x, g = torch.tensor([[3, 1]]).expand(100, -1), generator("cpu", "last")
    t = float(process.schedule.time(torch.tensor(0.901), torch.tensor(0.099)))
    outside = [
        float((sampler.step(model, x, t, 1.0, generator=g) > 2).any(1).float().mean())
        for sampler in (Bridge(), Gillespie(ends=0.1))
    ]
    assert outside[0] > 0.25 and outside[1] < 0.12
