"""Prescribed means: of Poisson counts exactly the tilt, and of other laws the means."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from known_models import count_model
from markovbridge import LinearDiffusion, PureDeath, Transport, exact, laws
from markovbridge.transport.tilt import Multiplied, prescribed
from problems import assert_follows

MEAN, WANTED = [4.0, 4.0, 0.5], [2.0, 6.0, 0.8]


def transport(law=exact.Poisson, *more):
    process = PureDeath()
    return Transport(process, law(process, torch.tensor(MEAN), *more), shape=(3,))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_poisson_counts_are_tilted_exactly():
    model = transport()
    tilt = (torch.tensor(WANTED) / torch.tensor(MEAN)).log()
    made = Multiplied(model, tilt).sample(4000, steps=4, block=1000, generator=generator())
    for j, mean in enumerate(WANTED):
        assert_follows(made[:, j], stats.poisson.pmf(range(40), mean))
    law = Multiplied(model, tilt).law(torch.tensor([[1, 2, 3]]), 0.5)
    left = model.process.schedule.mortality(model.process.schedule.at(0.5))
    expected = torch.tensor([[1, 2, 3]]) + float(left) * torch.tensor([WANTED])
    torch.testing.assert_close(law.mean.double(), expected.double())


def test_the_factors_are_found():
    model = transport()
    options = {"generator": generator(1), "steps": 3, "pilot": 400, "rounds": 6}
    found = prescribed(model, torch.tensor([2.0, math.nan, 0.8]), **options)
    exactly = torch.tensor([0.5, 1.0, 1.6]).double().log()
    error = (1 / (2400 * torch.tensor(WANTED).double())).sqrt()
    assert bool(((found.tilt - exactly).abs() < 4 * error).all()) and float(found.tilt[1]) == 0
    apart = [
        prescribed(
            model, torch.tensor(WANTED), generator=generator(k), steps=1, pilot=200, rounds=8
        ).tilt
        - (torch.tensor(WANTED) / torch.tensor(MEAN)).double().log()
        for k in range(12)
    ]
    square = torch.stack(apart).square().mean(0) * 1600 * torch.tensor(WANTED).double()
    assert float(square.mean()) < 1.8  # the errors of all pilots together, which is 1
    made = found.sample(2000, steps=3, generator=generator(2)).double()
    assert abs(float(made[:, 0].mean()) - 2) < 4 * (2 / 2000) ** 0.5 + 4 * 2 * float(error[0])


def test_means_of_another_law_are_as_prescribed():
    """Negative binomial: the factors feed back, as more counts now are more to come."""
    model = transport(exact.NegativeBinomial, 2.0)
    wanted = torch.tensor(WANTED)
    found = prescribed(model, wanted, generator=generator(3), steps=6, pilot=400)
    made = found.sample(2000, steps=6, generator=generator(4)).double()
    error = made.std(0) / 2000**0.5 + made.std(0) / 3200**0.5
    assert bool(((made.mean(0) - wanted).abs() < 4 * error).all())
    assert not torch.allclose(found.tilt[0], torch.tensor(0.5).double().log(), atol=0.1)


@pytest.mark.parametrize(
    "law",
    [
        laws.Poisson(torch.tensor([[0.3, -1.0]])),
        laws.NegativeBinomial(torch.tensor([[0.3, -1.0]]), torch.tensor(2.0)),
        laws.Rounded(torch.tensor([[0.3, -1.0]])),
        laws.ZeroInflated(torch.tensor([[0.2, 0.5]]), laws.Poisson(torch.tensor([[0.3, -1.0]]))),
        laws.SiteMixture(
            torch.tensor([[[0.2, 0.8], [0.5, 0.5]]]).log(),
            laws.Poisson(torch.tensor([[[0.3, -1.0], [1.0, 0.0]]])),
        ),
    ],
    ids=lambda law: type(law).__name__,
)
def test_laws_are_multiplied(law):
    factor = torch.tensor([2.0, 0.5])
    torch.testing.assert_close(law.multiplied(factor.log()).mean, factor * law.mean)
    offset = torch.tensor([[3, 1]])
    shifted = laws.Shifted(offset, law).multiplied(factor.log())
    torch.testing.assert_close(shifted.excess(offset), factor * law.mean)
    mask = torch.tensor([[True, False]])
    pinned = (
        laws.Shifted(offset, law).pinned(torch.tensor([[7, 0]]), mask).multiplied(factor.log())
    )
    torch.testing.assert_close(pinned.mean[0], torch.tensor([7.0, float(shifted.mean[0, 1])]))


def test_a_count_model_takes_means_by_name_or_in_order():
    model = count_model(exact.Poisson(PureDeath(), torch.tensor(MEAN)), MEAN)
    model.tolerance = 50.0  # Poisson counts take few steps
    made = model.sample(1500, means=[math.nan, 6.0, 0.8], random_state=1)
    error = 8 * (np.array([4.0, 6.0, 0.8]) / 1500) ** 0.5
    assert (np.abs(made.mean(0) - [4.0, 6.0, 0.8]) < error).all()
    with pytest.raises(ValueError, match="has no names, so give a number for each feature"):
        model.sample(2, means={"b": 6.0})
    model.feature_names_in_ = np.array(list("abc"), dtype=object)
    named = model.sample(1500, means={"c": 0.8, "b": 6.0}, random_state=1)
    assert np.array_equal(made, named)
    with pytest.raises(ValueError, match="names 'z', which is no feature"):
        model.sample(2, means={"z": 6.0})
    with pytest.raises(
        ValueError, match=r"means has shape \(2,\); give a number for each of the 3"
    ):
        model.sample(2, means=[1.0, 2.0])


def test_what_cannot_be_prescribed_is_refused():
    with pytest.raises(ValueError, match="means must be above 0"):
        prescribed(transport(), torch.tensor([0.0, 1.0, 1.0]), generator=generator())
    with pytest.raises(ValueError, match=r"means has shape \(2,\), an event \(3,\)"):
        prescribed(transport(), torch.ones(2), generator=generator())
    process = LinearDiffusion()
    reals = exact.Gaussian(process, torch.zeros(2).double(), torch.eye(2).double())
    with pytest.raises(TypeError, match="by pure death, not to a model of LinearDiffusion"):
        Multiplied(Transport(process, reals, shape=(2,)), torch.zeros(2))
    table = laws.Categorical(torch.zeros(1, 2, 3).log_softmax(-1))
    with pytest.raises(TypeError, match="a Categorical law has no scale to multiply"):
        table.multiplied(torch.zeros(2))


def test_means_that_the_model_cannot_draw_are_refused():
    transport = Transport(
        PureDeath(), exact.Poisson(PureDeath(), 3.0), shape=(1,), seen=torch.tensor([[0], [9]])
    )
    with pytest.raises(ValueError, match="a mean of 40 is asked for, .* at most 18 there"):
        prescribed(transport, torch.tensor([40.0]), generator=torch.Generator().manual_seed(0))


def test_pilots_take_rows_from_all_over_a_long_condition():
    """Sorted rows: the first 512 of them have a third of the mean of the others."""
    process = PureDeath()

    def told(x, t, condition):
        q = process.schedule.mortality(process.schedule.at(t, x.device)).unsqueeze(1)
        return laws.Shifted(x, laws.Poisson((q * condition).log()))

    model = Transport(process, told, shape=(1,))
    condition = torch.cat([torch.full((700, 1), 2.0), torch.full((700, 1), 6.0)])
    options = {"generator": generator(4), "steps": 2, "rounds": 4, "condition": condition}
    found = prescribed(model, torch.tensor([4.0]), **options)  # what the mean is as it is
    assert abs(float(found.tilt)) < 4 * (1 / (4 * 4 * 512)) ** 0.5
    rows = found.sample(1400, steps=2, condition=condition, generator=generator(5))
    assert abs(float(rows.double().mean()) - 4) < 0.3
