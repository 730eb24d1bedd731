r"""A Gaussian field on a grid, exactly, also where some of its sites are known: kriging.

A field x_1 ~ N(μ, C) whose covariance is diagonal in modes, C = U^T diag(λ) U, such as a
stationary one on a torus, is carried by a linear diffusion whose noise Γ = U^T diag(γ) U is
diagonal in the same modes: white noise, noise of covariance C, a power of it. With
x_t | x_1 ~ N(a x_1 + b, v Γ), x̂ = U x and c the mean of x_t, the modes are independent,

    x_1 | x_t = x  ~ N(U^T (μ̂ + a λ/(a² λ + v γ) (x̂ - ĉ)), P),
                     P = U^T diag(λ v γ/(a² λ + v γ)) U.

Where sites K of x_1 are known too, x_1[K] = y, that law is conditioned on them, which is kriging
with the covariance P that is left at the time t (A. G. Journel and C. J. Huijbregts, Mining
Geostatistics, 1978, chapter VII): of a draw z of the law above, and of its mean,

    z + P[:, K] P[K, K]⁻¹ (y - z[K])

is a draw, and the mean, of the law given both. P[K, K] is read off one transform, so that n sites
of which m are known cost O(n log n + m³) for each distinct time and set of known sites, and each
row O(n log n + m²) more. Variances, if they are asked for, take a transform for each known site.
P[K, K]⁻¹ amplifies rounding, the more the smoother the field: all is worked out in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.couplings import Coupling, Noised
from markovbridge.covariances import Covariance, Transform
from markovbridge.covariances.spectral import eigenvalues
from markovbridge.doors import checks
from markovbridge.exact.base import DataLaw, check_states
from markovbridge.laws import Law, ModalGaussian
from markovbridge.laws.numbers import repeated
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.schedules import Reading, Time
from markovbridge.samplers.known_sites import Observed

KNOWN = 4096  # known sites of a row, whose matrix takes seconds to factorise
CHUNK = 64  # fields that are transformed at once, for variances


@dataclass(frozen=True, eq=False)
class GaussianField(DataLaw):
    """A Gaussian field of known covariance, by modes, and given known sites: see this module.

    In place of a network, `Transport.impute` with it is conditional simulation of the field; as a
    `base` it is what a network corrects.

    Attributes:
        process: The reference, a `LinearDiffusion` whose noise is diagonal in the modes of the
            field, or in its own if it has any.
        covariance: C, a covariance whose modes are known, such as a `Torus`.
        mean: μ, a number or (*event).
        coupling: Which source goes with the data, one whose source is Gaussian given them.
    """

    process: Process
    covariance: Covariance
    mean: float | Tensor = 0.0
    coupling: Coupling = Noised()
    _kept: dict[tuple[torch.Size, torch.device], tuple[Tensor, Tensor]] = field(
        init=False, repr=False, default_factory=dict
    )

    uses_known = True

    def __post_init__(self) -> None:
        if not isinstance(self.process, LinearDiffusion):
            raise TypeError(
                "a Gaussian field has a closed form under a LinearDiffusion, not under "
                f"{type(self.process).__name__}"
            )
        checks.sites(self.mean, "mean")
        _ = self._modes  # or an error that says what to take
        self.coupling.kernel(self.process, 0.5)  # likewise

    def refined(self, factor: int, dimension: int) -> GaussianField:
        return GaussianField(
            self._linear.refined(factor, dimension),
            self.covariance.refined(factor, dimension),
            repeated(self.mean, factor, dimension),
            self.coupling.refined(factor, dimension),
        )

    @property
    def _linear(self) -> LinearDiffusion:
        assert isinstance(self.process, LinearDiffusion)
        return self.process

    @property
    def _modes(self) -> Transform:
        own = self._linear.modes
        return self.covariance.modes if own is None else own

    def _spectra(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """λ and γ, (*event) each, float64."""
        key = x.shape[1:], x.device
        if key not in self._kept:
            found = (
                eigenvalues(covariance, self._modes, x.shape[1:]).to(x.device)
                for covariance in (self.covariance, self._linear.covariance)
            )
            self._kept[key] = tuple(found)  # pyright: ignore[reportArgumentType]
        return self._kept[key]

    def _at(self, x: Tensor, t: Time) -> _Moments:
        """The moments of x_t and x_1, in modes, at the times of a batch."""
        fixed = isinstance(self.mean, Tensor) and self.mean.ndim > 0
        check_states(x, self.mean.shape if fixed else x.shape[1:])  # pyright: ignore
        schedule = self.process.schedule
        times = schedule.at(t, x.device).double().expand(len(x))
        times, rows = times.unique(return_inverse=True)
        kernel = self.coupling.kernel(self.process, Reading(schedule, times))
        like = torch.zeros((), dtype=torch.float64, device=x.device)
        like = like.expand(len(times), *x.shape[1:])
        signal, noise = self._spectra(x)
        gain = self._linear.basis.weigh(kernel.gain, like)
        left = self._linear.basis.weigh(kernel.variance, like) * noise
        mean = torch.as_tensor(self.mean).to(like).expand_as(like)
        centre = kernel.centre(mean)
        return _Moments(rows, mean[:1], centre, signal, gain, left)

    def marginal(self, x: Tensor, t: Time) -> ModalGaussian:
        at = self._at(x, t)
        deviation = at.total.sqrt().expand(-1, *x.shape[1:])
        centre = self._modes.forward(at.centre)
        return ModalGaussian(at.each(centre, x), at.each(deviation, x), self._modes)

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> ModalGaussian:
        return self._given(x, self._at(x, t))

    def _given(self, x: Tensor, at: _Moments) -> ModalGaussian:
        """The law of x_1 given x_t = x."""
        residual = self._modes.forward(x - at.each(at.centre, x))
        centre = self._modes.forward(at.mean.to(x.dtype)) + at.each(at.regression, x) * residual
        return ModalGaussian(centre, at.each(at.open.sqrt(), x), self._modes)

    def given_known(
        self, x: Tensor, t: Time, observed: Observed, condition: Tensor | None = None
    ) -> Law:
        at = self._at(x, t)
        law, pieces = self._given(x.double(), at), []
        for rows in _alike(observed.mask, at.rows):
            sites = observed.mask[rows[0]].flatten().nonzero().squeeze(1)
            if len(sites) > KNOWN:
                raise ValueError(
                    f"{len(sites)} sites of a field are known: its law given at most {KNOWN} of "
                    "them is worked out"
                )
            if len(sites):
                left = at.open[at.rows[rows[0]]].expand(x.shape[1:])
                pieces.append(_piece(rows, sites, left, self._modes))
        return _Known(law, observed.values.double(), observed.mask, pieces, x.dtype)


@dataclass(frozen=True, eq=False)
class _Moments:
    """What the law of x_t and x_1 is made of, at each of the times of a batch; float64.

    Attributes:
        rows: Which time each row has, (batch,).
        mean: μ, (1, *event).
        centre: Mean of x_t, (times, *event).
        signal: λ, (*event).
        gain: Weight of x_1 in x_t, in modes, and broadcastable to (times, *event), as is
        noise: the variance of x_t given x_1.
    """

    rows: Tensor
    mean: Tensor
    centre: Tensor
    signal: Tensor
    gain: Tensor
    noise: Tensor

    @cached_property
    def total(self) -> Tensor:
        """The variance of x_t."""
        return self.gain**2 * self.signal + self.noise

    @cached_property
    def regression(self) -> Tensor:
        """That of x_1 on x_t; of a mode that does not vary, none."""
        return self._over(self.gain * self.signal, torch.zeros_like(self.signal))

    @cached_property
    def open(self) -> Tensor:
        """The variance of x_1 given x_t."""
        return self._over(self.signal * self.noise, self.signal)

    def _over(self, product: Tensor, default: Tensor) -> Tensor:
        """A product over the variance of x_t; the default where x_t is certain."""
        none = self.total == 0
        return torch.where(none, default, product / torch.where(none, 1.0, self.total))

    def each(self, values: Tensor, x: Tensor) -> Tensor:
        """Of each row, what is known at each time; of all at once, if there is one time."""
        return (values if len(values) == 1 else values[self.rows]).to(x.dtype)


def _alike(mask: Tensor, times: Tensor) -> Iterator[Tensor]:
    """The rows of a batch, in groups of the same time and the same known sites."""
    flat, left = mask.flatten(1), torch.arange(len(mask), device=mask.device)
    while len(left):
        first = left[0]
        same = (flat[left] == flat[first]).all(1) & (times[left] == times[first])
        yield left[same]
        left = left[~same]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows of one time of which the same m sites are known.

    Attributes:
        rows: Which, (rows,).
        sites: The known ones, of the flattened event, (m,).
        root: G with G Gᵀ = P[K, K]⁻¹, (m, m), float64.
        logdet: log det P[K, K], where nothing in it is certain.
        rank: How many directions that are.
        left: The diagonal of P in modes, (*event), float64.
    """

    rows: Tensor
    sites: Tensor
    root: Tensor
    logdet: Tensor
    rank: int
    left: Tensor


