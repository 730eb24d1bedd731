"""States and the points of a data set: squared distances in units of Γ, as matrix products.

Points may be pairs (x_0, x_1), which states lie between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.processes.basis import Basis, ByMode

BLOCK = 2**22  # numbers of points looked at at once: 32 MiB in float64


class Distances:
    """Where points, or sums of two points of a pair, are from states.

    Args:
        basis: Of the process, and with it Γ.
        points: Points, (K, *event); or the two of each pair.
        weights: Weights of the points, (K,), of which those of none are never near; or None.
    """

    def __init__(self, basis: Basis, points: tuple[Tensor, ...], weights: Tensor | None) -> None:
        self._basis, self._points, self._weights = basis, points, weights

    def exponent(
        self,
        x: Tensor,
        centre: Tensor,
        gains: tuple[Tensor, ...],
        variance: Tensor,
        among: Tensor | None = None,
    ) -> Tensor:
        """-|Γ^{-1/2}(x - centre - Σ gain · point)|²/(2 variance), where x is certain 0 or -inf.

        Args:
            x: States, (batch, *event).
            centre: The mean of x without the points, likewise, float64.
            gains: Gain on each of the points, (batch,) each.
            variance: Of x, in units of Γ, (batch,).
            among: Which points come into question, (batch, K); None is all.

        Returns:
            (batch, K), float64; -inf for points that do not come into question.
        """
        residual = x.double() - centre
        if isinstance(self._basis, ByMode):
            return self._by_mode(self._basis, residual, gains, variance, among)
        white = self._basis.covariance.solve(residual)
        columns = [gain.unsqueeze(-1) for gain in gains]
        found = torch.zeros((), dtype=torch.float64, device=x.device)
        for i, (gain, points) in enumerate(zip(columns, self._points, strict=True)):
            blocks = points.split(self._rows)
            found = found + gain * torch.cat(
                [white.flatten(1) @ part.flatten(1).double().mT for part in blocks], 1
            )
            for j, other in enumerate(columns):
                found = found - 0.5 * gain * other * self._products[i][j]
        found = found - 0.5 * (residual * white).flatten(1).sum(1, keepdim=True)
        if among is not None:
            found = found.masked_fill(~among, -math.inf)
        variance = variance.unsqueeze(-1)
        certain = variance == 0
        return self._certain(found, found / torch.where(certain, 1.0, variance), certain, columns)

    def _certain(
        self, found: Tensor, exponent: Tensor, certain: Tensor, columns: list[Tensor]
    ) -> Tensor:
        """The exponent where x is uncertain, and elsewhere 0 or -inf."""
        # Where x is certain it tells the point, unless it does not depend on it.
        for gain, copies in zip(columns, self._copies, strict=True):
            told = certain & (gain != 0)
            if bool(told.any()):
                exponent = torch.where(told, self._nearest(found, copies), exponent)
            certain = certain & ~told
        return torch.where(certain & (found > -math.inf), 0.0, exponent)

    def _by_mode(
        self,
        basis: ByMode,
        residual: Tensor,
        gains: tuple[Tensor, ...],
        variance: Tensor,
        among: Tensor | None,
    ) -> Tensor:
        """The same where gains and variance are (batch, bands)."""
        certain = (variance == 0).all(1, keepdim=True)  # clocks of bands begin and end together
        scale = basis.weigh(torch.where(certain, 1.0, variance), residual)
        scale = scale * basis.regular(residual)
        scale = scale.expand(residual.shape).flatten(1)
        z = basis.forward(residual).flatten(1)
        weights = [basis.weigh(gain, residual).expand(residual.shape).flatten(1) for gain in gains]
        found = torch.zeros((), dtype=torch.float64, device=residual.device)
        for i, (gain, points) in enumerate(zip(weights, self._modes, strict=True)):
            found = found + (gain * z / scale) @ points.mT
            for other, also in zip(weights[i:], self._modes[i:], strict=True):
                twice = 1.0 if also is points else 2.0
                found = found - 0.5 * twice * (gain * other / scale) @ (points * also).mT
        found = found - 0.5 * (z**2 / scale).sum(1, keepdim=True)
        if among is not None:
            found = found.masked_fill(~among, -math.inf)
        columns = [gain.abs().amax(1, keepdim=True) for gain in gains]
        return self._certain(found, found, certain, columns)

    @cached_property
    def _modes(self) -> list[Tensor]:
        """The points in modes, (K, sites) float64 each."""
        each = [[part.double() for part in points.split(self._rows)] for points in self._points]
        return [torch.cat([self._basis.forward(p).flatten(1) for p in parts]) for parts in each]

    @property
    def _rows(self) -> int:
        return max(1, BLOCK // self._points[0][0].numel())

    @cached_property
    def _products(self) -> list[list[Tensor]]:
        """a·Γ⁻¹b of the points, or of each two of a pair: (K,) float64 each."""
        return [[self._product(a, b) for b in self._points] for a in self._points]

    def _product(self, first: Tensor, second: Tensor) -> Tensor:
        parts = zip(first.split(self._rows), second.split(self._rows), strict=True)
        each = [a.double() * self._basis.covariance.solve(b.double()) for a, b in parts]
        return torch.cat([part.flatten(1).sum(1) for part in each])

    def _nearest(self, closeness: Tensor, copies: Tensor) -> Tensor:
        """0 for the closest point of positive weight and for those equal to it, else -inf."""
        apart = closeness == -math.inf
        if self._weights is not None:
            closeness = closeness.masked_fill(self._weights == 0, -math.inf)
        nearest = copies[closeness.argmax(1)].unsqueeze(1)
        nothing = torch.zeros_like(closeness)
        return nothing.masked_fill((copies != nearest) | apart, -math.inf)

    @cached_property
    def _copies(self) -> Sequence[Tensor]:
        """A number for each point, (K,), the same for equal ones."""
        return [points.flatten(1).unique(dim=0, return_inverse=True)[1] for points in self._points]


def check_pairs(data: Tensor, starts: Tensor | None, paired: bool) -> None:
    """Check that there is a start for each point if they are pairs, and none if they are not.

    Raises:
        ValueError: If there are none, others than the points, or some that nothing asks for.
        TypeError: If they are of another type.
    """
    if paired != (starts is not None):
        raise ValueError(
            "under Paired() the x_0 of each point is to be given as starts, (K, *event)"
            if paired
            else "starts are those of pairs: take the coupling Paired(), or for sources that are "
            "independent of the data Independent(starts)"
        )
    if starts is not None and starts.shape != data.shape:
        raise ValueError(
            f"starts has shape {tuple(starts.shape)}, data has {tuple(data.shape)}: row i of one "
            "goes with row i of the other"
        )
    if starts is not None and starts.dtype != data.dtype:
        raise TypeError(
            f"starts are {starts.dtype} and data {data.dtype}: pass process.check(starts)"
        )


def equal_rows(first: Tensor, second: Tensor) -> Tensor:
    """Whether each row of one is each row of the other: (n, *event), (K, *event) to (n, K)."""
    both = torch.cat([first, second.to(first)]).flatten(1)
    codes = both.unique(dim=0, return_inverse=True)[1]
    return codes[: len(first)].unsqueeze(1) == codes[len(first) :]


doors.guard(__name__, inside=("Distances", "check_pairs", "equal_rows"))
