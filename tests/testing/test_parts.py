"""Checks of couplings, heads, covariances and samplers: ours pass, broken ones are told."""

from dataclasses import dataclass

import pytest
import torch

import markovbridge as mb
from grid.pairs import concrete
from grid.settings import SAMPLERS
from markovbridge import couplings, covariances, laws, samplers
from markovbridge.couplings import Coupling
from markovbridge.covariances import Covariance
from markovbridge.heads.base import Head
from markovbridge.testing import (
    CheckError,
    check_coupling,
    check_covariance,
    check_head,
    check_sampler,
)

COUNTS = torch.tensor([[0, 1], [2, 2], [1, 0], [2, 1]])
REALS = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
BROWNIAN = mb.LinearDiffusion(mb.Brownian(0.8))
FEW = 500

COUPLINGS = {
    mb.Noised: [(mb.Noised(), BROWNIAN), (mb.Noised(), mb.Ehrenfest(3))],
    mb.Dirac: [(mb.Dirac(0.3), BROWNIAN), (mb.Dirac(1), mb.RandomWalk(2.0))],
    mb.Independent: [
        (mb.Independent(), BROWNIAN),
        (mb.Independent(couplings.Gaussian(1.0, 2.0)), BROWNIAN),
        (mb.Independent(preserve=True), BROWNIAN),
    ],
    mb.MinibatchOT: [(mb.MinibatchOT(), BROWNIAN)],
    mb.Paired: [(mb.Paired(), BROWNIAN)],
}
HEADS = {
    mb.CategoricalHead: [
        (mb.CategoricalHead(), mb.UniformChain(3)),
        (mb.CategoricalHead(), mb.PureDeath(2)),
    ],
    mb.MeanHead: [
        (mb.MeanHead(), mb.PureDeath()),
        (mb.MeanHead("stochastic"), mb.PureDeath(5)),
        (mb.MeanHead("nearest", bounded=True), mb.PureDeath(5)),
    ],
    mb.NegativeBinomialHead: [(mb.NegativeBinomialHead(), mb.PureDeath())],
    mb.CentredHead: [(mb.CentredHead(), mb.PureDeath(5))],
    mb.JointHead: [
        (mb.JointHead(), mb.PureDeath()),
        (mb.JointHead(mb.CategoricalHead(), draws=3), mb.UniformChain(3)),
        (mb.JointHead(mb.TwoMeansHead(), units="site"), mb.RandomWalk(2.0)),
        (mb.JointHead(mb.EndpointHead(), noise=2), BROWNIAN),
        (mb.JointHead(given_noise=mb.CategoricalHead(), rule="log"), mb.PureDeath(5)),
        (
            mb.JointHead(
                mb.TwoMeansHead(), given_noise=mb.CategoricalHead(), rule="log", products=3
            ),
            mb.BirthDeath(2.0, maximum=5),
        ),
    ],
    mb.LogisticMixtureHead: [(mb.LogisticMixtureHead(2), mb.Ehrenfest(5))],
    mb.TwoMeansHead: [
        (mb.TwoMeansHead(), mb.BirthDeath(2.0, maximum=5)),
        (mb.TwoMeansHead(), mb.RandomWalk(2.0)),
        (mb.TwoMeansHead(), mb.PureBirth(2.0)),
        (mb.TwoMeansHead(), mb.Yule(2.0)),
        (mb.TwoMeansHead(), mb.LinearBirthDeath(0.8)),
    ],
    mb.GammaHead: [
        (mb.GammaHead(), mb.GammaProcess(20.0)),
        (mb.GammaHead(1), mb.GammaProcess(20.0)),
    ],
    mb.EndpointHead: [
        (mb.EndpointHead(), BROWNIAN),
        (mb.EndpointHead("residual", spread=1.0), BROWNIAN),
    ],
}


def cases(table):
    return [pytest.param(*case, id=repr(case[0])[:40]) for many in table.values() for case in many]


def test_every_class_is_checked():
    shipped = {one for one in concrete(Coupling) if "couplings" in one.__module__}
    assert shipped <= set(COUPLINGS)
    assert set(concrete(Head)) <= set(HEADS)
    assert set(concrete(Covariance)) <= set(COVARIANCES)


@pytest.mark.parametrize(("coupling", "process"), cases(COUPLINGS))
def test_couplings_pass(coupling, process):
    data = COUNTS if not process.dtype.is_floating_point else REALS
    report = check_coupling(coupling, process, data, draws=FEW)
    assert "pair" in {**report.checked, **report.skipped}


