import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from markovbridge import Bridge, Mean, Transport
from markovbridge.cli import console, main
from markovbridge.cli.blocks import Blocks
from markovbridge.data import Digits
from markovbridge.metrics import Record
from markovbridge.metrics import evaluate as score
from markovbridge.networks import MLP

SMALL = ["--network.width", "16", "--network.depth", "1", "--trainer.threads", "1"]
SMALL += ["--trainer.warmup", "5", "--trainer.decay", "constant", "--trainer.log_every", "10"]


def train(folder, *options, steps=30):
    return main(
        ["train", "digits", "--output", str(folder), *SMALL, "--trainer.steps", str(steps)]
        + list(options)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert train(folder) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A trained run of one's own, to write into."""
    return shutil.copytree(trained, tmp_path / "run")


def sample(run, *options):
    words = ["sample", str(run), "--block", "16", "--steps", "5", "--threads", "1", *options]
    return main(words)


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
    assert main(["train", "digits", "--head.help", "Mean"]) == 0
    assert "--head.kernel" in capsys.readouterr().out


# Configuration


def config(capsys, *words):
    assert main([*words, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_overrides_reach_into_classes(capsys):
    plain = config(capsys, "train", "digits")
    changed = config(
        capsys,
        *("train", "digits", "--trainer.steps", "500", "--head.kernel", "stochastic"),
        *("--process.schedule", "Linear", "--trainer.clip", "null"),
    )
    assert plain["process"]["init_args"]["schedule"]["class_path"] == "markovbridge.Cosine"
    plain["trainer"].update(steps=500, clip=None)
    plain["head"]["init_args"]["kernel"] = "stochastic"
    plain["process"]["init_args"]["schedule"]["class_path"] = "markovbridge.Linear"
    assert changed == plain


def test_another_class_drops_the_options_of_the_first(capsys):
    changed = config(capsys, "train", "digits", "--objective", "Instantaneous")
    assert changed["objective"] == {
        "class_path": "markovbridge.Instantaneous",
        "init_args": {"steps": 1000},
    }


def test_printed_config_is_a_recipe(capsys, tmp_path):
    printed = config(capsys, "train", "digits", "--trainer.steps", "7", "--data.seed", "3")
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(printed))
    assert config(capsys, "train", str(path)) == printed
    assert not {"output", "resume", "overwrite", "dry_run", "recipe"} & set(printed)


def test_a_recipe_may_name_any_coupling(capsys, tmp_path):
    printed = config(capsys, "train", "digits")
    assert printed["coupling"] is None
    source = {"class_path": "markovbridge.couplings.Gaussian", "init_args": {"std": 2.0}}
    printed["coupling"] = {"class_path": "Independent", "init_args": {"source": source}}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(printed))
    found = config(capsys, "train", str(path))["coupling"]
    assert found["class_path"] == "markovbridge.Independent"
    assert found["init_args"]["source"]["init_args"]["std"] == 2.0


def test_sums_of_objectives(capsys):
    written = "{class_path: Sum, init_args: {terms: [PathKL, EndNLL], weights: [1, 0.1]}}"
    changed = config(capsys, "train", "digits", "--objective", written)
    terms = changed["objective"]["init_args"]["terms"]
    assert [term["class_path"] for term in terms] == [
        "markovbridge.PathKL",
        "markovbridge.EndNLL",
    ]


# Wrong options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "there is no verb 'trian' (did you mean 'train'?)"),
        (["train"], "RECIPE comes first: markovbridge train digits"),
        (["train", "digit"], "there is no recipe 'digit' (did you mean 'digits'?)"),
        (["train", "no/such.yaml"], "no recipe no/such.yaml: there is no such file"),
        (["train", "digits", "more"], "'more' is one word too many"),
        (["train", "digits", "--ouput", "x"], "no option --ouput (did you mean 'output'?)"),
        (["train", "digits", "--trainer.stepz", "3"], "(did you mean 'trainer.steps'?)"),
        (["train", "digits", "--trainer.steps", "x"], "trainer.steps is 'x'; it must be a whole"),
        (["train", "digits", "--trainer.steps", "2.5"], "trainer.steps is '2.5'; it must be a w"),
        (["train", "digits", "--trainer.clip", "x"], "trainer.clip is 'x'; it must be a number"),
        (["train", "digits", "--trainer.decay", "x"], "it must be one of constant, cosine"),
        (["train", "digits", "--resume", "maybe"], "resume is 'maybe'; it must be true or false"),
        (["train", "digits", "--head", "Meen"], "head is 'Meen', which is none of Categorical"),
        (["train", "digits", "--head.kernal", "x"], "no option 'head.kernal' (did you mean 'ker"),
        (["train", "digits", "--head.kernel", "x"], "it must be one of poisson, stochastic, near"),
        (
            ["train", "digits", "--head", "json.JSONDecoder"],
            "not correspond to a subclass of Head",
        ),
        (["train", "digits", "--head", "no_such.Head"], "head: No module named 'no_such'"),
        (["train", "digits", "--process.schedule", "Linea"], "(did you mean 'Linear'?)"),
        (["train", "digits", "--process.maximum", "x"], "process.maximum is 'x'; it must be a wh"),
        (
            ["train", "digits", "--network.widht", "3"],
            "no option 'network.widht' (did you mean 'w",
        ),
        (["train", "digits", "--network", "no_such.Net"], "No module named 'no_such'"),
        (
            ["train", "digits", "--network", "MPL"],
            "network is 'MPL', which is none of Attention, ",
        ),
        (["train", "digits", "--resume", "true", "--overwrite", "true"], "give one of them"),
        (["sample"], "RUN comes first"),
        (["recipes", "digit"], "there is no recipe 'digit'"),
        (["recipes", "digits", "more"], "recipes takes one name"),
        (["data", "digits"], "data takes no options"),
    ],
)
def test_wrong_options(capsys, words, expected):
    assert main(words) == 2
    assert expected in error(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["sample", "RUN", "--sampler.theta", "0.4"],
            "--sampler.theta is an option of a class, and --sampler names none: write, for "
            "example, --sampler Adaptive --sampler.theta 0.4 "
            "(Adaptive, SecondOrderBridge, Trapezoidal have one)",
        ),
        (["sample", "RUN", "--network.width=8"], "write, for example, --network Attention --netw"),
        (
            ["sample", "RUN", "--sampler.thetta", "0.4"],
            "no option --sampler.thetta (did you mean 'theta'?); --sampler names no class",
        ),
        (
            ["train", "digits", "--coupling.source.mean", "1"],
            "--coupling Independent --coupling.s",
        ),
        (
            ["train", "digits", "--data", "Binarised", "--data.source.n", "3"],
            "--data.source names none: write, for example, --data.source Synthetic --data.s",
        ),
    ],
)
def test_options_of_a_class_that_is_not_named(capsys, run, words, expected):
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    assert expected in error(capsys)


