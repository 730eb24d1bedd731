"""Callbacks, and trackers of other packages beside a run."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from markovbridge.training import Trainer, tracking


def test_callbacks_are_called_after_each_step_is_done(small, tmp_path):
    seen = []

    def callback(trainer, state):
        written = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
        seen.append((trainer.step, state.step, float(state.loss), written[-1]))

    trainer = Trainer(
        small.transport(),
        small.counts(),
        small.config(),
        directory=tmp_path / "run",
        callbacks=[callback, lambda trainer, state: seen.append(trainer is not None)],
    )
    losses = [float(state.loss) for state in trainer]
    assert seen[1::2] == 6 * [True]
    newest = ["step-00000000", *(f"step-0000000{k}" for k in (2, 2, 4, 4, 6))]
    assert seen[::2] == [(k + 1, k + 1, losses[k], newest[k]) for k in range(6)]


def test_what_a_callback_raises_ends_the_loop(small):
    def callback(trainer, state):
        if state.step == 2:
            raise KeyError("mine")

    trainer = Trainer(small.transport(), small.counts(), small.config(), callbacks=[callback])
    with pytest.raises(KeyError, match="mine"):
        trainer.run()
    assert trainer.step == 2


class Writer:
    """What stands for a package: it notes what it is told."""

    def __init__(self, noted):
        self.noted = noted

    def __call__(self, *args, **options):
        self.noted.append(("made", args, options))
        return self

    def __getattr__(self, name):
        return lambda *args, **options: self.noted.append((name, args, options))


@pytest.fixture
def noted(monkeypatch):
    """What both packages are told, neither being installed."""
    noted = []
    writer = Writer(noted)
    board, wandb = ModuleType("torch.utils.tensorboard"), ModuleType("wandb")
    board.SummaryWriter = writer
    wandb.init = writer
    wandb.config = SimpleNamespace(
        update=lambda values, **more: noted.append(("config", (values,), more))
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setattr("torch.utils.tensorboard", board, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(tracking, "find_spec", lambda name: SimpleNamespace(origin=name))
    return noted


def run(small, folder, tracker, **options):
    config = small.config(log_every=2, validate_every=3, tracker=tracker)
    held_out = small.counts(8, "validation")
    made = Trainer(
        small.transport(), small.counts(), config, validation=held_out, directory=folder, **options
    )
    made.run()


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_is_told_the_numbers_of_the_log(small, tmp_path, noted):
    folder = tmp_path / "run"
    run(small, folder, "tensorboard")
    assert noted[0] == ("made", (str(folder / "tensorboard"),), {})
    told = {}
    for name, args, options in noted:
        if name == "add_scalar":
            told.setdefault(options["global_step"], {})[args[0]] = args[1]
    expected = {}
    for line in lines(folder):
        expected.setdefault(line.pop("step"), {}).update(line)
    assert {*expected} == {2, 3, 4, 6}
    assert told == expected
    assert noted[-1][0] == "close"


def test_wandb_is_told_the_configuration_and_the_numbers(small, tmp_path, noted):
    folder = tmp_path / "mine"
    run(small, folder, "wandb")
    assert noted[0] == (
        *("made", ()),
        {"project": "markovbridge", "name": "mine", "dir": str(folder)},
    )
    ((config,),) = [args for name, args, _ in noted if name == "config"]
    assert (config["steps"], config["learning_rate"]) == (6, 1e-2)
    told = [{"step": options["step"], **args[0]} for name, args, options in noted if name == "log"]
    assert told == lines(folder)
    assert noted[-1][0] == "finish"


def test_a_tracker_changes_nothing_of_a_run(small, tmp_path, noted):
    run(small, tmp_path / "run", "tensorboard")
    run(small, tmp_path / "run", None, resume=True)  # as one of the free settings


def test_a_tracker_that_is_not_installed_is_refused_before_anything(small, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="tracker is 'wandb', and the package wandb is not inst"):
        run(small, tmp_path / "run", "wandb")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(tracking, "find_spec", lambda name: SimpleNamespace(origin=name))
    with pytest.raises(ValueError, match="tracker is 'wandb'; give the run a directory too"):
        run(small, None, "wandb")
    with pytest.raises(ValueError, match="tracker must be one of 'tensorboard', 'wandb'"):
        small.config(tracker="mine")


def test_a_folder_called_like_a_package_is_none(small, tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ImportError, match="tracker is 'wandb', and the package wandb is not inst"):
        run(small, tmp_path / "run", "wandb")
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_does_not_start_ends_a_run_before_its_first_step(
    small, tmp_path, noted, monkeypatch
):
    def fails(**options):
        raise RuntimeError("no account")

    monkeypatch.setattr(sys.modules["wandb"], "init", fails)
    seen = []
    with pytest.raises(RuntimeError, match="no account"):
        run(small, tmp_path / "run", "wandb", callbacks=[lambda *given: seen.append(given)])
    assert not seen
