"""Conditions and guidance against closed forms."""

import json
import math

import pytest
import torch
from scipy import stats
from torch import nn

from markovbridge import (
    AbsorbingChain,
    BirthDeath,
    Bridge,
    CategoricalHead,
    EndpointHead,
    Gillespie,
    Given,
    LinearDiffusion,
    LogisticMixtureHead,
    MeanHead,
    NegativeBinomialHead,
    PureDeath,
    RandomWalk,
    Transport,
    TwoMeansHead,
    exact,
    laws,
)
from markovbridge.data.covariates import Covariate, Covariates
from markovbridge.doors.randomness import generator
from markovbridge.networks import MLP
from markovbridge.samplers import Trapezoidal
from markovbridge.samplers.known_sites import Masking
from markovbridge.transport.guidance import dropped, guided
from problems import LEVEL, assert_follows

SHAPE = (2, 3)
CONDITION = torch.tensor([[0.5, torch.nan], [2.0, -1.0], [torch.nan, torch.nan]])
HEADS = {
    "mean": (PureDeath(9), MeanHead()),
    "stochastic": (PureDeath(9), MeanHead("stochastic")),
    "bounded": (PureDeath(9), MeanHead(bounded=True)),
    "negative binomial": (PureDeath(), NegativeBinomialHead()),
    "table": (PureDeath(9), CategoricalHead()),
    "logistic": (PureDeath(9), LogisticMixtureHead()),
    "masking": (AbsorbingChain(10), CategoricalHead()),
    "two means": (RandomWalk(20.0), TwoMeansHead()),
    "birth-death": (BirthDeath(3.0), TwoMeansHead()),
    "diffusion": (LinearDiffusion(), EndpointHead(spread=1.0)),
    "plug-in": (LinearDiffusion(), EndpointHead()),
}


def model(name="mean", **parts):
    """A network with random weights that takes a condition of two numbers."""
    process, head = HEADS[name]
    network = MLP(SHAPE, process.features, head.outputs(process), width=16, depth=1, condition=2)
    g = generator("cpu", "weights")
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=g))
    moments = {"mean": 3.0, "variance": 5.0}
    return Transport(process, network, head, shape=SHAPE, **moments, **parts).eval()


def states(process, n=3):
    x = torch.randint(0, 5, (n, *SHAPE), generator=generator("cpu", "states"))
    return x.to(process.dtype)


def poisson_classes(conditional, unconditional):
    """A perfect network of Poisson counts, whose mean it is told or not."""

    def network(x, t, condition):
        known = ~condition.isnan().any(1, keepdim=True)
        mean = torch.where(known, conditional, unconditional)
        q = PureDeath().schedule.mortality(t).unsqueeze(1)
        return laws.Shifted(x, laws.Poisson((q * mean).log().expand(x.shape)))

    return Transport(PureDeath(), network, shape=(1,))


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize(
    ("sampler", "steps"), [(Bridge(), 3), (Trapezoidal(), 3), (Gillespie(), 1)], ids=str
)
def test_guided_poisson_classes_are_poisson(sampler, steps, strength):
    n, model = 4000, poisson_classes(2.0, 4.0)
    draws = model.sample(
        n,
        steps=steps,
        sampler=sampler,
        condition=torch.zeros(n, 1),
        guidance=strength,
        generator=generator("cpu", "poisson", str(strength)),
        block=n,
    )
    mean = 2.0**strength * 4.0 ** (1 - strength)
    assert_follows(draws, stats.poisson.pmf(range(60), mean))


@pytest.mark.parametrize("name", HEADS)
def test_strength_0_and_1_are_the_two_laws(name):
    transport = model(name)
    x, t = states(transport.process), torch.full((3,), 0.4)
    for strength, condition in ((0.0, None), (1.0, CONDITION)):
        law = transport.law(x, t, Given(CONDITION, strength + 1e-12 * (strength == 1)))
        torch.testing.assert_close(law.mean, transport.law(x, t, Given(condition)).mean)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("strength", [0.3, 2.5])
