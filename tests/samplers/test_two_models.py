"""Diffusions walked with a second model, which runs back, and with couplings that are kept."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats

from markovbridge import (
    Bridge,
    Brownian,
    EndpointHead,
    EulerMaruyama,
    Independent,
    LinearDiffusion,
    OrnsteinUhlenbeck,
    ProbabilityFlow,
    StochasticAdams,
    StochasticHeun,
    Transport,
    exact,
)
from markovbridge.covariances import Isotropic
from markovbridge.samplers import Levels
from walked import LEVEL, gaussian, model, terminal, uniform


def test_a_backward_model_gives_the_same_flow():
    process = LinearDiffusion(Brownian(0.8))
    law = gaussian(process)
    forward = model(process, law)
    backward = model(process.reversed(), law.reversed())
    x = torch.tensor([[-1.0], [0.3]], dtype=torch.float64)
    for t, s in ((0.3, 0.4), (0.9, 1.0)):
        own = ProbabilityFlow().step(forward, x, t, s)
        both = ProbabilityFlow(backward=backward).step(forward, x, t, s)
        torch.testing.assert_close(own, both, rtol=1e-9, atol=1e-9)
        pair = [
            EulerMaruyama(0.5, backward=other).step(
                forward, x, t, s, generator=torch.Generator().manual_seed(0)
            )
            for other in (None, backward)
        ]
        torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda b: EulerMaruyama(0.5, backward=b), 1),
        (lambda b: EulerMaruyama(1.5, backward=b), 1),
        (lambda b: ProbabilityFlow("euler", backward=b), 1),
        (lambda b: ProbabilityFlow(backward=b), 2),
        (lambda b: StochasticHeun(backward=b), 2),
    ],
    ids=["less", "more", "euler", "heun", "noisy heun"],
)
def test_two_models_walk_from_the_source_on(make, order):
    # Without a known score: all that is known of it is in the two laws.
    def law(covariance):
        numbers = ([2.0], [[2.25]], [-1.0], [[0.49]])
        process = LinearDiffusion(OrnsteinUhlenbeck(0.5), covariance=covariance)
        return exact.Gaussian(process, *(torch.tensor(n, dtype=torch.float64) for n in numbers))

    def unscored(law):
        # A callable that says no coupling, under that of a data set, which knows no score.
        return model(law.process, lambda *now: law(*now), Independent(torch.zeros(1, 1)))

    def forward(covariance):
        return unscored(law(covariance))

    back = law(Isotropic()).reversed()
    sampler = make(unscored(back))
    found = [terminal(sampler, uniform(n), forward, -1.0, 0.49) for n in (20, 40, 80)]
    errors = [abs(variance - 2.25) for _, variance in found]
    assert errors[1] < 0.1
    assert abs(found[-1][0] - 2) < 0.02
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


class Twice(torch.nn.Module):
    """The exact mean of x_1 ~ N(2 x_0, 1/4) given x_0 and x_t, under Brownian motion."""

    def forward(self, features, t, condition):
        t = t.view(-1, 1)
        x, x0 = features[:, 0], features[:, 1]
        gain = 0.25 * t / (0.25 * t**2 + t * (1 - t)).clamp_min(1e-12)
        return (2 * x0 + gain * (x - (1 - t) * x0 - t * 2 * x0)).unsqueeze(1)


@dataclass(frozen=True)
class Plain(LinearDiffusion):
    """Shows a network the states as they are."""

    def standardise(self, x, t, setting):
        return x.unsqueeze(1)


def preserved():
    return Transport(
        Plain(),
        Twice(),
        EndpointHead(),
        shape=(1,),
        mean=0.0,
        variance=1.0,
        coupling=Independent(preserve=True),
    )


@pytest.mark.parametrize("sampler", [EulerMaruyama(last="noise"), Bridge()], ids=repr)
def test_a_walk_that_preserves_its_coupling_is_told_its_start(sampler):
    x0 = torch.linspace(-3, 3, 4000).unsqueeze(1)
    moved = preserved().translate(
        x0, steps=100, sampler=sampler, block=4000, generator=torch.Generator().manual_seed(0)
    )
    off = (moved - 2 * x0).double().ravel()
    assert abs(float(off.mean())) < 4.5 * 0.5 / 4000**0.5
    assert abs(float(np.corrcoef(off, x0.ravel())[0, 1])) < 4.5 / 4000**0.5
    assert float(off.std()) == pytest.approx(0.5, abs=0.06)


def test_scores_of_preserved_couplings_are_refused():
    process = LinearDiffusion()
    law = gaussian(process)
    x = torch.zeros(3, 1)
    kept, free = preserved(), model(process.reversed(), law.reversed())
    for make in (
        ProbabilityFlow,
        StochasticHeun,
        lambda backward=None: EulerMaruyama(0.5, backward=backward),
    ):
        for sampler in (make(), make(backward=free)):
            with pytest.raises(ValueError, match="out of a point"):
                kept.translate(x, steps=2, sampler=sampler)
        with pytest.raises(ValueError, match="preserve=False"):
            model(process, law).translate(x, steps=2, sampler=make(backward=kept))
    for level in (0.5, Levels((1.0, 0.5), (0.3,))):
        with pytest.raises(ValueError, match="out of a point"):
            kept.translate(x, steps=6, sampler=StochasticAdams(level))
    known = kept.translate(x, steps=6, sampler=StochasticAdams(Levels((1.0, 1.0), (0.3,))))
    assert known.shape == x.shape
    with pytest.raises(ValueError, match="exact law"):
        model(process, law, Independent(preserve=True))


def test_the_reversed_pair_carries_the_data_back():
    process = LinearDiffusion(Brownian(0.8))
    law = gaussian(process)
    data = 2 + 0.5 * torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
    back = model(process.reversed(), law.reversed())
    moved = back.translate(data, steps=4, block=20000, generator=torch.Generator().manual_seed(1))
    assert stats.kstest(moved.double().ravel(), "norm").pvalue > LEVEL
