r"""The probability flow with its linear part exact, mode by mode.

Given the end and a Gaussian law of the start, x_t is affine in what is known of both,

    x_t = w(t) m + κ(t) x_1 + d(t) z,

m being the mean of x_0 and z noise of covariance Γ. The flow moves x_t by the guess E[x_1 | x_t]
in place of x_1, and carries z along, so that

    x_s / d(s)  =  x_t / d(t) + [w/d]_t^s m + ∫_t^s E[x_1 | x_u] d(κ/d)(u),

whatever the clock and the noise of each mode. If the guess stays what it was at t this is exact,
and comes to it at the data. If it is a straight line in u there is beside E[x_1 | x_t] [κ/d]_t^s
its slope times

    d(s) ∫_t^s (u - t) d(κ/d)(u)  =  (s - t) κ(s) - d(s) ∫_t^s κ/d du,

which at the data, where d(1) = 0 and κ(1) = 1, is 1 - t. With the slope of the step before these
are the exponential Adams–Bashforth steps of Zhang & Chen (DEIS, https://arxiv.org/abs/2204.13902,
tAB1), of second order at one evaluation each, stated for the end in place of the noise. Where a
step is longer than the one before its slope counts less, in proportion, so that no guess goes on
for longer than it was seen to.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings.base import linear
from markovbridge.laws.numbers import rule
from markovbridge.processes.linear import GivenEnd
from markovbridge.processes.schedules import Time
from markovbridge.samplers.model import Model

NODES = 16  # of the quadrature of a step


def path_of(model: Model, t: Time) -> GivenEnd:
    """The weights of x_t given x_1; of a flow z is x_0 itself, whatever its law, and m is 0.

    Raises:
        ValueError: If the process or the coupling does not state them.
    """
    process = linear(model.process)
    if not process.noiseless:
        return model.coupling.kernel(process, t)
    start, gain, variance = process.weights(0.0, t, 1.0)
    none = torch.zeros_like(start)
    path = GivenEnd(none.new_zeros(()), none, gain, start**2, none, none, basis=process.basis)
    if not process.affine:
        return path
    return replace(path, shift=process.bridge_shift(0.0, t, 1.0), offset=process.offset)


def flowed(
    model: Model,
    now: GivenEnd,
    x: Tensor,
    t: float,
    s: float,
    end: Tensor,
    slope: Tensor | None,
) -> Tensor:
    """The flow from x_t = x to s: (batch, *event).

    Args:
        model: Whose process and coupling they are.
        now: The weights at t, where x_t is not certain.
        x: States.
        t: Where they are.
        s: Where they go.
        end: E[x_1 | x_t].
        slope: How it changes with time; None if that is not known.
    """
    then = path_of(model, s)
    keep = (then.variance / now.variance).sqrt()
    terms = [(keep, x), (then.gain - keep * now.gain, end)]
    terms.append((then.start - keep * now.start, now.mean.to(x)))
    if slope is not None:
        terms.append((bend(model, t, s, then), slope))
    found = now.basis.combine(*terms, like=x)
    if now.shift is None or then.shift is None:
        return found
    return replace(then, shift=then.shift - keep * now.shift).shifted(found)


def bend(model: Model, t: float, s: float, then: GivenEnd) -> Tensor:
    """The weight of the slope, d(s) ∫ (u - t) d(κ/d)(u)."""
    straight = (s - t) * then.gain
    if s == 1:
        return straight
    # In log (1 - u), in which κ/d, a power of 1 - u near the data, is smooth.
    nodes, shares = rule(NODES)
    length = math.log((1 - t) / (1 - s))
    left = (1 - t) * torch.exp(-length * nodes)
    path, spread = path_of(model, 1 - left), then.variance.sqrt()
    width = (length * shares * left).to(spread.device)
    return straight - spread * (width @ (path.gain / path.variance.sqrt())).reshape(spread.shape)


doors.guard(__name__, inside=("bend", "flowed", "path_of"))
