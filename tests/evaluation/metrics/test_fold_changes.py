"""The slope of fold changes: 1 of the same law, its error that of repetition, errors corrected."""

import math

import numpy as np
import pytest
import torch

from markovbridge.evaluation.metrics import evaluate_fold_changes, fold_changes, table
from markovbridge.evaluation.metrics.evaluation import SLOPE, lower_is_better

META = {"weights": "ema", "sampler": "Bridge", "evaluations": 50, "seed": 3, "split": "test"}
D = 40
RNG = np.random.default_rng(7)
BASE, EFFECT = RNG.uniform(0.6, 3, D), RNG.normal(0, 0.3, (3, D))


def draw(n, rng, classes=3, strength=1.0, spread=0.5):
    """Poisson counts of some classes, with a gamma depth that all features of a row share."""
    kind = np.arange(n) % classes
    depth = rng.gamma(1 / spread**2, spread**2, (n, 1)) if spread else 1.0
    means = BASE * np.exp(strength * EFFECT[kind]) * depth
    return torch.from_numpy(rng.poisson(means)), kind.tolist()


def ratio(x, kinds):
    """Log ratio of the first class to the second."""
    means = [x[np.array(kinds) == k].double().mean(0).log() for k in range(2)]
    return (means[0] - means[1]).numpy()


@pytest.mark.parametrize("classes", [2, 3])
def test_of_the_same_law_it_is_1_and_its_error_is_that_of_repetition(classes):
    rng = np.random.default_rng(0)
    two = [(draw(150, rng, classes), draw(150, rng, classes)) for _ in range(60)]
    found = [fold_changes(*one, *other) for one, other in two]
    values, errors = (np.array([getattr(f, key) for f in found]) for key in ("slope", "error"))
    assert abs(values.mean() - 1) < 4 * values.std() / 60**0.5
    assert 0.7 < np.sqrt((errors**2).mean()) / values.std() < 1.4
    assert found[0].classes == classes and found[0].features == D
    # What least squares makes of it, which takes chance for differences.
    plain = [np.polyfit(ratio(*other), ratio(*one), 1)[0] for one, other in two]
    assert np.mean(plain) < 0.93


def test_classes_that_are_too_much_alike_have_a_lower_slope():
    rng = np.random.default_rng(0)
    found = [fold_changes(*draw(150, rng, 2, 0.5), *draw(150, rng, 2)) for _ in range(20)]
    values = np.array([f.slope for f in found])
    assert abs(values.mean() - 0.5) < 4 * values.std() / 20**0.5
    assert all(abs(f.slope - 0.5) < 4.5 * f.error for f in found)


def test_one_feature_more_deep_in_a_class_is_no_slope():
    """A factor of all features of a class moves the line, and does not turn it."""
    rng = np.random.default_rng(3)
    x, kinds = draw(3000, rng, classes=2, spread=0)
    y, others = draw(3000, rng, classes=2, spread=0)
    twice = torch.where(torch.tensor(kinds).unsqueeze(1) == 0, 2 * x, x)
    one, other = fold_changes(x, kinds, y, others), fold_changes(twice, kinds, y, others)
    assert other.slope == pytest.approx(one.slope, abs=0.05)


def test_order_of_rows_and_names_of_classes_do_not_matter():
    rng = np.random.default_rng(1)
    (x, kinds), (y, others) = draw(120, rng), draw(120, rng)
    names = {0: "b", 1: "a", 2: "c"}
    one = fold_changes(x, kinds, y, others)
    renamed = fold_changes(x, [names[k] for k in kinds], y, [names[k] for k in others])
    assert renamed.slope == pytest.approx(one.slope, rel=1e-9)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    mixed = fold_changes(x[order], [kinds[i] for i in order], y, others)
    assert mixed.slope == pytest.approx(one.slope, rel=1e-9)


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(2)
    (x, kinds), (y, others) = draw(90, rng), draw(90, rng)
    record = evaluate_fold_changes(x, kinds, y, others, name="type", meta=META, repeats=2)
    assert record.metric == SLOPE and not lower_is_better(record)
    assert record.extractor == "40 features, 3 classes of type" and record.undefined is None
    assert f"{record.value:.4g} ± {record.error:.2g}" in table([record])
    few = evaluate_fold_changes(x[:50], kinds[:50], y, others, name="type", meta=META, repeats=1)
    assert few.value is None and "2 classes of 20 rows" in few.undefined
    assert "–" in table([few])
    unknown = [None if k == 0 else k for k in kinds]
    assert fold_changes(x, unknown, y, others).classes == 2
    assert math.isnan(fold_changes(x[:, :2], kinds, y[:, :2], others).slope)
    with pytest.raises(ValueError, match="samples has 90 rows and 3 classes"):
        fold_changes(x, kinds[:3], y, others)
    with pytest.raises(ValueError, match="the same event"):
        fold_changes(x[:, :2], kinds, y, others)
