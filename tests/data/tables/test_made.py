"""Tables that are made look as those that were given."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from markovbridge import CountModel
from markovbridge.cli import main
from markovbridge.data import CountTable, write_table
from markovbridge.data.rows import dense
from markovbridge.data.tables.made import UNS, Form, provenance, write_object
from markovbridge.data.tables.objects import read_object

anndata = pytest.importorskip("anndata")
COUNTS = np.random.default_rng(0).poisson(1.0, (40, 3))
GENES = ["Actb", "Gapdh", "Sox2"]
FAST = {"steps": 2, "width": 4, "depth": 1, "batch_size": 8, "random_state": 0, "tolerance": 1.0}
FAST["base"] = None  # no base law is fitted


def cells(kind=sparse.csr_matrix, dtype="f4", n=40):
    obs = {"type": (["T", "B"] * 20)[:n], "age": np.arange(n) + 0.5, "well": range(n)}
    obs = pd.DataFrame(obs, index=[f"c{k}" for k in range(n)]).astype({"type": "category"})
    var = pd.DataFrame({"long": ["a", "b", "c"]}, index=GENES)
    uns = {"title": "all", UNS: {"sample": {"seed": 3}}}
    return anndata.AnnData(kind(COUNTS[:n].astype(dtype)), obs=obs, var=var, uns=uns)


HELD = {
    "sparse float32": (sparse.csr_matrix, "f4"),
    "sparse columns": (sparse.csc_matrix, "f4"),
    "full float32": (np.asarray, "f4"),
    "full int32": (np.asarray, "i4"),
    "sparse bytes": (sparse.csr_matrix, "u1"),
    "full float64": (np.asarray, "f8"),
}


@pytest.mark.parametrize("name", HELD)
def test_samples_are_held_as_the_table_of_the_training_was(name, tmp_path):
    kind, dtype = HELD[name]
    table = cells(kind, dtype)
    model = CountModel(**FAST).fit(table, covariates=["type", "age"])
    made = model.sample(6)
    assert sparse.issparse(made.X) == sparse.issparse(table.X)
    assert made.X.dtype == np.dtype(dtype)
    restored = model.restore(cells(kind, dtype, n=4), 0.5, draws=2)
    assert sparse.issparse(restored.mean.X) == sparse.issparse(table.X)
    assert restored.mean.X.dtype == (np.float64 if dtype == "f8" else np.float32)
    full = restored.mean.X.toarray() if sparse.issparse(table.X) else restored.mean.X
    np.testing.assert_allclose(full, restored.expected, rtol=1e-6)
    table.write_h5ad(tmp_path / "cells.h5ad")  # and the file as the object
    by_file = CountModel(**FAST).fit(tmp_path / "cells.h5ad", covariates=["type", "age"])
    assert by_file.form_ == Form(sparse.issparse(table.X), np.dtype(dtype).name)
    model.save(tmp_path / "model")
    again = CountModel.load(tmp_path / "model")
    assert again.form_ == model.form_ and again.sample(6).X.dtype == made.X.dtype


def test_counts_are_never_changed_by_the_type_they_are_kept_in():
    for top, dtype, kept in (
        (2**24, "float32", "f4"),
        (2**24 + 2, "float32", "f8"),
        (255, "uint8", "u1"),
        (256, "uint8", "i8"),
        (1, "bool", "i8"),
        (2**40, None, "i8"),
    ):
        found = Form(False, dtype).held(np.array([[top, 0]]))
        assert found.dtype == np.dtype(kept) and int(found[0, 0]) == top
    assert sparse.issparse(Form().held(np.eye(3, dtype=int)))
    assert not sparse.issparse(Form().held(np.ones((3, 3), dtype=int)))
    with pytest.raises(ValueError, match="numbers, such as 'float32', not 'object'"):
        Form(dtype="object")


def test_obs_has_every_covariate_and_categories_stay_categories():
    model = CountModel(**FAST).fit(cells(), covariates=["type", "age"])
    made = model.sample(covariates={"type": ["T", None, "B"]})
    assert list(made.obs.columns) == ["type", "age"] and made.obs["age"].isna().all()
    assert list(made.obs["type"].cat.categories) == ["B", "T"]
    assert made.obs["type"].isna().tolist() == [False, True, False]
    assert list(made.obs_names) == ["sample 0", "sample 1", "sample 2"]
    assert model.sample(2).obs["type"].isna().all()
    restored = model.restore(cells(n=4), 0.5, draws=2).mean
    assert list(restored.obs.columns) == ["type", "age", "well"]
    assert list(restored.var["long"]) == ["a", "b", "c"] and restored.uns["title"] == "all"
    model.score(made)  # nothing is missing that would have to be said
    frame = pd.DataFrame(COUNTS, columns=GENES).assign(type=cells().obs["type"].array)
    frame["site"] = ["x", "y"] * 20
    model = CountModel(**FAST).fit(frame, covariates=["type", "site"])
    made = model.sample(2, covariates={"type": "T"})
    assert list(made.columns) == ["type", "site", *GENES] and made["site"].isna().all()
    assert made["type"].dtype == "category" and made["site"].dtype == object
    assert list(model.sample(2).columns) == GENES
    whole = model.restore(frame[:3], 0.5, draws=2).mean
    assert whole["type"].dtype == "category" and list(whole.index) == [0, 1, 2]


def test_tables_tell_what_made_them(tmp_path):
    model = CountModel(**FAST).fit(cells(), covariates=["type"])
    made = model.sample(4, random_state=9)
    told = made.uns[UNS]["sample"]
    assert told["seed"] == 9 and "Adaptive" in told["sampler"] and len(told["model"]) == 64
    assert told["version"] == provenance("x")["x"]["version"]
    assert np.array_equal(model.sample(4, random_state=told["seed"]).X.toarray(), made.X.toarray())
    rng = np.random.default_rng(5)  # its own state is written as the seed that it gave
    drawn = model.sample(4, random_state=rng)
    seed = drawn.uns[UNS]["sample"]["seed"]
    assert (model.sample(4, random_state=seed).X != drawn.X).nnz == 0
    assert "seed" not in model.sample(1, random_state=torch.Generator()).uns[UNS]["sample"]
    shallow = model.restore(made, 0.5, draws=2).mean
    assert shallow.uns[UNS].keys() == {"sample", "restore"} and shallow.uns[UNS]["sample"] == told
    assert shallow.uns[UNS]["restore"]["survival"] == 0.5
    filled = model.impute(made, [1, 0, 1], draws=2).std
    assert filled.uns[UNS].keys() == {"sample", "impute"} and made.uns[UNS].keys() == {"sample"}
    write_table(tmp_path / "made.h5ad", shallow)
    assert anndata.read_h5ad(tmp_path / "made.h5ad").uns[UNS] == shallow.uns[UNS]


def test_the_command_line_makes_the_same_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells().write_h5ad("cells.h5ad")
    tiny = ["--network.width", "4", "--network.depth", "1", "--trainer.threads", "1"]
    tiny += ["--trainer.steps", "2", "--trainer.batch_size", "8", "--trainer.warmup", "1"]
    assert main(["train", "cells.h5ad", "--data.covariates", "[type, age]", *tiny]) == 0
    how = ["--steps", "1", "--sampler", "Adaptive", "--sampler.tolerance", "0.1", "--threads", "1"]
    words = ["--n", "5", "--seed", "4", "--condition.type", "T", *how]
    assert main(["sample", "runs/cells", *words]) == 0
    by_line = anndata.read_h5ad("runs/cells/samples.h5ad")
    model = CountModel.load("runs/cells").set_params(threads=1)
    made = model.sample(5, covariates={"type": "T"}, random_state=4)
    pd.testing.assert_frame_equal(by_line.obs, made.obs)
    pd.testing.assert_index_equal(by_line.var_names, made.var_names)
    assert (by_line.X != made.X).nnz == 0 and by_line.X.dtype == made.X.dtype == np.float32
    one, other = (table.uns[UNS]["sample"] for table in (by_line, made))
    assert all(one[name] == other[name] for name in ("model", "seed", "version"))
    assert one["condition"] == "type=T" and "Adaptive" in one["sampler"]
    words = ["--survival", "0.5", "--n", "2", "--draws", "19", *how]
    assert main(["restore", "runs/cells", *words, "--input", "runs/cells/samples.h5ad"]) == 0
    restored = anndata.read_h5ad("runs/cells/restored.h5ad")
    assert restored.uns[UNS].keys() == {"sample", "restore"}
    assert restored.uns[UNS]["restore"]["survival"] == 0.5
    assert json.loads(json.dumps(dict(restored.uns[UNS]["restore"]), default=str))


OBJECTS = {
    "anndata": lambda: cells(),
    "full": lambda: cells(np.asarray),
    "view": lambda: cells()[:, GENES],
    "frame": lambda: cells().obs[["type"]].join(pd.DataFrame(COUNTS, cells().obs_names, GENES)),
    "sparse": lambda: sparse.csr_array(COUNTS),
    "array": lambda: COUNTS,
    "tensor": lambda: torch.from_numpy(COUNTS),
}


@pytest.mark.parametrize("suffix", [".h5ad", ".csv", ".tsv.gz", ".parquet", ".npz", ".mtx"])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_table_is_written_from_whatever_holds_one(name, suffix, tmp_path):
    table, path = OBJECTS[name](), tmp_path / f"made{suffix}"
    write_table(path, table)
    known = name in ("anndata", "full", "view", "frame")
    told = {"anndata": ("type", "age"), "full": ("type", "age"), "view": ("type", "age")}
    told = told.get(name, ("type",)) if known else ()
    beside = tmp_path / "made_obs.tsv"
    away = {"obs": beside} if suffix == ".mtx" and beside.exists() and told else {}
    rest = ("well",) if suffix in (".csv", ".tsv.gz", ".parquet") and "age" in told else ()
    found = CountTable(path, covariates=told, ignore=rest, **away).load("all")
    assert np.array_equal(dense(found.x).numpy(), COUNTS)
    if known:
        assert list(found.column_names) == GENES and found.row_names[:2] == ("c0", "c1")
        assert [str(v) for v in found.columns["type"][:2]] == ["T", "B"]
    if suffix == ".h5ad" and name in ("anndata", "full", "view"):
        again = anndata.read_h5ad(path)
        assert sparse.issparse(again.X) == (name != "full") and again.uns["title"] == "all"
        assert list(again.var["long"]) == ["a", "b", "c"]


def test_what_is_given_beside_a_table_takes_the_place_of_its_own(tmp_path):
    path = tmp_path / "made.h5ad"
    columns = {"batch": ["x", "y"] * 20}
    for given in (columns, pd.DataFrame(columns)):
        write_table(path, cells(), column_names=["p", "q", "r"], columns=given, overwrite=True)
        found = anndata.read_h5ad(path)
        assert found.obs["batch"].tolist() == columns["batch"]
    assert list(found.var_names) == ["p", "q", "r"]
    assert list(found.obs.columns) == ["type", "age", "well", "batch"]
    frame = pd.DataFrame(COUNTS, columns=GENES).assign(age=1.5)
    write_table(path, frame, columns=["age"], overwrite=True)
    assert list(anndata.read_h5ad(path).obs["age"][:2]) == [1.5, 1.5]
    with pytest.raises(ValueError, match="columns names 'sex', which the table does not have"):
        write_table(path, frame, columns=["sex"], overwrite=True)
    with pytest.raises(ValueError, match="columns names 'age', which the table does not have"):
        write_table(path, COUNTS, columns=["age"], overwrite=True)
    for odd in ("age", 3):
        with pytest.raises(TypeError, match=f"names of columns, not '{odd}'"):
            write_table(path, frame, columns=odd, overwrite=True)
    with pytest.raises(TypeError, match="a data frame or AnnData, not a dict"):
        write_table(path, {"a": 1}, overwrite=True)


def test_writing_leaves_the_object_as_it_was(tmp_path):
    table = cells()
    table.obs["note"] = np.array(["p", "q"] * 20, object)
    before = table.obs["note"].dtype
    write_table(tmp_path / "made.h5ad", table)
    assert table.obs["note"].dtype == before and table.obs["type"].dtype == "category"
    read = read_object(table)
    write_object(torch.from_numpy(COUNTS * 2), "anndata", like=read, told=provenance("x"))
    assert table.X.sum() == COUNTS.sum() and table.uns[UNS] == {"sample": {"seed": 3}}


def test_results_of_a_file_keep_what_it_knows_of_rows_and_features(tmp_path):
    cells(n=6).write_h5ad(tmp_path / "cells.h5ad")
    model = CountModel(**FAST).fit(cells(), covariates=["type"])
    found, same = (
        model.restore(given, 0.5, draws=2).mean for given in (tmp_path / "cells.h5ad", cells(n=6))
    )
    pd.testing.assert_frame_equal(found.obs, same.obs)
    pd.testing.assert_frame_equal(found.var, same.var)
    assert (found.X != same.X).nnz == 0 and found.X.dtype == same.X.dtype
