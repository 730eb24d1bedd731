r"""A denoiser that there is already, D(x; σ) = E[y | y + σ z = x], as the law of a bridge mixture.

Models of score-based diffusion (VE; EDM, https://arxiv.org/abs/2206.00364) know the mean of clean
data given data with white noise. Under a linear diffusion with white noise and a coupling whose
law of x_t given x_1 is known,

    x_t = centre + gain · x_1 + √variance z,

and (x_t - centre)/gain is x_1 with noise of σ = √variance/gain: the same question. So such a
network is E[x_1 | x_t] of every such bridge mixture, from a point or a Gaussian source, and of
time reversal, without training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.couplings import Coupling
from markovbridge.couplings.base import check_made_for
from markovbridge.doors import checks
from markovbridge.laws import Delta
from markovbridge.processes.base import Process
from markovbridge.processes.clock import coefficient
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.schedules import Time


class Denoiser(nn.Module):
    """The mean of x_1 given x_t, from a denoiser: a network for `Transport` with `head=None`.

    A mean alone is learned: take the sampler `Midpoint()`, not `Bridge()`.

    Args:
        process: The reference, whose noise is white: its covariance has variance 1 at each site
            and no correlations.
        denoiser: `denoiser(x, sigma, condition)` with x (batch, *event) = clean data + σ z in the
            coordinates of the process, sigma (batch,), gives the mean of the clean data.
        coupling: Which source goes with the data: one whose law of x_t given x_1 is known.
        largest: The largest σ that the denoiser knows. Where there is more noise, as at the
            source, it is asked at this one.

    Raises:
        ValueError: If the noise is correlated, or the law of x_t given x_1 is not known.
    """

    def __init__(
        self,
        process: LinearDiffusion,
        denoiser: Callable[..., Tensor],
        coupling: Coupling,
        largest: float = 80.0,
    ) -> None:
        super().__init__()
        checks.number(largest, "largest", above=0)
        unit = torch.arange(1.0, 4.0, dtype=torch.float64).expand(1, 3)
        try:
            white = torch.equal(process.covariance @ unit, unit)
        except (ValueError, RuntimeError):  # of another event: correlated
            white = False
        if not white or process.modes is not None:
            raise ValueError(
                "a denoiser knows data with white noise of standard deviation σ: take a process "
                f"with Isotropic() noise, not {process.covariance!r}"
            )
        coupling.kernel(process, 0.5)
        self.process, self.denoiser, self.coupling = process, denoiser, coupling
        self.largest = largest

    def check(self, process: Process, coupling: Coupling) -> None:
        """Check that it is used with the process and the coupling that it is made for.

        Raises:
            ValueError: If it is not.
        """
        check_made_for("denoiser", (self.process, self.coupling), process, coupling)

    def forward(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Delta:
        """The law of x_1 given x_t = x, all of it at its mean."""
        t = self.process.schedule.at(t, x.device).double().expand(len(x))
        kernel = self.coupling.kernel(self.process, t)
        centre = kernel.centre(torch.zeros_like(x))
        spread = kernel.variance.sqrt()
        sigma = spread / kernel.gain.clamp_min(1e-300)
        # Beyond what the denoiser knows nothing but noise is seen, and is scaled to what it knows.
        known = (sigma <= self.largest) & (kernel.gain > 0)
        noisy = self.largest / torch.where(spread > 0, spread, 1.0)
        scale = torch.where(known, 1 / kernel.gain.clamp_min(1e-300), noisy)
        sigma = torch.where(known, sigma, self.largest)
        seen = coefficient(scale, x) * (x - centre)
        return Delta(self.denoiser(seen, sigma.to(x.dtype), condition).to(x.dtype))


doors.guard(__name__, own=("process", "largest"))
