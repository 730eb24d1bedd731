"""Data files and weights of a stranger: pickles, archives, links inside of HDF5.

As in `test_no_code` each probe is a file given to the verb or class that reads it.
"""

import json
import os
import pickle
import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
import torch

import markovbridge as mb
from hostile import CANARY, attacks, put, spec
from hostile_runs import every_verb
from markovbridge.cli import main
from markovbridge.data import CIFAR10, Arrays, CountTable, ImageFolder
from markovbridge.storage.files import sealed, unsealed


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture(scope="module")
def trained(places):
    return every_verb(places)


def test_archives(probe, tmp_path):
    """Members of an .npz with a way out of it."""
    failed, content = [], tmp_path / "plain.npy"
    np.save(content, np.zeros((3, 2), int))
    for name in ("../x.npy", "/tmp/x.npy", "..\\x.npy", "a/../../x.npy", "C:\\x.npy", "x\0.npy"):
        for source in (Arrays, CountTable):
            file = tmp_path / "deep" / "a.npz"
            file.parent.mkdir(exist_ok=True)
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(zipfile.ZipInfo(name), content.read_bytes())
                link = zipfile.ZipInfo("link.npy")
                link.external_attr = 0o120777 << 16
                archive.writestr(link, "/etc/hostname")
            there = {*tmp_path.rglob("*")}
            failed += probe(
                f"zip {name} {source.__name__}", lambda s=source, f=file: s(f).load() and 0
            )
            assert {*tmp_path.rglob("*")} == there
    assert failed == []


def hdf5_attacks(h5py, secret):
    """By name, what puts a member of an HDF5 file elsewhere."""

    def external(group, name, like):
        group[name] = h5py.ExternalLink(str(secret), "/secret")

    def storage(group, name, like):
        group.create_dataset(
            name, like.shape, like.dtype, external=[(str(secret), 0, like.nbytes)]
        )

    def virtual(group, name, like):
        layout = h5py.VirtualLayout(shape=like.shape, dtype=like.dtype)
        layout[...] = h5py.VirtualSource(str(secret), "secret", shape=like.shape)
        group.create_virtual_dataset(name, layout)

    def soft(group, name, like):
        group["far"] = h5py.ExternalLink(str(secret), "/")
        group[name] = h5py.SoftLink(f"{group.name.rstrip('/')}/far/secret")

    return {"external link": external, "storage": storage, "virtual": virtual, "soft": soft}


def test_hdf5(probe, tmp_path):
    """Every member of a table in turn lies in another file."""
    h5py, anndata = pytest.importorskip("h5py"), pytest.importorskip("anndata")
    from scipy import sparse

    counts = np.random.default_rng(0).poisson(1.0, (6, 4)).astype(np.int64)
    secret, failed = tmp_path / "secret.h5", []
    with h5py.File(secret, "w") as file:
        file["secret"] = np.arange(24).reshape(6, 4)
    for kind, X in (("sparse", sparse.csr_matrix(counts)), ("dense", counts)):
        whole = tmp_path / f"{kind}.h5ad"
        table = anndata.AnnData(X, layers={"raw": X})
        table.obs["batch"] = list("ababab")
        table.write_h5ad(whole)
        with h5py.File(whole) as file:
            every = []
            file.visit(every.append)
            names = [name for name in every if hasattr(file[name], "shape")]
        for name in names:
            for how, attack in hdf5_attacks(h5py, secret).items():
                bad = shutil.copy(whole, tmp_path / "bad.h5ad")
                with h5py.File(bad, "r+") as file:
                    like = file[name][...] if file[name].shape else np.zeros(1)
                    if like.dtype.kind == "O":
                        like = np.zeros(like.shape, "S8")
                    del file[name]
                    attack(file[name.rpartition("/")[0] or "/"], name.rpartition("/")[2], like)
                for layer in (None, "raw"):
                    act = partial(CountTable(bad, covariates=("batch",), layer=layer).load, "all")
                    failed += probe(f"hdf5 {kind} {name} {how} {layer}", lambda a=act: a() and 0)
    assert failed == []


