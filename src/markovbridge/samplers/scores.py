"""What samplers of diffusions ask of a model: its process, its drift, and a score if need be."""

from __future__ import annotations

from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance
from markovbridge.processes.reals import Diffusion
from markovbridge.samplers.base import Sampler, instead
from markovbridge.samplers.levels import Level, corrected
from markovbridge.samplers.model import DataModel, Given, Model, given_of


def diffusion_of(model: Model, sampler: Sampler) -> Diffusion:
    """The process, or an error if it is not one to be walked like this."""
    if not isinstance(model.process, Diffusion):
        raise TypeError(
            f"{type(sampler).__name__} simulates a diffusion, not "
            f"{type(model.process).__name__}: take {instead(model.process)}"
        )
    return model.process


def flowing(
    model: Model,
    sampler: Sampler,
    level: float | Covariance | Level = 0.0,
    backward: DataModel | None = None,
) -> Diffusion:
    """The process, or an error if a walk like this needs a score that there is not."""
    process = diffusion_of(model, sampler)
    needs_score = level != 1
    if needs_score and model.coupling.preserve:
        raise ValueError(
            "a transport that preserves its coupling walks from a known x_0, and no flow leads "
            "out of a point: take Midpoint(), Bridge(), StochasticAdams() or EulerMaruyama() with "
            "level 1"
        )
    held = given_of(model).held
    if needs_score and held is not None and held[1] > 0:
        raise ValueError(
            f"{sampler} has the right law at each time of a walk from the source, but not given "
            f"a state at t = {held[1]:.4g} from which it starts: restore with Midpoint(), "
            "Bridge(), StochasticAdams() or EulerMaruyama() with level 1"
        )
    if needs_score and backward is not None and backward.coupling.preserve:
        raise ValueError(
            "the backward model preserves its coupling and would have to be told x_1, which is "
            "not known on the way: train it with preserve=False"
        )
    return process


def check_backward(backward: DataModel | None) -> None:
    """An error of what is given in place of a model."""
    if backward is not None and not callable(getattr(backward, "law", None)):
        raise TypeError(
            "backward must be a model that carries the data to the source, a Transport over "
            f"process.reversed(), not {backward!r}"
        )


def drift_of(
    model: Model,
    backward: DataModel | None,
    x: Tensor,
    t: float,
    level: float | Covariance,
) -> tuple[Tensor, Tensor]:
    """Drift at a level of noise, and E[x_1 | x_t = x]."""
    process = model.process
    assert isinstance(process, Diffusion)
    end = model.law(x, t).mean.to(x.dtype)
    drift = process.drift(x, end, t)
    if level == 1 or process.noiseless:  # of a flow all levels are one
        return drift, end
    if backward is None:
        score = model.coupling.kernel(process, t).smoothed_score(x, end)
    else:
        given = Given(condition=given_of(model).condition)
        start = backward.law(x, 1 - t, given).mean.to(x.dtype)
        score = process.smoothed_score(x, start, end, t)
    return drift - corrected(process, level, score, t), end


doors.guard(__name__, inside=("check_backward", "diffusion_of", "drift_of", "flowing"))
