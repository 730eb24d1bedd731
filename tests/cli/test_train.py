"""`markovbridge train`."""

import json

import torch
import yaml

from markovbridge import Transport
from markovbridge.cli import main
from markovbridge.networks import MLP
from runs import SMALL, config, error, sample, samples, train

# train


def test_train_writes_a_run(trained, capsys):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "model", "checkpoints", "metrics.jsonl", "log.txt"} <= names
    written = yaml.safe_load((trained / "config.yaml").read_text())
    options = ["--head", "MeanHead", *SMALL, "--trainer.steps", "30"]
    assert written == config(capsys, "train", "digits", *options)
    model = Transport.from_pretrained(trained / "model")
    assert model.process.maximum == 16
    assert model.shape == (1, 8, 8)
    assert "CC BY 4.0" in (trained / "model" / "README.md").read_text()


def test_train_is_a_function_of_its_seed(trained, tmp_path):
    state = torch.random.get_rng_state()
    assert train(tmp_path / "same") == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert train(tmp_path / "other", "--trainer.seed", "1", "--trainer.steps", "1") == 0
    weights = [
        Transport.from_pretrained(folder / "model").state_dict()
        for folder in (trained, tmp_path / "same")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    first = [
        (folder / "checkpoints" / "step-00000000" / "model.safetensors").read_bytes()
        for folder in (tmp_path / "same", tmp_path / "other")
    ]
    assert first[0] != first[1]


def test_train_again_needs_a_word(run, capsys):
    before = (run / "config.yaml").stat().st_mtime_ns
    assert train(run) == 1
    assert "--resume true continues it, --overwrite true replaces it" in error(capsys)
    assert (run / "config.yaml").stat().st_mtime_ns == before
    assert train(run, "--overwrite", "true", steps=3) == 0
    assert not (run / "checkpoints" / "step-00000030").exists()
    assert (run / "checkpoints" / "step-00000003").exists()


def test_train_leaves_other_folders_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert train(tmp_path, "--overwrite", "true") == 1
    assert "holds files, but no run" in error(capsys)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert train(tmp_path / "thesis.tex") == 1
    assert "is a file" in error(capsys)


def test_resume_continues(run, trained, tmp_path):
    assert train(tmp_path / "whole", steps=40) == 0
    # A run folder is a recipe too: its own.
    assert main(["train", str(run), "--resume", "true", "--trainer.steps", "40"]) == 0
    states = [
        Transport.from_pretrained(folder / "model").state_dict()
        for folder in (run, tmp_path / "whole")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["steps"] == 40


def test_resume_refuses_another_run(run, capsys):
    before = (run / "config.yaml").read_text()
    assert train(run, "--resume", "true", "--trainer.batch_size", "32") == 1
    assert "batch_size" in error(capsys)
    assert (run / "config.yaml").read_text() == before


def test_validation_during_training(tmp_path):
    options = ["--split", "train", "--trainer.validate_every", "5"]
    assert train(tmp_path / "run", *options, steps=5) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert any("validation_loss" in json.loads(line) for line in lines)


def test_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", *SMALL, "--dry_run", "true"]) == 0
    text = capsys.readouterr().out
    assert "digits: the recipe works" in text
    model = MLP((1, 8, 8), 2, 2, width=16, depth=1)
    assert f"MLP, {sum(p.numel() for p in model.parameters()):,} weights" in text
    assert list(tmp_path.iterdir()) == []


NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, shape: tuple[int, ...], features: int, outputs: int, hidden: int = 3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, hidden, 3, padding=1), nn.Conv2d(hidden, outputs, 3, padding=1)
        )

    def forward(self, features, t, condition=None):
        return self.layers(features.flatten(1, 2)).unsqueeze(2)
"""


def test_a_network_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    run = tmp_path / "run"
    words = ["--network", "own_network.Net", "--network.hidden", "5", "--trainer.threads", "1"]
    words += ["--trainer.steps", "5", "--trainer.warmup", "1"]
    assert main(["train", "digits", "--output", str(run), *words]) == 0
    # A run folder names no code to run: whoever samples from it does.
    assert sample(run, "--n", "2") == 2
    assert "name it with --network own_network.Net" in error(capsys)
    assert sample(run, "--n", "2", "--network", "own_network.Net") == 1
    assert "do not fit this network" in error(capsys)
    words = ["--network", "own_network.Net", "--network.hidden", "5"]
    assert sample(run, "--n", "2", *words) == 0
    assert samples(run)[0].shape == (2, 1, 8, 8)
    # So does whoever trains on, who need not repeat its options.
    again = ["train", str(run), "--resume", "true"]
    assert main(again) == 2
    text = error(capsys)
    assert "config.yaml: network is own_network.Net, which is not part of markovbridge" in text
    assert text.endswith("if it is yours, name it with --network own_network.Net")
    assert main([*again, "--network", "own_network.Net"]) == 0
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["network"]["init_args"]["hidden"] == 5
    # Another class instead: what the file says of the first is not asked.
    assert main([*again[:2], "--print_config", "--network=MLP"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)["network"]
    assert printed["class_path"] == "markovbridge.networks.MLP"
    assert "hidden" not in printed["init_args"]


def weights(run):
    return Transport.from_pretrained(run).state_dict()


def test_a_run_that_has_ended_goes_on(run, capsys):
    before = weights(run)
    assert main(["train", str(run), "--resume", "--trainer.steps", "35"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["steps"] == 35
    assert (run / "checkpoints" / "step-00000035").exists()
    assert any(not torch.equal(before[k], v) for k, v in weights(run).items())


def test_a_run_starts_from_the_weights_of_another(trained, tmp_path, capsys):
    still = ["--trainer.learning_rate", "1e-30", "--trainer.warmup", "0"]
    run, data = tmp_path / "run", ["--split", "train"]
    assert train(run, *still, *data, "--from", str(trained), steps=2) == 0
    assert f"starting from the weights of {trained}" in capsys.readouterr().err
    for name, value in weights(trained).items():  # mean and variance of its data, too
        assert torch.equal(weights(run)[name], value), name
    assert "| started from | the weights of" in (run / "model" / "README.md").read_text()
    assert "from" not in "".join(yaml.safe_load((run / "config.yaml").read_text()))
    # Where there is something to continue, that is continued.
    words = [*still, *data, "--resume", "--from", str(trained), "--trainer.learning_rate", "1e-3"]
    assert train(tmp_path / "new", *words, steps=2) == 0
    assert train(tmp_path / "new", *words, steps=3) == 0
    assert "continuing from" in capsys.readouterr().err
    assert any(
        not torch.equal(weights(trained)[k], v) for k, v in weights(tmp_path / "new").items()
    )


def test_weights_that_are_not_there_or_do_not_fit_are_refused(trained, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(run, "--from", str(trained), "--network.width", "8") == 1
    assert "network.init_args.width is 8, and the weights of" in error(capsys)
    assert train(run, "--from", str(tmp_path / "none")) == 1
    assert "there is no run folder" in error(capsys)
    assert train(run, "--from") == 2
    assert error(capsys) == "error: --from is given without a value"
    assert train(run, "--fron", str(trained)) == 2
    assert "did you mean 'from'?" in error(capsys)
    assert not run.exists()
