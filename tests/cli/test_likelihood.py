"""`evaluate --likelihood` and `diagnose`: what a run says of held-out data and of itself."""

import json

import pytest

from markovbridge.cli import main
from markovbridge.data import Digits
from markovbridge.evaluation.consistency import MEANING
from markovbridge.evaluation.held_out_likelihood import Histogram, Nats

SMALL = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "5", "--trainer.steps", "20", "--trainer.log_every", "10"]
SMALL += ["--trainer.sample_steps", "5"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--output", str(folder), "--split", "train", *SMALL]) == 0
    return folder


def call(verb, run, *options):
    return main([verb, str(run), "--threads", "1", *options])


def error(capsys):
    lines = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_likelihood_needs_no_samples(run, capsys):
    assert call("evaluate", run, "--likelihood", "20", "--looks", "8") == 0
    content = json.loads((run / "likelihood.json").read_text())
    ours, histogram = (Nats(**record) for record in content["records"])
    assert len(content["model"]) == 64
    assert (ours.n, ours.draws, ours.split) == (20, 8, "digits, test")
    assert f"{ours.bits:.4f} ± {ours.bits_error:.4f}" in capsys.readouterr().out
    # Twenty rows of the test data, and the histogram of the training data.
    fit = Histogram.fit(Digits().load("train").x, 16)
    test = -fit.log_prob(Digits().load("test").x)
    assert float(test.min()) <= histogram.nats <= float(test.max())
    assert not (run / "evaluation.json").exists()
    # An untrained network knows less than the frequencies.
    assert ours.nats > histogram.nats
    assert histogram.behind == pytest.approx(histogram.bits - ours.bits)


def test_likelihood_beside_samples(run, capsys):
    assert main(["sample", str(run), "--n", "20", "--steps", "2", "--threads", "1"]) == 0
    assert call("evaluate", run, "--likelihood", "10", "--looks", "2") == 0
    assert (run / "evaluation.json").exists() and (run / "likelihood.json").exists()
    assert "not held out" not in capsys.readouterr().err
    assert call("evaluate", run, "--likelihood", "10", "--looks", "2", "--split", "train") == 0
    assert "split train is not held out" in capsys.readouterr().err
    assert call("evaluate", run, "--likelihood", "999", "--looks", "2") == 0
    assert json.loads((run / "likelihood.json").read_text())["records"][0]["n"] == 180


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--likelihood", "-3"], "likelihood is -3; it must be 0, or 2 and more"),
        (["--likelihood", "1"], "likelihood is 1; it must be 0, or 2 and more"),
        (["--likelihood", "10", "--looks", "3"], "looks is 3; it must be even"),
    ],
)
def test_likelihood_refuses(run, capsys, options, expected):
    assert call("evaluate", run, *options) == 2
    assert expected in error(capsys)
    assert not (run / "likelihood.json").exists()


def test_diagnose(run, capsys):
    assert call("diagnose", run, "--n", "30", "--pieces", "3", "--seed", "2") == 0
    content = json.loads((run / "diagnostics.json").read_text())
    assert content["meta"]["data"] == "digits, test" and content["meta"]["n"] == 30
    assert len(content["pieces"]) == 3
    assert all(set(piece["checks"]) == set(MEANING) for piece in content["pieces"])
    told = capsys.readouterr()
    text = told.out
    assert "integrability" in text and "not held out" not in told.err
    first = content["pieces"][0]["checks"]["mean"]
    assert f"{first['value']:.2g} ± {first['error']:.1g}" in text
    assert call("diagnose", run, "--n", "4", "--pieces", "1", "--split", "train") == 0
    assert "split train is not held out" in capsys.readouterr().err
    assert call("diagnose", run, "--n", "30", "--pieces", "3", "--seed", "2") == 0
    again = (run / "diagnostics.json").read_text()
    assert call("diagnose", run, "--n", "30", "--pieces", "3", "--seed", "2") == 0
    assert (run / "diagnostics.json").read_text() == again


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["--n", "1"], "at least 2 data points"), (["--pieces", "0"], "pieces is 0")],
)
def test_diagnose_refuses(run, capsys, options, expected):
    assert call("diagnose", run, *options) == 2
    assert expected in error(capsys)
    assert not (run / "diagnostics.json").exists()


def test_diagnose_knows_pure_death_only(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "digits-translate", "--output", str(run), *SMALL]) == 0
    capsys.readouterr()
    assert call("diagnose", run) == 2
    assert "LinearDiffusion" in error(capsys)
