"""Only a run of ours is continued or replaced, by one process at a time, and nothing else goes."""

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from markovbridge import CountModel, MeanHead, PureDeath, Transport
from markovbridge.cli import VERBS, main
from markovbridge.data import write_table
from markovbridge.networks import MLP
from markovbridge.storage.locks import InUseError, locked
from markovbridge.training import Trainer, TrainingConfig, replacing

TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "4", "--trainer.steps", "3"]
TINY += ["--trainer.sample_steps", "5"]
OVER, ON = ["--overwrite", "true"], ["--resume", "true"]


def train(folder, *options, recipe="digits"):
    return main(["train", str(recipe), "--output", str(folder), *TINY, *options])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert train(folder) == 0
    return folder


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def error(capsys):
    lines = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--trainer.accumulation", "3"],
        ["--split", "all", "--trainer.select", "best", "--trainer.validate_every", "1"],
        ["--condition", "covariates"],
    ],
)
def test_a_run_stays_where_the_next_cannot_be_built(run, capsys, wrong):
    before = content(run)
    assert train(run, *OVER, *wrong) != 0
    error(capsys)
    assert content(run) == before


def test_a_run_stays_where_the_next_cannot_read_its_data(run, capsys):
    before = content(run)
    assert train(run, *OVER, recipe=run / "absent.csv") != 0
    assert "absent.csv" in error(capsys)
    assert content(run) == before


FOREIGN = {
    "config.yaml": "database: postgres\n",
    "log.txt": "dear diary",
    "src/main.py": "print()",
    ".git/HEAD": "ref",
    "checkpoints/mine.txt": "years of work",
}


@pytest.mark.parametrize("how", [OVER, ON, []])
@pytest.mark.parametrize("recipe", [0, 1])
def test_a_foreign_folder_is_left_alone(tmp_path, capsys, how, recipe):
    if recipe:  # the configuration of somebody else may even be a recipe
        FOREIGN["config.yaml"] = "data: Digits\nprocess: PureDeath\n"
    for name, text in FOREIGN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = content(tmp_path)
    assert train(tmp_path, *how) == 1
    assert "config.yaml, which no run wrote, but no run" in error(capsys)
    assert content(tmp_path) == before


def test_what_is_no_run_in_a_run_folder_stays(run, capsys):
    (run / "notes.txt").write_text("mine")
    (run / "src").mkdir()
    (run / "src" / "main.py").write_text("print()")
    assert train(run, *OVER, "--trainer.seed", "1") == 0
    assert (run / "notes.txt").read_text() == "mine" and (run / "src" / "main.py").exists()
    assert not (run / ".replaced").exists()
    (run / "checkpoints" / "mine.txt").write_text("years of work")
    before = content(run)
    capsys.readouterr()
    assert train(run, *OVER) == 1
    assert "mine.txt is no file of the run that --overwrite true would delete" in error(capsys)
    assert content(run) == before


@pytest.mark.parametrize("name", ["table.csv", "samples.csv"])
def test_the_table_that_is_trained_on_stays(tmp_path, capsys, name):
    pytest.importorskip("pandas")
    folder, table = tmp_path / "t", tmp_path / "t" / name
    folder.mkdir()
    counts = np.random.default_rng(0).poisson(2, (40, 3))
    text = "a,b,c\n" + "".join(",".join(map(str, row)) + "\n" for row in counts)
    table.write_text(text)
    (folder / "log.txt").write_text("a log of mine")
    assert train(folder, *OVER, recipe=table) == 1
    assert "holds files, but no run" in error(capsys)
    assert table.read_text() == text
    # In a run folder, too.
    table.unlink()
    (folder / "log.txt").unlink()
    assert train(folder) == 0
    table.write_text(text)
    capsys.readouterr()
    status = train(folder, *OVER, recipe=table)
    assert table.read_text() == text
    if name == "samples.csv":
        assert status == 1 and "is data of the new run" in error(capsys)
    else:
        assert status == 0