def test_no_options_at_all(capsys, run):
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()
    capsys.readouterr()


def test_options_of_a_class_that_has_a_default(capsys):
    words = ["--coupling", "Independent", "--coupling.source.mean", "1", "--print_config"]
    assert main(["train", "digits", *words, "--head.link=exp", "--network.width", "7"]) == 0
    assert "mean: 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text + "bogus: 3\n", "own.yaml: there is no option 'bogus'"),
        (
            lambda text: text.replace("  steps", "  stepz"),
            "own.yaml: there is no option 'trainer.st",
        ),
        (
            lambda text: text.replace("data.Digits", "data.Digitz"),
            "own.yaml: data: markovbridge.data.Digitz does not exist",
        ),
        (lambda text: text.replace("head:", "data:\n  - ["), "own.yaml is damaged: while parsing"),
        (lambda text: "- 1\n", "own.yaml is damaged: it must hold named options"),
        (lambda text: "", "data, process, network, head, objective must be given"),
    ],
)
def test_wrong_recipes(capsys, tmp_path, change, expected):
    assert main(["recipes", "digits"]) == 0
    path = tmp_path / "own.yaml"
    path.write_text(change(capsys.readouterr().out))
    assert main(["train", str(path), "--output", str(tmp_path / "run")]) == 2
    assert expected in error(capsys)
    assert not (tmp_path / "run").exists()


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


# train


