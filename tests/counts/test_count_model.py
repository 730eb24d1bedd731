"""`CountModel`: scikit-learn manners, and that what it draws is right on known laws."""

import inspect
import json

import numpy as np
import pytest
import torch
from scipy import sparse

from markovbridge import CountModel, EndNLL, NegativeBinomialHead, PathKL, statistics
from markovbridge.data.meeting import LIBRARY
from markovbridge.data.rows import dense
from markovbridge.exact import FitMixture
from markovbridge.samplers.known_sites import Masking
from markovbridge.training import Trainer

FAST = {"steps": 3, "width": 8, "depth": 1, "batch_size": 16, "random_state": 0}
FAST |= {"base": None, "tolerance": 1.0}  # no base law is fitted, and scores are rough


def table(n=60, key=0):
    """Two kinds of rows: the first two columns are high in one, the others in the other."""
    rng = np.random.default_rng(key)
    kind = rng.integers(2, size=n)
    means = np.array([[8.0, 6.0, 0.5, 1.0], [0.5, 1.0, 9.0, 5.0]])[kind]
    return rng.poisson(means), kind


@pytest.fixture(scope="module")
def trained():
    """A model of `table`, trained for a few seconds."""
    counts, kind = table(2000)
    model = CountModel(
        steps=500, width=48, learning_rate=3e-3, library_size="covariate", random_state=1
    )
    return model.fit(counts, covariates={"kind": np.where(kind == 0, "a", "b")})


def test_parameters_are_those_of_the_constructor_unchanged():
    head, masking = NegativeBinomialHead(), Masking(none=0.2)
    model = CountModel(head=head, masking=masking, width=16)
    params = model.get_params()
    assert list(params) == list(inspect.signature(CountModel).parameters)
    assert params["head"] is head and params["masking"] is masking and params["width"] == 16
    assert model.set_params(width=32, head=None) is model
    assert model.width == 32 and model.head is None
    with pytest.raises(ValueError, match="no parameter 'wide'; it has network, width"):
        model.set_params(wide=3)


def test_repr_names_what_is_not_usual():
    assert repr(CountModel()) == "CountModel()"
    assert (
        repr(CountModel(width=8, objective=EndNLL())) == "CountModel(width=8, objective=EndNLL())"
    )


def test_clone_and_cross_validation_of_scikit_learn():
    base = pytest.importorskip("sklearn.base")
    selection = pytest.importorskip("sklearn.model_selection")
    counts, _ = table()
    model = CountModel(**FAST)
    model.fit(counts)
    copy = base.clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "transport_")
    search = selection.GridSearchCV(model, {"width": [8, 12]}, cv=2).fit(counts)
    assert search.best_params_["width"] in (8, 12)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_copy_made_as_clone_makes_it_trains_to_the_same_model():
    counts, _ = table()
    first = CountModel(**FAST).fit(counts)
    second = CountModel(**first.get_params(deep=False)).fit(counts)
    assert np.array_equal(first.sample(7), second.sample(7))
    assert np.array_equal(first.loss_, second.loss_) and first.loss_.shape == (3,)
    other = CountModel(**FAST | {"random_state": 1}).fit(counts)
    assert not np.array_equal(first.loss_, other.loss_)


def test_samples_follow_the_seed():
    counts, _ = table()
    model = CountModel(**FAST).fit(counts)
    assert model.sample(5).shape == (5, 4)
    assert np.array_equal(model.sample(5, random_state=3), model.sample(5, random_state=3))
    assert not np.array_equal(model.sample(50, random_state=3), model.sample(50, random_state=4))
    numpy = [model.sample(9, random_state=np.random.default_rng(2)) for _ in range(2)]
    assert np.array_equal(*numpy)


def test_the_network_may_be_attention():
    counts, _ = table()
    model = CountModel(**FAST, network="attention").fit(counts)
    assert type(model.transport_.network).__name__ == "Attention"
    assert model.sample(3).shape == (3, 4)


