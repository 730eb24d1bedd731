"""`CountModel.differences`: completed tables, features and groups are those that were given."""

import numpy as np
import pytest
import torch

from known_models import SharedDepth, count_model, shared_depth
from markovbridge import PureDeath
from markovbridge.evaluation.differences import differences
from markovbridge.samplers.known_sites import Masking

MEAN = np.array([4.0, 2.0, 5.0, 9.0])


def model(size=3.0, **params):
    law = SharedDepth(PureDeath(), torch.from_numpy(MEAN), size)
    made = count_model(law, MEAN, masking=Masking(), **params)
    made.feature_names_in_ = np.array(list("pqrs"), dtype=object)
    return made


def data(n, seed, size=3.0):
    return shared_depth(n, MEAN, size, np.random.default_rng(seed)).numpy()


def columns(found):
    return {name: np.asarray(found[name]) for name in found}


def test_missing_entries_are_drawn_and_pooled():
    a, b = data(20, 0).astype(float), data(15, 1).astype(float)
    a[:10, 0] = b[5:, 3] = np.nan
    found = model().differences(a, b, draws=6, random_state=4)
    rng = torch.Generator().manual_seed(4)
    drawn = []
    for x in (a, b):
        made = model().impute(x, draws=6, random_state=rng)
        drawn.append(torch.from_numpy(made.draws))
    expected = differences(*drawn)
    for name, values in columns(found).items():
        np.testing.assert_allclose(values, getattr(expected, name), err_msg=name)
    assert (np.asarray(found["missing"]) > 0).tolist() == [True, False, False, True]


def test_it_comes_as_a_frame_of_the_features(monkeypatch):
    pd = pytest.importorskip("pandas")
    a, b = (pd.DataFrame(data(20, k), columns=list("pqrs")) for k in (0, 1))
    found = model().differences(a, 3 * b, draws=2)
    assert list(found.index) == list("pqrs")
    assert found["log_fold_change"].to_numpy() == pytest.approx(
        np.log(3 * b.mean().to_numpy() / a.mean().to_numpy())
    )
    assert (found["p_value"] < 1e-2).all() and (found["adjusted"] >= found["p_value"]).all()
    with pytest.warns(UserWarning, match="another order"):
        turned = model().differences(a[list("sprq")], 3 * b, draws=2)
    pd.testing.assert_frame_equal(turned, found)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    plain = model().differences(a.to_numpy(), 3 * b.to_numpy(), draws=2)
    assert isinstance(plain, dict) and list(plain) == list(found.columns)
    np.testing.assert_allclose(plain["p_value"], found["p_value"])


def test_thinned_groups_are_restored_each_by_its_own_survival():
    a, b = data(150, 0), 2 * data(150, 1)
    rng = np.random.default_rng(2)
    thin_a, thin_b = rng.binomial(a, 0.5), rng.binomial(b, 0.8)
    both = model(size=1.0).differences(thin_a, thin_b, survival=(0.5, 0.8), draws=4)
    assert columns(both)["mean_a"] == pytest.approx(a.mean(0), rel=0.15)
    # What 80 % of the units say is shrunk a little towards the model, which knows of no groups.
    assert columns(both)["log_fold_change"] == pytest.approx(
        np.log(b.mean(0) / a.mean(0)), abs=0.2
    )
    same = model(size=1.0).differences(thin_a, thin_b, survival=0.5, draws=2)
    assert columns(same)["mean_b"].sum() > 1.3 * columns(both)["mean_b"].sum()


def test_groups_of_one_law_are_hardly_ever_found_different():
    """A model that knows of no groups errs on the safe side."""
    few = []
    for seed in range(8):
        a, b = data(25, 2 * seed), data(25, 2 * seed + 1)
        mask = np.random.default_rng(seed).random(a.shape) < 0.6
        found = model().differences(a, b, observed=mask, draws=5, random_state=seed)
        few += np.asarray(found["p_value"]).tolist()
        assert (np.asarray(found["missing"]) > 0).all()
    assert np.mean(np.array(few) < 0.2) < 0.25


def test_fewer_than_two_draws_are_refused():
    with pytest.raises(ValueError, match="draws must be at least 2, not 1"):
        model().differences(data(5, 0), data(5, 1), draws=1)
    with pytest.raises(ValueError, match="at least two rows each"):
        model().differences(data(5, 0), data(1, 1))
