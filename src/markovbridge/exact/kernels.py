r"""The exact output law of a sampler on a small state space, without Monte Carlo.

Given the law of x_1 at every state, a step of the bridge sampler is a known
kernel: each site moves on its own, so the law after a step is
Σ_x P(x) Π_i k_i(x'_i | x). Chaining the steps of a grid gives the law of the
samples, and its distance from the data law is the error of the sampler with a
perfect network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from markovbridge.laws import SiteLaw
from markovbridge.processes.base import Process
from markovbridge.samplers import Model

__all__ = ["bridge_kernel", "output_law"]


def bridge_kernel(
    process: Process, law: SiteLaw, x: Tensor, t: float, s: float, ends: int
) -> Tensor:
    """Probabilities of x_s at each site after one step of the bridge sampler.

    Args:
        process: The process, on the states 0, 1, 2, ..., the same at every site.
        law: Law of x_1 per site, given x_t = x.
        x: States at t, (batch, *event).
        t: Time now.
        s: Time after the step.
        ends: Values 0 .. ends-1 of x_1 carry the law (beyond, its mass is left out).

    Returns:
        (batch, *event, ends): probabilities of x_s, after projection to the state space.
    """
    values = torch.arange(ends)
    weights = torch.stack([law.site_log_prob(torch.full_like(x, v)) for v in range(ends)], -1)
    weights = weights.double().exp().reshape(-1, ends)
    starts, which = x.reshape(-1).unique(return_inverse=True)
    # A bridge exists towards possible ends only.
    possible = torch.zeros(len(starts), ends).index_add_(0, which, (weights > 0).float()) > 0
    start, end = possible.nonzero(as_tuple=True)
    first = starts[start].unsqueeze(1).expand(-1, ends)
    last = values[end].unsqueeze(1).expand(-1, ends)
    bridge = process.bridge(first, last, t, s, 1.0)
    assert isinstance(bridge, SiteLaw)
    move = bridge.site_log_prob(values.expand_as(first)).double().exp()
    moved = torch.zeros_like(weights)
    for index in range(len(starts)):
        here = which == index
        moved[here] = weights[here][:, possible[index]] @ move[start == index]
    kernel = torch.zeros_like(moved).index_add_(1, process.project(values), moved)
    return kernel.reshape(*x.shape, ends)


def output_law(
    model: Model,
    grid: Sequence[float],
    *,
    states: int,
    sites: int,
    ends: int | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """The law of the bridge sampler's samples: a table (states,) * sites.

    Args:
        model: A process on 0 .. states-1 and a law per site of x_1.
        grid: Times from where sampling starts to the data.
        states: Number of states per site.
        sites: Number of sites; the table has states^sites entries.
        ends: How many values of x_1 to sum over, `states` if None: more for a law with mass
            above the maximum.
        start: Law of the state at the first time, a table like the result; all at zero, the
            black state, if None.
    """
    ends = states if ends is None else ends
    axes = torch.meshgrid(*[torch.arange(states)] * sites, indexing="ij")
    every = torch.stack([axis.reshape(-1) for axis in axes], -1)
    if start is None:
        mass = torch.zeros(states**sites, dtype=torch.float64)
        mass[0] = 1.0
    else:
        mass = start.reshape(-1).double()
    for t, s in zip(grid, grid[1:], strict=False):
        alive = mass > 0
        x = every[alive]
        law = model.law(x, t)
        assert isinstance(law, SiteLaw), "the output law needs a law per site"
        kernel = bridge_kernel(model.process, law, x, t, s, ends)[..., :states]
        letters = "abcdefgh"[:sites]
        spec = "z," + ",".join(f"z{c}" for c in letters) + "->" + letters
        mass = torch.einsum(spec, mass[alive], *kernel.unbind(1)).reshape(-1)
    lost = 1 - float(mass.sum())
    assert math.isclose(lost, 0, abs_tol=1e-6), f"mass {lost} lies above the {ends} ends summed"
    return mass.reshape((states,) * sites)
