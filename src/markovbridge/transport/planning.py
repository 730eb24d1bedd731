r"""Where joint draws end and leaps begin, and how these leap, by the errors of samples.

For walks of a few numbers of steps, samples are drawn with no, one or two joint draws that end at
several times, where the head draws jointly, then, where there are leaps, on several grids and with
several inner times, and compared with data by the energy
distance (Székely & Rizzo 2013, https://doi.org/10.1016/j.jspi.2013.03.018),

    2 E‖X - Y‖ - E‖X - X'‖ - E‖Y - Y'‖,

without bias, of points in the units of the head, and with the same noise for all. Times are those
at which the error of the best guess has fallen by a share of what is unknown at the source
(`ErrorCurve`), so that they mean the same under any schedule. The more steps a walk has, the
earlier leaps are better than a joint draw: only times up to the best of fewer steps, and one more,
are tried. Leaps alone, the best walk with one joint draw and the best with two, which take other
numbers of evaluations, are tried with other inner times and grids, and the three best of each kind
drawn twice anew before one is taken: the errors of a few hundred samples vary by as much as the
best walks differ.

An inner time θ of `Trapezoidal` is of second order wherever it lies, but long leaps with a large
one have too little of the variance of data: digits drawn by two leaps of θ = 0.4 have twice the
energy distance of θ = 0.25. From about ten steps on it hardly matters. Steps of equal falls of the
error are the best grid there is of four or five evaluations; of more the last of them, onto the
data, is too long for many data, and equal falls of a power of the error below 1 shorten it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.samplers import HandOver, Sampler, Trapezoidal
from markovbridge.samplers.grids import measure
from markovbridge.samplers.hand_over import walk
from markovbridge.transport.transport import Transport

SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75)  # of the error that has fallen by then
FIRST = 0.3  # of that share, after the first of two joint draws
STEPS = (2, 3, 5, 12)  # for which it is measured; those between take the plan before
SAMPLES = 512
TRIED = 3  # times of the walks of more steps
FINALISTS = 3  # walks with as many joint draws that are drawn anew
DRAWS = 3  # how often they are drawn in all
TWICE = 6  # steps at most of a walk with two joint draws, or with several inner times
THETA = 0.25  # inner time of leaps with which joint draws are tried
POWERS = (0.75, 0.5)  # of the error, in whose equal falls leaps step, beside 1
THETAS = (0.2, 0.3, 0.4)  # and other inner times, after them


class Plan(NamedTuple):
    """One way to walk, and how far its samples are from data.

    Attributes:
        steps: Number of steps.
        joint: Times at which joint draws end; none if there are none.
        evaluations: Network evaluations of a sample.
        error: Energy distance of samples to data; infinite if the walk broke off.
        theta: Inner time of the leaps; None if the walk has none, or they know none.
        power: Of the error, in whose equal falls they step.
        draws: How many times samples were drawn, with noise of their own, for the mean error.
    """

    steps: int
    joint: tuple[float, ...]
    evaluations: int | None
    error: float
    theta: float | None = None
    power: float = 1.0
    draws: int = 1


def plannable(transport: Transport) -> bool:
    """Whether a model has joint draws or leaps, and so something to plan."""
    head = transport.head
    if head is None:
        return False
    return head.noise > 0 or isinstance(head.stated.sampler(transport.process), Trapezoidal)


@torch.no_grad()
def plans(
    transport: Transport,
    x1: Tensor,
    *,
    condition: Tensor | None = None,
    steps: Sequence[int] = STEPS,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Plan]:
    """The errors of all that is tried.

    Args:
        transport: A model whose head draws jointly, or leaps by `Trapezoidal`.
        x1: Data to compare with, (n, *event): a few hundred at least.
        condition: What samples are conditioned on, (samples, C): that of some of the data.
        steps: Numbers of steps, at least 2, rising.
        samples: How many are drawn each time.
        seed: Of their noise.

    Raises:
        TypeError: If the head has nothing to plan; see `plannable`.
        ValueError: If there is no data.
    """
    checks.whole(samples, "samples", least=2)
    for number, before in zip(steps, (1, *steps), strict=False):
        if checks.whole(number, "steps", least=2) <= before:
            raise ValueError(f"steps must rise from 2 or more, not {list(steps)}")
    head = transport.head
    if head is None or not plannable(transport):
        name = "an exact law" if head is None else type(head).__name__
        raise TypeError(
            f"{name} under {type(transport.process).__name__} neither draws sites jointly nor "
            "leaps by Trapezoidal: there are no plans to make"
        )
    curve = transport.error_curve
    if curve is None:
        noise = torch.Generator(transport.device).manual_seed(seed)
        curve = measure(transport, x1[:128], generator=noise)
    x1 = transport.check(x1, "x1").to(transport.device)
    categories = transport.law(x1[:1], 1.0).categories

    def points(x: Tensor) -> Tensor:
        return head.points(transport.setting, x, categories)

    centre = points(x1).mean(0)
    real = points(x1) - centre
    spread = _apart(real)
    usual = head.stated.sampler(transport.process)

    def tried(
        number: int, *joint: float, theta: float = THETA, power: float = 1.0, noise: int = seed
    ) -> Plan:
        leaps = isinstance(usual, Trapezoidal) and len(joint) < number
        then = Trapezoidal(theta, powers=(power,)) if leaps else usual
        sampler, times = walk(transport, number, joint, then)
        each = sampler.then.evaluations(number - len(joint)) if len(joint) < number else 0
        count = None if each is None else len(joint) + each
        inner = theta if leaps else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is tried only the best is for use
                made = transport.sample(
                    samples,
                    steps=torch.tensor(times, dtype=torch.float64),
                    sampler=sampler,
                    condition=condition,
                    generator=torch.Generator(transport.device).manual_seed(noise),
                )
        except FloatingPointError:
            return Plan(number, joint, count, math.inf, inner, power)
        x = points(transport.process.check(made)) - centre
        error = float(2 * _distances(x, real).mean() - _apart(x) - spread)
        return Plan(number, joint, count, error, inner, power)

    def refined(plain: Plan) -> list[Plan]:
        number, joint = plain.steps, plain.joint
        if plain.theta is None:
            return []
        several = number - len(joint) > 1 and transport.error_curve is not None
        powers = POWERS if several else ()  # otherwise there is one grid
        more = [tried(number, *joint, power=power) for power in powers]
        power = min([plain, *more], key=_error).power
        others = THETAS if number <= TWICE else THETAS[-1:]
        return more + [tried(number, *joint, theta=theta, power=power) for theta in others]

    def again(plan: Plan) -> Plan:
        theta = THETA if plan.theta is None else plan.theta
        errors = [plan.error] + [
            tried(plan.steps, *plan.joint, theta=theta, power=plan.power, noise=seed + k).error
            for k in range(1, DRAWS)
        ]
        return plan._replace(error=sum(errors) / DRAWS, draws=DRAWS)

    found = [tried(1, 1.0)] if head.noise else []
    most = len(SHARES)
    for number in steps:
        of = [tried(number)]
        first = 0 if number == steps[0] else max(0, most - TRIED)
        shares = SHARES[first:most] if head.noise else ()
        errors = []
        for share in shares:
            early, end = (_short(curve.fallen(s)) for s in (FIRST * share, share))
            ways: list[tuple[float, ...]] = [(end,)] if 0 < end < 1 else []
            if ways and number == 2:
                ways.append((end, 1.0))
            elif 0 < early < end < 1 and number <= TWICE:
                ways.append((early, end))
            here = [tried(number, *joint) for joint in ways]
            of += here
            errors.append(min((plan.error for plan in here), default=math.inf))
        if shares:
            most = min(len(SHARES), SHARES.index(shares[errors.index(min(errors))]) + 2)
        # With no, one and two joint draws, which take different numbers of evaluations.
        ended = [plan for plan in of if plan.error < math.inf]
        finals = []
        for joint in sorted({len(plan.joint) for plan in ended}):
            group = [plan for plan in ended if len(plan.joint) == joint]
            of += (more := refined(min(group, key=_error)))
            finals += sorted([*group, *more], key=_error)[:FINALISTS]
        # The least of many errors is too low by chance: those of the last are drawn anew.
        found += of if len(finals) == 1 else [*of, *map(again, finals)]
    return found


def _error(plan: Plan) -> float:
    return plan.error


def _way(plan: Plan) -> tuple[object, ...]:
    return plan.steps, plan.joint, plan.theta, plan.power


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances of all pairs, without the cancellation of large numbers."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _apart(x: Tensor) -> Tensor:
    """Mean distance of two different rows: ()."""
    return _distances(x, x).sum() / max(len(x) * (len(x) - 1), 1)


def _short(t: float) -> float:
    """A time as one would write it."""
    return float(f"{t:.4g}")


def best(found: Sequence[Plan], evaluations: int | None = None) -> dict[int, Plan]:
    """The best plan for each number of steps: of those drawn most often the least error.

    Args:
        found: What `plans` has found.
        evaluations: How many a plan may take; None is any number.
    """
    known: dict[int, Plan] = {}
    broken = {_way(plan) for plan in found if plan.error == math.inf}  # in any of their draws
    for plan in sorted(found, key=lambda plan: (plan.draws, -plan.error)):
        cheap = evaluations is None or (plan.evaluations or math.inf) <= evaluations
        if cheap and _way(plan) not in broken:
            known[plan.steps] = plan
    return known


def chosen(transport: Transport, found: Sequence[Plan]) -> Sampler:
    """The sampler of the best plan for each number of steps.

    Args:
        transport: The model.
        found: What `plans` has found for it. Of numbers of steps that were left out the plan of
            the number before is taken.

    Returns:
        A `HandOver` if the head draws jointly; the head's own leaps otherwise.
    """
    head = transport.head
    if head is None or not found:
        raise ValueError("there are no plans to choose from: `plans` finds some")
    then = head.stated.sampler(transport.process)
    known = best(found)
    leaps = [known[steps] for steps in sorted(known) if known[steps].theta is not None]
    joint: list[tuple[float, ...]] = []
    thetas, powers = [], []  # where nothing was measured those of fewer steps, or of the fewest
    for steps in range(1, max(plan.steps for plan in found) + 1):
        before = tuple(t for t in joint[-1] if t < 1) if joint else ((1.0,) if head.noise else ())
        joint.append(known[steps].joint if steps in known else before)
        here = [plan for plan in leaps if plan.steps <= steps][-1:] or leaps[:1]
        thetas.append(here[0].theta if here else Trapezoidal.theta)
        powers.append(here[0].power if here else 1.0)
    if isinstance(then, Trapezoidal):
        then = Trapezoidal(then.theta, tuple(thetas), tuple(powers))
    return HandOver(then=then, plans=tuple(joint)) if head.noise else then


doors.guard(__name__)