def test_a_link_goes_and_what_it_leads_to_stays(run, tmp_path):
    shutil.move(run / "checkpoints", tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    assert train(run, *OVER, "--trainer.seed", "1") == 0
    assert not (run / "checkpoints").is_symlink()
    assert (tmp_path / "elsewhere" / "step-00000003").is_dir()


def test_an_empty_configuration_says_what_to_do(run, capsys):
    before = (run / "config.yaml").read_bytes()
    for damage in (b"", b"\xff\xfe", b"a: [", b"- 1\n"):
        (run / "config.yaml").write_bytes(damage)
        for words in (["train", str(run), *ON], ["evaluate", str(run)]):
            assert main(words) != 0
            told = error(capsys)
            assert f"train RECIPE --output {run} --resume true" in told, told
    (run / "config.yaml").unlink()
    assert train(run, *ON) == 0  # as it was told
    assert (run / "config.yaml").read_bytes() == before


def test_resume_of_a_replacement_that_was_killed(run):
    before = content(run)
    (run / ".replaced").mkdir()
    for name in ("config.yaml", "model"):
        os.rename(run / name, run / ".replaced" / name)
    replacing.recover(run)
    assert content(run) == before
    assert replacing.is_run(run)


# One process at a time

HOLD = """
import fcntl, os, sys, time
file = open(f"{sys.argv[1]}/.{sys.argv[2]}.lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, end="", flush=True)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hold():
    """Holds a lock in a process of its own, as `locks` says it is held, until it is killed."""
    pytest.importorskip("fcntl")
    children = []

    def start(folder, what):
        words = [sys.executable, "-c", HOLD, str(folder), what]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout.readline() == "held\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_second_process_is_refused_until_the_first_is_killed(run, hold, capsys):
    child, before = hold(run, "training"), content(run)
    for how in (OVER, ON):
        assert train(run, *how) == 1
        assert f"{run} is in use by process {child.pid} (training)" in error(capsys)
    after = content(run)
    assert after == before
    assert main(["sample", str(run), "--n", "2", "--steps", "2"]) == 0  # while it trains
    child.kill()
    child.wait()
    assert train(run, *ON) == 0
    assert not list(run.glob(".*"))


WRITERS = [
    ("sample", "samples", []),
    ("restore", "restored", ["--survival", "0.5"]),
    ("impute", "imputed", ["--observed", "top"]),
    ("translate", "translated", ["--input", "rows.npy"]),
    ("evaluate", "evaluation", []),
    ("diagnose", "diagnostics", []),
    ("calibrate", "calibration", []),
    ("inspect", "inspection", ["--points", "2", "--states", "1", "--times", "1"]),
    ("report", "report", []),
]


def test_every_verb_that_writes_is_here():
    assert {verb for verb, *_ in WRITERS} | {"train", "recipes", "data"} == VERBS.keys()


@pytest.mark.parametrize(("verb", "what", "options"), WRITERS)
def test_two_verbs_do_not_write_the_same(run, hold, capsys, verb, what, options):
    child = hold(run, what)
    assert main([verb, str(run), *options]) == 1
    assert f"{run} is in use by process {child.pid} ({what})" in error(capsys)
    assert train(run, *OVER) == 1  # nor is taken away what is being written to
    assert f"in use by process {child.pid} ({what})" in error(capsys)


def small():
    torch.manual_seed(0)
    return Transport(PureDeath(9), MLP((2,), 1, 1, width=4, depth=1), MeanHead(), shape=(2,))


def test_models_and_tables_are_saved_by_one_process_at_a_time(tmp_path, hold):
    counts = np.random.default_rng(0).poisson(2.0, (30, 3))
    model = CountModel(width=4, depth=1, steps=2, batch_size=4).fit(counts)
    for act, folder, what in (
        (lambda: model.save(tmp_path / "counts"), tmp_path / "counts", "model"),
        (lambda: small().save_pretrained(tmp_path / "model"), tmp_path, "model"),
        (lambda: write_table(tmp_path / "a.npz", counts, overwrite=True), tmp_path, "a.npz"),
    ):
        act()
        before, child = content(tmp_path), hold(folder, what)
        with pytest.raises(InUseError, match=rf"in use by process {child.pid} \({what}\)"):
            act()
        child.kill()
        child.wait()
        act()
        assert content(tmp_path).keys() == before.keys()


def test_trainers_of_two_processes(tmp_path, hold):
    x, config = torch.randint(0, 9, (20, 2)), TrainingConfig(steps=2, batch_size=4)
    trainer = Trainer(small(), x, config, directory=tmp_path / "run")
    child = hold(tmp_path / "run", "training")
    for act in (
        lambda: trainer.run(),
        lambda: trainer.save(),
        lambda: Trainer(small(), x, config, directory=tmp_path / "run"),
    ):
        with pytest.raises(InUseError, match=f"in use by process {child.pid}"):
            act()
    child.kill()
    child.wait()
    trainer.run()


def test_the_same_process_may_take_a_lock_again(tmp_path):
    with locked(tmp_path, "training"):
        with locked(tmp_path, "training"):
            pass
        assert (tmp_path / ".training.lock").read_text() == str(os.getpid())
    assert not list(tmp_path.iterdir())


def test_the_lock_of_another_folder_of_that_name_stays(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with locked(run, "training"):
        run.rename(tmp_path / "moved")
        run.mkdir()
        (run / ".training.lock").touch()  # as of a run that began there meanwhile
    assert (run / ".training.lock").exists()


def test_locks_of_many_processes_are_never_held_by_two(tmp_path):
    def take():
        taken = 0
        while taken < 20:
            with contextlib.suppress(InUseError), locked(tmp_path, "x"):
                (tmp_path / "inside").mkdir()  # fails if another is inside
                time.sleep(0.001)
                (tmp_path / "inside").rmdir()
                taken += 1
            time.sleep(0.001)

    children = [multiprocessing.get_context("fork").Process(target=take) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]


# The current folder


def test_nothing_is_trained_or_saved_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).poisson(2.0, (30, 3))
    model = CountModel(width=4, depth=1, steps=2, batch_size=4)
    for directory in ("", "."):
        with pytest.raises(ValueError, match="which is the current folder"):
            model.fit(x, directory=directory)
    model.fit(x)
    for directory in ("", "."):
        with pytest.raises(ValueError, match="give it a name"):
            model.save(directory)
        with pytest.raises(ValueError, match="give it a name"):
            model.transport_.save_pretrained(directory)
    assert not list(tmp_path.iterdir())
