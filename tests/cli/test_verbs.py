"""Every verb is a class: the same from Python as from the command line, each option explained."""

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml

import markovbridge.cli
from markovbridge import recipes
from markovbridge.cli import VERBS, main
from markovbridge.cli.train import Folder, Line
from markovbridge.cli.usage import said_of
from markovbridge.cli.verb import Verb
from markovbridge.networks import MLP
from markovbridge.recipes.options import hints
from markovbridge.storage.errors import UsageError
from runs import error

FEW = {"steps": 2, "threads": 1}
TRAINED = {"network.width": 4, "trainer.steps": 3, "trainer.warmup": 1, "trainer.threads": 1}
TRAINED |= {"trainer.sample_steps": 5}
# What each verb is called with; files are named in the folder of the run.
CALLS = {
    "train": {"options": TRAINED, "overwrite": True},
    "sample": {"n": 20, "condition": None, "seed": 3, **FEW},
    "translate": {"input": "rows.npy", "n": 2, **FEW},
    "restore": {"survival": 0.3, "n": 2, **FEW},
    "impute": {"observed": "random:0.5", "n": 2, "draws": 3, "rounds": 1, **FEW},
    "evaluate": {"n": 20, "likelihood": 2, "looks": 2, "threads": 1},
    "diagnose": {"n": 4, "pieces": 2, "threads": 1},
    "calibrate": {"n": 2, "draws": 3, "observed": 0.5, "levels": [0.5], **FEW},
    "report": {},
    "inspect": {"points": 4, "states": 2, "times": 2, "threads": 1},
}
SILENT = {"recipes", "data"}
# What a clock, or the name of the folder, makes different.
CLOCKS = ("seconds", "elapsed_s", "samples_per_s", "sha256")


def verb(name):
    return getattr(markovbridge.cli, name.capitalize())


def options_of(name):
    return Line if name == "train" else verb(name)


def test_every_verb_is_here():
    assert VERBS.keys() == CALLS.keys() | SILENT
    names = {cls.capitalize() for cls in VERBS}
    assert names | {"main"} == set(markovbridge.cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Smaple'"):
        markovbridge.cli.Smaple  # noqa: B018


def words_of(options):
    """The words that say the same as arguments of the class."""
    options = dict(options)
    options |= options.pop("options", {})
    found = []
    for name, value in options.items():
        if value is True:
            found.append(f"--{name}")
        elif value is not None:
            found += [f"--{name}", str(value)]
    return found


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in CLOCKS}
    return [plain(item) for item in value] if isinstance(value, list) else value


