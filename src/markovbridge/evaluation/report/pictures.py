"""Sections of a report that show samples: as pictures, or as tables and charts.

Image data are drawn pixel by pixel. Other data are compared feature by feature: mean and variance
of each, samples against training data, and a few rows as they are; of tables of counts, library
sizes, kinds of rows and principal components as well. Samples are shown in the order they were
drawn; none is picked.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import torch
from torch import Tensor

from markovbridge.data import Dataset
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import Neighbours, nearest
from markovbridge.evaluation.metrics.distances import feature_statistics
from markovbridge.evaluation.metrics.points import draw_rows
from markovbridge.evaluation.report.charts import Series, line_chart, scatter_chart
from markovbridge.evaluation.report.counts import margin_charts, sample_rows, size_charts
from markovbridge.evaluation.report.html import figure_of, heading, missing, number
from markovbridge.evaluation.report.population import (
    LIMIT,
    component_charts,
    components,
    kinds_of,
    kinds_table,
)
from markovbridge.evaluation.report.run import Run
from markovbridge.storage.files import read_bytes
from markovbridge.storage.png import data_uri, encode_png, to_bytes

SEARCH_BUDGET = 2e11  # multiplications that a search for neighbours may take: seconds
PAIRS = 12
KEPT = 20_000  # rows of a table, at most
PATHS = 6
PATH_TIMES = 11


def is_image(x: Tensor | None) -> bool:
    """Whether `x`, shape `(N, *event)`, holds count images that can be drawn."""
    if x is None or x.is_floating_point():
        return False
    return x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 1


def white(run: Run, *tensors: Tensor | None) -> int:
    """The count that is drawn white: the data's maximum, else the largest there is."""
    if run.training is not None and run.training.maximum:
        return run.training.maximum
    found = [run.training.x if run.training is not None else None, *tensors]
    return max(1, *(int(x.max()) for x in found if x is not None))


def pictures(x: Tensor, maximum: int, alts: list[str] | None = None) -> list[str]:
    """An `<img>` per image of `x`; without `alts` they are decoration of a labelled group."""
    height, width = x.shape[-2:]
    alts = alts or [""] * len(x)
    return [
        f'<img alt="{escape(alt)}" width="{width}" height="{height}" '
        f'src="{data_uri(encode_png(image))}">'
        for image, alt in zip(to_bytes(x.clamp(max=maximum), maximum), alts, strict=True)
    ]


def mosaic(x: Tensor, maximum: int, label: str) -> str:
    """Images in a square grid, a group with one label."""
    side = max(x.shape[-2:])
    columns = 8 if side <= 16 else 7 if side <= 32 else 5
    images = "".join(pictures(x[: columns**2], maximum))
    return (
        f'<div class="mosaic" role="img" aria-label="{escape(label)}" '
        f'style="grid-template-columns:repeat({columns},1fr)">{images}</div>'
    )


def samples_section(run: Run) -> str:
    """Samples beside training data."""
    title = "<h2>Samples</h2>"
    if run.samples is None:
        return title + missing("Nothing has been sampled yet.", f"markovbridge sample {run.path}")
    if run.table:
        return title + _beside(run) + _table(run.samples, run)
    training = dense(run.alike)
    if not is_image(run.samples):
        return title + _beside(run) + _features(run.samples, training, run)
    maximum = white(run, run.samples)
    count = len(run.samples)
    left = figure_of(
        mosaic(run.samples, maximum, f"A grid of {count} generated images, the first ones"),
        f"Samples{_of(run)}: the first of {count:,}, in the order they were drawn.",
    )
    if training is None:
        return f'{title}<div class="panels">{left}{_no_training(run)}</div>'
    order = torch.randperm(len(training), generator=generator("cpu", "report"))
    right = figure_of(
        mosaic(training[order[:64]], maximum, "A grid of real training images"),
        f"Training data: drawn at random from {len(training):,} images{_same(run)}.",
    )
    return f'{title}<div class="panels">{left}{right}</div>'


def _of(run: Run) -> str:
    """What the samples are given."""
    return f" given {run.given}" if run.given else ""


