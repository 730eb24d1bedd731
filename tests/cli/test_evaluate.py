"""`markovbridge evaluate` and `markovbridge report`."""

import json

import pytest
import torch

from markovbridge.cli import main
from markovbridge.data import Digits
from markovbridge.evaluation.metrics import Record
from markovbridge.evaluation.metrics import evaluate as score
from runs import error, sample, samples

# evaluate and report


def test_evaluate(run, capsys):
    assert sample(run, "--n", "60", "--head.kernel", "stochastic") == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--seed", "3"]) == 0
    text = capsys.readouterr().out
    content = json.loads((run / "evaluation.json").read_text())
    found, meta = samples(run)
    assert content["samples"] == meta
    records = [Record(**record) for record in content["records"]]
    real = Digits().load("train").x
    meta = {**meta, "split": "digits, train"}
    assert records == score(torch.from_numpy(found), real, seed=3, meta=meta)
    assert "60 samples against 1,437 of digits, train" in text
    assert "ema weights, Bridge, MeanHead(kernel=stochastic), 5 evaluations, seed 0" in text
    assert f"{records[0].value:.4g}" in text
    assert f"{records[0].floor:.4g}" in text


def test_evaluate_part_and_another_split(run):
    assert sample(run, "--n", "30") == 0
    assert main(["evaluate", str(run), "--n", "20", "--split", "test"]) == 0
    record = json.loads((run / "evaluation.json").read_text())["records"][0]
    assert (record["n"], record["n_reference"], record["split"]) == (20, 180, "digits, test")


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (["--extractor", "mobilnet:x"], 2, "(did you mean 'mobilenet'?)"),
        (["--extractor", "pixels:x"], 2, "it must be pixels, mobilenet:PATH or inception:PATH"),
        (["--extractor", "mobilenet"], 2, "it must be pixels, mobilenet:PATH or inception:PATH"),
        (["--extractor", "pixels,mobilenet:none.pt"], 1, "no weights at none.pt"),
        (["--extractor", "inception:none.pth"], 1, "no weights at none.pth"),
        (["--n", "99"], 2, "has 4 samples"),
        (["--split", "dev"], 2, "it must be one of train, validation, test, all"),
        (["--data", "Synthetic", "--data.shape", "[3]"], 1, "entries"),
    ],
)
def test_evaluate_refuses(run, capsys, options, status, expected):
    assert sample(run, "--n", "4") == 0
    assert main(["evaluate", str(run), *options]) == status
    assert expected in error(capsys)
    assert not (run / "evaluation.json").exists()


def test_evaluate_without_samples(run, capsys):
    assert main(["evaluate", str(run)]) == 1
    assert f"`markovbridge sample {run}` draws some" in error(capsys)


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_damaged_samples(run, capsys, keep):
    assert sample(run, "--n", "4") == 0
    file = run / "samples.npz"
    file.write_bytes(file.read_bytes()[:keep])
    for verb in ("evaluate", "report"):
        assert main([verb, str(run)]) == 1
        text = error(capsys)
        assert "samples.npz" in text
        assert "damaged" in text


def test_a_run_folder_runs_no_code(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    assert sample(run, "--n", "4") == 0
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("markovbridge.data.Digits", "evil.Digits"))
    assert main(["evaluate", str(run)]) == 2
    assert "name it with --data evil.Digits" in error(capsys)
    file = run / "model" / "config.json"
    config = json.loads(file.read_text().replace("markovbridge.MeanHead", "evil.Mean"))
    file.write_text(json.dumps(config))
    assert sample(run, "--n", "4") == 1
    assert "config.json is damaged (it has changed since it was written)" in error(capsys)
    del config["sha256"]  # as a file of before there was one
    file.write_text(json.dumps(config))
    assert sample(run, "--n", "4") == 2
    assert "is your own: name it with --head evil.Mean" in error(capsys)


def test_report(run, capsys):
    assert main(["report", str(run)]) == 0
    assert sample(run, "--n", "20") == 0
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    told = capsys.readouterr()
    assert f"wrote {run / 'report.html'}" in told.out
    assert told.err == ""
    assert "energy distance" in (run / "report.html").read_text()
    assert sample(run, "--n", "21") == 0
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    assert "is of other samples" in capsys.readouterr().err
