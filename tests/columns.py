"""A small table of counts with covariates in every format, and a run that is told them."""

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from markovbridge.cli import main
from markovbridge.data import write_table

GENES = ["A", "B", "C", "D", "E"]
TURNED = [3, 0, 4, 2, 1]
N = 60
SMALL = ["--network.width", "8", "--network.depth", "1", "--trainer.batch_size", "16"]
SMALL += ["--trainer.steps", "60", "--trainer.warmup", "1", "--trainer.validate_every", "0"]
SMALL += ["--trainer.select", "last"]
ONE = ["--threads", "1"]
LINE = "are in another order than those of the model"


def counts():
    more = np.where(np.array(columns()["batch"]) == "b1", 4.0, 1.0)[:, None]
    return np.random.default_rng(0).poisson(more * [1, 3, 40, 8, 15], (N, 5))


def columns():
    rng = np.random.default_rng(1)
    return {"batch": [f"b{k}" for k in rng.integers(0, 2, N)], "age": rng.integers(20, 60, N)}


ROWS = [f"c{k}" for k in range(N)]


def plain(path, order):
    """By `write_table`: in the format of the suffix."""
    names = [GENES[k] for k in order]
    told = {"row_names": ROWS, "column_names": names, "columns": columns()}
    write_table(path, counts()[:, order], overwrite=True, **told)
    return path


def sparse_npz(path, order):
    """A scipy sparse matrix with names and covariates beside it."""
    matrix = sparse.csr_matrix(counts()[:, order])
    parts = {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}
    names = {"column_names": np.array([GENES[k] for k in order])}
    told = {name: np.array(values) for name, values in columns().items()}
    np.savez(path, format=np.array(b"csr"), shape=matrix.shape, **parts, **names, **told)
    return path


def folder(path, order):
    """Matrix Market in a folder, as 10x writes it, with a table of covariates."""
    path.mkdir()
    plain(path / "matrix.mtx.gz", order)
    return path


def genomics(path, order):
    """The HDF5 file of 10x."""
    matrix = sparse.csr_matrix(counts()[:, order])
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = [5, N]
        group["barcodes"] = np.array(ROWS, dtype="S")
        group["features/name"] = group["features/id"] = np.array(
            [GENES[k] for k in order], dtype="S"
        )
    return path


def train(home):
    """A run that is told batch and age, its table, and one in order for each verb."""
    plain(home / "cells.csv", range(5))
    pd.DataFrame(columns(), index=ROWS).to_csv(home / "obs.csv")
    words = ["train", str(home / "cells.csv"), "--data.covariates", "[batch, age]"]
    assert main([*words, "--output", str(home / "run"), *SMALL]) == 0
    options = ["--n", "24", "--steps", "1", "--condition.batch", "b1", *ONE]
    assert main(["sample", str(home / "run"), *options]) == 0
    return home


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "meta"}


def restored(run):
    return arrays(run / "restored.npz")


def imputed(run):
    return arrays(run / "imputed.npz")
