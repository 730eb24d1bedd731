r"""Simple models of count tables, which a model has to beat.

One family covers them: negative binomial counts around K profiles, the depth of a row (its
size factor, in units of the library size) being one of Q values s_q, a grid on a logarithmic
scale:

    p(x) = Σ_qk w_qk Π_j NB(x_j; mean s_q π_kj, size r_j).

- K = 1 is the negative binomial per feature with size factors that the field uses, the size
  factor being integrated out where others plug in the total of the row itself. So log p(x)
  is that of a normalised law, to compare with a bound on log p(x) as
  `Transport.log_likelihood` gives it. For a transport conditioned on the library size l, add
  log p(l) to its bound on log p(x | l): by `fit(totals)`, the same family of one feature.
- Without size factors (Q = 1, s = 1) features are independent.
- K > 1 is the simple latent model: cell types, topics, sites.

**Fitting** is generalised EM: responsibilities γ; for the profiles one step of iteratively
reweighted least squares, with weights γ/(r_j + s_q π_kj), which is exact for Poisson counts;
for the sizes one Newton step in log r_j. It starts from EM of a mixture of multinomials.
Since depths lie on a grid, all sums over rows are products of matrices:

    Σ_j log NB(x_j) = Σ_j x_j log(s_q π_kj/(r_j + s_q π_kj)) - Σ_j r_j log(1 + s_q π_kj/r_j) + ...

Each profile is given half a count per feature in proportion to the pooled profile, so that
no feature is impossible; r lies within `SIZES`.

**Predictions** are posterior means over q and k. Thinning leaves the family: what is kept
with probability p has means p s π and the same r, and of it has been lost

    (1 - p) s π (r + x)/(r + p s π)

on average: between the row's own counts and what its profile says, by as much as the feature
varies. Hidden entries of a row have means s π, with q and k as the others tell them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics.held_out import poisson_deviance
from markovbridge.evaluation.metrics.points import as_rows

GRID = 64  # depths
SIZES = (1e-3, 1e5)  # smallest and largest r
ROWS = 1024  # at once
PRIOR = 0.5  # counts that each profile is given per feature
START = 15  # rounds of EM of the mixture of multinomials
TOLERANCE = 1e-4  # nats per row by which a round must be better, or fitting ends


@dataclass(frozen=True, eq=False)
class NegativeBinomialMixture:
    """Negative binomial counts of K profiles and Q depths, see the head of this module.

    Attributes:
        log_weights: log w, (Q, K) float64, normalised.
        depths: s, (Q,).
        profiles: π, (K, d): about the shares of the library; means, if the depth is always 1.
        sizes: r, (d,).
    """

    log_weights: Tensor
    depths: Tensor
    profiles: Tensor
    sizes: Tensor

    @classmethod
    def fit(
        cls,
        x: Tensor,
        *,
        components: int = 1,
        size_factors: bool = True,
        rounds: int = 50,
        tolerance: float = TOLERANCE,
        prior: float = PRIOR,
        seed: int = 0,
    ) -> NegativeBinomialMixture:
        """Fit to counts by maximum likelihood.

        Args:
            x: Counts, (n, *event), n >= 2.
            components: Profiles K.
            size_factors: Whether rows differ in depth.
            rounds: Of EM, at most.
            tolerance: Nats per row by which a round must be better, or fitting ends.
            prior: Counts that each profile is given per feature.
            seed: Of the rows that profiles start from.
        """
        checks.turns(rounds, "rounds")
        checks.number(prior, "prior", least=0)
        rows = as_rows(x, "x")
        n = len(rows)
        if n < 2 or not 1 <= components <= n:
            raise ValueError(f"{n} rows cannot be fitted by {components} components")
        total = rows.sum(1).double()
        model = cls._start(rows, total, components, size_factors, prior, seed)
        pooled = (rows.sum(0).double() + prior) / (total.sum() if size_factors else n)
        before = -math.inf
        for _ in range(rounds):
            sums = _Sums.over(model, rows)
            if sums.nats - before < tolerance * n:
                break
            before = sums.nats
            shares = sums.weights + 0.1
            model = cls(
                (shares / shares.sum()).log(),
                model.depths,
                (sums.counts + prior) / (sums.exposure + prior / pooled),
                (model.sizes.log() + sums.newton(model.sizes)).exp().clamp(*SIZES),
            )
        return model

    @classmethod
    def _start(
        cls,
        rows: Tensor,
        total: Tensor,
        components: int,
        size_factors: bool,
        prior: float,
        seed: int,
    ) -> NegativeBinomialMixture:
        """Depths from library sizes, profiles from a mixture of multinomials, sizes of 1."""
        depth = total.clamp_min(1) if size_factors else torch.ones_like(total)
        depths = torch.ones_like(total[:1])
        if size_factors:
            ends = float(depth.min().log()) - 0.5, float(depth.max().log()) + 0.5
            depths = torch.linspace(*ends, GRID, dtype=torch.float64, device=rows.device).exp()
        pooled = (rows.sum(0).double() + prior) / depth.sum()
        shares = torch.ones(1, dtype=torch.float64, device=rows.device)
        profiles = pooled[None]
        if components > 1:
            shares, profiles = _multinomials(rows, depth, pooled, components, seed)
        nearest = (depth.log()[:, None] - depths.log()).abs().argmin(1)
        heights = torch.bincount(nearest, minlength=len(depths)).double() + 0.1
        weights = heights[:, None] * shares
        return cls((weights / weights.sum()).log(), depths, profiles, torch.ones_like(pooled))

    @classmethod
    def choose(
        cls,
        x: Tensor,
        validation: Tensor,
        *,
        candidates: Sequence[int] = (1, 2, 4, 8, 16),
        seed: int = 0,
    ) -> NegativeBinomialMixture:
        """The best of several numbers of components on held-out rows.

        Stops at the first candidate that is worse than the one before.

        Args:
            x: Counts to fit to, (n, *event).
            validation: Counts to choose by, (m, *event).
            candidates: Numbers of components, increasing.
            seed: As of `fit`.
        """
        best, nats = None, -math.inf
        for components in candidates:
            model = cls.fit(x, components=components, seed=seed)
            found = float(model.log_prob(validation).mean())
            if found <= nats:
                break
            best, nats = model, found
        if best is None:
            raise ValueError("give at least one candidate")
        return best

    @property
    def components(self) -> int:
        """Number of profiles K."""
        return len(self.profiles)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of rows in nats, (n,) float64; x is (n, *event)."""
        found = []
        for block, _ in self._blocks(x):
            joint = self._joint(block)
            r = self.sizes.expand(block.shape)
            # What neither depth nor profile enters; of zeros there is nothing.
            ways = torch.lgamma(block + r) - torch.lgamma(r) - torch.lgamma(block + 1)
            found.append(joint.logsumexp(1) + torch.where(block > 0, ways, 0.0).sum(1))
        return torch.cat(found)

    def lost(self, kept: Tensor, survival: float) -> Tensor:
        """Expected counts that thinning took away, given what it kept: (n, *event) float64.

        Args:
            kept: Thinned counts, (n, *event).
            survival: Probability with which each unit was kept, in (0, 1).
        """
        _check_survival(survival)
        thinned = NegativeBinomialMixture(
            self.log_weights, survival * self.depths, self.profiles, self.sizes
        )
        ratio = thinned._means() / (thinned._means() + self.sizes)  # m/(r + m) of (q, k)
        found = []
        for block, _ in self._blocks(kept):
            share = thinned._joint(block).softmax(1) @ ratio
            found.append((1 - survival) / survival * share * (block + self.sizes))
        return torch.cat(found).reshape(kept.shape)

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
        hidden, means = missing.flatten(1), self._means()
        found = []
        for block, start in self._blocks(x):
            seen = ~hidden[start : start + len(block)]
            guess = self._joint(block, seen).softmax(1) @ means
            found.append(torch.where(seen, block, guess))
        return torch.cat(found).reshape(x.shape)

    def _means(self) -> Tensor:
        """Means of all (q, k), (Q·K, d)."""
        return (self.depths[:, None, None] * self.profiles).flatten(0, 1)

    def _joint(self, block: Tensor, seen: Tensor | None = None) -> Tensor:
        """Log of w NB(x | q, k), but for what q and k do not enter: (b, Q·K)."""
        means = self._means()
        # log(m/(r + m)) and r log(r/(r + m)), both without cancellation.
        per_count = -torch.log1p(self.sizes / means)
        none = -self.sizes * torch.log1p(means / self.sizes)
        if seen is None:
            return block @ per_count.T + none.sum(1) + self.log_weights.flatten()
        seen = seen.double()
        return (seen * block) @ per_count.T + seen @ none.T + self.log_weights.flatten()

    def _blocks(self, x: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Blocks of rows in float64 and where they start."""
        rows = as_rows(x, "x")
        if rows.shape[1] != self.profiles.shape[1]:
            raise ValueError(
                f"the model is of {self.profiles.shape[1]} features, x has {rows.shape[1]}"
            )
        for start in range(0, len(rows), ROWS):
            yield rows[start : start + ROWS].double(), start


@dataclass(frozen=True, eq=False)
class _Sums:
    """What a round of EM needs of the data.

    Attributes:
        nats: Log-likelihood, but for what no parameter enters.
        weights: Σ_i γ, (Q, K).
        counts: Σ_iq γ x r/(r + sπ), (K, d).
        exposure: Σ_iq γ s r/(r + sπ), (K, d).
        slope: First derivative of the expected log-likelihood in r, (d,).
        curvature: Second derivative, (d,).
    """

    nats: float
    weights: Tensor
    counts: Tensor
    exposure: Tensor
    slope: Tensor
    curvature: Tensor

    @classmethod
    def over(cls, model: NegativeBinomialMixture, rows: Tensor) -> _Sums:
        r, means = model.sizes, model._means()
        nats, slope, curvature = 0.0, torch.zeros_like(r), torch.zeros_like(r)
        weights, counts = torch.zeros_like(means[:, 0]), torch.zeros_like(means)
        for x, _ in model._blocks(rows):
            # Only what is not 0 has terms in log Γ(x + r) - log Γ(r).
            row, column = x.nonzero(as_tuple=True)
            value, size = x[row, column], r[column]
            nats += float((torch.lgamma(value + size) - torch.lgamma(size)).sum())
            slope.index_add_(0, column, torch.digamma(value + size) - torch.digamma(size))
            bend = torch.polygamma(1, value + size) - torch.polygamma(1, size)
            curvature.index_add_(0, column, bend)
            joint = model._joint(x)
            nats += float(joint.logsumexp(1).sum())
            gamma = joint.softmax(1)
            weights += gamma.sum(0)
            counts += gamma.T @ x
        inverse = (r + means).reciprocal()
        many = weights[:, None]
        # Of r log(r/(r + m)) + x log(1/(r + m)), summed with weights γ.
        part = (many * r + counts) * inverse
        slope += (many * (1 - torch.log1p(means / r)) - part).sum(0)
        curvature += (many * (1 / r - 2 * inverse) + part * inverse).sum(0)
        shape = len(model.depths), *model.profiles.shape
        depth = model.depths[:, None, None]
        shrunk = (r * inverse).reshape(shape)
        return cls(
            nats=nats,
            weights=weights.reshape(shape[:2]),
            counts=(counts.reshape(shape) * shrunk).sum(0),
            exposure=(weights.reshape(*shape[:2], 1) * depth * shrunk).sum(0),
            slope=slope,
            curvature=curvature,
        )

    def newton(self, r: Tensor) -> Tensor:
        """A step in log r: Newton's where the likelihood is concave there, else uphill."""
        slope = r * self.slope
        bend = slope + r * r * self.curvature
        step = torch.where(bend < 0, -slope / bend, slope.sign())
        return step.nan_to_num(0.0).clamp(-1, 1)


def _multinomials(
    rows: Tensor, depth: Tensor, pooled: Tensor, components: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Weights (K,) and profiles (K, d) of a mixture of multinomials, by EM from rows."""
    order = torch.randperm(len(rows), generator=generator("cpu", seed, "profiles"))
    first = order[:components].to(rows.device)
    # A row alone is too sparse a profile: it counts as much as the pooled one.
    strength = depth[first, None]
    profiles = (rows[first].double() + strength * pooled) / (2 * strength)
    shares = torch.full_like(profiles[:, 0], 1 / components)
    for _ in range(START):
        counts, weights = torch.zeros_like(profiles), torch.zeros_like(shares)
        exposure = torch.zeros_like(shares)
        for start in range(0, len(rows), ROWS):
            x, size = rows[start : start + ROWS].double(), depth[start : start + ROWS]
            nats = x @ profiles.log().T - size[:, None] * profiles.sum(1) + shares.log()
            gamma = nats.softmax(1)
            counts += gamma.T @ x
            weights += gamma.sum(0)
            exposure += gamma.T @ size
        shares = (weights + 1) / (len(rows) + components)
        profiles = (counts + PRIOR) / (exposure[:, None] + PRIOR / pooled)
    return shares, profiles


def _check_survival(survival: float) -> None:
    if not 0 < survival < 1:
        raise ValueError(f"survival must lie in (0, 1), not {survival}")


def scale_depth(kept: Tensor, survival: float, *, pseudocount: float = 0.0) -> Tensor:
    """Size-factor scaling: the lost counts are like the kept ones, (n, *event) float64.

    Args:
        kept: Thinned counts, (n, *event).
        survival: Probability with which each unit was kept, in (0, 1).
        pseudocount: Added to each count, the total of the row staying what it is, or half a
            count if it is 0. Without any, features that were not kept are taken not to be
            there, and the deviance of such a prediction is infinite.
    """
    _check_survival(survival)
    checks.number(pseudocount, "pseudocount", least=0)
    rows = as_rows(kept, "kept").double()
    total = rows.sum(1, keepdim=True)
    smooth = rows + pseudocount
    if pseudocount > 0:
        smooth = smooth * total.clamp_min(0.5) / (total + pseudocount * rows.shape[1])
    return ((1 - survival) / survival * smooth).reshape(kept.shape)


def best_pseudocount(kept: Tensor, lost: Tensor, survival: float) -> float:
    """The pseudo-count of `scale_depth` of least deviance, of 41 between 0.0001 and 1.

    Args:
        kept: One part of training counts, (n, *event).
        lost: The other.
        survival: The share of the first part.
    """
    grid = torch.logspace(-4, 0, 41, dtype=torch.float64).tolist()
    errors = [
        float(poisson_deviance(scale_depth(kept, survival, pseudocount=c), lost).mean())
        for c in grid
    ]
    return grid[min(range(len(grid)), key=errors.__getitem__)]


doors.guard(__name__)
