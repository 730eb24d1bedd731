"""Tables that a model is given as `CountTable`: their covariates, layers and missing entries."""

import numpy as np
import pandas as pd
import pytest

from markovbridge import CountModel
from markovbridge.data import CountTable

FAST = {"steps": 2, "width": 8, "depth": 1, "batch_size": 16, "random_state": 0, "tolerance": 1.0}
FAST["base"] = None  # no base law is fitted
COUNTS = np.random.default_rng(0).poisson(3.0, (20, 3))
BESIDE = {"batch": [1, 2] * 10, "age": np.arange(20.0)}


@pytest.fixture
def source(tmp_path):
    frame = pd.DataFrame(COUNTS, [f"c{k}" for k in range(20)], list("abc"))
    pd.concat([pd.DataFrame(BESIDE, index=frame.index), frame], axis=1).to_csv(tmp_path / "c.csv")
    return CountTable(tmp_path / "c.csv", covariates=("batch", "age"), categorical=("batch",))


def test_a_source_brings_its_covariates(source):
    model = CountModel(**FAST).fit(source)
    assert list(model.feature_names_in_) == list("abc")
    assert [(c.name, c.levels) for c in model.covariates_.columns] == [
        ("batch", ("1", "2")),
        ("age", ()),
    ]
    named = CountModel(**FAST).fit(source.path, covariates=["batch", "age"], categorical=["batch"])
    assert named.covariates_ == model.covariates_
    assert np.array_equal(model.loss_, named.loss_)
    assert list(model.restore(source, 0.5, draws=1).mean.columns) == ["batch", "age", *"abc"]
    assert np.array_equal(
        model.score_samples(source, draws=2), model.score_samples(source, draws=2)
    )


@pytest.mark.parametrize("covariates", [["age"], {"age": BESIDE["age"]}, []])
def test_covariates_that_a_source_names_are_never_features(source, covariates):
    model = CountModel(**FAST).fit(source, covariates=covariates)
    assert list(model.feature_names_in_) == list("abc")
    told = () if model.covariates_ is None else model.covariates_.names
    assert told == (("age",) if covariates else ())
    assert model.restore(source, 0.5, draws=1).draws.shape == (1, 20, 3)


def test_what_is_missing_in_a_source_is_not_trained_on(tmp_path):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n,4\n5,6\n")
    source = CountTable(tmp_path / "m.csv", missing=True)
    with pytest.raises(ValueError, match=r"counts must all be there: .* impute\(X\) of a fitted"):
        CountModel(**FAST).fit(source)
    pd.DataFrame({"a": [1, 3, 5], "b": [2, 4, 6]}).to_csv(tmp_path / "f.csv", index=False)
    model = CountModel(**FAST).fit(CountTable(tmp_path / "f.csv", missing=True))
    assert model.impute(source, draws=2).draws[:, 0].tolist() == [[1, 2]] * 2


def test_the_layer_of_a_model_is_that_of_a_source_too(tmp_path):
    anndata = pytest.importorskip("anndata")
    table = anndata.AnnData(COUNTS * 0.5)
    table.layers["counts"], table.layers["twice"] = COUNTS * 1.0, COUNTS * 2.0
    table.write_h5ad(tmp_path / "t.h5ad")
    model = CountModel(layer="counts", **FAST).fit(table)
    source = CountTable(tmp_path / "t.h5ad")
    again = CountModel(layer="counts", **FAST).fit(source)
    assert np.array_equal(again.loss_, model.loss_) and again.form_.layer == "counts"
    given = [model.score_samples(x, draws=2) for x in (table, source, source.path)]
    assert np.array_equal(given[0], given[1]) and np.array_equal(given[0], given[2])
    other = CountTable(tmp_path / "t.h5ad", layer="twice")
    assert len(model.score_samples(other, draws=2)) == 20
    assert CountModel(**FAST).fit(other).form_.layer == "twice"
    with pytest.raises(ValueError, match="the layer is 'counts', and of the CountTable 'twice'"):
        CountModel(layer="counts", **FAST).fit(other)
