"""One self-contained page of what `markovbridge.evaluation.inspection` saw: `write_inspection`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.evaluation.inspection import View
from markovbridge.evaluation.report.charts import Series, line_chart
from markovbridge.evaluation.report.html import document, heading, keys_table
from markovbridge.evaluation.report.pictures import pictures
from markovbridge.processes import Process
from markovbridge.storage.files import make_folder, write_json, write_text
from markovbridge.storage.locks import locked
from markovbridge.storage.png import is_image, to_shades

STYLES = ("main", "second", "third")
PATHS = 2  # shown of each law
FEW, ALONE = 0.1, 2.0  # effective data points: of those of the start, and when one is left
SITES = 8  # whose posterior mean is drawn where data are no images


def write_inspection(
    folder: Path, title: str, process: Process, views: Sequence[View], facts: dict[str, Any]
) -> list[Path]:
    """Write `inspect.html` and `inspect.json` into a folder.

    Args:
        folder: Made if it does not exist.
        title: What was looked at.
        process: The reference.
        views: What was seen, three at most.
        facts: What one has to know to read it: data, points, seed, and so on.

    Returns:
        The two paths.
    """
    make_folder(folder)
    facts = {**facts, "process": repr(process)}
    content = {
        **facts,
        "markovbridge": version("markovbridge"),
        "views": [v.to_dict() for v in views],
    }
    page = document(f"inside {title}", _body(title, process, views, facts))
    with locked(folder, "inspection"):
        return [
            write_text(folder / "inspect.html", page),
            write_json(folder / "inspect.json", content),
        ]


def _body(title: str, process: Process, views: Sequence[View], facts: dict[str, Any]) -> str:
    sections = [_size(process, views), _effective(views), _paths(process, views)]
    table = keys_table({key: escape(str(value)) for key, value in facts.items()})
    body = "".join(f"<section>{section}</section>" for section in sections)
    return (
        f'<header><p class="kicker">markovbridge inspect</p><h1>{escape(title)}</h1>'
        '<p class="lead">What happens between source (t = 0) and data (t = 1).</p></header>'
        f"{_conclusion(process, views)}{body}<section><h2>What was looked at</h2>{table}</section>"
    )


def _conclusion(process: Process, views: Sequence[View]) -> str:
    """When what a path becomes is decided, a sentence for each law."""
    what = "jumps" if process.jumps else "pull towards the data"
    found = []
    for view in views:
        half = _first(view.times, view.size.cumsum(0) >= view.size.sum() / 2)
        text = f"{view.name}: half of the {what} by t = {half:.2f}"
        if view.effective is not None:
            many = view.effective[:, 0]
            few = _first(view.times, many < FEW * many.max())
            one = _first(view.times, many < ALONE)
            text += (
                f"; which data point a path goes to is decided from t = {few:.2f}, when fewer "
                f"than a tenth of those of the start carry the weight, to t = {one:.2f}, when one "
                "does"
            )
        found.append(f"{text}.")
    text = "Steps of a sampler are best spent where the end is decided. " + " ".join(found)
    return f'<p class="verdict">{escape(text)}</p>'


def _first(times: Tensor, so: Tensor) -> float:
    """The first time at which something is so; 1, the end, if it never is."""
    return float(times[so][0]) if bool(so.any()) else 1.0


def _size(process: Process, views: Sequence[View]) -> str:
    if process.jumps:
        title, label = "Jumps", "jumps of a site per unit of time"
        text = "How often a site jumps, on average over states at time t."
    else:
        title, label = "Drift adjustment", "RMS per site, per unit of time"
        text = (
            "How hard paths are pulled towards the data, beside the drift of the reference: the "
            "root mean square of g² (a/v) (E[x₁ | x] − a x) over sites and states at time t."
        )
    series = [
        Series(view.name, view.times.numpy(), view.size.numpy(), style)
        for view, style in zip(views, STYLES, strict=False)
    ]
    chart = line_chart(
        series,
        x_label="time t",
        y_label=label,
        y_log=all(bool((view.size > 0).all()) for view in views),
        description=f"Line chart: {title.lower()} over time for each law",
    )
    return f"<h2>{title}</h2><p>{text}</p>{chart}"


def _effective(views: Sequence[View]) -> str:
    series = []
    for view, style in zip(views, STYLES, strict=False):
        if view.effective is not None:
            times, values = view.times.numpy(), view.effective.numpy()
            series.append(Series(view.name, times, values[:, 0], style))
    if not series:
        return ""
    chart = line_chart(
        series,
        x_label="time t",
        y_label="effective data points",
        y_log=True,
        description="Line chart: effective number of data points in the posterior over time",
    )
    return (
        "<h2>Effective number of data points</h2><p>The posterior mean of a data set is a "
        "weighted average of its points. This is how many of them carry the weight, 1/Σw², the "
        f"median over states at time t: early on many, in the end one.</p>{chart}"
    )


def _paths(process: Process, views: Sequence[View]) -> str:
    title = "<h2>Paths and posterior means</h2>"
    if not is_image(tuple(views[0].states.shape[2:])):
        return title + "".join(_lines(view) for view in views)
    text = (
        "<p>Paths, and below each its posterior mean E[x₁ | x]: the centre of the data that it "
        "is drawn to at that time. With an exact law paths end in points of the data set.</p>"
    )
    return title + text + "".join(_strip(process, view) for view in views)


def _strip(process: Process, view: View) -> str:
    ends = _data(process, view.means[-1])
    low, high = min(0.0, float(ends.min())), float(ends.max())
    head = "".join(f"<span>{time:.2f}</span>" for time in view.frames.tolist())
    rows = []
    for path in range(min(PATHS, view.states.shape[1])):
        for what, values in (("state", view.states), ("posterior mean", view.means)):
            shown = to_shades(_data(process, values[:, path]), low, high)
            alts = [f"{what} at time {time:.2f}" for time in view.frames.tolist()]
            rows.extend(pictures(shown, 255, alts))
    columns = len(view.frames)
    return (
        f'{heading(view.name)}<div class="scroll"><div class="path" '
        f'style="grid-template-columns:repeat({columns},1fr)">{head}'
        f"{''.join(rows)}</div></div>"
    )


def _data(process: Process, x: Tensor) -> Tensor:
    """States, or means of them, in the units of the data."""
    return x if process.support is None else process.support.decode(x)


def _lines(view: View) -> str:
    means = view.means[:, 0].double().flatten(1)
    sites = torch.linspace(0, means.shape[1] - 1, min(SITES, means.shape[1])).round().long()
    times = view.frames.numpy()
    series = [
        Series("", times, np.asarray(means[:, site]), "main" if index == 0 else "faint")
        for index, site in enumerate(sites.tolist())
    ]
    chart = line_chart(
        series,
        x_label="time t",
        y_label="posterior mean",
        description=f"Line chart: posterior mean of some sites along one path of {view.name}",
    )
    return f"<h3>{escape(view.name)}</h3>{chart}"
