r"""Expected counts, stated by one evaluation of the model: no draws, and no chance.

The mean of D draws differs from the mean of their law by chance, of variance σ²/D at each site.
Where all that is known is a state and what is known of the end, the model states that mean itself:
of thinned counts at their time (`expected`), of known sites at the start of the path, where
nothing else has been seen (`expected_ends`). There the network has learned least, so that is no
better than draws but where it corrects a law that knows what sites say of each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.samplers.known_sites import Observed, broadcast
from markovbridge.samplers.model import Given
from markovbridge.samplers.walks import BoundModel, check_rows
from markovbridge.transport.draws import Sampling


def expected(
    transport: Sampling,
    x: Tensor,
    t: float,
    *,
    condition: Tensor | None = None,
    guidance: float = 1.0,
    block: int = 64,
) -> Tensor:
    """E[x_1 | x_t = x] as the model states it, which takes one evaluation and no draws.

    Args:
        transport: The model.
        x: What was observed, (n, *event).
        t: The time it stands for.
        condition: What to condition on, (n, C).
        guidance: How strongly the condition acts.
        block: How many rows the network sees at once.

    Returns:
        (n, *event), on the device of the transport.
    """
    x = transport.check(x)

    def given(told: Tensor | None, rows: Tensor) -> tuple[Tensor, Given]:
        return x[rows].to(transport.device), Given(told, guidance)

    return _means(transport, len(x), t, given, condition, block)


def states_ends(transport: Sampling) -> bool:
    """Whether `expected_ends` is what the model states, and to be taken before draws.

    So it is if it was told known sites in training, all paths start at one point, which says
    nothing of where they end, and the base law is one that uses known sites, as `CountMixture`
    does. Else there are the draws of `Transport.impute`: on its own the network makes less of all
    known sites at once than on a path, step by step.
    """
    point = transport.coupling.pinned and not transport.coupling.preserve
    if transport.masking is None or not (transport.process.dies_out and point):
        return False
    return bool(getattr(transport.base, "uses_known", False))


def expected_ends(
    transport: Sampling,
    x: Tensor,
    observed: Tensor,
    *,
    condition: Tensor | None = None,
    block: int = 64,
) -> Tensor:
    """E[x_1 | its known sites] as the model states it, which takes one evaluation and no draws.

    There is no guidance: it acts along the path, so that what guided draws end at is not what the
    model states of their start.

    Args:
        transport: The model.
        x: Rows of which something is known, (n, *event).
        observed: What, broadcastable to x, bool.
        condition: What to condition on, (n, C).
        block: How many rows the network sees at once.

    Returns:
        (n, *event) float64, on the device of the transport; known sites as they are.

    Raises:
        ValueError: If the model does not state it: see `states_ends`.
    """
    if not states_ends(transport):
        raise ValueError(
            "only a model trained with masking, that corrects a law which uses known sites, such "
            "as CountMixture, on paths from a point, states what is expected given known sites: "
            "take the mean of draws of transport.impute"
        )
    mask = broadcast(observed, x)
    known = transport.check(torch.where(mask, x, torch.zeros_like(x)))

    def given(told: Tensor | None, rows: Tensor) -> tuple[Tensor, Given]:
        ends = Observed(known[rows].to(transport.device), mask[rows].to(transport.device))
        start = transport.coupling.start(transport.process, ends.values)
        return start, Given(told, observed=ends)

    found = _means(transport, len(x), 0.0, given, condition, block).double()
    # As they are: float32 has no counts above 2^24.
    return torch.where(mask.to(found.device), x.to(found), found)


@torch.no_grad()
def _means(
    transport: Sampling,
    n: int,
    t: float,
    given: Callable[[Tensor | None, Tensor], tuple[Tensor, Given]],
    condition: Tensor | None,
    block: int,
) -> Tensor:
    """What the model says at time t of n states, block by block."""
    check_rows(condition, n)
    checks.whole(block, "block", least=1)
    found = []
    with transport.evaluating():
        for rows in torch.arange(n).split(block):
            told = None if condition is None else condition[rows].to(transport.device)
            state, known = given(told, rows)
            found.append(BoundModel(transport, known, transport.seen).law(state, t).mean)
    return torch.cat(found)


doors.guard(__name__)
