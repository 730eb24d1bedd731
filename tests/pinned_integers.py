"""Tiny models of every class of process on integers, and exact laws of counts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import markovbridge as mb
from markovbridge import exact, networks
from pinned_cases import COUNTS, TOLD, Case, case, empirical, tiny

# Counts

PICTURES = COUNTS.repeat(1, 4).reshape(5, 1, 3, 4)
FACTS = mb.data.Covariates(
    (mb.data.Covariate("batch", ("one", "two")), mb.data.Covariate("age", (), 40.0, 10.0))
)
ROWS = {"batch": ["one", "two", None, "two", "one"], "age": [30.0, 55.0, 42.0, None, 61.0]}


def squared(t: Tensor) -> Tensor:
    """A survival function of the user's."""
    return t**2


def death(**options) -> mb.PureDeath:
    return mb.PureDeath(maximum=5, **options)


COUNT_CASES: dict[str, Callable[[], Case]] = {
    "death-mean": lambda: case(death(), mb.MeanHead(), COUNTS),
    "death-mean-moments": lambda: case(
        mb.PureDeath(), mb.MeanHead(), COUNTS, masking=mb.Masking(), base="moments"
    ),
    "death-categorical-frequencies": lambda: case(
        death(), mb.CategoricalHead(), COUNTS, base=exact.FitFrequencies(), **TOLD
    ),
    "death-mean-linear": lambda: case(
        death(), mb.MeanHead(), COUNTS, base=exact.FitLinearCounts()
    ),
    "death-mean-unbounded": lambda: case(
        mb.PureDeath(), mb.MeanHead(link="exp"), COUNTS, objective=mb.PathKL()
    ),
    "death-mean-early": lambda: case(
        death(), mb.MeanHead(), COUNTS, objective=mb.EarlyError(0.01)
    ),
    "death-mean-bounded": lambda: case(
        death(schedule=mb.LogisticSchedule(8.0)),
        mb.MeanHead("stochastic", bounded=True),
        COUNTS,
        objective=mb.FiniteTime(20),
    ),
    "death-mean-published": lambda: case(
        death(schedule=mb.LogisticSchedule(exact_ends=False)),
        mb.MeanHead("nearest"),
        COUNTS,
        **TOLD,
        objective=mb.Instantaneous(20),
    ),
    "death-negative-binomial": lambda: case(
        mb.PureDeath(schedule=mb.LinearSchedule()),
        mb.NegativeBinomialHead(),
        COUNTS,
        objective=mb.EndNLL(),
        **TOLD,
    ),
    "death-mixture": lambda: case(
        mb.PureDeath(), mb.NegativeBinomialHead(2), COUNTS, objective=mb.EndNLL()
    ),
    "death-categorical": lambda: case(
        death(),
        mb.CategoricalHead(),
        COUNTS,
        objective=mb.transport.Sum((mb.PathKL(), mb.EndNLL()), (1.0, 0.1)),
    ),
    "death-logistics": lambda: case(
        death(), mb.LogisticMixtureHead(2), COUNTS, objective=mb.EndNLL(), **TOLD
    ),
    "death-centred": lambda: case(death(), mb.CentredHead(), COUNTS),
    "death-centred-logistics": lambda: case(
        death(), mb.CentredHead(mb.LogisticMixtureHead(2)), COUNTS, objective=mb.EndMSE()
    ),
    "death-joint": lambda: case(death(), mb.JointHead(), COUNTS, **TOLD),
    "death-joint-table": lambda: case(death(), mb.JointHead(mb.CategoricalHead()), COUNTS),
    "death-joint-log": lambda: case(
        death(),
        mb.JointHead(given_noise=mb.CategoricalHead(), rule="log", products=2),
        COUNTS,
        **TOLD,
    ),
    "death-own-schedule": lambda: case(
        death(schedule=mb.SurvivalSchedule(squared)), mb.MeanHead(), COUNTS, saved=False
    ),
    "death-attention": lambda: case(
        death(),
        mb.MeanHead(),
        COUNTS,
        network=partial(networks.Attention, width=4, depth=1, heads=2),
    ),
    "death-masking": lambda: case(
        death(), mb.MeanHead(), PICTURES, masking=mb.Masking(pattern="mixed")
    ),
    "death-labels": lambda: case(
        death(),
        mb.MeanHead(),
        COUNTS,
        condition_dropout=0.3,
        **TOLD,
    ),
    "death-covariates": lambda: case(
        mb.PureDeath(),
        mb.MeanHead(link="exp"),
        COUNTS,
        covariates=FACTS,
        told=ROWS,
        condition_dropout=0.2,
        masking=mb.Masking(none=0.5),
        network=partial(tiny, dropout=0.1, compress=True),
    ),
    "birth-death": lambda: case(mb.BirthDeath(2.0), mb.TwoMeansHead(), COUNTS, **TOLD),
    "birth-death-categorical": lambda: case(
        mb.BirthDeath(2.0, maximum=5), mb.CategoricalHead(), COUNTS, objective=mb.PathKL()
    ),
    "walk": lambda: case(
        mb.RandomWalk(1.5, centre=2), mb.TwoMeansHead(), COUNTS - 1, masking=mb.Masking()
    ),
    "walk-categorical": lambda: case(
        mb.RandomWalk(1.5, centre=2, maximum=5), mb.CategoricalHead(), COUNTS, state=COUNTS - 2
    ),
    "birth": lambda: case(mb.PureBirth(2.0), mb.TwoMeansHead(), COUNTS, state=COUNTS + 1),
    "birth-categorical": lambda: case(
        mb.PureBirth(2.0, maximum=5), mb.CategoricalHead(), COUNTS, state=COUNTS + 1
    ),
    "linear-birth-death": lambda: case(mb.LinearBirthDeath(0.7), mb.TwoMeansHead(), COUNTS),
    "linear-birth-death-categorical": lambda: case(
        mb.LinearBirthDeath(0.7, maximum=5), mb.CategoricalHead(), COUNTS, objective=mb.PathKL()
    ),
    "yule": lambda: case(mb.Yule(1.5), mb.TwoMeansHead(), COUNTS + 1, state=COUNTS + 2),
}

