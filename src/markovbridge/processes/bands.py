r"""Numbers of a linear SDE that differ by band of modes: clocks, and SDEs.

**Clocks.** When the clock of the process shows p, that of a band shows

    φ(p) = m p / (1 - p + m p),      odds φ/(1 - φ) = m p/(1 - p):

it starts and ends with the clock of the process, and runs before it for m > 1, behind it for
m < 1. So bands are decided one after the other, and which first is a choice. Differences are
known without cancellation, φ(p + d) - φ(p) = m d / ((1 - p + m p)(1 - p - d + m (p + d))), and
the way back has the odds 1/m.

**SDEs.** `BandSDE` gives each band an SDE of its own, on the clock of its band: any pulls f_k(r)
and noises g_k(r).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Transform
from markovbridge.doors import checks
from markovbridge.processes.sdes import LinearSDE


@dataclass(frozen=True)
class BandClocks:
    """A clock for each band of modes.

    Attributes:
        odds: m of each band, positive: above 1 for bands that are decided early.
        spectrum: The variance of the data by mode of each band, if it is known; the network is
            then shown states of unit variance, and corrects the best linear guess by mode.
    """

    odds: tuple[float, ...]
    spectrum: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.odds or not all(1e-12 <= m <= 1e12 for m in self.odds):
            raise ValueError(
                f"odds must be one positive number for each band, from 1e-12 to 1e12, not "
                f"{self.odds}"
            )
        powers = self.spectrum
        if powers is not None and not (
            len(powers) == len(self.odds) and all(math.isfinite(s) and s >= 0 for s in powers)
        ):
            raise ValueError(
                f"spectrum must be one variance, not negative, for each of {len(self.odds)} "
                f"bands, not {powers}"
            )

    @property
    def bands(self) -> int:
        """How many there are."""
        return len(self.odds)

    def between(self, share: float = 0.5) -> BandClocks:
        """Clocks between none and these, of odds m^share: what images take of even clocks.

        The spectrum is not told, as a guess by mode does worse on images than one by site; both
        are measured in docs/measured/bridges.md.

        Args:
            share: From 0, none, to 1, these.
        """
        checks.number(share, "share", least=0, most=1)
        return BandClocks(tuple(m**share for m in self.odds))

    def mirrored(self) -> BandClocks:
        """Those of the way back, whose data are not known."""
        return BandClocks(tuple(1 / m for m in self.odds))

    def survival(self, p: Tensor, q: Tensor) -> Tensor:
        """φ, from the clock p of the process and q = 1 - p, (rows, 1) each: (rows, bands)."""
        odds = self._odds(p)
        return odds * p / (q + odds * p)

    def mortality(self, p: Tensor, q: Tensor) -> Tensor:
        """1 - φ, likewise."""
        return q / (q + self._odds(p) * p)

    def increment(
        self, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor], d: Tensor
    ) -> Tensor:
        """φ at `end` less φ at `start`, both (p, q), d being what the clock gains between."""
        odds = self._odds(d)
        (p, q), (later, left) = start, end
        return odds * d / ((q + odds * p) * (left + odds * later))

    def rate(self, p: Tensor, q: Tensor) -> Tensor:
        """dφ/dp."""
        odds = self._odds(p)
        return odds / (q + odds * p) ** 2

    def _odds(self, like: Tensor) -> Tensor:
        if like.device not in self._kept:
            self._kept[like.device] = torch.tensor(self.odds, dtype=torch.float64).to(like.device)
        return self._kept[like.device]

    @cached_property
    def _kept(self) -> dict[torch.device, Tensor]:
        return {}


@dataclass(frozen=True)
class BandSDE(LinearSDE):
    """An SDE for each band of modes: its tensors are (rows, bands).

    Attributes:
        sdes: One for each band, all with noise or all without.
    """

    sdes: tuple[LinearSDE, ...]

    def __post_init__(self) -> None:
        if not self.sdes or any(isinstance(sde, BandSDE) for sde in self.sdes):
            raise ValueError("sdes must hold a LinearSDE for each band, and none of bands")
        if len({sde.noiseless for sde in self.sdes}) > 1:
            raise ValueError(
                "all bands have noise or none has: give each of sdes a sigma above 0, or all 0"
            )

    @property
    def bands(self) -> int:
        """How many there are."""
        return len(self.sdes)

    @property
    def noiseless(self) -> bool:
        return self.sdes[0].noiseless

    def drift_rate(self, r: Tensor) -> Tensor:
        return self._each(lambda sde, *at: sde.drift_rate(*at), r)

    def noise_rate(self, r: Tensor) -> Tensor:
        return self._each(lambda sde, *at: sde.noise_rate(*at), r)

    def log_gain(self, r: Tensor, d: Tensor) -> Tensor:
        return self._each(lambda sde, *at: sde.log_gain(*at), r, d)

    def variance(self, r: Tensor, d: Tensor) -> Tensor:
        return self._each(lambda sde, *at: sde.variance(*at), r, d)

    def _each(self, ask: Callable[..., Tensor], *at: Tensor) -> Tensor:
        columns = zip(*(t.unbind(-1) for t in torch.broadcast_tensors(*at)), strict=True)
        found = [ask(sde, *column) for sde, column in zip(self.sdes, columns, strict=True)]
        return torch.stack(found, -1)


def check_bands(
    sde: LinearSDE, modes: Transform | None, clocks: BandClocks | None, affine: bool
) -> None:
    """Check that what differs by band has as many bands as the modes.

    Raises:
        ValueError: If it has not, or there are no modes.
    """
    for name, part in (("clocks", clocks), ("sde", sde if isinstance(sde, BandSDE) else None)):
        if part is not None and modes is None:
            raise ValueError(
                f"{name} of each band need modes that say what is in a band, such as "
                "modes=covariances.Cosine()"
            )
        if part is not None and modes is not None and part.bands != modes.bands:
            raise ValueError(
                f"{name} has {part.bands} bands, but the modes have {modes.bands}: give one "
                "number for each"
            )
    if modes is not None and affine:
        raise ValueError(
            "with modes there is no offset: subtract from the data what they revert to"
        )


doors.guard(__name__, inside=("check_bands",))
