"""Line charts and scatter plots as inline SVG, coloured by the page's style sheet.

An SVG inside a page takes its colours from CSS, so it follows light and dark, and
it stays sharp at any size. Three kinds of chart are all that a report needs: lines, points
about the diagonal, and points of several groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, TypeVar

import numpy as np

Item = TypeVar("Item")

LEFT, RIGHT, TOP, BOTTOM = 70, 16, 16, 44
WIDE, SQUARE = 760, 380  # widths of charts
POINTS = 2000  # drawn of a chart, about
LONG = 24  # letters of a name in a chart
TEXT = 90, 14  # pixels that a name takes, across and down


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
    x_log: bool = False,
    width: int = WIDE,
) -> str:
    """Draw lines over a common axis.

    Args:
        series: The lines, the first drawn first.
        x_label: Below the axis.
        y_label: Beside the axis.
        description: What the chart shows, for those who cannot see it.
        y_range: Values at the bottom and top; lines are cut off there. By default all fits.
        y_log: Whether the vertical axis is logarithmic; values must then be positive.
        x_log: Whether the horizontal one is; positions must then be positive.
        width: Of the chart.

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
    height = 320
    x_axis = _axis(xs.min(), xs.max(), LEFT, width - RIGHT, 0.0, x_log)
    low, high = y_range or (ys.min(), ys.max())
    y_axis = _axis(low, high, height - BOTTOM, TOP, 0.04, y_log)
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
    names: Sequence[str] | None = None,
    named: int = 4,
) -> str:
    """Draw points about the diagonal, on square-root axes if the values are wide and positive.

    Args:
        x: Shape `(n,)`, finite.
        y: Shape `(n,)`, finite.
        x_label: Below the axis.
        y_label: Beside the axis.
        description: What the chart shows, for those who cannot see it.
        log: Whether both axes are logarithmic; values must then be positive.
        names: Of the points, shown where one points at them; or None.
        named: How many of the points farthest from the diagonal have their name beside them.

    Returns:
        An `<svg>` element.
    """
    both = np.concatenate([x, y])
    root = bool(both.min() >= 0 and both.max() > 20 * max(np.median(both), 1e-12))
    width = height = SQUARE
    ends = (LEFT, width - RIGHT), (height - BOTTOM, TOP)
    if root and not log:
        x_axis, y_axis = (_Axis(0.0, float(both.max()), *end, "root") for end in ends)
    else:
        x_axis, y_axis = (_axis(both.min(), both.max(), *end, 0.04, log) for end in ends)
    parts = [_frame(x_axis, y_axis, width, height, x_label, y_label)]
    corners = [(float(x_axis(v)), float(y_axis(v))) for v in (x_axis.low, x_axis.high)]
    parts.append(
        '<line class="diagonal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(
            *corners[0], *corners[1]
        )
    )
    across, down = x_axis(x), y_axis(y)
    far = np.argsort(-np.abs(y_axis(x) - down), kind="stable")[: named if names else 0]
    farthest: list[int] = far.tolist()
    for k in sorted({*_thin(range(len(x)), POINTS), *farthest}):
        title = "" if names is None else f"<title>{escape(_short(names[k]))}</title>"
        circle = f'<circle class="point" cx="{across[k]:.1f}" cy="{down[k]:.1f}" r="3"'
        parts.append(f"{circle}>{title}</circle>" if title else f"{circle}/>")
    if names is not None:
        shown = [(_short(names[k]), float(across[k]), float(down[k])) for k in farthest]
        parts.extend(_labels(shown, width))
    return _svg(parts, width, height, description)


@dataclass(frozen=True)
class Points:
    """Points of one group.

    Attributes:
        name: In the legend; the empty string keeps it out.
        x: Positions (n,), finite.
        y: Positions (n,), finite.
        group: Which colour, 0 to 6; the last is grey.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    group: int


def points_chart(
    groups: Sequence[Points],
    *,
    x_label: str,
    y_label: str,
    description: str,
    ranges: tuple[tuple[float, float], tuple[float, float]],
) -> str:
    """Draw points of several groups, in their colours.

    Args:
        groups: The points; they are drawn in an order that lets no group cover the others.
        x_label: Below the axis.
        y_label: Beside the axis.
        description: What the chart shows, for those who cannot see it.
        ranges: Where the axes begin and end, so that several charts can be compared.

    Returns:
        An `<svg>` element, and the legend.
    """
    width = height = SQUARE
    x_axis = _axis(*ranges[0], LEFT, width - RIGHT, 0.04)
    y_axis = _axis(*ranges[1], height - BOTTOM, TOP, 0.04)
    parts = [_frame(x_axis, y_axis, width, height, x_label, y_label)]
    # The k-th of n points of a group comes (k + 1/2)/n of the way.
    drawn = [
        ((k + 0.5) / len(one.x), one.group, px, py)
        for one in groups
        for k, (px, py) in enumerate(zip(x_axis(one.x), y_axis(one.y), strict=True))
    ]
    for _, group, px, py in sorted(drawn):
        circle = f'<circle class="member group-{group}" cx="{px:.1f}" cy="{py:.1f}" r="2.4"/>'
        parts.append(circle)
    names = [
        f'<span class="key group-{one.group}">{escape(_short(one.name))}</span>'
        for one in groups
        if one.name
    ]
    legend = f'<p class="legend">{"".join(names)}</p>' if names else ""
    return f"<div>{_svg(parts, width, height, description)}{legend}</div>"


def _axis(
    low: float, high: float, start: float, stop: float, share: float, log: bool = False
) -> _Axis:
    """An axis of a range and a margin beside it."""
    if not log:
        first, last = _padded(low, high, share)
        return _Axis(first, last, start, stop)
    first, last = _padded(math.log(low), math.log(high), share)
    return _Axis(math.exp(first), math.exp(last), start, stop, "log")


def _short(name: str) -> str:
    return name if len(name) <= LONG else f"{name[: LONG - 1]}…"


def _labels(points: Sequence[tuple[str, float, float]], width: int) -> Iterator[str]:
    """Names beside points, but for those that would cover a name before them."""
    taken: list[tuple[float, float]] = []
    for name, x, y in points:
        if any(abs(x - px) < TEXT[0] and abs(y - py) < TEXT[1] for px, py in taken):
            continue
        taken.append((x, y))
        # Away from the diagonal, on which most points are.
        across, up = (x - LEFT) / (width - RIGHT - LEFT), (width - BOTTOM - y)
        above = up / (width - BOTTOM - TOP) > across
        left = x > LEFT + TEXT[0] if above else x > width - TEXT[0]
        yield (
            f'<text class="name {"end" if left else "start"}" x="{x + (-7 if left else 7):.1f}" '
            f'y="{y + 4:.1f}">{escape(name)}</text>'
        )


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """A range of positive length around [low, high]."""
    low, high = float(low), float(high)
    if low == high:
        return low - 0.5 * max(1.0, abs(low)), high + 0.5 * max(1.0, abs(high))
    margin = share * (high - low)
    return low - margin, high + margin


def _thin(points: Sequence[Item], limit: int) -> list[Item]:
    """At most about `limit` of the points, evenly, the last one kept."""
    step = max(1, math.ceil(len(points) / limit))
    kept = list(points[::step])
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