def _same(run: Run) -> str:
    """Words that say so if only training data of the condition of the samples are shown."""
    return "" if run.alike is run.training else " of the same condition"


def _beside(run: Run) -> str:
    """What the samples are given, and which training data stand beside them."""
    if not run.given or run.alike is None:
        return ""
    rows = f"{len(run.alike):,} rows{_same(run)}"
    return f"<p>Samples{escape(_of(run))}; training data are {rows}.</p>"


def dense(data: Dataset | None) -> Tensor | None:
    """Training data, or as many rows as one can hold if they are sparse or on disk."""
    if data is None:
        return None
    x = data.x
    return x if isinstance(x, Tensor) else draw_rows(_some(data).x, KEPT, "training")


def _no_training(run: Run) -> str:
    return missing(f"The training data could not be shown: {run.training_problem}")


def _features(samples: Tensor, training: Tensor | None, run: Run) -> str:
    """Statistics of each feature against the data's; a few rows."""
    if training is None:
        return _no_training(run) + sample_rows(samples)
    if not samples.is_floating_point():
        return margin_charts(samples, training) + sample_rows(samples)
    names = ("mean", "variance")
    charts = [
        scatter_chart(
            real.numpy(),
            ours.numpy(),
            x_label=f"{name}, training data",
            y_label=f"{name}, samples",
            description=f"Scatter plot: {name} of each feature, samples against training data; "
            "points on the diagonal agree",
        )
        for name, ours, real in zip(
            names, feature_statistics(samples), feature_statistics(training), strict=False
        )
    ]
    return (
        f"<p>Each point is one of {samples[0].numel():,} features; on the dashed line samples and "
        f'training data agree.</p><div class="charts">{"".join(charts)}</div>'
        + sample_rows(samples)
    )


def _table(samples: Tensor, run: Run) -> str:
    """Rows of a table of counts beside those of the training."""
    names = run.columns
    if run.alike is None:
        return _no_training(run) + sample_rows(samples, names)
    data = _some(run.alike)
    training = draw_rows(data.x, KEPT, "training")
    kinds = kinds_of(data, run.covariates, run.samples_meta.get("condition"), len(samples))
    charts = size_charts(samples, training)
    if kinds is not None:
        charts += kinds_table(kinds, training, samples)
    places = [_places(len(x), LIMIT) for x in (samples, training)]
    found = components(*(x[index] for x, index in zip((samples, training), places, strict=True)))
    if found is not None:
        own = None if kinds is None else kinds.at(*(index.tolist() for index in places))
        charts += component_charts(found, own, names)
    margins = margin_charts(samples, training, names)
    return (
        charts
        + heading("Features")
        + margins
        + sample_rows(samples, names, training.double().mean(0))
    )


def _places(rows: int, limit: int) -> Tensor:
    """Places of so many rows at most, evenly."""
    return torch.linspace(0, rows - 1, min(rows, limit)).round().long()


def _some(data: Dataset) -> Dataset:
    """A data set, or `KEPT` of its rows at random."""
    if len(data) <= KEPT:
        return data
    order = torch.randperm(len(data), generator=generator("cpu", "report rows"))
    return data.rows(order[:KEPT].sort().values)


def path_section(run: Run) -> str:
    """Some samples on their way from the source (t = 0) to the data (t = 1)."""
    title = "<h2>From source to sample</h2>"
    if run.states is None or run.times is None:
        return title + missing(
            "No path has been recorded yet; sampling records one.",
            f"markovbridge sample {run.path}",
        )
    kept = torch.linspace(0, len(run.times) - 1, min(PATH_TIMES, len(run.times))).round().long()
    times, states = run.times[kept].tolist(), run.states[kept]
    if not is_image(states[0]):
        totals = run.states.flatten(2).double().mean(2)
        lines = [
            Series("", run.times.numpy(), totals[:, i].numpy(), "main" if i == 0 else "faint")
            for i in range(min(totals.shape[1], 12))
        ]
        chart = line_chart(
            lines[::-1],
            x_label="time t",
            y_label="mean over features",
            description="Line chart: the mean of each sample over time",
        )
        return f"{title}<p>The mean over features of {len(lines)} samples, over time.</p>{chart}"
    maximum = white(run, run.states)
    head = "".join(
        f"<span>{'t = ' if k == 0 else ''}{time:.2f}</span>" for k, time in enumerate(times)
    )
    rows = []
    for i in range(min(PATHS, states.shape[1])):
        alts = [f"Sample {i + 1} at time {time:.2f}" for time in times]
        rows.extend(pictures(states[:, i], maximum, alts))
    return (
        f"{title}<p>Each row is one sample. It starts from the source at t&nbsp;=&nbsp;0 "
        "and arrives at the data at t&nbsp;=&nbsp;1.</p>"
        f'<div class="scroll"><div class="path" style="grid-template-columns:repeat({len(times)},'
        f'1fr)">{head}{"".join(rows)}</div></div>'
    )


