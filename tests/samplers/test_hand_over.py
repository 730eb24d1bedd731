"""From joint draws to leaps: what is drawn how, and where."""

import math

import pytest
import torch

import markovbridge as mb
from markovbridge import networks
from markovbridge.samplers import ErrorCurve, HandOver, Sampler
from markovbridge.storage.config import from_config, to_config
from markovbridge.transport.planning import (
    DRAWS,
    FINALISTS,
    POWERS,
    THETA,
    THETAS,
    Plan,
    chosen,
    plans,
)

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

    def grid(self, steps, start=0.0, power=1.0):
        return (torch.linspace(start**power, 1, steps + 1) ** (1 / power)).tolist()


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


def test_a_number_of_steps_has_an_inner_time_of_its_own():
    model, leaps = Counts(), mb.Trapezoidal(0.35, (0.4, 0.2, 0.3), (1.0, 2.0))
    planned = HandOver(plans=PLANS, then=leaps)
    for steps, theta, power in ((1, 0.4, 1.0), (2, 0.2, 2.0), (3, 0.3, 2.0), (4, 0.3, 2.0)):
        assert leaps.plan(model, steps) == (mb.Trapezoidal(theta), model.grid(steps, 0, power))
        sampler, times = planned.plan(model, steps)
        joint = [0.0, *PLANS[min(steps, 3) - 1]]
        left = steps + 1 - len(joint)
        assert times[: len(joint)] == joint
        if left:  # the number of all steps says how, that of those left how many
            assert sampler.then == mb.Trapezoidal(theta)
            assert times[len(joint) :] == model.grid(left, joint[-1], power)[1:]
    assert leaps.plan(model, 2, 0.5)[0] == mb.Trapezoidal(0.35)
    times = torch.tensor([0.0, 0.5, 1.0])
    model.grid = lambda steps, start=0.0: steps.tolist()
    assert leaps.plan(model, times)[0] == mb.Trapezoidal(0.35)


def test_walks_from_later_and_given_times_are_not_planned():
    model, sampler = Counts(), HandOver(until=0.4, plans=PLANS)
    assert sampler.plan(model, 2, 0.5) == (sampler, [0.5, 0.75, 1.0])
    times = torch.tensor([0.0, 0.4, 1.0])
    model.grid = lambda steps, start=0.0: steps.tolist()
    assert sampler.plan(model, times)[0] == sampler


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


def test_an_inner_time_outside_of_its_step_is_refused():
    with pytest.raises(ValueError, match=r"thetas\[2\]"):
        mb.Trapezoidal(thetas=(0.4, 0.4, 1.0))
    with pytest.raises(ValueError, match=r"powers\[1\]"):
        mb.Trapezoidal(powers=(1.0, 0.0))


def test_plans_are_kept_in_files():
    leaps = mb.Trapezoidal(thetas=(0.2,) * 3, powers=(0.5,) * 3)
    for sampler in (HandOver(0.2, mb.Bridge(), PLANS), HandOver(plans=PLANS, then=leaps), leaps):
        assert from_config(to_config(sampler), Sampler) == sampler


def test_errors_that_have_fallen():
    curve = ErrorCurve((0.0, 0.5, 1.0), (3.0, 2.0, 0.0))
    assert curve.fallen(1 / 3) == pytest.approx(0.5, abs=1e-6)
    assert curve.fallen(2 / 3) == pytest.approx(0.75, abs=1e-6)


def test_steps_of_equal_falls_of_a_power_of_the_error():
    curve = ErrorCurve((0.0, 0.25, 1.0), (9.0, 4.0, 0.0))
    assert curve.grid(3, power=0.5).tolist() == pytest.approx([0, 0.25, 0.625, 1], abs=1e-6)
    assert curve.grid(2, power=0.5, start=0.25).tolist() == pytest.approx([0.25, 0.625, 1])
    assert curve.grid(2, power=2.0).tolist() == pytest.approx([0, 40.5 / 65 / 4, 1], abs=1e-6)
    with pytest.raises(ValueError, match="power"):
        curve.grid(2, power=0.0)