def test_what_is_no_parameter_is_refused_when_fitting():
    counts, _ = table()
    with pytest.raises(ValueError, match="library_size must be"):
        CountModel(library_size="given").fit(counts)
    with pytest.raises(ValueError, match="network must be"):
        CountModel(network="unet").fit(counts)
    with pytest.raises(ValueError, match="looks like normalised data"):
        CountModel(**FAST).fit(counts / 3)
    with pytest.raises(TypeError, match="covariates is the text 'kind'"):
        CountModel(**FAST).fit(counts, covariates="kind")
    with pytest.raises(ValueError, match="no covariate 'kind'; its columns are none"):
        CountModel(**FAST).fit(counts, covariates=["kind"])


def test_nothing_works_before_fitting():
    model = CountModel()
    for call in (
        lambda: model.sample(2),
        lambda: model.restore(table()[0], 0.5),
        lambda: model.impute(table()[0]),
        lambda: model.score(table()[0]),
        lambda: model.save("nowhere"),
    ):
        with pytest.raises(ValueError, match="not fitted yet: call fit"):
            call()


def test_other_columns_are_refused():
    pd = pytest.importorskip("pandas")
    counts, _ = table()
    frame = pd.DataFrame(counts, columns=list("abcd"))
    model = CountModel(**FAST).fit(frame)
    assert list(model.feature_names_in_) == list("abcd") and model.n_features_in_ == 4
    with pytest.raises(ValueError, match="X has 3 features, but CountModel is expecting 4"):
        model.score(counts[:, :3])
    with pytest.raises(ValueError, match="'d' missing, and 'e' unknown to the model; give the 4"):
        model.score(frame.rename(columns={"d": "e"}))
    assert model.score(counts) == model.score(frame)  # an array has no names to compare
    model.fit(counts)
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("kind", ["sparse", "frame", "anndata"])
def test_what_goes_in_comes_out(kind):
    counts, batch = table()
    covariates = None
    if kind == "sparse":
        given, like = sparse.csr_matrix(counts), sparse.issparse
    elif kind == "frame":
        pd = pytest.importorskip("pandas")
        given = pd.DataFrame(counts, columns=list("abcd")).assign(batch=batch.astype(str))
        covariates, like = ["batch"], lambda made: isinstance(made, pd.DataFrame)
    else:
        anndata, pd = pytest.importorskip("anndata"), pytest.importorskip("pandas")
        obs = pd.DataFrame({"batch": batch.astype(str)}, index=[f"c{i}" for i in range(60)])
        given = anndata.AnnData(counts.astype(np.float32), obs=obs)
        covariates, like = ["batch"], lambda made: isinstance(made, anndata.AnnData)
    model = CountModel(**FAST, library_size="covariate").fit(given, covariates=covariates)
    told = {"batch": "1"} if covariates else None
    made = model.sample(5, covariates=told)
    assert like(made) and made.shape == (5, 5 if kind == "frame" else 4)
    if covariates:
        column = made.obs["batch"] if kind == "anndata" else made["batch"]
        assert list(column) == ["1"] * 5
    restored = model.restore(given[:6], 0.5, draws=3)
    assert like(restored.mean) and restored.draws.shape == (3, 6, 4)
    names = [c.name for c in model.covariates_.columns]
    assert names == [*(covariates or ()), LIBRARY]


def test_restored_counts_are_no_less_than_what_was_seen():
    counts, _ = table()
    model = CountModel(**FAST).fit(counts)
    restored = model.restore(counts[:8], 0.3, draws=19)
    assert (restored.draws >= counts[:8]).all()
    low, high = restored.interval(0.9)
    assert (counts[:8] <= low).all() and (low <= high).all()
    assert (restored.mean >= counts[:8]).all()
    np.testing.assert_allclose(restored.std, restored.draws.std(0, ddof=1))


