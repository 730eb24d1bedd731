"""The law of a data set, exactly: in any dimension, under any process.

Under any coupling whose law of x_t given x_1 is known, the posterior weight of a data
point is proportional to the probability of x_t given it. Everything runs in blocks. For
discrete data the log-probabilities are looked up by value; under a linear diffusion they
are one matrix product, with -|Γ^{-1/2}(x_t - centre of the point)|²/2 taken apart into it.

Told x_0 as well, the weight of a point is the probability of x_t under the bridge from x_0 to
the point, for a source that is independent of the data. Where it is a data set of N states that
are not told, it is the mean over them, p(x_t | x_1) = Σ_i p(x_t | x_0 = state i, x_1)/N: N times
the work of one bridge.

Of pairs (x_0, x_1), under `Paired`, the weight of a pair is the probability of x_t under the
bridge between its two ends; told x_0, only pairs that begin there have any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.couplings import Coupling, Gaussian, Independent, MinibatchOT, Noised, Paired
from markovbridge.couplings.sources import Start
from markovbridge.doors import checks
from markovbridge.exact.base import DataLaw, check_start, check_states
from markovbridge.exact.distances import Distances, check_pairs, equal_rows
from markovbridge.laws import Law, SiteLaw
from markovbridge.processes.base import Process
from markovbridge.processes.diffusions import LinearDiffusion
from markovbridge.processes.schedules import Time

PAIRS = 2**22  # entries of a block of state-by-point comparisons: 32 MiB in float64


@dataclass(frozen=True, eq=False)
class Empirical(DataLaw):
    """The law of a weighted data set, in any dimension, under any process.

    Attributes:
        process: The reference.
        data: Points, (K, *event), in the coordinates of the process.
        weights: Probabilities of the points, (K,); equal if None.
        states: With a number S, the law given x_t is taken apart into its sites (tables
            over 0 .. S-1), which is what a perfect network with a law per site knows.
        coupling: The coupling: time reversal by default, which needs a process that runs
            from data to source. Of `Independent` the source is a Gaussian, under linear
            diffusions, or a data set, under any process; any, if the coupling is preserved.
        starts: The x_0 of each point, (K, *event), for the coupling `Paired`, and no other.
    """

    process: Process
    data: Tensor
    weights: Tensor | None = None
    states: int | None = None
    coupling: Coupling = field(default_factory=Noised)
    starts: Tensor | None = None

    def __post_init__(self) -> None:
        if self.states is not None:
            checks.whole(self.states, "states", least=1)
        if not isinstance(self.data, Tensor):
            raise TypeError(
                f"data must be a tensor of points (K, *event), not {type(self.data).__name__}"
            )
        if self.data.ndim < 2 or not self.data.numel():
            raise ValueError(
                f"data must be points (K, *event), not of shape {tuple(self.data.shape)}"
                + (": numbers are points of shape (1,), data.unsqueeze(1)" * (self.data.ndim == 1))
            )
        if self.data.is_floating_point() != self.process.dtype.is_floating_point:
            raise TypeError(
                f"{type(self.process).__name__} carries {self.process.dtype}, not "
                f"{self.data.dtype}: pass process.check(data)"
            )
        if self.weights is not None and not isinstance(self.weights, Tensor):
            raise TypeError(f"weights must be a tensor, not {type(self.weights).__name__}")
        if self.weights is not None and (
            self.weights.shape != self.data.shape[:1]
            or bool((self.weights < 0).any())
            or not bool((self.weights > 0).any())
        ):
            raise ValueError(
                f"weights must be {len(self.data)} non-negative numbers, one per point and not "
                f"all zero, not {tuple(self.weights.shape)} from {self.weights.min().item():g} to "
                f"{self.weights.max().item():g}"
            )
        check_pairs(self.data, self.starts, isinstance(self.coupling, Paired))
        source = self.coupling.source if isinstance(self.coupling, Independent) else None
        known = source is None or isinstance(source, Gaussian) or self._starts is not None
        if isinstance(self.coupling, MinibatchOT) or not (known or self.coupling.preserve):
            origin = "" if source is None else f" from {type(source).__name__}"
            raise ValueError(
                "the law of a data set needs that of x_t given x_1, which is not known under "
                f"{type(self.coupling).__name__}{origin}: take Noised(), Dirac(), "
                "Independent() with a Gaussian source or a data set as one, preserve=True, or "
                "Paired() with starts"
            )
        self.coupling.suits(self.process)
        if self.process.noiseless and (self._starts is not None or self.starts is not None):
            raise ValueError(
                "with sigma = 0 a flow from one data set to another has no density, as every x_t "
                "lies on some line between two points: take a Gaussian source, or sigma > 0"
            )
        if self._starts is not None:
            check_states(self._starts, self.data.shape[1:])

    @cached_property
    def _starts(self) -> Tensor | None:
        """The states of a source that is a data set and independent of the data, (N, *event)."""
        if not isinstance(self.coupling, Independent):
            return None
        assert isinstance(self.coupling.source, Start)
        states = self.coupling.source.states(self.process)
        return None if states is None else states.to(self.data)

    def _prior(self, dtype: torch.dtype) -> Tensor:
        if self.weights is None:
            count = len(self.data)
            return torch.full((count,), -math.log(count), dtype=dtype, device=self.data.device)
        return (self.weights / self.weights.sum()).to(dtype).log()

    @cached_property
    def _codes(self) -> tuple[Tensor, Tensor] | None:
        """The distinct values of the data and which of them each entry is, (K, sites)."""
        if self.data.is_floating_point():
            return None
        values, codes = self.data.flatten(1).unique(return_inverse=True)
        return (values, codes) if len(values) < len(self.data) else None

    def log_likelihood(self, x: Tensor, t: Time) -> Tensor:
        """Log p(x_t = x | x_1 = each point), of pairs given each of them: (batch, K).

        Where reals are certain it is 0 at the state and -inf beside it; under a linear diffusion,
        at the data, 0 of the nearest point.
        """
        check_states(x, self.data.shape[1:])
        t = self.process.schedule.at(t, x.device).expand(len(x))
        found = self._explained(x, t)
        if isinstance(self.process, LinearDiffusion):
            if self._starts is None and self.starts is None:
                return found + self._normaliser(x, self.coupling.kernel(self.process, t).variance)
            return found + self._normaliser(x, self.process.weights(0.0, t, 1.0)[2])
        return found

    def _explained(self, x: Tensor, t: Tensor, among: Tensor | None = None) -> Tensor:
        """Log p(x_t = x | x_1 = each point), of diffusions without the normaliser: (batch, K).

        `among`, (batch, K), says which pairs come into question; all, if it is None.
        """
        starts = self._starts
        if starts is None:
            if isinstance(self.process, LinearDiffusion):
                gains, (centre, variance) = self._moved(x, t)
                return self._distances.exponent(x, centre, gains, variance, among)
            found = self._site_by_site(x, t, None)
            return found if among is None else found.masked_fill(~among, -math.inf)
        count, parts = len(starts), []
        rows = max(1, PAIRS // (count * self.data.numel()))
        for x_part, t_part in zip(x.split(rows), t.split(rows), strict=True):
            begin = starts.repeat(len(x_part), *[1] * (x.ndim - 1))
            here, times = (part.repeat_interleave(count, 0) for part in (x_part, t_part))
            each = self._bridged(here, times, begin).reshape(len(x_part), count, -1)
            parts.append(each.logsumexp(1) - math.log(count))
        return torch.cat(parts)

    def _moved(self, x: Tensor, t: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
        """Gains of x_t on x_1, and on x_0 of pairs; the rest of its mean, and its variance."""
        assert isinstance(self.process, LinearDiffusion)
        none = torch.zeros_like(x, dtype=torch.float64)
        if self.starts is None:
            kernel = self.coupling.kernel(self.process, t)
            return (kernel.gain,), (kernel.centre(none), kernel.variance)
        first, last, variance = self.process.weights(0.0, t, 1.0)
        return (last, first), (self.process.bridged(none, 0.0, t, 1.0), variance)

    def _bridged(self, x: Tensor, t: Tensor, start: Tensor) -> Tensor:
        """The same given x_0 = start as well: that of bridges to each point."""
        if isinstance(self.process, LinearDiffusion):
            _, gain, variance = self.process.weights(0.0, t, 1.0)
            start = start.double()
            law = self.process.bridge(start, torch.zeros_like(start), 0.0, t, 1.0)
            return self._distances.exponent(x, law.mean, (gain,), variance)
        return self._site_by_site(x, t, start)

    def _site_by_site(self, x: Tensor, t: Tensor, start: Tensor | None) -> Tensor:
        """The same for any process, by the laws that it states."""
        rows = max(1, PAIRS // self.data.numel())
        by_point = self._codes is None or self.starts is not None
        block = self._by_point if by_point else self._by_value
        parts = zip(x.split(rows), t.split(rows), strict=True)
        if start is None:
            return torch.cat([block(x_part, t_part, None) for x_part, t_part in parts])
        starts = start.split(rows)
        return torch.cat([block(*part, begin) for part, begin in zip(parts, starts, strict=True)])

    def _given(self, ends: Tensor, t: Tensor, start: Tensor | None) -> Law:
        """The law of x_t given x_1 = ends, and x_0 = start if it is told."""
        if start is None:
            return self.coupling.given_end(self.process, ends, t)
        return self.process.bridge(start, ends, 0.0, t, 1.0)

    def _by_point(self, x: Tensor, t: Tensor, start: Tensor | None) -> Tensor:
        batch, points = len(x), max(1, PAIRS // max(1, x.numel()))
        columns, pairs = [], self.starts is not None
        sources = self.data if self.starts is None else self.starts
        for data, source in zip(self.data.split(points), sources.split(points), strict=True):
            k = len(data)
            ends = data.repeat(batch, *[1] * (data.ndim - 1))
            begin = None if start is None else start.repeat_interleave(k, 0)
            if pairs:
                begin = source.repeat(batch, *[1] * (data.ndim - 1))
            law = self._given(ends, t.repeat_interleave(k), begin)
            columns.append(_log_prob(law, x.repeat_interleave(k, 0)).reshape(batch, k))
        return torch.cat(columns, 1)

    def _by_value(self, x: Tensor, t: Tensor, start: Tensor | None) -> Tensor:
        # Discrete data repeat few values many times: one log-probability for each value at
        # each site, looked up for the points, instead of one for each point.
        assert self._codes is not None
        values, codes = self._codes
        batch, k, sites = len(x), len(values), codes.shape[1]
        ends = values.reshape(1, k, *[1] * (x.ndim - 1)).expand(batch, k, *x.shape[1:])
        begin = None if start is None else start.repeat_interleave(k, 0)
        if start is not None:  # there may be no bridge to a value that a site never has
            ends = torch.where(self._occur, ends, self.data[0])
        law = self._given(ends.flatten(0, 1), t.repeat_interleave(k), begin)
        assert isinstance(law, SiteLaw), "discrete processes move site by site"
        each = law.site_log_prob(x.repeat_interleave(k, 0)).reshape(batch, k * sites)
        columns = codes * sites + torch.arange(sites, device=x.device)
        parts = columns.split(max(1, PAIRS // max(1, x.numel())))
        return torch.cat([each[:, part].sum(-1) for part in parts], 1)

    @cached_property
    def _occur(self) -> Tensor:
        """Which of the distinct values some point has at a site, (values, *event)."""
        assert self._codes is not None
        values, codes = self._codes
        occur = torch.zeros(len(values), codes.shape[1], dtype=torch.bool, device=codes.device)
        occur[codes, torch.arange(codes.shape[1], device=codes.device)] = True
        return occur.reshape(len(values), *self.data.shape[1:])

    @cached_property
    def _distances(self) -> Distances:
        assert isinstance(self.process, LinearDiffusion)
        points = (self.data,) if self.starts is None else (self.data, self.starts)
        return Distances(self.process.basis, points, self.weights)

    def _normaliser(self, x: Tensor, variance: Tensor) -> Tensor:
        """What `_explained` leaves out of the log-density, (batch, 1); 0 where x_t is certain."""
        assert isinstance(self.process, LinearDiffusion)
        logdet = self.process.covariance.logdet(x.shape[1:])
        certain = variance == 0
        log = (2 * math.pi * torch.where(certain, 1.0, variance)).log()
        found = -0.5 * (self.process.basis.total(log, x) + logdet)
        certain = certain if self.process.modes is None else certain.all(1)
        return torch.where(certain, 0.0, found).unsqueeze(-1)

    def marginal(self, x: Tensor, t: Time) -> Law:
        check_states(x, self.data.shape[1:])
        t = self.process.schedule.at(t)
        if t.ndim:
            raise ValueError("the marginal of a data set is asked for at one time, a float")
        prior, ends, starts = self._prior(torch.float64), self.data, self.starts
        if self._starts is not None:  # all pairs
            starts = self._starts
            ends = ends.repeat_interleave(len(starts), 0)
            prior = prior.repeat_interleave(len(starts)) - math.log(len(starts))
            starts = starts.repeat(len(self.data), *[1] * (x.ndim - 1))
        law = self._given(ends, t, starts)
        return _EmpiricalMarginal(self, ends, starts, law, prior, t, len(x))

    def __call__(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Law:
        check_states(x, self.data.shape[1:])
        return self._weighed(
            self._explained(x, self.process.schedule.at(t, x.device).expand(len(x)))
        )

    def given_start(
        self, x: Tensor, t: Time, start: Tensor, condition: Tensor | None = None
    ) -> Law:
        if not isinstance(self.coupling, Independent | Paired):
            return super().given_start(x, t, start, condition)
        return self._weighed(self._told(x, t, start)[0])

    def log_passing(self, x: Tensor, t: Time, start: Tensor) -> Tensor:
        if not isinstance(self.coupling, Independent | Paired):
            return super().log_passing(x, t, start)
        joint, prior, variance = self._told(x, t, start)
        log = (joint + prior).logsumexp(1)
        return log if variance is None else log + self._normaliser(x, variance).squeeze(1)

    def _told(self, x: Tensor, t: Time, start: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log p(x_t = x | x_0 = start, each point), -inf for pairs that begin elsewhere.

        Returns:
            That, (batch, K), of a diffusion without its normaliser; the logarithm of the weights
            given x_0; and the variance of a diffusion for its normaliser.
        """
        check_states(x, self.data.shape[1:])
        check_start(start, x)
        t = self.process.schedule.at(t, x.device).expand(len(x))
        if self.starts is None:
            joint = self._bridged(x, t, start)
            prior = self._prior(joint.dtype)
        else:
            among = equal_rows(start, self.starts) & (self._prior(torch.float64) > -math.inf)
            if not bool(among.any(1).all()):
                raise ValueError(
                    f"start {int((~among.any(1)).nonzero()[0])} of the batch is the x_0 of no "
                    "pair: give one of the law's starts"
                )
            joint = self._explained(x, t, among)
            prior = self._prior(joint.dtype).masked_fill(~among, -math.inf).log_softmax(1)
        if isinstance(self.process, LinearDiffusion):
            return joint, prior, self.process.weights(0.0, t, 1.0)[2]
        return joint, prior, None

    def _weighed(self, joint: Tensor) -> Law:
        """The points, each with its weight, from what x_t says of each."""
        joint = joint + self._prior(joint.dtype)
        if isinstance(self.process, LinearDiffusion):
            return laws.Atoms(self.data, joint.log_softmax(1).to(self.data.dtype))
        if not bool(torch.isfinite(joint.amax(1)).all()):
            bad = int((~torch.isfinite(joint.amax(1))).nonzero()[0])
            raise ValueError(f"state {bad} of the batch cannot come from any data point")
        law = laws.Atoms(self.data, joint.log_softmax(1))
        return law if self.states is None else law.sites(self.states)