def neighbours_section(run: Run, callback: Callable[[float], None] | None = None) -> str:
    """The nearest training items of samples: generated, or remembered?

    Args:
        run: The run.
        callback: Called with the share of the search that has been done since, 1 in all.
    """
    title = "<h2>Nearest training data</h2>"
    if run.samples is None:
        return title + missing("This needs samples.", f"markovbridge sample {run.path}")
    training = dense(run.training)
    if training is None:
        return title + _no_training(run)
    affordable = int(SEARCH_BUDGET / (training.numel() + 1))
    n = min(len(run.samples), len(training), 1000, max(affordable, PAIRS))
    half = None if callback is None else lambda share: callback(share / 2)
    found = nearest(run.samples[:n], training, callback=half)
    order = torch.randperm(len(training), generator=generator("cpu", "report neighbours"))
    real = nearest(training[order[:n]], training, k=min(2, len(training)), callback=half)
    return title + _verdict(found, real, n) + _pairs(run, training, found)


def _verdict(found: Neighbours, real: Neighbours, n: int) -> str:
    ours, theirs = float(found.distance.median()), float(real.distance[:, -1].median())
    copies, duplicates = found.copies, float((real.distance[:, -1] == 0).double().mean())
    return (
        f"<p>The median distance from a sample to the nearest training item is "
        f"<strong>{number(ours)}</strong>; from one training item to the nearest other it is "
        f"<strong>{number(theirs)}</strong>. Much less would mean remembering. "
        f"<strong>{copies:.1%}</strong> of the samples equal a training item exactly; "
        f"{duplicates:.1%} of the training items have an exact double.</p>"
        f'<p class="note">Euclidean distance of raw values, {n:,} samples and as many training '
        "items.</p>"
    )


def _pairs(run: Run, training: Tensor, found: Neighbours) -> str:
    if run.samples is None or not is_image(run.samples):
        return ""
    maximum = white(run, run.samples)
    shown = min(PAIRS, len(found.index))
    left = pictures(run.samples[:shown], maximum, [f"Sample {i + 1}" for i in range(shown)])
    alts = [f"Training image nearest to sample {i + 1}" for i in range(shown)]
    right = pictures(training[found.index[:shown, 0]], maximum, alts)
    figures = "".join(
        f'<figure><div class="pair">{a}{b}</div><figcaption>distance {number(d)}</figcaption>'
        "</figure>"
        for a, b, d in zip(left, right, found.distance[:shown, 0].tolist(), strict=True)
    )
    return (
        f'<p>Left the sample, right the training image nearest to it.</p><div class="pairs">'
        f"{figures}</div>"
    )


def grids_section(run: Run) -> str:
    """Grids drawn while training, at most six, from the first to the last."""
    if not run.grids:
        return ""
    kept = torch.linspace(0, len(run.grids) - 1, min(6, len(run.grids))).round().long().tolist()
    figures = "".join(
        figure_of(
            f'<img alt="Samples after {step:,} steps of training" '
            f'src="{data_uri(read_bytes(file))}">',
            f"after {step:,} steps",
        )
        for step, file in (run.grids[k] for k in kept)
    )
    return (
        "<h2>Samples during training</h2><p>The same random numbers each time, so that only the "
        f'weights differ.</p><div class="strip">{figures}</div>'
    )
