r"""Checks of processes on reals: densities, by points, integrals and moments.

With p(s→t) the densities of transitions, stated from data to source or from source to data:

    Bayes                log bridge(x, y, s, t, u)(z) = log p(y, u→t)(z) + log p(z, t→s)(x)
                                                        - log p(y, u→s)(x)
    Chapman-Kolmogorov   p(s→t) = ∫ p(s→m) p(m→t), by the rule of trapezoids for one number;
                         by moments of draws for events of more
    drift                (E[x_{t+h} | x, y] - x) / h  →  drift(x, y, t)

A flow has no densities: its transitions and bridges are points, and those of two steps are those
of one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.processes.linear import LinearPaths
from markovbridge.processes.reals import Diffusion
from markovbridge.testing.laws import densities, gap
from markovbridge.testing.numbers import FAR, moments_off, normal_off, trapezoid
from markovbridge.testing.report import CheckError, Ledger, largest, seeded

GRID = 4001  # points of an integral
REACH = 9.0  # standard deviations that it goes over
SHORT = 1e-4  # a step over which a bridge is nearly its drift, as a share of the time left
FORGOTTEN = 1e-2  # what a step of the data may change at t = 0
SHARP = 1e-3  # relative error of drifts
ROWS = 8


def check_densities(
    ledger: Ledger,
    process: Process,
    x1: Tensor,
    times: tuple[float, ...],
    draws: int,
    tolerance: float,
    seed: int,
) -> None:
    """Transitions, bridges, moments, draws, the marginals of `noised`, and drifts."""
    generator = seeded(seed)
    noising = process.direction == "noising"
    first, last = (1.0, 0.0) if noising else (0.0, 1.0)
    early, middle, late = times[0], times[len(times) // 2], times[-1]
    data = x1[:ROWS].double()
    given = data if noising else process.source(data).sample(generator=generator)
    path = {first: given}
    for s, t in pairwise((first, *_along(times, noising), last)):
        path[t] = process.transition(path[s], _at(s), _at(t)).sample(generator=generator)
    if process.noiseless:
        path[1.0] = path[1.0] + 1.0  # not where a flow from x_0 comes to, to be a bridge
        _points(ledger, process, path, times, tolerance)
        _drift(ledger, process, path, times)
        return
    asked: dict[str, Callable[[Tensor], Law]] = {}
    for s, t, u in ((0.0, middle, 1.0), (early, middle, 1.0), (early, middle, late)):
        _bayes(ledger, process, path, (s, t, u), tolerance)
        asked[f"bridge at {t:g} between {s:g} and {u:g}"] = _bridge(process, path, s, t, u)
    a, b = (late, early) if noising else (early, late)
    for s, t in ((first, middle), (a, b)):
        asked[f"transition from {s:g} to {t:g}"] = _transition(process, path, s, t)
    for name, ask in asked.items():
        _moments(ledger, name, ask, len(data), draws, tolerance, generator)
    for s, t in ((first, last), (a, b)):
        _steps(ledger, process, path[s], (s, middle, t), draws, tolerance, generator)
    rows = len(data)
    for t, end, name in ((early, path[early], "x at s"), (1.0, path[1.0], "y at u")):
        law = process.bridge(path[early], path[1.0], _at(early), _at(t), _at(1.0))
        wrong = gap(law.sample(generator=generator), end)
        ledger.judge("ends of bridges", wrong, tolerance, f"a bridge of {rows} rows misses {name}")
    _noised(ledger, process, data, times, draws, generator)
    _forgotten(ledger, process, data, tolerance)
    _drift(ledger, process, path, times)


def _points(
    ledger: Ledger,
    process: Process,
    path: dict[float, Tensor],
    times: tuple[float, ...],
    tolerance: float,
) -> None:
    """Transitions and bridges of a flow, in two steps and in one."""
    middle, late = times[len(times) // 2], times[-1]
    x, y = path[0.0], path[1.0]
    first, last = (1.0, 0.0) if process.direction == "noising" else (0.0, 1.0)
    moved = process.transition(path[first], _at(first), _at(middle)).mean
    inner = process.bridge(x, y, _at(0.0), _at(middle), _at(1.0)).mean
    for name, whole, parts in (
        (
            "transition",
            process.transition(path[first], _at(first), _at(last)),
            process.transition(moved, _at(middle), _at(last)),
        ),
        (
            "bridge",
            process.bridge(x, y, _at(0.0), _at(late), _at(1.0)),
            process.bridge(inner, y, _at(middle), _at(late), _at(1.0)),
        ),
    ):
        certain = not bool((whole.variance != 0).any())
        ledger.demand("points", certain, f"a `{name}` of a flow is a point, of no variance")
        wrong = gap(parts.mean, whole.mean)
        ledger.judge("points", wrong, tolerance, f"`{name}` in two steps is not that in one")
    for t, end, name in ((0.0, x, "x at s"), (1.0, y, "y at u")):
        law = process.bridge(x, y, _at(0.0), _at(t), _at(1.0))
        ledger.judge("ends of bridges", gap(law.mean, end), tolerance, f"a bridge misses {name}")


def _along(times: tuple[float, ...], noising: bool) -> tuple[float, ...]:
    return tuple(reversed(times)) if noising else times


def _at(t: float) -> Tensor:
    """One time for all rows, in float64 so that laws are."""
    return torch.tensor(t, dtype=torch.float64)


def _bridge(
    process: Process, path: dict[float, Tensor], s: float, t: float, u: float
) -> Callable[[Tensor], Law]:
    def ask(rows: Tensor) -> Law:
        x, y = path[s][rows], path[u][rows]
        return process.bridge(x, y, _at(s), _at(t), _at(u))

    return ask


def _transition(
    process: Process, path: dict[float, Tensor], s: float, t: float
) -> Callable[[Tensor], Law]:
    def ask(rows: Tensor) -> Law:
        x = path[s][rows]
        return process.transition(x, _at(s), _at(t))

    return ask


def _bayes(
    ledger: Ledger,
    process: Process,
    path: dict[float, Tensor],
    times: tuple[float, float, float],
    tolerance: float,
) -> None:
    """The density of a bridge, at points of a path and beside it."""
    what, (s, t, u) = "Bayes: the bridge", times
    x, y = path[s], path[u]
    law = process.bridge(x, y, _at(s), _at(t), _at(u))
    for beside in (0.0, 0.7, -1.3):
        z = path[t] + beside * law.variance.sqrt()
        if process.direction == "noising":
            pieces = ((y, u, t, z), (z, t, s, x), (y, u, s, x))
        else:
            pieces = ((x, s, t, z), (z, t, u, y), (x, s, u, y))
        logs = [densities(process.transition(a, _at(p), _at(q)), b) for a, p, q, b in pieces]
        found = densities(law, z)
        if found is None or any(log is None for log in logs):
            ledger.skip(what, "the laws state no densities (`log_prob`)")
            return
        first, second, third = (log for log in logs if log is not None)
        size = 1 + first.abs() + second.abs() + third.abs()
        ledger.judge(
            what,
            largest((found - (first + second - third)) / size),
            tolerance,
            f"`bridge` between {s:g} and {u:g} is at {t:g} not the product of transitions over "
            "the transition, as Bayes' rule has it",
        )


def _moments(
    ledger: Ledger,
    name: str,
    ask: Callable[[Tensor], Law],
    rows: int,
    n: int,
    tolerance: float,
    generator: torch.Generator,
) -> None:
    """Moments, densities and draws of a law against one another."""
    law = ask(torch.arange(rows))
    drawn = ask(torch.arange(rows).repeat(n)).sample(generator=generator)
    drawn = drawn.reshape(n, rows, *law.mean.shape[1:])
    ledger.judge(
        "draws, in standard deviations",
        moments_off(drawn, law.mean, law.variance),
        FAR,
        f"draws of the {name} do not have its `mean` and `variance`",
    )
    _slopes(ledger, name, ask, drawn)
    if law.mean[0].numel() > 1:
        ledger.skip("densities integrate to 1", "events of several numbers are not integrated")
        return
    index, grid = _grid(law)
    log = densities(ask(index), grid.reshape(-1, *law.mean.shape[1:]))
    if log is None:
        ledger.skip("densities integrate to 1", "the laws state no densities (`log_prob`)")
        return
    mass = log.exp().reshape(grid.shape)
    mean = trapezoid(mass * grid, grid)
    variance = trapezoid(mass * (grid - mean.unsqueeze(1)) ** 2, grid)
    ledger.judge(
        "densities integrate to 1",
        largest(trapezoid(mass, grid) - 1),
        max(tolerance, 1e-6),
        f"the density of the {name} does not integrate to 1",
    )
    for which, found, wanted in (
        ("mean", law.mean, mean),
        ("variance", law.variance, variance),
    ):
        ledger.judge(
            "moments",
            gap(found.reshape(-1), wanted),
            10 * tolerance,
            f"the {which} of the {name} is not that of its density",
        )


def _grid(law: Law) -> tuple[Tensor, Tensor]:
    """Rows to ask a law for, and points (rows, GRID) around its means."""
    mean, spread = law.mean.double().reshape(-1, 1), law.variance.double().sqrt().reshape(-1, 1)
    grid = mean + spread * torch.linspace(-REACH, REACH, GRID, dtype=torch.float64)
    return torch.arange(len(mean)).repeat_interleave(GRID), grid


def _slopes(ledger: Ledger, name: str, ask: Callable[[Tensor], Law], drawn: Tensor) -> None:
    """E[(x_i - m_i) ∂_j log p(x)] = -δ_ij of draws of p, whatever the constant of p is."""
    what = "draws and densities, in standard deviations"
    n, rows = drawn.shape[:2]
    points = drawn.flatten(0, 1).detach().clone().requires_grad_()
    law = ask(torch.arange(rows).repeat(n))
    with torch.enable_grad():
        try:
            log = law.log_prob(points)
            (slope,) = torch.autograd.grad(log.sum(), points)
        except (NotImplementedError, ValueError, RuntimeError, ArithmeticError) as refusal:
            ledger.skip(what, refusal)
            return
    apart = (points.detach() - law.mean).reshape(n, rows, -1).double()
    slope = slope.reshape(n, rows, -1).double()
    products = (apart * slope).mean(2), (apart.roll(1, 2) * slope).mean(2)
    off = normal_off(products[0], -1.0)
    if apart.shape[2] > 1:
        off = max(off, normal_off(products[1], 0.0))
    ledger.judge(what, off, FAR, f"draws of the {name} do not follow its density (`log_prob`)")


def _steps(
    ledger: Ledger,
    process: Process,
    start: Tensor,
    times: tuple[float, float, float],
    n: int,
    tolerance: float,
    generator: torch.Generator,
) -> None:
    """A transition against two, one after the other."""
    (s, m, t), rows = times, len(start)
    what = f"`transition` from {s:g} to {t:g} is not that by way of {m:g}"
    first = process.transition(start, _at(s), _at(m))
    whole = process.transition(start, _at(s), _at(t))
    single = start[0].numel() == 1
    x = whole.sample(generator=generator)
    wanted = densities(whole, x)
    if single and wanted is not None:
        index, grid = _grid(first)
        z = grid.reshape(-1, *start.shape[1:])
        before = densities(process.transition(start[index], _at(s), _at(m)), z)
        after = densities(process.transition(z, _at(m), _at(t)), x[index])
        if before is None or after is None:
            raise CheckError(f"{ledger.of}: its transitions state densities at some times only")
        product = (before + after).exp().reshape(grid.shape)
        found = trapezoid(product, grid)
        ledger.judge("Chapman-Kolmogorov", largest(found / wanted.exp() - 1), 10 * tolerance, what)
        return
    many = start.repeat(n, *[1] * (start.ndim - 1))
    inner = process.transition(many, _at(s), _at(m)).sample(generator=generator)
    drawn = process.transition(inner, _at(m), _at(t)).sample(generator=generator)
    drawn = drawn.reshape(n, rows, *start.shape[1:])
    off = moments_off(drawn, whole.mean, whole.variance)
    ledger.judge("Chapman-Kolmogorov, in standard deviations", off, FAR, what)


def _noised(
    ledger: Ledger,
    process: Process,
    data: Tensor,
    times: tuple[float, ...],
    n: int,
    generator: torch.Generator,
) -> None:
    """`noised`, and what bridges make of it, by moments of draws."""
    what, rows = "marginals of `noised`, in standard deviations", len(data)
    many = data.repeat(n, *[1] * (data.ndim - 1))
    law = ledger.ask(what, lambda: process.noised(many))
    if law is None:
        return
    start = law.sample(generator=generator)
    for t in (0.0, *times):
        x = process.bridge(start, many, _at(0.0), _at(t), _at(1.0))
        drawn = x.sample(generator=generator).reshape(n, rows, *data.shape[1:])
        wanted = ledger.ask(what, lambda t=t: process.transition(data, _at(1.0), _at(t)))
        if wanted is None:
            return
        ledger.judge(
            what,
            moments_off(drawn, wanted.mean, wanted.variance),
            FAR,
            f"bridges from `noised` do not have the law of x_t given x_1 at {t:g}, which is that "
            "of `transition` from 1",
        )


def _forgotten(ledger: Ledger, process: Process, data: Tensor, tolerance: float) -> None:
    """`source` against the law at t = 0, where little of the data is left in it."""
    what = "source"
    if process.direction != "noising":
        ledger.skip(what, "the process is stated from source to data")
        return
    first, second = (process.transition(x, _at(1.0), _at(0.0)) for x in (data, data + 1))
    left = max(gap(first.mean, second.mean), gap(first.variance, second.variance))
    if left > FORGOTTEN:
        ledger.skip(what, "at t = 0 something is left of the data, so that it is approximate")
        return
    law = process.source(data)
    ledger.judge(
        what,
        max(gap(law.mean, first.mean), gap(law.variance, first.variance)),
        10 * tolerance + 3 * left * (1 + float(data.abs().max())),
        "`source` does not have the moments at t = 0, which `transition` from 1 has whatever the "
        "data",
    )


def _drift(
    ledger: Ledger, process: Process, path: dict[float, Tensor], times: tuple[float, ...]
) -> None:
    """Drift and noise as the limit of bridges over short times."""
    if not isinstance(process, Diffusion):
        for what in ("drift", "diffusion"):
            ledger.skip(what, "the process is not derived of Diffusion, and states none")
        return
    for t in times:
        x, y, h = path[t], path[1.0], SHORT * (1 - t)
        law, half = (process.bridge(x, y, _at(t), _at(t + step), _at(1.0)) for step in (h, h / 2))
        limit = 2 * (half.mean - x) / (h / 2) - (law.mean - x) / h
        found = process.drift(x, y, _at(t))
        size = 1 + float(found.abs().max())
        ledger.judge(
            "drift",
            largest(found - limit) / size,
            SHARP,
            f"`drift` at {t:g} is not the limit of the bridge to x_1 over short times",
        )
        if process.noiseless:
            still = not bool((process.diffusion(_at(t)) != 0).any())
            ledger.demand("diffusion", still, f"a flow has no noise, but `diffusion` at {t:g}")
            continue
        noise = (2 * half.variance / (h / 2) - law.variance / h)[0]
        square = process.diffusion(_at(t)).double() ** 2
        if isinstance(process, LinearPaths):
            square = process.basis.deviation(square, x)[0] ** 2
        ledger.judge(
            "diffusion",
            largest(noise / square - 1),
            10 * SHARP,
            f"`diffusion` at {t:g} is not the noise of the bridge over short times",
        )


doors.guard(__name__)
