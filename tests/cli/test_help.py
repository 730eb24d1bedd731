"""What is said without doing anything: the overview, helps, data sets, progress."""

import logging
import subprocess
import sys

import pytest

from markovbridge.cli import console, main
from markovbridge.cli.blocks import Blocks

# What is said without doing anything


def test_overview(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in ("train RECIPE", "sample RUN", "evaluate RUN", "report RUN", "recipes", "data"):
        assert f"\n  {verb}" in text
    assert main([]) == 2
    assert capsys.readouterr().out == text
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("markovbridge ")


def test_module_is_a_command():
    process = subprocess.run(
        [sys.executable, "-m", "markovbridge", "smaple"], capture_output=True, text=True
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith("error: there is no verb 'smaple' (did you mean 'sample'?)")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train"], ["train RECIPE", "--trainer.steps N", "One of Arrays, Binarised", "10000"]),
        (["train", "digits"], ["train digits", "Default: Digits(validation=0.1", "maximum=16"]),
        (["sample"], ["sample RUN", "--n N", "Default: 64", "--sampler CLASS", "Gillespie"]),
        (["evaluate"], ["evaluate RUN", "mobilenet:PATH"]),
        (["report"], ["report RUN"]),
        (["recipes"], ["recipes [NAME]"]),
        (["data"], ["usage: markovbridge data"]),
    ],
)
def test_help(capsys, words, expected):
    assert main([*words, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in expected:
        assert part in text


def test_help_fits_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", "digits", "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_every_option_is_explained(capsys):
    for verb in ("train", "sample", "evaluate"):
        assert main([verb, "--help"]) == 0
        blocks = capsys.readouterr().out.split("\n  --")[1:]
        for block in blocks:
            assert len(block.split()) > 4, block


def test_help_of_a_class(capsys):
    assert main(["train", "digits", "--head.help", "MeanHead"]) == 0
    assert "--head.kernel" in capsys.readouterr().out


# data, and the console itself


def test_data(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("MARKOVBRIDGE_DATA", raising=False)
    assert main(["data"]) == 0
    text = capsys.readouterr().out
    assert "digits: here; 1,797 of 1x8x8, counts 0..16" in text
    assert "cifar10: not here" in text
    assert "to get it, fetch cifar-10-python.tar.gz" in text


def test_progress_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console, "EVERY", -1.0)
    with console.Progress(4, "samples") as progress:
        progress.advance(1.5)
    with console.Progress(4, "samples", active=False) as silent:
        silent.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("2 of 4 samples, ")
    assert lines[0].endswith(" left")


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.Progress(4, "samples") as progress:
        progress.advance(4)
    assert capsys.readouterr().err == ""  # what is done at once needs no bar
    monkeypatch.setattr(console, "SOON", 0.0)
    with console.Progress(4, "samples") as progress:
        progress.advance(1)
        progress.advance(3)
    text = capsys.readouterr().err
    assert "100%" in text
    assert "4/4 samples" in text


def test_the_log_is_put_back(capsys):
    logger = logging.getLogger("markovbridge")
    before = list(logger.handlers), logger.level
    with console.attached():
        logging.getLogger("markovbridge.training").info("a line")
    assert capsys.readouterr().err == "a line\n"
    assert (logger.handlers, logger.level) == before


def test_blocks_need_intact_files(tmp_path):
    blocks = Blocks(tmp_path / "parts", {"seed": 1})
    assert blocks.prepare() is None
    assert not blocks.done(0)
    with pytest.raises(ValueError, match="block-000000.npz is missing or damaged"):
        blocks.load(0)