def content(folder):
    """All that a run folder holds, but for clocks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".npz":
            with np.load(path) as file:
                arrays = {key: file[key] for key in file.files}
            meta = arrays.pop("meta", None)
            found[name] = {key: (a.dtype, a.tolist()) for key, a in arrays.items()}
            found[name]["meta"] = None if meta is None else plain(json.loads(str(meta)))
        elif path.suffix == ".json":
            found[name] = plain(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [plain(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.is_file() and path.name not in ("log.txt", "report.html", "README.md"):
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def sampled(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verbs") / "run"
    shutil.copytree(trained, folder)
    assert main(["sample", str(folder), "--n", "20", "--steps", "2", "--threads", "1"]) == 0
    return folder


@pytest.mark.parametrize("name", CALLS)
def test_the_same_from_python_as_from_the_command_line(sampled, tmp_path, monkeypatch, name):
    found, options = [], CALLS[name]
    np.save(tmp_path / "rows.npy", np.zeros((3, 1, 8, 8), dtype=np.int64))
    for way in ("python", "words"):
        folder = tmp_path / way
        folder.mkdir()
        shutil.copytree(sampled, folder / "run")
        monkeypatch.chdir(folder)
        given = {k: str(tmp_path / v) if k == "input" else v for k, v in options.items()}
        if way == "words":
            assert main([name, "run", *words_of(given)]) == 0
        else:
            given = {k: Path(v) if k == "input" else v for k, v in given.items()}
            verb(name)("run", **given).run()
        found.append(content(folder / "run"))
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        assert value == found[1][key], key


@pytest.mark.parametrize("name", CALLS)
def test_every_option_is_explained_once(name):
    owner = options_of(name)
    said = said_of(owner)
    for option in hints.options(owner):
        assert len(said.get(option, "").split()) > 1, option
    assert set(said) <= {f.name for f in dataclasses.fields(owner)} | {"recipe", "options"}
    # A class that is shared is explained where its fields are.
    for base in owner.__mro__:
        own = vars(base).get("__annotations__", {})
        fields = [key for key, hint in own.items() if "ClassVar" not in str(hint)]
        if issubclass(base, Verb | Folder) and dataclasses.is_dataclass(base):
            for field in fields:
                assert field in said_of(base), (base, field)


@pytest.mark.parametrize("name", CALLS)
def test_no_option_hides_a_method(name):
    for field in dataclasses.fields(verb(name)):
        assert not callable(getattr(Verb, field.name, None)), field.name


@pytest.mark.parametrize("word", ["--dry-run", "--dry_run", "--dry_run=true", "--dry-run true"])
def test_flags_stand_alone(word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", *word.split(), "--network.width", "4"]) == 0
    assert "the recipe works" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(["train", "digits", "--resume", "--overwrite"]) == 2
    assert "give one of them" in error(capsys)


def test_flags_before_other_options(capsys):
    words = ["train", "digits", "--resume", "--trainer.steps", "70", "--print-config"]
    assert main(words) == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["steps"] == 70


def test_what_cannot_be_given_is_not_offered(capsys):
    assert main(["train", "digits", "--help"]) == 0
    text = capsys.readouterr().out.replace(",", " ").replace(".", " ").split()
    assert not {"MirroredSchedule", "SurvivalSchedule", "Sum", "Rows", "Function"} & set(text)
    assert {"CosineSchedule", "PathKL", "Independent"} & set(text)
    assert main(["train", "digits", "--process.schedule", "Mirrord", "--dry-run"]) == 2
    assert "which is none of CosineSchedule, LinearSchedule, LogisticSchedule;" in error(capsys)


@pytest.mark.parametrize("words", [["--help"], ["recipes"], ["recipes", "digits"], ["data"]])
def test_what_needs_no_torch_does_not_wait_for_it(words):
    code = (
        "import sys; from markovbridge.cli import main; status = main(sys.argv[1:])\n"
        "heavy = {'torch', 'numpy', 'scipy', 'jsonargparse'} & sys.modules.keys()\n"
        "print(status, sorted(heavy), file=sys.stderr)"
    )
    child = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert child.stderr.strip() == "0 []"


def test_wrong_values_from_python_are_refused_alike(sampled):
    with pytest.raises(ValueError, match="n is 0; it must be at least 1"):
        markovbridge.cli.Sample(sampled, n=0)
    with pytest.raises(FileNotFoundError, match="there is no run folder"):
        markovbridge.cli.Sample("nowhere").run()


# A damaged configuration says the same everywhere, before anything is drawn


@pytest.mark.parametrize("name", [name for name in CALLS if name != "train"])
@pytest.mark.parametrize("text", ["", "data: [unclosed", None])
def test_a_damaged_configuration(sampled, tmp_path, capsys, monkeypatch, name, text):
    run = shutil.copytree(sampled, tmp_path / "run")
    (run / "config.yaml").unlink()
    if text is not None:
        (run / "config.yaml").write_text(text)
    before = content(run)
    given = {key: value for key, value in CALLS[name].items() if key != "input"}
    assert main([name, str(run), *words_of(given)]) == 1
    said = error(capsys)
    assert said.startswith(f"error: {run / 'config.yaml'} is ")
    assert f"`markovbridge train RECIPE --output {run} --resume true`" in said
    assert content(run) == before


# Recipes from Python


def test_a_recipe_is_an_object():
    recipe = recipes.load("digits", {"network.width": 8, "process.schedule": "LinearSchedule"})
    assert recipe.split == "train" and recipe.trainer.steps == 4000
    dataset = recipe.dataset()
    transport = recipe.transport(dataset)
    assert isinstance(transport.network, MLP) and transport.network.config["width"] == 8
    assert type(transport.process.schedule).__name__ == "LinearSchedule"
    assert len(recipe.examples(dataset, transport).x) == 1437
    with pytest.raises(UsageError, match=r"no option --trainer.stepz \(did you mean 'trainer.st"):
        recipes.load("digits", {"trainer.stepz": 8})
    with pytest.raises(UsageError, match="there is no recipe 'digit'"):
        recipes.load("digit")
    with pytest.raises(UsageError, match="there is no option --output"):
        recipes.load("digits", {"output": "x"})


def test_modules_of_verbs_hold_the_class_of_their_name():
    for name, entry in VERBS.items():
        module = import_module(f"markovbridge.cli.{entry.module}")
        assert vars(module)[name.capitalize()] is verb(name)


def test_no_verb_reads_data_but_by_the_function_that_looks_at_names():
    """`.load(split)` of a source is called for a run by `RunData` alone."""
    cli = Path(markovbridge.cli.__file__).parent
    allowed = {
        "stand_in.py": 2,
        "inspect.py": 1,
        "recipe.py": 1,
        "train.py": 1,
        "rehearsal.py": 1,
    }  # for data without a run
    rooms = [cli, cli.parent / "report", cli.parent / "recipes"]
    for file in sorted(file for room in rooms for file in room.glob("*.py")):
        owners = [
            ast.unparse(node.value)
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr == "load"
        ]
        bare = [c for c in owners if c.split(".")[-1] in ("data", "source", "dataset", "table")]
        assert len(bare) <= allowed.get(file.name, 0), (file.name, bare)
