import pytest
import torch

from markovbridge.data import Arrays, Digits, Selected
from markovbridge.storage.config import from_config, to_config


def test_only_the_chosen_labels_are_kept():
    every, some = Digits().load("all"), Selected(Digits(), (3, 7)).load("all")
    assert some.labels is not None
    assert set(some.labels.tolist()) == {3, 7}
    kept = torch.tensor([label in (3, 7) for label in every.labels.tolist()])
    assert torch.equal(some.x, every.x[kept])
    assert some.name == "digits [3, 7]"
    assert (some.maximum, some.label_names) == (every.maximum, every.label_names)


def test_splits_are_those_of_the_source():
    sizes = [len(Selected(Digits(), (0, 1)).load(s)) for s in ("train", "validation", "test")]
    assert sum(sizes) == len(Selected(Digits(), (0, 1)).load("all"))


def test_configuration():
    source = Selected(Digits(seed=3), (1, 2))
    assert from_config(to_config(source)) == source


def test_refuses(tmp_path):
    import numpy as np

    with pytest.raises(ValueError, match="at least one class"):
        Selected(Digits(), ())
    with pytest.raises(ValueError, match="no sample of digits, split all, has a label among 11"):
        Selected(Digits(), (11,)).load("all")
    np.save(tmp_path / "x.npy", np.ones((20, 2), dtype=int))
    with pytest.raises(ValueError, match="has no labels to select by"):
        Selected(Arrays(tmp_path / "x.npy"), (1,)).load("all")
