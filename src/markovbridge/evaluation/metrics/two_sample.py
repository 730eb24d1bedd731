r"""Two samples, one law? Sliced Wasserstein, maximum mean discrepancy, and a classifier.

**Sliced Wasserstein** (Rabin et al. 2011, https://doi.org/10.1007/978-3-642-24785-9_37;
Bonneel et al. 2015): the root mean square, over random directions θ on the sphere, of the
2-Wasserstein distance of the projections, which on a line is that of quantile functions:

    SW² = E_θ ∫_0^1 (F⁻¹_θ(u) - G⁻¹_θ(u))² du.

**Maximum mean discrepancy** (Gretton et al. 2012, JMLR 13:723): with a Gaussian kernel
k(x, y) = exp(-|x - y|²/(2h²)), the unbiased estimate

    MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j),

which has expectation 0, and either sign, if the laws are equal.

**Classifier two-sample test** (Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545):
the area under the ROC curve with which a classifier tells held-out rows of one set from the
other: 0.5 if it cannot, 1 if always. The classifier is a logistic regression plus a network
of one hidden layer, trained together on standardised values, each half of the rows being
scored by a classifier of the other half. It is small on purpose: the same for every model
and every table, with nothing to tune.

All three are functions of two sets of rows in one space; which one is for the caller to say.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics.distances import pair_mean
from markovbridge.evaluation.metrics.points import as_rows, check_same_width

PROJECTIONS = 512
HIDDEN = 32
EPOCHS = 20
BATCH = 64


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    a, b = as_rows(x, "x"), as_rows(y, "y").to(x.device)
    check_same_width(a, b, ("x", "y"))
    if min(len(a), len(b)) < 2:
        raise ValueError(f"two samples need at least 2 rows each, got {len(a)} and {len(b)}")
    return a, b


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, projections: int = PROJECTIONS, seed: int = 0
) -> float:
    """The sliced 2-Wasserstein distance between two samples.

    Args:
        x: One sample, shape `(n, *event)`.
        y: The other, shape `(m, *event)`.
        projections: Random directions.
        seed: Of the directions.

    Returns:
        Root mean square over directions, in units of x.
    """
    checks.whole(projections, "projections", least=1)
    a, b = _pair(x, y)
    rng = generator("cpu", seed, "slices", a.shape[1])
    directions = torch.randn(a.shape[1], projections, generator=rng).to(a.device)
    directions = directions / directions.norm(dim=0)
    one, two = ((rows.float() @ directions).sort(0).values for rows in (a, b))
    if len(one) == len(two):
        return float((one - two).double().square().mean().sqrt())
    # Quantile functions are constant between the cuts i/n and j/m.
    n, m = len(one), len(two)
    cuts = torch.cat([torch.arange(n + 1) / n, torch.arange(1, m) / m]).double().unique()
    width, middle = cuts.diff(), (cuts[1:] + cuts[:-1]) / 2
    gap = one[(middle * n).long()] - two[(middle * m).long()]
    return float((width.to(gap.device) @ gap.double().square()).mean().sqrt())


def median_distance(x: Tensor, *, rows: int = 1000) -> float:
    """The median distance between different rows of `x`, of the first `rows` of them.

    The usual bandwidth of `mmd`. Where more than half the rows are equal it is the mean
    distance, and 1 where all are.
    """
    checks.whole(rows, "rows", least=2)
    first = as_rows(x, "x")[:rows].double()
    distances = torch.pdist(first)
    if not len(distances):
        raise ValueError("a median distance needs at least 2 rows")
    return float(distances.median()) or float(distances.mean()) or 1.0


def mmd(x: Tensor, y: Tensor, *, bandwidth: float | None = None) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy, Gaussian kernel.

    Args:
        x: One sample, shape `(n, *event)`, n >= 2.
        y: The other, shape `(m, *event)`, m >= 2.
        bandwidth: h, in units of x; None takes `median_distance(y)`.

    Returns:
        MMD², of either sign.
    """
    a, b = _pair(x, y)
    h = median_distance(b) if bandwidth is None else bandwidth
    if h <= 0:
        raise ValueError(f"bandwidth must be above 0, not {h}")

    def kernel(squares: Tensor) -> Tensor:
        return (squares / (-2 * h * h)).exp()

    def within(rows: Tensor) -> float:
        n = len(rows)  # without the n pairs of a row with itself, whose kernel is 1
        return (pair_mean(rows, of=kernel) * n - 1) / (n - 1)

    return within(a) + within(b) - 2 * pair_mean(a, b, of=kernel)


def classifier_auc(x: Tensor, y: Tensor, *, seed: int = 0) -> float:
    """How well a small classifier tells held-out rows of x from those of y.

    Args:
        x: One sample, shape `(n, *event)`, n >= 10.
        y: The other, shape `(m, *event)`, m >= 10.
        seed: Of halves, initial weights and order of training.

    Returns:
        Area under the ROC curve, mean of the two halves: 0.5 at chance (below it by chance
        only), 1 if every row is told.
    """
    a, b = _pair(x, y)
    if min(len(a), len(b)) < 10:
        raise ValueError(f"a classifier needs at least 10 rows a side, got {len(a)}, {len(b)}")
    rng = generator("cpu", seed, "classifier")
    parts = []
    for rows in (a, b):
        order = torch.randperm(len(rows), generator=rng)
        parts.append((rows[order[::2]].float(), rows[order[1::2]].float()))
    found = []
    for train, test in ((0, 1), (1, 0)):
        halves = torch.cat([parts[0][train], parts[1][train]])
        held = torch.cat([parts[0][test], parts[1][test]])
        label = torch.cat([torch.ones(len(parts[0][train])), torch.zeros(len(parts[1][train]))])
        scale = halves.std(0)
        keep = scale > 0
        centre, scale = halves[:, keep].mean(0), scale[keep]
        scores = _classify(
            (halves[:, keep] - centre) / scale,
            label.to(halves),
            ((held[:, keep] - centre) / scale).clamp(-10, 10),
            rng,
        )
        found.append(_area(scores, len(parts[0][test])))
    return sum(found) / 2


def _classify(x: Tensor, label: Tensor, held: Tensor, rng: torch.Generator) -> Tensor:
    """Scores of the rows of `held`, shape `(n,)`, by a classifier fitted to `x` and `label`."""
    x, d = x.clamp(-10, 10), x.shape[1]  # a count far out must not dominate a batch
    linear, bias = torch.zeros(d), torch.zeros(HIDDEN)
    inner = torch.randn(d, HIDDEN, generator=rng) / max(d, 1) ** 0.5
    outer = torch.randn(HIDDEN, generator=rng) * 0.1
    weights = [w.to(x.device).requires_grad_() for w in (linear, inner, bias, outer)]
    linear, inner, bias, outer = weights

    def logits(rows: Tensor) -> Tensor:
        return rows @ linear + F.silu(rows @ inner + bias) @ outer

    optimiser = torch.optim.AdamW(weights, lr=3e-3, weight_decay=0.1)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for index in torch.randperm(len(x), generator=rng).split(BATCH):
                loss = F.binary_cross_entropy_with_logits(logits(x[index]), label[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    with torch.no_grad():
        return logits(held)


def _area(scores: Tensor, positive: int) -> float:
    """Area under the ROC curve; the first `positive` scores are of the positive class."""
    from scipy.stats import rankdata  # half a second, which scores of images do without

    ranks = rankdata(scores.cpu().numpy())[:positive]
    return float((ranks.mean() - (positive + 1) / 2) / (len(scores) - positive))


doors.guard(__name__)
