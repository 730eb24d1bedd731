"""Masks, laws with known sites, and the loss of what is not known."""

import math

import pytest
import torch
from scipy import stats

from markovbridge import (
    AbsorbingChain,
    BirthDeath,
    CategoricalHead,
    EndMSE,
    EndNLL,
    EndpointHead,
    Given,
    LinearDiffusion,
    LogisticMixtureHead,
    MeanHead,
    NegativeBinomialHead,
    PathKL,
    PureDeath,
    Transport,
    TwoMeansHead,
    laws,
)
from markovbridge.doors.randomness import generator
from markovbridge.networks import MLP
from markovbridge.processes import JumpProcess
from markovbridge.samplers.known_sites import Masking, Observed, broadcast, pinned
from problems import LEVEL

SHAPE = (2, 3)
HEADS = {
    "mean": (PureDeath(9), MeanHead()),
    "rounded": (PureDeath(9), MeanHead("stochastic")),
    "negative binomial": (PureDeath(), NegativeBinomialHead()),
    "table": (PureDeath(9), CategoricalHead()),
    "logistic": (PureDeath(9), LogisticMixtureHead()),
    "absorbing": (AbsorbingChain(10), CategoricalHead()),
    "two means": (BirthDeath(3.0), TwoMeansHead()),
    "diffusion": (LinearDiffusion(), EndpointHead()),
    "spread": (LinearDiffusion(), EndpointHead(spread=1.0)),
}


def model(name, masking=None, **parts):
    process, head = HEADS[name]
    features = process.features + (masking.features(process) if masking else 0)
    network = MLP(SHAPE, features, head.outputs(process), width=16, depth=1)
    g = generator("cpu", "weights")
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=g))
    moments = {"mean": 3.0, "variance": 5.0}
    return Transport(process, network, head, shape=SHAPE, masking=masking, **moments, **parts)


def data(process, n=64):
    x = torch.randint(0, 10, (n, *SHAPE), generator=generator("cpu", "data"))
    return x.to(process.dtype)


def halfway(process, x1, t):
    x0 = process.noised(x1).sample(generator=generator("cpu", 0))
    return process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=generator("cpu", 1))


# Masks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["sites", "boxes", "mixed"])
def test_the_share_of_known_sites_is_uniform_between_low_and_high(pattern):
    masking = Masking(0.2, 0.6, none=0.25, pattern=pattern)
    like = torch.zeros(4000, 2, 12, 16)
    mask = masking.draw(like, generator=generator("cpu", pattern))
    assert mask.shape == like.shape and mask.dtype == torch.bool
    share = mask.double().flatten(1).mean(1)
    none = int((share == 0).sum())
    assert stats.binomtest(none, 4000, 0.25).pvalue > LEVEL
    shown = share[share > 0]
    error = float(shown.std()) / len(shown) ** 0.5
    assert abs(float(shown.mean()) - 0.4) < -stats.norm.ppf(LEVEL / 2) * error
    # Around the share asked for lies the noise of sites, or the rounding of boxes.
    assert 0.2 - 0.15 < shown.min() and shown.max() < 0.6 + 0.15
    assert mask.equal(masking.draw(like, generator=generator("cpu", pattern)))


def is_box(mask):
    """Whether all that is marked is some neighbouring rows of some neighbouring columns."""
    sides = mask.any(1), mask.any(0)
    connected = all((torch.diff(side.nonzero().flatten()) == 1).all() for side in sides)
    return connected and (sides[0][:, None] & sides[1]).equal(mask)


def test_boxes_are_boxes_in_all_channels():
    mask = Masking(pattern="boxes", none=0).draw(
        torch.zeros(500, 2, 9, 7), generator=generator("cpu", 0)
    )
    assert mask[:, 0].equal(mask[:, 1])
    for one in mask[:, 0]:
        assert is_box(one) or is_box(~one)
    assert any(is_box(one) and not is_box(~one) for one in mask[:, 0])
    assert any(is_box(~one) and not is_box(one) for one in mask[:, 0])


def test_what_masks_refuse():
    with pytest.raises(ValueError, match="0 <= low <= high <= 1, not 0.5, 0.2"):
        Masking(0.5, 0.2)
    with pytest.raises(ValueError, match=r"none must lie in \[0, 1\], not 2"):
        Masking(none=2)
    with pytest.raises(ValueError, match="pattern must be one of .*'mixed', not 'box'"):
        Masking(pattern="box")
    with pytest.raises(ValueError, match="boxes are for images"):
        Masking(pattern="boxes").draw(torch.zeros(3, 4))
    with pytest.raises(TypeError, match=r"is bool, not torch.int64"):
        broadcast(torch.ones(3, dtype=torch.int64), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"\(4,\) does not broadcast to \(2, 3\)"):
        broadcast(torch.ones(4, dtype=torch.bool), torch.zeros(2, 3))