@pytest.mark.parametrize(("head", "process"), cases(HEADS))
def test_heads_pass(head, process):
    data = COUNTS if not process.dtype.is_floating_point else REALS
    data = data.exp() if isinstance(process, mb.GammaProcess) else data
    coupling = None if isinstance(process, type(mb.PureDeath())) else mb.Noised()
    report = check_head(head, process, data, coupling=coupling, draws=FEW)
    assert {"gradient", "determinism", "rows, one by one"} <= set(report.checked)


MATRIX = torch.tensor([[1.0, 0.3, 0.1], [0.3, 0.8, 0.2], [0.1, 0.2, 0.9]], dtype=torch.float64)
KERNEL = covariances.Exponential(1.0, 2.0)
COVARIANCES = {
    covariances.Isotropic: (covariances.Isotropic(2.0), (3, 2)),
    covariances.Diagonal: (covariances.Diagonal([1.0, 4.0, 0.5]), (3,)),
    covariances.Dense: (covariances.Dense(MATRIX), (3,)),
    covariances.GMRF: (covariances.GMRF(covariances.Matern(1, 1.0, 3.0)), (5, 6)),
    covariances.Grid: (covariances.Grid(KERNEL), (4, 5)),
    covariances.Separable: (
        covariances.Separable(covariances.Torus(KERNEL), covariances.Dense(MATRIX)),
        (3, 4, 4),
    ),
    covariances.Torus: (covariances.Torus(KERNEL), (4, 4)),
    covariances.Modal: (covariances.Modal(covariances.Cosine(edges=(0.2,)), (2.0, 0.5)), (4, 4)),
    covariances.Power: (covariances.Power(covariances.Torus(KERNEL)), (4, 4)),
}


@pytest.mark.parametrize("kind", COVARIANCES)
def test_covariances_pass(kind):
    covariance, shape = COVARIANCES[kind]
    report = check_covariance(covariance, shape)
    assert {"symmetric", "draws, in standard deviations"} <= set(report.checked)
    assert set(report.skipped) <= covariances.OPERATIONS - covariance.capabilities


def test_what_a_covariance_refuses_is_skipped():
    smooth = covariances.Torus(covariances.SquaredExponential(1.0, 2.0))
    assert "singular" in check_covariance(smooth, (4, 4)).skipped["solve"]


CASES = [
    (mb.Bridge, mb.UniformChain(3), 3, 0.0),
    (mb.TauLeaping, mb.UniformChain(3), 64, 0.02),
    (mb.Gillespie, mb.PureDeath(2), 1, 0.0),
    (samplers.SecondOrderBridge, mb.Ehrenfest(2), 12, 0.02),
    (mb.Trapezoidal, mb.PureDeath(2), 24, 0.02),
    (mb.HandOver, mb.PureDeath(2), 24, 0.02),
    (samplers.Adaptive, mb.PureDeath(2), 1, 0.02),
    (mb.EulerMaruyama, BROWNIAN, 64, 0.05),
    (mb.Midpoint, BROWNIAN, 24, 0.03),
    (mb.ProbabilityFlow, BROWNIAN, 48, 0.03),
    (mb.StochasticAdams, BROWNIAN, 64, 0.03),
    (mb.StochasticHeun, BROWNIAN, 48, 0.03),
    (mb.Corrected, mb.UniformChain(3), 4, 0.0),
]


@pytest.mark.parametrize(("sampler", "process", "steps", "allowed"), CASES)
def test_samplers_pass(sampler, process, steps, allowed):
    make = mb.Corrected if sampler is mb.Corrected else SAMPLERS[sampler][0]
    real = process.dtype.is_floating_point
    check_sampler(
        make(),
        process,
        REALS if real else COUNTS,
        coupling=mb.Independent() if real else None,
        law="sites" if sampler is samplers.SecondOrderBridge else "joint",
        steps=steps,
        draws=1000,
        allowed=allowed,
    )


def test_every_sampler_has_a_case():
    assert {case[0] for case in CASES} == set(SAMPLERS)


# Broken ones -----------------------------------------------------------------------------------


class Elsewhere(mb.Independent):
    def start(self, process, like, *, generator=None):
        return 1.2 * super().start(process, like, generator=generator)


class Later(mb.Dirac):
    def given_end(self, process, x1, t):
        return super().given_end(process, x1, min(1.0, t + 0.05))


class Numbers(mb.Dirac):
    def kernel(self, process, t):
        return super().kernel(process, t * 0.99)


class Lucky(mb.Independent):
    def pair(self, process, x1, *, generator=None):
        return super().pair(process, x1)


