"""A small good file of every format that the package reads, and how it is read."""

import dataclasses
import gzip
import importlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import io, sparse

import markovbridge.data
from markovbridge.data import CIFAR10, IDX, Arrays, CountTable, ImageFolder, Pairs, Source
from markovbridge.data.compressed import FORMATS
from markovbridge.data.rows import dense
from markovbridge.data.tables import registry

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(0.6, (30, 8)) * RNG.integers(1, 9, (30, 8))
COUNTS[4], COUNTS[9, 3] = 0, 40_000
ROWS = tuple(f"cell{k}" for k in range(30))
COLUMNS = tuple(f"gene{k}" for k in range(8))
OBS = pd.DataFrame({"batch": pd.Categorical(["b", "a"] * 15), "age": np.arange(30.0)}, index=ROWS)


@dataclass(frozen=True)
class Format:
    """A format: what it is called, a file of it, and how that is read.

    Attributes:
        name: Its name here.
        covers: The source and the suffix that it stands for.
        write: Writes a good sample into an empty folder.
        read: Reads it from there, as plain values that compare.
        kind: What it can be damaged as: "csr", ..., "h5ad", "10x", "npz", "text", "pickle", ...
    """

    name: str
    covers: tuple[str, str]
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    kind: str


def plain(data):
    """All of a data set, as values that compare."""
    parts = (data.labels, data.condition, data.observed)
    values = [None if part is None else part.nan_to_num(-1).tolist() for part in parts]
    return [dense(data.x).tolist(), *values, data.row_names, data.column_names]


def load(make, folder):
    """Read all of a source in a folder."""
    return plain(make(folder).load("all"))


def table(name, **fields):
    """How a count table of that name is read."""
    return partial(load, lambda folder: CountTable(folder / name, **fields))


def write_h5ad(folder, form=sparse.csr_matrix):
    raw = anndata.AnnData(2 * COUNTS[:, :3], var=pd.DataFrame(index=COLUMNS[:3]))
    layers = {"counts": sparse.csr_matrix(COUNTS)}
    around = {"obs": OBS.copy(), "var": pd.DataFrame(index=COLUMNS), "layers": layers}
    data = anndata.AnnData(form(COUNTS.astype(np.float32)), **around)
    data.raw = raw
    data.write_h5ad(folder / "table.h5ad")


def write_10x(folder, version=3):
    csr = sparse.csr_matrix(COUNTS)
    with h5py.File(folder / "table.h5", "w") as file:
        group = file.create_group("matrix" if version == 3 else "hg19")
        for name in ("data", "indices", "indptr"):
            group.create_dataset(name, data=getattr(csr, name), compression="gzip")
        group["shape"] = np.array(COUNTS.shape[::-1], np.int32)
        names = ("features/name", "features/id") if version == 3 else ("gene_names", "genes")
        for name, values in zip(("barcodes", *names), (ROWS, COLUMNS, COLUMNS), strict=True):
            group[name] = np.array(values, "S")


def write_mtx(folder, name, names=True):
    zipped = name.endswith(".gz")
    io.mmwrite(folder / "plain.mtx", sparse.coo_matrix(COUNTS.T))
    texts = {name: (folder / "plain.mtx").read_bytes()}
    (folder / "plain.mtx").unlink()
    if names:
        end = ".tsv.gz" if zipped else ".tsv"
        texts[f"barcodes{end}"] = "".join(f"{row}\n" for row in ROWS).encode()
        texts[f"features{end}"] = "".join(f"E{c}\t{c}\tGene\n" for c in COLUMNS).encode()
    for file, text in texts.items():
        (folder / file).write_bytes(gzip.compress(text) if zipped else text)


def write_frame(folder, name):
    frame = pd.DataFrame(COUNTS, index=list(ROWS), columns=list(COLUMNS))
    frame.insert(2, "batch", list(OBS["batch"]))
    if name.endswith(".parquet"):
        frame.to_parquet(folder / name)
    else:
        frame.to_csv(folder / name, sep="\t" if ".tsv" in name else ",")


def write_beside(folder):
    write_frame(folder, "table.csv")
    OBS.to_csv(folder / "obs.csv")


def write_npz(folder, **arrays):
    np.savez_compressed(folder / "table.npz", **arrays)


def write_sparse(folder, kind):
    matrix = sparse.csr_matrix(COUNTS).asformat(kind)
    blocks = sparse.bsr_matrix(COUNTS, blocksize=(2, 2))
    sparse.save_npz(folder / "table.npz", blocks if kind == "bsr" else matrix)


def write_idx(folder, zipped):
    for prefix, n in (("train", 12), ("t10k", 5)):
        for name, values in (
            ("images-idx3", np.arange(n * 12).reshape(n, 4, 3)),
            ("labels-idx1", np.arange(n) % 10),
        ):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            content = header + values.astype(np.uint8).tobytes()
            path = folder / f"{prefix}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)


def write_cifar(folder):
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    for k, name in enumerate(names):
        data = ((np.arange(3 * 3072) * 7 + k) % 251).astype(np.uint8).reshape(3, 3072)
        content = {b"data": data, b"labels": [k, 1, 2]}
        (folder / name).write_bytes(pickle.dumps(content, 2))
    labels = [b"c%d" % k for k in range(10)]
    meta = {b"num_cases_per_batch": 3, b"label_names": labels}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, 2))


def write_images(folder, suffix):
    for k in range(3):
        pixels = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}{suffix}")


def write_deep(folder):
    for k in range(3):
        counts = RNG.integers(0, 2**16, (12, 12), dtype=np.uint16)
        Image.fromarray(counts).save(folder / f"{k}.png")


