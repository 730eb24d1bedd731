"""Line charts and scatter plots as inline SVG, coloured by the page's style sheet.

An SVG inside a page takes its colours from CSS, so it follows light and dark, and
it stays sharp at any size. Two kinds of chart are all that a report needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np

LEFT, RIGHT, TOP, BOTTOM = 70, 16, 16, 44


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: In the legend; the empty string keeps it out.
        x: Positions.
        y: Values; those that are not finite are left out.
        style: CSS class of the line: "faint", "main", "second", "third".
        error: Of the values, drawn as bars up and down on a linear axis; None for none.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    style: Literal["faint", "main", "second", "third"] = "main"
    error: np.ndarray | None = None


@dataclass(frozen=True)
class _Axis:
    """Maps values to positions between two pixels: linearly, by square root or logarithm."""

    low: float
    high: float
    start: float
    stop: float
    scale: Literal["linear", "root", "log"] = "linear"

    def __call__(self, value: np.ndarray | float) -> np.ndarray:
        bend = {"linear": np.asarray, "root": np.sqrt, "log": np.log}[self.scale]
        low, high = float(bend(self.low)), float(bend(self.high))
        return self.start + (bend(value) - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round values inside the range."""
        if self.scale == "log":
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = [m * 10.0**p for p in powers for m in ((1,) if len(powers) > 3 else (1, 2, 5))]
            return [v for v in steps if self.low <= v <= self.high]
        if self.scale == "root":
            power = math.floor(math.log10(self.high))
            steps = [m * 10.0**p for p in range(power - 2, power + 1) for m in (1, 2, 5)]
            inside = [v for v in steps if self.low <= v <= self.high]
            return [0.0, *inside[-5:]]
        return nice_ticks(self.low, self.high)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten in [low, high]."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def running_mean(y: np.ndarray, window: int) -> np.ndarray:
    """Centred running mean of `y`, shape `(n,)`; the window shrinks at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(y)])
    i = np.arange(len(y))
    reach = np.minimum(np.minimum(i, len(y) - 1 - i), window // 2)
    return (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1)


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    description: str,
    y_range: tuple[float, float] | None = None,
    y_log: bool = False,
) -> str:
    """Draw lines over a common axis.

    Args:
        series: The lines, the first drawn first.
        x_label: Below the axis.
        y_label: Beside the axis.
        description: What the chart shows, for those who cannot see it.
        y_range: Values at the bottom and top; lines are cut off there. By default all fits.
        y_log: Whether the vertical axis is logarithmic; values must then be positive.

    Returns:
        An `<svg>` element that scrolls on narrow screens, and the legend.

    Raises:
        ValueError: If no series has a finite value.
    """
    finite = [np.isfinite(s.y) & np.isfinite(s.x) for s in series]
    if not any(mask.any() for mask in finite):
        raise ValueError("a chart needs at least one finite value")
    xs = np.concatenate([s.x[mask] for s, mask in zip(series, finite, strict=True)])
    ys = np.concatenate([s.y[mask] for s, mask in zip(series, finite, strict=True)])
    width, height = 760, 320
    left, right = _padded(xs.min(), xs.max(), 0.0)
    x_axis = _Axis(left, right, LEFT, width - RIGHT)
    low, high = y_range or (ys.min(), ys.max())
    if y_log:
        bottom, top = (math.exp(v) for v in _padded(math.log(low), math.log(high), 0.04))
    else:
        bottom, top = _padded(low, high, 0.04)
    scale = "log" if y_log else "linear"
    y_axis = _Axis(bottom, top, height - BOTTOM, TOP, scale)
    parts = [_frame(x_axis, y_axis, width, height, x_label, y_label)]
    for line, mask in zip(series, finite, strict=True):
        points = list(zip(x_axis(line.x[mask]), y_axis(line.y[mask]), strict=True))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in _thin(points, 1200))
        parts.append(f'<polyline class="line {line.style}" points="{path}"/>')
        if line.error is not None:
            ends = [y_axis(line.y[mask] + side * line.error[mask]) for side in (-1, 1)]
            for (x, _), one, other in zip(points, *ends, strict=True):
                parts.append(
                    f'<line class="line {line.style}" x1="{x:.1f}" x2="{x:.1f}" '
                    f'y1="{one:.1f}" y2="{other:.1f}" '
                    'style="stroke-width:1;stroke-dasharray:none"/>'
                )
        if len(points) == 1:
            x, y = points[0]
            parts.append(f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
    chart = _svg(parts, width, height, description)
    return f'<div class="scroll">{chart}</div>{_legend(series)}'


def scatter_chart(
    x: np.ndarray,
    y: np.ndarray,
    *,
    x_label: str,
    y_label: str,
    description: str,
    log: bool = False,
) -> str:
    """Draw points about the diagonal, on square-root axes if the values are wide and positive.

    Args:
        x: Shape `(n,)`, finite.
        y: Shape `(n,)`, finite.
        x_label: Below the axis.
        y_label: Beside the axis.
        description: What the chart shows, for those who cannot see it.
        log: Whether both axes are logarithmic; values must then be positive.

    Returns:
        An `<svg>` element.
    """
    both = np.concatenate([x, y])
    root = bool(both.min() >= 0 and both.max() > 20 * max(np.median(both), 1e-12))
    scale = "log" if log else "root" if root else "linear"
    if log:
        logs = math.log(both.min()), math.log(both.max())
        low, high = (math.exp(value) for value in _padded(*logs, 0.04))
    else:
        low, high = (0.0, float(both.max())) if root else _padded(both.min(), both.max(), 0.04)
    width = height = 380
    x_axis = _Axis(low, high, LEFT, width - RIGHT, scale)
    y_axis = _Axis(low, high, height - BOTTOM, TOP, scale)
    parts = [_frame(x_axis, y_axis, width, height, x_label, y_label)]
    ends = [(float(x_axis(v)), float(y_axis(v))) for v in (low, high)]
    parts.append(
        '<line class="diagonal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(
            *ends[0], *ends[1]
        )
    )
    for px, py in _thin(list(zip(x_axis(x), y_axis(y), strict=True)), 2000):
        parts.append(f'<circle class="point" cx="{px:.1f}" cy="{py:.1f}" r="3"/>')
    return _svg(parts, width, height, description)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """A range of positive length around [low, high]."""
    low, high = float(low), float(high)
    if low == high:
        return low - 0.5 * max(1.0, abs(low)), high + 0.5 * max(1.0, abs(high))
    margin = share * (high - low)
    return low - margin, high + margin


def _thin(points: list, limit: int) -> list:
    """At most about `limit` of the points, evenly, the last one kept."""
    step = max(1, math.ceil(len(points) / limit))
    kept = points[::step]
    return kept if (len(points) - 1) % step == 0 else [*kept, points[-1]]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _frame(x: _Axis, y: _Axis, width: int, height: int, x_label: str, y_label: str) -> str:
    parts = []
    for value in y.ticks():
        at = float(y(value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4}" class="end">{_number(value)}</text>')
    previous = -math.inf
    for value in x.ticks():
        at = float(x(value))
        if at - previous < 40:  # pixels: labels would touch
            continue
        previous = at
        parts.append(f'<text x="{at}" y="{height - BOTTOM + 18}">{_number(value)}</text>')
    middle = (TOP + height - BOTTOM) / 2
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" '
        f'y1="{height - BOTTOM}" y2="{height - BOTTOM}"/>'
        f'<text class="label" x="{(LEFT + width - RIGHT) / 2}" y="{height - 6}">'
        f"{escape(x_label)}</text>"
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _svg(parts: list[str], width: int, height: int, description: str) -> str:
    # The nested svg cuts off what leaves the frame, without an id that could clash.
    frame, *marks = parts
    inner = (
        f'<svg x="{LEFT}" y="{TOP - 4}" width="{width - LEFT - RIGHT + 4}" '
        f'height="{height - TOP - BOTTOM + 8}" '
        f'viewBox="{LEFT} {TOP - 4} {width - LEFT - RIGHT + 4} {height - TOP - BOTTOM + 8}">'
        f"{''.join(marks)}</svg>"
    )
    wide = " wide" if width > 600 else ""
    return (
        f'<svg class="chart{wide}" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width * 1.35:g}px" role="img" aria-label="{escape(description)}">'
        f"{frame}{inner}</svg>"
    )


def _legend(series: Sequence[Series]) -> str:
    names = [f'<span class="key {s.style}">{escape(s.name)}</span>' for s in series if s.name]
    return f'<p class="legend">{"".join(names)}</p>' if names else ""
