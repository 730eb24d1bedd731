"""Ends drawn jointly: the score that trains them, and what becomes of them."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

import markovbridge as mb
from markovbridge import networks, samplers
from markovbridge.laws import Delta
from markovbridge.processes import Setting
from markovbridge.transport import features

DEATH = mb.PureDeath(maximum=2, schedule=mb.CosineSchedule())
EVERY = torch.cartesian_prod(torch.arange(3), torch.arange(3))
SETTING = Setting(DEATH, mb.Noised(), torch.ones(2), torch.ones(2))


def scores(head, n):
    """The mean score of draws of a law q given data of a law p, as a function of q and p."""
    tuples = list(itertools.product(range(len(EVERY)), repeat=n))
    ends = [Delta(EVERY[[one[k] for one in tuples]]) for k in range(n)]
    each = np.stack(
        [head.score(SETTING, ends, v.expand(len(tuples), 2)).double().numpy() for v in EVERY], -1
    )

    def mean(q, p):
        likely = np.prod([q[[one[k] for one in tuples]] for k in range(n)], 0)
        return float(likely @ each @ p)

    return mean


def law(seed):
    p = np.random.default_rng(seed).dirichlet(np.full(9, 0.6))
    return p / p.sum()


@pytest.mark.parametrize("head", [mb.JointHead(), mb.JointHead(exponent=0.5, units="site")])
def test_the_one_minimiser_of_the_score_is_the_joint_law(head):
    p, mean = law(1), scores(head, 2)
    found = optimize.minimize(
        lambda q: 100 * mean(q, p),
        np.full(9, 1 / 9),
        bounds=[(0, 1)] * 9,
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 300},
        method="SLSQP",
    )
    np.testing.assert_allclose(found.x, p, atol=2e-3)
    # The product of the marginals, which laws per site would learn, has a higher score.
    table = p.reshape(3, 3)
    product = np.outer(table.sum(1), table.sum(0)).ravel()
    assert mean(product, p) > mean(p, p) + 1e-3


def test_more_draws_have_the_same_mean():
    p, q = law(2), law(3)
    two = scores(mb.JointHead(), 2)(q, p)
    three = scores(mb.JointHead(draws=3), 3)(q, p)
    assert two == pytest.approx(three, abs=1e-6)


def model(head=None, process=DEATH, network=None, shape=(2,), **options):
    head = mb.JointHead() if head is None else head
    if network is None:
        seen = features(process, mb.Noised(), head=head)
        network = networks.MLP(shape, seen, head.outputs(process), width=32, depth=1)
    return mb.Transport(process, network, head, shape=shape, base=None, **options)


class Perfect(torch.nn.Module):
    """Ends of the exact posterior of a law of two sites, as tables that are certain."""

    def __init__(self, p):
        super().__init__()
        self.exact = mb.exact.Empirical(DEATH, EVERY, torch.from_numpy(p))

    def forward(self, seen, t, condition=None):
        # The state is told by its standardised values; what made them is found by trying.
        setting = Setting(DEATH, mb.Noised(), torch.ones(()), torch.ones(()))
        tried = [setting.standardise(v.expand(len(t), 2), t) for v in EVERY]
        close = torch.stack([(seen[:, :1] - one).abs().sum((1, 2)) for one in tried])
        x, u = EVERY[close.argmin(0)], torch.special.ndtr(seen[:, 1, 0].double())
        log = torch.stack([self.exact(x, t).log_prob(v.expand_as(x)) for v in EVERY], -1)
        chosen = (log.exp().cumsum(-1) < u.unsqueeze(-1)).sum(-1).clamp_max(8)
        end = torch.nn.functional.one_hot(EVERY[chosen], 3).movedim(-1, 1)
        raw = 60.0 * end  # far above what is known of x_t
        return torch.cat([torch.zeros_like(raw), raw], 1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_perfect_ends_make_the_law_at_any_number_of_steps(steps):
    p, n = law(4), 4000
    transport = model(mb.JointHead(mb.CategoricalHead()), network=Perfect(p))
    rng = torch.Generator().manual_seed(steps)
    x = transport.sample(n, steps=steps, sampler=mb.Bridge(), generator=rng, block=n)
    found = np.bincount((3 * x[:, 0] + x[:, 1]).numpy(), minlength=9)
    keep = p * n > 5
    square = ((found - p * n) ** 2 / (p * n))[keep].sum()
    assert square < 45  # of at most 8 degrees of freedom: a chance of 4e-7
    # Its law per site is none of it: with zero output it knows no data.
    x = transport.sample(
        n, steps=steps, sampler=samplers.SecondOrderBridge(), generator=rng, block=n
    )
    found = np.bincount((3 * x[:, 0] + x[:, 1]).numpy(), minlength=9)
    assert ((found - p * n) ** 2 / (p * n))[keep].sum() > 100


def test_two_sites_that_are_one_are_learned():
    data = torch.tensor([[0, 0], [2, 2]]).repeat(64, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transport = model(mb.JointHead(early=1.0), mean=1.0, variance=1.0)
    trainer = mb.training.Trainer(
        transport,
        data,
        mb.training.TrainingConfig(
            steps=250, batch_size=64, learning_rate=3e-3, ema=0.97, log_every=250, threads=1
        ),
    )
    made = trainer.run().sample(
        1000, steps=1, sampler=mb.Bridge(), generator=torch.Generator().manual_seed(0)
    )
    table = torch.zeros(3, 3).index_put_((made[:, 0], made[:, 1]), torch.tensor(1e-3), True)
    expected = torch.tensor([[0.5, 0, 0], [0, 0, 0], [0, 0, 0.5]])
    assert float((table - expected).abs().sum()) / 2 < 0.12  # independent sites have 0.5


def test_whole_numbers_are_the_two_next_to_an_end():
    head, x = mb.JointHead(), torch.tensor([[0, 1]]).expand(4000, 2)
    end = Delta(torch.tensor([[0.3, 1.75]]).expand(4000, 2))
    drawn = head.whole(end, x).sample(generator=torch.Generator().manual_seed(0))
    assert {*drawn[:, 0].tolist()} == {0, 1} and {*drawn[:, 1].tolist()} == {1, 2}
    assert float(drawn[:, 0].float().mean()) == pytest.approx(0.3, abs=0.04)
    assert float(drawn[:, 1].float().mean()) == pytest.approx(1.75, abs=0.04)
