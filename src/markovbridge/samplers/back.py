"""Going back: how a state is noised again on the way to the data.

If x_s has the marginal f_s, the reference carries it back to r < s with the marginal f_r, and the
generative process forward again with f_s: going back and forth leaves the *marginal* alone. It
forgets all else. A state that was reached from a known one, x_t0, has the law given x_t0, and
that is left alone only if the way back is the reference's given both,

    x_r | x_t0, x_s      the bridge,

which goes back no further than to where the walk began. All who go back ask here: correctors,
and the rounds of imputation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.samplers.model import Model, given_of


def check_back(model: Model) -> None:
    """Check that there is a way to noise a state again.

    Raises:
        TypeError: If the process runs from source to data, and no start is held.
        ValueError: If the coupling gives no way back.
    """
    process, held = model.process, given_of(model).held
    coupling = getattr(model, "coupling", None)
    pinned = coupling is None or coupling.pinned
    if process.direction != "noising" and (held is None or not pinned):
        raise TypeError(
            f"{type(process).__name__} is stated from source to data, so there is no way to "
            "noise a state again: correctors and rounds of imputation need a process stated from "
            "data to source. Take the sampler without correctors, and rounds=1 or a network "
            "trained with known sites"
        )
    if coupling is not None and not pinned:
        raise ValueError(
            f"under {type(coupling).__name__} without preserve=True states on the way are not the "
            "data noised by the reference, so there is no way to noise a state again: take the "
            "sampler without correctors and rounds=1, or the coupling Noised()"
        )


def back(model: Model, x: Tensor, s: float, r: float, generator: torch.Generator | None) -> Tensor:
    """Draw x_r for r <= s from x_s = x, so that going forward again leaves its law alone.

    Args:
        model: The model that is walked. If its `given` holds a state and its time, the walk
            began there and must not forget it; r is then no earlier.
        x: State at s.
        s: Time now.
        r: Time to go back to.
        generator: Source of randomness.
    """
    check_back(model)
    process, held = model.process, given_of(model).held
    if held is None:
        return process.transition(x, s, r).sample(generator=generator)
    start, time = held
    return process.bridge(start, x, time, max(r, time), s).sample(generator=generator)


doors.guard(__name__)
