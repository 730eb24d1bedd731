"""Own pairs on the command line: trained with `--coupling Paired`, carried by `translate`."""

import json

import numpy as np
import pytest
import torch
import yaml

from markovbridge import Transport
from markovbridge.cli import main
from runs import error

SMALL = ["--network.width", "8", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "0", "--trainer.steps", "4", "--trainer.batch_size", "8"]
SMALL += ["--trainer.sample_steps", "5"]
FEW = ["--steps", "2", "--threads", "1"]
RNG = np.random.default_rng(0)
X1 = RNG.integers(5, 17, (20, 1, 4, 4))
X0 = X1 // 3


@pytest.fixture
def pairs(tmp_path):
    np.savez(tmp_path / "pairs.npz", x0=X0, x1=X1)
    return ["--data", "Pairs", "--data.x0", str(tmp_path / "pairs.npz"), "--data.maximum", "16"]


def carried(run):
    with np.load(run / "translated.npz", allow_pickle=False) as file:
        return file["source"], file["samples"], json.loads(str(file["meta"]))


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        ("digits-translate", []),
        ("digits-translate-counts", ["--coupling.preserve", "true"]),
        ("digits", ["--trainer.sample_every", "4"]),
    ],
)
def test_pairs_are_trained_and_carried(tmp_path, pairs, recipe, more, capsys):
    run = tmp_path / "run"
    words = [recipe, "--output", str(run), *pairs, "--coupling", "Paired", *more, *SMALL]
    assert main(["train", *words, "--split", "train"]) == 0
    assert f"to translate: markovbridge translate {run}" in capsys.readouterr().out
    assert (run / "samples" / "step-00000004.png").exists() == ("sample_every" in str(more))
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["data"]["class_path"] == "markovbridge.data.Pairs"
    assert main(["translate", str(run), "--split", "all", *FEW]) == 0
    source, samples, _ = carried(run)
    assert source.tolist() == X0.tolist()
    model = Transport.from_pretrained(run)
    draw = torch.Generator().manual_seed(0)
    assert np.array_equal(samples, model.translate(torch.tensor(X0), steps=2, generator=draw))
    assert main(["translate", str(run), *FEW]) == 0
    assert len(carried(run)[0]) == 16  # those that it was trained on
    assert main(["sample", str(run), "--n", "2", *FEW]) == 1
    assert "paired data have no source to draw from" in error(capsys)


def test_a_rehearsal_of_pairs(pairs, capsys):
    words = ["digits-translate", *pairs, "--coupling", "Paired", *SMALL, "--dry-run"]
    assert main(["train", *words]) == 0
    assert "the recipe works" in capsys.readouterr().out


def test_pairs_and_their_coupling_go_together_or_nothing_is_read(tmp_path, pairs, capsys):
    for words, message in (
        (
            ["digits", "--coupling", "Paired"],
            "the coupling is Paired, and Digits are no pairs: gi",
        ),
        (["digits", *pairs], "Pairs are data in pairs, which are for --coupling Paired"),
    ):
        assert main(["train", *words, *SMALL, "--output", str(tmp_path / "run")]) == 2
        assert message in error(capsys)
    (tmp_path / "pairs.npz").unlink()
    words = ["digits", *pairs, "--coupling", "Paired", *SMALL]
    assert main(["train", *words, "--output", str(tmp_path / "run")]) == 1
    assert "there is no" in error(capsys)
    assert not (tmp_path / "run").exists()


def save(path, x):
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(x.transpose(1, 2, 0).squeeze().astype(np.uint8)).save(path)


def test_folders_of_images_are_trained_and_carried(tmp_path, capsys):
    run, x = tmp_path / "run", RNG.integers(0, 256, (6, 3, 4, 4))
    for k, one in enumerate(x):
        save(tmp_path / "before" / f"{k}.png", one)
        save(tmp_path / "after" / f"{k}.png", 255 - one)
    words = ["--data", "Pairs", "--data.x0", str(tmp_path / "before")]
    words += [
        "--data.x1",
        str(tmp_path / "after"),
        "--data.size",
        "4",
        "--process.support.maximum",
        "255",
    ]
    words += ["--coupling", "Paired", "--output", str(run), *SMALL]
    assert main(["train", "digits-translate", *words]) == 0
    assert main(["translate", str(run), "--input", str(tmp_path / "before"), *FEW]) == 0
    assert carried(run)[0].tolist() == x.tolist()
    save(tmp_path / "[one].png", x[2])
    assert main(["translate", str(run), "--input", str(tmp_path / "[one].png"), *FEW]) == 0
    assert carried(run)[0].tolist() == x[2:3].tolist()
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert main(["translate", str(run), "--input", str(tmp_path / "empty"), *FEW]) == 1
    assert "has no files that match" in error(capsys)


def test_images_are_read_for_other_runs_of_square_images(run, tmp_path, capsys):
    x = RNG.integers(0, 17, (3, 1, 8, 8))
    for k, one in enumerate(x):
        save(tmp_path / "mine" / f"{k}.png", one)
    assert main(["translate", str(run), "--input", str(tmp_path / "mine"), *FEW]) == 0
    assert carried(run)[0].tolist() == x.tolist()
    words = [
        "--survival",
        "0.5",
        "--draws",
        "19",
        "--input",
        str(tmp_path / "mine" / "1.png"),
        *FEW,
    ]
    assert main(["restore", str(run), *words]) == 0
    with np.load(run / "restored.npz", allow_pickle=False) as file:
        assert file["input"].tolist() == x[1:2].tolist()
