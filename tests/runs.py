"""Small runs of the digits for the tests of the command line, and what it says of them."""

import contextlib
import json

import numpy as np
import yaml

from markovbridge.cli import main

SMALL = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "5", "--trainer.decay", "constant", "--trainer.log_every", "10"]
SMALL += ["--trainer.sample_steps", "5"]


def train(folder, *options, steps=30):
    words = ["train", "digits", "--head", "MeanHead", "--output", str(folder), *SMALL]
    return main([*words, "--trainer.steps", str(steps), *options])


def sample(run, *options):
    words = ["sample", str(run), "--block", "16", "--steps", "5", "--threads", "1", *options]
    return main(words)


def said_by(rank, words, folder):
    """Write what a verb prints in process `rank` to a file of `folder`."""
    with (folder / f"said{rank}").open("w") as file, contextlib.redirect_stdout(file):
        assert main(words) == 0


def config(capsys, *words):
    """What options come to."""
    assert main([*words, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def samples(run):
    with np.load(run / "samples.npz", allow_pickle=False) as file:
        return file["samples"], json.loads(str(file["meta"]))


def error(capsys):
    """The one line of an error."""
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
