"""Count tables in a report: each feature's statistics, samples against training data.

Means, variances, zero fractions and Fano factors of counts run over many orders of
magnitude, so they are drawn on logarithmic axes; what is 0 cannot be, and the points left
out are counted.
"""

from __future__ import annotations

from torch import Tensor

from markovbridge.evaluation.metrics import margins
from markovbridge.evaluation.report.charts import scatter_chart

SEEN = 50  # rows in which a feature must be seen, or a tenth of the rows if that is less


def margin_charts(samples: Tensor, training: Tensor) -> str:
    """Scatter plots of four statistics of each feature, samples against training data.

    Args:
        samples: Counts, shape `(n, *event)`, n >= 2.
        training: Counts, shape `(N, *event)`, N >= 2.

    Returns:
        A paragraph and four charts; features seen in few rows of the training data are left
        out, their statistics being mostly noise.
    """
    ours, real = margins(samples), margins(training)
    least = min(SEEN, max(1, len(training) // 10))
    chosen = real.seen >= least
    charts, absent = [], 0
    theirs = real.named()
    for name, values in ours.named().items():
        positive = chosen & (values > 0) & (theirs[name] > 0)
        if name == "mean":
            absent = int((chosen & ~positive).sum())
        if bool(positive.any()):
            charts.append(
                scatter_chart(
                    theirs[name][positive].numpy(),
                    values[positive].numpy(),
                    x_label=f"{name}, training data",
                    y_label=f"{name}, samples",
                    description=f"Scatter plot: {name} of each feature, samples against training "
                    "data, on logarithmic axes; points on the diagonal agree",
                    log=True,
                )
            )
    never = f" {absent:,} of them the samples never show." if absent else ""
    return (
        f"<p>Each point is one of the {int(chosen.sum()):,} features that are not zero in "
        f"{least:,} or more rows of the training data; on the dashed line samples and training "
        f'data agree.{never}</p><div class="charts">{"".join(charts)}</div>'
    )
