r"""The law of counts given thinned ones, under a mixture of negative binomials.

Given x_t = x, of survival p, the components (q, k) have the weights

    w_qk Π_j NB(x_j; p s_q π_kj, r_j)    (normalised),

known sites of x_1 entering by NB(x_1; s_q π_kj, r_j) in place of that. Within a component sites
are independent, and what is added up to a survival of p + e is

    NB(mean e s π (r + x)/(r + p s π), size r + x).

So the law of x_1 is that of e = 1 - p, and the law of x_t itself that of p = 0 and e = p_t. A
probability needs no sum over components at each site: with what is added up to y,

    log P(y | x)  =  log Σ_qk w Π NB(y; p + e) - log Σ_qk w Π NB(x; p) + a term of each site

which is Bayes' rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from markovbridge import doors, laws
from markovbridge.exact.count_panels import CountPanels
from markovbridge.exact.count_tables import CountTables
from markovbridge.laws import LOG_TINY, Law
from markovbridge.laws.numbers import by_row

TINY = math.exp(LOG_TINY)
LEAST = 1e-6  # of means by whose deviations residuals are divided


class CountPosterior(Law):
    """Counts above x, given x, under a mixture of negative binomials over the whole event.

    Nothing is computed before it is asked for; `log_excess` takes two products of matrices.

    Args:
        tables: The mixture.
        x: What is there, (batch, *event).
        kept: The survival p of which x tells, (batch,) float64; 0 where x tells nothing.
        added: The survival e that is added, (batch,) float64.
        log_after: log(p + e), (batch,) float64.
        dtype: Type of means and variances.
        known: Sites of x_1 that are known: values and mask, (batch, *event) both.
        blind: Whether x tells nothing.
        panels: What makes tables for many different times; None for none.
        weights: Log-weights of the components of each row before it is seen, (batch, Q, K)
            float64; those of the mixture if None.
    """

    def __init__(
        self,
        tables: CountTables,
        x: Tensor,
        kept: Tensor,
        added: Tensor,
        log_after: Tensor,
        dtype: torch.dtype,
        *,
        known: tuple[Tensor, Tensor] | None = None,
        blind: bool = False,
        panels: Callable[[], CountPanels] | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self._tables, self._x, self._dtype, self._blind = tables, x, dtype, blind
        self._rows, self._added, self._log_after = by_row(x), added, log_after
        self._log_kept = kept.clamp_min(TINY).log()
        self._known = None if known is None else (by_row(known[0]), by_row(known[1]))
        self._panels = panels
        self._prior = tables.log_weights if weights is None else weights

    @cached_property
    def _made(self) -> CountTables | CountPanels:
        """What answers: tables at each p, or those for all p where times are many."""
        few = self._panels is None or self._tables.few(self._log_kept)
        return self._tables if few or self._panels is None else self._panels()

    @torch.no_grad()
    def _score(self, rows: Tensor, log_kept: Tensor, blind: bool) -> Tensor:
        """Log of w NB of all that is seen, (batch, Q, K) float64."""
        weights = self._prior.expand(len(rows), -1, -1)
        return weights if blind else weights + self._made.score(rows, log_kept, self._known)

    @cached_property
    def _seen(self) -> Tensor:
        """The score of x, (batch, Q·K)."""
        return self._score(self._rows, self._log_kept, self._blind).flatten(1)

    @cached_property
    def log_weights(self) -> Tensor:
        """Log-weights of the components, (batch, Q·K) float64, normalised."""
        return self._seen.log_softmax(1)

    @cached_property
    def _weights(self) -> Tensor:
        return self._seen.softmax(1).reshape(-1, *self._tables.log_weights.shape)

    @cached_property
    @torch.no_grad()
    def _expected(self) -> Tensor:
        """The average of what is added, in units of e (r + x): (batch, d)."""
        return self._made.ratio(self._weights, self._log_kept)

    @property
    def residual(self) -> Tensor:
        """How far x is from what the mixture expects of it, in standard deviations.

        Pearson residuals of negative binomial counts, the field's own view of a table
        (https://doi.org/10.1186/s13059-021-02451-7), about the mean pm of x whose remaining mean
        is the posterior one; known sites are compared with m itself.

        Returns:
            (batch, *event), in the type of means.
        """
        size, p = self._tables.sizes.to(self._dtype), self._log_kept.exp().to(self._dtype)
        p, share = p.unsqueeze(1), self._expected.to(self._dtype)
        mean = (share * size).div_((p * share).neg_().add_(1).clamp_min_(LEAST))
        seen = self._rows
        if self._known is not None:
            values, mask = self._known
            seen, p = torch.where(mask, values, seen), p.masked_fill(mask, 1)
        mean.mul_(p).clamp_min_(LEAST)
        spread = (mean / size).add_(1).mul_(mean).sqrt_()
        return (seen - mean).div_(spread).reshape(self._x.shape)

    @property
    def _sizes(self) -> Tensor:
        """Sizes r + x, (batch, d) in the type of means."""
        return self._rows.to(self._dtype) + self._tables.sizes.to(self._dtype)

    @cached_property
    def _mean_added(self) -> Tensor:
        added = self._added.to(self._dtype).unsqueeze(1) * self._sizes
        added = added * self._expected.to(self._dtype)
        if self._known is not None:
            values, mask = self._known
            added = torch.where(mask, (values - self._rows).to(added), added)
        return added.reshape(self._x.shape)

    @property
    def mean(self) -> Tensor:
        return self._x + self._mean_added

    @property
    def variance(self) -> Tensor:
        mean, scale = by_row(self._mean_added).double(), self._sizes.double()
        within = mean + mean**2 / scale
        # A difference of what is nearly equal: in float64, at each p.
        first, second = (
            self._tables.ratio(self._weights, self._log_kept, power) for power in (1, 2)
        )
        spread = (second - first**2).clamp_min(0)
        between = (self._added.unsqueeze(1) * scale) ** 2 * spread * (1 + 1 / scale)
        variance = within + between
        if self._known is not None:
            variance = torch.where(self._known[1], 0.0, variance)
        return variance.to(self._dtype).reshape(self._x.shape)

    def excess(self, origin: Tensor) -> Tensor:
        return (self._x - origin) + self._mean_added

    def log_excess(self, origin: Tensor) -> Tensor:
        if origin is self._x:
            return self._log_added
        return torch.where(origin == self._x, self._log_added, Law.log_excess(self, origin))

    @cached_property
    def _log_added(self) -> Tensor:
        """Log of the mean of what is added, in the shape of x: who corrects it asks twice."""
        added = self._added.clamp_min(TINY).log().to(self._dtype)
        log = (self._sizes * self._expected.to(self._dtype)).log_().add_(added.unsqueeze(1))
        log = log.clamp_min_(LOG_TINY)
        if self._known is not None:
            left = (self._known[0] - self._rows).to(log).clamp_min_(TINY).log_()
            log = torch.where(self._known[1], left, log)
        return log.reshape(self._x.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        tables, rows = self._tables, by_row(x)
        more = rows - self._rows
        possible = (more >= 0).all(1)
        if self._known is not None:
            values, mask = self._known
            possible &= (rows == values).logical_or(~mask).all(1)
            more = torch.where(mask, 0, more)
        more = more.clamp_min(0)
        row, site = more.nonzero(as_tuple=True)
        gained, size = more[row, site].double(), (self._rows + tables.sizes)[row, site]
        ways = torch.lgamma(size + gained) - torch.lgamma(size) - torch.lgamma(gained + 1)
        log = torch.xlogy(more.sum(1).double(), self._added).index_add(0, row, ways)
        after = self._score(self._rows + more, self._log_after, False).flatten(1)
        log = log + after.logsumexp(1) - self._seen.logsumexp(1)
        return torch.where(possible, log, -math.inf)

    def sample(self, *, generator: torch.Generator | None = None) -> Tensor:
        component = laws.Categorical(self.log_weights).sample(generator=generator)
        count = self._tables.log_weights.shape[1]
        log = self._tables.chosen(component // count, component % count, self._log_kept)
        size = self._rows + self._tables.sizes
        log = log + size.log() + self._added.log().unsqueeze(1)
        drawn = laws.NegativeBinomial(log, size).sample(generator=generator)
        if self._known is not None:
            values, mask = self._known
            drawn = torch.where(mask, values - self._rows, drawn)
        return self._x + drawn.reshape(self._x.shape)


doors.guard(__name__)
