r"""Weights of a mixture of negative binomials by what is told of a row: a level of each category.

Components are shared, and each combination c of levels that training has seen has weights of its
own, w_c. They are found by EM with the components as they are, a row of a combination having

    w_c  ∝  Σ_i γ_i + α w,        γ_i ∝ w_c f(x_i),

that is with α rows of the pooled weights w in each, so that what is seen once is hardly more than
pooled. With the share n_c of a combination, rows of which only a part is told have the mean of
the weights of all combinations that go with it,

    w(told)  ∝  Σ_c n_c w_c        over these,

as it must be. Where nothing is told, and of a combination that training has not seen, weights are
the pooled ones. Continuous covariates tell a mixture nothing.

Training sees a combination in the rows that are told all of it. Rows that lack a category are
not used: a level that comes only in such rows counts as not seen. Of more than 1,024 combinations
those of most rows have weights of their own, and `FitMixture` looks at 20,000 rows at most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from markovbridge import doors
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import Rows
from markovbridge.exact.base import check_table
from markovbridge.exact.count_tables import CountTables

MOST = 1024  # combinations, those of most rows
PRIOR = 3.0  # rows with the pooled weights that each combination has beside its own
ROUNDS, TOLERANCE = 100, 1e-5  # of EM, at most; nats per row by which a round must be better
AT_ONCE = 2**23  # numbers of a block of rows


class LevelWeights(nn.Module):
    """Weights of the components for each combination of levels; see the head of this module.

    Args:
        combinations: How many there are.
        told: Numbers of a condition.
        depths: Depths Q of the mixture.
        components: Its profiles K.

    Attributes:
        conditions: What each combination is told by, (combinations, told) float32; NaN in the
            numbers of continuous covariates.
        log_shares: log n_c + log w_c, (combinations, Q, K) float64.
    """

    conditions: Tensor
    log_shares: Tensor

    def __init__(self, combinations: int, told: int, depths: int, components: int) -> None:
        super().__init__()
        shape = combinations, depths, components
        self.register_buffer("conditions", torch.full((combinations, told), torch.nan))
        self.register_buffer("log_shares", torch.zeros(shape, dtype=torch.float64))

    @classmethod
    def fit(
        cls, tables: CountTables, x: Tensor | Rows, condition: Tensor, covariates: Covariates
    ) -> LevelWeights | None:
        """Fit the weights of a mixture; None if no row has a level of every category.

        Args:
            tables: The mixture.
            x: Counts, (n, *event).
            condition: What is told of them, (n, C).
            covariates: What that means.

        Raises:
            ValueError: If x holds no counts, or none of these features, or the condition is not
                one of its rows, or not of these covariates.
        """
        check_table(x, 1)
        features, told = len(tables.sizes), len(covariates.names)
        if x.shape[1:].numel() != features:
            raise ValueError(
                f"the mixture is of {features} features, and x has {x.shape[1:].numel()} in each "
                "row: give the features that it was fitted to"
            )
        if condition.shape != (len(x), told):
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}: give one of {told} numbers for "
                f"each of the {len(x)} rows, ({len(x)}, {told}), as the covariates encode them"
            )
        levels = [k for c in covariates.columns for k in [bool(c.levels)] * len(c.names)]
        categories = torch.tensor(levels, device=condition.device)
        if not bool(categories.any()):
            return None
        rows = (~condition[:, categories].isnan().any(1)).nonzero().squeeze(1)
        seen, own, many = condition[rows][:, categories].unique(
            dim=0, return_inverse=True, return_counts=True
        )
        if not len(seen):
            return None
        kept = many.argsort(descending=True, stable=True)[:MOST].sort().values
        place = torch.full_like(many, -1)
        place[kept] = torch.arange(len(kept), device=place.device)
        rows, own = rows[place[own] >= 0], place[own][place[own] >= 0]
        depths, components = tables.log_weights.shape
        made = cls(len(kept), condition.shape[1], depths, components).to(condition.device)
        made.conditions[:, categories] = seen[kept].float()
        share = many[kept].double() / len(condition)
        found = _weights(_scores(tables, x, rows), own, len(kept), tables.log_weights.flatten())
        log = found.log() + share.log().unsqueeze(1)
        made.log_shares.copy_(log.reshape(-1, depths, components))
        return made

    def forward(self, condition: Tensor, pooled: Tensor, rows: int) -> Tensor:
        """Log-weights of the components for each row.

        Args:
            condition: What is told of each row, (batch, C); NaN for nothing.
            pooled: Log-weights where that is nothing, (Q, K).
            rows: How many rows there are.

        Returns:
            (batch, Q, K) float64, normalised.

        Raises:
            ValueError: If a condition is of other numbers than those the weights were found by,
                or of another number of rows.
        """
        asked = self.conditions.shape[1]
        if condition.shape != (rows, asked):
            raise ValueError(
                f"condition has shape {tuple(condition.shape)}, and the mixture is told {asked} "
                f"numbers of each row: give ({rows}, {asked}), as the covariates encode them"
            )
        # Of codes 0 and 1, how many a combination has otherwise than a row is told, by a product.
        own = self.conditions.nan_to_num()
        said = ~condition.isnan() & ~self.conditions.isnan().all(0)
        not_none, not_one = said & (condition != 0), said & (condition != 1)
        apart = (not_one.to(own) - not_none.to(own)) @ own.T
        goes = apart + not_none.sum(1, keepdim=True) == 0  # (batch, combinations)
        known = said.any(1) & goes.any(1)
        mixed = (goes.double() @ self.log_shares.exp().flatten(1)).log()
        mixed = mixed.log_softmax(1).reshape(-1, *pooled.shape)
        return torch.where(known[:, None, None], mixed, pooled)


def _scores(tables: CountTables, x: Tensor | Rows, rows: Tensor) -> Tensor:
    """Log-densities of the components at some rows, but for what they share: (n, Q·K)."""
    size, found = max(1, min(1024, AT_ONCE // max(1, x.shape[1:].numel()))), []
    for part in rows.split(size):
        counts = x[part].flatten(1)
        score = tables.score(counts, torch.zeros(len(part), dtype=torch.float64).to(counts.device))
        found.append((score - score.amax((1, 2), keepdim=True)).flatten(1).float())
    return torch.cat(found)


def _weights(scores: Tensor, own: Tensor, combinations: int, pooled: Tensor) -> Tensor:
    """Weights of each combination by EM, (combinations, Q·K) float64.

    Args:
        scores: Log-densities of the components at each row, (n, Q·K).
        own: The combination of each row, (n,).
        combinations: How many.
        pooled: Log of the pooled weights, (Q·K,).
    """
    weights, before = pooled.exp().repeat(combinations, 1), -torch.inf
    many = torch.bincount(own, minlength=combinations).double().unsqueeze(1)
    for _ in range(ROUNDS):
        joint = scores.double() + weights.log()[own]
        nats = float(joint.logsumexp(1).sum()) + PRIOR * float(
            (pooled.exp() * weights.log()).sum()
        )
        if nats - before < TOLERANCE * len(own):
            break
        before = nats
        sums = torch.zeros_like(weights).index_add_(0, own, joint.softmax(1))
        weights = (sums + PRIOR * pooled.exp()) / (many + PRIOR)
    return weights


doors.guard(__name__)
