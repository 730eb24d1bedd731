"""Nothing in a recipe, a run, a model or a table runs code, imports a module by name or hangs.

Each probe is a file with something hostile at one place, given to the verb that reads it. It
must end with one error of ours, and leave no trace; see `hostile`.
"""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
import yaml

import markovbridge as mb
from hostile import CANARY, DONE, RECIPE, classes, counted, put, spec, texts
from markovbridge.cli import main
from markovbridge.data import Digits
from markovbridge.storage.files import sealed

LEAST = 200  # probes in all
# Everywhere that a recipe can name a class, and where it cannot.
PLACES = (
    *("data", "process", "network", "head", "objective", "coupling", "masking", "trainer"),
    *("process.schedule", "process.maximum", "coupling.source", "coupling.source.mean"),
    *("objective.terms", "network.width", "network.unknown", "trainer.steps", "unknown"),
)
MODEL_PLACES = (
    *("process", "network", "head", "coupling", "objective", "masking", "covariates"),
    *("error_curve", "process.schedule", "network.width", "shape"),
)
COUNT_PLACES = ("head", "objective", "masking", "network", "width", "random_state", "unknown")


def test_a_trace_is_seen(places, probe):
    """The watch is no blind one: what it is to see, done openly, it sees."""
    import importlib
    import os
    import subprocess

    for action in (
        lambda: importlib.import_module(f"{CANARY}.part"),
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=True),
        lambda: (places / "traces").write_text("x"),
        lambda: main(["recipes"]),
    ):
        assert probe("open", action)
        DONE.pop()


def test_recipes(places, probe):
    failed, file = [], places / "recipe.yaml"
    for name, config in classes(places, RECIPE, PLACES):
        file.write_text(yaml.safe_dump(config))
        words = ["train", str(file), "--output", str(places / "traces")]
        failed += probe(f"recipe {name}", lambda words=words: main(words))
    assert failed == []


def test_configurations_of_runs(places, probe, tmp_path):
    failed, run = [], shutil.copytree(places / "run", tmp_path / "run")
    verbs = (
        ["train", str(run), "--resume", "true"],
        ["train", str(run), "--dry_run", "true"],
        ["evaluate", str(run)],
        ["diagnose", str(run)],
        ["inspect", str(run)],
    )
    chosen = [*classes(places, RECIPE, PLACES)][::5]
    for index, (name, config) in enumerate(chosen):
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        for words in verbs[:2] if index % 3 else verbs[: 5 if " at data" in name else 2]:
            failed += probe(f"run {name} by {words[0]}", lambda words=words: main(words))
    assert failed == []


def test_reports_load_no_code(places, probe, tmp_path):
    """A report can do without the data, so it does not fail, and leaves no trace either."""
    failed, run = [], shutil.copytree(places / "run", tmp_path / "run")
    for name, config in [*classes(places, RECIPE, ("data", "process", "head", "split"))][::3]:
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        words = ["report", str(run)]
        failed += probe(f"report {name}", lambda words=words: main(words), may_pass=True)
    assert failed == []


def test_models(places, probe, tmp_path):
    failed, folder = [], shutil.copytree(places / "run", tmp_path / "run")
    file = folder / "model" / "config.json"
    config = json.loads(file.read_text())
    config.pop("sha256", None)
    for name, changed in classes(places, config, MODEL_PLACES):
        file.write_text(sealed(changed))
        model = folder / "model"
        failed += probe(f"model {name}", lambda model=model: mb.Transport.from_pretrained(model))
        if " at head" in name or " at network" in name:
            words = ["sample", str(folder), "--n", "1", "--steps", "1"]
            failed += probe(f"sample {name}", lambda words=words: main(words))
    assert failed == []


def test_count_models(places, probe, tmp_path):
    failed, folder = [], shutil.copytree(places / "counts", tmp_path / "counts")
    file = folder / "count_model.json"
    config = json.loads(file.read_text())
    for name, params in classes(places, config["params"], COUNT_PLACES):
        file.write_text(json.dumps({**config, "params": params}))
        failed += probe(f"count model {name}", lambda: mb.CountModel.load(folder))
    assert failed == []


