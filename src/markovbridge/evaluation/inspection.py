r"""What a model, or a data set under a process, does between source and data.

Under a diffusion the generative drift is that of the reference and an adjustment,

    f_t x + g_t² (a_{t1}/v_{t1}) (E[x_1 | x_t = x] - a_{t1} x),

and for a data set y_1 .. y_N the posterior mean is Σ w_n y_n, with weights w_n that are a
softmax over how well each point explains x_t (Peluchetti,
https://arxiv.org/abs/2312.14589). Time reversal and bridge mixture differ in these weights
only. Along the way three things are told:

- the size of the adjustment, √(E|adjustment|²/d); for jump processes, the mean rate of
  jumps of a site;
- the effective number of data points in the posterior, 1/Σ w_n²: all of them early on, one
  in the end;
- the posterior mean along a path.

A learned law is looked at in the same way, on states of its own coupling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.laws import Atoms, Law
from markovbridge.processes import Process
from markovbridge.samplers import Bridge
from markovbridge.samplers.model import Stated
from markovbridge.transport import Transport

STEPS = 100  # of a path
FRAMES = 9  # at which it is kept


@dataclass(frozen=True, eq=False)
class View:
    """What one law does between source and data.

    Attributes:
        name: Which law it is.
        times: Times in (0, 1), (T,).
        size: RMS size of the drift adjustment per site, or mean rate of jumps per site,
            per unit of time: (T,).
        effective: Median, lower and upper quartile of the effective number of data points
            in the posterior, (T, 3); None for a learned law.
        frames: Times of the paths below, (F,).
        states: Some paths, (F, paths, *event), in the coordinates of the process.
        means: E[x_1 | x_t] along them, (F, paths, *event).
    """

    name: str
    times: Tensor
    size: Tensor
    effective: Tensor | None
    frames: Tensor
    states: Tensor
    means: Tensor

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON takes them; paths are left out."""
        effective = None if self.effective is None else self.effective.tolist()
        return {
            "name": self.name,
            "times": self.times.tolist(),
            "size": self.size.tolist(),
            "effective number (median, quartiles)": effective,
        }


@torch.no_grad()
def look(
    name: str,
    process: Process,
    law: Callable[..., Law],
    coupling: Coupling,
    x1: Tensor,
    *,
    times: int = 40,
    paths: int = 3,
    seed: int = 0,
    callback: Callable[[], None] | None = None,
) -> View:
    """Look at a law along its way.

    Args:
        name: What to call it.
        process: The reference.
        law: Law of x_1, called as (x, t, condition).
        coupling: The coupling whose states are looked at.
        x1: Data points that paths lead to, (n, *event), in the coordinates of the process.
        times: How many times to look, 1 or more.
        paths: How many paths to follow, 1 or more.
        seed: Of states and paths.
        callback: Called after each look, times + 1 in all.

    Raises:
        TypeError: If the process neither diffuses nor jumps.
        ValueError: If there is nothing to look at.
    """
    checks.turns(times, "times")
    checks.turns(paths, "paths")
    model = Transport(process, law, shape=x1.shape[1:], coupling=coupling)
    # The ends of time are left out: there the law is the data's, or rates are infinite.
    grid = (torch.arange(times, dtype=torch.float64) + 0.5) / times
    sizes, numbers = [], []
    for index, t in enumerate(grid.tolist()):
        noise = generator(x1.device, "inspect", seed, index)
        x0 = coupling.pair(process, x1, generator=noise)
        x = process.bridge(x0, x1, 0.0, t, 1.0).sample(generator=noise)
        found = model.law(x, t)
        sizes.append(process.pull(found, x, t))
        if isinstance(found, Atoms):
            each = 1 / found.log_weights.double().exp().square().sum(1)
            numbers.append(each.quantile(torch.tensor([0.5, 0.25, 0.75]).to(each)))
        if callback is not None:
            callback()
    frames, states, means = _paths(model, x1[:1].expand(paths, *x1.shape[1:]), seed)
    if callback is not None:
        callback()
    effective = torch.stack(numbers) if numbers else None
    return View(name, grid, torch.stack(sizes), effective, frames, states, means)


def _paths(model: Transport, like: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Simulate some paths: times kept, states and posterior means."""
    noise = generator(like.device, "inspect paths", seed)
    x = model.coupling.start(model.process, torch.zeros_like(like), generator=noise)
    grid = model.process.schedule.grid(STEPS).tolist()
    kept = torch.linspace(0, STEPS, FRAMES).round().long().tolist()
    sampler, states, means = Bridge(), [], []
    for step, t in enumerate(grid):
        if step in kept:
            states.append(x)
            means.append(model.law(x, t).mean if t < 1 else x)
        if t < 1:
            x = sampler.step(Stated(model), x, t, grid[step + 1], generator=noise)
    dtype = torch.get_default_dtype()
    return (
        torch.tensor([grid[k] for k in kept], dtype=torch.float64),
        torch.stack(states),
        torch.stack([mean.to(dtype) for mean in means]),
    )


doors.guard(__name__)
