r"""Where joint draws end and leaps begin, by the errors of samples.

For walks of a few numbers of steps, samples are drawn with one or two joint draws that end at
several times, and compared with data by the energy distance (Székely & Rizzo 2013,
https://doi.org/10.1016/j.jspi.2013.03.018),

    2 E‖X - Y‖ - E‖X - X'‖ - E‖Y - Y'‖,

with the same noise for all. Times are those at which the error of the best guess has fallen by a
share of what is unknown at the source (`ErrorCurve`), so that they mean the same under any
schedule. The more steps a walk has, the earlier leaps are better than a joint draw: only times up
to the best of fewer steps, and one more, are tried.
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
from markovbridge.laws.numbers import by_row
from markovbridge.samplers import HandOver
from markovbridge.samplers.grids import measure
from markovbridge.transport.transport import Transport

SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75)  # of the error that has fallen by then
FIRST = 0.3  # of that share, after the first of two joint draws
STEPS = (2, 3, 5)  # for which it is measured; those between take the plan before
SAMPLES = 512
TRIED = 3  # times of the walks of more steps


class Plan(NamedTuple):
    """One way to walk, and how far its samples are from data.

    Attributes:
        steps: Number of steps.
        joint: Times at which joint draws end.
        evaluations: Network evaluations of a sample.
        error: Energy distance of samples to data.
    """

    steps: int
    joint: tuple[float, ...]
    evaluations: int | None
    error: float


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
        transport: A model whose head draws jointly.
        x1: Data to compare with, (n, *event): a few hundred at least.
        condition: What samples are conditioned on, (samples, C): that of some of the data.
        steps: Numbers of steps, at least 2, rising.
        samples: How many are drawn each time.
        seed: Of their noise.

    Raises:
        TypeError: If the head draws no sites jointly.
        ValueError: If there is no data.
    """
    checks.whole(samples, "samples", least=2)
    if not transport.draws_jointly:
        raise TypeError(
            f"{type(transport.head).__name__} draws no sites jointly: there are no plans to make"
        )
    curve = transport.error_curve
    if curve is None:
        noise = torch.Generator(transport.device).manual_seed(seed)
        curve = measure(transport, x1[:128], generator=noise)
    real = by_row(transport.check(x1, "x1").to(transport.device)).float()
    spread = torch.cdist(real, real).mean()

    def tried(number: int, *joint: float) -> Plan:
        sampler = HandOver(joint[-1], transport.head.stated.sampler(transport.process))
        left = number - len(joint)
        later = list(transport.grid(left, joint[-1]))[1:] if left else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is tried only the best is for use
            made = transport.sample(
                samples,
                steps=torch.tensor([0.0, *joint, *later], dtype=torch.float64),
                sampler=sampler,
                condition=condition,
                generator=torch.Generator(transport.device).manual_seed(seed),
            )
        x = by_row(transport.process.check(made)).float()
        own = torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
        error = float(2 * torch.cdist(x, real).mean() - own - spread)
        each = sampler.then.evaluations(left) if left else 0
        return Plan(number, joint, None if each is None else len(joint) + each, error)

    found = [tried(1, 1.0)]
    most = len(SHARES)
    for number in steps:
        shares = SHARES[0 if number == 2 else max(0, most - TRIED) : most]
        rows = []
        for share in shares:
            early, end = (_short(curve.fallen(s)) for s in (FIRST * share, share))
            once = tried(number, end)
            twice = tried(number, end, 1.0) if number == 2 else tried(number, early, end)
            found += [once, twice]
            rows.append(min(once.error, twice.error))
        most = min(len(SHARES), SHARES.index(shares[rows.index(min(rows))]) + 2)
    return found


def _short(t: float) -> float:
    """A time as one would write it."""
    return float(f"{t:.4g}")


def hand_over(transport: Transport, found: list[Plan]) -> HandOver:
    """The sampler of the best plan for each number of steps.

    Args:
        transport: The model.
        found: What `plans` has found for it.
    """
    best: list[tuple[float, ...]] = []
    for steps in range(1, max(plan.steps for plan in found) + 1):
        of = [plan for plan in found if plan.steps == steps]
        best.append(min(of, key=lambda plan: plan.error).joint if of else best[-1])
    assert transport.head is not None and all(not math.isnan(plan.error) for plan in found)
    return HandOver(then=transport.head.stated.sampler(transport.process), plans=tuple(best))


doors.guard(__name__)
