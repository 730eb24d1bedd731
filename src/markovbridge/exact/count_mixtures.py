r"""Counts of many features as a mixture of negative binomials: an exact law, and quick to fit.

One family covers the simple models of a count table: negative binomial counts around K
profiles, the depth of a row (its size factor, in units of the library size) being one of Q
values s_q, a grid on a logarithmic scale:

    p(x) = Σ_qk w_qk Π_j NB(x_j; mean s_q π_kj, size r_j).

- K = 1 is the negative binomial per feature with size factors that the field uses, the size
  factor being integrated out where others plug in the total of the row itself. So log p(x)
  is that of a normalised law, to compare with a bound on log p(x) as
  `Transport.log_likelihood` gives it. For a transport conditioned on the library size l, add
  log p(l) to its bound on log p(x | l): by `fit(totals)`, the same family of one feature.
- Without size factors (Q = 1, s = 1) features are independent.
- K > 1 is the simple latent model: cell types, topics, sites.

**Under pure death** it stays in its family: what is kept with probability p has means p s π and
the same r. So the law of x_1 given x_t is known (`count_posteriors`), and with q = 1 - p

    E[x_1 - x_t | x_t = x]_j  =  q (r_j + x_j) Σ_qk weight · s_q π_kj/(r_j + p s_q π_kj),
    weight  ∝  w_qk Π_j NB(x_j; p s_q π_kj, r_j):

between the row's own counts and what its profile says, by as much as the feature varies. As
weights depend on all sites together, it is a joint law: the marginals of what is left are not
independent.

Where rows are told categories, levels may have weights of their own (`told`, `count_levels`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.couplings import Coupling, Noised
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows, taken
from markovbridge.doors import checks
from markovbridge.exact.base import DataLaw, check_table, check_thinned
from markovbridge.exact.count_fitting import AT_ONCE, Numbers, SortedCounts, fit, widened
from markovbridge.exact.count_levels import LevelWeights
from markovbridge.exact.count_panels import CountPanels, MadeTables
from markovbridge.exact.count_posteriors import CountPosterior
from markovbridge.exact.count_tables import CountTables
from markovbridge.processes.base import Process
from markovbridge.processes.pure_death import PureDeath
from markovbridge.processes.schedules import Time
from markovbridge.samplers.known_sites import Observed

TOLERANCE = 1e-4  # nats per row by which a round must be better, or fitting ends
RELATIVE = 5e-7  # the same, of the nats of a row, once these are known
PRIOR = 0.5  # counts that each profile is given per feature
ROUNDS, LAST = 50, 12  # of EM for each candidate, and for the best on all rows
COMPARED, TRIED = 2000, 2**23  # rows that candidates are compared on, and their counts
WIDE = 4096  # features that candidates are compared on: those with most counts
LARGE, FEWER = 2**26, 4  # numbers of a table that the best is fitted to by fewer rounds
CUT = 1e-6  # mass that may lie above the maximum of the process
NUMBERS = ("log_weights", "depths", "profiles", "sizes")


class CountMixture(nn.Module, DataLaw):
    """A mixture of negative binomials over K profiles and Q depths: see the head of this module.

    A law of the data of any event shape with as many sites as it has features. It is a module
    without parameters: its numbers are buffers, saved as weights are, and filled by `fit` or by
    `load_state_dict`. Until then all means and sizes are 1.

    Args:
        process: `PureDeath`, without a maximum or with one above which hardly any mass lies.
        components: Profiles K.
        depths: Depths Q.
        features: Sites d of an event.
        corrected: Whether it is the base law that a network corrects, so that mass above the
            maximum of the process does no harm.
        residuals: Whether the network is told how far each site is from what the mixture
            expects of it: see `CountPosterior.residual`.
        combinations: Combinations of levels that have weights of their own: see `LevelWeights`.
        numbers: How many numbers of a condition tell the combination.

    Attributes:
        log_weights: log w, (Q, K) float64, normalised.
        depths: s, (Q,).
        profiles: π, (K, d): about the shares of the library; means, if the depth is always 1.
        sizes: r, (d,).
        config: All arguments of the constructor by name, but for those of levels where there are
            none: so files, and texts, of such a mixture are what they were before there were any.

    Raises:
        TypeError: If the process does not thin counts to none.
    """

    coupling: Coupling = Noised()
    uses_known = True
    config: dict[str, Any]
    log_weights: Tensor
    depths: Tensor
    profiles: Tensor
    sizes: Tensor

    def __init__(
        self,
        process: Process,
        *,
        components: int,
        depths: int,
        features: int,
        corrected: bool = False,
        residuals: bool = False,
        combinations: int = 0,
        numbers: int = 0,
    ) -> None:
        super().__init__()
        asking = "a mixture of negative binomials keeps its form"
        self._most = check_thinned(process, asking, "take Empirical")
        sizes = {"components": components, "depths": depths, "features": features}
        for name, size in sizes.items():
            checks.whole(size, name, least=1)
        self.process = process
        self.corrected = corrected
        checks.whole(combinations, "combinations", least=0)
        checks.whole(numbers, "numbers", least=0)
        shown = {"corrected": corrected, "residuals": residuals}
        self.config = {"process": process, **sizes, **shown}
        if combinations:
            self.config |= {"combinations": combinations, "numbers": numbers}
        made = LevelWeights(combinations, numbers, depths, components)
        self.levels = made if combinations else None
        self.more_features = int(residuals)
        weights = torch.full((depths, components), -float(torch.tensor(depths * components).log()))
        self.register_buffer("log_weights", weights.double())
        self.register_buffer("depths", torch.ones(depths, dtype=torch.float64))
        self.register_buffer("profiles", torch.ones(components, features, dtype=torch.float64))
        self.register_buffer("sizes", torch.ones(features, dtype=torch.float64))
        self._made: tuple[list[tuple[Tensor, int]], MadeTables] | None = None

    @classmethod
    def of(
        cls,
        process: Process,
        log_weights: Tensor,
        depths: Tensor,
        profiles: Tensor,
        sizes: Tensor,
        *,
        corrected: bool = False,
        residuals: bool = False,
        levels: LevelWeights | None = None,
    ) -> CountMixture:
        """The law of these numbers; see the attributes, and `told` for `levels`.

        Raises:
            ValueError: If their shapes do not go together, or one is no positive number.
        """
        given: dict[str, Tensor] = {**vars(Numbers(log_weights, depths, profiles, sizes))}
        for name in NUMBERS[1:]:
            checks.parameter(given[name], name, above=0)
        made = cls(
            process,
            components=len(profiles),
            depths=len(depths),
            features=profiles.shape[1],
            corrected=corrected,
            residuals=residuals,
            combinations=0 if levels is None else len(levels.conditions),
            numbers=0 if levels is None else levels.conditions.shape[1],
        )
        if levels is not None:
            given |= {f"levels.{name}": value for name, value in levels.state_dict().items()}
        log = log_weights.double().flatten().log_softmax(0)
        given["log_weights"] = log.reshape(log_weights.shape)
        made.load_state_dict(given)
        return made.to(profiles.device)

    @classmethod
    def fit(
        cls,
        x: Tensor | Rows,
        *,
        components: int = 1,
        process: Process | None = None,
        size_factors: bool = True,
        rounds: int = 50,
        tolerance: float = TOLERANCE,
        prior: float = PRIOR,
        seed: int = 0,
    ) -> CountMixture:
        """Fit to counts by maximum likelihood: see `count_fitting`.

        Args:
            x: Counts, (n, *event), n >= 2; of more than 20,000 rows so many are taken at random.
            components: Profiles K.
            process: Of the law; `PureDeath()` if None.
            size_factors: Whether rows differ in depth.
            rounds: Of EM, at most.
            tolerance: Nats per row by which a round must be better, or fitting ends.
            prior: Counts that each profile is given per feature.
            seed: Of the rows that profiles start from.
        """
        checks.turns(rounds, "rounds")
        checks.number(prior, "prior", least=0)
        check_table(x, components)
        numbers = fit(
            SortedCounts(x, seed=seed),
            components,
            size_factors=size_factors,
            rounds=rounds,
            tolerance=tolerance,
            prior=prior,
            seed=seed,
        )
        return cls._holding(process, numbers)

    @classmethod
    def choose(
        cls,
        x: Tensor | Rows,
        validation: Tensor | Rows,
        *,
        candidates: Sequence[int] = (1, 2, 4, 8, 16),
        process: Process | None = None,
        seed: int = 0,
    ) -> CountMixture:
        """The best of several numbers of components on held-out rows.

        Stops at the first candidate that is worse than the one before. Of wide tables candidates
        are compared on a part of the rows and features, and the best is fitted to all.

        Args:
            x: Counts to fit to, (n, *event).
            validation: Counts to choose by, (m, *event).
            candidates: Numbers of components, increasing.
            process: Of the law; `PureDeath()` if None.
            seed: As of `fit`.
        """
        best, nats, sizes = None, -math.inf, None
        options = {"size_factors": True, "prior": PRIOR, "seed": seed, "tolerance": TOLERANCE}
        few = max(COMPARED, TRIED // max(1, x.shape[1:].numel()))
        some = validation if len(validation) <= few else taken(validation, torch.arange(few))
        for components in candidates:
            check_table(x, components)
        whole = counts = SortedCounts(x, most=few, seed=seed)
        if len(whole.sum) > WIDE:
            columns = whole.sum.topk(WIDE).indices.sort().values
            counts = SortedCounts(x, most=few, seed=seed, columns=columns)
            some = some[:].flatten(1)[:, columns]
        for components in candidates:
            numbers = fit(counts, components, rounds=ROUNDS, sizes=sizes, **options)
            found = float(cls._holding(process, numbers).log_prob(some).mean())
            if found <= nats:
                break
            best, nats, sizes = numbers, found, numbers.sizes
            options["tolerance"] = max(TOLERANCE, RELATIVE * abs(found))
        if best is None:
            raise ValueError("give at least one candidate")
        if counts is not whole:
            best = widened(best, counts, whole, PRIOR)
        if len(x) > few or counts is not whole:
            every = whole if len(x) <= few else SortedCounts(x, seed=seed)
            rounds = LAST if x.numel() <= LARGE else FEWER
            best = fit(every, len(best.profiles), rounds=rounds, start=best, **options)
        return cls._holding(process, best)

    @classmethod
    def _holding(cls, process: Process | None, numbers: Numbers) -> CountMixture:
        return cls.of(PureDeath() if process is None else process, **vars(numbers))

    def told(self, x: Tensor | Rows, condition: Tensor, covariates: Covariates) -> CountMixture:
        """This mixture with weights of their own for the levels of categories.

        Args:
            x: Counts, (n, *event).
            condition: What is told of them, (n, C).
            covariates: What that means. Of continuous ones alone the mixture stays as it is.
        """
        levels = LevelWeights.fit(self._tables(), x, condition, covariates)
        if levels is None:
            return self
        shown = {"corrected": self.corrected, "residuals": bool(self.more_features)}
        numbers = (getattr(self, name) for name in NUMBERS)
        return CountMixture.of(self.process, *numbers, levels=levels, **shown)

    @property
    def components(self) -> int:
        """Number of profiles K."""
        return len(self.profiles)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    def _tables(self) -> CountTables:
        """Tables of the numbers, made again when these have changed."""
        numbers = [getattr(self, name) for name in NUMBERS]
        key = [(value, value._version) for value in numbers]
        if self._made is None or any(
            a is not b or m != n for (a, m), (b, n) in zip(self._made[0], key, strict=True)
        ):
            made, most = MadeTables.of(numbers), self._most
            if most is not None and not self.corrected and (mass := made.tables.above(most)) > CUT:
                raise ValueError(
                    f"a mass of {mass:.2g} of the mixture lies above the maximum {most} of the "
                    "process: take a process without one, or Empirical"
                )
            self._made = key, made
        return self._made[1].tables

    def _panels(self, dtype: torch.dtype) -> CountPanels:
        """Tables for many times, of products in this type, made when they are first asked for."""
        self._tables()
        assert self._made is not None, "just made"
        return self._made[1].panels(dtype)

    def _check(self, x: Tensor) -> None:
        """Check that x is a batch of events of as many sites as there are features."""
        features = self.profiles.shape[1]
        if x.ndim < 2 or x.shape[1:].numel() != features:
            raise ValueError(
                f"the model is of {features} features, x has "
                f"{x.shape[1:].numel() if x.ndim > 1 else 'no'} of them in each row"
            )

    def marginal(self, x: Tensor, t: Time) -> CountPosterior:
        """The law of x_t, in the shape of x (whose values do not matter)."""
        self._check(x)
        t = self.process.schedule.at(t, x.device).expand(len(x))
        p = t.survival
        nothing = torch.zeros_like(x)
        log = p.clamp_min(1e-30).log()
        panels = functools.partial(self._panels, t.dtype)
        nought = torch.zeros_like(p)
        return CountPosterior(
            self._tables(), nothing, nought, p, log, t.dtype, blind=True, panels=panels
        )

    def forward(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CountPosterior:
        """The law of x_1 given x_t = x, and what a condition tells of its levels."""
        return self.given_known(x, t, None, condition)

    def given_known(
        self, x: Tensor, t: Time, observed: Observed | None, condition: Tensor | None = None
    ) -> CountPosterior:
        self._check(x)
        t = self.process.schedule.at(t, x.device).expand(len(x))
        p, q = t.survival, t.mortality
        whole, panels = torch.zeros_like(p), functools.partial(self._panels, t.dtype)
        known = None if observed is None else (observed.values, observed.mask)
        weights = None
        if condition is not None and self.levels is not None:
            weights = self.levels(condition, self.log_weights, len(x))
        options = {"known": known, "panels": panels, "weights": weights}
        return CountPosterior(self._tables(), x, p, q, whole, t.dtype, **options)

    def more(self, law: CountPosterior) -> Tensor:
        return law.residual.float().unsqueeze(1)

    def log_prob(self, x: Tensor | Rows) -> Tensor:
        """Log-probability of rows in nats, (n,) float64; x is (n, *event)."""
        size = max(1, min(1024, AT_ONCE // max(1, x.shape[1:].numel())))
        return torch.cat([self.marginal(part, 1.0).log_prob(part) for part in x.split(size)])

    def lost(self, kept: Tensor, survival: float) -> Tensor:
        """Expected counts that thinning took away, given what it kept: (n, *event) float64.

        Args:
            kept: Thinned counts, (n, *event).
            survival: Probability with which each unit was kept, in (0, 1).
        """
        t = self.process.observed_time(survival)
        return torch.cat([self(part, t).excess(part) for part in kept.split(1024)])

    def impute(self, x: Tensor, missing: Tensor) -> Tensor:
        """Expected counts of hidden entries, given the others of the row.

        Args:
            x: Counts, (n, *event); hidden entries may hold anything.
            missing: Which entries are hidden, (n, *event) bool.

        Returns:
            (n, *event) float64: the expected counts where hidden, x elsewhere.
        """
        if missing.shape != x.shape or missing.dtype != torch.bool:
            raise ValueError(f"missing must be bool of shape {tuple(x.shape)}, like x")
        found = []
        for part, mask in zip(x.split(1024), missing.split(1024), strict=True):
            start = torch.zeros_like(part)
            found.append(self.given_known(start, 0.0, Observed(part, ~mask)).mean)
        return torch.cat(found)


doors.guard(__name__)
