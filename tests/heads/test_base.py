"""Base laws: an output of zeros states the closed form, and the network sees what it says."""

import inspect
import math
from dataclasses import replace

import pytest
import torch

import markovbridge as mb
from markovbridge import exact, heads, networks
from markovbridge.processes import Setting
from markovbridge.samplers.known_sites import Observed
from markovbridge.transport import features

TIMES = (0.0, 0.05, 0.4, 0.9, 1.0)
COUNTS = torch.tensor([[0, 1, 4], [2, 0, 0], [3, 3, 1], [1, 4, 2], [0, 2, 0]])
REALS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
DEATH, FEW = mb.PureDeath(), mb.PureDeath(5)
MEAN, SIZE = torch.tensor([0.5, 3.0, 20.0]), torch.tensor([0.7, 2.0, 5.0])
NEGATIVE = exact.NegativeBinomial(DEATH, MEAN, SIZE)


def model(process, head, base, x=COUNTS, **options):
    """A transport whose network puts out zeros."""
    coupling = getattr(base, "coupling", mb.Noised())
    seen = features(process, coupling, base=base, masking=options.get("masking"), head=head)
    network = networks.MLP(x.shape[1:], seen, head.outputs(process), width=4, depth=1)
    mean, variance = mb.statistics(x)
    options = {"mean": mean, "variance": variance} | options
    return mb.Transport(process, network, head, shape=x.shape[1:], base=base, **options)


def frequencies(process):
    return exact.FitFrequencies()(process, COUNTS)


