"""Calibration of models of a known law: right ones and a deliberately bad one."""

import json

import numpy as np
import pytest
import torch

from known_models import SharedDepth, count_model, shared_depth
from markovbridge import CountModel, PureDeath, exact
from markovbridge.evaluation import calibration
from markovbridge.evaluation.restoration import held
from markovbridge.samplers.known_sites import Masking
from markovbridge.training.run_folder import RunFolder

MEAN = np.array([0.3, 2.0, 5.0, 9.0])
SIZE = 2.0


def data(n, seed=0):
    return shared_depth(n, MEAN, SIZE, np.random.default_rng(seed))


def right():
    law = SharedDepth(PureDeath(), torch.from_numpy(MEAN), SIZE)
    return count_model(law, MEAN, masking=Masking())


def bad():
    """It believes in a third of the means, and in independent features."""
    return count_model(exact.Poisson(PureDeath(), torch.from_numpy(MEAN) / 3), MEAN)


TASKS = [{"survival": 0.4}, {"observed": 0.5}]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_right_model_has_uniform_ranks_and_the_coverage_it_names(task):
    model = right()
    found = model.calibrate(data(200).numpy(), levels=(0.5, 0.8, 0.9), **task)
    assert found.uniform > 0.01 and found.rows == 200 and found.draws == 19
    assert sum(found.ranks) == pytest.approx(1)
    away = (np.array(found.ranks) - 0.05) / np.array(found.errors)
    assert np.abs(away).max() < 4.5
    for one in found.coverage:
        assert abs(one.plain.randomised - one.plain.level) < 4.5 * one.plain.error
        assert one.corrected > one.plain.level - 3 * one.error
        assert one.corrected >= one.plain.conservative - 0.01
    assert [one.plain.level for one in found.coverage] == [0.5, 0.8, 0.9]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_bad_model_is_seen_and_its_intervals_hold_all_the_same(task):
    model = bad()
    found = model.calibrate(data(120).numpy(), **task)
    assert found.uniform < 1e-6 and found.ranks[-1] > 0.2
    for one in found.coverage:
        assert one.plain.randomised < one.plain.level - 5 * one.plain.error
        assert one.corrected > one.plain.level - 3 * one.error
        assert one.width > one.plain.width
    new = data(120, seed=1)
    if "survival" in task:
        hidden = torch.ones_like(new, dtype=torch.bool)
        seen = torch.from_numpy(np.random.default_rng(2).binomial(new.numpy(), 0.4))
        made = model.restore(seen.numpy(), survival=0.4)
    else:
        hidden = torch.from_numpy(np.random.default_rng(2).random(new.shape) > 0.5)
        made = model.impute(new.numpy(), ~hidden.numpy())
    for level in (0.5, 0.9):
        assert made.corrected(level)
        low, high = (torch.from_numpy(end) for end in made.interval(level))
        share, error = held((low <= new) & (new <= high), hidden)
        assert share > level - 3 * error
        assert bool((low == high)[~hidden].all() and (low == new)[~hidden].all())
    low, high = (torch.from_numpy(end) for end in made.interval(0.9, corrected=False))
    assert held((low <= new) & (new <= high), hidden)[0] < 0.9 - 5 * error


def test_it_holds_in_each_group_of_features():
    model = bad()
    model.calibrate(data(120).numpy(), survival=0.4)
    (correction,) = (one.correction for one in model.calibrations_)
    assert correction.edges == (1.0,)
    new = data(150, seed=1)
    seen = np.random.default_rng(2).binomial(new.numpy(), 0.4)
    made = model.restore(seen, survival=0.4)
    low, high = (torch.from_numpy(end) for end in made.interval(0.9))
    inside = (low <= new) & (new <= high)
    for part in (slice(0, 1), slice(1, 4)):
        share, error = held(inside[:, part], torch.ones_like(inside[:, part]))
        assert share > 0.9 - 3 * error


def test_only_like_draws_are_corrected():
    model = bad()
    model.calibrate(data(30).numpy(), survival=0.4)
    x = data(5, seed=3).numpy()
    assert model.restore(x, 0.4).corrected(0.9)
    assert not model.restore(x, 0.4).corrected(0.8)
    assert not model.restore(x, 0.5).corrected(0.9)
    assert not model.restore(x, 0.4, draws=39).corrected(0.9)
    assert not model.impute(x, x > 1).corrected(0.9)
    model.tolerance = 0.5
    assert not model.restore(x, 0.4).corrected(0.9)
    model.tolerance = 1.0
    first = model.calibrations_
    model.calibrate(data(30, seed=5).numpy(), survival=0.4)
    assert len(model.calibrations_) == 1 and model.calibrations_ != first
    model.calibrate(data(30).numpy(), survival=0.2)
    assert [one.share for one in model.calibrations_] == [0.4, 0.2]