def test_what_is_interpolated(name, strength):
    """Rates for jumps by means, tables for tables, and scores for diffusions."""
    transport = model(name)
    process = transport.process
    x, t = states(process), torch.full((3,), 0.4)
    law = transport.law(x, t, Given(CONDITION, strength))
    c, u = transport.law(x, t, Given(CONDITION)), transport.law(x, t)
    if isinstance(law, laws.Categorical):
        c, u = (part.table() if name == "logistic" else part for part in (c, u))
        table = c.log_probs.exp() ** strength * u.log_probs.exp() ** (1 - strength)
        table = table.nan_to_num(nan=0.0)
        torch.testing.assert_close(law.log_probs.exp(), table / table.sum(-1, keepdim=True))
    elif isinstance(process, LinearDiffusion):
        drift = [process.drift(x, part.mean, t) for part in (law, c, u)]
        expected = strength * drift[1] + (1 - strength) * drift[2]
        torch.testing.assert_close(drift[0], expected)
    elif isinstance(process, BirthDeath):
        for log in ("log_up", "log_down"):
            expected = strength * getattr(c, log) + (1 - strength) * getattr(u, log)
            torch.testing.assert_close(getattr(law, log), expected)
    else:
        rates = [process.expected_rates(part, x, t) for part in (law, c, u)]
        torch.testing.assert_close(rates[0], rates[1] ** strength * rates[2] ** (1 - strength))


def test_guided_gaussian_classes_have_the_score_of_a_gaussian():
    """Of N(a, 1) against N(b, 1) the guided mean is that of N(γa + (1-γ)b, 1)."""
    process, x, t = LinearDiffusion(), torch.linspace(-2, 3, 6).reshape(-1, 1), torch.tensor(0.3)

    def posterior(mean):  # of x_1 ~ N(mean, 1) given x_t = t x_1 + √(t(1-t)) z
        return (x * t + mean * t * (1 - t)) / (t**2 + t * (1 - t))

    c, u = laws.Delta(posterior(1.0)), laws.Delta(posterior(-2.0))
    for strength in (0.5, 3.0):
        law = guided(process, x, c, u, strength)
        mean = strength * 1.0 + (1 - strength) * -2.0
        torch.testing.assert_close(law.mean, posterior(mean))


def test_normal_laws_and_laws_without_a_between():
    x = torch.zeros(2, 1)
    c, u = laws.Normal(x + 1, x + 2), laws.Normal(x - 1, x + 2)
    law = guided(LinearDiffusion(), x, c, u, 2.0)
    assert law.mean.tolist() == [[3.0], [3.0]] and law.variance.tolist() == [[4.0], [4.0]]
    with pytest.raises(TypeError, match="between a Normal and a Delta law: sample with guidance"):
        guided(LinearDiffusion(), x, c, laws.Delta(x), 2.0)


def test_nothing_lies_between_mixtures_at_each_site():
    x, size = torch.tensor([[2]]), torch.ones(1, 1, 2)
    weights = torch.full((1, 1, 2), 0.5).log()
    mixture = laws.SiteMixture(weights, laws.NegativeBinomial(torch.zeros(1, 1, 2), size))
    with pytest.raises(TypeError, match="between a SiteMixture and a SiteMixture law"):
        law = laws.Shifted(x, mixture)
        guided(PureDeath(), x, law, law, 2.0)


class Watching(nn.Module):
    """A user's network that writes down what it is given."""

    def __init__(self):
        super().__init__()
        self.calls, self.weight = [], nn.Parameter(torch.zeros(1))

    def forward(self, features, t, condition=None):
        self.calls.append((features, t, condition))
        return features[:, :1] * self.weight


def watching(**parts):
    return Transport(PureDeath(9), Watching(), MeanHead(), shape=SHAPE, mean=3.0, **parts)


