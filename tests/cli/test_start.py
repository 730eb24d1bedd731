"""`markovbridge train --from`: from which runs another may start, and what it remembers of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from markovbridge.cli import Train, main
from markovbridge.data import write_table
from markovbridge.exact import FitLinearCounts, FitMixture
from markovbridge.recipes import load
from markovbridge.storage.config import to_config
from markovbridge.storage.older import LATER
from markovbridge.training import checkpoint
from markovbridge.training.run_folder import RunFolder
from markovbridge.training.start import law_of
from runs import error, train

pytest.importorskip("pandas")

SMALL = ["--network.width", "4", "--network.depth", "1", "--trainer.batch_size", "8"]
SMALL += ["--trainer.steps", "2", "--trainer.warmup", "0", "--trainer.threads", "1"]
SMALL += ["--trainer.validate_every", "0", "--trainer.select", "last"]


def table(name, genes, levels=("ctl", "drug")):
    counts = np.random.default_rng(0).poisson(2, size=(24, 3))
    told = {"batch": [levels[k % 2] for k in range(24)]}
    rows = [f"c{k}" for k in range(24)]
    write_table(name, counts, row_names=rows, column_names=list(genes), columns=told)


TOLD = ["--data.covariates", "[batch]"]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A table of genes a, b, c, and a run of it."""
    folder = tmp_path_factory.mktemp("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        table("one.csv", "abc")
        assert main(["train", "one.csv", *TOLD, "--output", "one", *SMALL]) == 0
    return folder


@pytest.fixture
def first(one, tmp_path, monkeypatch):
    """The same in the current folder."""
    shutil.copytree(one, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return [*TOLD, *SMALL, "--from", "one"]


@pytest.mark.parametrize(
    ("genes", "levels", "expected"),
    [
        ("cba", ("ctl", "drug"), "(feature 0 is 'c' instead of 'a'): store both tables"),
        ("abd", ("ctl", "drug"), "'c' missing, and 'd' unknown to the model"),
        ("abc", ("drugX", "placebo"), "covariate 0 is Covariate(name=batch, levels=[drugX, plac"),
    ],
)
def test_weights_of_other_features_or_covariates(first, capsys, genes, levels, expected):
    table("two.csv", genes, levels)
    for more in ([], ["--dry-run"]):
        assert main(["train", "two.csv", "--output", "two", *first, *more]) == 1
        assert expected in error(capsys)


def test_weights_of_the_same_features_and_covariates(first):
    table("three.csv", "abc")
    assert main(["train", "three.csv", "--output", "three", *first]) == 0
    assert main(["train", "three.csv", "--output", "four", *first[:-1], "one/model"]) == 0


def test_weights_of_another_network_of_the_same_shapes(first, capsys):
    words = ["train", "one.csv", "--output", "new", *first]
    for more in ([], ["--dry-run"]):
        assert main([*words, "--network.normed", "true", *more]) == 1
        assert "normed is true, and the weights of one are of false; set it to" in error(capsys)
    assert main([*words, "--network.dropout", "0.1"]) == 0


def test_no_base_law_is_fitted_where_there_is_one(first, monkeypatch):
    table("three.csv", "abc")
    more = [*first[:-2], "--trainer.checkpoint_every", "1"]
    assert main(["train", "one.csv", "--output", "plain", *more]) == 0
    plain = FitMixture.__call__
    calls = []
    monkeypatch.setattr(FitMixture, "__call__", lambda *a, **k: calls.append(1) or plain(*a, **k))
    assert main(["train", "three.csv", "--output", "three", *first]) == 0
    assert main(["train", "three.csv", "--output", "three", *first, "--dry-run"]) == 0
    for name in ("plain", "three"):
        assert main(["train", name, "--resume", "--trainer.steps", "3"]) == 0
        assert main(["train", name, "--resume"]) == 0
    assert calls == []
    monkeypatch.setattr(checkpoint, "read", None)  # tensors are not asked for
    law = law_of(RunFolder(Path("plain")))
    assert to_config(law) == RunFolder(Path("plain")).model_configuration()["base"]


@pytest.fixture
def older(first):
    """A run of before networks could go without a norm, and laws could tell residuals."""
    words = [*first[:-2], "--network.normed", "true", "--base.residuals", "false"]
    assert main(["train", "one.csv", "--output", "older", *words]) == 0
    file = Path("older/config.yaml")
    lines = file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(":")[0].strip() not in LATER]
    assert len(kept) == len(lines) - 2
    file.write_text("".join(kept))
    return first[:-2]


@pytest.mark.parametrize("name", ["older", "one.csv"])
def test_a_run_goes_on_with_what_it_is_too_old_to_name(older, monkeypatch, name):
    monkeypatch.setattr(FitMixture, "__call__", None)  # no law is fitted
    options = [] if name == "older" else older
    words = [*options, "--output", "older", "--resume", "--trainer.steps", "3"]
    assert main(["train", name, *words]) == 0
    text = Path("older/config.yaml").read_text()
    assert "normed: true" in text and "residuals: false" in text and "steps: 3" in text


def test_what_an_older_run_does_not_name_is_said_of_its_own_parts_alone(older, capsys):
    assert load("older").base == FitMixture(residuals=False)
    assert load("older", {"base.residuals": True}).base == FitMixture()
    assert load("older", {"base": "FitLinearCounts"}).base == FitLinearCounts()
    assert load("one.csv").base == FitMixture()
    assert main(["train", "digits", "--output", "older", "--resume"]) != 0
    assert "residuals" not in error(capsys)


def test_weights_of_another_process_or_head(trained, tmp_path, capsys):
    words = ["--output", str(tmp_path / "new"), *SMALL, "--network.width", "16"]
    for more in ([], ["--dry-run"]):
        start = ["--from", str(trained), *more]
        assert main(["train", "digits-bridge", *words, *start]) == 1
        assert "process.class_path is " in error(capsys)
        other = ["--head", "MeanHead", "--head.kernel", "stochastic"]
        assert main(["train", "digits", *words, *other, *start]) == 1
        assert "head.init_args.kernel is stochastic, and the weights of" in error(capsys)
    assert not (tmp_path / "new").exists()


def test_a_run_remembers_what_it_started_from(trained, tmp_path, capsys):
    def card(run):
        return (run / "model" / "README.md").read_text()

    run, start = tmp_path / "run", ["--from", str(trained)]
    assert train(run, *start, steps=2) == 0
    assert json.loads((run / "data.json").read_text())["started_from"] == str(trained)
    assert train(run, "--resume", steps=3) == 0
    assert "| started from | the weights of" in card(run)
    # What has begun at random has not started from a run.
    assert train(tmp_path / "other", steps=2) == 0
    capsys.readouterr()
    assert train(tmp_path / "other", *start, "--resume", steps=3) == 0
    assert "started from" not in card(tmp_path / "other")
    assert "starting from" not in capsys.readouterr().err


def test_a_run_goes_on_from_python_with_its_warm_up(tmp_path, capsys):
    options = {"network.width": 4, "trainer.batch_size": 4, "trainer.decay": "constant"}
    for steps, resume in ((20, False), (30, True)):
        words = {**options, "trainer.steps": steps}
        Train("digits", output=tmp_path / "run", resume=resume, options=words).run()
    capsys.readouterr()
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "warmup: 2" in text and "steps: 30" in text


def test_another_split_is_not_that_of_the_run(run, capsys):
    assert train(run, "--resume", "--split", "all", steps=30) == 2
    said = error(capsys)
    assert "split is all, and the run to continue is trained on split train: add --split" in said


def test_a_dry_run_looks_for_the_tracker(capsys, monkeypatch):
    monkeypatch.setattr("markovbridge.training.tracking.find_spec", lambda name: None)
    assert main(["train", "digits", "--trainer.tracker", "wandb", "--dry-run"]) == 1
    assert "the package wandb is not installed" in error(capsys)
