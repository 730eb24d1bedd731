r"""Step grids: where a sampler stops on its way. Each returns times for `steps=`.

    transport.sample(n, steps=grids.equal_cost(transport, x1, 20))

A number of steps, `steps=20`, is a grid of equal error where the model knows its errors, as
trained models of pure death do, and `uniform` in t, equal steps of the schedule's own clock,
where not. `like` steps as another schedule would. A tensor of increasing times is a grid of
the user's.

**Equal error.** What is left to decide at time t is the error of the best guess,
e(t)² = E|x_1 - E[x_1 | x_t]|². From one step to the next e falls by the same amount. An
8-bit image of 57,000 units has half of its variance settled once ten of them are born: steps
that are even in time, or of equal cost in nats, pass over what it will be in one step, and
every sample becomes the same compromise. `measure` takes e(t) from a model and data, as the
root mean square of its own errors.

**Equal cost.** A first-order sampler freezes what it knows at the beginning of a step. For
pure death that is the birth hazard λ_i = y_i/(1 - p) per unit of survival; over a step from p
to s the path KL from the true process to the frozen one is, λ being a martingale,

    E ∫ Σ_i [λ_i(τ) log(λ_i(τ)/λ_i(p)) - λ_i(τ) + λ_i(p)] dτ  =  ∫ (Φ(τ) - Φ(p)) dτ,
    Φ(p) = E Σ_i λ_i log λ_i,

about ½ Φ'(p) h² for a short step of length h. With a density n(p) of N steps the sum of
costs is ∫ Φ'/(2 N n) dp, least for n ∝ √Φ', and that is where every step costs the same. For
a diffusion, whose sampler freezes the end ŷ = E[x_1 | x_t], likewise, in time: the cost is
½ ∫ w(τ) E|Γ^{-1/2} (ŷ_τ - ŷ_t)|² dτ, with w = g² (a/v)².

Increments of Φ are estimated from pinned paths to data, as the average of the bracket above
from node to node of a fine grid: non-negative path by path, and small in variance.

On the exactly known two-pixel law (`benchmarks/step_grids.py`) total variation falls by a
sixth against the cosine schedule with laws per pixel, at 5 to 50 steps, and by 2 to 8 % with
Poisson leaps of the mean at 10 to 50 (at 5 it rises by 1 %). That schedule is close to the
best; those that are far from it (`Logistic(15)`) have three to six times its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.pure_death import PureDeath
from markovbridge.processes.schedules import Schedule
from markovbridge.samplers.model import DataModel, Given

__all__ = ["ErrorCurve", "equal_cost", "equal_error", "like", "measure", "uniform"]

NODES = 64  # of the fine grid on which costs are estimated
LAST = 1e-3  # mortality at its last inner node: the hazard is singular at the data
LEVEL = 1e-9  # of its whole, by which an error falls where it does not
FLOOR = 0.02  # share of the steps that is spread evenly, for what the estimate has not seen


def _check(steps: int, start: float) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if not 0 <= start < 1:
        raise ValueError(f"a grid starts in [0, 1), not at {start}")


def uniform(steps: int, start: float = 0.0) -> Tensor:
    """Equal steps in t: (steps + 1,) times from `start` to 1, float64."""
    _check(steps, start)
    return torch.linspace(start, 1.0, steps + 1, dtype=torch.float64)


def like(process: Process, schedule: Schedule, steps: int, start: float = 0.0) -> Tensor:
    """The times at which the process has the survival of another schedule's equal steps.

    Args:
        process: Whose times are wanted.
        schedule: Whose steps: Cosine(), Linear(), Logistic(15), ...
        steps: How many.
        start: Time of the process at which to start.

    Returns:
        (steps + 1,) times, float64.
    """
    _check(steps, start)
    t = process.schedule.at(start)
    first = schedule.time(process.schedule.survival(t), process.schedule.mortality(t))
    grid = torch.linspace(float(first), 1.0, steps + 1, dtype=torch.float64)
    times = process.schedule.time(schedule.survival(grid), schedule.mortality(grid))
    return _closed(times, start)


@dataclass(frozen=True)
class ErrorCurve:
    """How far a model's best guess is from the data, over time.

    Attributes:
        times: From 0 to 1, increasing.
        errors: Root mean square of |x_1 - E[x_1 | x_t]| at these times, in units of the data,
            from what is unknown at the source down to 0.
    """

    times: tuple[float, ...]
    errors: tuple[float, ...]

    def grid(self, steps: int, start: float = 0.0) -> Tensor:
        """Times between which the error falls by equal amounts: (steps + 1,), float64."""
        _check(steps, start)
        times = torch.tensor(self.times, dtype=torch.float64)
        # Never level, so that every error belongs to one time.
        errors = torch.tensor(self.errors, dtype=torch.float64).flip(0).cummax(0).values.flip(0)
        fallen = errors[0] - errors
        fallen = fallen + LEVEL * fallen[-1].clamp_min(LEVEL) * times
        first = _interpolate(times, fallen, torch.tensor([start], dtype=torch.float64))
        wanted = torch.linspace(float(first), float(fallen[-1]), steps + 1, dtype=torch.float64)
        return _closed(_interpolate(fallen, times, wanted), start)


def _interpolate(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation of y, tabulated at increasing x."""
    piece = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    part = (at - x[piece - 1]) / (x[piece] - x[piece - 1])
    return y[piece - 1] + part * (y[piece] - y[piece - 1])