def test_train_writes_a_run(trained, capsys):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "model", "checkpoints", "metrics.jsonl", "log.txt"} <= names
    written = yaml.safe_load((trained / "config.yaml").read_text())
    options = [*SMALL, "--trainer.steps", "30"]
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
    assert train(run, "--resume", "true", "--trainer.batch_size", "64") == 1
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
    model = MLP((1, 8, 8), 1, 1, width=16, depth=1)
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


# sample


def test_samples_are_those_of_python(run):
    assert sample(run, "--n", "40", "--seed", "7") == 0
    found, meta = samples(run)
    model = Transport.from_pretrained(run / "model")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = model.sample(40, steps=5, block=16, generator=torch.Generator().manual_seed(7))
    finally:
        torch.set_num_threads(threads)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected.numpy())
    told = {"sampler": "Trapezoidal, Mean", "steps": 5, "evaluations": 10, "seed": 7, "n": 40}
    assert told.items() <= meta.items()
    assert meta["weights"] == "ema"
    assert meta["block"] == 16
    assert meta["seconds"] > 0
    assert (run / "samples.png").read_bytes().startswith(b"\x89PNG")
    with np.load(run / "path.npz", allow_pickle=False) as path:
        assert np.allclose(path["times"], model.error_curve.grid(5))
        assert path["states"].shape == (6, 8, 1, 8, 8)
        assert not path["states"][0].any()
        assert np.array_equal(path["states"][-1], found[:8])
        assert (np.diff(path["states"].astype(int), axis=0) >= 0).all()
    assert not (run / "samples.parts").exists()


def test_steps_even_in_the_schedule(run):
    assert sample(run, "--n", "4", "--grid", "schedule", "--sampler", "Bridge") == 0
    _, meta = samples(run)
    assert meta["sampler"] == "Bridge, Mean" and meta["grid"] == "schedule"
    with np.load(run / "path.npz", allow_pickle=False) as path:
        assert np.allclose(path["times"], [0, 0.2, 0.4, 0.6, 0.8, 1])


def test_fewer_samples_are_the_first_of_more(run):
    assert sample(run, "--n", "40") == 0
    more = samples(run)[0]
    assert sample(run, "--n", "19") == 0
    assert np.array_equal(samples(run)[0], more[:19])
    assert sample(run, "--n", "19", "--seed", "1") == 0
    assert not np.array_equal(samples(run)[0], more[:19])


def test_long_paths_are_thinned(run):
    assert sample(run, "--n", "3", "--steps", "60") == 0
    with np.load(run / "path.npz", allow_pickle=False) as path:
        assert path["times"][0] == 0
        assert path["times"][-1] == 1
        assert (np.diff(path["times"]) > 0).all()
        assert path["states"].shape == (len(path["times"]), 3, 1, 8, 8)
        assert len(path["times"]) <= 26


def interrupted(monkeypatch, after):
    """Let `after` blocks be made, then Ctrl-C; returns the list of blocks begun."""
    begun = []
    original = Transport.sample_block

    def watched(self, index, **options):
        begun.append(index)
        if len(begun) > after:
            raise KeyboardInterrupt
        return original(self, index, **options)

    monkeypatch.setattr(Transport, "sample_block", watched)
    return begun


def test_an_interrupted_call_is_continued(run, monkeypatch, capsys):
    assert sample(run, "--n", "60") == 0
    whole, path = samples(run)[0], (run / "path.npz").read_bytes()
    (run / "samples.npz").unlink()
    with monkeypatch.context() as patch:
        interrupted(patch, after=2)
        assert sample(run, "--n", "60") == 130
    assert "give the same command again" in capsys.readouterr().err
    assert not (run / "samples.npz").exists()
    # A block that was cut short, as by a power failure, is made again.
    damaged = run / "samples.parts" / "block-000001.npz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with monkeypatch.context() as patch:
        begun = interrupted(patch, after=100)
        assert sample(run, "--n", "60") == 0
    assert begun == [1, 2, 3]
    assert np.array_equal(samples(run)[0], whole)
    assert (run / "path.npz").read_bytes() == path


@pytest.mark.parametrize(
    "options",
    [
        ["--seed", "1"],
        ["--steps", "6"],
        ["--head.kernel", "stochastic"],
        ["--sampler", "Bridge"],
        ["--grid", "schedule"],
        ["--weights", "raw"],
    ],
)
def test_other_settings_start_afresh(run, monkeypatch, capsys, options):
    with monkeypatch.context() as patch:
        interrupted(patch, after=2)
        assert sample(run, "--n", "40") == 130
    assert sample(run, "--n", "40", *options) == 0
    assert "starting afresh" in capsys.readouterr().err
    found = samples(run)[0]
    assert sample(run, "--n", "40", *options) == 0
    assert np.array_equal(samples(run)[0], found)


