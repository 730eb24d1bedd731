"""From joint draws to leaps: what is drawn how, and where."""

import pytest
import torch

import markovbridge as mb
from markovbridge.samplers import ErrorCurve, HandOver
from markovbridge.storage.config import from_config, to_config
from markovbridge.transport.planning import Plan, hand_over, plans

PLANS = ((1.0,), (0.3,), (0.1, 0.2))


class Counts:
    """A model that notes how it is asked."""

    process, coupling = mb.PureDeath(maximum=4, schedule=mb.LinearSchedule()), mb.Noised()
    covariates, shape, device = None, (3,), torch.device("cpu")
    check = evaluating = None

    def __init__(self):
        self.asked = []

    def law(self, x, t):
        self.asked.append("law")
        return mb.MeanHead().around(x, torch.full(x.shape, 0.5).log())

    def end(self, x, t, *, generator=None):
        self.asked.append("end")
        return x + 1

    def grid(self, steps, start=0.0):
        return torch.linspace(start, 1, steps + 1).tolist()


@pytest.mark.parametrize(
    ("steps", "times", "asked"),
    [
        (1, [0, 1], ["end"]),
        (2, [0, 0.3, 1], ["end", "law", "law"]),
        (3, [0, 0.1, 0.2, 1], ["end", "end", "law", "law"]),
        (4, [0, 0.1, 0.2, 0.6, 1], ["end", "end"] + 4 * ["law"]),
    ],
)
def test_a_walk_goes_as_planned(steps, times, asked):
    model, planned = Counts(), HandOver(plans=PLANS)
    sampler, grid = planned.plan(model, steps)
    assert grid == pytest.approx(times)
    x = torch.zeros(2, 3, dtype=torch.int64)
    for t, s in zip(grid, grid[1:], strict=False):
        x = sampler.step(model, x, t, s, generator=torch.Generator().manual_seed(0))
    assert model.asked == asked
    assert planned.evaluations(steps) == len(asked)


def test_without_plans_the_first_step_is_joint():
    model, sampler = Counts(), HandOver()
    assert sampler.plan(model, 2) == (sampler, [0.0, 0.5, 1.0])
    x = torch.zeros(2, 3, dtype=torch.int64)
    sampler.step(model, x, 0.0, 0.5)
    sampler.step(model, x, 0.5, 1.0)
    assert model.asked == ["end", "law", "law"]
    assert sampler.evaluations(2) == 3 and HandOver(0.0).evaluations(2) == 4


def test_walks_from_later_and_given_times_are_not_planned():
    model, sampler = Counts(), HandOver(until=0.4, plans=PLANS)
    assert sampler.plan(model, 2, 0.5) == (sampler, [0.5, 0.75, 1.0])
    times = torch.tensor([0.0, 0.4, 1.0])
    model.grid = lambda steps, start=0.0: steps.tolist()
    assert sampler.plan(model, times)[0] is sampler


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"plans": ((0.5,),)}, "1 steps end at 1"),
        ({"plans": ((1.0,), (0.5, 0.4))}, "increase"),
        ({"plans": ((1.0,), (1.0,))}, "the last one of them"),
        ({"plans": ((0.5, 1.0),)}, "at most as many"),
        ({"until": 1.5}, "until"),
        ({"then": HandOver()}, "no HandOver itself"),
    ],
)
def test_plans_that_lead_nowhere_are_refused(told, said):
    with pytest.raises(ValueError, match=said):
        HandOver(**told)


def test_plans_are_kept_in_files():
    sampler = HandOver(0.2, mb.Bridge(), PLANS)
    assert from_config(to_config(sampler), HandOver) == sampler


def test_errors_that_have_fallen():
    curve = ErrorCurve((0.0, 0.5, 1.0), (3.0, 2.0, 0.0))
    assert curve.fallen(1 / 3) == pytest.approx(0.5, abs=1e-6)
    assert curve.fallen(2 / 3) == pytest.approx(0.75, abs=1e-6)


def test_the_best_plan_of_each_number_of_steps_is_taken():
    found = [
        Plan(1, (1.0,), 1, 5.0),
        Plan(2, (0.2,), 3, 2.0),
        Plan(2, (0.4,), 3, 1.0),
        Plan(4, (0.1, 0.2), 6, 1.0),
        Plan(4, (0.1,), 7, 2.0),
    ]
    transport = mb.Transport(
        Counts.process, torch.nn.Identity(), mb.JointHead(), shape=(3,), mean=1.0, variance=1.0
    )
    sampler = hand_over(transport, found)
    assert sampler == HandOver(plans=((1.0,), (0.4,), (0.4,), (0.1, 0.2)))


def test_models_without_joint_draws_have_no_plans():
    process = mb.PureDeath(maximum=4)
    transport = mb.Transport(process, torch.nn.Identity(), mb.MeanHead(), shape=(3,))
    with pytest.raises(TypeError, match="MeanHead draws no sites jointly"):
        plans(transport, torch.zeros(4, 3).long())
