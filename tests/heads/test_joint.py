"""Ends drawn jointly: the score that trains them, and what becomes of them."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize, stats

import markovbridge as mb
from markovbridge import networks, samplers
from markovbridge.laws import Delta
from markovbridge.processes import Setting
from markovbridge.transport import features
from markovbridge.transport.tilt import Multiplied

DEATH = mb.PureDeath(maximum=2, schedule=mb.CosineSchedule())
EVERY = torch.cartesian_prod(torch.arange(3), torch.arange(3))
SETTING = Setting(DEATH, mb.Noised(), torch.ones(2), torch.ones(2))


def scores(head, n):
    """The mean score of draws of a law q given data of a law p, as a function of q and p."""
    tuples = list(itertools.product(range(len(EVERY)), repeat=n))
    ends = Delta(torch.cat([EVERY[[one[k] for one in tuples]] for k in range(n)]))
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


@pytest.mark.parametrize("rule", ["energy", "log"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_perfect_ends_make_the_law_at_any_number_of_steps(steps, rule):
    p, n = law(4), 4000
    transport = model(mb.JointHead(mb.CategoricalHead(), rule=rule), network=Perfect(p))
    rng = torch.Generator().manual_seed(steps)
    x = transport.sample(n, steps=steps, sampler=mb.Bridge(), generator=rng, block=n)
    found = np.bincount((3 * x[:, 0] + x[:, 1]).numpy(), minlength=9)
    keep = p * n > 5
    square = ((found - p * n) ** 2 / (p * n))[keep].sum()
    assert square < 45  # of at most 8 degrees of freedom: a chance of 4e-7
    # Its law per site is none of it: with zero output it knows no data.
    second = samplers.SecondOrderBridge()
    x = transport.sample(n, steps=steps, sampler=second, generator=rng, block=n)
    found = np.bincount((3 * x[:, 0] + x[:, 1]).numpy(), minlength=9)
    assert ((found - p * n) ** 2 / (p * n))[keep].sum() > 100


@pytest.mark.parametrize("process", [DEATH, mb.UniformChain(3)])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_with_perfect_ends_multiply_to_the_law(process, steps):
    """Matrices of Σ p(x_1 | x_t) p(x_s | x_t, x_1), of two sites that depend: no draws."""
    p = law(5)
    exact = mb.exact.Empirical(process, EVERY, torch.from_numpy(p))
    source = process.transition(EVERY, 1.0, 0.0).log_prob  # from the data to the source
    at = torch.stack([source(v.expand_as(EVERY)) for v in EVERY], -1)
    at = torch.from_numpy(p) @ at.double().exp()
    grid = process.schedule.grid(steps).tolist()
    for t, s in itertools.pairwise(grid):
        matrix = torch.zeros(9, 9, dtype=torch.float64)
        reached = at > 0  # pure death has a source of one state
        for i in reached.nonzero().flatten().tolist():
            x = EVERY[i].expand_as(EVERY)
            ends = torch.stack([exact(x[:1], t).log_prob(v.expand(1, 2)) for v in EVERY])
            ends = ends.double().exp().flatten()
            some = ends > 0
            bridge = process.bridge(x[some], EVERY[some], t, s, 1.0)
            for j, v in enumerate(EVERY):
                log = bridge.log_prob(v.expand(int(some.sum()), 2)).double()
                matrix[i, j] = (ends[some] * log.exp()).sum()
        at = at @ matrix
    np.testing.assert_allclose(at.numpy(), p, atol=1e-12)


def test_the_log_score_is_of_the_mixture_over_the_noise():
    head = mb.JointHead(given_noise=mb.CategoricalHead(), rule="log", draws=3, weight=2.0)
    raw = torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(0))
    x, t = torch.zeros(6, 2, dtype=torch.long), torch.zeros(6)
    x1 = torch.tensor([[2, 1], [0, 2]])
    found = head.score(SETTING, head.from_noise(SETTING, raw, x, t), x1)
    # The first output is of the mean; at the source nothing is known of the values.
    tables = raw[:, 1:].double().softmax(1).unflatten(0, (3, 2)).numpy()
    each = [[tables[m, b, x1[b], [0, 1]].prod() for b in range(2)] for m in range(3)]
    np.testing.assert_allclose(found.numpy(), -2 * np.log(np.mean(each, 0)), rtol=1e-5)


def test_a_mixture_of_products_has_its_weights_and_a_mass_of_one():
    head = mb.JointHead(given_noise=mb.CategoricalHead(), rule="log", draws=1, products=2)
    assert head.outputs(DEATH) == 1 + 2 * (1 + 3)
    raw = torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(0))
    x, t = torch.zeros(1, 2, dtype=torch.long), torch.zeros(1)
    ends = head.from_noise(SETTING, raw, x, t)
    found = np.exp([float(ends.log_prob(v[None])) for v in EVERY])
    own = raw[0, 1:].double().unflatten(0, (2, 4))
    weights, logits = own[:, 0].mean(1).softmax(0), own[:, 1:]
    start = head.from_noise(SETTING, torch.zeros_like(raw), x, t).components
    begins = torch.stack([part.log_probs[0].T for part in start]).double()
    assert float((begins[0] - begins[1]).abs().max()) > 0.1  # two alike would stay alike
    tables = (logits + begins).softmax(1)
    expected = torch.einsum("k,ka,kb->ab", weights, tables[:, :, 0], tables[:, :, 1])
    np.testing.assert_allclose(found, expected.flatten().numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    with pytest.raises(ValueError, match='take rule="log"'):
        mb.JointHead(products=2)


def test_noise_of_a_log_score_is_normal_and_evenly_spread():
    """Each draw is normal, and of a number one draw is in each fifth of its law."""
    head, d = mb.JointHead(rule="log", draws=5), 64
    noise = torch.randn(5 * 4000, 1, d, generator=torch.Generator().manual_seed(0))
    spread = head.evened(noise)
    assert spread.shape == noise.shape
    each = spread.view(5, 4000, d)
    u = torch.special.ndtr(each.double())
    for one in each[:, :, :2].unbind(2):
        for draw in one:
            assert stats.kstest(draw.numpy(), "norm").pvalue > 1e-4
    fifths = (5 * u).floor().sort(0).values
    assert bool((fifths == torch.arange(5.0).view(5, 1, 1)).all())
    # Numbers of one draw, and fifths of one number, know nothing of each other.
    order = (5 * u[0]).floor() - 2
    inside = 5 * u[0] % 1 - 0.5
    pairs = [(order[:, 0], order[:, 1]), (inside[:, 0], order[:, 0]), (inside[:, 0], inside[:, 1])]
    for a, b in pairs:
        assert abs(float((a * b).mean() / (a.std() * b.std()))) < 5 / 4000**0.5
    assert mb.JointHead(draws=5).evened(noise) is noise
    assert mb.JointHead(rule="log", draws=1).evened(noise) is noise


def test_a_log_score_of_ends_without_a_density_is_refused():
    process = mb.PureDeath(7)
    head = mb.JointHead(mb.MeanHead("stochastic"), rule="log", draws=1)
    outputs = head.outputs(process)
    seen = features(process, mb.Noised(), head=head)
    network = networks.MLP((2,), seen, outputs, width=8)
    model = mb.Transport(process, network, head, shape=(2,), mean=2.0, variance=3.0)
    with pytest.raises(ValueError, match="take given_noise"):
        model.loss(torch.tensor([[0, 7], [7, 0]]), generator=torch.Generator().manual_seed(0))


LEARNING = [
    mb.JointHead(early=8.0),
    mb.JointHead(given_noise=mb.CategoricalHead(), rule="log", draws=4, early=8.0),
    mb.JointHead(given_noise=mb.CategoricalHead(), rule="log", draws=1, products=3, early=8.0),
]


@pytest.mark.parametrize("head", LEARNING, ids=["energy", "log", "products"])
def test_two_sites_that_are_one_are_learned(head):
    """A short training at the source, where independent sites have a total variation of 1/2."""
    data = torch.tensor([[0, 0], [2, 2]]).repeat(32, 1)
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transport = model(head, mean=1.0, variance=1.0)
    optimizer = torch.optim.Adam(transport.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        transport.loss(data, generator=rng).mean().backward()
        optimizer.step()
    made = transport.sample(1000, steps=1, sampler=mb.Bridge(), generator=rng, block=1000)
    table = torch.zeros(3, 3).index_put_((made[:, 0], made[:, 1]), torch.tensor(1e-3), True)
    expected = torch.tensor([[0.5, 0, 0], [0, 0, 0], [0, 0, 0.5]])
    assert float((table - expected).abs().sum()) / 2 < 0.15


def test_whole_numbers_are_the_two_next_to_an_end():
    head, x = mb.JointHead(), torch.tensor([[0, 1]]).expand(4000, 2)
    end = Delta(torch.tensor([[0.3, 1.75]]).expand(4000, 2))
    drawn = head.whole(end, x).sample(generator=torch.Generator().manual_seed(0))
    assert {*drawn[:, 0].tolist()} == {0, 1} and {*drawn[:, 1].tolist()} == {1, 2}
    assert float(drawn[:, 0].float().mean()) == pytest.approx(0.3, abs=0.04)
    assert float(drawn[:, 1].float().mean()) == pytest.approx(1.75, abs=0.04)


def test_heads_that_draw_jointly_are_no_part_of_one():
    with pytest.raises(ValueError, match="given_noise must be a head that states laws"):
        mb.JointHead(given_noise=mb.JointHead())
    head = mb.JointHead(given_noise=mb.CategoricalHead())
    with pytest.raises(ValueError, match="bounded number of states"):
        head.check(mb.PureDeath(), mb.Noised())


def test_the_likelihood_of_steps_that_are_drawn_jointly_is_refused():
    x = torch.tensor([[0, 1]])
    transport = model()
    with pytest.raises(ValueError, match="states no density"):
        transport.log_likelihood(x, steps=3)
    assert bool(transport.log_likelihood(x, draws=2).nats.isfinite().all())


@pytest.mark.parametrize("head", [mb.JointHead(), LEARNING[-1]], ids=["energy", "products"])
def test_known_sites_and_conditions_reach_joint_draws(head):
    columns = mb.data.Covariates((mb.data.Covariate("label", ("a", "b")),))
    masking = mb.Masking()
    seen = features(DEATH, mb.Noised(), masking=masking, head=head)
    network = networks.MLP((2,), seen, head.outputs(DEATH), width=8, depth=1, condition=2)
    rng = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=rng)
    transport = model(head, network=network, covariates=columns, masking=masking)
    x = torch.tensor([[2, 0]]).expand(64, 2)
    condition = columns.encode({"label": "a"}, 64)
    known = torch.tensor([True, False])
    one = {"steps": 1, "sampler": mb.Bridge(), "condition": condition}
    made = [
        transport.impute(x, known, generator=rng.manual_seed(0), guidance=strength, **one)
        for strength in (0.0, 1.0, 3.0)
    ]
    for drawn in made:
        assert bool((drawn[:, 0] == 2).all())
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[1], made[2])
    # At strength 0 the condition says nothing.
    unknown = {**one, "condition": torch.full_like(condition, torch.nan)}
    torch.testing.assert_close(
        made[0], transport.impute(x, known, generator=rng.manual_seed(0), **unknown)
    )


def test_joint_draws_stay_below_what_training_has_seen():
    network = networks.MLP((2,), 2, 2, width=8, depth=1)
    torch.nn.init.constant_(network.output.bias, 500.0)
    transport = model(process=mb.PureDeath(), network=network)
    transport.see(torch.tensor([[3, 1], [0, 2]]))
    made = transport.sample(32, steps=1, sampler=mb.Bridge())
    assert made.amax(0).tolist() == [6, 4]


def test_prescribed_means_are_of_the_law_alone():
    transport = model(process=mb.PureDeath())
    tilted = Multiplied(transport, torch.zeros(2))
    assert tilted.default_sampler() == mb.Trapezoidal()
    assert transport.default_sampler() == mb.HandOver()
    assert not getattr(tilted, "draws_jointly", False)


def test_a_share_of_the_rows_has_the_score_of_all_in_expectation():
    data = torch.tensor([[0, 0], [2, 2], [1, 2], [0, 1]]).repeat(500, 1)
    facts = mb.data.Covariates((mb.data.Covariate("label", ("a", "b")),))
    losses: list[torch.Tensor] = []
    for share in (1.0, 0.25):
        head = mb.JointHead(share=share, early=1.0)
        seen = features(DEATH, mb.Noised(), masking=mb.Masking(), head=head)
        network = networks.MLP((2,), seen, head.outputs(DEATH), width=8, depth=1, condition=2)
        transport = model(head, network=network, covariates=facts, masking=mb.Masking())
        transport.objective = 0.0 * transport.objective
        told = facts.encode({"label": "a"}, len(data))
        rng = torch.Generator().manual_seed(0)
        losses.append(transport.loss(data, condition=told, generator=rng).detach())
    whole, part = losses
    assert bool((part[500:] == 0).all()) and bool((whole > 0).all())
    error = float(part[:500].std()) / 500**0.5 / 4
    assert float(part.mean()) == pytest.approx(float(whole.mean()), abs=5 * error)