def test_guidance_is_one_call_of_twice_the_batch():
    transport = watching()
    x, t = states(transport.process), torch.tensor([0.1, 0.2, 0.3])
    transport.law(x, t, Given(CONDITION, 2.0))
    ((features, times, condition),) = transport.network.calls
    assert features[:3].equal(features[3:]) and times.tolist() == [*t.tolist(), *t.tolist()]
    assert condition[:3].nan_to_num(nan=9.0).equal(CONDITION.nan_to_num(nan=9.0))
    assert condition[3:].isnan().all()
    transport.law(x, t, Given(CONDITION))
    assert len(transport.network.calls[1][0]) == 3
    with pytest.raises(ValueError, match="guidance is 2.0, but there is no condition"):
        transport.law(x, t, Given(guidance=2.0))


def test_samples_depend_on_their_own_condition_and_block():
    transport = model()
    condition = torch.randn(10, 2, generator=generator("cpu", 1))

    def draw(n, condition, **options):
        g = generator("cpu", "samples")
        return transport.sample(
            n, steps=4, condition=condition[:n], guidance=1.5, generator=g, block=4, **options
        )

    whole = draw(10, condition)
    assert draw(8, condition).equal(whole[:8])
    other = condition.clone()
    other[9] += 5
    assert draw(10, other)[:8].equal(whole[:8])
    assert not draw(10, condition + 5).equal(whole)
    with pytest.raises(ValueError, match="condition has 9 rows for 10 samples"):
        transport.sample(10, condition=condition[:9])


# Training -----------------------------------------------------------------------------------


def test_some_lose_their_condition():
    condition = torch.ones(2000, 3)
    lost = dropped(condition, 0.3, generator("cpu", "drop"))
    rows = lost.isnan().any(1)
    assert lost.isnan().all(1).equal(rows) and (lost[~rows] == 1).all()
    assert stats.binomtest(int(rows.sum()), 2000, 0.3).pvalue > LEVEL
    assert dropped(condition, 0.3, generator("cpu", "drop")).isnan().equal(lost.isnan())
    assert dropped(condition, 1.0, None).isnan().all()
    assert dropped(condition.long(), 0.0, None).equal(condition)


def test_conditions_are_dropped_in_training_only():
    transport = watching(condition_dropout=0.5)
    x, condition = states(transport.process, 64), torch.zeros(64, 1)
    transport.train().loss(x, condition=condition, generator=generator("cpu", 0))
    transport.eval().loss(x, condition=condition, generator=generator("cpu", 0))
    transport.train().loss(x, generator=generator("cpu", 0))
    seen = [call[2] for call in transport.network.calls]
    assert 0 < seen[0].isnan().sum() < 64
    assert not seen[1].isnan().any() and seen[2] is None
    with pytest.raises(ValueError, match=r"condition_dropout must lie in \[0, 1\], not 2"):
        watching(condition_dropout=2)


def test_what_is_saved(tmp_path):
    covariates = Covariates((Covariate("label", ("a", "b")), Covariate("age", (), 40.0, 10.0)))
    network = MLP(SHAPE, 3, 1, width=8, depth=1, condition=3)
    made = Transport(
        PureDeath(9),
        network,
        MeanHead(),
        shape=SHAPE,
        covariates=covariates,
        condition_dropout=0.2,
        masking=Masking(0.1, 0.7),
    )
    made.save_pretrained(tmp_path / "model")
    again = Transport.from_pretrained(tmp_path / "model")
    assert again.covariates == covariates and again.masking == Masking(0.1, 0.7)
    assert again.condition_dropout == 0.2
    assert again.covariates.encode({"label": "b"}, 1)[0, 1] == 1
    assert "Masking(low=0.1" in (tmp_path / "model" / "README.md").read_text()
    # A model from before there were any.
    plain = Transport(PureDeath(9), MLP(SHAPE, 1, 1, width=8, depth=1), MeanHead(), shape=SHAPE)
    plain.save_pretrained(tmp_path / "plain")
    file = tmp_path / "plain" / "config.json"
    config = json.loads(file.read_text())
    for part in ("covariates", "condition_dropout", "masking", "sha256"):
        del config[part]
    file.write_text(json.dumps(config))
    assert Transport.from_pretrained(tmp_path / "plain").masking is None


