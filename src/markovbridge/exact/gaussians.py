r"""Gaussian data, exactly, under linear diffusions and any Gaussian coupling.

With (x_0, x_1) jointly Gaussian, means μ_0, μ_1, covariances Σ_0, Σ_1 and cross covariance
C = Cov(x_0, x_1), and with the bridge x_t | x_0, x_1 ~ N(p x_0 + κ x_1, c Γ),

    x_t            ~ N(m, S),   m = p μ_0 + κ μ_1,
                                S = p² Σ_0 + κ² Σ_1 + pκ (C + Cᵀ) + c Γ
    x_1 | x_t = x  ~ N(μ_1 + A S⁻¹ (x - m), Σ_1 - A S⁻¹ Aᵀ),   A = pCᵀ + κ Σ_1.

Independent, Dirac and noised couplings are special cases (`Gaussian.coupled`); of moments
that are none of these the coupling is `Pairs`, which draws x_0 from its law given x_1. A
finite mixture of such laws is `Mixture` of them: Gaussian mixtures in any dimension. What
x_t says of the source is the same law of `reversed()`, the pair run backwards.

Told x_0 as well, where the coupling is preserved, x_1 given x_0 takes the place of x_1, and the
source is a point: with μ', Σ' those of x_1 given x_0 and S' = κ² Σ' + c Γ,

    x_1 | x_0, x_t = x  ~ N(μ' + κ Σ' S'⁻¹ (x - p x_0 - κ μ'), Σ' - κ² Σ' S'⁻¹ Σ').

Dense linear algebra in float64: O(d³) for d sites and each distinct time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from markovbridge import couplings, doors
from markovbridge.couplings import Coupling, Dirac, Independent, Paired
from markovbridge.exact.base import DataLaw, Pairs, check_start, check_states
from markovbridge.laws import Law
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.schedules import Reading, Time

TINY = 1e-300  # for a variance of zero


@dataclass(frozen=True, eq=False)
class Gaussian(DataLaw):
    """A Gaussian source and Gaussian data, jointly Gaussian, carried by a linear diffusion.

    Attributes:
        process: The reference.
        mean: μ_1, (*event).
        covariance: Σ_1, (d, d) over the flattened event.
        start_mean: μ_0, zero if None.
        start_covariance: Σ_0, the identity if None; zero is a point.
        cross: C = Cov(x_0, x_1), (d, d), zero if None.
        coupling: The coupling that has these moments. If None it is made from them: `Dirac` or
            `Independent` where they are of that kind, and else pairs with these moments. Under
            `Paired` the moments are those of the pairs.
    """

    process: Process
    mean: Tensor
    covariance: Tensor
    start_mean: Tensor | None = None
    start_covariance: Tensor | None = None
    cross: Tensor | None = None
    coupling: Coupling = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        if not isinstance(self.process, LinearDiffusion):
            raise TypeError(
                f"Gaussian data have a closed form under a LinearDiffusion, not under "
                f"{type(self.process).__name__}"
            )
        for name in ("mean", "covariance", "start_mean", "start_covariance", "cross"):
            value = getattr(self, name)
            if value is None and name not in ("mean", "covariance"):
                continue
            _check_tensor(name, value)
        size = self.mean.numel()
        for name in ("covariance", "start_covariance", "cross"):
            value = getattr(self, name)
            if value is not None and value.shape != (size, size):
                raise ValueError(
                    f"{name} must be ({size}, {size}) for a mean of shape "
                    f"{tuple(self.mean.shape)}, not {tuple(value.shape)}"
                )
            if value is not None and name != "cross":
                _check_covariance(name, value)
        if self.start_mean is not None and self.start_mean.shape != self.mean.shape:
            raise ValueError(
                f"start_mean has shape {tuple(self.start_mean.shape)}, mean has "
                f"{tuple(self.mean.shape)}"
            )
        if self.coupling is None:
            object.__setattr__(self, "coupling", self._own())
        elif not isinstance(self.coupling, Coupling):
            raise TypeError(f"coupling must be a Coupling, not {type(self.coupling).__name__}")
        elif not (isinstance(self.coupling, Paired) or self._known(self.coupling)):
            raise ValueError(
                f"under {type(self.coupling).__name__} source and data have other moments, or "
                "none that are known: take Gaussian.coupled(process, coupling, mean, covariance)"
            )

    def _own(self) -> Coupling:
        """The coupling that has these moments."""
        start, spread, cross = self._start()
        if not bool(cross.any()):
            mean = 0.0 if self.start_mean is None else start.reshape(self.mean.shape)
            if not bool(spread.any()) and self.process.support is None:
                return Dirac(mean)
            for correlated in (False, True):
                unit = _dense(self._linear, self.mean) if correlated else torch.eye(len(spread))
                variance = float(spread.diagonal().sum() / unit.diagonal().sum())
                if variance > 0 and _close(spread, variance * unit.to(spread)):
                    source = couplings.Gaussian(mean, math.sqrt(variance), correlated)
                    return Independent(source)
        return Pairs(self)

    def _known(self, coupling: Coupling) -> bool:
        """Whether source and data are known to have these moments under a coupling."""
        try:
            other = _moments_under(self._linear, coupling, self.mean, self.covariance)
        except ValueError:
            return False
        return all(map(_close, self._start(), other))

    def check(self, process: Process, coupling: Coupling) -> None:
        fits = self.coupling.preserve == coupling.preserve and self._known(coupling)
        super().check(process, self.coupling if fits else coupling)

    @property
    def _linear(self) -> LinearDiffusion:
        assert isinstance(self.process, LinearDiffusion)
        return self.process

    @classmethod
    def coupled(
        cls, process: LinearDiffusion, coupling: Coupling, mean: Tensor, covariance: Tensor
    ) -> Gaussian:
        """Gaussian data under a coupling whose source is Gaussian given the data."""
        _check_tensor("mean", mean)
        _check_tensor("covariance", covariance)
        start, spread, cross = _moments_under(process, coupling, mean, covariance)
        return cls(process, mean, covariance, start.reshape(mean.shape), spread, cross, coupling)

    def reversed(self) -> Gaussian:
        """The same pair with source and data exchanged: its law of x_1 is that of x_0 here.

        `law.reversed()(x, 1 - t)` is the law of x_0 given x_t = x.
        """
        start_mean, start_covariance, cross = self._start()
        return Gaussian(
            self._linear.reversed(),
            start_mean.reshape(self.mean.shape),
            start_covariance,
            self.mean,
            self.covariance,
            cross.mT,
        )

    def _start(self) -> tuple[Tensor, Tensor, Tensor]:
        size, kind = self.mean.numel(), {"dtype": torch.float64, "device": self.mean.device}
        mean, covariance, cross = self.start_mean, self.start_covariance, self.cross
        return (
            torch.zeros(size, **kind) if mean is None else mean.double().flatten(),
            torch.eye(size, **kind) if covariance is None else covariance.double(),
            torch.zeros(size, size, **kind) if cross is None else cross.double(),
        )

    def _times(self, x: Tensor, t: Time) -> tuple[Reading, Tensor]:
        """The different times, and which of them each sample has."""
        schedule = self.process.schedule
        times = schedule.at(t, x.device).double().expand(len(x))
        times, rows = times.unique(return_inverse=True)
        return Reading(schedule, times), rows

    def _moments(self, t: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """The moments m (times, d), S and A (times, d, d) at each time."""
        mean, covariance = self.mean.double().flatten(), self.covariance.double()
        start_mean, start_covariance, cross = self._start()
        if self._linear.modes is not None:
            p, k, c = self._operators(t)
            centre = p @ start_mean + k @ mean
            between = p @ cross @ k.mT
            spread = p @ start_covariance @ p.mT + k @ covariance @ k.mT + between + between.mT
            spread = spread + c @ _dense(self._linear, self.mean)
            return centre, (spread + spread.mT) / 2, cross.mT @ p.mT + covariance @ k.mT
        p, k, c = (w.reshape(-1, 1, 1) for w in self._linear.weights(0.0, t, 1.0))
        centre = self._moved(p[..., 0] * start_mean + k[..., 0] * mean, t)
        spread = p**2 * start_covariance + k**2 * covariance + p * k * (cross + cross.mT)
        spread = spread + c * _dense(self._linear, self.mean)
        return centre, spread, p * cross.mT + k * covariance

    def _operators(self, t: Tensor) -> tuple[Tensor, ...]:
        """The weights of a bridge as matrices, (times, d, d) each."""
        weights = self._linear.weights(0.0, t, 1.0)
        return tuple(_operator(self._linear, w, self.mean) for w in weights)

    def _moved(self, centre: Tensor, t: Tensor) -> Tensor:
        """Means of x_t, (times, d), with the drift beside f X."""
        shaped = centre.reshape(-1, *self.mean.shape)
        return self._linear.bridged(shaped, 0.0, t, 1.0).reshape(centre.shape)

    def marginal(self, x: Tensor, t: Time) -> Law:
        check_states(x, self.mean.shape)
        times, rows = self._times(x, t)
        centre, spread, _ = self._moments(times)
        return _Joint(centre[rows].reshape(x.shape).to(x.dtype), spread, rows)

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        check_states(x, self.mean.shape)
        times, rows = self._times(x, t)
        centre, spread, across = self._moments(times)
        # The pseudo-inverse: at t = 0 a Dirac source has no spread, and says nothing.
        regression = across @ torch.linalg.pinv(spread, hermitian=True)
        residual = (x.double().flatten(1) - centre[rows]).unsqueeze(-1)
        mean = self.mean.double().flatten() + (regression[rows] @ residual).squeeze(-1)
        left = self.covariance.double() - regression @ across.mT
        return _Joint(mean.reshape(x.shape).to(x.dtype), left, rows)

    def _after(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """Means (batch, d) and covariance (d, d) of x_1 given x_0 = start."""
        origin, spread, cross = self._start()
        regression = cross.mT @ torch.linalg.pinv(spread, hermitian=True)
        end = self.mean.double().flatten() + (start.double().flatten(1) - origin) @ regression.mT
        return end, self.covariance.double() - regression @ cross

    def _passing(self, x: Tensor, t: Time, start: Tensor) -> tuple[_Joint, Tensor]:
        """The law of x_t given x_0 = start, and κ at each of its times, (times, 1, 1)."""
        check_states(x, self.mean.shape)
        check_start(start, x)
        times, rows = self._times(x, t)
        end, left = self._after(start)
        if self._linear.modes is not None:
            p, k, c = self._operators(times)
            centre = torch.einsum("bij,bj->bi", p[rows], start.double().flatten(1))
            centre = centre + torch.einsum("bij,bj->bi", k[rows], end)
            spread = k @ left @ k.mT + c @ _dense(self._linear, self.mean)
            return _Joint(centre.reshape(x.shape), (spread + spread.mT) / 2, rows), k
        p, k, c = self._linear.weights(0.0, times, 1.0)
        centre = p[rows].unsqueeze(1) * start.double().flatten(1) + k[rows].unsqueeze(1) * end
        centre = self._moved(centre, times[rows])
        k = k.reshape(-1, 1, 1)
        spread = k**2 * left + c.reshape(-1, 1, 1) * _dense(self._linear, self.mean)
        return _Joint(centre.reshape(x.shape), spread, rows), k

    def given_start(
        self, x: Tensor, t: Time, start: Tensor, condition: Tensor | None = None
    ) -> Law:
        law, k = self._passing(x, t, start)
        end, left = self._after(start)
        across = k * left if self._linear.modes is None else left @ k.mT
        regression = across @ torch.linalg.pinv(law.matrices, hermitian=True)
        residual = (x.double() - law.loc).flatten(1).unsqueeze(-1)
        mean = end + (regression[law.rows] @ residual).squeeze(-1)
        left = left - regression @ across.mT
        return _Joint(mean.reshape(x.shape).to(x.dtype), left, law.rows)

    def log_passing(self, x: Tensor, t: Time, start: Tensor) -> Tensor:
        return self._passing(x, t, start)[0].log_prob(x)


def _moments_under(
    process: LinearDiffusion, coupling: Coupling, mean: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,) and covariance of the source, and C, under a coupling; float64."""
    kernel = coupling.kernel(process, 0.0)
    flat = covariance.double()
    if process.modes is not None:
        a, c = (_operator(process, w, mean)[0] for w in (kernel.origin, kernel.variance))
        start = kernel.mean.to(flat).expand(mean.shape).flatten() + a @ mean.double().flatten()
        return start, a @ flat @ a.mT + c @ _dense(process, mean), a @ flat
    origin, noise = float(kernel.origin), float(kernel.variance)
    start = kernel.mean.to(flat).expand(mean.shape) + origin * mean.double()
    return start.flatten(), origin**2 * flat + noise * _dense(process, mean), origin * flat


