"""Whatever reads files, given damaged and hostile ones: nothing dies, hangs, or moves a count.

The campaign at full length is `benchmarks/fuzz_readers.py`; see `damage` for what is done.
"""

import ast
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import markovbridge
import markovbridge.data
from damage.campaign import GOOD, Campaign, campaign
from damage.folders import folders
from damage.hostile import Damage
from damage.samples import Format, formats, readable
from damage.truth import Impossible, compressed

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "fuzz_readers.py"
FILES = 41  # one of each format

# Modules that read files, and the formats of which the campaign goes through them.
READ_BY = {
    "cli.blocks": "blocks",
    "cli.given": "npz of arrays",  # by the function that reads these
    "recipes.options.from_file": "recipe",
    "cli.report": "run folder",
    "counts.files": "count model",
    "data.arrays": "npz of arrays",
    "data.cifar": "CIFAR-10",
    "data.deep": "deep images",
    "data.folders": "images .png",
    "data.idx": "idx",
    "data.pairs": "pairs",
    "data.tables.frames": ".csv",
    "data.tables.h5ad": "h5ad",
    "data.tables.market": "folder matrix.mtx",
    "data.tables.members": "10x",
    "data.tables.npz": "npz csr",
    "data.tables.source": "table as an object",
    "data.tables.stored": "h5ad",
    "data.tables.tenx": "10x",
    "data.tables.text": ".csv",
    "transport.saved": "model",
    "training.trained_on": "run folder",
    "training.checkpoint": "run folder",
    "training.run_folder": "run folder",
}
# And those whose files are no data of anybody else, and why.
OTHERWISE = {
    "cli.listing": "recipes of this package",
    "data.digits": "a file of this package",
    "data.unpacking": "archives of other packages, whose members are read: `test_unpacking.py`",
    "storage.documents": "what the others read by",
    "storage.files": "writes",
    "doors.annotations": "the source of this package",
    "storage.locks": "locks",
    "storage.kept": "a cache, of which what is damaged is computed again: `test_kept.py`",
    "cli.results": "arrays of a run, of which only how they were made is read",
    "recipes.loading": "the warm-up of a recipe, which `from_file` reads whole",
    "evaluation.calibration": "figures that `run_folder` reads; by itself only whose they are",
    "evaluation.metrics.extractors": "files of weights whose hash is known",
    "storage.reading": "what the others read by",
    "recipes.files": "recipes of this package",
    "evaluation.report.html": "a style of this package",
    "evaluation.report.pictures": "pictures that go into a page as they are",
    "training.log": "lines of a log, of which those that are damaged are dropped",
    "data.tables.writing": "writes",
    "simulated.fitting": "weights, read by `reading.tensors` as those of a model are",
}
READS = {"array_file", "reading", "read_json", "read_yaml", "load_json", "tensors", "unpacked"}
READS |= {"open", "read_bytes", "read_text", "safe_open", "read_csv", "read_parquet"}
READS |= {"np.load", "torch.load"}
OURS = {"self.open", "trainer.open", "self.learner.tensors"}  # methods of ours


def readers():
    """The modules of the package that read files, seen by what they call."""
    base = Path(markovbridge.__file__).parent
    for path in sorted(base.rglob("*.py")):
        name = ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        called = {ast.unparse(call.func) for call in calls} - OURS
        if READS & {*called, *(full.rpartition(".")[2] for full in called)}:
            yield name


def test_a_campaign_finds_nothing():
    results = list(campaign(range(FILES), 1))
    counts = Counter(result.verdict for result in results)
    assert len(results) == FILES
    assert [result for result in results if result.verdict not in GOOD] == []
    assert counts["ours"] > FILES / 2  # it is no campaign of harmless damage


@pytest.mark.whole
def test_the_campaign_is_a_command():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--files", str(FILES), "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    every = re.search(r"^all +(.*)$", done.stdout, re.MULTILINE)[1]
    counts = list(map(int, every.split()))
    assert sum(counts) == sum(counts[: len(GOOD)]) == FILES
    assert counts[GOOD.index("ours")] > FILES / 2  # it is no campaign of harmless damage


def test_every_reader_has_a_sample():
    names = {entry.name for entry in (*formats(), *folders())}
    assert set(READ_BY.values()) <= names
    found = set(readers())
    assert found - READ_BY.keys() - OTHERWISE.keys() == set(), "give it a sample, or a reason"
    assert READ_BY.keys() - found == set()


