"""What a stranger's files may try beside naming a class: links, pipes, pages, options.

As in `test_no_code` each probe is a file given to the verb that reads it.
"""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
import yaml

from hostile import CANARY, RECIPE, attacks, counted, put, spec, texts
from hostile_runs import CALLS, TINY, every_verb
from markovbridge.cli import VERBS, main
from markovbridge.storage.files import sealed, unsealed
from pages import Page

LEAST = 200


@pytest.fixture(scope="module")
def trained(places):
    return every_verb(places)


def test_every_verb_is_here():
    assert CALLS.keys() | {"recipes", "data"} == VERBS.keys()


# JSON that runs write


def places_in(value, way=()):
    """The way to everything in a JSON value."""
    yield way
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(item, (*way, key))


def changed(value, way, new):
    if not way:
        return new
    found = dict(value) if isinstance(value, dict) else list(value)
    found[way[0]] = changed(value[way[0]], way[1:], new)
    return found


def test_json(trained, probe, tmp_path, places):
    failed, run = [], shutil.copytree(trained, tmp_path / "run")
    hostile = [spec(f"{CANARY}.Net", {}), spec("os.system", {"command": f"touch {places}/traces"})]
    readers = {"data.json": "sample", "evaluation.json": "report", "likelihood.json": "report"}
    readers |= {"diagnostics.json": "report", "checkpoints/step-00000002/state.json": "train"}
    for name, verb in readers.items():
        file = run / name
        before = file.read_text()
        record = json.loads(before)
        plain = unsealed(record) if "sha256" in record else record
        ways = [way for way in places_in(plain) if len(way) < (3 if verb == "train" else 9)]
        for index, way in enumerate(ways[:: max(1, len(ways) // 20)]):
            for value in hostile[index % 2 :][:1]:
                new = changed(plain, way, value)
                file.write_text(sealed(new) if "sha256" in record else json.dumps(new))
                act = partial(main, [verb, str(run), *CALLS[verb]])
                failed += probe(f"json {name} {way} {value}", act, may_pass=True)
        if verb == "train":
            shutil.rmtree(run)
            shutil.copytree(trained, run)
        file.write_text(before)
    assert failed == []


def test_names_of_files_in_a_checkpoint_stay_in_it(trained, probe, tmp_path):
    failed, secret = [], tmp_path / "secret.safetensors"
    shutil.copy(trained / "checkpoints/step-00000002/model.safetensors", secret)
    for name in ("../../../secret", str(secret)[: -len(".safetensors")], "a/../../../../secret"):
        run = shutil.copytree(trained, tmp_path / f"run{len(failed)}{len(name)}")
        secret.touch()
        for step in (run / "checkpoints").glob("step-*"):
            record = unsealed(json.loads((step / "state.json").read_text()))
            record["files"][name] = record["files"].pop("model")
            (step / "state.json").write_text(sealed(record))
            (step / "model.safetensors").unlink()
        words = ["sample", str(run), "--weights", "raw", *CALLS["sample"]]
        failed += probe(f"path {name}", partial(main, words))
    assert failed == []


# Links and pipes in a run folder

FILES = ("log.txt", "metrics.jsonl", "samples.npz", "report.html", ".samples.npz.new")
FILES += (".report.html.new", ".config.yaml.new", ".training.lock", ".samples.lock")
FILES += (".report.lock", ".evaluation.json.new", ".evaluation.lock", ".metrics.jsonl.new")
FOLDERS = (".model.new", ".model.previous", ".model.gone", "samples.parts", ".replaced")
FOLDERS += (".samples.parts.gone", "checkpoints/.step-00000003.new", "checkpoints/.step-3.gone")


VERBS_OF_A_RUN = ("sample", "report", "evaluate", "train", "overwrite")


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_links_do_not_lead_out_of_a_run(trained, probe, tmp_path, name, pytestconfig):
    """What a link in the folder leads to is neither written to nor deleted.

    Verbs take turns, as do links to something and to nothing: each link meets one, and all with
    `--whole`.
    """
    failed, first = [], [*FILES, *FOLDERS].index(name)
    verbs = [VERBS_OF_A_RUN[(first + k) % 5] for k in range(5)]
    whole = pytestconfig.getoption("whole")
    ways = (False, True) if name in FILES else (False,)
    for dangling in ways if whole else ways[first % len(ways) :][:1]:
        for verb in verbs if whole else verbs[2 * dangling :][:1]:
            root = tmp_path / f"{verb}{dangling}"
            run = shutil.copytree(trained, root / "run")
            mine = root / "mine"
            if name in FOLDERS:
                mine.mkdir()
                (mine / "precious.txt").write_text("mine")
            elif not dangling:
                mine.write_text("mine")
            before = {p: p.is_file() and p.read_bytes() for p in [mine, *mine.rglob("*")]}
            there = mine.exists()
            link = run / name
            if link.is_dir():
                shutil.rmtree(link)
            link.unlink(missing_ok=True)
            link.symlink_to(mine)
            words = [verb, str(run), *CALLS.get(verb, [])]
            if verb == "overwrite":
                words = ["train", "digits", "--output", str(run), *TINY, "--overwrite", "true"]
            elif verb == "train":
                words += ["--trainer.steps", "3"]
            failed += probe(f"link {name} {verb} {dangling}", partial(main, words), may_pass=True)
            after = {p: p.is_file() and p.read_bytes() for p in [mine, *mine.rglob("*")]}
            if mine.exists() != there or after != before:
                failed.append(f"{verb} changed what {name} leads to")
    assert failed == []


def test_pipes_do_not_hang(trained, probe, tmp_path, pytestconfig):
    """A pipe in place of any file of a run, of which nobody writes the other end.

    Verbs take turns: one meets a file, and all do with `--whole`.
    """
    failed, verbs = [], ("sample", "report", "evaluate", "train")
    inside = [p.relative_to(trained) for p in sorted(trained.rglob("*")) if p.is_file()]
    for index, name in enumerate(inside):
        run = shutil.copytree(trained, tmp_path / str(index))
        (run / name).unlink()
        os.mkfifo(run / name)
        for verb in verbs if pytestconfig.getoption("whole") else verbs[index % 4 :][:1]:
            words = [verb, str(run), *CALLS[verb]]
            if verb == "sample":
                words += ["--weights", "raw"]
            failed += probe(f"pipe {name} {verb}", partial(main, words), may_pass=True)
        shutil.rmtree(run)
    assert failed == []


# Pages

MARK = "<img src=x onerror=alert(1)>'\"&"


class Live(Page):
    """A page that remembers what would run."""

    live = ()

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if tag in ("script", "iframe", "object", "embed") or any(
            n.startswith("on") for n in names
        ):
            self.live = (*self.live, tag)
        super().handle_starttag(tag, attributes)


def test_pages(trained, probe, tmp_path, places):
    """Every value that a report reads, replaced by a tag that would run."""
    failed, run = [], shutil.copytree(trained, tmp_path / "run")

    def look(name):
        failed.extend(probe(f"page {name}", partial(main, ["report", str(run)]), may_pass=True))
        page = run / "report.html"
        if page.exists():
            try:
                assert not Live(page).live
            except AssertionError as error:
                failed.append(f"page {name}: {error}")
            page.unlink()

    for name in ("evaluation.json", "likelihood.json", "diagnostics.json"):
        before = (run / name).read_text()
        ways = [*places_in(json.loads(before))]
        for way in ways[:: max(1, len(ways) // 20)]:
            (run / name).write_text(json.dumps(changed(json.loads(before), way, MARK)))
            look(f"{name} {way}")
        (run / name).write_text(before)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for way in [*places_in(config)]:
        (run / "config.yaml").write_text(yaml.safe_dump(changed(config, way, MARK)))
        look(f"config.yaml {way}")
    (run / "config.yaml").write_text(yaml.safe_dump({**config, MARK: MARK}))
    look("config.yaml key")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for name in ("samples.npz", "restored.npz", "imputed.npz", "translated.npz"):
        before = (run / name).read_bytes()
        with np.load(run / name) as file:
            arrays = dict(file)
        meta = json.loads(str(arrays["meta"]))
        for way in places_in(meta):
            new = json.dumps(changed(meta, way, MARK))
            np.savez(run / name, **{**arrays, "meta": np.array(new)})
            look(f"{name} {way}")
        np.savez(run / name, **arrays, **{MARK: np.zeros(2)})
        look(f"{name} key")
        (run / name).write_bytes(before)
    for name in ("log.txt", "metrics.jsonl"):
        with (run / name).open("a") as file:
            file.write(f"{MARK}\n" if name == "log.txt" else json.dumps({"step": 9, "loss": MARK}))
        look(name)
    os.rename(run, tmp_path / MARK.replace("/", ""))
    run = tmp_path / MARK
    look("the name of the folder")
    assert failed == []


# Options that are files


def test_options_do_not_read_files(trained, probe, tmp_path, places):
    """No option takes its values from a file that it names, whatever the file holds."""
    failed, file = [], tmp_path / "evil.yaml"
    path, arguments = attacks(places / "traces")[0]
    kinds = {
        "whole": yaml.safe_dump(put(RECIPE, "network", spec(path, arguments))),
        "class": yaml.safe_dump(spec(path, arguments)),
        "canary": yaml.safe_dump(spec(f"{CANARY}.Net", {})),
        "tag": next(iter(texts(places / "traces").values())),
    }
    options = ("config", "cfg", "data", "process", "network", "head", "objective", "coupling")
    options += ("masking", "trainer", "sampler", "data.config", "trainer.config")
    for kind, text in kinds.items():
        file.write_text(text)
        for option in options:
            for verb in (
                ("train", "sample", "evaluate") if option in ("config", "data") else ("train",)
            ):
                target = "digits" if verb == "train" else str(trained)
                for value in (str(file), f"@{file}"):
                    words = [verb, target, f"--{option}", value]
                    words += ["--dry_run", "true"] if verb == "train" else CALLS[verb]
                    act = partial(main, words)
                    failed += probe(f"option --{option} {value[0]} {kind} {verb}", act)
    assert failed == []


OWN = """
import torch
from dataclasses import dataclass
from markovbridge.data import Digits

@dataclass(frozen=True)
class Mine(Digits):
    pass
"""


def test_a_class_of_ones_own_is_named_on_the_command_line_only(
    places, probe, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{CANARY}_own.py").write_text(OWN)
    file = tmp_path / "recipe.yaml"
    path = f"{CANARY}_own.Mine"
    file.write_text(yaml.safe_dump({**RECIPE, "objective": "PathKL", "coupling": "Noised"}))
    words = ["train", str(file), "--dry_run", "true"]
    assert main([*words, "--data", path]) == 0
    file.write_text(yaml.safe_dump({**RECIPE, "data": path}))
    assert probe("own class in a file", lambda: main(words)) == []
    file.write_text(yaml.safe_dump({**RECIPE, "data": spec(path, {"validation": 0.1})}))
    assert probe("own class in a file, with options", lambda: main(words)) == []


def test_there_were_enough_of_them(capsys, record_property, pytestconfig):
    if not pytestconfig.getoption("whole") or "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("counts the probes of the tests before it: pytest --whole -n0")
    counted(record_property, capsys, LEAST)
