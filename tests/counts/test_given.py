"""Tables that a fitted model is given: masks, panels, layers, and wrong ones."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from markovbridge import CountModel
from markovbridge.data import CountTable

anndata = pytest.importorskip("anndata")
FAST = {"steps": 2, "width": 8, "depth": 1, "batch_size": 16, "random_state": 0, "tolerance": 1.0}
FAST["base"] = None  # no base law is fitted
COUNTS = np.random.default_rng(0).poisson(3.0, (40, 4))
GENES = list("wxyz")


def frame(n=40):
    return pd.DataFrame(COUNTS[:n], [f"c{k}" for k in range(n)], GENES)


def cells(n=40):
    table = anndata.AnnData(sparse.csr_matrix(COUNTS[:n].astype("f4")))
    table.obs_names, table.var_names = [f"c{k}" for k in range(n)], GENES
    return table


@pytest.fixture(scope="module")
def model():
    return CountModel(**FAST).fit(frame())


def test_a_mask_of_the_features_holds_for_all_rows(model):
    seen = np.array([True, False, True, True])
    whole = model.impute(frame(6), np.tile(seen, (6, 1)), draws=2).draws
    for mask in (seen, seen[None], list(seen), seen.astype(int), pd.Series(seen, GENES)):
        assert np.array_equal(model.impute(frame(6), mask, draws=2).draws, whole)
    assert np.array_equal(whole[..., seen], np.broadcast_to(COUNTS[:6, seen], (2, 6, 3)))
    assert (whole[..., 1] != COUNTS[:6, 1]).any()
    turned = pd.DataFrame(np.tile(seen, (6, 1)), columns=GENES)[GENES[::-1]]
    with pytest.warns(UserWarning, match="features of observed are not in the order of X"):
        assert np.array_equal(model.impute(frame(6), turned, draws=2).draws, whole)
    with pytest.raises(ValueError, match=r"observed has shape \(3,\), X \(6, 4\): give a value"):
        model.impute(frame(6), seen[:3])


@pytest.mark.parametrize("make", [frame, cells])
def test_a_panel_of_fewer_genes_is_imputed(make):
    model = CountModel(**FAST).fit(make())
    table = make(6)
    if make is cells:
        table.var["long"] = ["W", "X", "Y", "Z"]
        table.layers["more"], table.obsm["place"] = table.X.copy(), np.ones((6, 2))
    panel = table[:, ["z", "w"]].copy() if make is cells else table[["z", "w"]]
    with pytest.warns(UserWarning, match="in another order") as said:
        found = model.impute(panel, draws=3)
    assert {warning.filename for warning in said} == {__file__}
    made = found.mean
    assert list(made.var_names if make is cells else made.columns) == ["z", "w", "x", "y"]
    assert (found.draws[..., :2] == COUNTS[:6, [3, 0]]).all()
    # The same draws as of the whole table, of which these columns were not measured.
    whole = model.impute(make(6), [True, False, False, True], draws=3)
    assert np.array_equal(found.draws[..., [1, 2, 3, 0]], whole.draws)
    if make is cells:
        assert list(made.var["long"][:2]) == ["Z", "W"] and made.var["long"][2:].isna().all()
        assert not made.layers and np.array_equal(made.obsm["place"], np.ones((6, 2)))
        assert np.array_equal(made[:, ["z", "w"]].X.toarray(), panel.X.toarray())
    # A mask is of the panel; of an entry that was not measured there is a draw as well.
    with pytest.warns(UserWarning, match="in another order"):
        half = model.impute(panel, [True, False], draws=3)
    assert (half.draws[..., 0] == COUNTS[:6, 3]).all()
    assert (half.draws[..., 1] != COUNTS[:6, 0]).any()


def test_a_panel_is_for_imputing_only(model):
    panel = frame(6)[["w", "x", "z"]]
    remedy = r"'y' missing; .* by their names; impute\(X\) fills in those that X lacks"
    for call in (lambda: model.restore(panel, 0.5), lambda: model.score_samples(panel)):
        with pytest.raises(ValueError, match=remedy):
            call()
    odd = panel.rename(columns={"x": "v"})
    with pytest.raises(ValueError, match="'x', 'y' missing, and 'v' unknown") as refused:
        model.impute(odd)
    assert "impute" not in str(refused.value)
    with pytest.raises(ValueError, match="X has 3 features, but CountModel is expecting 4"):
        model.impute(COUNTS[:6, :3], [1, 1, 0])


def test_a_model_of_a_layer_reads_its_own_samples(tmp_path):
    table = anndata.AnnData(np.log1p(COUNTS), layers={"counts": COUNTS.astype("i4")})
    model = CountModel(**FAST, layer="counts").fit(table)
    made = model.sample(6)
    assert np.array_equal(made.layers["counts"], made.X) and made.X.dtype == np.int32
    restored = model.restore(made, 0.5, draws=3)
    assert np.array_equal(restored.mean.layers["counts"], restored.mean.X)
    score = model.score_samples(made, draws=4)
    del made.layers["counts"]  # X is taken, as of a file
    assert np.array_equal(model.score_samples(made, draws=4), score)
    made.write_h5ad(tmp_path / "made.h5ad")
    assert np.array_equal(model.score_samples(tmp_path / "made.h5ad", draws=4), score)
    assert np.array_equal(model.score_samples(np.asarray(made.X), draws=4), score)
    with pytest.raises(ValueError, match="no layer 'counts'"):
        CountModel(**FAST, layer="counts").fit(made)
    del table.layers["counts"]
    with pytest.raises(ValueError, match="looks like normalised data"):
        model.score(table)


def test_a_source_of_a_table_says_itself_where_its_counts_are(tmp_path):
    table = anndata.AnnData(np.log1p(COUNTS), layers={"counts": sparse.csr_matrix(COUNTS)})
    table.write_h5ad(tmp_path / "cells.h5ad")
    source = CountTable(tmp_path / "cells.h5ad", layer="counts")
    model = CountModel(**FAST).fit(source)
    assert model.form_.layer == "counts" and model.form_.sparse
    assert model.restore(source, 0.5, draws=1).mean.layers["counts"].shape == (40, 4)


def test_a_score_is_a_function_of_its_row(model):
    x = frame()
    score = model.score_samples(x, draws=8)
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(model.score_samples(x.iloc[order], draws=8), score[order])
    for rows in (slice(5, 6), slice(0, 40, 7)):
        np.testing.assert_allclose(model.score_samples(x.iloc[rows], draws=8), score[rows])
    twice = pd.concat([x[:3], x[:3]])
    np.testing.assert_allclose(model.score_samples(twice, draws=8), np.tile(score[:3], 2))


WRONG = {
    "text": (np.array([["1", "2"], ["3", "4"]], dtype=object), ValueError, "holds the text '1'"),
    "a row": (COUNTS[0], ValueError, r"shape \(4,\); give \(rows, features\): X.reshape\(1, -1\)"),
    "a hole": (np.array([[1, np.nan], [2, 3]]), ValueError, "X has NaN in row 0, feature 1"),
    "negative": (np.array([[1, 2], [-2, 3]]), ValueError, "Negative .* in row 1, feature 0"),
    "sparse": (sparse.csr_array([[1, 2], [0, -2]]), ValueError, "Negative .* row 1, feature 1"),
    "a diagonal": (
        sparse.dia_array([[1, 0], [0, -2]]),
        ValueError,
        "Negative .* row 1, feature 1",
    ),
    "words": (np.array([["a", "b"], ["c", "d"]]), TypeError, "counts are numbers"),
    "one row": (COUNTS[:1], ValueError, "n_samples=1"),
    "no rows": (COUNTS[:0], ValueError, r"X has 0 sample\(s\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_table_of_counts_is_refused(name):
    given, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        CountModel(**FAST).fit(given)


def test_a_panel_has_each_feature_once(model):
    with pytest.raises(ValueError, match="X has the feature 'w' several times, and lacks 'x' and"):
        model.impute(frame(6)[["z", "w", "w"]])


def test_a_mask_with_names_is_matched_by_them(model):
    seen = np.ones((6, 4), dtype=bool)
    seen[1, 2] = seen[4, 0] = False
    x = frame(6)
    whole = model.impute(x, seen, draws=2).draws
    mask = pd.DataFrame(seen, x.index, x.columns)
    more = mask.assign(kind=True)
    for given in (mask, more, sparse.csr_matrix(seen), mask.reset_index(drop=True)):
        assert np.array_equal(model.impute(x, given, draws=2).draws, whole)
    for given, what in ((mask[::-1], "rows"), (mask[GENES[::-1]], "features")):
        with pytest.warns(UserWarning, match=f"the {what} of observed are not in the order of X"):
            assert np.array_equal(model.impute(x, given, draws=2).draws, whole)
    plain = x.reset_index(drop=True)
    with pytest.warns(UserWarning, match="the rows of observed are not in the order of X"):
        turned = mask.reset_index(drop=True)[::-1]
        assert np.array_equal(model.impute(plain, turned, draws=2).draws, whole)
    with pytest.raises(ValueError, match="observed has no feature 'z': give values by the names"):
        model.impute(x, mask.rename(columns={"z": "v"}))
    with pytest.raises(ValueError, match="observed has no row 'c5'"):
        model.impute(x, mask.rename(index={"c5": "d"}))
    one = pd.DataFrame([[True, False, True, True]], columns=GENES)
    assert np.array_equal(
        model.impute(x, one, draws=2).draws, model.impute(x, one.iloc[0], draws=2).draws
    )


def test_what_a_mask_hides_is_missing(model):
    hidden = np.ma.array(COUNTS.copy(), mask=False)
    hidden[0, 1] = np.ma.masked
    hidden.data[0, 1] = 777
    for call in (CountModel(**FAST).fit, model.score_samples):
        with pytest.raises(ValueError, match="X has NaN in row 0, feature 1: counts must all be"):
            call(hidden)
    holes = COUNTS.astype(float)
    holes[0, 1] = np.nan
    made = model.impute(hidden[:4], draws=2).draws
    assert np.array_equal(made, model.impute(holes[:4], draws=2).draws)
    assert (made[:, 0, 1] != 777).all()
    whole = np.ma.array(COUNTS, mask=False)
    assert np.array_equal(CountModel(**FAST).fit(whole).loss_, model.loss_)