def test_imputing_keeps_what_was_measured():
    counts, _ = table()
    model = CountModel(**FAST).fit(counts)
    holes = counts[:9].astype(float)
    mask = np.random.default_rng(0).random(holes.shape) < 0.5
    holes[~mask] = np.nan
    by_nan = model.impute(holes, draws=3)
    by_mask = model.impute(counts[:9], mask, draws=3)
    assert np.array_equal(by_nan.draws, by_mask.draws)
    assert (by_nan.draws[:, mask] == counts[:9][mask]).all()
    assert (by_nan.mean[mask] == counts[:9][mask]).all()
    with pytest.raises(ValueError, match="nothing is missing in X"):
        model.impute(counts[:9])
    with pytest.raises(ValueError, match=r"observed has shape \(2, 4\), X \(9, 4\)"):
        model.impute(counts[:9], mask[:2])


def test_a_saved_model_is_the_same_model(tmp_path):
    counts, kind = table()
    own = {"head": NegativeBinomialHead(), "objective": PathKL() + EndNLL(), "base": FitMixture()}
    model = CountModel(**FAST | own)
    model.fit(counts, covariates={"kind": kind.astype(str)})
    model.save(tmp_path / "model")
    again = CountModel.load(tmp_path / "model")
    assert again.get_params() == model.get_params()
    assert np.array_equal(again.sample(4), model.sample(4))
    assert again.score(counts) == model.score(counts)
    assert again.n_features_in_ == 4 and again.kind_ == "array"
    with pytest.raises(FileNotFoundError, match=r"there is no .*count_model.json"):
        CountModel.load(tmp_path / "other")
    file = tmp_path / "model" / "count_model.json"
    file.write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match="count_model.json is damaged"):
        CountModel.load(tmp_path / "model")


def test_an_interrupted_fit_continues_in_its_folder(tmp_path):
    counts, _ = table()
    whole = CountModel(**FAST).fit(counts)
    first = CountModel(**FAST).fit(counts, directory=tmp_path / "run")
    assert (tmp_path / "run" / "log.txt").is_file()
    again = CountModel(**FAST).fit(counts, directory=tmp_path / "run")  # nothing is left to do
    assert again.loss_.shape == (0,)
    for model in (first, again):
        assert np.array_equal(model.sample(4), whole.sample(4))


def test_a_small_table_is_not_learned_by_heart():
    rng = np.random.default_rng(6)
    counts, fresh = rng.poisson(2.0, (30, 40)), rng.poisson(2.0, (64, 40))
    own = FAST | {"steps": 150, "width": 64, "masking": None, "learning_rate": 5e-3}
    best = CountModel(**own, validation_fraction=0.3).fit(counts)
    last = CountModel(**own, validation_fraction=0).fit(counts)
    assert best.best_step_ < 150 and best.best_step_ % 5 == 0 and last.best_step_ == 150
    assert best.score(fresh) > last.score(fresh) + 1
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), not 1"):
        CountModel(**FAST, validation_fraction=1).fit(counts)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_held_out_rows_are_a_random_part_and_not_trained_on(kind, monkeypatch):
    seen = []

    class Spy(Trainer):
        def __init__(self, transport, data, config, *, validation, **others):
            seen.append((data, validation))
            super().__init__(transport, data, config, validation=validation, **others)

    monkeypatch.setattr("markovbridge.counts.model.Trainer", Spy)
    counts = np.arange(50)[:, None] * np.ones((1, 3), dtype=int)
    covariates = {"age": np.arange(50.0)}
    CountModel(**FAST).fit(kind(counts), covariates=covariates)
    train, held = ([int(v) for v in dense(part.x)[:, 0]] for part in seen[0])
    assert len(held) == 5 and sorted(train + held) == list(range(50))
    assert held != list(range(5)) and held != list(range(45, 50))
    for part, index in zip(seen[0], (train, held), strict=True):
        age = (np.array(index) - 24.5) / np.arange(50.0).std()
        np.testing.assert_allclose(part.condition[:, 0].numpy(), age, rtol=1e-5)