def equal_error(
    transport: DataModel,
    x1: Tensor,
    steps: int,
    *,
    start: float = 0.0,
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
) -> Tensor:
    """Steps between which the error of the model's best guess falls by equal amounts.

    Arguments as of `measure`; returns (steps + 1,) times from `start` to 1, float64.
    """
    curve = measure(transport, x1, condition=condition, generator=generator, block=block)
    return curve.grid(steps, start)


@torch.no_grad()
def measure(
    transport: DataModel,
    x1: Tensor,
    *,
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
) -> ErrorCurve:
    """The error of a model's best guess over time, along pinned paths to data.

    Args:
        transport: A model whose law has a mean.
        x1: Data, (n, *event): a hundred will do. The model looks 36 times at each.
        condition: What to condition on, (n, ...).
        generator: Source of randomness on the device of the transport.
        block: How many states the model sees at once.
    """
    process = transport.process
    x1 = transport.check(x1, "x1").to(transport.device)
    _check_data(x1, condition)
    nodes = process.error_times(x1)
    square = torch.zeros(len(nodes), dtype=torch.float64)
    with transport.evaluating():
        for part in torch.arange(len(x1), device=x1.device).split(block):
            end = x1[part]
            told = None if condition is None else condition[part]
            x = x0 = transport.coupling.sources(process, end, told, generator=generator)
            start = x0 if transport.coupling.preserve else None
            for number, (s, t) in enumerate(pairwise([0.0, *nodes])):
                if t > s:
                    x = process.bridge(x, end, s, t, 1.0).sample(generator=generator)
                law = transport.law(x, t, Given(told, start=start))
                square[number] += float(((end - law.mean).double() ** 2).sum())
    errors = (square / len(x1)).sqrt().tolist()
    return ErrorCurve((*nodes, 1.0), (*errors, 0.0))


def _check_data(x1: Tensor, condition: Tensor | None) -> None:
    if not len(x1):
        raise ValueError("x1 holds no data point")
    if condition is not None and len(condition) != len(x1):
        raise ValueError(f"condition has {len(condition)} rows for {len(x1)} data points")


