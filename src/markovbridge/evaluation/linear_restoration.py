r"""The best linear restoration of thinned counts: what a network has to beat.

Of counts x ~ Binomial(x_1, p), or of a transform f of them, the linear estimate of least mean
squared error is Wiener's,

    x̂ = E x_1 + K (f(x) - E f),     K = Cov(x_1, f) Cov(f)^{-1},

with error covariance Cov(x_1) - K Cov(f, x_1). All it takes are second moments, and these
come from training data without drawing a thinned one: with g(k) = E[f(x) | x_1 = k] and
v(k) = Var[f(x) | x_1 = k], exact sums over the binomial law, and sites thinned independently,

    Cov(f) = Cov(g(x_1)) + diag E v(x_1),     Cov(x_1, f) = Cov(x_1, g(x_1)).

f(x) = x is the Wiener filter of the counts themselves, with the noise variance p(1 - p) E x_1
of each site; f(x) = 2√(x + 3/8) makes that variance nearly the same for all counts (Anscombe,
https://doi.org/10.1093/biomet/35.3-4.246), which is how photon noise is usually treated. Its
intervals are those of a Gaussian with the error covariance. Estimates and draws are cut to
what is possible, x to the maximum; that alone is not linear, and helps it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator as keyed
from markovbridge.evaluation.restoration import Restoration

SITES = 4096  # beyond which the covariance of sites is too large a matrix
ROWS = 20_000  # of training data; more would not change its moments by much
CHUNK = 2**22  # entries of the table of binomial laws that are made at once
RIDGE = 1e-6  # of the mean variance, for sites that never vary


@dataclass(frozen=True, eq=False)
class Wiener:
    """A linear restoration, fitted to training data: `Wiener.fit`.

    Attributes:
        survival: Known share of units that survived.
        transform: "counts" or "anscombe": what the estimate is linear in.
        start: E x_1 - K E f, (sites,) float64.
        gain: K, (sites, sites).
        root: A root R of the error covariance, R Rᵀ, (sites, sites).
        maximum: Largest count, or None.
    """

    survival: float
    transform: Literal["counts", "anscombe"]
    start: Tensor
    gain: Tensor
    root: Tensor
    maximum: int | None

    def __post_init__(self) -> None:
        checks.number(self.survival, "survival", above=0, below=1)
        if self.maximum is not None:
            checks.whole(self.maximum, "maximum", least=0)

    @classmethod
    def fit(
        cls,
        x1: Tensor | Rows,
        survival: float,
        *,
        transform: Literal["counts", "anscombe"] = "counts",
        maximum: int | None = None,
    ) -> Wiener:
        """Fit to training data.

        Args:
            x1: Counts of full depth, (N, *event).
            survival: Share of units that survive, in (0, 1).
            transform: What the estimate is linear in.
            maximum: Largest count, or None.

        Raises:
            ValueError: If there are too many sites for their covariance, or too few rows.
        """
        sites = math.prod(x1.shape[1:])
        if sites > SITES:
            raise ValueError(
                f"a linear restoration of {sites:,} sites needs too large a covariance; "
                f"{SITES:,} are possible"
            )
        if len(x1) < 2:
            raise ValueError(f"moments take at least 2 rows of training data, not {len(x1)}")
        if transform not in ("counts", "anscombe"):
            raise ValueError(f"transform must be counts or anscombe, not {transform!r}")
        if not 0 < survival < 1:
            raise ValueError(f"survival must lie in (0, 1), not {survival}")
        order = torch.randperm(len(x1), generator=keyed("cpu", "wiener"))
        rows = x1[order[:ROWS].sort().values].cpu().flatten(1)
        values, place = rows.unique(return_inverse=True)
        mean_f, variance_f = _given(values.double(), survival, transform)
        rows, seen = rows.double(), mean_f[place]
        mean, mean_seen = rows.mean(0), seen.mean(0)
        rows, seen = rows - mean, seen - mean_seen
        total = rows.T @ rows / (len(rows) - 1)
        cross = rows.T @ seen / (len(rows) - 1)
        noise = variance_f[place].mean(0)
        both = seen.T @ seen / (len(rows) - 1) + torch.diag(noise + RIDGE * noise.mean())
        gain = torch.linalg.solve(both, cross.T).T
        error = total - gain @ cross.T
        scale, axes = torch.linalg.eigh((error + error.T) / 2)
        root = axes * scale.clamp_min(0).sqrt()
        return cls(survival, transform, mean - gain @ mean_seen, gain, root, maximum)

    def estimate(self, x: Tensor) -> Tensor:
        """The linear estimate of x_1, cut to [x, maximum]: (n, *event) float64."""
        mean = self.start + _transform(x.cpu().double().flatten(1), self.transform) @ self.gain.T
        return self._cut(mean.reshape(x.shape), x.cpu())

    def restore(
        self, x: Tensor, draws: int, *, generator: torch.Generator | None = None
    ) -> Restoration:
        """Draws of a Gaussian around the estimate, as counts: what its intervals come from."""
        shape = draws, len(x), len(self.start)
        noise = torch.randn(shape, dtype=torch.float64, generator=generator) @ self.root.T
        mean = self.start + _transform(x.cpu().double().flatten(1), self.transform) @ self.gain.T
        made = (mean + noise).round().reshape(draws, *x.shape)
        return Restoration(self._cut(made, x.cpu()).to(torch.int64))

    def _cut(self, values: Tensor, x: Tensor) -> Tensor:
        values = torch.maximum(values, x.double())
        return values if self.maximum is None else values.clamp_max(self.maximum)


def _transform(x: Tensor, name: str) -> Tensor:
    return x if name == "counts" else 2 * (x + 0.375).sqrt()


def _given(counts: Tensor, survival: float, name: str) -> tuple[Tensor, Tensor]:
    """Mean and variance of the transform of Binomial(k, survival), for counts k: (K,) twice."""
    spread = (counts * survival * (1 - survival)).sqrt()
    low = (counts * survival - 12 * spread - 12).clamp_min(0).floor()
    width = math.ceil(24 * float(spread.max()) + 26)
    offsets = torch.arange(width, dtype=torch.float64)
    odds, none = math.log(survival), math.log1p(-survival)
    means, variances = [], []
    size = max(1, CHUNK // width)
    for k, first in zip(counts.split(size), low.split(size), strict=True):
        k = k.unsqueeze(1)
        j = first.unsqueeze(1) + offsets
        inside = j <= k
        j = torch.where(inside, j, k)
        ways = torch.lgamma(k + 1) - torch.lgamma(j + 1) - torch.lgamma(k - j + 1)
        share = torch.where(inside, (ways + j * odds + (k - j) * none).exp(), 0.0)
        share = share / share.sum(1, keepdim=True)
        value = _transform(j, name)
        mean = (share * value).sum(1, keepdim=True)
        means.append(mean.squeeze(1))
        variances.append((share * (value - mean) ** 2).sum(1))
    return torch.cat(means), torch.cat(variances)


doors.guard(__name__)
