"""Sections of a report for what was asked of a model: likelihood, restoration, consistency.

Each shows what a verb has written into the run folder, beside what it has to be compared with,
or the command that makes it.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.evaluation.consistency import MEANING
from markovbridge.evaluation.held_out_likelihood import given
from markovbridge.evaluation.report.charts import Series, line_chart, scatter_chart
from markovbridge.evaluation.report.html import heading, missing, number, table
from markovbridge.evaluation.report.pictures import pictures, white
from markovbridge.evaluation.report.run import Run
from markovbridge.evaluation.report.run import given as given_of
from markovbridge.storage.config import at_a_glance
from markovbridge.storage.png import is_image

ROWS = 6  # restored images that are shown
WIDTH = 110  # of an image, in pixels of the page
POINTS = 2000  # of the plot where there are none
# Which checks are drawn together: against data with a sign, and the model against itself.
CHARTS = {
    "Against data": ("mean", "variance", "covariance"),
    "Against itself": ("integrability", "derivative", "law variance"),
}
STYLES = ("main", "second", "third")


def likelihood_section(run: Run) -> str:
    """Nats and bits per dimension, beside those of simple models."""
    title = "<h2>Likelihood</h2>"
    if not run.likelihood:
        return title + missing(
            "The likelihood of held-out data has not been bounded yet.",
            f"markovbridge evaluate {run.path} --likelihood 200",
        )
    first = run.likelihood[0]
    rows = []
    for one in run.likelihood:
        sign = "≤ " if one.bound else ""
        behind = (
            ""
            if one is first
            else f"{number(one.behind, '+.4f')} <small>± {number(one.behind_error, '.4f')}</small>"
        )
        rows.append(
            (
                escape(one.model),
                f"{sign}{number(one.nats)} <small>± {number(one.nats_error, '.2g')}</small>",
                f"{sign}{number(one.bits, '.4f')} "
                f"<small>± {number(one.bits_error, '.4f')}</small>",
                behind,
            )
        )
    caption = (
        f"-log p of {first.n:,} data points, {first.split}{given(first)}: "
        f"{first.weights} weights, {first.draws} looks at each, seed {first.seed}."
    )
    text = (
        "<p>How surprising data are that the model has not seen; lower is better. The figures of "
        "the model are upper bounds, tight for a perfect one. What it gains over a model that "
        "takes each site on its own is what it knows of how sites go together.</p>"
    )
    heads = ("", "nats", "bits per dimension", "difference")
    return title + text + table(heads, rows, caption)


def restoration_section(run: Run) -> str:
    """Restored counts beside what was observed and the truth, and their scores."""
    title = "<h2>Restoration</h2>"
    if not run.restored:
        if not run.counts:
            return ""
        return title + missing(
            "No thinned counts have been restored yet.",
            f"markovbridge restore {run.path} --survival 0.1",
        )
    meta = run.restored_meta
    text = (
        f"<p>Of each unit the input has kept {number(meta['survival'], '.3g')} on average ("
        f"{escape(str(meta['input']))}). From there the model has drawn "
        f"{number(meta['draws'])} times what the whole may have been{escape(_given(meta))}. "
        "Pictures of the input are brightened.</p>"
    )
    arrays = {name: torch.from_numpy(array) for name, array in run.restored.items()}
    shown = _rows(run, arrays) if is_image(tuple(arrays["input"].shape[1:])) else _points(arrays)
    return title + text + shown + _scores(meta)


def _rows(run: Run, arrays: dict[str, Tensor]) -> str:
    """A row for each image: input, draws, mean, truth."""
    survival = run.restored_meta["survival"]
    bright = (arrays["input"][:ROWS].double() / survival).round()
    columns = {"input": bright}
    for k, draw in enumerate(arrays["draws"][:3], 1):
        columns[f"draw {k}"] = draw[:ROWS].double()
    columns["mean"] = arrays["mean"][:ROWS].double().round()
    if "truth" in arrays:
        columns["truth"] = arrays["truth"][:ROWS].double()
    maximum = white(run, arrays["draws"])
    images = {
        name: pictures(values.clamp(0, maximum).long(), maximum, [name] * len(values))
        for name, values in columns.items()
    }
    head = "".join(f"<span>{name}</span>" for name in columns)
    body = "".join("".join(row) for row in zip(*images.values(), strict=True))
    style = f"grid-template-columns:repeat({len(columns)},1fr);max-width:{WIDTH * len(columns)}px"
    return f'<div class="scroll"><div class="path" style="{style}">{head}{body}</div></div>'


def _points(arrays: dict[str, Tensor]) -> str:
    """Restored means against the truth, site by site."""
    if "truth" not in arrays:
        return ""
    truth = arrays["truth"].double().flatten().numpy()
    mean = arrays["mean"].double().flatten().numpy()
    kept = np.linspace(0, len(truth) - 1, min(POINTS, len(truth))).round().astype(int)
    return scatter_chart(
        truth[kept],
        mean[kept],
        x_label="truth",
        y_label="mean of the draws",
        description="Scatter plot: restored mean of each site against the truth; points on the "
        "diagonal agree",
    )


def _scores(meta: dict[str, Any]) -> str:
    """Errors and coverage, where the truth is known."""
    scores = meta.get("scores")
    if not scores:
        return ""
    levels = [c["level"] for c in scores[0]["coverage"]]
    heads = ["", "squared error"]
    for level in levels:
        heads += [f"{level:.0%}, by rank", f"{level:.0%} interval"]
    rows = []
    for one in scores:
        cells = [
            escape(one["method"]),
            f"{number(one['mse'])} <small>± {number(one['error'], '.2g')}</small>",
        ]
        for c in one["coverage"]:
            cells.append(f"{c['randomised']:.1%} <small>± {c['error']:.1%}</small>")
            cells.append(f"{c['conservative']:.1%}")
        rows.append((*cells, *[""] * (len(heads) - len(cells))))
    caption = (
        f"{meta['rows']:,} rows{_given(meta)}, {meta['draws']} draws of each: "
        f"{at_a_glance(meta['sampler'])}, {meta['evaluations']:g} evaluations, "
        f"{meta['weights']} weights, seed {meta['seed']}."
    )
    note = (
        "By rank: how often the truth is among the central draws, ties broken at random; a "
        "perfect model has the share named. Intervals of counts, ends included, hold more."
    )
    return f'{table(heads, rows, caption)}<p class="note" style="margin-top:12px">{note}</p>'


def diagnostics_section(run: Run) -> str:
    """Each identity's violation over time, and what it means."""
    title = "<h2>Self-consistency</h2>"
    pieces = run.diagnostics.get("pieces")
    if not pieces:
        if not run.counts:
            return ""
        return title + missing(
            "The model has not been checked against itself yet.",
            f"markovbridge diagnose {run.path}",
        )
    meta = run.diagnostics["meta"]
    times = np.array([sum(piece["times"]) / 2 for piece in pieces])
    values, errors = (
        {n: np.array([piece["checks"][n][key] for piece in pieces], dtype=float) for n in MEANING}
        for key in ("value", "error")  # NaN where they are undefined
    )
    charts = []
    for name, checks in CHARTS.items():
        if not any(np.isfinite(values[check]).any() for check in checks):
            continue
        log = name == "Against itself" and all(bool((values[c] > 0).all()) for c in checks)
        series = [
            Series(check, times, values[check], style, None if log else errors[check])
            for check, style in zip(checks, STYLES, strict=True)
        ]
        chart = line_chart(
            series,
            x_label="time t, source to data",
            y_label="relative violation",
            y_log=log,
            description=f"Line chart: violation of {', '.join(checks)} over time",
        )
        charts.append(f"{heading(name)}{chart}")
    rows = []
    for name, text in MEANING.items():
        worst = int(np.argmax(np.nan_to_num(np.abs(values[name]))))
        value, error = float(values[name][worst]), float(errors[name][worst])
        at = f"{number(value, '.2g')} <small>± {number(error, '.1g')}</small>"
        rows.append((f"{name}<small>{escape(text)}</small>", at, f"{times[worst]:.2f}"))
    caption = (
        f"The largest violations: {meta['n']:,} data points, {meta['data']}{_given(meta)}, "
        f"thinned to each piece of time; {meta['weights']} weights, seed {meta['seed']}."
    )
    text = (
        "<p>Whatever the data, the expected number of units still to come determines its own "
        "change in time, and how errors go together. A network need not obey this: how far it is "
        "off says how far it is from being the mean of any law, without knowing the true one. 0 "
        "is perfect, up to the error: bars are one standard error.</p>"
    )
    heads = ("", "largest", "at t")
    return title + text + "".join(charts) + table(heads, rows, caption)


def _given(meta: dict[str, Any]) -> str:
    """What a model was told of rows."""
    told = given_of(meta)
    return f", given {told}" if told else ""
