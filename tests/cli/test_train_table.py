"""Nothing but a file: a table of counts on the command line."""

import json

import numpy as np
import pytest
import torch
import yaml

from markovbridge import CountModel, MeanHead, PathKL, Transport
from markovbridge.cli import main
from markovbridge.data import write_table
from markovbridge.exact import FitMixture
from markovbridge.samplers import Adaptive
from markovbridge.samplers.known_sites import Masking
from markovbridge.storage.files import write_arrays

pytest.importorskip("pandas")

SMALL = ["--network.width", "8", "--network.depth", "1", "--trainer.batch_size", "16"]
SHORT = ["--trainer.steps", "3", "--trainer.warmup", "1"]


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A small table with a covariate in the current folder."""
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(0).poisson(2, size=(60, 3))
    batch = ["a" if k % 3 else "b" for k in range(60)]
    names = [f"c{k}" for k in range(60)]
    write_table(
        "cells.csv",
        counts,
        row_names=names,
        column_names=["x", "y", "z"],
        columns={"batch": batch},
    )
    return tmp_path


def configuration(run):
    return yaml.safe_load((run / "config.yaml").read_text())


def test_a_file_is_trained_on_by_the_recipe_table(cells, capsys):
    assert main(["train", "cells.csv", "--data.ignore", "[batch]", *SMALL, *SHORT]) == 0
    run = cells / "runs" / "cells"
    config = configuration(run)
    assert config["data"]["init_args"]["path"] == str(cells / "cells.csv")
    assert config["condition"] == "none" and config["masking"]["none"] == 0.5
    assert main(["sample", str(run), "--n", "5", "--steps", "2"]) == 0
    text = (run / "samples.csv").read_text().splitlines()
    assert text[0] == ",x,y,z" and len(text) == 6
    capsys.readouterr()


def test_the_weights_are_those_that_held_out_rows_like_best(cells, capsys):
    words = ["train", "cells.csv", "--data.ignore", "[batch]", *SMALL]
    many = ["--trainer.steps", "40", "--trainer.warmup", "1", "--trainer.validate_every", "10"]
    assert main([*words, *many, "--trainer.learning_rate", "0.03"]) == 0
    lines = (cells / "runs" / "cells" / "metrics.jsonl").read_text().splitlines()
    held = [row for row in map(json.loads, lines) if "validation_loss" in row]
    assert [row["step"] for row in held] == [10, 20, 30, 40]
    best = min(held, key=lambda row: row["validation_loss"])
    assert (held[-1]["best_step"], held[-1]["best_loss"]) == (
        best["step"],
        best["validation_loss"],
    )
    assert "keeping the weights of step" in capsys.readouterr().err
    assert main(["report", "runs/cells"]) == 0
    page = (cells / "runs" / "cells" / "report.html").read_text(encoding="utf-8")
    assert f"the lowest, at step {best['step']}" in page
    assert main([*words, *SHORT, "--split", "all", "--output", "all"]) == 2
    assert "no held-out data to select weights by: add --trainer.select" in capsys.readouterr().err
    last = ["--split", "all", "--output", "all", "--trainer.select", "last"]
    assert main([*words, *SHORT, *last]) == 0


def test_covariates_that_are_named_are_told_to_the_network(cells, capsys):
    told = ["--data.covariates", "[batch]"]
    assert main(["train", "cells.csv", *told, *SMALL, *SHORT]) == 0
    assert configuration(cells / "runs" / "cells")["condition"] == "covariates"
    again = ["train", "cells.csv", *told, "--condition", "none", "--output", "other"]
    assert main([*again, *SMALL, *SHORT]) == 0
    assert configuration(cells / "other")["condition"] == "none"
    capsys.readouterr()


def test_a_dry_run_is_told_covariates(cells, capsys):
    told = ["--data.covariates", "[batch]", "--dry_run", "true"]
    assert main(["train", "cells.csv", *told, *SMALL]) == 0
    here = capsys.readouterr().out
    assert "cells.csv: the recipe works" in here and not (cells / "runs").exists()
    # The recipe names a table that is not on this machine.
    away = ["train", "table", "--condition", "covariates", "--dry_run", "true", *SMALL]
    assert main([*away, "--data.covariates", "[age, batch]"]) == 0
    assert "not on this machine" in capsys.readouterr().out
    assert main(away) == 2
    assert "the data name none: --data.covariates" in capsys.readouterr().err
    assert main(["train", "digits", "--condition", "covariates", "--dry_run", "true"]) == 2
    assert "condition is covariates, but digits has none" in capsys.readouterr().err


def test_a_folder_of_10x_is_a_table_and_a_run_is_a_run(cells, capsys):
    (cells / "matrices").mkdir()
    write_table(cells / "matrices" / "matrix.mtx.gz", np.eye(40, 3, dtype=int))
    assert main(["train", "matrices", *SMALL, *SHORT]) == 0
    run = cells / "runs" / "matrices"
    assert main(["train", str(run), "--resume", "true"]) == 0  # a folder that is a run
    assert not (cells / "runs" / "runs").exists()
    capsys.readouterr()


def test_a_file_is_no_class_of_ones_own(cells, monkeypatch):
    """`cells.csv` could be a class `csv` of a module `cells`, which is not imported for it."""
    (cells / "cells.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(cells)
    words = ["--data.path", "cells.csv", "--data.ignore", "[batch]", "--dry-run"]
    assert main(["train", "table", *SMALL, *words]) == 0


def test_a_table_that_is_not_there_is_missed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "nothing.h5ad"]) == 2
    assert "no file nothing.h5ad" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_undefined_figure_is_null_in_the_file_and_a_dash_in_the_report(cells, capsys):
    # No entry is 0, so zero fractions do not vary and have no correlation.
    counts = 1 + np.random.default_rng(1).poisson(2, size=(60, 3))
    np.savez("full.npz", counts)
    assert main(["train", "full.npz", *SMALL, *SHORT]) == 0
    run = cells / "runs" / "full"
    assert main(["sample", str(run), "--n", "20", "--steps", "2"]) == 0
    with np.load(run / "samples.npz") as file:
        meta = str(file["meta"])
    write_arrays(run / "samples.npz", samples=counts[:20], meta=np.array(meta))
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    out = capsys.readouterr().out
    assert "zero fraction of all features is the same" in out and "nan" not in out

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (run / "evaluation.json").read_text(encoding="utf-8")
    records = json.loads(text, parse_constant=refuse)["records"]
    (found,) = (r for r in records if r["metric"] == "zero fraction: log correlation")
    assert found["value"] is None and found["undefined"]
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert '<td class="value">–</td>' in page and f"undefined: {found['undefined']}" in page
    assert "nan<" not in page


def test_a_run_is_a_count_model(cells, capsys):
    assert main(["train", "cells.csv", "--data.covariates", "[batch]", *SMALL, *SHORT]) == 0
    run = cells / "runs" / "cells"
    model = CountModel.load(run)
    assert model.get_params() | {"tolerance": 0} == {
        **{"network": "mlp", "width": 8, "depth": 1, "condition_dropout": 0.1, "tolerance": 0},
        **{"steps": 3, "batch_size": 16, "learning_rate": 1e-3, "ema": 0.995, "layer": None},
        **{"validation_fraction": 0.1},
        **{
            "head": MeanHead(link="exp"),
            "objective": PathKL(damping=1.0),
            "masking": Masking(none=0.5),
            "base": FitMixture(),
        },
        **{"library_size": None, "random_state": 0, "threads": None, "verbose": False},
    }
    assert list(model.feature_names_in_) == ["x", "y", "z"] and model.n_features_in_ == 3
    drawn = model.sample(4, covariates={"batch": "a"}, random_state=1)
    assert list(drawn.columns) == ["batch", "x", "y", "z"]
    transport = Transport.from_pretrained(run / "model")
    expected = transport.sample(
        4,
        steps=1,
        sampler=Adaptive(0.1),
        condition=transport.covariates.encode({"batch": "a"}, 4),
        generator=torch.Generator().manual_seed(1),
    )
    np.testing.assert_array_equal(drawn[["x", "y", "z"]].to_numpy(), expected.numpy())
    held = drawn.iloc[:, 1:].rename(columns={"x": "w"})
    with pytest.raises(ValueError, match="'x' missing, and 'w' unknown"):
        model.score(held)
    model.save("copy")
    again = CountModel.load("copy")
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(
        again.sample(4, covariates={"batch": "a"}, random_state=1).to_numpy(), drawn.to_numpy()
    )
    capsys.readouterr()


def test_a_run_that_is_no_count_model_says_so(cells, capsys):
    digits = ["train", "digits", "--output", "other", *SMALL, *SHORT]
    assert main(digits) == 0
    with pytest.raises(FileNotFoundError, match=r"train other --resume true` writes it"):
        CountModel.load("other")
    assert main(["train", "cells.csv", "--data.ignore", "[batch]", *SMALL, *SHORT]) == 0
    (cells / "runs" / "cells" / "count_model.json").unlink()
    with pytest.raises(FileNotFoundError, match="is a run without count_model.json"):
        CountModel.load("runs/cells")
    assert main(["train", "runs/cells", "--resume", "true"]) == 0
    assert CountModel.load("runs/cells").sample(2).shape == (2, 3)
    capsys.readouterr()
