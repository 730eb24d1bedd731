"""`markovbridge sample`."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from markovbridge import Bridge, MeanHead, Transport
from markovbridge.cli import main
from runs import error, said_by, sample, samples
from twice import in_two_processes

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
    told = {"sampler": "Trapezoidal, MeanHead", "steps": 5, "evaluations": 10, "seed": 7, "n": 40}
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
    assert meta["sampler"] == "Bridge, MeanHead" and meta["grid"] == "schedule"
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


@pytest.mark.parametrize("launched", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_two_processes_make_the_same_samples(run, tmp_path, launched):
    assert sample(run, "--n", "70") == 0
    alone, path = samples(run)[0], (run / "path.npz").read_bytes()
    (run / "samples.npz").unlink()
    words = ["sample", str(run), "--block", "16", "--steps", "5", "--threads", "1", "--n", "70"]
    if launched:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        process = subprocess.run(
            [*launcher, "--nproc_per_node=2", "-m", "--", "markovbridge", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.returncode == 0, process.stderr
        said = process.stdout
    else:
        in_two_processes(said_by, words, tmp_path)
        said = "".join((tmp_path / f"said{rank}").read_text() for rank in range(2))
    assert said.count("wrote") == 1
    assert np.array_equal(samples(run)[0], alone)
    assert (run / "path.npz").read_bytes() == path


def test_evaluations_are_counted(run):
    assert sample(run, "--n", "4", "--block", "4", "--sampler", "Gillespie") == 0
    found, meta = samples(run)
    # Each birth of the slowest sample takes at least a proposal and a rate.
    assert meta["evaluations"] >= found.reshape(4, -1).sum(1).max()
    assert meta["sampler"] == "Gillespie, MeanHead"
    assert sample(run, "--n", "4", "--sampler", "Trapezoidal") == 0
    assert samples(run)[1]["evaluations"] == 10


def test_head_and_weights_can_be_chosen(run):
    assert sample(run, "--n", "16", "--head.kernel", "nearest", "--weights", "raw") == 0
    found, meta = samples(run)
    assert meta["sampler"] == "Bridge, MeanHead(kernel=nearest)"
    assert meta["weights"] == "raw"
    model = Transport.from_pretrained(run / "model", head=MeanHead(kernel="nearest"))
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
        (["--head", "NegativeBinomialHead"], 1, "the network gave"),
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


def test_a_model_of_fields_is_sampled_on_a_finer_grid(tmp_path, capsys):
    folder = tmp_path / "fields"
    words = ["train", "digits-bridge", "--output", str(folder), "--trainer.steps", "2"]
    words += ["--network", "FourierOperator", "--network.width", "4", "--network.depth", "1"]
    words += ["--trainer.threads", "1", "--trainer.warmup", "1", "--trainer.sample_steps", "1"]
    assert main(words) == 0
    capsys.readouterr()
    assert sample(folder, "--n", "3", "--refine", "2") == 0
    assert "evaluate" not in capsys.readouterr().out  # the data have fewer sites
    found, meta = samples(folder)
    assert found.shape == (3, 1, 16, 16) and meta["refine"] == 2
    model = Transport.from_pretrained(folder / "model").refined(2)
    generator = torch.Generator().manual_seed(0)
    expected = model.sample(3, steps=5, block=16, generator=generator)
    assert np.allclose(found, expected.numpy(), atol=1e-3)


def test_a_model_of_one_size_is_not_refined(run, capsys):
    assert sample(run, "--refine", "2") == 2
    assert "PureDeath counts or classes" in error(capsys)
    assert sample(run, "--refine", "0") == 2
    assert "it must be 1 or more" in error(capsys)
