"""The report of a table of counts: names of features, kinds of rows, components, histograms."""

import json
import re

import numpy as np
import pytest
import torch
import yaml

from markovbridge.data import CountTable
from markovbridge.data.covariates import Covariates
from markovbridge.evaluation.report import write_report
from markovbridge.evaluation.report.charts import Points, points_chart, scatter_chart
from markovbridge.evaluation.report.counts import margin_charts, sample_rows, size_charts
from markovbridge.evaluation.report.population import (
    Kinds,
    component_charts,
    components,
    kinds_of,
    kinds_table,
)
from markovbridge.storage.config import to_config
from pages import Page, make_run, write_samples

NAMES = ["Actb", "<script>alert(1)</script>", "Malat1 & co", "Xkr4", "a" * 60]
HOSTILE = "<script>alert(1)</script>"


def counts(n, seed=0, means=(20.0, 6.0, 2.0, 9.0, 12.0)):
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(sigma=0.5, size=(n, 1))
    return torch.from_numpy(rng.poisson(depth * np.array(means)))


@pytest.fixture(scope="module")
def table_run(tmp_path_factory):
    """A run on a file with names, kinds and samples of each kind in turn."""
    pd = pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("tables")
    table = pd.DataFrame(counts(200).numpy(), columns=NAMES)
    kinds = ["<i>glia</i>" if k % 4 else "neuron" for k in range(200)]
    table.insert(0, "kind", kinds)
    table.to_csv(folder / "cells.csv", index=False)
    source = CountTable(str(folder / "cells.csv"), covariates=("kind",))
    run = make_run(folder / "run", source, split="all")
    (run / "data.json").write_text(json.dumps({"columns": NAMES, "split": "all"}))
    (run / "model").mkdir()
    encoding = Covariates.fit({"kind": kinds}, range(200), categorical=["kind"])
    config = {"covariates": to_config(encoding)}
    (run / "model" / "config.json").write_text(json.dumps(config))
    samples = counts(60, seed=1)
    states = torch.stack([0 * samples[:3], samples[:3]])
    write_samples(run, samples, states, condition={"kind": "*"})
    return run, Page(write_report(run))


def test_features_have_their_names_and_all_of_a_file_is_escaped(table_run):
    _, page = table_run
    for name in NAMES[:4]:
        assert name in page.text
    assert "<script" not in page.source and "<i>" not in page.source
    shown = HOSTILE[:23] + "…"
    assert page.text.count(shown) >= 4  # a point of each of four charts
    assert "a" * 23 + "…" in page.text
    assert "200 training rows of 5 features" in page.text


def test_kinds_are_counted_and_coloured(table_run):
    _, page = table_run
    assert "By kind." in page.text
    assert "<i>glia</i>5030" in page.text and "neuron5030" in page.text
    drawn = [page.source.count(f'class="member group-{k}"') for k in range(7)]
    assert drawn == [50 + 30, 50 + 30, 0, 0, 0, 0, 0]


