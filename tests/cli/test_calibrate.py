"""`calibrate`: it finds what Python finds, and intervals of the run are corrected by it."""

import json
import shutil

import numpy as np
import pytest

from markovbridge import CountModel
from markovbridge.cli import main
from markovbridge.cli.calibrate import Calibrate
from markovbridge.data import write_table
from markovbridge.evaluation.report import write_report
from pages import Page
from runs import error

TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "8", "--trainer.steps", "3"]
ONE = ["--threads", "1"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """A run of a small table, and the table."""
    base = tmp_path_factory.mktemp("runs")
    counts = np.random.default_rng(0).poisson([0.3, 2, 5, 1], (200, 4))
    write_table(base / "cells.csv", counts, column_names=list("abcd"))
    words = ["train", str(base / "cells.csv"), "--output", str(base / "run"), *TINY]
    assert main(words) == 0
    return base / "run", counts


def read(run):
    return json.loads((run / "calibration.json").read_text())


def test_a_run_of_a_table_is_calibrated_as_a_count_model(cells, capsys):
    run, counts = cells
    file = run.parent / "new.csv"
    new = np.random.default_rng(1).poisson([0.3, 2, 5, 1], (20, 4))
    write_table(file, new, column_names=list("abcd"))
    capsys.readouterr()
    words = ["calibrate", str(run), "--input", str(file), "--seed", "3", *ONE]
    assert main([*words, "--survival", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "80 entries of 20 rows" in out and "corrected" in out and "p = " in out
    assert f"wrote {run / 'calibration.json'}; for a page of it all" in out
    assert not (run / "calibration.parts").exists()
    model = CountModel.load(run)
    (ours,) = model.calibrations_
    assert model.restore(new, 0.5).corrected(0.9)
    again = model.calibrate(new, survival=0.5, random_state=3)
    assert ours.rows_of == str(file) and again.rows_of == ""
    assert (ours.ranks, ours.coverage, ours.correction, ours.walk) == (
        again.ranks,
        again.coverage,
        again.correction,
        again.walk,
    )
    assert main([*words, "--observed", "0.5", "--json"]) == 0  # what was found before stays
    assert json.loads(capsys.readouterr().out) == read(run)
    found = [(one["task"], one["share"]) for one in read(run)["calibrations"]]
    assert found == [("restore", 0.5), ("impute", 0.5)]
    assert CountModel.load(run).impute(new, new > 2).corrected(0.5)


def test_intervals_of_another_head_are_not_those_of_the_model(cells, tmp_path, capsys):
    run, counts = cells
    place = tmp_path / "run"
    shutil.copytree(run, place, ignore=shutil.ignore_patterns("calibration.*"))
    words = ["calibrate", str(place), "--survival", "0.5", "--n", "18", *ONE]
    assert main([*words, "--head.components", "3", "--head", "NegativeBinomialHead"]) == 2
    capsys.readouterr()
    assert main([*words, "--head.kernel", "stochastic"]) == 0
    assert "CountModel`, whose head is MeanHead(kernel=poisson" in capsys.readouterr().err
    (other,) = read(place)["calibrations"]
    assert "stochastic" in other["parts"] and "base CountMixture" in other["parts"]
    model = CountModel.load(place)
    assert len(model.calibrations_) == 1 and not model.restore(counts[:3], 0.5).corrected(0.9)
    assert main(words) == 0
    assert "whose head is" not in capsys.readouterr().err
    assert [one["parts"] == other["parts"] for one in read(place)["calibrations"]] == [True, False]
    model = CountModel.load(place)
    assert model.restore(counts[:3], 0.5).corrected(0.9)
    # Files of before have no word of it, and were taken for those of the model.
    content = read(place)
    content["calibrations"] = [{**content["calibrations"][1]}]
    del content["calibrations"][0]["parts"]
    (place / "calibration.json").write_text(json.dumps(content))
    assert CountModel.load(place).restore(counts[:3], 0.5).corrected(0.9)


def test_too_few_rows_are_refused_before_anything_is_drawn(cells, capsys, monkeypatch):
    run, counts = cells

    def drawn(*_, **__):
        raise AssertionError("drawn")

    monkeypatch.setattr(Calibrate, "drawn", drawn)
    for options in (["--survival", "0.5"], []):
        assert main(["calibrate", str(run), "--n", "17", *options, *ONE]) == 1
        assert "takes 18 rows, not 17" in error(capsys)
    assert main(["calibrate", str(run), "--n", "18", "--observed", "0.95", *ONE]) == 1
    assert "takes 9 rows with a hidden entry in each half" in error(capsys)
    model = CountModel.load(run)
    monkeypatch.setattr(CountModel, "_restored", drawn)
    monkeypatch.setattr(CountModel, "_imputed", drawn)
    for options in ({"survival": 0.5}, {}):
        with pytest.raises(ValueError, match="takes 18 rows, not 17"):
            model.calibrate(counts[:17], **options)
    with pytest.raises(ValueError, match="takes 9 rows with a hidden entry in each half"):
        model.calibrate(counts[:18], observed=0.95)


def test_the_report_shows_ranks_and_coverage(run, capsys):
    page = Page(write_report(run))
    assert "Calibration" not in page.text
    words = ["calibrate", str(run), "--survival", "0.3", "--n", "18", "--steps", "1", *ONE]
    assert main(words) == 0
    assert "1,152 entries of 18 rows of" in capsys.readouterr().out
    page = Page(write_report(run))
    assert "Calibration" in page.text and "Restored depth, 0.3 of the units kept" in page.text
    (one,) = read(run)["calibrations"]
    share = one["coverage"][1]["plain"]["conservative"]
    assert f"{share:.1%}" in page.text and one["rows_of"] == "split test"
    (run / "calibration.json").write_text('{"calibrations": [{}], "model": "0"}')
    with pytest.raises(ValueError, match="calibration.json is damaged.*`markovbridge calibrate`"):
        write_report(run)


def test_an_interrupted_call_goes_on(run, tmp_path, capsys, monkeypatch):
    words = ["calibrate", str(run), "--n", "18", "--steps", "1", "--block", "128", *ONE]
    assert main([*words, "--output", str(tmp_path / "whole")]) == 0
    from markovbridge.cli.blocks import Blocks

    make, calls = Blocks.make, []

    def stop(self, index, *rest, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(index)
        make(self, index, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Blocks, "make", stop)
        assert main(words) == 130
    assert not (run / "calibration.json").exists() and (run / "calibration.parts").is_dir()
    capsys.readouterr()
    assert main(words) == 0
    assert "continuing an interrupted call" in capsys.readouterr().err
    assert read(run) == read(tmp_path / "whole")


def test_files_of_others_are_left(run, tmp_path, capsys):
    (tmp_path / "calibration.json").write_text('{"mine": 1}')
    assert main(["calibrate", str(run), "--output", str(tmp_path), *ONE]) == 1
    assert "calibration.json is there and holds no results" in error(capsys)
    assert (tmp_path / "calibration.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--levels", "[1.5]"], "a level is 1.5; it must lie in (0, 1)"),
        (["--draws", "10"], "intervals of 0.9 take at least 19"),
        (["--survival", "1"], "survival is 1.0; it must lie in (0, 1)"),
        (["--observed", "1"], "observed is 1.0; it must lie in [0, 1)"),
        (["--guidance", "2"], "guidance is 2.0; calibrate looks at the model as it is"),
    ],
)
def test_what_cannot_be_is_refused(run, capsys, options, expected):
    assert main(["calibrate", str(run), *options, *ONE]) == 2
    assert expected in error(capsys)
