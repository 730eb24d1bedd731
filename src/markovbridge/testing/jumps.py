r"""Checks of jump processes: rates, and what is made of them.

bridge(x, y, t, t+h, 1)[z] / h  →  rates(x, y, t) of the move to z
expected_rates(law, x, t)       =  Σ_y law(y) rates(x, y, t)
divergence(law, x, y, t)        =  Σ μ - λ + λ log(λ/μ),  λ pinned at y, μ expected
"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws import Categorical
from markovbridge.processes.clock import speed
from markovbridge.processes.jumps import JumpProcess, jump_divergence
from markovbridge.testing.integers import POSSIBLE, Space, when
from markovbridge.testing.laws import gap
from markovbridge.testing.report import Ledger, largest, seeded

SHORT = 1e-3  # a step over which a bridge is nearly its rates, as a share of the time left
SHARP = 2e-3  # relative error of rates


def check_jumps(
    ledger: Ledger, space: Space, times: tuple[float, ...], tolerance: float, seed: int
) -> None:
    """Rates against short bridges, and what is made of rates."""
    process = space.process
    if not isinstance(process, JumpProcess):
        for what in ("rates", "expected rates", "path KL", "bounds of rates"):
            ledger.skip(what, "the process states no rates")
        return
    for t in times:
        x, y = _pairs(space, t)
        rates = process.rates(x.unsqueeze(0), y.unsqueeze(0), when(t))[0].double()
        moves = process.moves(x.unsqueeze(0))[0]
        ledger.demand(
            "rates",
            rates.shape == moves.shape,
            f"`rates` are {tuple(rates.shape)} for `moves` {tuple(moves.shape)}",
        )
        _rates(ledger, space, x, y, t, rates, moves)
        _bounds(ledger, process, x, moves, rates, t)
        if process.states is None:
            for what in ("expected rates", "path KL"):
                ledger.skip(what, "the data are unbounded")
        else:
            _averages(ledger, space, t, tolerance, seed)


def _pairs(space: Space, t: float) -> tuple[Tensor, Tensor]:
    """States at t and values of the data that they may come from."""
    process = space.process
    if process.direction == "noising":
        y, x = (space.transition(space.values, 1.0, t) > POSSIBLE).nonzero(as_tuple=True)
        return space.states[x], space.values[y]
    x, y = (space.transition(space.states, t, 1.0) > POSSIBLE).nonzero(as_tuple=True)
    return space.states[x], space.states[y]


def _rates(
    ledger: Ledger, space: Space, x: Tensor, y: Tensor, t: float, rates: Tensor, moves: Tensor
) -> None:
    """The rate of each move as the limit of bridges over short times."""
    h = SHORT * (1 - t)
    long, half, short = (space.bridge(x, y, t, t + d, 1.0) / d for d in (h, h / 2, h / 4))
    limit = (8 * short - 6 * half + long) / 3  # up to the cube of h
    at = torch.searchsorted(space.states, moves.contiguous()).clamp_max(len(space.states) - 1)
    inside = space.states[at] == moves
    away = moves != x.unsqueeze(1)
    stated = torch.zeros_like(limit)
    stated.scatter_add_(1, at, torch.where(inside & away, rates, 0.0))
    elsewhere = space.states.unsqueeze(0) != x.unsqueeze(1)
    size = max(float(stated.max()), 1e-12)
    ledger.judge(
        "rates",
        largest(torch.where(elsewhere, limit - stated, 0.0)) / size,
        SHARP,
        f"`rates` at {t:g} are not the limit of the bridge to x_1 over short times",
    )
    ledger.judge(
        "rates",
        largest(torch.where(inside, 0.0, rates)) / size,
        SHARP,
        f"`rates` at {t:g} lead to states that the process does not have",
    )


def _bounds(
    ledger: Ledger, process: JumpProcess, x: Tensor, moves: Tensor, rates: Tensor, t: float
) -> None:
    """Bounds are at least as large as the rates that they bound."""
    clock = -float(process.schedule.survival(t).log())
    what = "bounds of rates"
    bounds = ledger.ask(
        what,
        lambda: process.bounds(clock * 1.1, clock * 0.9),
        TypeError,
        NotImplementedError,
        ValueError,
    )
    if bounds is None:
        return
    most = bounds.of(x.unsqueeze(0))[0].double()
    total = rates.sum(1) / float(speed(process.schedule, when(t)))
    over = (total / most.clamp_min(1e-300) - 1).clamp_min(0)
    over = torch.where(total > 1e-9, over, 0.0)
    ledger.judge(what, largest(over), 1e-6, f"`bounds` around {t:g} are below a rate")


def _averages(ledger: Ledger, space: Space, t: float, tolerance: float, seed: int) -> None:
    """Rates averaged over x_1, and the path KL that they make."""
    process = space.process
    assert isinstance(process, JumpProcess) and process.states is not None
    ends = torch.arange(process.states)
    noising = process.direction == "noising"
    likely = (
        space.transition(ends, 1.0, t).mT if noising else space.transition(space.states, t, 1.0)
    )
    seen = (likely > POSSIBLE).any(1)
    x, possible = space.states[seen].unsqueeze(0), likely[seen] > POSSIBLE
    log = torch.randn(possible.shape, dtype=torch.float64, generator=seeded(seed))
    law = Categorical(torch.where(possible, log, -torch.inf).unsqueeze(0))
    weights = law.log_probs[0].exp()
    each = torch.stack(
        [
            process.rates(x, torch.where(possible[:, v], v, x[0]).unsqueeze(0), when(t))[
                0
            ].double()
            for v in range(process.states)
        ],
        1,
    )  # (S, states, jumps)
    each = torch.where(possible.unsqueeze(-1), each, 0.0)  # (S, states, jumps)
    wanted = (weights.unsqueeze(-1) * each).sum(1)
    found = process.expected_rates(law, x, when(t))[0].double()
    ledger.judge(
        "expected rates",
        gap(found, wanted),
        10 * tolerance,
        f"`expected_rates` at {t:g} are not the average of `rates`",
    )
    n = len(x[0])
    y = possible.double().argmax(1)
    rows = x.reshape(n, 1), y.reshape(n, 1), torch.full((n,), t, dtype=torch.float64)
    model = Categorical(law.logits.reshape(n, 1, -1))
    path = process.divergence(model, *rows).double()
    picked = each[torch.arange(n), y]
    ledger.judge(
        "path KL",
        gap(path, jump_divergence(picked, wanted).sum(1)),
        1e-3,
        f"`divergence` at {t:g} is not the path KL of jumps at `rates` from those expected",
    )


doors.guard(__name__)
