from importlib import resources

import pytest
import torch

from markovbridge.data import Digits


def test_all_images_are_the_published_ones():
    data = Digits().load("all")
    assert data.x.shape == (1797, 1, 8, 8)
    assert data.x.dtype == torch.uint8
    assert data.maximum == 16
    assert (int(data.x.min()), int(data.x.max())) == (0, 16)
    assert int(data.x.sum(dtype=torch.int64)) == 561_718
    assert data.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # The first line of the published table: a zero.
    assert data.labels[0] == 0
    assert data.x[0, 0].tolist() == [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ]


def test_the_splits_hold_every_image_once():
    parts = [Digits(seed=5).load(split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [1437, 180, 180]
    together = torch.cat([part.x for part in parts]).flatten(1).long()
    everything = Digits().load("all").x.flatten(1).long()
    assert torch.equal(together.unique(dim=0), everything.unique(dim=0))
    assert torch.equal(together.sum(0), everything.sum(0))


def test_labels_follow_their_images():
    whole, part = Digits().load("all"), Digits().load("test")
    for x, label in zip(part.x, part.labels, strict=True):
        assert label in whole.labels[(whole.x == x).flatten(1).all(1)]


def test_nothing_held_out_trains_on_everything():
    assert len(Digits(validation=0, test=0).load("train")) == 1797
    with pytest.raises(ValueError, match="the validation split of 1797 samples is empty"):
        Digits(validation=0).load("validation")


def test_ships_with_its_licence():
    licence = resources.files("markovbridge.data").joinpath("digits.LICENSE").read_text()
    assert "creativecommons.org/licenses/by/4.0" in licence
    assert "Alpaydin" in licence
