"""What the four ways to draw share: options, and blocks that can be made apart."""

import inspect
from functools import partial

import pytest
import torch

from markovbridge import Bridge, LinearDiffusion, PureDeath, Transport, laws
from markovbridge.doors.randomness import fresh_key, generator
from markovbridge.processes import IntervalSupport, RoundedSupport
from markovbridge.samplers.known_sites import Masking
from markovbridge.transport.options import DrawOptions

X = torch.arange(10).unsqueeze(1) * torch.tensor([1, 2])
OBSERVED = torch.tensor([True, False])
VERBS = {  # arguments of each, for 10 rows, and those of one of its blocks
    "sample": ((10,), ()),
    "restore": ((X, 0.4), (X, 0.4)),
    "translate": ((0 * X,), (0 * X,)),
    "impute": ((X, OBSERVED), (X, OBSERVED)),
}


def poisson(x, t, condition, observed=None):
    """A perfect network of Poisson counts, of the mean that it is told, or of 3."""
    mean = torch.tensor(3.0).expand(len(x), 1) if condition is None else condition
    left = PureDeath().schedule.mortality(t).unsqueeze(1) * mean
    return laws.Shifted(x, laws.Poisson(left.log().expand(x.shape)))


def transport():
    return Transport(PureDeath(), poisson, shape=(2,), masking=Masking())


@pytest.mark.parametrize("verb", VERBS)
def test_blocks_can_be_made_apart(verb):
    model, (whole, part) = transport(), VERBS[verb]
    condition = torch.linspace(1, 50, 10).unsqueeze(1)
    options = {"steps": 3, "condition": condition, "block": 4}
    made = getattr(model, verb)(*whole, generator=generator("cpu", 1), **options)
    key, block = fresh_key(generator("cpu", 1)), getattr(model, f"{verb}_block")
    parts = [block(k, *part, key=key, **options) for k in (2, 0, 1)]
    assert made.shape == (10, 2)
    assert made.equal(torch.cat([parts[1], parts[2], parts[0]])[:10])
    assert not getattr(model, verb)(*whole, generator=generator("cpu", 2), **options).equal(made)
    with pytest.raises(ValueError, match="there is no block 3: 10 samples take 3"):
        block(3, *part, key=key, **options)


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_refused(verb):
    model, (whole, part) = transport(), VERBS[verb]
    draw = partial(getattr(model, verb), *whole)
    block = partial(getattr(model, f"{verb}_block"), 0, *part, key=1)
    for call in (draw, block):
        with pytest.raises(TypeError, match="no option 'step'; draws take steps, sampler"):
            call(step=3)
    for call in (draw, block) if part else (draw,):  # a block of samples is one of any number
        with pytest.raises(ValueError, match="condition has 9 rows for 10 samples"):
            call(condition=torch.ones(9, 1))
    nothing = (X[:0], *whole[1:]) if part else (0,)
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        getattr(model, verb)(*nothing)


@pytest.mark.parametrize("verb", VERBS)
def test_options_of_a_wrong_kind_are_refused(verb):
    model, (whole, part) = transport(), VERBS[verb]
    draw = partial(getattr(model, verb), *whole)
    for options, message in (
        ({"steps": 2.5}, "steps must be a whole number, or a tensor .* not 2.5"),
        ({"steps": [0.0, 1.0]}, r"a tensor of increasing times, not \[0.0, 1.0\]"),
        ({"sampler": Bridge}, r"such as Bridge\(\), not the class Bridge"),
        ({"sampler": "bridge"}, "such as Bridge.*, not 'bridge'"),
    ):
        with pytest.raises(TypeError, match=message):
            draw(**options)
    if part:
        wrong = torch.zeros(3, 4, dtype=torch.int64)
        with pytest.raises(ValueError, match=r"has shape \(3, 4\), but this transport carries"):
            getattr(model, verb)(wrong, *whole[1:])


@pytest.mark.parametrize("support", [None, RoundedSupport(255), IntervalSupport(0.0, 1.0)])
def test_what_is_not_finite_is_no_sample(support):
    def broken(x, t, condition):
        return laws.Delta(torch.where(t[:, None] < 0.5, x, torch.nan))

    model = Transport(LinearDiffusion(support=support), broken, shape=(2,))
    with pytest.raises(FloatingPointError, match="states are not finite after t = 0.5: look"):
        model.sample(3, steps=4)


def test_options_are_what_a_walk_takes():
    parameters = inspect.signature(Transport._walk).parameters
    assert set(DrawOptions.__annotations__) < set(parameters)
    defaults = {name: parameters[name].default for name in DrawOptions.__annotations__}
    assert inspect.Parameter.empty not in defaults.values()
    stated = DrawOptions.__doc__
    assert f"{defaults['steps']} steps" in stated and f"{defaults['block']} by default" in stated


def test_restore_needs_one_time():
    model = transport()
    for times in ({}, {"t": 0.4, "survival": 0.4}):
        with pytest.raises(ValueError, match="either a time t or a survival, and not both"):
            model.restore(X, **times)
