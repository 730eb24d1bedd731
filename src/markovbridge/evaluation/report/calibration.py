"""Ranks and coverage of intervals in a report, where they have been measured."""

from __future__ import annotations

from html import escape

import numpy as np

from markovbridge.evaluation.calibration import Calibration
from markovbridge.evaluation.report.charts import Series, line_chart
from markovbridge.evaluation.report.html import heading, number, table
from markovbridge.evaluation.report.run import Run
from markovbridge.storage.config import at_a_glance


def calibration_section(run: Run) -> str:
    """Ranks of the truth among draws, and how often intervals hold it; empty of none."""
    if not run.calibrations:
        return ""
    text = (
        "<p>Of rows that the model has not seen, a part was hidden and drawn again. The rank of "
        "the truth among the draws, ties at random, is uniform if the draws follow the true law: "
        "all bars at 1. A U means that draws are too close together, a hump that they are too far "
        "apart, a slope that they are off.</p>"
    )
    return "<h2>Calibration</h2>" + text + "".join(map(_one, run.calibrations))


def _one(found: Calibration) -> str:
    """What was found of one kind of draws."""
    shown = "units kept" if found.task == "restore" else "entries shown"
    what = "Restored depth" if found.task == "restore" else "Imputed entries"
    title = heading(f"{what}, {found.share:.3g} of the {shown}")
    ranks = np.arange(found.draws + 1)
    bars = np.array(found.ranks) * len(ranks)
    errors = np.array(found.errors, dtype=float) * len(ranks)
    chart = line_chart(
        [
            Series("uniform", ranks, np.ones(len(ranks)), "faint"),
            Series("found", ranks, bars, "main", errors),
        ],
        x_label=f"rank of the truth among {found.draws} draws",
        y_label="share, 1 if uniform",
        description=f"Line chart: share of each rank of the truth among {found.draws} draws, from "
        f"{bars.min():.3g} to {bars.max():.3g} times the uniform one",
    )
    rows = []
    for one in found.coverage:
        rows.append(
            (
                f"{one.plain.level:.3g}",
                f"{one.plain.randomised:.1%} <small>± {one.plain.error:.1%}</small>",
                f"{one.plain.conservative:.1%}",
                f"{one.corrected:.1%} <small>± {one.error:.1%}</small>",
                f"{number(one.plain.width, '.3g')}, {number(one.width, '.3g')}",
            )
        )
    drawn = "; ".join(filter(None, map(at_a_glance, (found.walk, found.parts))))
    caption = (
        f"{found.entries:,} entries of {found.rows:,} rows"
        f"{f', {found.rows_of}' if found.rows_of else ''}, {found.draws} draws of each: "
        f"{drawn}. Ranks are uniform: p = {found.uniform:.2g}, one entry of each row."
    )
    heads = ("level", "by rank", "intervals", "corrected", "length, corrected")
    note = (
        "By rank: how often the truth is among the central draws, ties broken at random; a "
        "perfect model has the level. Intervals of counts, ends included, hold more. Corrected "
        "ones are widened by what other rows ask for, and hold the level whatever the model."
    )
    return (
        f"{title}{chart}{table(heads, rows, caption)}"
        f'<p class="note" style="margin-top:12px">{escape(note)}</p>'
    )