def _piece(rows: Tensor, sites: Tensor, left: Tensor, modes: Transform) -> _Piece:
    """What is known of some rows, its matrix factorised."""
    matrix = modes.block(left, sites)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not int(failed):
        unit = torch.eye(len(sites), dtype=factor.dtype, device=factor.device)
        root = torch.linalg.solve_triangular(factor, unit, upper=False).mT
        logdet = 2 * factor.diagonal().log().sum()
        return _Piece(rows, sites, root, logdet, len(sites), left)
    # Certain in some direction but for rounding, as all is at t = 1: the pseudo-inverse.
    values, vectors = torch.linalg.eigh(matrix)
    some = values > len(sites) * torch.finfo(values.dtype).eps * values[-1].clamp_min(0)
    root = vectors * torch.where(some, values.clamp_min(1e-300).rsqrt(), 0.0)
    return _Piece(rows, sites, root, values[some].log().sum(), int(some.sum()), left)


@dataclass(frozen=True, eq=False)
class _Known(Law):
    """A law by modes, given the values of some sites.

    Attributes:
        free: The law of all sites before they are known.
        values: (batch, *event), of which only the known sites count.
        mask: Which are known, (batch, *event).
        pieces: The rows of which some are, in groups.
        dtype: Of what is drawn and stated; all is worked out in float64.
    """

    free: ModalGaussian
    values: Tensor
    mask: Tensor
    pieces: list[_Piece]
    dtype: torch.dtype

    def _corrected(self, z: Tensor) -> Tensor:
        """A draw, or the mean, of the free law as one of the law given the known sites."""
        if not self.pieces:
            return z
        pull, left = torch.zeros_like(z), torch.zeros_like(z)
        residual = (self.values - z).flatten(1)
        for piece in self.pieces:
            seen = residual[piece.rows.unsqueeze(1), piece.sites].double()
            weights = (seen @ piece.root) @ piece.root.mT
            flat = pull.flatten(1)
            pull = flat.index_put(
                (piece.rows.unsqueeze(1), piece.sites), weights.to(z.dtype)
            ).reshape(z.shape)
            left = left.index_put((piece.rows,), piece.left.to(z.dtype))
        modes = self.free.modes
        moved = z + modes.inverse(left * modes.forward(pull))
        return torch.where(self.mask, self.values, moved)

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        return self._corrected(self.free.sample(generator=generator)).to(self.dtype)

    @property
    def mean(self) -> Tensor:
        return self._corrected(self.free.mean).to(self.dtype)

    @property
    def variance(self) -> Tensor:
        found = self.free.variance.expand(self.values.shape).clone()
        for piece in self.pieces:
            gained = torch.zeros_like(piece.left)
            for columns in piece.root.split(CHUNK, 1):
                unit = found.new_zeros(columns.shape[1], gained.numel(), dtype=columns.dtype)
                unit[:, piece.sites] = columns.mT
                modes = self.free.modes
                waves = piece.left * modes.forward(unit.reshape(-1, *gained.shape))
                gained = gained + modes.inverse(waves).square().sum(0)
            found[piece.rows] = (found[piece.rows].double() - gained).clamp_min(0).to(found.dtype)
        return torch.where(self.mask, 0.0, found).to(self.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of the unknown sites given the known ones, (batch,), nats.

        What x says of the known sites does not matter.

        Raises:
            ValueError: If a mode is certain, as all are at t = 1.
        """
        x = torch.where(self.mask, self.values, x.double())
        total = self.free.log_prob(x)
        residual = (x - self.free.mean).flatten(1)
        for piece in self.pieces:
            z = residual[piece.rows.unsqueeze(1), piece.sites].double() @ piece.root
            constant = piece.logdet + piece.rank * math.log(2 * math.pi)
            known = -0.5 * (z.square().sum(1) + constant)
            total = total.index_put((piece.rows,), -known.to(total.dtype), accumulate=True)
        return total.to(self.dtype)


doors.guard(__name__)
