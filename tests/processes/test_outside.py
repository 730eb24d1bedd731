"""Processes from outside go through every sampler, through likelihood, imputation, restoration."""

import pytest
import torch

import markovbridge as mb
from grid.settings import SAMPLERS
from markovbridge import exact, samplers
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.restoration import restore
from markovbridge.networks import MLP
from markovbridge.testing import check_process, check_sampler
from outside import Pull, Redrawn, Thinned, Wiener

POINTS = torch.tensor([[0, 1], [1, 1], [2, 2], [2, 2], [1, 0], [0, 0]])
REALS = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
PULLED = mb.LinearDiffusion(Pull(), direction="noising")
OUTSIDE = {
    "values": (Redrawn(3), POINTS, mb.Noised()),
    "counts": (Thinned(2), POINTS, mb.Noised()),
    "reals": (Wiener(), POINTS.float(), mb.Dirac(0.0)),
    "linear": (PULLED, REALS, mb.Noised()),
}
# Which samplers go with which: all with some, Bridge and correctors with all that noise.
GO = {
    mb.Bridge: ("values", "counts", "reals", "linear"),
    mb.TauLeaping: ("values", "counts"),
    mb.Gillespie: ("values", "counts"),
    samplers.SecondOrderBridge: ("values", "counts"),
    mb.Trapezoidal: ("counts",),
    mb.HandOver: ("counts",),
    samplers.Adaptive: ("counts",),
    mb.EulerMaruyama: ("reals", "linear"),
    mb.Midpoint: ("reals", "linear"),
    mb.ProbabilityFlow: ("linear",),
    mb.StochasticAdams: ("linear",),
    mb.StochasticHeun: ("linear",),
    mb.Corrected: ("values", "counts", "linear"),
}
# Those that cost most, of a sampler that meets another kind.
DEAR = [(s, "values") for s in (mb.Gillespie, mb.TauLeaping, mb.Corrected)]


@pytest.mark.parametrize("kind", OUTSIDE)
def test_they_pass_the_check(kind):
    process, data, _ = OUTSIDE[kind]
    check_process(process, data, draws=500)


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        pytest.param(s, kind, marks=pytest.mark.whole) if (s, kind) in DEAR else (s, kind)
        for s in SAMPLERS
        for kind in GO[s]
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_sampler_makes_the_data(sampler, kind):
    process, data, coupling = OUTSIDE[kind]
    corrected = sampler is mb.Corrected
    make, many, _ = SAMPLERS[mb.Bridge if corrected else sampler]
    slow = sampler is mb.Gillespie
    check_sampler(
        mb.Corrected(mb.Bridge(), moves=1, size=0.05) if corrected else make(),
        process,
        data,
        coupling=coupling,
        law="sites" if sampler is samplers.SecondOrderBridge else "joint",
        steps=min(many, 64),
        draws=300 if slow else 1500,
        allowed=0.05 if sampler in (mb.EulerMaruyama, mb.ProbabilityFlow) else 0.02,
    )


@pytest.mark.parametrize(
    ("mine", "ours"),
    [
        (Redrawn(3), mb.UniformChain(3, schedule=mb.LinearSchedule())),
        (Thinned(2), mb.PureDeath(2, schedule=mb.LinearSchedule())),
    ],
    ids=["values", "counts"],
)
def test_likelihood_imputation_and_restoration_are_those_of_ours(mine, ours):
    found, shares = [], []
    for process in (mine, ours):
        model = mb.Transport(process, exact.Empirical(process, POINTS), shape=(2,))
        key = {"generator": generator("cpu", "outside")}
        bound = model.log_likelihood(POINTS, draws=256, **key)
        # Tight at the exact law, point by point.
        mass = (POINTS.unsqueeze(1) == POINTS).all(2).double().mean(1).log()
        apart = (bound.nats - mass).abs()
        assert bool((apart < 5 * bound.standard_error + 1e-6).all()), apart
        stepped = model.log_likelihood(POINTS, draws=256, steps=3, **key)
        assert bool(((stepped.nats - mass).abs() < 5 * stepped.standard_error + 1e-6).all())
        known = torch.tensor([[True, False]])
        rows = torch.tensor([[2, 0]]).expand(400, 2)
        made = model.impute(rows, known, steps=8, rounds=4, block=400, **key)
        restored = model.restore(torch.tensor([[1, 1]]).expand(400, 2), 0.6, steps=4, **key)
        several = restore(model, torch.tensor([[1, 1]]), 0.6, draws=20, steps=4, **key)
        assert several.draws.shape == (20, 1, 2)
        assert bool((made[:, 0] == 2).all())
        shares.append(float((made[:, 1] == 2).double().mean()))
        assert shares[-1] > 0.8  # by replacement; no other point begins with a 2
        x = torch.tensor([[1, 1]])
        law = exact.Empirical(process, POINTS)(x, 0.6)
        wanted = law.log_weights[0].exp()
        wanted = torch.stack([wanted[(POINTS == p).all(1)].sum() for p in POINTS.unique(dim=0)])
        counts = torch.stack(
            [(restored == p).all(1).double().mean() for p in POINTS.unique(dim=0)]
        )
        torch.testing.assert_close(counts, wanted.double(), atol=0.12, rtol=0)
        found.append(wanted)
    torch.testing.assert_close(found[0], found[1], check_dtype=False)
    assert abs(shares[0] - shares[1]) < 0.1


def test_a_diffusion_from_outside_trains_and_draws():
    torch.manual_seed(0)
    network = MLP((2,), 1, 1, width=16, depth=1)
    options = {"shape": (2,), "coupling": mb.Dirac(0.0)}
    mine, ours = (
        mb.Transport(process, network, mb.EndpointHead(), mean=0.0, **options)
        for process in (Wiener(), mb.LinearDiffusion(mb.Brownian(1.0)))
    )
    x, key = REALS[:8], {"generator": generator("cpu", "outside")}
    assert bool(mine.loss(x, **key).isfinite().all())
    state = torch.randn(4, 2, generator=key["generator"])
    law = ours.law(state, 0.4)
    other = mine.process.divergence(law, state, x[:4], 0.4)
    torch.testing.assert_close(other, ours.process.divergence(law, state, x[:4], 0.4))
    torch.testing.assert_close(
        mine.process.drift(state, law.mean, 0.4), ours.process.drift(state, law.mean, 0.4)
    )
    assert mine.sample(4, steps=3).shape == (4, 2)
    with pytest.raises(TypeError, match="Wiener does not say how its likelihood bound ends"):
        mine.log_likelihood(x)
    with pytest.raises(TypeError, match="needs the numbers of a LinearDiffusion, which Wiener"):
        mb.Transport(Wiener(), network, mb.EndpointHead("residual"), **options)
    with pytest.raises(ValueError, match="needs a LinearDiffusion, not Wiener"):
        mine.sample(2, steps=2, sampler=mb.ProbabilityFlow())