def test_the_order_of_the_features_is_that_of_the_table():
    pd = pytest.importorskip("pandas")
    model = bad()
    model.feature_names_in_ = np.array(list("abcd"), dtype=object)
    model.calibrate(pd.DataFrame(data(60).numpy(), columns=list("abcd")), survival=0.4)
    x = pd.DataFrame(data(7, seed=1).numpy(), columns=list("abcd"))
    straight = model.restore(x, 0.4, random_state=1).interval(0.9)
    with pytest.warns(UserWarning, match="another order"):
        turned = model.restore(x[list("dacb")], 0.4, random_state=1).interval(0.9)
    for one, other in zip(straight, turned, strict=True):
        assert list(other.columns) == list("dacb") and one.equals(other[list("abcd")])


def test_it_is_saved_with_the_model_and_old_models_load(tmp_path):
    counts = data(40).numpy()
    model = CountModel(steps=2, width=4, depth=1, batch_size=8, random_state=0).fit(counts)
    model.save(tmp_path / "m")
    assert not (tmp_path / "m" / "calibration.json").exists()  # as models of before
    assert list(CountModel.load(tmp_path / "m").calibrations_) == []
    found = model.calibrate(counts[:18], observed=0.5)
    model.save(tmp_path / "m")
    loaded = CountModel.load(tmp_path / "m")
    assert list(loaded.calibrations_) == [found]
    draws = [m.impute(counts[:3], counts[:3] > 2, random_state=1) for m in (model, loaded)]
    for one, other in zip(*(made.interval(0.9) for made in draws), strict=True):
        assert np.array_equal(one, other)
    assert draws[1].corrected(0.9)
    other = CountModel(steps=3, width=4, depth=1, batch_size=8, random_state=0).fit(counts)
    assert list(other.calibrations_) == []
    text = (tmp_path / "m" / "calibration.json").read_text()
    other.save(tmp_path / "m")
    assert not (tmp_path / "m" / "calibration.json").exists()
    (tmp_path / "m" / "calibration.json").write_text(text)
    with pytest.warns(UserWarning, match="is of other weights"):
        assert list(CountModel.load(tmp_path / "m").calibrations_) == []
    model.fit(counts)
    assert list(model.calibrations_) == []


def test_a_damaged_file_is_named(tmp_path):
    model = bad()
    found = model.calibrate(data(40).numpy(), survival=0.4)
    folder = RunFolder(tmp_path)
    calibration.write(folder, [found], "abc")
    assert calibration.read(folder, "abc") == calibration.read(folder, None) == [found]
    assert calibration.read(folder, "xyz") == []
    content = json.loads((tmp_path / "calibration.json").read_text())
    content["calibrations"][0]["correction"]["widening"][0].append(-1.0)
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="calibration.json is damaged .*calibrate the model"):
        calibration.read(folder, "abc")


def test_too_little_is_refused():
    model, x = bad(), data(40).numpy()
    with pytest.raises(ValueError, match="draws is 10; intervals of 0.9 take 19 at least"):
        model.calibrate(x, draws=10)
    with pytest.raises(ValueError, match="takes 18 rows, not 17"):
        model.calibrate(x[:17])
    with pytest.raises(ValueError, match="observed must be .*below 1, not 1"):
        model.calibrate(x, observed=1.0)
    with pytest.raises(ValueError, match=r"survival must lie in \(0, 1\), not 1.5"):
        model.calibrate(x, survival=1.5)
    with pytest.raises(ValueError, match="not fitted yet"):
        CountModel().calibrate(x)


def test_anndata_says_whether_intervals_are_corrected():
    anndata = pytest.importorskip("anndata")
    model = bad()
    model.calibrate(data(40).numpy(), survival=0.4)
    made = model.restore(anndata.AnnData(data(3, seed=1).numpy().astype("float32")), 0.4)
    for level, corrected in ((0.9, True), (0.8, False)):
        low, high = made.interval(level)
        assert low.uns["markovbridge"]["restore"]["corrected"] == corrected
        assert high.uns["markovbridge"]["restore"]["level"] == level
    assert "level" not in made.mean.uns["markovbridge"]["restore"]
