r"""Diffusions: linear SDEs with correlated noise, and their bridges in closed form.

With a gain a_{st} and a variance v_{st} over [s, t] (`sdes`), and noise of spatial
covariance Γ (`markovbridge.covariances`),

    x_t | x_s           ~ N(a_{st} x_s, v_{st} Γ)
    x_t | x_s, x_u      ~ N(p x_s + κ x_u, c Γ)

    p = v_{tu} a_{st} / v_{su},   κ = v_{st} a_{tu} / v_{su},   c = v_{st} v_{tu} / v_{su}.

Pinned at x_1 = y the drift is f_t x + g_t² (a_{t1}/v_{t1}) (y - a_{t1} x): Γ cancels,
and the drift is affine in y, so E[x_1 | x_t] alone determines the generative process
(Peluchetti, https://arxiv.org/abs/2312.14589). A drift c beside f X, the same at all times of
the SDE's clock, moves means by c times the shift b_{st} = ∫ a_{ut} dr(u), and leaves gains,
variances and divergences as they are: with x_t ~ a_{st} x_s + b_{st} c the bridge is moved by
(v_{tu} b_{st} - v_{st} a_{tu} b_{tu}) c / v_{su}, and pinned drifts aim at y - b_{t1} c. The path
KL between the pinned process and a model that predicts ŷ has, by Girsanov's theorem, the rate

    ½ g_t² (a_{t1}/v_{t1})² |Γ^{-1/2} (y - ŷ)|².

**Flows.** With σ = 0 (`Brownian`, `OrnsteinUhlenbeck`) the bridge is a point, p x_s + κ x_u, p and
κ being the limit for small σ, and so is the pinned drift above: the generative process is the
ordinary differential equation of that drift at E[x_1 | x_t], which with an independent or paired
coupling is flow matching (Lipman et al., https://arxiv.org/abs/2210.02747) and rectified flow
(Liu et al., https://arxiv.org/abs/2209.03003). Nothing can be divided by the variance: there
is no path KL and no likelihood bound, and no score from the means of both ends.

**Both directions are one.** A noising SDE dY = f Y dr + g Γ^{1/2} dW, from the data to
the source, has the bridges of the forward SDE with f → -f and time run backwards: gain
1/a and variance v/a². So time reversal (DDPM, VE, VP, sub-VP) differs from a bridge
mixture by its coupling only, and nothing below asks for the direction except `_piece`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances import Covariance, Isotropic, Kernel, SingularError, Transform
from markovbridge.doors import checks
from markovbridge.laws import Delta, Gaussian, Law
from markovbridge.laws.numbers import repeated
from markovbridge.processes import decoders
from markovbridge.processes.bands import BandClocks, check_bands
from markovbridge.processes.base import Setting
from markovbridge.processes.baselines import Baseline, Normals, Pairing
from markovbridge.processes.linear import LinearPaths
from markovbridge.processes.reals import Diffusion
from markovbridge.processes.schedules import LinearSchedule, Reading, Schedule, Time
from markovbridge.processes.sdes import Brownian, LinearSDE
from markovbridge.processes.supports import Support


@dataclass(frozen=True)
class LinearDiffusion(LinearPaths, Diffusion):
    """dX = (f_t X + c_t) dt + g_t Γ^{1/2} dW.

    Attributes:
        sde: The pull f and the noise g, on a clock of their own.
        covariance: Γ, how the noise is correlated over the event.
        schedule: The clock over time, a time change; `LinearSchedule` is none. With direction
            "forward" the clock of the SDE shows the survival p(t), from the source on; with
            "noising" the mortality 1 - p(t), from the data on.
        direction: Which way the SDE is stated: from source to data, or from data to source.
        support: The range of the data if it is not all reals.
        offset: c, the drift beside f X, per unit of the clock of the SDE and in its direction: a
            number or (*event), in coordinates. With an `OrnsteinUhlenbeck(-α)` that reverts to a
            level μ it is α μ.
        modes: A transform U, in whose bands clocks and SDEs may differ. It has to diagonalise Γ.
        clocks: A clock for each band. An SDE for each is a `BandSDE`.
    """

    sde: LinearSDE = field(default_factory=Brownian)
    covariance: Covariance = field(default_factory=Isotropic)
    schedule: Schedule = field(default_factory=LinearSchedule)
    # A choice here, a fact of the class in other processes.
    direction: Literal["forward", "noising"] = "forward"  # pyright: ignore
    support: Support | None = None
    offset: float | Tensor = 0.0
    modes: Transform | None = None
    clocks: BandClocks | None = None

    def __post_init__(self) -> None:
        for name, kind, example in (
            ("sde", LinearSDE, "Brownian(1.0)"),
            ("covariance", Covariance, "Isotropic()"),
            ("schedule", Schedule, "LinearSchedule()"),
            ("support", Support | None, "PositiveSupport()"),
            ("modes", Transform | None, "covariances.Cosine()"),
            ("clocks", BandClocks | None, "processes.BandClocks((2.0, 0.5))"),
        ):
            value = getattr(self, name)
            if isinstance(value, kind):
                continue
            if isinstance(value, Kernel):
                remedy = f"a kernel: wrap it, as in Torus({type(value).__name__}(...))"
            elif isinstance(value, type):
                remedy = f"the class {value.__name__}: call it, as in {value.__name__}()"
            else:
                remedy = repr(value)
            raise TypeError(f"{name} must be an object such as {example}, not {remedy}")
        if self.direction not in ("forward", "noising"):
            raise ValueError(f"direction must be forward or noising, not {self.direction!r}")
        checks.sites(self.offset, "offset")
        check_bands(self.sde, self.modes, self.clocks, self.affine)

    def transition(self, x: Tensor, s: Time, t: Time) -> Law:
        """x_t given x_s = x, either way: N(a x, v Γ) towards the data, N(x/a, v/a² Γ) from it.

        Means are moved by `offset`.

        Against `direction` this is the SDE reversed under the flat measure, which is what
        makes the two directions share their bridges.
        """
        s, t = self.schedule.at(s), self.schedule.at(t)
        if s.precedes(t):
            gain, variance = self.piece(s, t)
        else:
            inverse, variance = self.piece(t, s)
            gain, variance = 1 / inverse, variance / inverse**2
        if self.noiseless:
            return Delta(self.carried(self.basis.combine((gain, x)), s, t))
        law = self.basis.gaussian(variance.sqrt(), (gain, x))
        if not self.affine:
            return law
        assert isinstance(law, Gaussian), "with modes there is no offset"
        return replace(law, loc=self.carried(law.mean, s, t))

    def bridge(self, x: Tensor, y: Tensor, s: Time, t: Time, u: Time) -> Law:
        """x_t given x_s = x and x_u = y: N(p x + κ y, c Γ), of a flow the point p x + κ y.

        Raises:
            ValueError: If times are not ordered.
        """
        start, end, variance = self.weights(s, t, u)
        if self.noiseless:
            return Delta(self.bridged(self.basis.combine((start, x), (end, y)), s, t, u))
        law = self.basis.gaussian(variance.sqrt(), (start, x), (end, y))
        if not self.affine:
            return law
        assert isinstance(law, Gaussian), "with modes there is no offset"
        return replace(law, loc=self.bridged(law.mean, s, t, u))

    def baseline(
        self, coupling: Pairing, x1: Tensor, x0: Tensor | None, end: float
    ) -> Baseline | None:
        """Gaussian data of covariance ∝ Γ."""
        return Normals(self, None if x0 is not None else coupling, x1, end)

    def truncation(self, event: torch.Size) -> float:
        """A small mortality: path measures are singular at the very end.

        Raises:
            TypeError: Of a flow, which has no path KL.
        """
        self._check_noise("likelihood bound")
        return decoders.truncation(self, event)

    def decoder(self, x0: Tensor, x1: Tensor, end: float) -> Tensor:
        """E[-log p(data | x_end)] given both ends of the path: (batch,) float64."""
        return decoders.decoder(self, x0, x1, end)

    def log_volume(self, data: Tensor) -> Tensor:
        """Log |dz/dx| of the coordinates of the `support`: (batch,); 0 for counts."""
        return decoders.log_volume(self, data)

    def pull(self, law: Law, x: Tensor, t: float) -> Tensor:
        """Root mean square of the drift beside that of the reference."""
        own = self._reference(x, self.schedule.at(t).double())
        return (self.drift(x, law.mean, t) - own).double().square().mean().sqrt()

    def noised(self, x1: Tensor) -> Law:
        """x_0 given x_1: the SDE run from the data to the source.

        Raises:
            TypeError: Of a flow, which does not noise.
        """
        self._check_noise("time reversal")
        return self.transition(x1, 1.0, 0.0)

    def source(self, like: Tensor) -> Law:
        """What noising makes of centred data with covariance Γ: N(0, (1 + v)/a² Γ).

        For VP that is N(0, Γ), the usual prior; for VE it is N(0, (1 + σ²) Γ).
        """
        gain, variance = self.piece(0.0, 1.0)
        mean = self.carried(torch.zeros_like(like), 1.0, 0.0)
        return self.basis.gaussian((1 + variance).sqrt() / gain, (torch.ones_like(gain), mean))

    def drift(self, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """Drift of the process pinned at x_1 = y, for t < 1: (batch, *event).

        With y = E[x_1 | x_t = x] it is the drift of the generative process.

        Raises:
            ValueError: At t = 1, where it is infinite.
        """
        t = self.schedule.at(t).double()
        gain, variance = self._left(t)
        pull = self._rates(t)[1] * gain / variance
        aim = self.carried(self.basis.combine((gain, x)), t, 1.0)
        return self._reference(x, t) + self.basis.combine((pull, y - aim))

    def _reference(self, x: Tensor, t: Reading) -> Tensor:
        """The drift of the reference towards the data, f x + c per unit of time."""
        own = self.basis.combine((self.rates(t)[0], x))
        return own + self.moved(self._push(t, self.schedule.rate(t)), x) if self.affine else own

    def end_of_drift(self, x: Tensor, drift: Tensor, t: Time) -> Tensor:
        """The y whose pinned drift at x, per unit of clock, is `drift`, for t < 1.

        Per unit of clock, because per unit of time there is no drift where the clock stands
        still, as `CosineSchedule` does at t = 0.

        Raises:
            ValueError: At t = 1, and where the SDE has no noise: drifts do not depend on y.
        """
        t = self.schedule.at(t).double()
        gain, f, pull = self.pulls(t)
        own = self.basis.combine((f, x))
        if self.affine:
            own = own + self.moved(self._push(t, torch.ones_like(t)), x)
        aim = self.carried(self.basis.combine((gain, x)), t, 1.0)
        return aim + self.basis.over(drift - own, pull)

    def pulls(self, t: Time) -> tuple[Tensor, Tensor, Tensor]:
        """Per unit of clock: a_{t1}, f, and how hard the end pulls, g² a_{t1}/v_{t1}.

        Raises:
            ValueError: As `end_of_drift`.
        """
        t = self.schedule.at(t).double()
        gain, variance = self._left(t)
        f, noise = self._clock_rates(t)
        pull = noise * gain / variance
        if not bool((pull > 0).all()):
            raise ValueError(
                "this SDE has no noise at the source, where its drift says nothing of the data: "
                "predict the end or the residual instead of the drift"
            )
        return gain, f, pull

    def diffusion(self, t: Time) -> Tensor:
        """g_t: noise is g_t Γ^{1/2} dW. float64, the shape of t, or (rows, bands) by mode."""
        return self.rates(t)[1].sqrt()

    def shake(
        self,
        like: Tensor,
        t: float,
        s: float,
        *,
        level: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The noise of a step from t to s, by mode if there are modes."""
        if self.modes is None:
            return super().shake(like, t, s, level=level, generator=generator)
        scale = level * (s - t) ** 0.5 * self.diffusion(t)
        return self.basis.noise(scale, like, generator=generator)

    def damp(self, score: Tensor, t: Time, share: float) -> Tensor:
        """½ · share · g_t² times a smoothed score, by mode if there are modes."""
        return self.basis.combine((0.5 * share * self.rates(t)[1], score))

    def extrapolated(self, first: Tensor, second: Tensor, t: float, m: float, s: float) -> Tensor:
        """D_t + w (D_m - D_t), w = 2 where half of the noise of the step has come at m.

        By mode a share θ has, and w = (θ (1 - θ))^{-1/2}, of bands with noise on either side of m,
        gives the last step its variance.
        """
        if self.modes is None:
            return super().extrapolated(first, second, t, m, s)
        start, middle, end = self._ordered(t, m, s)
        left = self._piece(middle, end)[1] / self._piece(start, end)[1]
        weight = (left * (1 - left)).clamp_min(0.1).rsqrt()
        return first + self.basis.combine((weight, second - first))

    def noise(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Γ^{1/2} z in the shape of `like`."""
        return self.covariance.sample(like, generator=generator)

    def score(self, x: Tensor, start: Tensor, end: Tensor, t: Time) -> Tensor:
        """∇ log of the density of x_t, from the means of both ends given x_t = x.

        (c Γ)^{-1} (p E[x_0 | x] + κ E[x_1 | x] - x), for any coupling and 0 < t < 1.

        Raises:
            ValueError: At t = 0 and t = 1, where the bridge is certain.
        """
        return self.covariance.solve(self.smoothed_score(x, start, end, t))

    def smoothed_score(self, x: Tensor, start: Tensor, end: Tensor, t: Time) -> Tensor:
        """Γ times `score`, which needs no inverse of Γ.

        Raises:
            ValueError: At t = 0 and t = 1, where the bridge is certain.
            TypeError: Of a flow, whose bridge always is.
        """
        self._check_noise("score from the means of both ends")
        p, k, c = self.weights(0.0, t, 1.0)
        if not bool((c > 0).all()):
            raise ValueError(
                "the means of both ends give no score at t = 0 or t = 1, where the bridge has "
                "no spread: ask for it in between"
            )
        mean = self.basis.combine((p, start), (k, end), like=x)
        return self.basis.over(self.bridged(mean, 0.0, t, 1.0) - x, c)

    def divergence(self, law: Law, x: Tensor, y: Tensor, t: Time) -> Tensor:
        """½ g² (a/v)² |Γ^{-1/2} (y - ŷ)|², with ŷ = law.mean: (batch,), nats per time.

        Raises:
            ValueError: At t = 1, where it is infinite.
            TypeError: Of a flow, which has none.
        """
        self._check_noise("path KL")
        t = self.schedule.at(t).double()
        gain, variance = self._left(t)
        weight = 0.5 * self.rates(t)[1] * (gain / variance) ** 2
        try:
            return self.basis.quadratic(weight, y - law.mean)
        except (SingularError, ArithmeticError, NotImplementedError) as error:
            raise type(error)(
                f"{error}; to train without an inverse, take the objective EndMSE()"
            ) from error

    def standardise(self, x: Tensor, t: Time, setting: Setting) -> Tensor:
        """(x - E x_t)/√Var x_t, from the moments of both ends.

        They count as independent, unless x_0 is the data, noised.
        """
        centre, _, signal, noise = self._marginal(x, t, setting)
        spread = self.basis.diagonal(signal + noise, x)
        return ((x - centre) / spread.clamp_min(1e-12).sqrt()).unsqueeze(1)

    def regression(self, x: Tensor, t: Time, setting: Setting) -> tuple[Tensor, Tensor]:
        """The regression of x_1 on x_t, mode by mode, and the standard deviation it leaves.

        Without modes it is site by site, by mode it asks for the `spectrum` of the clocks.

        Args as for `standardise`; both results are broadcastable to x.
        """
        centre, gain, signal, noise = self._marginal(x, t, setting)
        spread = (signal + noise).clamp_min(torch.finfo(x.dtype).tiny)
        variance = self.basis.spectrum(setting.variance, x)
        guess = self.basis.inverse(gain * variance / spread * self.basis.forward(x - centre))
        left = self.basis.diagonal(variance * noise / spread, x)
        return setting.mean + guess, left.sqrt()

    def _marginal(
        self, x: Tensor, t: Time, setting: Setting
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mean of x_t; in modes its gain on x_1, the variance of that, and of the rest."""
        basis, mean, start = self.basis, setting.mean, setting.source(x)
        power = basis.power(x)
        if start is None:
            scale, noise = self.piece(t, 1.0)
            gain = basis.weigh(1 / scale, x)
            centre = basis.inverse(gain * basis.lift(mean, x))
            if self.affine:
                centre = self.carried(centre.expand(x.shape), 1.0, t)
            rest = basis.weigh(noise / scale**2, x) * power
        else:
            p, gain, c = (basis.weigh(w, x) for w in self.weights(0.0, t, 1.0))
            centre = basis.inverse(p * basis.lift(start[0], x) + gain * basis.lift(mean, x))
            if self.affine:
                centre = self.bridged(centre.expand(x.shape), 0.0, t, 1.0)
            rest = p**2 * basis.like_noise(start[1], x) + c * power
        return centre, gain, gain**2 * basis.spectrum(setting.variance, x), rest

    def reversed(self) -> LinearDiffusion:
        """The same process with source and data exchanged: its bridges run backwards."""
        return replace(
            self,
            schedule=self.schedule.mirrored(),
            clocks=None if self.clocks is None else self.clocks.mirrored(),
            direction="noising" if self.direction == "forward" else "forward",
        )

    def refined(self, factor: int, dimension: int) -> LinearDiffusion:
        """The same dynamics with the noise of a finer grid, see `Covariance.refined`."""
        if self.modes is not None:
            raise NotImplementedError(
                "clocks by mode are stated for the bands of one grid, and this process has no "
                "finer one: take a LinearDiffusion without modes"
            )
        noise = self.covariance.refined(factor, dimension)
        return replace(self, covariance=noise, offset=repeated(self.offset, factor, dimension))


doors.guard(__name__, own=("sde", "covariance", "support", "offset", "modes", "clocks"))