# Laws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_known_sites_are_certain_and_the_others_as_they_were(name):
    transport = model(name)
    process, x1 = transport.process, data(transport.process)
    t = torch.full((len(x1),), 0.4)
    x = halfway(process, x1, 0.4)
    mask = torch.rand(x1.shape, generator=generator("cpu", "mask")) < 0.5
    before = transport.law(x, t)
    law = transport.law(x, t, Given(observed=Observed(x1, mask)))
    draw = law.sample(generator=generator("cpu", 5))
    assert draw.dtype == before.sample().dtype and draw[mask].equal(x1[mask].to(draw.dtype))
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(law.mean[~mask], before.mean[~mask], **tolerance)
    torch.testing.assert_close(law.variance[~mask], before.variance[~mask], **tolerance)
    if name != "two means":  # whose mean is that of the walk to a law of x_1
        torch.testing.assert_close(law.mean[mask], x1[mask].to(law.mean.dtype))
        assert (law.variance[mask].abs() < 1e-6).all()
    if isinstance(process, PureDeath):
        torch.testing.assert_close(law.excess(x)[mask], (x1 - x)[mask].to(law.excess(x).dtype))
        torch.testing.assert_close(law.log_excess(x)[~mask], before.log_excess(x)[~mask])
    if isinstance(law, laws.SiteLaw) and process.dtype == torch.int64 and process.states:
        table = law.site_table(x, process.states)
        assert (table.gather(-1, x1.unsqueeze(-1)).squeeze(-1)[mask].abs() < 1e-6).all()
    if isinstance(process, JumpProcess):
        rates, pinned_rates = process.expected_rates(law, x, t), process.rates(x, x1, t)
        torch.testing.assert_close(
            rates[mask].float(), pinned_rates[mask].float(), rtol=1e-3, atol=1e-4
        )


def test_a_joint_law_has_no_probability_of_known_sites():
    x = torch.zeros(2, 3)
    process = LinearDiffusion()
    law = pinned(
        process,
        x,
        torch.zeros(2),
        laws.Gaussian(x, torch.ones(()), process.covariance),
        Observed(x, torch.ones(2, 3, dtype=torch.bool)),
    )
    with pytest.raises(TypeError, match="no log-probability under a joint Gaussian law"):
        law.log_prob(x)


# Training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_lost_on_known_sites(name):
    everything = Masking(1.0, 1.0, none=0.0)
    objectives = [EndMSE(), PathKL(damping=1.0)]
    if name not in ("diffusion", "spread", "two means"):
        objectives.append(EndNLL())
    for objective in objectives:
        if name == "two means" and isinstance(objective, EndMSE):
            continue
        transport = model(name, everything, objective=objective)
        x1 = data(transport.process)
        loss = transport.loss(x1, generator=generator("cpu", "loss"))
        # float32 rounds sums of up to a few hundred.
        torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=2e-3)
        nothing = model(name, Masking(0.0, 0.0), objective=objective)
        plain = nothing.loss(x1, generator=generator("cpu", "loss"))
        assert (plain > 0.05).any()
        plain.mean().backward()
        assert all(p.grad.isfinite().all() for p in nothing.parameters())


def test_the_loss_is_the_sum_over_sites_not_known():
    transport = model("mean", Masking(0.5, 0.5, none=0.0), objective=EndMSE())
    x1, seen = data(transport.process), []
    law = transport.law

    def watched(x, t, given):
        seen.append((law(x, t, given), given.observed))
        return seen[-1][0]

    transport.law = watched
    loss = transport.loss(x1, generator=generator("cpu", "loss"))
    ((made, observed),) = seen
    each = torch.where(observed.mask, 0.0, (x1 - made.mean) ** 2)
    torch.testing.assert_close(loss, each.flatten(1).sum(1))
    assert 0.4 < observed.mask.double().mean() < 0.6
    loss.mean().backward()
    assert all(p.grad.isfinite().all() for p in transport.parameters())


@pytest.mark.parametrize("name", ["mean", "absorbing", "diffusion"])
def test_what_the_network_is_told(name):
    process, _ = HEADS[name]
    masking = Masking()
    transport = model(name, masking)
    x1 = data(process, 5)
    mask = torch.zeros(x1.shape, dtype=torch.bool)
    mask[:, 0] = True
    features = Observed(x1, mask).features(transport.setting)
    assert features.shape == (5, masking.features(process), *SHAPE)
    assert features[:, -1].equal(mask.float()) and (features[:, :, 1] == 0).all()
    if name != "absorbing":  # (x - mean)/std of the data
        expected = (x1[:, 0] - 3.0) / math.sqrt(5.0)
        torch.testing.assert_close(features[:, 0, 0], expected.float())
    # Sites not known may hold anything, and the network depends on those known.
    x, t = halfway(process, x1, 0.4), torch.full((5,), 0.4)
    other = torch.where(mask, x1, 0)
    first, second = (
        transport.law(x, t, Given(observed=Observed(v, mask))).mean for v in (x1, other)
    )
    assert first.equal(second)
    changed = transport.law(
        x, t, Given(observed=Observed(torch.where(mask, 9 - x1, x1), mask))
    ).mean
    assert (first != changed)[:, 1].any()
