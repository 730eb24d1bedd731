"""Nothing is written or deleted in place, whatever writes it."""

import shutil

import numpy as np
import pytest

from markovbridge import CountModel, Transport
from markovbridge.cli import VERBS, main
from markovbridge.data import CountTable, write_results, write_table
from writes import watched

TINY = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
TINY += ["--trainer.warmup", "1", "--trainer.batch_size", "4", "--trainer.steps", "4"]
TINY += ["--trainer.checkpoint_every", "2", "--trainer.keep", "1", "--trainer.log_every", "2"]
DRAWN = ["--trainer.sample_every", "4", "--trainer.samples", "2", "--trainer.sample_steps", "2"]
FEW = ["--steps", "2", "--threads", "1"]
THINNED = ["--survival", "0.3", "--n", "1", "--draws", "19"]
# What each verb that writes is called with, first with a run of images, then with one of a table.
CALLS = {
    "train": [TINY + ["--overwrite", "true"]],
    "sample": [["--n", "20", *FEW]],
    "translate": [["--n", "3", *FEW, "--input", "rows.npy"]],
    "restore": [[*THINNED, *FEW]],
    "impute": [["--observed", "random:0.5", "--n", "1", "--draws", "19", "--rounds", "1", *FEW]],
    "evaluate": [["--n", "20", "--likelihood", "2", "--looks", "2"]],
    "diagnose": [["--n", "4", "--pieces", "2"]],
    "report": [[]],
    "inspect": [["--points", "2", "--states", "2", "--times", "2"]],
}
SILENT = {"recipes", "data"}


def test_every_verb_is_here():
    assert VERBS.keys() == CALLS.keys() | SILENT


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (60, 4))
    write_table(base / "cells.csv", counts, column_names=list("abcd"))
    np.save(base / "rows.npy", np.zeros((3, 1, 8, 8), dtype=np.int64))
    for name, recipe in (("images", "digits"), ("table", str(base / "cells.csv"))):
        words = ["train", recipe, "--output", str(base / name), *TINY]
        with watched(base / name) as writes:
            assert main([*words, *(DRAWN if name == "images" else [])]) == 0
        assert writes.seen and writes.wrong() == []
        with watched(base / name) as writes:
            assert main([*words, "--resume", "true", *(DRAWN if name == "images" else [])]) == 0
        assert writes.seen and [w for w in writes.wrong() if "never renamed" not in w] == []
    return base


@pytest.mark.parametrize("kind", ["images", "table"])
def test_verbs_write_beside_and_rename(runs, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(runs)
    run = shutil.copytree(runs / kind, tmp_path / kind)
    for verb in ("sample", *(verb for verb in CALLS if verb not in ("sample", "train")), "train"):
        if verb == "translate" and kind == "table":
            continue
        for words in CALLS[verb]:
            for _ in range(2):  # a second time over the first
                before = {path for path in run.rglob("*") if path.is_file()}
                with watched(run) as writes:
                    assert main([verb, str(run), *words]) == 0, (verb, words)
                assert writes.seen, verb
                found = writes.wrong()
                known = {f"never renamed {path.relative_to(run)}" for path in before}
                assert [w for w in found if w not in known] == [], verb


def test_models_are_written_beside_and_renamed(tmp_path):
    table = np.random.default_rng(0).poisson(2.0, (30, 3))
    model = CountModel(width=4, depth=1, steps=4, batch_size=4, random_state=0)
    for act in (
        lambda folder: model.fit(table, directory=folder),
        lambda folder: model.save(folder / "saved"),
        lambda folder: model.transport_.save_pretrained(folder / "pretrained"),
    ):
        for _ in range(2):
            with watched(tmp_path) as writes:
                act(tmp_path)
            assert writes.seen
            assert [w for w in writes.wrong() if "never renamed" not in w] == []
    assert Transport.from_pretrained(tmp_path / "pretrained").shape == (3,)


SUFFIXES = ["h5ad", "csv", "csv.gz", "tsv", "tsv.gz", "parquet", "npz", "mtx", "mtx.gz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_are_written_beside_and_renamed(tmp_path, suffix):
    for package in {"h5ad": ["anndata"], "parquet": ["pyarrow"]}.get(suffix, ["pandas"]):
        pytest.importorskip(package)
    counts = np.random.default_rng(0).poisson(1.0, (12, 3))
    rows = [f"r{k}" for k in range(12)]
    file, columns = tmp_path / f"cells.{suffix}", {"batch": ["a", "b"] * 6}
    for again in (False, True):
        with watched(tmp_path) as writes:
            write_table(file, counts, row_names=rows, columns=columns, overwrite=again)
        assert writes.seen and writes.wrong() == []
    told = {} if suffix.startswith(("npz", "mtx", "h5ad")) else {"ignore": ("batch",)}
    source = CountTable(file, validation=0.0, test=0.0, **told)
    assert np.array_equal(np.asarray(source.load("all").x.numpy()), counts)
    if suffix.endswith("gz"):
        assert all(p.read_bytes()[:2] == b"\x1f\x8b" for p in tmp_path.iterdir())
    results = {"mean": counts + 0.5, "low": counts}
    for _ in range(2):
        with watched(tmp_path) as writes:
            write_results(source, file.with_name(f"results.{suffix}"), results, overwrite=True)
        assert writes.seen
        assert [w for w in writes.wrong() if "never renamed cells" not in w] == []