def test_a_run_whose_columns_do_not_fit_has_no_names(table_run, tmp_path):
    run, _ = table_run
    other = make_run(tmp_path / "other", CountTable(str(run.parent / "cells.csv")), split="all")
    config = yaml.safe_load((run / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    (other / "samples.npz").write_bytes((run / "samples.npz").read_bytes())
    page = Page(write_report(other))
    assert "Actb" not in page.text and "sample 7" in page.text
    assert "By kind" not in page.text  # no model says what kinds there are


def test_the_farthest_points_are_named():
    x = np.array([1.0, 2.0, 4.0, 5.0, 6.0, 9.0])
    y = x + np.array([0.0, 0.0, 3.0, 0.0, -2.0, 0.0])
    chart = scatter_chart(
        x, y, x_label="a", y_label="b", description="d", names=list("vwxyzq"), named=2
    )
    # Away from the diagonal: of a point above it on the left, of one below on the right.
    found = re.findall(r'class="name (start|end)"[^>]*>(.)</text>', chart)
    assert found == [("end", "x"), ("start", "z")]
    assert re.findall("<title>(.)</title>", chart) == list("vwxyzq")


def test_names_that_would_cover_each_other_are_left_out():
    x = np.ones(3)
    chart = scatter_chart(
        x, np.array([2.0, 2.001, 9.0]), x_label="a", y_label="b", description="d", names="abc"
    )
    assert re.findall(r'class="name \w+"[^>]*>(.)</text>', chart) == ["c", "b"]


def test_named_points_are_drawn_of_many():
    x = np.arange(1.0, 9001.0)
    y = x.copy()
    y[4321] = 9000.0
    names = [f"g{k}" for k in range(9000)]
    chart = scatter_chart(x, y, x_label="a", y_label="b", description="d", names=names, named=1)
    assert "<title>g4321</title>" in chart and chart.count('class="point"') < 2002


def test_components_are_those_of_the_covariance_matrix():
    real, samples = counts(80), counts(30, seed=2)
    found = components(samples, real)
    depth = real.sum(1).double().median()
    scale = [(x / x.sum(1, keepdim=True) * depth).log1p().double() for x in (real, samples)]
    values, vectors = np.linalg.eigh(np.cov(scale[0].T.numpy()))
    for k in range(2):
        v = vectors[:, -1 - k]
        v = v * np.sign(v[np.abs(v).argmax()])
        np.testing.assert_allclose(found.directions[:, k], v, atol=1e-4)
        for x, own in zip(scale, (found.real, found.samples), strict=True):
            np.testing.assert_allclose(own[:, k], (x - scale[0].mean(0)).numpy() @ v, atol=1e-4)
        assert found.shares[k] == pytest.approx(values[-1 - k] / values.sum(), abs=1e-5)


@pytest.mark.parametrize("real", [torch.ones(9, 3).long(), torch.arange(1, 9)[:, None]])
def test_rows_that_differ_in_no_two_directions_have_no_components(real):
    assert components(real, real) is None


def test_negative_values_have_no_components():
    x = counts(9)
    other = x.clone()
    other[0, 0] = -2
    assert components(x, x) is not None
    assert components(x, other) is None and components(other, x) is None


def test_components_are_led_by_named_features():
    real = torch.zeros(40, 4, dtype=torch.int64) + 50
    real[:20, 0] += 40  # "a" against all others, of which the depth takes
    real[::2, 1] += 9
    found = components(real, real)
    text = component_charts(found, None, ["a", "<b>", "c", "d"])
    assert "Component 1 rises with a and falls with" in text
    assert "Component 2 rises with &lt;b&gt;" in text and "<b>" not in text


def test_kinds_are_those_that_samples_were_told():
    values = {"batch": ["x"] * 6, "kind": ["u", "v", None, "u", "u", "v"]}
    encoding = Covariates.fit(values, range(6), categorical=["batch", "kind"])

    class Known:
        known = values

    found = kinds_of(Known(), encoding, {"kind": "*", "batch": "x"}, 4)
    assert found == Kinds("kind", values["kind"], ["u", "v", "u", "v"])
    silent = kinds_of(Known(), encoding, None, 2)
    assert silent == Kinds("batch", ["x"] * 6, [None, None])
    assert kinds_of(Known(), None, {"kind": "*"}, 4) is None
    assert "samples were not told batch" in kinds_table(silent, counts(6), counts(2))


def test_more_kinds_than_colours_share_the_last():
    names = [f"k{k}" for k in range(9) for _ in range(9 - k)]
    kinds = Kinds("kind", names, ["k8", None])
    found = components(counts(2), counts(45))
    chart = component_charts(found, kinds, None)
    assert chart.count("member group-6") == 3 + 2 + 1 + 2
    assert ">other</span>" in chart and ">k5</span>" in chart and ">k6</span>" not in chart


def test_points_of_groups_lie_between_each_other():
    one = Points("one", np.zeros(4), np.zeros(4), 0)
    two = Points("two", np.ones(2), np.ones(2), 1)
    chart = points_chart(
        [one, two], x_label="a", y_label="b", description="d", ranges=((0, 1), (0, 1))
    )
    assert "".join(re.findall("member group-(.)", chart)) == "010010"


def test_histograms_are_shares():
    """Of 4 rows of total 1, 3, 3, 5, and of features that are not 0 in them."""
    x = torch.tensor([[1, 0], [2, 1], [3, 0], [2, 3]])
    chart = size_charts(x, torch.cat([x, x]))  # shares, however many rows there are
    both = [re.findall(f'class="line {k}" points="([^"]*)"', chart) for k in ("main", "second")]
    assert both[0] == both[1] and len(both[0]) == 2
    assert "has the median 3 in samples and 3 in training data" in chart
    assert "shows, 1 and 1" in chart
    heights = re.search(r'class="line main" points="([^"]*)"', chart)[1].split()
    y = [float(point.split(",")[1]) for point in heights]
    base, top = max(y), min(y)
    shares = [(base - v) / (base - top) / 2 for v in y]
    # Each bin has a left and a right end; the ends of the stairs are at 0.
    assert shares == pytest.approx([0, *np.repeat([0.25, 0, 0.5, 0, 0.25], 2), 0], abs=2e-3)


def test_wide_totals_are_drawn_by_their_logarithm():
    x = torch.tensor([[0], [1], [10], [1000], [10000]])
    chart = size_charts(x, x)
    assert "density of its logarithm" in chart and "10,000" in chart


@pytest.mark.parametrize(
    ("step", "label"), [(1, "share of rows<"), (9, "share of rows per unit<")]
)
def test_heights_over_wide_bins_are_per_unit(step, label):
    x = 900 + step * torch.arange(30)[:, None]
    assert label in size_charts(x, x)
    assert ("per unit" in size_charts(x, x)) is (step > 1)


def test_shares_of_zeros_are_drawn_where_there_are_none():
    x = counts(60, means=(20.0, 20.0, 30.0, 40.0, 50.0)).clamp_min(1)
    assert margin_charts(x, x).count('class="point"') == 4 * 5


def test_rows_show_the_features_of_most_counts():
    x = torch.arange(24).reshape(2, 12)
    page = sample_rows(x, [f"g{k}" for k in range(12)], x.double().mean(0))
    heads = re.findall(r'<th scope="col">(.*?)</th>', page)
    assert heads == [f"g{k}" for k in range(11, 1, -1)]
    assert "the features of most counts of 12" in page
    assert re.findall(r'<th scope="col">(.*?)</th>', sample_rows(x))[:2] == ["0", "1"]