CURVE = ErrorCurve((0.0, 0.2, 1.0), (2.0, 1.5, 0.0))


def joint(network=None, head=None, **options):
    head = mb.JointHead() if head is None else head
    network = torch.nn.Identity() if network is None else network
    options = {"shape": (2,), "base": None, "error_curve": CURVE, **options}
    return mb.Transport(Counts.process, network, head, **options)


def test_the_best_plan_of_each_number_of_steps_is_taken():
    found = [
        Plan(1, (1.0,), 1, 5.0),
        Plan(2, (0.2, 1.0), 2, 2.0),
        Plan(2, (0.4,), 3, 3.0),
        Plan(4, (0.1, 0.2), 6, 1.0),
        Plan(4, (), 8, 2.0),
        Plan(5, (0.1,), 9, math.inf),
    ]
    sampler = chosen(joint(), found)
    # A plan of other steps is taken but for its last time, where that is the data.
    assert sampler.plans == ((1.0,), (0.2, 1.0), (0.2,), (0.1, 0.2), (0.1, 0.2))
    assert sampler.then == mb.Trapezoidal(thetas=(0.4,) * 5, powers=(1.0,) * 5)
    assert chosen(joint(), found[:1]).plans == ((1.0,),)
    assert HandOver(plans=((1.0,),)).evaluations(3) == 6
    # Of a walk that broke off when it was drawn anew no draw counts.
    broke = Plan(2, (0.4,), 3, math.inf, draws=3), Plan(2, (0.4,), 3, 0.1), Plan(2, (), 4, 0.5)
    assert chosen(joint(), [*found[:1], *broke]).plans == ((1.0,), ())
    with pytest.raises(ValueError, match="no plans to choose from"):
        chosen(joint(), [])


def test_the_best_inner_time_of_each_number_of_steps_is_taken():
    found = [
        Plan(1, (1.0,), 1, 5.0),
        Plan(2, (0.4,), 3, 3.0, 0.25),
        Plan(2, (0.4,), 3, 2.0, 0.3, 0.5),
        Plan(4, (), 8, 2.0, 0.4, 0.75),
    ]
    then = chosen(joint(), found).then
    assert then.thetas == (0.3, 0.3, 0.3, 0.4) and then.powers == (0.5, 0.5, 0.5, 0.75)


def test_inner_times_are_tried_with_the_best_joint_draws():
    model = joint(Ends(False), mean=2.0, variance=4.0)
    found = plans(model, DATA, steps=(2, 8), samples=64)
    for steps, thetas in ((2, (THETA, *THETAS)), (8, (THETA, THETAS[-1]))):
        of = [plan for plan in found if plan.steps == steps]
        here = [plan for plan in of if plan.theta in (THETA, None) and plan.power == 1]
        # Leaps alone, and the best with one joint draw and with two, are refined.
        rising = sorted(here, key=lambda plan: -plan.error)
        each = {len(plan.joint): plan.joint for plan in rising if plan.draws == 1}
        assert set(each) == {0, 1, 2} if steps == 2 else {0, 1} <= set(each)
        # The best of each kind are drawn anew.
        for joints in each:
            once, anew = (
                [p for p in of if len(p.joint) == joints and p.draws == n] for n in (1, DRAWS)
            )
            least = sorted(once, key=lambda plan: plan.error)[:FINALISTS]
            assert [p[:3] + p[4:6] for p in anew] == [p[:3] + p[4:6] for p in least]
            assert all(a.error != b.error for a, b in zip(anew, least, strict=True))
        for ends in each.values():
            if len(ends) == steps:
                continue
            own = [plan for plan in of if plan.joint == ends and plan.draws == 1]
            wide = [1.0, *POWERS] if steps - len(ends) > 1 else [1.0]
            assert [plan.power for plan in own if plan.theta == THETA] == wide
            power = min((p for p in own if p.theta == THETA), key=lambda p: p.error).power
            assert [plan.theta for plan in own if plan.power == power] == list(thetas)
        assert all(plan.joint in each.values() for plan in of if plan not in here)
    assert any(plan.theta == THETAS[-1] for plan in found)


