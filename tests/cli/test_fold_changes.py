"""`evaluate` of samples that took each level of a covariate in turn: their differences."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from markovbridge.cli import main
from markovbridge.evaluation.metrics import fold_changes
from markovbridge.evaluation.report import write_report
from pages import Page

TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "8", "--trainer.steps", "3"]
FEW = ["--steps", "2", "--threads", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    kind = np.arange(160) % 2
    counts = rng.poisson(np.array([[5, 2, 3, 1], [2, 3, 3, 4]])[kind])
    frame = pd.DataFrame(counts, columns=list("abcd"))
    frame.insert(0, "kind", np.array(["x", "y"])[kind])
    frame.to_csv(base / "cells.csv")
    words = ["train", str(base / "cells.csv"), "--output", str(base / "run"), *TINY]
    assert main([*words, "--data.covariates", "[kind]"]) == 0
    return base / "run"


def records(run):
    found = json.loads((run / "evaluation.json").read_text())["records"]
    return {one["metric"]: one for one in found}


def test_levels_in_turn_are_compared_with_those_of_the_data(run, capsys):
    assert main(["sample", str(run), "--n", "80", "--condition.kind", "*", *FEW]) == 0
    assert main(["evaluate", str(run), "--split", "all"]) == 0
    out = capsys.readouterr().out
    record = records(run)["fold-change slope"]
    assert record["extractor"] == "4 features, 2 classes of kind"
    assert f"{record['value']:.4g} ± {record['error']:.2g}" in out
    with np.load(run / "samples.npz") as file:
        samples = file["samples"]
    data = pd.read_csv(run.parent / "cells.csv", index_col=0)
    x, y = (torch.from_numpy(z.astype(np.int64)) for z in (samples, data[list("abcd")].to_numpy()))
    expected = fold_changes(x, ["x", "y"] * 40, y, list(data["kind"]))
    assert record["value"] == pytest.approx(expected.slope)
    page = Page(write_report(run))
    assert "fold-change slope" in page.text and f"± {record['error']:.2g}" in page.text


def test_samples_of_one_level_have_none(run):
    assert main(["sample", str(run), "--n", "40", "--condition.kind", "x", *FEW]) == 0
    assert main(["evaluate", str(run), "--split", "all"]) == 0
    assert "fold-change slope" not in records(run)
    assert main(["sample", str(run), "--n", "40", *FEW]) == 0
    assert main(["evaluate", str(run), "--split", "all"]) == 0
    assert "fold-change slope" not in records(run)
