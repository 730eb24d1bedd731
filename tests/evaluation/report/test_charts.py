"""Charts: well-formed, and every point where it belongs."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from markovbridge.evaluation.report.charts import (
    Series,
    line_chart,
    nice_ticks,
    running_mean,
    scatter_chart,
)


def parse(svg):
    return ElementTree.fromstring(f"<div>{svg}</div>")


def line_of(svg, style):
    for element in parse(svg).iter("polyline"):
        if style in element.get("class").split():
            return [tuple(map(float, p.split(","))) for p in element.get("points").split()]
    raise AssertionError(style)


def test_running_mean_by_brute_force():
    y = np.array([1.0, 4.0, -2.0, 8.0, 0.0, 3.0])
    expected = [1.0, 1.0, np.mean(y[:5]), np.mean(y[1:6]), np.mean(y[3:6]), 3.0]
    np.testing.assert_allclose(running_mean(y, 5), expected)
    np.testing.assert_array_equal(running_mean(y, 1), y)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-147.2, -130.1, [-145, -140, -135]),
        (3, 1203, [200, 400, 600, 800, 1000, 1200]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_lines_keep_proportions_and_drop_what_is_not_finite():
    steps = np.array([0.0, 10.0, 20.0, 40.0])
    svg = line_chart(
        [Series("loss", steps, np.array([4.0, math.nan, 2.0, 0.0]))],
        x_label="step",
        y_label="loss",
        description="a < b",
    )
    (x0, y0), (x1, y1), (x2, y2) = line_of(svg, "main")
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.5, abs=1e-3)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.5, abs=1e-3)
    assert y2 > y0  # downwards in pixels
    chart = parse(svg).find(".//svg[@role='img']")
    assert chart.get("aria-label") == "a < b"
    assert [e.text for e in parse(svg).iter("span")] == ["loss"]


def test_long_lines_keep_their_end():
    x = np.arange(10_000.0)
    points = line_of(
        line_chart([Series("", x, x, "faint")], x_label="", y_label="", description=""), "faint"
    )
    assert len(points) < 1300
    end = line_of(
        line_chart(
            [Series("", x[:2] * 9999, x[:2], "faint")], x_label="", y_label="", description=""
        ),
        "faint",
    )[-1]
    assert points[-1][0] == end[0]


def test_a_chart_without_values_is_refused():
    nothing = Series("", np.array([1.0]), np.array([math.nan]))
    with pytest.raises(ValueError, match="at least one finite value"):
        line_chart([nothing], x_label="", y_label="", description="")


@pytest.mark.parametrize(
    "values", [[0.1, 0.5, 0.9], [0.0, 1.0, 2.0, 4e5], [-3.0, 2.0], [5.0, 5.0]]
)
def test_equal_values_lie_on_the_diagonal(values):
    y = np.array(values)
    root = parse(scatter_chart(y, y, x_label="a", y_label="b", description="c"))
    points = [(float(p.get("cx")), float(p.get("cy"))) for p in root.iter("circle")]
    line = next(e for e in root.iter("line") if e.get("class") == "diagonal")
    x1, y1, x2, y2 = (float(line.get(k)) for k in ("x1", "y1", "x2", "y2"))
    assert len(points) == len(values)
    for px, py in points:
        assert (px - x1) / (x2 - x1) == pytest.approx((py - y1) / (y2 - y1), abs=2e-3)
        assert -1e-3 <= (px - x1) / (x2 - x1) <= 1 + 1e-3


def test_logarithmic_axes_keep_ratios():
    x = np.array([0.0, 0.5, 1.0])
    svg = line_chart(
        [Series("n", x, np.array([1000.0, 100.0, 1.0]), "third")],
        x_label="t",
        y_label="n",
        y_log=True,
        description="n",
    )
    (_, y0), (_, y1), (_, y2) = line_of(svg, "third")
    assert (y1 - y0) / (y2 - y0) == pytest.approx(1 / 3, abs=1e-3)
    labels = [text.text for text in parse(svg).iter("text") if text.get("class") == "end"]
    assert labels == ["1", "10", "100", "1,000"]


def test_errors_are_bars_about_the_values():
    x, y = np.arange(3.0), np.array([1.0, 2.0, 3.0])
    plain = line_chart([Series("a", x, y)], x_label="x", y_label="y", description="d")
    chart = line_chart(
        [Series("a", x, y, "main", np.array([0.5, 0.0, 0.25]))],
        x_label="x",
        y_label="y",
        description="d",
    )
    bars = re.findall(
        r'<line class="line main" x1="([\d.]+)" x2="\1" y1="(.*?)" y2="(.*?)"', chart
    )
    assert "line main" in plain and len(bars) == 3
    points = re.search(r'points="([^"]*)"', chart)[1].split()
    for (at, low, high), point in zip(bars, points, strict=True):
        px, py = map(float, point.split(","))
        assert float(at) == px
        assert (float(low) + float(high)) / 2 == pytest.approx(py, abs=0.11)
    heights = [float(low) - float(high) for _, low, high in bars]
    assert heights[1] == 0 and heights[0] == pytest.approx(2 * heights[2], abs=0.2)