def _log_prob(law: Law, x: Tensor) -> Tensor:
    """Log-densities, (batch,); 0 at a state of reals that is certain and -inf beside it."""
    log = law.log_prob(x)
    if not x.is_floating_point():
        return log
    certain = (law.variance == 0).flatten(1).all(1)
    there = (x == law.mean).flatten(1).all(1)
    return torch.where(certain, torch.where(there, 0.0, -math.inf).to(log), log)


@dataclass(frozen=True, eq=False)
class _EmpiricalMarginal(Law):
    """The law of x_t for a data set: a mixture of transitions over the points."""

    data: Empirical
    ends: Tensor  # the points, or those of all pairs
    starts: Tensor | None
    transitions: Law  # batched over them
    prior: Tensor
    t: Tensor
    batch: int

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        rows = laws.Categorical(self.prior.expand(self.batch, -1)).sample(generator=generator)
        starts = None if self.starts is None else self.starts[rows]
        law = self.data._given(self.ends[rows], self.t, starts)
        return law.sample(generator=generator)

    def log_prob(self, x: Tensor) -> Tensor:
        prior = self.data._prior(self.prior.dtype)
        return (self.data.log_likelihood(x, self.t) + prior).logsumexp(1)

    def _average(self, values: Tensor) -> Tensor:
        average = torch.tensordot(self.prior.exp().to(values.dtype), values, 1)
        return average.expand(self.batch, *average.shape)

    @property
    def mean(self) -> Tensor:
        return self._average(self.transitions.mean)

    @property
    def variance(self) -> Tensor:
        mean = self.transitions.mean
        spread = (mean - self.mean[0]) ** 2
        return self._average(self.transitions.variance + spread)


doors.guard(__name__, own=("x", "weights"))
