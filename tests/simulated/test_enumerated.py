"""Joint processes on their enumeration, against numbers worked out elsewhere."""

import math

import pytest
import torch

import markovbridge as mb
from markovbridge import exact
from markovbridge.simulated import Enumerated, Reactions, rate_matrix, reachable
from problems_simulated import Flips, Known, follows, ring

MOVED = [
    [0.247398893751, 0.310263666768, 0.310263666768, 0.132073772713],
    [0.172368703760, 0.478228402196, 0.177034190284, 0.172368703760],
    [0.172368703760, 0.177034190284, 0.478228402196, 0.172368703760],
    [0.132073772713, 0.310263666768, 0.310263666768, 0.247398893751],
]
PAIR = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])


def test_two_sites_that_flip_together():
    joint = Enumerated.of(Flips(), PAIR[:1])
    assert torch.equal(joint.states, PAIR)
    law = joint.chain.transition(joint.number(PAIR), 1.0, 0.4)
    found = law.log_probs[:, 0].exp().double()
    torch.testing.assert_close(found, torch.tensor(MOVED, dtype=torch.float64), atol=1e-9, rtol=0)
    stationary = joint.chain.log_stationary().exp()
    wanted = torch.tensor([5, 9, 9, 5]).double() / 28
    torch.testing.assert_close(stationary, wanted, atol=1e-9, rtol=0)
    # They do not factorise: a table per site would be the product of its sums.
    sites = found[0].reshape(2, 2)
    assert float((sites - sites.sum(1, True) * sites.sum(0)).abs().max()) > 0.05


def test_everything_else_is_that_of_a_chain():
    dynamics = ring()
    known = Known.of(dynamics, {(1, 1, 0, 0): 0.5, (1, 0, 1, 0): 0.5})
    data = known.states[known.law > 0]
    joint = Enumerated.of(dynamics, data, mb.CosineSchedule())
    numbers = joint.number(data)
    torch.testing.assert_close(joint.event(numbers), data)
    torch.testing.assert_close(joint.law(data), known.law)
    law = exact.Empirical(joint.chain, numbers)
    model = mb.Transport(joint.chain, law, shape=(1,))
    rng = torch.Generator().manual_seed(0)
    x = joint.event(model.sample(4000, steps=3, generator=rng))
    assert follows(known.counts(x), known.law)
    bound = model.log_likelihood(numbers, generator=rng)
    wanted = torch.full((2,), 0.5).double().log()
    assert bool(((bound.nats - wanted).abs() < 4 * bound.standard_error + 1e-3).all())


def test_its_own_clock_is_that_of_the_simulation():
    known = Known.of(ring(), {(1, 1, 0, 0): 1.0})
    joint = Enumerated.of(known.dynamics, known.states)
    reverse = exact.Reverse(joint.chain, known.law)
    for t in (0.2, 0.8):
        torch.testing.assert_close(reverse.marginal(t), known.marginal(t), atol=1e-12, rtol=0)
        generator = reverse.generator(t).clone().fill_diagonal_(0)
        torch.testing.assert_close(generator.sum(1), known.reverse(t).sum(1))


def test_what_cannot_be_listed_is_named():
    up = Reactions(torch.tensor([[1]]), lambda x, t: 1.0 + 0 * x)
    with pytest.raises(ValueError, match="there are more than 50 states"):
        reachable(up, torch.zeros(1, 1, dtype=torch.int64), 50)
    with pytest.raises(ValueError, match=r"x holds \[3\], which is none of the states listed"):
        rate_matrix(up, torch.arange(3).unsqueeze(1), 0.5)
    joint = Enumerated.of(Flips(), PAIR[:1])
    with pytest.raises(ValueError, match=r"x holds \[0.5, 0.0\], which is none of the states"):
        joint.number(torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
    assert joint.number(torch.tensor([[0.0, 1.0]])).tolist() == [[1]]
    with pytest.raises(ValueError, match="the chain has 3 states, but 4 are listed"):
        Enumerated(PAIR, mb.UniformChain(3))
    with pytest.raises(ValueError, match="one is in the list twice"):
        Enumerated(PAIR[[0, 1, 1]], mb.UniformChain(3))


@pytest.mark.parametrize("season", [1, pytest.param(2, marks=pytest.mark.whole), 4])
def test_rates_that_change_with_time(season):
    """Also where they are the same at both ends and in the middle."""

    def rates(x, t):
        births = 2 + 1.8 * torch.sin(2 * math.pi * season * t)
        return torch.stack([births * (x[:, 0] < 5), x[:, 0].double()], 1)

    dynamics = Reactions(torch.tensor([[1], [-1]]), rates, most=5)
    joint = Enumerated.of(dynamics, torch.zeros(1, 1, dtype=torch.int64))
    assert torch.equal(joint.states, torch.arange(6).unsqueeze(1))
    moved = torch.eye(6, dtype=torch.float64)
    for k in range(400):  # from 1 down to 0.3, in short steps at their middle
        t = 1 - 0.7 * (k + 0.5) / 400
        moved = moved @ torch.matrix_exp(rate_matrix(dynamics, joint.states, t) * 0.7 / 400)
    law = joint.chain.transition(joint.number(joint.states), 1.0, 0.3)
    torch.testing.assert_close(law.log_probs[:, 0].exp(), moved, atol=1e-5, rtol=0)


def test_states_that_are_reached_for_a_while_only():
    window = Reactions(
        torch.tensor([[1]]),
        lambda x, t: ((t > 0.6) & (t < 0.7)).double().unsqueeze(1).expand(len(x), 1),
        most=3,
    )
    assert len(reachable(window, torch.zeros(1, 1, dtype=torch.int64))) == 4
