"""Count tables in a report: features, sizes of rows and kinds of rows, samples against data.

Means, variances and Fano factors of counts run over many orders of magnitude, so they are drawn
on logarithmic axes; what is 0 cannot be, and the points left out are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import torch
from torch import Tensor

from markovbridge.evaluation.metrics import margins
from markovbridge.evaluation.report.charts import Series, line_chart, scatter_chart
from markovbridge.evaluation.report.html import heading, number, pairwise

SEEN = 50  # rows in which a feature must be seen, or a tenth of the rows if that is less
BINS = 40  # of a histogram
NARROW = 380  # width of a histogram
SHOWN = 8, 10  # rows and columns of the table of samples
LINEAR = "zero fraction"  # what is drawn on linear axes


def often_seen(real: Tensor) -> Tensor:
    """Which features of real rows (N, *event) are seen often enough to be judged, (d,) bool."""
    return margins(real).seen >= least_seen(len(real))


def least_seen(rows: int) -> int:
    """In how many of so many rows a feature must be seen to be judged."""
    return min(SEEN, max(1, rows // 10))


def margin_charts(samples: Tensor, training: Tensor, names: Sequence[str] | None = None) -> str:
    """Scatter plots of four statistics of each feature, samples against training data.

    Args:
        samples: Counts, shape `(n, *event)`, n >= 2.
        training: Counts, shape `(N, *event)`, N >= 2.
        names: Of the features, or None.

    Returns:
        A paragraph and four charts; features seen in few rows of the training data are left
        out, their statistics being mostly noise.
    """
    ours, real = margins(samples), margins(training)
    chosen = often_seen(training)
    charts, absent = [], 0
    theirs = real.named()
    for name, values in ours.named().items():
        log = name != LINEAR
        shown = chosen & (values > 0) & (theirs[name] > 0) if log else chosen
        if name == "mean":
            absent = int((chosen & ~shown).sum())
        if bool(shown.any()):
            places: list[int] = shown.nonzero().flatten().tolist()
            axes = "on logarithmic axes" if log else "on linear axes"
            charts.append(
                scatter_chart(
                    theirs[name][shown].numpy(),
                    values[shown].numpy(),
                    x_label=f"{name}, training data",
                    y_label=f"{name}, samples",
                    description=f"Scatter plot: {name} of each feature, samples against training "
                    f"data, {axes}; points on the diagonal agree",
                    log=log,
                    names=None if names is None else [names[k] for k in places],
                )
            )
    never = f" {absent:,} of them the samples never show." if absent else ""
    named = " The farthest from it are named." if names is not None else ""
    return (
        f"<p>Each point is one of the {int(chosen.sum()):,} features that are not zero in "
        f"{least_seen(len(training)):,} or more rows of the training data; on the dashed line "
        f"samples and training data agree.{named}{never}</p>{pairwise(''.join(charts))}"
    )


def size_charts(samples: Tensor, training: Tensor) -> str:
    """Histograms of the totals of rows, and of how many features each shows.

    Args:
        samples: Counts, shape `(n, *event)`.
        training: Counts, shape `(N, *event)`.

    Returns:
        A heading, a paragraph and two charts.
    """
    ours, real = samples.flatten(1), training.flatten(1)
    totals = ours.sum(1), real.sum(1)
    seen = (ours > 0).sum(1), (real > 0).sum(1)
    middle = [number(float(each.double().median()), ".4g") for each in (*totals, *seen)]
    text = (
        f"<p>The total of a row, its library size, has the median {middle[0]} in samples and "
        f"{middle[1]} in training data; the number of features that a row shows, {middle[2]} and "
        f"{middle[3]}.</p>"
    )
    charts = _histogram(*totals, "library size") + _histogram(*seen, "features that are not 0")
    return f"{heading('Library sizes')}{text}{pairwise(charts)}"


def _histogram(ours: Tensor, real: Tensor, what: str) -> str:
    """Two histograms of whole numbers, on a logarithmic axis if they are wide.

    Bins begin and end between whole numbers. On a logarithmic axis 0 counts as 1, and heights are
    shares over the width of the bin there, so that areas are shares; so they are on a linear axis.
    """
    values = [each.double().numpy() for each in (ours, real)]
    low, high = (float(end(np.concatenate(values))) for end in (np.min, np.max))
    log = high > 3 * max(low, 1.0) and high - low > BINS
    if log:
        values = [np.maximum(each, 1.0) for each in values]
        cuts = np.geomspace(max(low, 1.0), high + 1, BINS + 1)
    else:
        cuts = np.arange(low, high + 2) if high - low < BINS else np.linspace(low, high + 1, BINS)
    edges = np.unique(np.round(cuts)) - 0.5
    width = np.diff(np.log(edges)) if log else np.diff(edges)
    share = "share of rows" if bool((width == 1).all()) else "share of rows per unit"
    stairs = [
        np.concatenate(
            [[0.0], np.repeat(np.histogram(each, edges)[0] / len(each) / width, 2), [0.0]]
        )
        for each in values
    ]
    ends = np.repeat(edges, 2)
    series = [
        Series("training data", ends, stairs[1], "second"),
        Series("samples", ends, stairs[0], "main"),
    ]
    chart = line_chart(
        series,
        x_label=what,
        y_label="density of its logarithm" if log else share,
        description=f"Histogram: {what} of rows, samples against training data",
        x_log=log,
        width=NARROW,
    )
    return f"<div>{chart}</div>"


def sample_rows(
    samples: Tensor, names: Sequence[str] | None = None, means: Tensor | None = None
) -> str:
    """The first samples as a table of their values.

    Args:
        samples: Shape `(n, *event)`.
        names: Of the features, or None for their numbers.
        means: Of the features, (d,): the largest are shown; None shows the first.

    Returns:
        A table that scrolls.
    """
    rows, width = samples.flatten(1)[: SHOWN[0]], samples[0].numel()
    order = torch.arange(width) if means is None else means.argsort(descending=True, stable=True)
    columns: list[int] = order[: SHOWN[1]].tolist()
    labels = [str(j) if names is None else names[j] for j in columns]
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels)
    body = "".join(
        f'<tr><th scope="row">sample {i}</th>'
        + "".join(f"<td>{number(value)}</td>" for value in row)
        + "</tr>"
        for i, row in enumerate(rows[:, columns].tolist())
    )
    which = f"features 0 to {len(columns) - 1}" if means is None else "the features of most counts"
    caption = f"The first samples, {which} of {width:,}."
    return (
        f'<div class="scroll"><table class="values"><caption>{caption}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
