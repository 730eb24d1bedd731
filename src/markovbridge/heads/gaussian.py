r"""The head of diffusions: every way to predict E[x_1 | x_t], one law.

What a diffusion needs is the conditional mean of the data. Networks are asked for it in
different terms, all of which are affine in that mean at given (x_t, t), so that
converting between them loses nothing:

=========== ======================================== ================================
predicts    the network's output is                   needs a coupling with a Gaussian
                                                      law of x_t given x_1
=========== ======================================== ================================
"end"       (E[x_1 | x_t] - mean)/std of the data     no
"drift"     the drift of the generative process,      no
            per unit of clock
"residual"  E[x_1 | x_t] less its best linear guess   no
"noise"     Γ^{1/2} z in x_t = centre + √variance     yes
            Γ^{1/2} z, on average
"score"     ∇ log of the density of x_t               yes
"start"     E[x_0 | x_t]                              a Gaussian source
=========== ======================================== ================================

"drift" is per unit of the clock of the schedule, because per unit of time there is none
where the clock stands still, as `CosineSchedule` does at both ends; with `LinearSchedule` the
two are one.
"residual" is the preconditioning of EDM (https://arxiv.org/abs/2206.00364) for any
coupling: the guess is the regression of x_1 on x_t site by site, and the output is in
units of what that leaves open, so it has unit variance at every time. "noise", "score"
and "start" say less and less of x_1 as t → 0, where x_t does not depend on it: an error
of the network is amplified by 1/gain there. They suit time reversal, where the gain
is never 0.

The law around the mean is N(mean, spread · v_{t1}/a_{t1}² Γ): with spread 1, about what
x_t leaves open of smooth data near t = 1. So the `Bridge` sampler takes, with 0, the
plug-in step, exact for isolated data points, and with 1, for Brownian motion, the noise
of the reference itself; for VP these are the two variances of DDPM, β̃ and β
(https://arxiv.org/abs/2006.11239).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.heads.base import Head
from markovbridge.laws import Delta, Law
from markovbridge.processes.base import Process, Setting
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.reals import Diffusion
from markovbridge.samplers.base import Sampler
from markovbridge.samplers.bridge import Bridge
from markovbridge.samplers.diffusions import Midpoint

PREDICTS = ("end", "residual", "drift", "noise", "score", "start")


@dataclass(frozen=True)
class EndpointHead(Head):
    """The conditional mean of the data, under a linear diffusion.

    Attributes:
        predicts: What the network's output stands for, see above.
        spread: Variance of the law around the mean, in units of v_{t1}/a_{t1}² Γ.
    """

    predicts: Literal["end", "residual", "drift", "noise", "score", "start"] = "end"
    spread: float = 0.0

    def __post_init__(self) -> None:
        if self.predicts not in PREDICTS:
            raise ValueError(f"predicts must be one of {PREDICTS}, not {self.predicts!r}")
        if not 0 <= self.spread <= 1:
            raise ValueError(f"spread must lie in [0, 1], not {self.spread}")

    @property
    def corrects(self) -> bool:
        """If it predicts the end, or the residual."""
        return self.predicts in ("end", "residual")

    def outputs(self, process: Process) -> int:
        """One."""
        return 1

    def check(self, process: Process, coupling: Coupling) -> None:
        """Check that what is predicted says something of the data.

        Raises:
            TypeError: If the process is no diffusion, or none whose numbers are known where what
                is predicted needs them.
            ValueError: If it says nothing of the data under this coupling.
        """
        if self.predicts != "end" or self.spread > 0:
            _linear(process, self)
        process = _diffusion(process)
        if self.spread > 0 and process.noiseless:
            raise ValueError(
                "spread is in units of the noise, of which a flow, sigma = 0, has none: take "
                "spread=0.0"
            )
        if self.predicts == "start" and coupling.preserve:
            raise ValueError(
                "with preserve=True the network is given x_0, so that predicting the start says "
                "nothing of the data: predict the end or the residual"
            )
        if self.predicts == "drift":
            _linear(process, self).pulls(0.0)
        elif self.predicts not in ("end", "residual"):
            coupling.kernel(process, 0.5)

    def sampler(self, process: Process) -> Sampler:
        """Steps of second order where the mean alone is learned."""
        return Midpoint() if self.spread == 0 else Bridge()

    def __call__(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Law:
        return self.around(_diffusion(setting.process), self.end(setting, raw[:, 0], x, t), t)

    def around(self, process: Diffusion, end: Tensor, t: Tensor | float) -> Law:
        """The law of x_1 with this mean."""
        if self.spread == 0:
            return Delta(end)
        process = _linear(process, self)
        gain, noise = process.piece(t, 1.0)
        scale = (self.spread * noise).sqrt() / gain
        return process.basis.gaussian(scale, (torch.ones_like(scale), end))

    def end(self, setting: Setting, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """E[x_1 | x_t = x] from the network's output, (batch, *event)."""
        base = setting.base
        if self.predicts == "end":
            start = setting.mean if base is None else base.mean.to(raw.dtype)
            return start + setting.variance.sqrt() * raw
        process = _linear(setting.process, self)
        if self.predicts == "drift":
            return process.end_of_drift(x, raw, t)
        if self.predicts == "residual":
            guess, open_ = process.regression(x, t, setting)
            return (guess if base is None else base.mean.to(raw.dtype)) + open_ * raw
        kernel = setting.kernel(t)
        if self.predicts == "start":
            return kernel.end_of_start(x, raw, setting.mean)
        scale, basis = kernel.variance.sqrt(), process.basis
        if self.predicts == "score":
            raw = basis.combine((-scale, process.covariance @ raw))
        return kernel.end_of_centre(x - basis.combine((scale, raw)), setting.mean)


def _diffusion(process: Process) -> Diffusion:
    """The process, or an error if it is not a diffusion."""
    if not isinstance(process, Diffusion):
        raise TypeError(
            f"EndpointHead needs a diffusion, not {type(process).__name__}: take MeanHead or "
            "CategoricalHead for whole numbers, GammaHead for a GammaProcess"
        )
    return process


def _linear(process: Process, head: EndpointHead) -> LinearDiffusion:
    """The process, or an error if its numbers are not known."""
    process = _diffusion(process)
    if not isinstance(process, LinearDiffusion):
        raise TypeError(
            f"{head} needs the numbers of a LinearDiffusion, which {type(process).__name__} does "
            'not state: take EndpointHead(predicts="end", spread=0.0)'
        )
    return process


doors.guard(__name__)