def test_library_sizes_can_be_asked_for_only_if_they_were_told():
    counts, _ = table()
    model = CountModel(**FAST).fit(counts)
    assert model.covariates_ is None
    with pytest.raises(ValueError, match="fit it with library_size='covariate'"):
        model.sample(2, library_size=30)
    with pytest.raises(ValueError, match="fitted without covariates, not \\['kind'\\]"):
        model.sample(2, covariates={"kind": "a"})


def test_samples_have_the_moments_of_the_data(trained):
    counts, _ = table(4000, key=9)
    made = trained.sample(1500)
    # Standard errors of both means: below sqrt(2 var / 1500); 5 of them, and 8 % for the network.
    error = 5 * np.sqrt(2 * counts.var(0) / 1500) + 0.08 * counts.mean(0)
    assert (np.abs(made.mean(0) - counts.mean(0)) < error).all()
    assert np.corrcoef(made[:, 0], made[:, 2])[0, 1] < -0.5  # two kinds of rows
    np.testing.assert_allclose(made.var(0), counts.var(0), rtol=0.25)


def test_covariates_and_depth_say_which_rows_to_draw(trained):
    first, second = (trained.sample(400, covariates={"kind": kind}) for kind in "ab")
    np.testing.assert_allclose(first.mean(0)[:2], [8, 6], rtol=0.15)
    np.testing.assert_allclose(second.mean(0)[2:], [9, 5], rtol=0.15)
    assert first.mean(0)[2] < 1.5 and second.mean(0)[0] < 1.5
    shallow, deep = (trained.sample(400, library_size=total).sum(1) for total in (10, 22))
    assert abs(shallow.mean() - 10) < 1.5 and abs(deep.mean() - 22) < 2.5


def test_the_score_is_near_the_truth_and_below_it(trained):
    counts, kind = table(200, key=5)
    means = np.array([[8.0, 6.0, 0.5, 1.0], [0.5, 1.0, 9.0, 5.0]])
    from scipy.stats import poisson

    log = np.stack([poisson(m).logpmf(counts).sum(1) for m in means])
    truth = np.logaddexp(*(log + np.log(0.5))).mean()
    assert truth - 0.6 < trained.score(counts) < truth + 0.1


def test_missing_entries_are_drawn_from_their_law_given_the_others(trained):
    counts, kind = table(150, key=7)
    holes = counts.astype(float)
    holes[:, [1, 3]] = np.nan
    mean = trained.impute(holes, draws=10).mean
    # Columns 0 and 2 tell the kind almost surely, and beyond it columns are independent.
    np.testing.assert_allclose(mean[kind == 0][:, [1, 3]].mean(0), [6, 1], atol=0.6)
    np.testing.assert_allclose(mean[kind == 1][:, [1, 3]].mean(0), [1, 5], atol=0.6)


def test_restored_counts_have_the_mean_of_the_posterior(trained):
    counts, kind = table(150, key=8)
    rng = np.random.default_rng(1)
    thin = rng.binomial(counts, 0.5)
    found = trained.restore(thin, 0.5, draws=10)
    mean = found.mean
    np.testing.assert_allclose(found.draws.mean((0, 1)), mean.mean(0), atol=0.25)
    means = np.array([[8.0, 6.0, 0.5, 1.0], [0.5, 1.0, 9.0, 5.0]])[kind]
    # What was lost of Poisson counts does not depend on what was kept.
    lost = (mean - thin)[kind == 0].mean(0), means[kind == 0].mean(0) / 2
    np.testing.assert_allclose(*lost, atol=0.5)


def test_no_generator_of_torch_is_touched():
    counts, _ = table()
    torch.manual_seed(4)
    before = torch.get_rng_state()
    CountModel(**FAST | {"random_state": None}).fit(counts).sample(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_more_rows_than_memory_and_parts_that_are_none_are_refused():
    model = CountModel(steps=2, width=8, depth=1).fit(np.arange(60).reshape(30, 2))
    with pytest.raises(ValueError, match="n = 1000000000000 samples take .* take fewer"):
        model.sample(10**12)
    with pytest.raises(TypeError, match=r"a part of the data must be a Tensor, not a int \(1\)"):
        statistics([1, 2])
