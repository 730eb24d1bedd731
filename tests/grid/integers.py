"""Draw a pair of processes on integers, and judge it against enumeration."""

import numpy as np
import torch

import markovbridge as mb
from grid.heads import OWN_LIMIT
from grid.settings import (
    ALLOWED,
    FAR,
    FEW,
    GUIDANCE,
    INNER,
    SAMPLERS,
    SIZE,
    SLOW,
    STEPWISE,
    N,
    assert_close,
    made,
    seed,
)
from grid.worlds import CHAIN_STEPS, VALUES, Perfect, World, chain_limit, corrected, limit
from markovbridge import processes, samplers

LIMITS = {}  # of many steps, which are those of every sampler


def judge(sampler_class, process, low, states, kind, make_law, mode):
    """Raise AssertionError if the law drawn is wrong.

    Raises:
        ValueError: If the library refuses the pair, from the library; TypeError likewise.
    """
    world = World(process, low, states, sites=3 if mode == "told" else 2)
    head = make_law(world)
    network = Perfect(world, head)
    masking = mb.Masking() if mode == "told" else None
    model = mb.Transport(process, network, shape=(world.sites,), masking=masking)
    jumps, joint = isinstance(process, processes.JumpProcess), kind == "joint"
    inner = mode in ("inner", "guided", "corrected inner")
    sampler, steps = made(sampler_class, joint, mode)
    _, many, few = SAMPLERS[sampler_class]
    if not jumps and steps > few:
        steps = CHAIN_STEPS // (2 if inner else 1)
    slow = isinstance(process, processes.IntegerProcess)
    n = (FEW // 2 if slow else FEW) if sampler_class in STEPWISE else SLOW if slow else N
    generator = seed(sampler_class.__name__, process, kind, mode)
    options = {"steps": steps, "sampler": sampler, "generator": generator, "block": n}
    label = 1 if mode in ("guided", "conditioned") else None
    if label is not None:
        options["condition"] = torch.full((n, 1), float(label))
    seen = [1] * world.sites
    if mode == "guided":
        options["guidance"] = GUIDANCE
    if inner:
        x = model.restore(torch.tensor([seen]).expand(n, -1), INNER, **options)
        wanted = world.posterior(seen, INNER, label)
    elif mode == "told":
        known = torch.tensor([[False, True, False]])
        x = model.impute(torch.full((n, 3), 2), known, **options)
        wanted = world.generated(known={1: 2})
    else:
        x = model.sample(n, **options)
        wanted = world.generated(label)
        if mode == "corrected" and np.abs(wanted - world.table()).sum() > FAR:
            wanted = corrected(world, sampler.plan(model, steps)[1], SIZE)
    exact = joint and steps == few and mode != "guided"
    leaps = (mb.TauLeaping, mb.Trapezoidal, samplers.Adaptive, mb.HandOver)
    only_limit = sampler_class in leaps
    allowed = 0.0 if sampler_class in STEPWISE or (exact and not only_limit) else ALLOWED
    allowed *= 2 if slow else 1
    low, top = 0, VALUES
    if mode == "guided" or (type(process), kind) in OWN_LIMIT:
        wanted = _limit(model, world, seen if inner else [0] * world.sites, kind, mode, steps)
        low, top = world.low, world.low + world.states
        allowed = allowed if jumps else 0.0
    inside = ((x >= low) & (x < top)).all(1)
    cells = np.zeros([top - low] * world.sites)
    np.add.at(cells, tuple((x[inside] - low).numpy().T), 1)
    assert_close(np.r_[cells.flatten(), n - inside.sum()], np.asarray(wanted).flatten(), allowed)


def _limit(model, world, start, kind, mode, steps):
    """The law at the data of ever shorter steps, or of the steps there are in discrete time."""
    guided = mode == "guided"

    def law(every, t):
        label = torch.ones(len(every), 1) if mode in ("guided", "conditioned") else None
        return model.law(every, t, mb.Given(label, GUIDANCE if guided else 1.0))

    key = (str(world.process), kind, guided, tuple(start))
    t = INNER if mode in ("inner", "guided", "corrected inner") else 0.0
    if not isinstance(world.process, processes.JumpProcess):
        return chain_limit(world, law, start, t, steps)
    if key not in LIMITS:
        LIMITS[key] = limit(world, law, start, t)
    return LIMITS[key]