def test_two_processes_make_the_same_samples(run):
    assert sample(run, "--n", "70") == 0
    alone, path = samples(run)[0], (run / "path.npz").read_bytes()
    (run / "samples.npz").unlink()
    words = ["sample", str(run), "--block", "16", "--steps", "5", "--threads", "1", "--n", "70"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    process = subprocess.run(
        [*launcher, "--nproc_per_node=2", "-m", "--", "markovbridge", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("wrote") == 1
    assert np.array_equal(samples(run)[0], alone)
    assert (run / "path.npz").read_bytes() == path


def test_evaluations_are_counted(run):
    assert sample(run, "--n", "4", "--block", "4", "--sampler", "Gillespie") == 0
    found, meta = samples(run)
    # Each birth of the slowest sample takes at least a proposal and a rate.
    assert meta["evaluations"] >= found.reshape(4, -1).sum(1).max()
    assert meta["sampler"] == "Gillespie, Mean"
    assert sample(run, "--n", "4", "--sampler", "Trapezoidal") == 0
    assert samples(run)[1]["evaluations"] == 10


def test_head_and_weights_can_be_chosen(run):
    assert sample(run, "--n", "16", "--head.kernel", "nearest", "--weights", "raw") == 0
    found, meta = samples(run)
    assert meta["sampler"] == "Bridge, Mean(kernel=nearest)"
    assert meta["weights"] == "raw"
    model = Transport.from_pretrained(run / "model", head=Mean(kernel="nearest"))
    from markovbridge.training import checkpoint

    newest = checkpoint.latest(run / "checkpoints")[0]
    assert newest is not None
    model.load_state_dict(newest.tensors["model"])
    expected = model.sample(
        16, steps=5, block=16, sampler=Bridge(), generator=torch.Generator().manual_seed(0)
    )
    assert np.array_equal(found, expected.numpy())


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (["--n", "0"], 2, "n is 0; it must be at least 1"),
        (["--steps", "-1"], 2, "steps is -1; it must be at least 1"),
        (["--weights", "best"], 2, "it must be one of ema, raw"),
        (["--sampler", "Brigde"], 2, "(did you mean 'Bridge'?)"),
        (["--sampler", "Bridge", "--sampler.theta", "3"], 2, "no option 'sampler.theta'"),
        (["--device", "abacus"], 1, "device 'abacus' cannot be used"),
        (["--head", "NegativeBinomial"], 1, "the network gave"),
    ],
)
def test_sample_refuses(run, capsys, options, status, expected):
    assert sample(run, *options) == status
    assert expected in error(capsys)
    assert not (run / "samples.npz").exists()


def test_sample_without_a_model(run, capsys):
    (run / "model" / "config.json").unlink()
    assert sample(run) == 1
    assert "has no model to sample from" in error(capsys)


def test_sample_from_a_damaged_model(run, capsys):
    file = run / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    assert sample(run) == 1
    assert "model.safetensors is damaged" in error(capsys)
    (run / "model" / "config.json").write_text("{")
    assert sample(run) == 1
    assert "config.json is damaged" in error(capsys)


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
    real = Digits().load("all").x
    meta = {**meta, "split": "digits, all"}
    assert records == score(torch.from_numpy(found), real, seed=3, meta=meta)
    assert "60 samples against 1,797 of digits, all" in text
    assert "ema weights, Bridge, Mean(kernel=stochastic), 5 evaluations, seed 0" in text
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
    config = json.loads(file.read_text().replace("markovbridge.heads.counts.Mean", "evil.Mean"))
    file.write_text(json.dumps(config))
    assert sample(run, "--n", "4") == 1
    assert "config.json is damaged (it has changed since it was written)" in error(capsys)
    del config["sha256"]  # as a file of before there was one
    file.write_text(json.dumps(config))
    assert sample(run, "--n", "4") == 1
    assert "evil.Mean is not part of markovbridge" in error(capsys)


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