def test_a_source_without_a_sample_is_seen(monkeypatch):
    monkeypatch.setattr(markovbridge.data.folders, "SUFFIXES", (".png", ".jpg", ".jpeg", ".webp"))
    assert ("ImageFolder", ".webp") in readable()
    place = {"__module__": "markovbridge.data.arrays"}
    tables = type("Tables", (markovbridge.data.Arrays,), place)
    monkeypatch.setattr(markovbridge.data, "__all__", [*markovbridge.data.__all__, "Tables"])
    monkeypatch.setattr(markovbridge.data, "Tables", tables, raising=False)
    with pytest.raises(LookupError, match="'Tables', '.npy'.*have no sample"):
        formats()


def text(folder):
    return (folder / "x.txt").read_text()


def dying(folder):
    if text(folder) != "good":
        os.kill(os.getpid(), signal.SIGSEGV)


def hanging(folder):
    while text(folder) != "good":
        pass


def foreign(folder):
    return {"good": 1}[text(folder)]


def unnamed(folder):
    if text(folder) != "good":
        raise ValueError("it is damaged")


def ours(folder):
    if text(folder) != "good":
        raise ValueError(f"{folder / 'x.txt'} is damaged; write it again")


def running(folder):
    if text(folder) != "good":
        subprocess.run(["true"], check=True)


def greedy(folder):
    return len(bytearray(1 if text(folder) == "good" else 2**33))


def careless(folder):
    return len(text(folder)) and [[1]]


@pytest.mark.parametrize(
    ("read", "certain", "verdict"),
    [
        (dying, False, "death"),
        (hanging, False, "hang"),
        (foreign, False, "foreign"),
        (unnamed, False, "unnamed"),
        (ours, True, "ours"),
        (running, False, "ran"),
        (greedy, False, "foreign"),
        (careless, False, "equal"),
        (careless, True, "passed"),
        (text, False, "changed"),
    ],
)
def test_verdicts(tmp_path, monkeypatch, read, certain, verdict):
    def damaged(folder, rng, outside):
        (folder / "x.txt").write_text("bad")
        return Damage(folder / "x.txt", "overwritten", certain)

    monkeypatch.setattr("damage.hostile.damage", damaged)
    monkeypatch.setattr("damage.campaign.SECONDS", 1)
    entry = Format("mine", ("mine", ""), lambda f: (f / "x.txt").write_text("good"), read, "text")
    result = Campaign([entry], tmp_path).run(0, 0)
    assert (result.verdict, result.victim) == (verdict, "x.txt")


def test_a_count_that_moves_is_seen(tmp_path, monkeypatch):
    """A reader of scipy's arrays that takes an index as it comes, as numpy does."""

    def trusting(folder):
        with np.load(folder / "table.npz") as file:
            out = np.zeros(file["shape"], int)
            rows = np.repeat(np.arange(len(out)), np.diff(file["indptr"]))
            np.add.at(out, (rows, file["indices"]), file["data"])
            return [out.tolist()]

    def damaged(folder, rng, outside):
        with np.load(folder / "table.npz") as file:
            arrays = dict(file)
        arrays["indices"][3] = -2
        np.savez(folder / "table.npz", **arrays)
        return Damage(folder / "table.npz", "an index", False)

    matrix = sparse.csr_matrix(np.arange(12).reshape(3, 4))
    entry = Format(
        *("npz csr", ("CountTable", ".npz")),
        *(lambda f: sparse.save_npz(f / "table.npz", matrix), trusting, "csr"),
    )
    monkeypatch.setattr("damage.hostile.damage", damaged)
    result = Campaign([entry], tmp_path).run(0, 0)
    assert (result.verdict, result.detail) == ("moved", "read, though index -2")


def test_the_second_reading():
    table = np.array([[0, 3, 0], [0, 0, 0], [1, 0, 2], [0, 4, 0]])
    csr, csc, bsr = (sparse.csr_matrix(table).asformat(f) for f in ("csr", "csc", "csr"))
    wanted = table.tolist()
    assert compressed(csr.data, csr.indices, csr.indptr, (4, 3)) == wanted
    assert compressed(csc.data, csc.indices, csc.indptr, (4, 3), by_column=True) == wanted
    bsr = sparse.bsr_matrix(table, blocksize=(2, 3))
    parts = bsr.data, bsr.indices, bsr.indptr
    assert compressed(*parts, (4, 3), block=(2, 3)) == wanted
    for index, at in ((-1, 0), (3, 2)):
        indices = csr.indices.copy()
        indices[at] = index
        with pytest.raises(Impossible, match=f"index {index}"):
            compressed(csr.data, indices, csr.indptr, (4, 3))
    for pointers in ([0, 1, 1, 3, 3], [1, 1, 1, 3, 4], [0, 3, 1, 3, 4], [0, 1, 1, 4]):
        with pytest.raises(Impossible):
            compressed(csr.data, csr.indices, pointers, (4, 3))