def tables():
    """Count tables."""
    batch = {"covariates": ("batch",)}
    yield "h5ad", ".h5ad", write_h5ad, table("table.h5ad", **batch), "h5ad"
    yield "h5ad backed", ".h5ad", write_h5ad, table("table.h5ad", backed=True), "h5ad"
    csc = partial(write_h5ad, form=sparse.csc_matrix)
    yield "h5ad csc", ".h5ad", csc, table("table.h5ad"), "h5ad"
    yield "h5ad missing", ".h5ad", write_h5ad, table("table.h5ad", missing=True), "h5ad"
    yield "h5ad layer", ".h5ad", csc, table("table.h5ad", layer="counts"), "h5ad layer"
    dense_form = partial(write_h5ad, form=np.asarray)
    yield "h5ad dense", ".h5ad", dense_form, table("table.h5ad"), "h5ad dense"
    yield "10x", ".h5", write_10x, table("table.h5"), "10x"
    yield "10x backed", ".h5", write_10x, table("table.h5", backed=True), "10x"
    old = partial(write_10x, version=2)
    yield "10x version 2", ".h5", old, table("table.h5"), "10x version 2"
    for name in ("matrix.mtx", "matrix.mtx.gz"):
        suffix = name.removeprefix("matrix")
        yield f"folder {name}", suffix, partial(write_mtx, name=name), table(""), "mtx"
        bare = partial(write_mtx, name=name, names=False)
        yield f"bare {name}", suffix, bare, table(name, transpose=True), "mtx"
    for suffix in (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet"):
        kind = "parquet" if suffix == ".parquet" else "text"
        write = partial(write_frame, name=f"table{suffix}")
        yield suffix, suffix, write, table(f"table{suffix}", **batch), kind
    beside = partial(
        load, lambda f: CountTable(f / "table.csv", obs=f / "obs.csv", ignore=("batch",), **batch)
    )
    yield "csv with obs", ".csv", write_beside, beside, "text"
    for kind in FORMATS:
        yield f"npz {kind}", ".npz", partial(write_sparse, kind=kind), table("table.npz"), kind
    arrays = {"words": COUNTS, "row_names": ROWS, "column_names": COLUMNS, "batch": OBS["batch"]}
    arrays = {name: np.array(values) for name, values in arrays.items()}
    arrays["batch"] = arrays["batch"].astype(str)
    yield "npz", ".npz", partial(write_npz, **arrays), table("table.npz", **batch), "npz"


def formats() -> list[Format]:
    """Every format.

    Raises:
        LookupError: If a source, or a suffix of one, has no sample here.
    """
    made = [Format(name, ("CountTable", suffix), *rest) for name, suffix, *rest in tables()]
    npy = partial(load, lambda folder: Arrays(folder / "table.npy"))
    npz = partial(load, lambda folder: Arrays(folder / "table.npz", key="x", labels="y"))
    made += [
        Format("npy", ("Arrays", ".npy"), lambda f: np.save(f / "table.npy", COUNTS), npy, "npy"),
        Format(
            "npz of arrays",
            ("Arrays", ".npz"),
            partial(write_npz, x=COUNTS.reshape(30, 2, 4), y=np.arange(30)),
            npz,
            "npz",
        ),
        Format(
            "CIFAR-10", ("CIFAR10", ""), write_cifar, partial(load, lambda f: CIFAR10(f)), "pickle"
        ),
    ]
    both = partial(write_npz, x0=COUNTS.reshape(30, 2, 4), x1=COUNTS.reshape(30, 2, 4)[::-1])
    pairs = partial(load, lambda folder: Pairs(folder / "table.npz"))
    made.append(Format("pairs", ("Pairs", ".npz"), both, pairs, "npz"))
    for suffix in markovbridge.data.idx.SUFFIXES:
        write = partial(write_idx, zipped=suffix == ".gz")
        read = partial(load, lambda folder: IDX("mine", root=folder))
        made.append(Format(f"idx{suffix}", ("IDX", suffix), write, read, "idx"))
    for suffix in markovbridge.data.folders.SUFFIXES:
        write = partial(write_images, suffix=suffix)
        read = partial(load, lambda folder: ImageFolder(folder, size=6))
        made.append(Format(f"images {suffix}", ("ImageFolder", suffix), write, read, "image"))
    deep = partial(load, lambda folder: ImageFolder(folder, size=6, depth=16, channels=1))
    made.append(Format("deep images", ("ImageFolder", ".png"), write_deep, deep, "image"))
    missing = readable() - {entry.covers for entry in made}
    if missing:
        raise LookupError(f"{sorted(missing)} have no sample; give them one in samples.formats")
    return made


def readable() -> set[tuple[str, str]]:
    """Every public source that reads files, with every suffix it reads."""
    found = set()
    for name in markovbridge.data.__all__:
        cls = getattr(markovbridge.data, name)
        if not (
            isinstance(cls, type) and issubclass(cls, Source) and dataclasses.is_dataclass(cls)
        ):
            continue
        if any("Path" in str(field.type) for field in dataclasses.fields(cls)):
            module = importlib.import_module(cls.__module__)
            module = registry if cls is markovbridge.data.CountTable else module
            suffixes = getattr(module, "SUFFIXES", ("",))
            zipped = getattr(module, "ZIPPED", ())
            found |= {(name, suffix) for suffix in (*suffixes, *(f"{z}.gz" for z in zipped))}
    return found


torch.set_num_threads(1)