def test_batches_images_weights_and_tables(places, probe, tmp_path, trained):
    """Pickles and programs where data are wanted."""
    traces = str(places / "traces")
    calls = [Calls(os.system, f"touch {traces}"), Calls(open, traces, "w")]
    calls += [Calls(eval, f"open({traces!r}, 'w')"), Calls(__import__, CANARY)]
    failed, cifar = [], tmp_path / "cifar-10-batches-py"
    cifar.mkdir()
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    for number, call in enumerate(calls):
        for protocol in range(6):
            for value in (call, {b"data": call, b"labels": [1]}, {call: 1}):
                for name in [
                    *(f"data_batch_{k}" for k in range(1, 6)),
                    "test_batch",
                    "batches.meta",
                ]:
                    (cifar / name).write_bytes(pickle.dumps(value, protocol))
                act = lambda: CIFAR10(tmp_path).load() and 0  # noqa: E731
                failed += probe(f"cifar {number} {protocol} {type(value).__name__}", act)
        torch.save({"x": call}, tmp_path / "weights.pt")
        (tmp_path / "bare.pt").write_bytes(pickle.dumps(call))
        for network in ("mobilenet", "inception"):
            for name in ("weights.pt", "bare.pt"):
                words = ["evaluate", str(trained), "--extractor", f"{network}:{tmp_path / name}"]
                failed += probe(f"weights {network} {name} {number}", partial(main, words))
        for suffix in (
            "csv",
            "csv.gz",
            "tsv",
            "parquet",
            "h5ad",
            "h5",
            "mtx",
            "npz",
            "pkl",
            "pickle",
        ):
            file = tmp_path / f"table.{suffix}"
            file.write_bytes(pickle.dumps(call))
            table = tmp_path / "counts.npz"
            np.savez(table, counts=np.ones((4, 2), int))
            for how, act in {
                "table": lambda f=file: CountTable(f).load("all") and 0,
                "obs": lambda f=file, t=table: (
                    CountTable(t, obs=f, covariates=("a",), validation=0.0, test=0.0).load("all")
                    and 0
                ),
            }.items():
                failed += probe(f"{how} {suffix} {number}", act)
    programs = {"eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) (w) file\n"}
    programs |= {"svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"}
    programs |= {"pickle": pickle.dumps(calls[0]), "gif": b"GIF89a", "psd": b"8BPS\0\1"}
    for name, content in programs.items():
        (images / "a.png").write_bytes(content)
        folder = ImageFolder(tmp_path / "images")
        failed += probe(f"image {name}", lambda f=folder: f.load("all") and 0)
    assert failed == []


def test_extension_types_of_parquet(places, probe, tmp_path):
    """A column type whose definition is a pickle, as old versions of Arrow read it."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    evil = pickle.dumps(Calls(open, str(places / "traces"), "w"))
    meta = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    column = pa.array([1, 2, 3])
    schema = pa.schema([pa.field("a", column.type, metadata=meta), pa.field("b", column.type)])
    pq.write_table(pa.table([column, column], schema=schema), tmp_path / "t.parquet")
    table = CountTable(tmp_path / "t.parquet", validation=0.0, test=0.0)
    assert probe("parquet type", lambda: table.load("all") and 0, may_pass=True) == []


def test_fields_of_count_models(places, probe, tmp_path):
    failed, folder = [], shutil.copytree(places / "counts", tmp_path / "counts")
    file = folder / "count_model.json"
    config = json.loads(file.read_text())
    for key in [*config, "unknown"]:
        for path, arguments in attacks(places / "traces")[::4]:
            file.write_text(json.dumps({**config, key: spec(path, arguments)}))
            act = lambda: mb.CountModel.load(folder) and 0  # noqa: E731
            failed += probe(f"counts {key} {path}", act, may_pass=True)
    file.write_text(json.dumps(config))
    inner = folder / "model" / "config.json"
    config = unsealed(json.loads(inner.read_text()))
    for path, arguments in attacks(places / "traces"):
        inner.write_text(sealed(put(config, "network", spec(path, arguments))))
        failed += probe(f"counts model {path}", lambda: mb.CountModel.load(folder) and 0)
    assert failed == []