def test_one_network_learns_both_laws():
    """Counts of mean 1 or 6 by a coin: told the class, and not told."""
    from markovbridge.training import Examples, Trainer, TrainingConfig

    g = generator("cpu", "classes")
    label = torch.randint(0, 2, (2000,), generator=g)
    x = torch.poisson(1 + 5.0 * label, generator=g).long().clamp_max(15).unsqueeze(1)
    process, torch_state = PureDeath(15), torch.random.get_rng_state()
    torch.manual_seed(0)
    network = MLP((1,), 1, 16, width=32, depth=1, condition=2)
    torch.random.set_rng_state(torch_state)
    transport = Transport(
        process,
        network,
        CategoricalHead(),
        shape=(1,),
        mean=3.5,
        variance=9.0,
        condition_dropout=0.3,
    )
    config = TrainingConfig(steps=150, batch_size=128, learning_rate=8e-3, warmup=10, ema=0.98)
    told = torch.nn.functional.one_hot(label, 2).float()
    trained = Trainer(transport, Examples(x, condition=told), config).run()
    for given, mean in ((told[:1] * 0 + torch.tensor([1.0, 0.0]), 1.0), (None, 3.5)):
        condition = None if given is None else given.expand(1000, 2)
        draws = trained.sample(
            1000, steps=5, condition=condition, generator=generator("cpu", 3), block=1000
        )
        assert math.isclose(float(draws.double().mean()), mean, rel_tol=0.15)


def test_exact_laws_ignore_a_condition():
    process = PureDeath()
    transport = Transport(process, exact.Poisson(process, 3.0), shape=(1,))
    x = torch.zeros(2, 1, dtype=torch.int64)
    law = transport.law(x, 0.5, Given(torch.zeros(2, 1), 4.0))
    torch.testing.assert_close(law.mean, transport.law(x, 0.5).mean)


def test_of_several_covariates_any_may_be_unknown():
    condition = torch.ones(40_000, 5)
    known = ~dropped(condition, 0.3, generator("cpu", "several"), sizes=(3, 1, 1)).isnan()
    assert bool((known[:, :3].all(1) | ~known[:, :3].any(1)).all())  # one covariate
    for pattern, share in (((0, 0, 0), 0.3 + 0.7 * 0.3**3), ((1, 1, 1), 0.7**4)):
        found = (known[:, [0, 3, 4]] == torch.tensor(pattern, dtype=torch.bool)).all(1)
        assert abs(float(found.float().mean()) - share) < 5 * (share * (1 - share) / 40_000) ** 0.5
    mixed = (known[:, [0, 3, 4]] == torch.tensor([True, False, True])).all(1)
    assert abs(float(mixed.float().mean()) - 0.7**3 * 0.3) < 0.01


@pytest.mark.parametrize("base", ["moments", None, "law"])
def test_a_base_that_knows_no_condition_is_asked_once(base, monkeypatch):
    law = exact.NegativeBinomial(PureDeath(9), 3.0, 2.0)
    calls = []
    for owner, name in ((PureDeath, "closed_form"), (exact.NegativeBinomial, "__call__")):
        plain = getattr(owner, name)

        def watched(*told, plain=plain):
            calls.append(plain)
            return plain(*told)

        monkeypatch.setattr(owner, name, watched)
    network = MLP(SHAPE, 2 if base == "law" else 1, 1, width=16, depth=1, condition=2)
    parts = {"shape": SHAPE, "mean": 3.0, "variance": 5.0}
    made = Transport(
        PureDeath(9), network, MeanHead(), base=law if base == "law" else base, **parts
    ).eval()
    x = torch.randint(0, 5, (3, *SHAPE), generator=generator("cpu", "x"))
    both = made.law(x, 0.4, Given(CONDITION, 2.0)).log_excess(x)
    assert len(calls) == {"moments": 1, None: 0, "law": 2}[base]  # which may depend on it
    told, untold = (
        made.law(x, 0.4, Given(c)).log_excess(x)
        for c in (CONDITION, torch.full_like(CONDITION, torch.nan))
    )
    torch.testing.assert_close(both, 2 * told - untold)