def test_yaml(places, probe, tmp_path):
    failed, run = [], shutil.copytree(places / "run", tmp_path / "run")
    for name, text in texts(places / "traces").items():
        for file, words in (
            (tmp_path / "recipe.yaml", ["train", str(tmp_path / "recipe.yaml")]),
            (run / "config.yaml", ["train", str(run), "--resume", "true"]),
        ):
            file.write_text(text)
            failed += probe(f"{file.name} {name}", lambda words=words: main(words))
    assert failed == []


def test_words(places, probe):
    """What the command line holds is the user's, but it does not hang or break either."""
    bomb = "{a: &a [x,x,x], b: &b [*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b], d: [*c,*c,*c]}"
    failed = []
    for option in ("network.depth", "trainer.steps", "process", "head.kernel", "trainer.clip"):
        for name, value in {
            "base 60": "12:30:00",
            "base 60 in a list": "[12:30:00]",
            "an alias": "[&a 3, *a]",
            "a bomb": bomb,
            "deep": "[" * 5000,
            "deep and closed": "{a: " * 3000 + "}" * 3000,
            "a tag": "!!python/object/apply:os.system [true]",
        }.items():
            words = ["train", "digits", f"--{option}={value}", "--print_config"]
            failed += probe(f"--{option} {name}", lambda words=words: main(words))
    assert failed == []


class Pickled:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_pickles(places, probe, tmp_path):
    trap = Pickled(places / "traces")
    plain, objects = np.zeros((3, 2), int), np.array([[trap, trap]], dtype=object)
    failed, run = [], shutil.copytree(places / "run", tmp_path / "run")
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "b.npz", x=objects)
    torch.save({"x": trap}, tmp_path / "c.npy")
    (tmp_path / "d.npy").write_bytes(pickle.dumps(trap))
    (tmp_path / "e.npz").write_bytes(pickle.dumps(trap))
    for file in sorted(tmp_path.glob("*.np*")):
        for data in (spec("markovbridge.data.Arrays", {"path": str(file), "counts": True}),):
            recipe = tmp_path / "recipe.yaml"
            recipe.write_text(yaml.safe_dump({**RECIPE, "data": data}))
            words = ["train", str(recipe), "--dry_run", "true"]
            failed += probe(f"data {file.name}", lambda words=words: main(words))
        if file.suffix == ".npz":
            words = ["train", str(file), "--dry_run", "true"]
            failed += probe(f"table {file.name}", lambda words=words: main(words))
    for name in ("samples.npz", "path.npz", "restored.npz"):
        for key in ("samples", "states", "times", "input", "draws", "mean", "meta"):
            arrays = {"samples": plain, "states": plain, "times": plain, "input": plain}
            arrays |= {"draws": plain, "mean": plain, "meta": np.array("{}"), key: objects}
            np.savez(run / name, **arrays)
            failed += probe(f"{name} {key}", lambda: main(["report", str(run)]))
            (run / name).unlink()
    step = run / "checkpoints" / "step-00000001"
    step.mkdir(parents=True)
    for name in ("state.json", "model.safetensors", "ema.safetensors"):
        (step / name).write_bytes(pickle.dumps(trap))
    words = ["sample", str(run), "--weights", "raw", "--n", "1"]
    failed += probe("checkpoint", lambda: main(words))
    (run / "model" / "model.safetensors").write_bytes(pickle.dumps(trap))
    failed += probe("weights", lambda: mb.Transport.from_pretrained(run / "model"))
    assert failed == []


def test_what_is_meant_well_is_read(places, capsys):
    """The same places, used as they are meant to be."""
    recipe = put(RECIPE, "objective.terms", ["PathKL"])
    recipe = put(recipe, "coupling", "Noised")
    file = places / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    assert main(["train", str(file), "--dry_run", "true"]) == 0
    assert "the recipe works" in capsys.readouterr().out
    assert mb.Transport.from_pretrained(places / "run" / "model").shape == (1, 8, 8)
    assert mb.CountModel.load(places / "counts").n_features_in_ == 5
    assert Digits().load("all").shape == (1, 8, 8)


def test_there_were_enough_of_them(capsys, record_property, pytestconfig):
    if not pytestconfig.getoption("whole") or "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("counts the probes of the tests before it: pytest --whole -n0")
    counted(record_property, capsys, LEAST)
