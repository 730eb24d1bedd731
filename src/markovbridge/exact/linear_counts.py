r"""Counts whose sites are guessed from one another, linearly: what a covariance says of an image.

Let x_1 be Poisson around intensities Λ of mean μ and covariance Σ, so that Cov(x_1) = Σ + diag μ.
Thinned with survival p it is Poisson around pΛ. With D = diag(√μ), Σ = D U diag(λ) Uᵀ D,
y = D⁻¹(x - pμ), f = λ/(pλ + 1) and g = 1/(pλ + 1) = 1 - pf, the best linear guess of Λ_j from
all sites of x_t *but j*, and its variance, are (leave-one-out, by the inverse of the covariance)

    ν_j = μ_j + √μ_j ((U f Uᵀ y)_j - F_j y_j)/G_j,    v_j = μ_j F_j/G_j,
    F_j = Σ_k U_jk² f_k,                              G_j = Σ_k U_jk² g_k.

What the site itself counts is added as a negative binomial does it, exactly: were Λ_j a gamma
variable of this mean and variance, of size r = ν²/v,

    E[x_1 - x_t | x_t = x]_j  =  q ν_j (r_j + x_j)/(r_j + p ν_j).

So it is positive, where a linear guess of it all (Wiener's filter) is not, and noise counts for
less where little light is; if the process has a maximum N it is cut at N - x. For independent
negative binomial sites without one it is the posterior itself; else a guess, for a network to
correct.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.couplings import Coupling, Noised
from markovbridge.doors import checks
from markovbridge.exact.base import DataLaw, check_states, check_thinned
from markovbridge.laws import LOG_TINY, NegativeBinomial, Shifted
from markovbridge.processes.base import Process
from markovbridge.processes.clock import TINY, match
from markovbridge.processes.schedules import Time

LEAST = 0.03  # of the mean of a site, below which no guess of it falls
SITES = 4096  # whose covariance takes a minute of one processor
SMALLEST = 1e-3  # λ, of what hardly varies, or less than a Poisson variable


class LinearCounts(nn.Module, DataLaw):
    """Counts under pure death, each site guessed linearly from the others: see this module's head.

    Its numbers are buffers, saved as weights are, and filled by `FitLinearCounts` or from a file.
    Until then sites are independent Poisson variables of mean 1.

    Args:
        process: `PureDeath`.
        shape: Event shape.

    Attributes:
        mean: μ, (*event) float32.
        modes: U, (d, d) float32 for d sites, orthogonal.
        spread: λ, (d,) float32: variance of the intensities along the modes, in units of μ.
        config: All arguments of the constructor by name.

    Raises:
        TypeError: If the process does not thin counts to none.
        ValueError: If there are more than 4,096 sites.
    """

    coupling: Coupling = Noised()
    config: dict[str, Any]
    mean: Tensor
    modes: Tensor
    spread: Tensor

    def __init__(self, process: Process, *, shape: Sequence[int]) -> None:
        super().__init__()
        asking = "counts are guessed from thinned ones"
        self._most = check_thinned(process, asking, "take base='moments'")
        for size in shape:
            checks.whole(size, "a side of the shape", least=1)
        if (sites := math.prod(shape)) > SITES:
            raise ValueError(
                f"the covariance of {sites} sites is too large; at most {SITES} are guessed from "
                "one another: take base='moments'"
            )
        self.process = process
        self.config = {"process": process, "shape": list(shape)}
        mean = torch.ones(*shape)
        self.register_buffer("mean", mean)
        self.register_buffer("modes", torch.eye(mean.numel()))
        self.register_buffer("spread", torch.full((mean.numel(),), SMALLEST))

    def marginal(self, x: Tensor, t: Time) -> NegativeBinomial:
        """Of each site alone, independent: the law of x_t in the shape of x."""
        check_states(x, self.mean.shape)
        p = match(self.process.schedule.survival(t), x).clamp_min(TINY).to(self.mean.dtype)
        variance = self.mean.flatten() * (self.modes.square() @ self.spread)
        log_mean = (p * self.mean).log().expand(x.shape)
        return NegativeBinomial(log_mean, self.mean**2 / variance.reshape(self.mean.shape))

    def forward(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Shifted:
        """The law of x_1 given x_t = x."""
        check_states(x, self.mean.shape)
        t = self.process.schedule.at(t, x.device)
        p, q = (
            number.clamp_min(TINY).to(self.mean.dtype).reshape(-1, 1)
            for number in (self.process.schedule.survival(t), self.process.schedule.mortality(t))
        )
        mean, counts = self.mean.flatten(), x.flatten(1).to(self.mean.dtype)
        squares, left = self.modes.square(), 1 / (p * self.spread + 1)
        gain = self.spread * left
        y = (counts - p * mean) / mean.sqrt()
        own, alone = gain @ squares.T, left @ squares.T  # F and G
        others = (y @ self.modes * gain) @ self.modes.T - own * y
        guess = torch.maximum(mean + mean.sqrt() * others / alone, LEAST * mean)
        size = guess**2 * alone / (mean * own)
        log_mean = q.log() + guess.log() + ((size + counts) / (size + p * guess)).log()
        if self._most is not None:
            log_mean = log_mean.minimum(
                (self._most - counts).clamp_min(0).log().clamp_min(LOG_TINY)
            )
        law = NegativeBinomial(log_mean.reshape(x.shape), (size + counts).reshape(x.shape))
        return Shifted(x, law)


doors.guard(__name__)