@torch.no_grad()
def equal_cost(
    transport: DataModel,
    x1: Tensor,
    steps: int,
    *,
    start: float = 0.0,
    condition: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = 64,
) -> Tensor:
    """Steps that cost the same path KL, estimated from a trained model.

    Args:
        transport: A model of pure death or of a linear diffusion.
        x1: Data, (n, *event): some hundred will do. The model looks 65 times at each.
        steps: How many steps.
        start: Where the grid starts.
        condition: What to condition on, (n, ...).
        generator: Source of randomness on the device of the transport.
        block: How many states the model sees at once.

    Returns:
        (steps + 1,) times from `start` to 1, float64.

    Raises:
        TypeError: If the process is of neither kind.
    """
    _check(steps, start)
    process = transport.process
    if not isinstance(process, (PureDeath, LinearDiffusion)):
        raise TypeError(
            f"the cost of a step is known for PureDeath and LinearDiffusion, not for "
            f"{type(process).__name__}: take a number of steps, or grids.like"
        )
    x1 = transport.check(x1, "x1").to(transport.device)
    _check_data(x1, condition)
    nodes = _nodes(process, start)
    cost = torch.zeros(len(nodes) - 1, dtype=torch.float64)
    rows = torch.arange(len(x1), device=x1.device)
    with transport.evaluating():
        for part in rows.split(block):
            told = None if condition is None else condition[part]
            cost += _increments(transport, process, x1[part], nodes, told, generator)
    # √(Φ' dτ · dτ) of each piece, in the clock in which the cost is an integral.
    if isinstance(process, PureDeath):
        length = process.schedule.increment(nodes[:-1], nodes[1:])
    else:
        middle = (nodes[:-1] + nodes[1:]) / 2
        gain, noise = process.piece(middle, 1.0)
        weight = process.rates(middle)[1] * (gain / noise) ** 2
        length = weight * (nodes[1:] - nodes[:-1])
    density = (cost * length).clamp_min(0).sqrt()
    # Beyond the last node as before it: the last piece of the path is one smooth end.
    density = torch.cat([density, density[-1:]])
    nodes = torch.cat([nodes, nodes.new_ones(1)])
    total, even = density.sum(), 1 / len(density)
    share = density / total if float(total) > 0 else torch.full_like(density, even)
    share = (1 - FLOOR) * share + FLOOR * even
    reached = torch.cat([share.new_zeros(1), share.cumsum(0)])
    wanted = torch.linspace(0, float(reached[-1]), steps + 1, dtype=torch.float64)
    piece = torch.searchsorted(reached, wanted, right=True).clamp(1, len(share)) - 1
    part = (wanted - reached[piece]) / share[piece]
    return _closed(nodes[piece] + part * (nodes[piece + 1] - nodes[piece]), start)


def _nodes(process: Process, start: float) -> Tensor:
    """Times of a fine grid, from `start` to mortality `LAST`."""
    q = torch.tensor([LAST], dtype=torch.float64)
    last = float(process.schedule.time(1 - q, q))
    if not start < last:
        raise ValueError(f"there is nothing to divide between {start} and {last:.4f}: start there")
    return torch.linspace(start, last, NODES + 1, dtype=torch.float64)


def _increments(
    transport: DataModel,
    process: PureDeath | LinearDiffusion,
    x1: Tensor,
    nodes: Tensor,
    condition: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Growth of Φ from node to node, summed over pinned paths to x1: (nodes - 1,)."""
    x0 = transport.coupling.sources(process, x1, condition, generator=generator)
    x = process.bridge(x0, x1, 0.0, float(nodes[0]), 1.0).sample(generator=generator)
    known, growth = None, []
    given = Given(condition, start=x0 if transport.coupling.preserve else None)
    for t, s in zip(nodes.tolist(), [*nodes.tolist()[1:], None], strict=True):
        law = transport.law(x, t, given)
        if isinstance(process, PureDeath):
            left = process.schedule.mortality(t)
            log_hazard = law.log_excess(x).double() - left.log().to(x.device)
            if known is not None:
                hazard = log_hazard.exp()
                growth.append(float((hazard * (log_hazard - known) - hazard + known.exp()).sum()))
            known = log_hazard
        else:
            end = law.mean
            if known is not None:
                change = end - known
                growth.append(0.5 * float((change * process.covariance.solve(change)).sum()))
            known = end
        if s is not None:
            x = process.bridge(x, x1, t, s, 1.0).sample(generator=generator)
    return torch.tensor(growth, dtype=torch.float64)


def _closed(times: Tensor, start: float) -> Tensor:
    """The same times with exact ends."""
    times = times.clone()
    times[0], times[-1] = start, 1.0
    if not bool((times[1:] > times[:-1]).all()):
        raise ValueError(
            "some steps of this grid have no length: take fewer, or a schedule without jumps"
        )
    return times


doors.guard(__name__)
