"""A table in every format meets a run in every verb: by the names of its columns, or not at all.

What a verb makes of a table with turned columns is what it makes of the table in order, to the
bit.
"""

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml

from columns import (
    GENES,
    LINE,
    ONE,
    TURNED,
    N,
    arrays,
    columns,
    counts,
    folder,
    genomics,
    imputed,
    plain,
    restored,
    sparse_npz,
    train,
)
from markovbridge.cli import main
from markovbridge.data import write_table
from markovbridge.data.tables.registry import SUFFIXES

# Every suffix that `CountTable` reads, and how a file of it is made.
FORMATS = {
    "x.h5ad": plain,
    "x.h5": genomics,
    "x.mtx": plain,
    "folder": folder,
    "x.csv": plain,
    "x.tsv.gz": plain,
    "x.parquet": plain,
    "x.npz": plain,
    "sparse.npz": sparse_npz,
}


def test_every_format_is_here():
    assert len(FORMATS) <= 2 * len(VERBS)  # each takes a turn below
    made = {"." + name.split(".")[1] for name in FORMATS if "." in name}
    assert made == set(SUFFIXES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("columns"))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "run")


def records(name):
    def read(run):
        content = json.loads((run / name).read_text(encoding="utf-8"))
        parts = content.get("records") or content["pieces"]
        for part in parts:  # of what they are is not what they are
            part.pop("split", None)
        return {"parts": parts}

    return read


FAST = ["--steps", "1", "--n", "4", *ONE]
OWN = ["--data", "CountTable", "--split", "all", *ONE]

# Verbs that take a table, the option that names it, and what comes of it.
VERBS = {
    "restore": (["--survival", "0.5", *FAST], "--input", restored),
    "impute": (["--observed", "random:0.5", "--draws", "3", *FAST], "--input", imputed),
    "evaluate": (OWN, "--data.path", records("evaluation.json")),
    "evaluate --likelihood": (
        ["--likelihood", "6", "--looks", "2", *OWN],
        "--data.path",
        records("likelihood.json"),
    ),
    "diagnose": (
        ["--n", "6", "--pieces", "1", *OWN],
        "--data.path",
        records("diagnostics.json"),
    ),
}


def call(verb, run, file, home):
    words, option, read = VERBS[verb]
    words = [verb.split()[0], str(run), *words, option, str(file)]
    if option == "--data.path":
        # `obs` of the table itself, or the table beside.
        inside = file.suffix not in (".h5", ".mtx") and file.is_file()
        words += [] if inside else ["--data.obs", str(home / "obs.csv")]
    elif file.suffix == ".h5":
        words += ["--obs", str(home / "obs.csv")]
    assert main(words) == 0, (verb, file)
    return read(run)


def same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(values, other[name], err_msg=name)
        else:
            assert values == other[name]


@pytest.mark.parametrize("verb", VERBS)
def test_turned_columns_are_put_in_order_in_every_format(
    trained, run, tmp_path, verb, capsys, pytestconfig
):
    # Formats take turns: two with each verb, so that each is met.
    first = 2 * list(VERBS).index(verb)
    names = list(FORMATS) if pytestconfig.getoption("whole") else [*FORMATS, "x.h5ad"][first:][:2]
    expected = call(verb, run, trained / "cells.csv", trained)
    assert LINE not in capsys.readouterr().err
    for name in names:
        found = call(verb, run, FORMATS[name](tmp_path / name, TURNED), trained)
        said = capsys.readouterr().err
        assert said.count(LINE) == 1 and "does not have" not in said, (name, said)
        same(found, expected)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("extra", [False, True])
def test_other_columns_are_refused_in_every_verb(trained, run, tmp_path, capsys, verb, extra):
    frame = pd.read_csv(trained / "cells.csv", index_col=0)
    frame = frame.assign(Z=1) if extra else frame.rename(columns={"C": "Z"})
    frame.to_csv(tmp_path / "other.csv")
    words, option, _ = VERBS[verb]
    names = [verb.split()[0], str(run), *words, option, str(tmp_path / "other.csv")]
    assert main(names) == 1
    error = capsys.readouterr().err
    assert "'Z' unknown to the model" in error and ("'C' missing" in error) is not extra


