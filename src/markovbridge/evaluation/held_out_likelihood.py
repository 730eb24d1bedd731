r"""Likelihood on held-out data, beside that of the simplest model of all.

`held_out` bounds -log p of data the model has not seen (`Transport.log_likelihood`) and sets
it beside the `Histogram`: every site on its own, each value with its frequency in the training
data. What a model gains over it is what it knows of how sites go together, and, of a model that
is told a class or covariates of each data point, what these say.

A frequency of 0 would be an infinite loss, so frequencies are smoothed: with c_k of N training
values at a site being k, and π_k the frequency of k over all sites (with one more of each),

    P(k)  =  (c_k + a π_k)/(N + a),

a as makes the training data most likely with each value left out in turn,
Σ c_k log((c_k - 1 + a π_k)/(N - 1 + a)).

Counts of a table, one axis of features and no largest value, are set beside two laws that are
simple and strong there (`exact.CountMixture`): the negative binomial per feature with a
size factor of the row, and a mixture of profiles, their number chosen on held-out rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.rows import Rows, parts
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics.points import draw_rows
from markovbridge.exact import CountMixture
from markovbridge.transport import Transport

PART = 250  # data points between two words of progress
CELLS = 2**26  # of the table of values at each site
FITTED = 2**23  # counts that the baselines of tables are fitted to
CONCENTRATIONS = tuple(2.0**k for k in range(-3, 17))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Independent sites with smoothed frequencies: `Histogram.fit`.

    Attributes:
        log_probs: Of each value at each site, (sites, maximum + 1) float64.
        concentration: The a of the smoothing.
    """

    log_probs: Tensor
    concentration: float

    def __post_init__(self) -> None:
        checks.number(self.concentration, "concentration", least=0)

    @classmethod
    def fit(cls, x1: Tensor | Rows, maximum: int) -> Histogram:
        """Count values, and choose the smoothing by leaving one out.

        Args:
            x1: Training data, counts or categories (N, *event) in 0 .. maximum.
            maximum: Largest admissible value.

        Raises:
            ValueError: If there are fewer than 2 rows, or the table is too large.
        """
        checks.whole(maximum, "maximum", least=0)
        n, sites, values = len(x1), math.prod(x1.shape[1:]), maximum + 1
        if n < 2:
            raise ValueError(f"a histogram takes at least 2 rows of training data, not {n}")
        if sites * values > CELLS:
            raise ValueError(
                f"a histogram of {sites:,} sites and {values:,} values is too large a table"
            )
        counts = torch.zeros(sites * values, dtype=torch.int64)
        offset = torch.arange(sites) * values
        for part in parts(x1):
            cells = part.flatten(1).long().cpu() + offset
            counts += torch.bincount(cells.flatten(), minlength=len(counts))
        counts = counts.reshape(sites, values).double()
        pooled = (counts.sum(0) + 1) / (counts.sum() + values)

        def left_out(a: float) -> float:
            one_less = ((counts - 1).clamp_min(0) + a * pooled).log() - math.log(n - 1 + a)
            return float((counts * one_less).sum())

        best = max(CONCENTRATIONS, key=left_out)
        return cls(((counts + best * pooled) / (n + best)).log(), best)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probabilities of data (n, *event): (n,) float64."""
        cells = x.flatten(1).long().cpu()
        return self.log_probs.gather(1, cells.T).sum(0)


@dataclass(frozen=True)
class Nats:
    """-log p of held-out data, averaged, and how it was measured.

    Attributes:
        model: Whose.
        bound: Whether the figures are upper bounds; else they are exact.
        nats: Per data point.
        nats_error: Its standard error, from the spread between data points.
        bits: Per dimension.
        bits_error: Its standard error.
        behind: How many bits per dimension more than the first of a table, on the same data.
        behind_error: Its standard error, smaller than those of both as data points that are
            hard for one are hard for the other.
        n: Data points.
        split: Which data these are.
        draws: How often the model looked at each; 0 if it did not have to.
        weights: "ema" or "raw".
        seed: Of the looks.
        condition: Names of what the model was told of each data point; None for nothing.
    """

    model: str
    bound: bool
    nats: float
    nats_error: float
    bits: float
    bits_error: float
    behind: float
    behind_error: float
    n: int
    split: str
    draws: int
    weights: str
    seed: int
    condition: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as JSON takes them."""
        return asdict(self)


