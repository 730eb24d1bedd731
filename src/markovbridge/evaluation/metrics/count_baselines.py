"""Size-factor scaling, which a model of count tables has to beat in restoring depth.

The simple laws to beat, negative binomials and mixtures of them, are `exact.CountMixture`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.evaluation.metrics.held_out import poisson_deviance
from markovbridge.evaluation.metrics.points import as_rows


def scale_depth(kept: Tensor, survival: float, *, pseudocount: float = 0.0) -> Tensor:
    """Size-factor scaling: the lost counts are like the kept ones, (n, *event) float64.

    Args:
        kept: Thinned counts, (n, *event).
        survival: Probability with which each unit was kept, in (0, 1).
        pseudocount: Added to each count, the total of the row staying what it is, or half a
            count if it is 0. Without any, features that were not kept are taken not to be
            there, and the deviance of such a prediction is infinite.
    """
    if not 0 < survival < 1:
        raise ValueError(f"survival must lie in (0, 1), not {survival}")
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