class Double(mb.Dirac):
    def pair(self, process, x1, *, generator=None):
        return super().pair(process, x1).double()


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Elsewhere(), "do not have the moments of the sources"),
        (Later(0.3), "`given_end` at"),
        (Numbers(0.3), "`kernel` at"),
        (Lucky(), "global generator|differs from draw to draw"),
        (Double(0.3), "torch.float64 where states are torch.float32"),
    ],
)
def test_a_broken_coupling_is_told(broken, sentence):
    with pytest.raises(CheckError, match=sentence):
        check_coupling(broken, BROWNIAN, REALS)


@dataclass(frozen=True)
class Table(Head):
    """A table per site, to be broken."""

    def outputs(self, process):
        return process.states

    def __call__(self, setting, raw, x, t):
        return laws.Categorical(raw.movedim(1, -1))


class Mixed(Table):
    def __call__(self, setting, raw, x, t):
        return laws.Categorical((raw - raw.mean(0)).movedim(1, -1))


class Infinite(Table):
    def __call__(self, setting, raw, x, t):
        return laws.Categorical((100 * raw).exp().movedim(1, -1))


class Deaf(Table):
    def __call__(self, setting, raw, x, t):
        return laws.Categorical(raw.detach().movedim(1, -1) + 0 * raw.movedim(1, -1))


class Turned(laws.Categorical):
    def sample(self, *, generator=None):
        return laws.Categorical(self.logits.flip(-1)).sample(generator=generator)


class Backwards(Table):
    def __call__(self, setting, raw, x, t):
        return Turned(raw.movedim(1, -1))


class Nothing(Table):
    def outputs(self, process):
        return 0


def test_the_head_that_is_broken_below_passes():
    check_head(Table(), mb.UniformChain(3), COUNTS, draws=FEW)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Mixed(), "depends on other rows"),
        (Infinite(), "not finite|cannot be|NaN|nan"),
        (Deaf(), "no gradient"),
        (Backwards(), "do not follow its probabilities"),
        (Nothing(), "`outputs` is 0"),
    ],
)
def test_a_broken_head_is_told(broken, sentence):
    with pytest.raises(CheckError, match=sentence):
        check_head(broken, mb.UniformChain(3), COUNTS)


class Skew(covariances.Isotropic):
    def __matmul__(self, x):
        return x + 0.1 * x.roll(1, -1)


class Scaled(covariances.Isotropic):
    def sample(self, like, *, generator=None):
        return 1.1 * super().sample(like, generator=generator)


class Root(covariances.Isotropic):
    def sqrt(self, x):
        return 1.1 * super().sqrt(x)


class Solved(covariances.Isotropic):
    def solve(self, x):
        return 1.1 * super().solve(x)


class Boasting(covariances.Isotropic):
    @property
    def capabilities(self):
        return super().capabilities - {"solve"}


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Skew(), "not symmetric"),
        (Scaled(), "draws have another covariance"),
        (Root(), "of `sqrt` is not the matrix"),
        (Solved(), "`solve` does not undo"),
        (Boasting(), "solve is not among its capabilities, and does not raise"),
    ],
)
def test_a_broken_covariance_is_told(broken, sentence):
    with pytest.raises(CheckError, match=sentence):
        check_covariance(broken, (2, 3))


class Early(mb.Bridge):
    def step(self, model, x, t, s, *, generator=None):
        end = model.law(x, 0.7 + 0.3 * t).sample(generator=generator)
        return model.process.bridge(x, end, t, s, 1.0).sample(generator=generator)


class Again(mb.Bridge):
    def step(self, model, x, t, s, *, generator=None):
        model.law(x, t)
        return super().step(model, x, t, s, generator=generator)


class Chance(mb.Bridge):
    def step(self, model, x, t, s, *, generator=None):
        return super().step(model, x, t, s)


class Still(mb.Bridge):
    def step(self, model, x, t, s, *, generator=None):
        end = model.law(x, t).mean.round().to(x.dtype)
        return model.process.bridge(x, end, t, s, 1.0).sample(generator=generator)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Again(), "`evaluations` says 3 for 3 steps, and there were 6"),
        (Chance(), "global generator|differs from draw to draw"),
        (Still(), "does not have the law of the data"),
        (Early(), "does not have the law of the data"),
    ],
)
def test_a_broken_sampler_is_told(broken, sentence):
    with pytest.raises(CheckError, match=sentence):
        data = COUNTS[[0, 0, 0, 0, 0, 1, 2, 3]]
        check_sampler(broken, mb.UniformChain(3), data, steps=3, allowed=0.0)


def test_points_without_spread_are_named():
    points = torch.tensor([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    with pytest.raises(ValueError, match="have no spread in some direction"):
        check_sampler(mb.Midpoint(), mb.LinearDiffusion(), points)
