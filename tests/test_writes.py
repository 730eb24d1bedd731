"""Nothing is written or deleted in place, whatever writes it."""

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest

import markovbridge
from markovbridge import CountModel, Transport
from markovbridge.cli import VERBS, main
from markovbridge.data import CountTable, write_results, write_table
from markovbridge.storage import files
from markovbridge.training import replacing
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
    "calibrate": [["--n", "2", "--draws", "3", "--levels", "[0.5]", *FEW]],
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
            for _ in range(2 if kind == "images" else 1):  # a second time over the first
                before = {path for path in run.rglob("*") if path.is_file()}
                with watched(run) as writes:
                    assert main([verb, str(run), *words]) == 0, (verb, words)
                assert writes.seen, verb
                found = writes.wrong()
                known = {f"never renamed {path.relative_to(run)}" for path in before}
                assert [w for w in found if w not in known] == [], verb
            # and `--overwrite true` knows that it is of the run
            assert {*run.iterdir()} == {*replacing._written(run)}, verb


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


# In the code: what writes, makes, moves or deletes, by any library, does it in `files`, or to the
# name that `files` gives it.
CHANGES = {
    *("write_text", "write_bytes", "writelines", "mkdir", "makedirs", "mkfifo", "mknod", "touch"),
    *("symlink_to", "hardlink_to", "symlink", "link", "unlink", "removedirs", "rmdir"),
    *("rmtree", "rename", "renames", "truncate", "ftruncate", "copy2", "copyfile", "copyfileobj"),
    *("copytree", "move", "chmod", "save_file", "savefig", "imsave", "savetxt", "savez", "tofile"),
    *("savez_compressed", "save_npz", "mmwrite", "to_csv", "to_parquet", "to_hdf", "to_excel"),
    *("to_pickle", "to_feather", "to_json_file", "write_h5ad", "write_zarr", "write_elem"),
    *("mkdtemp", "mkstemp", "TemporaryDirectory", "TemporaryFile", "NamedTemporaryFile"),
    *("FileHandler", "ZipFile", "GzipFile", "SummaryWriter"),
}
OWNERS = {
    "save": ("torch", "np", "numpy", "image", "Image"),
    "replace": ("os",),
    "copy": ("shutil",),
}
OPENS = {"open", "fdopen", "File", "ZipFile", "GzipFile"}
GIVEN = {"written", "written_together", "written_folder"}  # yield a name to write to
# Functions that may, and why.
KNOWN = {
    "data/tables/market.py _market": "unpacks into a temporary folder of the system",
    **{
        f"data/tables/{part}": "writers, given to `writing._write`, which gives them a name"
        for part in ("frames.py", "h5ad.py", "market.py", "npz.py", "text.py")
    },
    "storage/locks.py locked": "a lock is no content",
    "storage/locks.py _taken": "a lock is no content",
}


def called(node):
    """The name that is called, and what it is called of."""
    function = node.func
    if isinstance(function, ast.Attribute):
        owner = function.value
        return function.attr, owner.id if isinstance(owner, ast.Name) else ""
    return getattr(function, "id", ""), ""


def writes(node):
    """Whether a call writes: by its name, or as it opens a file with a mode to write."""
    name, owner = called(node)
    if name in OPENS:
        words = [*node.args, *(word.value for word in node.keywords)]
        said = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
        flags = any(
            isinstance(n, ast.Attribute) and n.attr.startswith("O_") for n in ast.walk(node)
        )
        return flags or any(len(text) < 4 and set(text) & set("wax+") for text in said)
    own = getattr(getattr(files, name, None), "__module__", "") == files.__name__
    if isinstance(node.func, ast.Name) and own:
        return False
    return name in CHANGES or owner in OWNERS.get(name, ())


def found_in(path, name):
    """The calls of a module that write and are not given a name to write to."""
    stack, found = [], []

    def visit(node):
        inner = isinstance(node, ast.FunctionDef | ast.With)
        if inner:
            stack.append(node)
        if isinstance(node, ast.Call) and writes(node):
            functions = [n.name for n in stack if isinstance(n, ast.FunctionDef)]
            items = [i.context_expr for n in stack if isinstance(n, ast.With) for i in n.items]
            given = any(isinstance(c, ast.Call) and called(c)[0] in GIVEN for c in items)
            places = {name, *(f"{name} {function}" for function in functions)}
            if not given and not places & KNOWN.keys():
                found.append(f"{name}:{node.lineno} {ast.unparse(node)[:60]}")
        for child in ast.iter_child_nodes(node):
            visit(child)
        if inner:
            stack.pop()

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def test_one_module_writes():
    root = Path(markovbridge.__file__).parent
    modules = {str(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
    assert found_in(modules.pop("storage/files.py"), "files.py")  # the search finds something
    assert [line for name, path in modules.items() for line in found_in(path, name)] == []


@pytest.mark.parametrize(
    "line",
    [
        *('open(p, "w")', 'p.open("ab")', 'open(p, mode="x")', 'io.open(p, "r+")', "p.touch()"),
        *("os.open(p, os.O_CREAT)", 'p.write_text("x")', "p.write_bytes(x)", "np.save(p, x)"),
        *("np.savez(p, x=x)", "frame.to_csv(p)", "frame.to_parquet(p)", "table.write_h5ad(p)"),
        *("figure.savefig(p)", "image.save(p)", "torch.save(x, p)", "save_file(x, p)"),
        *("p.mkdir()", "os.replace(p, q)", "p.unlink()", "shutil.rmtree(p)", "shutil.move(p, q)"),
        *('h5py.File(p, "r+")', 'zipfile.ZipFile(p, "w")', "logging.FileHandler(p)"),
    ],
)
def test_what_writes_is_found(tmp_path, line):
    for text, count in ((line, 1), (f"with written(q) as p:\n        {line}", 0)):
        (tmp_path / "module.py").write_text(
            f"def write(p, q, x):\n    {line}\n" if count else text
        )
        assert len(found_in(tmp_path / "module.py", "module.py")) == count
