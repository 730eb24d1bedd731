"""Processes and couplings of one's own on the command line: named by whoever runs it."""

import numpy as np
import pytest

from markovbridge.cli import main
from runs import SMALL, error, sample, samples

OWN = ["--process", "outside.Redrawn", "--process.levels", "17"]
TRAIN = [
    *SMALL,
    *OWN,
    "--head",
    "CategoricalHead",
    "--trainer.steps",
    "3",
    "--trainer.warmup",
    "1",
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    run = tmp_path_factory.mktemp("own") / "run"
    assert main(["train", "digits", "--output", str(run), *TRAIN]) == 0
    return run


def test_a_process_of_ones_own_is_named_by_whoever_samples(own, capsys):
    assert sample(own, "--n", "2") == 2
    assert error(capsys).endswith("is your own: name it with --process outside.Redrawn")
    assert sample(own, "--n", "2", *OWN[:2]) == 2
    said = error(capsys)
    assert "is Redrawn(levels=17), not Redrawn(levels=3): leave --process out, or name" in said
    for sampler in ("Bridge", "TauLeaping", "SecondOrderBridge"):
        assert sample(own, "--n", "2", *OWN, "--sampler", sampler) == 0
        drawn = samples(own)[0]
        assert drawn.shape == (2, 1, 8, 8) and drawn.min() >= 0 and drawn.max() <= 16


def test_what_else_a_run_is_asked(own, capsys):
    few = ["--threads", "1", *OWN]
    mask = own / "known.npy"
    np.save(mask, np.arange(64).reshape(1, 8, 8) % 2 == 0)
    words = ["--observed", str(mask), "--n", "2", "--draws", "2", "--steps", "3", "--rounds", "1"]
    assert main(["impute", str(own), *words, *few]) == 0
    assert sample(own, "--n", "8", *OWN) == 0
    words = ["--likelihood", "2", "--looks", "2", "--extractor", "pixels"]
    assert main(["evaluate", str(own), *words, *few]) == 0
    words = ["--points", "20", "--states", "3", "--times", "3"]
    assert main(["inspect", str(own), *words, *few]) == 0
    assert main(["report", str(own)]) == 0
    capsys.readouterr()
    assert main(["restore", str(own), "--survival", "0.5", *few]) == 2
    assert "Redrawn" in error(capsys)


def test_a_thinning_of_ones_own_restores(tmp_path, capsys):
    own, run = ["--process", "outside.Thinned", "--process.most", "16"], tmp_path / "run"
    few = ["--threads", "1", *own]
    words = [*SMALL, "--trainer.steps", "3", "--trainer.warmup", "1", *own]
    assert main(["train", "digits", "--output", str(run), *words]) == 0
    words = ["--survival", "0.5", "--n", "2", "--draws", "19", "--steps", "3"]
    assert main(["restore", str(run), *words, *few]) == 0
    assert main(["diagnose", str(run), "--n", "4", "--split", "all", *few]) == 0
    for sampler in ("Bridge", "Trapezoidal", "TauLeaping", "Adaptive"):
        assert sample(run, "--n", "2", *own, "--sampler", sampler) == 0
        assert 0 <= samples(run)[0].min() and samples(run)[0].max() <= 16
    capsys.readouterr()


def test_what_else_of_a_model_may_be_ones_own(tmp_path, capsys):
    run, source = tmp_path / "run", ["--coupling", "outside.Black"]
    head, loss = ["--head", "outside.Values"], ["--objective", "outside.Ends"]
    words = [*SMALL, "--trainer.steps", "3", "--trainer.warmup", "1", *source, *head, *loss]
    assert main(["train", "digits", "--output", str(run), *words]) == 0
    for given, asked in ((head, "coupling outside.Black"), (source, "head outside.Values")):
        assert sample(run, "--n", "2", *given) == 2
        assert error(capsys).endswith(f"name it with --{asked}")
    assert sample(run, "--n", "2", *source, *head) == 0
    assert sample(run, "--n", "2", *source, *head, "--sampler", "outside.Steps") == 0
    words = ["--likelihood", "2", "--looks", "2", "--extractor", "pixels", "--threads", "1"]
    assert main(["evaluate", str(run), *words, *source, *head]) == 0


def test_a_process_of_ones_own_trains_on(own, capsys):
    again = ["train", str(own), "--resume", "true", "--trainer.steps", "4"]
    assert main(again) == 2
    text = error(capsys)
    assert "process is outside.Redrawn, which is not part of markovbridge" in text
    assert text.endswith("name it with --process outside.Redrawn")
    assert main([*again, *OWN[:2]]) == 0


def test_a_base_law_of_ones_own_trains_on(tmp_path):
    own = ["--base", "outside.FitOften"]
    words = [*SMALL, "--trainer.warmup", "1", *own]
    run, new = str(tmp_path / "run"), str(tmp_path / "new")
    assert main(["train", "digits", "--output", run, *words, "--trainer.steps", "2"]) == 0
    assert main(["train", run, "--resume", *own, "--trainer.steps", "3"]) == 0
    from_ = ["--from", run, "--trainer.steps", "2"]
    assert main(["train", "digits", "--output", new, *words, *from_]) == 0
    assert main(["train", new, "--resume", *own, "--trainer.steps", "3"]) == 0


def test_a_run_of_ours_keeps_its_process(run, capsys):
    assert sample(run, "--n", "2", "--process", "PureDeath", "--process.maximum", "15") == 2
    assert "the process of" in error(capsys)
    assert sample(run, "--n", "2", "--process", "PureDeath", "--process.maximum", "16") == 0