# Chains

RATES = [
    [-1.2, 0.7, 0.3, 0.2, 0.0],
    [0.1, -0.9, 0.5, 0.2, 0.1],
    [0.4, 0.1, -1.0, 0.3, 0.2],
    [0.0, 0.6, 0.2, -1.1, 0.3],
    [0.5, 0.0, 0.1, 0.4, -1.0],
]
EARLY = (torch.eye(5) + 0.3 * torch.tensor(RATES)).tolist()
LATE = (torch.eye(5) + 0.6 * torch.tensor(RATES)).tolist()
LAST = torch.full((5, 5), 0.2).tolist()

CHAIN_CASES: dict[str, Callable[[], Case]] = {
    "chain": lambda: case(mb.FiniteChain(RATES), mb.CategoricalHead(), COUNTS),
    "chain-logistics": lambda: case(
        mb.FiniteChain(RATES, ordered=True),
        mb.LogisticMixtureHead(2),
        COUNTS,
        objective=mb.EndNLL(),
    ),
    "discrete-time": lambda: case(
        mb.DiscreteTimeChain([EARLY, EARLY, LATE, LAST]),
        mb.CategoricalHead(),
        COUNTS,
        objective=mb.PathKL(),
    ),
    "uniform": lambda: case(
        mb.UniformChain(5, schedule=mb.LinearSchedule()),
        mb.CategoricalHead(),
        COUNTS,
        **TOLD,
    ),
    "absorbing": lambda: case(
        mb.AbsorbingChain(5),
        mb.CategoricalHead(),
        COUNTS,
        state=COUNTS.where(COUNTS != 0, 5),
        objective=mb.PathKL(),
    ),
    "absorbing-black": lambda: case(
        mb.AbsorbingChain(5, mask=0), mb.CategoricalHead(), COUNTS, masking=mb.Masking()
    ),
    "gaussian-chain": lambda: case(
        mb.DiscretisedGaussianChain(5, width=1.5), mb.CategoricalHead(), COUNTS
    ),
    "urn": lambda: case(mb.Ehrenfest(4), mb.CategoricalHead(), COUNTS),
    "urn-logistics": lambda: case(
        mb.Ehrenfest(4), mb.LogisticMixtureHead(1), COUNTS, objective=mb.EndMSE()
    ),
}

# Exact laws


def under(law: Callable[[mb.PureDeath], Callable], **options) -> Case:
    process = mb.PureDeath(**options)
    return case(process, None, COUNTS, law=law(process), objective=mb.PathKL(), saved=False)


def count_mixture(process: mb.PureDeath) -> exact.CountMixture:
    numbers = (
        torch.tensor([[0.5, 0.1], [0.2, 0.2]]).log(),
        torch.tensor([0.8, 1.3]),
        torch.tensor([[1.0, 0.5, 3.0], [2.0, 2.0, 0.2]]),
        torch.tensor([0.5, 2.0, 8.0]),
    )
    return exact.CountMixture.of(process, *numbers)


def poisson_mixture(process: mb.PureDeath) -> exact.Mixture:
    parts = [exact.Poisson(process, 0.5), exact.Poisson(process, 4.0)]
    return exact.Mixture(process, (0.4, 0.6), parts)


LAW_CASES: dict[str, Callable[[], Case]] = {
    "exact-poisson": lambda: under(lambda process: exact.Poisson(process, 1.5)),
    "exact-binomial": lambda: under(lambda process: exact.Binomial(process, 5, 0.3), maximum=5),
    "exact-negative-binomial": lambda: under(
        lambda process: exact.NegativeBinomial(process, 1.5, 2.0)
    ),
    "exact-zero-inflated": lambda: under(
        lambda process: exact.ZeroInflatedPoisson(process, 0.4, 2.0)
    ),
    "exact-mixture": lambda: under(poisson_mixture),
    "exact-count-mixture": lambda: replace(under(count_mixture), saved=True),
    "exact-mean-only": lambda: under(
        lambda process: exact.MeanOnly(exact.NegativeBinomial(process, 1.5, 2.0))
    ),
    "exact-empirical": lambda: empirical(death(), COUNTS),
    "exact-empirical-sites": lambda: empirical(mb.UniformChain(5), COUNTS, states=5),
}

CASES = COUNT_CASES | CHAIN_CASES | LAW_CASES