# For every head that corrects a law: a process, a law, data, and what of the law it states.
CORRECTED = {
    "mean": (heads.MeanHead(), NEGATIVE, COUNTS, "log_excess"),
    "mean, exp": (heads.MeanHead(link="exp"), NEGATIVE, COUNTS, "log_excess"),
    "mean, bounded": (heads.MeanHead(bounded=True), frequencies(FEW), COUNTS, "log_excess"),
    "joint": (heads.JointHead(), NEGATIVE, COUNTS, "log_excess"),
    "negative binomial": (heads.NegativeBinomialHead(), NEGATIVE, COUNTS, "log_excess"),
    "negative binomials": (heads.NegativeBinomialHead(3), NEGATIVE, COUNTS, "log_excess"),
    "centred": (heads.CentredHead(), frequencies(FEW), COUNTS, "table"),
    "categorical": (heads.CategoricalHead(), frequencies(FEW), COUNTS, "table"),
    "uniform": (heads.CategoricalHead(), frequencies(mb.UniformChain(5)), COUNTS, "table"),
    "absorbing": (heads.CategoricalHead(), frequencies(mb.AbsorbingChain(5)), COUNTS, "table"),
    "ehrenfest": (heads.CategoricalHead(), frequencies(mb.Ehrenfest(5)), COUNTS, "table"),
    "steps": (
        heads.TwoMeansHead(),
        frequencies(mb.BirthDeath(2.0, maximum=5)),
        COUNTS,
        "rates",
    ),
    "end": (
        heads.EndpointHead(),
        exact.Gaussian(mb.LinearDiffusion(mb.VP()), torch.zeros(3), torch.eye(3) * 2 + 1),
        REALS,
        "mean",
    ),
    "residual": (
        heads.EndpointHead("residual"),
        exact.Empirical(mb.LinearDiffusion(mb.VE()), REALS),
        REALS,
        "mean",
    ),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_zeros_state_the_base_law(name):
    head, base, x, what = CORRECTED[name]
    process = base.process
    transport = model(process, head, base, x)
    for time in TIMES:
        state = process.transition(x, 1.0, time).sample() if time < 1 else x
        t = torch.full((len(x),), time)
        law, known = transport.law(state, t), base(state, t)
        if what == "table":
            found, wanted = law.table().log_probs.exp(), known.table().log_probs.exp()
        elif what == "rates" and time < 1:
            found = process.expected_rates(law, state, t)
            wanted = process.expected_rates(known, state, t)
        elif what == "log_excess":
            found, wanted = (one.log_excess(state).clamp_min(-16) for one in (law, known))
        else:
            found, wanted = law.mean, known.mean
        torch.testing.assert_close(found, wanted.to(found.dtype), rtol=2e-5, atol=2e-5)


def test_every_head_that_corrects_a_law_is_here():
    made = {type(head): head for head, *_ in CORRECTED.values()}
    every = [getattr(heads, name) for name in heads.__all__]
    every = [one for one in every if inspect.isclass(one) and issubclass(one, heads.Head)]
    for one in every:
        if inspect.isabstract(one):
            continue
        assert one().corrects == (one in made), f"add {one.__name__} to CORRECTED"
        assert one().corrects or not one().starts_from_moments
    assert not heads.EndpointHead("noise").corrects


@pytest.mark.parametrize("head", [mb.MeanHead(), mb.NegativeBinomialHead()])
def test_pure_death_starts_from_the_law_of_negative_binomials(head):
    variance = MEAN + MEAN**2 / SIZE
    moments = {"mean": MEAN, "variance": variance}
    transport = model(DEATH, head, "moments", **moments)
    state = torch.tensor([[0, 0, 0], [1, 7, 40]])
    for time in TIMES:
        law, known = transport.law(state, time), NEGATIVE(state, time)
        torch.testing.assert_close(
            law.log_excess(state).double().clamp_min(-60),
            known.log_excess(state).clamp_min(-60),
            rtol=1e-5,
            atol=2e-5,
        )
        if isinstance(head, mb.NegativeBinomialHead) and 0 < time < 1:
            found, wanted = law.log_prob(state + 2), known.log_prob(state + 2)
            torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    # The published start, of Poisson counts.
    plain = model(DEATH, mb.MeanHead(), None, **moments).law(state, 0.4).excess(state)
    q = float(DEATH.schedule.mortality(0.4))
    torch.testing.assert_close(plain, (q * MEAN).expand_as(plain), rtol=1e-5, atol=0)


def test_the_bound_of_zeros_is_the_likelihood_of_the_base_law():
    transport = model(DEATH, mb.MeanHead(), NEGATIVE)
    bound = transport.log_likelihood(COUNTS, draws=256, generator=torch.Generator().manual_seed(0))
    known = NEGATIVE.marginal(COUNTS, 1.0).log_prob(COUNTS)
    # The baseline of the bound is the same family, so that little is left to chance.
    assert bool(((bound.nats - known).abs() < 5 * bound.standard_error + 1e-6).all())
    assert float(bound.standard_error.max()) < 0.5


@pytest.mark.parametrize(
    "process", [mb.BirthDeath(2.0), mb.LinearBirthDeath(0.5), mb.Ehrenfest(40), mb.PureDeath()]
)
def test_an_estimate_is_the_regression(process):
    # Of two values it is that of all data with this mean and variance.
    mean, variance = torch.tensor([10.0]), torch.tensor([16.0])
    ends, states = torch.tensor([[6], [14]]), torch.arange(41).unsqueeze(1)
    for time in (0.1, 0.5, 0.95):
        law = process.transition(ends, 1.0, time)
        p = torch.stack([law_at(process, end, time, states) for end in ends])
        centre = (p @ states.double()).mean()
        cross = (0.5 * p * (ends - 10.0)).sum(0) @ (states.double() - centre)
        spread = (0.5 * p).sum(0) @ (states.double() - centre).square()
        setting = Setting(process, mb.Noised(), mean, variance)
        found = process.estimate(states, time, setting)
        wanted = 10 + cross / spread * (states - centre)
        torch.testing.assert_close(found.double(), wanted, rtol=2e-3, atol=2e-3)
        assert law.mean.shape == ends.shape


def law_at(process, end, time, states):
    """Probabilities of states at a time, from an end."""
    law = process.transition(end.expand(len(states), 1), 1.0, time)
    return law.log_prob(states).double().exp()


@pytest.mark.parametrize("process", [mb.BirthDeath(2.0), mb.LinearBirthDeath(0.5)])
def test_expected_steps_start_from_what_the_state_tells(process):
    # Of over-dispersed counts the mean alone says little.
    draw = torch.Generator().manual_seed(0)
    ones = torch.full((300, 1), 1.0)
    rate = torch._standard_gamma(ones, generator=draw) * 20  # pyright: ignore
    x = torch.poisson(rate, generator=draw).long()
    bounds = []
    for base in ("moments", None):
        transport = model(process, mb.TwoMeansHead(), base, x)
        bound = transport.log_likelihood(x, draws=16, generator=torch.Generator().manual_seed(1))
        bounds.append(float(bound.nats.mean()))
    best = -math.log(21) - 20 * math.log(21 / 20)  # of geometric counts
    assert best - 1.0 < bounds[0] and bounds[1] < bounds[0] - 2


class Told(exact.NegativeBinomial):
    """A law that says what it was given."""

    def given_known(self, x, t, observed, condition=None):
        mean = torch.where(observed.mask.any(1, keepdim=True), 7.0, 1.0)
        return exact.Poisson(self.process, mean)(x, t)


def test_known_sites_and_conditions_reach_the_base_law():
    base = Told(DEATH, MEAN, SIZE)
    transport = model(DEATH, mb.MeanHead(), base, masking=mb.Masking())
    mask = torch.tensor([[True, False, False], [False, False, False]])
    given = mb.Given(observed=Observed(COUNTS[:2], mask))
    excess = transport.law(torch.zeros(2, 3).long(), 0.0, given).excess(torch.zeros(2, 3).long())
    torch.testing.assert_close(excess, torch.tensor([[0.0, 7.0, 7.0], [1.0, 1.0, 1.0]]))
    # What the base law says is a feature of its own, next to the state.
    assert features(DEATH, mb.Noised(), base=base) == 2
    assert features(DEATH, mb.Noised(), base="moments") == 1
    setting = Setting(DEATH, mb.Noised(), MEAN, MEAN)
    x = torch.tensor([[3, 3, 3]])
    seen = DEATH.standardise_base(NEGATIVE(x, 0.5), x, 0.5, setting)
    p = float(DEATH.schedule.survival(0.5))
    torch.testing.assert_close(seen[0, 0], ((SIZE + 3) / (SIZE + p * MEAN)).log())


def test_a_mixture_tells_the_network_residuals(tmp_path):
    """Beside the state, what the mixture says, known values and mask: five numbers a site."""
    base = exact.FitMixture(components=(2,))(DEATH, COUNTS.repeat(9, 1))
    without = exact.FitMixture(components=(2,), residuals=False)(DEATH, COUNTS.repeat(9, 1))
    assert features(DEATH, mb.Noised(), base=without) == 2
    assert features(DEATH, mb.Noised(), base=base, masking=mb.Masking()) == 5
    seen = []

    def network(shown, t, condition):
        seen.append(shown)
        return torch.zeros(len(shown), 1, 3)

    options = {"shape": (3,), "mean": MEAN, "variance": MEAN, "base": base}
    transport = mb.Transport(DEATH, network, mb.MeanHead(), **options)
    transport.law(COUNTS, 0.5)
    torch.testing.assert_close(seen[0][:, 2], base(COUNTS, 0.5).residual.float())
    made = model(DEATH, mb.MeanHead(), base)
    made.save_pretrained(tmp_path / "model")
    again = mb.Transport.from_pretrained(tmp_path / "model")
    assert again.base.more_features == 1
    assert torch.equal(again.law(COUNTS, 0.5).mean, made.law(COUNTS, 0.5).mean)


def test_a_base_law_is_saved_with_the_model(tmp_path):
    base = frequencies(FEW)
    transport = model(FEW, mb.CategoricalHead(), base)
    transport.save_pretrained(tmp_path / "model")
    again = mb.Transport.from_pretrained(tmp_path / "model")
    assert torch.equal(again.base.logits, base.logits)
    assert torch.equal(again.law(COUNTS, 0.5).table().logits, transport.law(COUNTS, 0.5).logits)
    for base in ("moments", None, exact.Poisson(DEATH, 2.0)):
        model(DEATH, mb.MeanHead(), base).save_pretrained(tmp_path / "other")
        assert mb.Transport.from_pretrained(tmp_path / "other").base == base


def test_frequencies_are_those_of_the_data():
    table = exact.FitFrequencies(prior=1e-9)(FEW, COUNTS)
    law = table.marginal(COUNTS, 1.0)
    known = torch.stack([(COUNTS == COUNTS[i]).double().mean(0).log().sum() for i in range(5)])
    torch.testing.assert_close(law.log_prob(COUNTS).double(), known, rtol=1e-5, atol=1e-5)
    # Half way each of the units of a site has been thinned.
    p = float(FEW.schedule.survival(0.5))
    torch.testing.assert_close(
        table.marginal(COUNTS, 0.5).mean[0].double(),
        p * COUNTS.double().mean(0),
        rtol=1e-5,
        atol=0,
    )


@pytest.mark.parametrize(
    ("process", "head", "base", "message"),
    [
        (DEATH, mb.MeanHead(), "mixture", "base must be a DataLaw, one of 'moments' or None"),
        (FEW, mb.LogisticMixtureHead(), NEGATIVE, "LogisticMixtureHead corrects no base law"),
        (FEW, mb.MeanHead(), NEGATIVE, "the exact law is for PureDeath"),
        (
            mb.LinearDiffusion(mb.VP()),
            mb.EndpointHead("noise"),
            NEGATIVE,
            "EndpointHead corrects no base law",
        ),
    ],
)
def test_what_cannot_be_corrected_is_refused(process, head, base, message):
    x = REALS if process.dtype.is_floating_point else COUNTS
    with pytest.raises((TypeError, ValueError), match=message):
        model(process, head, base, x)
    law = replace(NEGATIVE, process=FEW)
    with pytest.raises(ValueError, match="an exact law corrects no base law"):
        mb.Transport(FEW, law, shape=(3,), base=law)
    with pytest.raises(TypeError, match="frequencies are of a bounded number of values"):
        exact.FitFrequencies()(DEATH, COUNTS)


def test_a_mixture_of_bounded_counts_is_corrected_all_the_same():
    # Mass above the maximum is for the head to deal with; as a model it is refused.
    process = mb.PureDeath(6)
    base = exact.FitMixture(components=(1,))(process, COUNTS)
    transport = model(process, mb.MeanHead(bounded=True), base)
    law = transport.law(torch.zeros_like(COUNTS), 0.2)
    assert bool((law.mean <= 6).all())
    assert bool(torch.isfinite(transport.loss(COUNTS)).all())
    # A joint law says nothing of single sites: a table starts from what x_t says.
    transport = model(process, mb.CategoricalHead(), base)
    found = transport.law(COUNTS, 0.5).table().log_probs
    known = process.evidence(COUNTS, 0.5).log_softmax(-1)
    torch.testing.assert_close(found, known.to(found.dtype))
