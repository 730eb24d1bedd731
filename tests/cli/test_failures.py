"""Failures while running end with one line."""

import pytest

from markovbridge import Transport
from markovbridge.cli import main
from runs import error, sample, train

# Failures while running


def test_values_that_a_class_refuses(capsys, tmp_path):
    assert train(tmp_path / "run", "--process.maximum", "-3") == 1
    assert error(capsys) == "error: maximum must be at least 1 or None, not -3"
    assert train(tmp_path / "run", "--process.maximum", "3") == 1
    assert "digits holds 16, above the maximum 3 of the process" in error(capsys)
    assert not (tmp_path / "run").exists()


def test_missing_data(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("MARKOVBRIDGE_DATA", raising=False)
    words = ["--data.class_path", "CIFAR10", "--output", str(tmp_path / "run")]
    assert main(["train", "digits", *words]) == 1
    assert "cifar-10-python.tar.gz" in error(capsys)
    assert not (tmp_path / "run").exists()


def test_missing_runs(capsys, trained, tmp_path):
    for verb in ("sample", "evaluate", "report"):
        assert main([verb, str(trained.with_name("digit"))]) == 1
        text = error(capsys)
        assert "there is no run folder" in text
        assert f"did you mean '{trained}'?" in text
        assert main([verb, str(tmp_path)]) == 1
        assert "markovbridge train" in error(capsys)


def test_debugging_shows_where(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MARKOVBRIDGE_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match="no run folder"):
        main(["sample", str(tmp_path / "none")])


def test_unexpected_errors_are_named(capsys, monkeypatch, run):
    def broken(*_, **__):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(Transport, "sample_block", broken)
    assert sample(run) == 1
    assert error(capsys).startswith("error: RuntimeError: out of memory (MARKOVBRIDGE_DEBUG=1")