class Ends(torch.nn.Module):
    """Both sites 0 or both 4, or, `wrong`, always 2; the mean is that of the data."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def forward(self, seen, t, condition=None):
        up = (seen[:, 1, :1] > 0).float().expand(-1, 2)
        # softplus(raw + log(e - 1)) times what is left of a mean of 2, exactly at t = 0.
        end = torch.full_like(up, 0.0) if self.wrong else torch.where(up > 0, 1.44, -20.0)
        p = t.unsqueeze(1)
        x = seen[:, 0] * (4 * p**2 + 2 * p * (1 - p)).sqrt() + 2 * p  # counts, as standardised
        full = (x.amax(1, keepdim=True) > 0.5).float()
        empty = ((1 - p) ** 8) * (1 - full)
        mean = torch.where(full > 0, 4 - x, 4 * empty / (1 + empty)) / (2 * (1 - p))
        law = mean.clamp_min(1e-6).expm1().clamp_min(1e-12).log() - 0.541325
        return torch.stack([law, end], 1)


DATA = torch.tensor([[0, 0], [4, 4]]).repeat(200, 1)


def test_good_ends_are_planned_and_bad_ones_are_not():
    options = {"mean": 2.0, "variance": 4.0, "error_curve": None}
    good = chosen(
        joint(Ends(False), **options),
        plans(joint(Ends(False), **options), DATA, steps=(2, 3), samples=256),
    )
    assert good.plans[0] == (1.0,) and good.plans[1]
    model = joint(Ends(True), **options)
    found = plans(model, DATA, steps=(3, 8), seed=2)
    assert {plan.steps for plan in found} == {1, 3, 8}
    # A joint draw that ends so early hardly draws anything.
    assert all(t < 0.05 for t in chosen(model, found).plans[-1])
    later = [
        plan.error for plan in found if plan.steps == 8 and plan.joint and plan.joint[0] > 0.2
    ]
    (without,) = [
        p.error for p in found if p.steps == 8 and not p.joint and p[4:] == (THETA, 1.0, 1)
    ]
    assert all(error > without + 0.1 for error in later)


def test_a_walk_stops_where_a_power_of_the_error_has_fallen():
    model, times = joint(Means(False), mb.MeanHead(), mean=2.0, variance=4.0), []
    leaps = mb.Trapezoidal(powers=(1.0, 1.0, 0.5))
    for sampler in (leaps, mb.Corrected(leaps), HandOver(plans=((1.0,), (0.3,), ()), then=leaps)):
        times.clear()
        model.sample(8, steps=4, sampler=sampler, callback=lambda t, _: times.append(t), block=8)
        assert times == pytest.approx(CURVE.grid(4, power=0.5).tolist())
        assert times != pytest.approx(CURVE.grid(4).tolist())


class Means(Ends):
    """What `Ends` knows of the law, and no ends."""

    def forward(self, seen, t, condition=None):
        return super().forward(seen.expand(-1, 2, -1), t)[:, :1]


def test_leaps_of_a_mean_have_the_inner_time_of_the_smallest_error():
    model = joint(Means(False), mb.MeanHead(), mean=2.0, variance=4.0)
    found = plans(model, DATA, steps=(2, 4, 8), samples=128)
    assert not any(plan.joint for plan in found)
    sampler = chosen(model, found)
    assert isinstance(sampler, mb.Trapezoidal) and len(sampler.thetas) == 8
    for steps in (2, 4, 8):
        tried, anew = (
            {(p.theta, p.power): p.error for p in found if p.steps == steps and p.draws == n}
            for n in (1, DRAWS)
        )
        here = sampler.thetas[steps - 1], sampler.powers[steps - 1]
        assert {power for _, power in tried} == {1.0, *POWERS}
        assert {theta for theta, _ in tried} == {THETA, *(THETAS if steps <= 6 else THETAS[-1:])}
        assert set(anew) == set(sorted(tried, key=lambda way: tried[way])[:FINALISTS])
        assert anew[here] == min(anew.values())


def test_what_neither_draws_jointly_nor_leaps_is_refused():
    table = mb.Transport(Counts.process, torch.nn.Identity(), mb.LogisticMixtureHead(), shape=(2,))
    with pytest.raises(TypeError, match="LogisticMixtureHead under PureDeath"):
        plans(table, DATA)


@pytest.mark.parametrize("steps", [(1,), (3, 2), (2, 2)])
def test_numbers_of_steps_that_cannot_be_planned_are_refused(steps):
    with pytest.raises(ValueError, match="steps"):
        plans(joint(Ends(False), mean=2.0, variance=4.0), DATA, steps=steps)


def test_a_law_takes_over_whatever_the_other_sampler_is():
    model = Counts()
    sampler = HandOver(then=mb.Bridge())
    x = torch.zeros(2, 3, dtype=torch.int64)
    sampler.step(model, x, 0.0, 0.5)
    sampler.step(model, x, 0.5, 1.0)
    assert model.asked == ["end", "law"]


def test_corrected_walks_go_as_planned():
    model, planned = Counts(), HandOver(plans=PLANS)
    sampler, grid = mb.Corrected(planned, moves=2).plan(model, 2)
    assert grid == pytest.approx([0, 0.3, 1]) and sampler.sampler == HandOver(0.3)
    # A joint draw, two moves of leaps after it, and the last leap.
    assert mb.Corrected(planned, moves=2).evaluations(2) == 3 + 2 * 2


def test_the_sampler_of_a_model_is_kept(tmp_path):
    network = networks.MLP((2,), 2, 2, width=4, depth=1)
    model = joint(network, sampler=HandOver(plans=PLANS), mean=2.0, variance=4.0)
    model.save_pretrained(tmp_path / "model")
    found = mb.Transport.from_pretrained(tmp_path / "model")
    assert found.default_sampler() == HandOver(plans=PLANS)


def test_training_measures_plans_of_its_own_weights():
    network = networks.MLP((2,), 2, 2, width=4, depth=1)
    model = joint(network, sampler=HandOver(plans=PLANS), mean=2.0, variance=4.0)
    config = {"batch_size": 8, "threads": 1, "log_every": 4000}
    few = mb.training.Trainer(model, DATA, mb.training.TrainingConfig(steps=2, **config)).run()
    assert few.sampler is None  # too little was trained
    rest = mb.training.TrainingConfig(steps=4000, learning_rate=1e-9, **config)
    trainer = mb.training.Trainer(model, DATA, rest)
    trainer.step = 3999
    assert len(trainer.run().sampler.plans) == 12


@pytest.mark.parametrize("given", [mb.Bridge(), mb.Trapezoidal(0.25), mb.Corrected(mb.Bridge())])
def test_training_keeps_a_sampler_that_was_given_and_no_plan_of_other_weights(given):
    config = mb.training.TrainingConfig(
        steps=1, batch_size=4096, threads=1, learning_rate=1e-9, planning=False
    )
    network = networks.MLP((2,), 1, 1, width=4, depth=1)
    model = joint(network, mb.MeanHead(), sampler=given, mean=2.0, variance=4.0)
    assert mb.training.Trainer(model, DATA, config).run().sampler == given
    model.sampler = mb.Corrected(mb.Trapezoidal(powers=(0.5,)))
    assert mb.training.Trainer(model, DATA, config).run().sampler is None
    whole = mb.training.TrainingConfig(steps=1, batch_size=40_000, threads=1, learning_rate=1e-9)
    model.sampler = given
    assert mb.training.Trainer(model, DATA, whole).run().sampler == given
