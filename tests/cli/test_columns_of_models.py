"""What the command line makes of the rows of a table is what `CountModel` makes of them."""

import shutil

import anndata
import numpy as np
import pandas as pd
import pytest

from columns import GENES, LINE, ONE, ROWS, TURNED, columns, counts, imputed, restored, train
from markovbridge import CountModel
from markovbridge.cli import main
from markovbridge.data import CountTable, write_table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("columns"))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "run")


def as_given(kind, home, order, told=True):
    """The first four rows of the table, as an object or a file."""
    x = pd.DataFrame(counts()[:4, order], ROWS[:4], [GENES[k] for k in order])
    beside = pd.DataFrame({k: v[:4] for k, v in columns().items()}, ROWS[:4])
    if kind == "frame":
        return pd.concat([beside, x], axis=1) if told else x
    if kind == "anndata":
        return anndata.AnnData(x.astype("f4"), obs=beside if told else None)
    file = home / f"rows.{kind}"
    write_table(
        file,
        x.to_numpy(),
        row_names=ROWS[:4],
        column_names=list(x.columns),
        columns={k: list(v[:4]) for k, v in columns().items()} if told else None,
        overwrite=True,
    )
    return file


@pytest.mark.parametrize(
    "kind",
    [
        "frame",
        *(pytest.param(k, marks=pytest.mark.whole) for k in ("anndata", "csv", "h5ad", "npz")),
    ],
)
def test_the_command_line_and_count_model_say_the_same(trained, run, tmp_path, kind):
    model = CountModel.load(run)
    exact = ["--steps", "1", "--sampler", "Adaptive", "--sampler.tolerance", "0.1", *ONE]
    file = as_given("csv" if kind in ("frame", "anndata") else kind, tmp_path, range(5))
    given = as_given(kind, tmp_path, range(5))
    words = [str(run), "--input", str(file), "--draws", "19", "--seed", "7", *exact]
    assert main(["restore", *words, "--survival", "0.5"]) == 0
    made = model.restore(given, 0.5, draws=19, random_state=7)
    np.testing.assert_array_equal(restored(run)["draws"], made.draws)
    assert main(["impute", *words, "--observed", "random:0.5"]) == 0
    found = imputed(run)
    filled = model.impute(given, found["observed"], draws=19, random_state=7)
    np.testing.assert_array_equal(found["draws"], filled.draws)
    # Something is told, and something else on top of it.
    blind = {"batch": None, "age": None}
    assert (
        model.restore(given, 0.5, draws=19, covariates=blind, random_state=7).draws != made.draws
    ).any()
    over = model.restore(given, 0.5, draws=19, covariates={"batch": "b0"}, random_state=7)
    assert main(["restore", *words, "--survival", "0.5", "--condition.batch", "b0"]) == 0
    np.testing.assert_array_equal(restored(run)["draws"], over.draws)
    assert (over.draws != made.draws).any()
    # Turned columns: by name the same, in the order of what was given.
    turned = as_given(kind, tmp_path, TURNED)
    with pytest.warns(UserWarning, match=LINE):
        again = model.restore(turned, 0.5, draws=19, random_state=7)
    np.testing.assert_array_equal(again.draws, made.draws[..., TURNED])
    if kind == "frame":
        pd.testing.assert_frame_equal(again.mean[GENES], made.mean[GENES])
    with pytest.warns(UserWarning, match=LINE):
        score = model.score_samples(turned)
    straight = as_given(kind, tmp_path, range(5))
    np.testing.assert_array_equal(score, model.score_samples(straight))
    turned = as_given(kind, tmp_path, TURNED)
    with pytest.warns(UserWarning, match=LINE):
        filled_again = model.impute(turned, found["observed"][:, TURNED], draws=19, random_state=7)
    np.testing.assert_array_equal(filled_again.draws, filled.draws[..., TURNED])
    # Nothing is known of the rows, and that is said.
    with pytest.warns(UserWarning, match="X does not have 'batch', 'age'"):
        unknown = model.restore(
            as_given(kind, tmp_path, range(5), told=False), 0.5, draws=19, random_state=7
        )
    bare = as_given("csv", tmp_path, range(5), told=False)
    assert main(["restore", *words[:2], str(bare), *words[3:], "--survival", "0.5"]) == 0
    np.testing.assert_array_equal(restored(run)["draws"], unknown.draws)


def test_the_own_rows_of_a_run_are_told_their_covariates(trained, run, capsys):
    exact = ["--steps", "1", "--sampler", "Adaptive", "--sampler.tolerance", "0.1", *ONE]
    assert main(["restore", str(run), "--survival", "0.5", "--seed", "3", *exact]) == 0
    assert "given batch=of each row, age=of each row; " in capsys.readouterr().out
    found = restored(run)
    test = CountTable(trained / "cells.csv", covariates=("batch", "age")).load("test")
    made = CountModel.load(run).restore(
        found["input"], 0.5, draws=19, covariates=test.columns, random_state=3
    )
    np.testing.assert_array_equal(found["draws"], made.draws)
