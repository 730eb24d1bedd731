r"""The probability flow with its linear part exact, mode by mode.

Given the end, and the start or a Gaussian law of it, x_t is affine in what is known of both,

    x_t = Σ_i w_i(t) h_i + d(t) z,

where z is noise of covariance Γ: h are x_1, the mean of x_0, and the offset of the drift. The flow
moves x_t by the guesses E[h_i | x_t] in place of h_i and carries z along, so that

    x_s / d(s)  =  x_t / d(t) + Σ_i ∫_t^s h_i(u) d(w_i/d)(u),

whatever the clock and the noise of each mode. If the guesses stay what they were at t this is
exact, and lands on that of x_1 at the data. If they are straight lines in u there is beside
h_i(t) [w_i/d] the slope of each times

    d(s) ∫_t^s (u - t) d(w_i/d)(u)  =  (s - t) w_i(s) - d(s) ∫_t^s w_i/d du,

which at the data, where d(1) = 0, is (1 - t) w_i(1). With slopes from the step before these are
the exponential Adams–Bashforth steps of Zhang & Chen (DEIS, https://arxiv.org/abs/2204.13902,
tAB1), of second order at one evaluation each, stated for ends in place of noise.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.laws.numbers import rule
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time
from markovbridge.samplers.model import Model

NODES = 16  # of the quadrature of a step
Guesses = tuple[Tensor, Tensor]  # E[x_1 | x_t], and the mean of x_0 or E[x_0 | x_t]


def path_of(model: Model, t: Time, both: bool) -> GivenEnd:
    """The weights of x_t, `both` given both its ends; of a flow z is x_0 itself, and Γ is 1.

    Raises:
        TypeError: If the process does not state them.
        ValueError: If the coupling does not.
    """
    process = model.process
    if not isinstance(process, LinearDiffusion):
        raise TypeError(
            f"the linear part of a {type(process).__name__} is not stated: take "
            'ProbabilityFlow("heun")'
        )
    if not (both or process.noiseless):
        return model.coupling.kernel(process, t)
    start, gain, variance = process.weights(0.0, t, 1.0)
    none = torch.zeros_like(start)
    if process.noiseless:
        start, variance = none, start**2
    path = GivenEnd(none.new_zeros(()), start, gain, variance, none, none, basis=process.basis)
    if not process.affine:
        return path
    return replace(path, shift=process.bridge_shift(0.0, t, 1.0), offset=process.offset)


def moved(
    model: Model,
    x: Tensor,
    t: float,
    s: float,
    guesses: Guesses,
    slopes: Guesses | None,
    both: bool,
) -> Tensor:
    """The flow from x_t = x to s: (batch, *event).

    Args:
        model: The model, whose guesses they are.
        x: States.
        t: Where they are.
        s: Where they go.
        guesses: At t.
        slopes: Of the guesses in t; None if they are not known.
        both: Whether the guess of x_0 is given x_t, and no mean of the source.
    """
    now, then = path_of(model, t, both), path_of(model, s, both)
    now.check_spread()
    keep = (then.variance / now.variance).sqrt()
    weights = ((now.gain, then.gain), (now.start, then.start))
    terms = [(keep, x)]
    terms += [(after - keep * w, h) for (w, after), h in zip(weights, guesses, strict=True)]
    if slopes is not None:
        terms += zip(bends(model, t, s, then, both), slopes, strict=True)
    found = now.basis.combine(*terms, like=x)
    if now.shift is None or then.shift is None:
        return found
    return replace(then, shift=then.shift - keep * now.shift).shifted(found)


def bends(model: Model, t: float, s: float, then: GivenEnd, both: bool) -> Guesses:
    """The weights of the slopes: d(s) ∫ (u - t) d(w/d)(u), of the gain and of the start."""
    found = tuple((s - t) * w for w in (then.gain, then.start))
    if s < 1:
        # Near the data w/d is a power of 1 - u, and given both ends one of u near the source:
        # smooth in log (1 - u), and in the log odds.
        nodes, shares = rule(NODES)
        length = math.log((1 - t) / (1 - s)) + (math.log(s / t) if both else 0.0)
        if both:
            u = torch.sigmoid(math.log(t / (1 - t)) + length * nodes)
            width = length * shares * u * (1 - u)
        else:
            u = 1 - (1 - t) * torch.exp(-length * nodes)
            width = length * shares * (1 - u)
        path, spread = path_of(model, u, both), then.variance.sqrt()
        at = width.to(spread.device)
        found = tuple(
            w - spread * (at @ (inside / path.variance.sqrt())).reshape(spread.shape)
            for w, inside in zip(found, (path.gain, path.start), strict=True)
        )
    return found[0], found[1]


doors.guard(__name__, inside=("bends", "moved", "path_of"))
