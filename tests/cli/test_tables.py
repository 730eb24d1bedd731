"""The command line on count tables: files in, files out."""

import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from markovbridge import Transport
from markovbridge.cli import main
from markovbridge.data import CountTable, write_table
from markovbridge.evaluation.expectations import expected_ends
from runs import arrays

GENES = tuple(f"gene{k}" for k in range(6))
CELLS = tuple(f"cell{k}" for k in range(50))


@pytest.fixture(scope="module")
def counts():
    return torch.poisson(torch.full((50, 6), 3.0), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["h5ad", "csv"])
def trained(request, counts, tmp_path_factory):
    """A run trained on a table, with its batches as a condition."""
    folder = tmp_path_factory.mktemp("tables")
    table = folder / f"cells.{request.param}"
    columns = {"batch": ["a", "b"] * 25}
    write_table(table, counts.int(), row_names=CELLS, column_names=GENES, columns=columns)
    backed = {"backed": True} if request.param == "h5ad" else {}
    fields = {"path": str(table), "covariates": ["batch"], **backed}
    network = {"width": 16, "depth": 1}
    recipe = {
        "data": {"class_path": "CountTable", "init_args": fields},
        "process": {"class_path": "PureDeath", "init_args": {"maximum": None}},
        "network": {"class_path": "MLP", "init_args": network},
        "head": "NegativeBinomialHead",
        "objective": "PathKL",
        "condition": "covariates",
        "trainer": {"steps": 5, "batch_size": 8, "warmup": 1, "threads": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", str(folder / "recipe.yaml"), "--output", str(folder / "run")]) == 0
    return folder / "run", table


@pytest.fixture
def run(trained, tmp_path):
    """A run of one's own, to write into, and its table."""
    return shutil.copytree(trained[0], tmp_path / "run"), trained[1]


def test_samples_become_a_table_with_the_names_of_the_features(run):
    run, table = run
    options = ["--n", "4", "--steps", "2", "--condition.batch", "*"]
    assert main(["sample", str(run), *options]) == 0
    data = CountTable(run / f"samples{table.suffix}", covariates=("batch",)).load("all")
    assert data.x.tolist() == arrays(run / "samples.npz")["samples"].tolist()
    assert data.row_names == ("sample 0", "sample 1", "sample 2", "sample 3")
    assert data.column_names == GENES
    assert data.condition.tolist() == [[1, 0], [0, 1]] * 2


def test_restored_rows_keep_their_names(run, counts):
    run, table = run
    words = ["restore", str(run), "--survival", "0.5", "--draws", "19", "--steps", "2"]
    assert main([*words, "--n", "3"]) == 0
    rows = CountTable(table).positions(50, "test")[:3]
    found = arrays(run / "restored.npz")
    if table.suffix == ".h5ad":
        made = anndata.read_h5ad(run / "restored.h5ad")
        assert np.array_equal(made.X, counts[rows].numpy())
        assert np.array_equal(made.layers["thinned"], found["input"])
        names, columns = made.obs_names, made.var_names
        mean, high = made.layers["restored_mean"], made.layers["restored_high"]
    else:
        frames = {
            name: pd.read_csv(run / f"cells_{name}.csv", index_col=0).drop(columns="batch")
            for name in ("restored_mean", "restored_high")
        }
        mean, high = (frame.to_numpy() for frame in frames.values())
        names, columns = frames["restored_mean"].index, frames["restored_mean"].columns
    assert list(names) == [CELLS[i] for i in rows]
    assert list(columns) == list(GENES)
    assert np.allclose(mean, found["mean"], rtol=1e-6)
    assert np.array_equal(high, found["high"][-1])


def test_a_table_of_thinned_counts_is_restored(run, counts, tmp_path):
    run, table = run
    thinned = tmp_path / f"shallow{table.suffix}"
    write_table(thinned, (counts[:5] // 2).int(), row_names=CELLS[:5], column_names=GENES)
    words = ["restore", str(run), "--survival", "0.5", "--draws", "19", "--steps", "2"]
    assert main([*words, "--input", str(thinned)]) == 0
    found = arrays(run / "restored.npz")
    assert found["input"].tolist() == (counts[:5] // 2).int().tolist()
    if table.suffix == ".h5ad":
        made = anndata.read_h5ad(run / "restored.h5ad")
        assert list(made.obs_names) == list(CELLS[:5])
        assert np.allclose(made.layers["restored_mean"], found["mean"])
    else:
        made = pd.read_csv(run / "shallow_restored_mean.csv", index_col=0)
        assert np.allclose(made.to_numpy(), found["mean"], rtol=1e-6)


def test_empty_cells_are_imputed(run, counts, tmp_path):
    run, table = run
    gone = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) < 0.3
    cells = torch.where(gone, torch.nan, counts[:5])
    holes = tmp_path / f"holes{table.suffix}"
    write_table(holes, cells, row_names=CELLS[:5], column_names=GENES)
    words = ["impute", str(run), "--input", str(holes), "--observed", "finite"]
    assert main([*words, "--draws", "19", "--steps", "2", "--rounds", "1"]) == 0
    found = arrays(run / "imputed.npz")
    assert found["observed"].tolist() == (~gone).tolist()
    if table.suffix == ".h5ad":
        made = anndata.read_h5ad(run / "imputed.h5ad")
        mean, names = made.layers["imputed_mean"], made.obs_names
        assert {"imputed_low", "imputed_high", "observed"} <= set(made.layers)
    else:
        frame = pd.read_csv(run / "holes_imputed_mean.csv", index_col=0)
        mean, names = frame.to_numpy(), frame.index
    assert list(names) == list(CELLS[:5])
    assert np.allclose(mean, found["mean"], rtol=1e-6)
    assert np.array_equal(mean[~gone], counts[:5][~gone].numpy())


def test_one_draw_of_what_is_missing_is_a_table_without_intervals(run):
    run, table = run
    words = ["impute", str(run), "--observed", "random:0.5", "--n", "3", "--steps", "2"]
    assert main([*words, "--draws", "1", "--rounds", "1"]) == 0
    found = arrays(run / "imputed.npz")
    assert np.array_equal(found["mean"], found["draws"][0]) and np.isnan(found["sd"]).all()
    stem = "imputed.h5ad" if table.suffix == ".h5ad" else "cells_imputed_mean.csv"
    assert (run / stem).is_file() and not (run / "cells_imputed_low.csv").exists()
    if table.suffix == ".h5ad":
        layers = anndata.read_h5ad(run / stem).layers
        assert set(layers) - {None} == {"imputed_mean", "observed"}  # None is X


def test_what_a_corrected_mixture_expects_is_the_imputed_mean(tmp_path, counts, capsys):
    table, run = tmp_path / "cells.csv", tmp_path / "run"
    columns = {"batch": ["a", "b"] * 25}
    write_table(table, counts.int(), row_names=CELLS, column_names=GENES, columns=columns)
    small = ["--network.width", "8", "--network.depth", "1", "--base.components", "[2]"]
    words = [*small, "--trainer.steps", "2", "--data.covariates", "[batch]"]
    assert main(["train", str(table), "--output", str(run), *words]) == 0
    words = ["impute", str(run), "--observed", "random:0.5", "--n", "3", "--steps", "2"]
    words += ["--draws", "2", "--rounds", "1", "--condition.batch", "a"]
    capsys.readouterr()
    for guided in (False, True):
        assert main([*words, *(["--guidance", "2"] if guided else [])]) == 0
        found, said = arrays(run / "imputed.npz"), capsys.readouterr().out
        frame = pd.read_csv(run / "cells_imputed_mean.csv", index_col=0)
        layer = frame.drop(columns="batch", errors="ignore").to_numpy()
        assert ("rmse of the expected count, one evaluation" in said) != guided
        assert ("expected" in found) != guided
        if guided:  # draws of another law than the one that is stated
            np.testing.assert_allclose(layer, found["mean"], rtol=1e-6)
            continue
        model = Transport.from_pretrained(run)
        told = model.covariates.encode({"batch": "a"}, 3)
        seen, mask = (torch.from_numpy(found[word]) for word in ("x", "observed"))
        truth = expected_ends(model, seen, mask, condition=told).numpy()
        np.testing.assert_allclose(found["expected"], truth, rtol=1e-6)
        np.testing.assert_allclose(layer, truth, rtol=1e-6)
        assert not np.allclose(truth, found["mean"], rtol=1e-2)


@pytest.mark.parametrize("name", ["cells_thinned", "cells_restored_mean"])
def test_tables_of_the_user_are_not_replaced(run, tmp_path, capsys, name):
    run, table = run
    words = ["restore", str(run), "--survival", "0.5", "--draws", "19", "--steps", "2", "--n", "2"]
    place, there = tmp_path / "out", tmp_path / "out" / f"{name}.csv"
    place.mkdir()
    there.write_text("mine")
    assert main([*words, "--output", str(place)]) == 1
    assert f"{there} is there and holds no results" in capsys.readouterr().err
    assert [*place.iterdir()] == [there] and there.read_text() == "mine"


def test_intervals_of_the_draws_before_are_deleted(run, tmp_path, capsys):
    run, table = run
    words = ["impute", str(run), "--observed", "random:0.5", "--n", "3", "--steps", "2"]
    words += ["--rounds", "1", "--output", str(tmp_path / "out")]
    low = tmp_path / "out" / "cells_imputed_low.csv"
    assert main([*words, "--draws", "19"]) == 0
    assert low.is_file() == (table.suffix == ".csv")
    capsys.readouterr()
    assert main([*words, "--draws", "1"]) == 0
    assert not low.exists()
    assert (": deleted, of the draws before" in capsys.readouterr().err) == (
        table.suffix == ".csv"
    )


def test_without_its_table_a_run_still_samples(run, capsys):
    run, _ = run
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["init_args"]["path"] = "gone.h5ad"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["sample", str(run), "--n", "2", "--steps", "2"]) == 0
    assert "no table of the results is written: no file gone.h5ad" in capsys.readouterr().err
    assert (run / "samples.npz").is_file()