def held_out(
    transport: Transport,
    x1: Tensor,
    *,
    condition: Tensor | None = None,
    training: Tensor | Rows | None = None,
    maximum: int | None = None,
    draws: int = 64,
    seed: int = 0,
    block: int = 64,
    split: str = "test",
    weights: str = "ema",
    callback: Callable[[int], None] | None = None,
) -> list[Nats]:
    """Bound the likelihood of held-out data, and that of simple models beside it.

    Args:
        transport: The model.
        x1: Data it has not seen, (n, *event), n >= 2.
        condition: What the model is told of each of them, (n, C); the simple models are not.
        training: Data for the simple models; none without.
        maximum: Largest admissible count of the data, for a histogram; None for tables of
            counts without one.
        draws: How often the model looks at each data point; even.
        seed: Of the looks.
        block: How many states the network sees at once.
        split: What to call the data.
        weights: What to call the weights.
        callback: Called with a number of data points whenever so many more are done.

    Returns:
        The model's figures, and those of simple models if there are training data.
    """
    if len(x1) < 2:
        raise ValueError(f"a standard error takes at least 2 data points, not {len(x1)}")
    rng = torch.Generator(device=transport.device).manual_seed(seed)
    # In parts, each of which pays for a pilot pass; the baseline inside is fitted to a part.
    bounds = []
    for rows in torch.arange(len(x1)).split(PART):
        told = None if condition is None else condition[rows]
        options = {"draws": draws, "generator": rng, "block": block}
        bounds.append(transport.log_likelihood(x1[rows], condition=told, **options))
        if callback is not None:
            callback(len(rows))
    losses = {"this model": -torch.cat([bound.nats.cpu() for bound in bounds])}
    if training is not None and maximum is not None:
        histogram = Histogram.fit(training, maximum)
        losses["independent histogram of each site"] = -histogram.log_prob(x1)
    elif training is not None and x1.ndim == 2 and not x1.is_floating_point():
        losses |= _tables(x1, training, seed)
    scale = x1[0].numel() * math.log(2)
    first = losses["this model"]
    columns = () if transport.covariates is None else transport.covariates.columns
    names = ", ".join(column.name for column in columns) or "a condition"
    found = []
    for name, loss in losses.items():
        ours = name == "this model"
        (nats, error), (behind, behind_error) = _mean(loss), _mean(loss - first)
        found.append(
            Nats(
                model=name,
                bound=ours,
                nats=nats,
                nats_error=error,
                bits=nats / scale,
                bits_error=error / scale,
                behind=behind / scale,
                behind_error=behind_error / scale,
                n=len(x1),
                split=split,
                draws=draws if ours else 0,
                weights=weights,
                seed=seed,
                condition=names if ours and condition is not None else None,
            )
        )
    return found


def _tables(x1: Tensor, training: Tensor | Rows, seed: int) -> dict[str, Tensor]:
    """-log p of rows of counts under the baselines of count tables."""
    limit = max(1000, FITTED // training.shape[1])
    rows = draw_rows(training, limit, "training", seed)
    order = torch.randperm(len(rows), generator=generator("cpu", "baselines", seed))
    held, kept = order[: len(rows) // 10 + 1], order[len(rows) // 10 + 1 :]
    one = CountMixture.fit(rows)
    best = CountMixture.choose(rows[kept], rows[held], candidates=(1, 2, 4, 8))
    losses = {"negative binomial per feature": -one.log_prob(x1)}
    if best.components > 1:
        losses[f"mixture of {best.components} profiles"] = -best.log_prob(x1)
    return losses


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def given(first: Nats) -> str:
    """What the model was told of each data point, and the simple models were not."""
    return "" if first.condition is None else f", given {first.condition} of each (the model only)"


def table(records: Sequence[Nats]) -> str:
    """Figures as text for a terminal."""
    first = records[0]
    rows = [("", "nats", "bits per dimension")]
    for one in records:
        sign = "≤ " if one.bound else ""
        rows.append(
            (
                one.model,
                f"{sign}{one.nats:.6g} ± {one.nats_error:.2g}",
                f"{sign}{one.bits:.4f} ± {one.bits_error:.4f}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    heading = (
        f"-log p of {first.n:,} data points of {first.split}{given(first)}; {first.weights} "
        f"weights, {first.draws} looks at each, seed {first.seed}"
    )
    text = "\n".join([heading, *(line.rstrip() for line in lines)])
    for one in records[1:]:
        text += (
            f"\n  {one.model}: {one.behind:+.4f} ± {one.behind_error:.4f} bits per dimension, "
            "on the same data"
        )
    return text


doors.guard(__name__, inside=("given",))