def test_results_are_written_in_the_order_of_the_file(trained, run, tmp_path):
    words = ["restore", str(run), "--survival", "0.5", "--input"]
    made = {}
    for kind in ("csv", "h5ad"):
        file = plain(tmp_path / f"turned.{kind}", TURNED)
        assert main([*words, str(file), *FAST]) == 0
        made[kind] = arrays(run / "restored.npz")["mean"]
    frame = pd.read_csv(run / "turned_restored_mean.csv", index_col=0)
    assert list(frame.columns[2:]) == [GENES[k] for k in TURNED]
    np.testing.assert_allclose(frame[GENES].to_numpy(), made["csv"], rtol=1e-6)
    cells = anndata.read_h5ad(run / "restored.h5ad")
    assert list(cells.var_names) == [GENES[k] for k in TURNED]
    layer = cells[:, GENES].layers["restored_mean"]
    np.testing.assert_allclose(np.asarray(layer), made["h5ad"], rtol=1e-6)


def test_a_mask_of_a_file_goes_with_the_columns_of_the_file(trained, run, tmp_path):
    mask = np.random.default_rng(2).random((N, 5)) < 0.5
    made = []
    for name, order in (("straight", list(range(5))), ("turned", TURNED)):
        np.save(tmp_path / "mask.npy", mask[:4, order])
        file = plain(tmp_path / f"{name}.parquet", order)
        words = ["--observed", str(tmp_path / "mask.npy"), "--draws", "2", *FAST]
        write_table(
            file,
            counts()[:4, order],
            column_names=[GENES[k] for k in order],
            columns={k: v[:4] for k, v in columns().items()},
            overwrite=True,
        )
        assert main(["impute", str(run), "--input", str(file), *words]) == 0
        made.append(imputed(run))
    same(*made)
    np.testing.assert_array_equal(made[0]["observed"], mask[:4])


# The own table of a run, changed after training ------------------------------------------------


@pytest.fixture
def own(trained, run, tmp_path):
    """A run whose table is in a file of its own."""
    file = shutil.copy(trained / "cells.csv", tmp_path / "cells.csv")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["init_args"]["path"] = str(file)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run, Path(file)


SELF = {
    "restore": (["--survival", "0.5", *FAST], restored),
    "impute": (["--observed", "random:0.5", "--draws", "3", *FAST], imputed),
    "evaluate": (ONE, records("evaluation.json")),
    "diagnose": (["--n", "6", "--pieces", "1", *ONE], records("diagnostics.json")),
    "sample": (["--n", "6", "--steps", "1", *ONE], lambda run: arrays(run / "samples.npz")),
}


@pytest.mark.parametrize("verb", SELF)
def test_the_own_table_with_turned_columns(own, capsys, verb):
    run, file = own
    words, read = SELF[verb]
    assert main([verb, str(run), *words]) == 0
    expected = read(run)
    plain(file, TURNED)
    capsys.readouterr()
    assert main([verb, str(run), *words]) == 0
    said = capsys.readouterr().err
    assert "have changed" not in said and (verb == "sample" or said.count(LINE) == 1)
    same(read(run), expected)
    if verb == "sample":
        made = pd.read_csv(run / "samples.csv", index_col=0)
        assert list(made.columns) == GENES


@pytest.mark.parametrize("verb", [verb for verb in SELF if verb != "sample"])
def test_the_own_table_with_other_counts_is_said(own, capsys, verb):
    run, file = own
    frame = pd.read_csv(file, index_col=0)
    frame.assign(C=frame["C"] + 1).to_csv(file)
    assert main([verb, str(run), *SELF[verb][0]]) == 0
    assert f"warning: the data of {run} ({file}) have changed since" in capsys.readouterr().err


def test_training_goes_on_with_turned_columns_and_not_with_others(own, tmp_path, capsys):
    run, file = own
    more = [str(run), "--resume", "true"]
    (run / "checkpoints").rename(tmp_path / "checkpoints")  # as if nothing had been trained
    assert main(["train", *more]) == 0
    first = (run / "model" / "model.safetensors").read_bytes()
    plain(file, TURNED)
    shutil.rmtree(run / "checkpoints")
    assert main(["train", *more]) == 0
    assert LINE in capsys.readouterr().err
    assert (run / "model" / "model.safetensors").read_bytes() == first
    pd.read_csv(file, index_col=0).rename(columns={"C": "Z"}).to_csv(file)
    assert main(["train", *more]) == 1
    assert "'C' missing, and 'Z' unknown to the model" in capsys.readouterr().err


def test_the_report_puts_columns_in_order_and_says_so(own):
    run, file = own
    plain(file, TURNED)
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert LINE in page and "Samples given batch=b1; training data are" in page
    assert "--condition.batch b1" in page
