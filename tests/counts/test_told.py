"""Covariates in whatever form they are given, to every method by the same parser."""

import numpy as np
import pandas as pd
import pytest
import torch

from markovbridge import CountModel
from markovbridge.counts.told import by_name, encoded

anndata = pytest.importorskip("anndata")
FAST = {"steps": 2, "width": 8, "depth": 1, "batch_size": 16, "random_state": 0, "tolerance": 1.0}
FAST["base"] = None  # no base law is fitted
COUNTS = np.random.default_rng(0).poisson(3.0, (40, 4))
ROWS = [f"c{k}" for k in range(40)]
KIND = ["a", "b"] * 20
AGE = [float(k) for k in range(40)]


def cells():
    obs = pd.DataFrame({"kind": KIND, "age": AGE}, index=ROWS)
    return anndata.AnnData(COUNTS.astype("f4"), obs=obs)


def frame():
    table = pd.DataFrame(COUNTS, index=ROWS, columns=list("wxyz"))
    return table.assign(kind=KIND, age=AGE)


@pytest.fixture(scope="module")
def model():
    return CountModel(**FAST).fit(cells(), covariates=["kind", "age"])


FORMS = {
    "names": lambda: ["kind", "age"],
    "dictionary": lambda: {"kind": KIND, "age": AGE},
    "frame": lambda: cells().obs,
    "no index": lambda: cells().obs.reset_index(drop=True),
    "of series": lambda: {"kind": cells().obs["kind"], "age": cells().obs["age"]},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_method_takes_every_form_and_makes_the_same_of_it(model, form):
    given = FORMS[form]()
    again = CountModel(**FAST).fit(cells(), covariates=given)
    assert again.covariates_ == model.covariates_
    assert np.array_equal(again.loss_, model.loss_)
    x = cells()[:8].copy()
    few = given if form == "names" else {name: list(given[name])[:8] for name in given}
    blank = anndata.AnnData(x.X, obs=pd.DataFrame(index=x.obs_names))
    bare = blank if form != "names" else x
    for call in (
        lambda table, told: model.score_samples(table, draws=4, covariates=told),
        lambda table, told: model.restore(table, 0.5, draws=2, covariates=told).draws,
        lambda table, told: model.impute(table, [1, 1, 0, 1], draws=2, covariates=told).draws,
    ):
        assert np.array_equal(call(bare, few), call(x, None))
    if form != "names":
        assert np.array_equal(
            model.sample(covariates=few).X, model.sample(8, covariates=cells().obs[:8]).X
        )


def test_rows_of_a_frame_are_matched_by_their_names(model):
    turned = cells().obs[::-1]
    with pytest.warns(UserWarning, match="'(kind|age)' are not in the order of X") as said:
        found = CountModel(**FAST).fit(cells(), covariates=turned)
    assert {warning.filename for warning in said} == {__file__}
    assert np.array_equal(found.loss_, model.loss_)
    x = cells()[:4].copy()
    with pytest.warns(UserWarning, match="matched by name"):
        score = model.score_samples(x, draws=4, covariates=turned["age"])
    assert np.array_equal(score, model.score_samples(x, draws=4))
    with pytest.raises(ValueError, match="covariate 'age' has no row 'c0'"):
        model.score_samples(x, covariates=cells().obs[["age"]][2:6])
    twice = pd.concat([cells().obs, cells().obs])
    with pytest.raises(ValueError, match="covariate 'kind' has names that occur twice"):
        model.score_samples(x, covariates=twice)
    strange = cells().obs[:4].set_index(pd.Index(list("pqrs")))
    with pytest.raises(ValueError, match="'kind' has no row 'c0': .* without names: .to_numpy"):
        model.score_samples(x, draws=4, covariates=strange)
    for index in ([7, 5, 3, 1], range(4), range(8, 0, -2)):  # of which X has none: by position
        odd = cells().obs[:4].set_index(pd.Index(index))
        assert np.array_equal(model.score_samples(x, draws=4, covariates=odd), score)


def test_numbers_that_name_rows_are_matched_too(model):
    x = frame()[:4].reset_index(drop=True).rename(columns=dict(zip("wxyz", "0123", strict=True)))
    score = model.score_samples(x, draws=4)
    bare, obs = x[list("0123")], x[["kind", "age"]]
    with pytest.warns(UserWarning, match="'(kind|age)' are not in the order of X"):
        assert np.array_equal(model.score_samples(bare, draws=4, covariates=obs[::-1]), score)
    with pytest.raises(ValueError, match="covariate 'kind' has no row '0'"):
        model.score_samples(bare, covariates=pd.concat([obs, obs])[2:6].set_index(obs.index + 2))


def test_what_is_no_form_of_covariates_is_refused(model):
    x = cells()[:4].copy()
    with pytest.raises(ValueError, match="no table to take .'kind'. from: give values by name"):
        model.sample(2, covariates=["kind"])
    with pytest.raises(TypeError, match="covariates is the text 'kind'"):
        model.score_samples(x, covariates="kind")
    with pytest.raises(TypeError, match="covariates has '3' for a name"):
        model.restore(x, 0.5, covariates=3)
    with pytest.raises(ValueError, match="no covariate 'colour'; its columns are kind, age"):
        model.impute(x, [1, 1, 0, 1], covariates=["colour"])
    with pytest.raises(ValueError, match="series without a name"):
        model.score_samples(x, covariates=pd.Series([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="covariate 'age' has 3 values for 4 samples"):
        model.score_samples(x, covariates={"age": [1, 2, 3]})
    with pytest.raises(ValueError, match="covariate 'kind' has 1 values for 40 samples"):
        CountModel(**FAST).fit(COUNTS, covariates={"kind": "a"})


def test_columns_of_a_frame_that_the_model_does_not_know_are_left_out(model):
    x, more = cells()[:4].copy(), cells().obs[:4].assign(well=range(4))
    blank = anndata.AnnData(x.X, obs=pd.DataFrame(index=x.obs_names))
    score = model.score_samples(blank, draws=4, covariates=more)
    assert np.array_equal(score, model.score_samples(x, draws=4))
    assert model.sample(covariates=more).obs["kind"].tolist() == KIND[:4]
    with pytest.raises(ValueError, match="'well' is no covariate of this model"):
        model.score_samples(x, covariates=more[["well"]])
    with pytest.raises(ValueError, match="'well' is no covariate of this model"):
        model.score_samples(x, covariates={"kind": "a", "well": 1})


def test_samples_are_as_many_as_their_covariates(model):
    assert model.sample().n_obs == 1
    assert model.sample(covariates={"kind": "a"}).n_obs == 1
    assert model.sample(covariates={"kind": ["a", "b", None], "age": 3}).n_obs == 3
    with pytest.raises(ValueError, match="covariate 'kind' has 2 values for 3 samples"):
        model.sample(3, covariates={"kind": ["a", "b"]})


NUMBERS = [0, 1, 2, 1] * 10
WAYS = {
    "integers": (NUMBERS, 0),
    "with a missing one": ([None, *NUMBERS[1:]], 0),
    "pandas' integers": (pd.array([None, *NUMBERS[1:]], dtype="Int64"), 0),
    "objects": (pd.Series([None, *NUMBERS[1:]], dtype=object), 0),
    "categories": (pd.Series(NUMBERS).astype("category"), 3),
    "text": ([str(k) for k in NUMBERS], 3),
    "booleans": ([k > 0 for k in NUMBERS], 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_numbers_are_continuous_unless_they_are_called_categories(way, tmp_path):
    values, levels = WAYS[way]
    encoding, condition = encoded({"cluster": values}, torch.ones(40), False)
    assert len(encoding.columns[0].levels) == levels
    assert condition.shape == (40, levels or 1)
    encoding, _ = encoded({"cluster": values}, torch.ones(40), False, ["cluster"])
    assert len(encoding.columns[0].levels) == (levels or 3)
    if way == "categories":  # the file says the same
        table = cells()
        table.obs["cluster"] = values.to_numpy()
        table.obs["cluster"] = table.obs["cluster"].astype("category")
        table.write_h5ad(tmp_path / "cells.h5ad")
        for given in (table, tmp_path / "cells.h5ad"):
            model = CountModel(**FAST).fit(given, covariates=["cluster"])
            assert model.covariates_.columns[0].levels == ("0", "1", "2")


def test_categories_are_named_in_fit():
    clusters = np.arange(40) % 3
    model = CountModel(**FAST).fit(COUNTS, covariates={"c": clusters}, categorical=["c"])
    assert model.covariates_.columns[0].levels == ("0", "1", "2")
    assert model.sample(2, covariates={"c": 2}).shape == (2, 4)
    with pytest.raises(ValueError, match="categorical names 'd', which is none of .* c$"):
        CountModel(**FAST).fit(COUNTS, covariates={"c": clusters}, categorical=["d"])


def test_tensors_and_arrays_are_the_values_that_they_hold():
    ages = torch.arange(40.0)
    model = CountModel(**FAST).fit(COUNTS, covariates={"age": ages})
    assert model.covariates_.names == ("age",)
    listed = CountModel(**FAST).fit(COUNTS, covariates={"age": ages.tolist()})
    assert listed.covariates_ == model.covariates_ and np.array_equal(listed.loss_, model.loss_)
    for one in (np.array(3.0), torch.tensor(3.0), 3):
        assert model.sample(covariates={"age": one}).shape == (1, 4)
    hidden = np.ma.array(AGE, mask=[True] + [False] * 39)
    missing = CountModel(**FAST).fit(COUNTS, covariates={"age": hidden})
    assert missing.covariates_.columns[0].mean == 20
    with pytest.raises(ValueError, match=r"'age' has shape \(40, 1\); give one value a sample"):
        CountModel(**FAST).fit(COUNTS, covariates={"age": ages[:, None]})


def test_a_covariate_is_not_called_as_a_feature_is():
    with pytest.raises(ValueError, match="covariate 'x' has the name of a feature: rename one"):
        CountModel(**FAST).fit(frame()[list("wxyz")], covariates={"x": AGE})


def test_samples_are_as_many_as_library_sizes():
    model = CountModel(library_size="covariate", **FAST).fit(COUNTS, covariates={"age": AGE})
    for sizes in ([5, 6], np.array([5.0, 6.0])):
        assert model.sample(library_size=sizes).shape == (2, 4)
    assert model.sample(library_size=5).shape == (1, 4)
    for n, covariates in ((3, None), (None, {"age": [1, 2, 3]})):
        with pytest.raises(ValueError, match="library_size has 2 values for 3 samples; give one"):
            model.sample(n, library_size=[5, 6], covariates=covariates)
    model.set_params(library_size=None)
    assert not hasattr(model.fit(COUNTS), "library_sizes_")


def test_without_a_table_nothing_is_matched():
    series = pd.Series([1, 2], index=["x", "y"], name="age")
    assert list(by_name(series, None)) == ["age"] and by_name(None, None) == {}