def _close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of moments are the same but for rounding."""
    largest = max(float(a.abs().max()), float(b.abs().max()))
    return float((a - b).abs().max()) <= 1e-6 * largest


def _check_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(value).__name__}")
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} must be finite: it holds NaN or infinity")


def _check_covariance(name: str, matrix: Tensor) -> None:
    """Refuse what is no covariance matrix by more than rounding."""
    rounding = len(matrix) * torch.finfo(torch.float32).eps * float(matrix.abs().max())
    if float((matrix - matrix.mT).abs().max()) > rounding:
        raise ValueError(f"{name} must be symmetric: pass (matrix + matrix.T) / 2")
    smallest = float(torch.linalg.eigvalsh(matrix.double())[0])
    if smallest < -rounding:
        raise ValueError(f"{name} must have no negative eigenvalue, this one has {smallest:.3g}")


def _dense(process: LinearDiffusion, event: Tensor) -> Tensor:
    """Γ as a matrix over the flattened event."""
    basis = torch.eye(event.numel(), dtype=torch.float64, device=event.device)
    return (process.covariance @ basis.reshape(-1, *event.shape)).flatten(1)


def _operator(process: LinearDiffusion, weight: Tensor, event: Tensor) -> Tensor:
    """Weights by band (times, bands) as matrices over the flattened event, (times, d, d)."""
    every = torch.eye(event.numel(), dtype=torch.float64, device=event.device)
    every = every.reshape(-1, *event.shape)
    made = [process.basis.combine((w.unsqueeze(0), every)).flatten(1) for w in weight]
    return torch.stack(made)


@dataclass(frozen=True, eq=False)
class _Joint(Law):
    """Gaussians with a dense covariance each, shared by the rows of one time.

    Attributes:
        loc: Means, (batch, *event).
        matrices: Covariances, (times, d, d), float64.
        rows: Which covariance each row has, (batch,).
    """

    loc: Tensor
    matrices: Tensor
    rows: Tensor

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        values, vectors = torch.linalg.eigh(self.matrices)
        root = vectors * values.clamp_min(0).sqrt().unsqueeze(-2)
        noise = torch.randn(
            self.loc.shape, dtype=self.loc.dtype, device=self.loc.device, generator=generator
        )
        flat = root[self.rows].to(noise.dtype) @ noise.flatten(1).unsqueeze(-1)
        return self.loc + flat.reshape(self.loc.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        factor, singular = torch.linalg.cholesky_ex(self.matrices)
        residual = (x - self.loc).double().flatten(1).unsqueeze(-1)
        if bool(singular.any()):
            return self._certain(residual.squeeze(-1))
        factor = factor[self.rows]
        z = torch.linalg.solve_triangular(factor, residual, upper=False).squeeze(-1)
        logdet = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * (z**2).sum(-1) - logdet - 0.5 * z.shape[-1] * math.log(2 * math.pi)

    def _certain(self, residual: Tensor) -> Tensor:
        """Where x_t is certain in some direction, as at a Dirac source.

        A variance of zero counts as the smallest there is, so that among several laws those
        which say x for certain have all of the weight, and share it as they do elsewhere.
        """
        values, vectors = torch.linalg.eigh(self.matrices)
        rounding = len(values[0]) * torch.finfo(torch.float64).eps * values.amax(-1, keepdim=True)
        none = (values <= rounding)[self.rows]
        variance = torch.where(none, TINY, values[self.rows])
        z = (vectors.mT[self.rows] @ residual.unsqueeze(-1)).squeeze(-1)
        same = 1e-6 * (1 + self.loc.double().flatten(1).norm(dim=1, keepdim=True))
        z = torch.where(none & (z.abs() <= same), 0.0, z)
        return -0.5 * (z**2 / variance + (2 * math.pi * variance).log()).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        site = self.matrices.diagonal(dim1=-2, dim2=-1)[self.rows].clamp_min(0)
        return site.reshape(self.loc.shape).to(self.loc.dtype)


doors.guard(__name__, own=("mean", "covariance", "start_covariance"))
