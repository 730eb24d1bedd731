"""Sources say where they are, what brings them, and what may stand in for them."""

import numpy as np
import pytest
import torch

from markovbridge.data import (
    CIFAR10,
    IDX,
    Arrays,
    Binarised,
    CountTable,
    Dataset,
    Digits,
    ImageFolder,
    Selected,
    Source,
    Synthetic,
    locations,
    write_table,
)
from markovbridge.data.synthetic import stand_in

ABSENT = {
    "idx": (IDX("mnist"), (1, 28, 28), 255),
    "cifar10": (CIFAR10(), (3, 32, 32), 255),
    "images": (ImageFolder(name="faces", size=24, channels=1), (1, 24, 24), 255),
    "table": (CountTable("none.h5ad"), (1000,), 255),
    "binarised": (Binarised(CIFAR10()), (3, 32, 32), 1),
    "selected": (Selected(IDX("fashion-mnist"), (1, 2)), (1, 28, 28), 255),
    "both": (Binarised(Selected(CIFAR10(), (1,))), (3, 32, 32), 1),
}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv(locations.VARIABLE, raising=False)
    monkeypatch.setattr(locations, "SYSTEM", tmp_path / "system")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ABSENT)
def test_one_that_is_not_here_says_what_brings_it_and_has_a_stand_in(name):
    source, shape, maximum = ABSENT[name]
    assert not source.here
    with pytest.raises(FileNotFoundError) as error:
        source.where()
    assert source.remedy
    assert str(error.value).endswith(source.remedy)
    made = stand_in(source, "train", 5).load("all")
    assert (made.x.shape, made.maximum) == ((5, *shape), maximum)
    assert made.x.max() <= maximum


def test_one_of_unknown_shape_has_to_be_here():
    for source in (IDX("mine"), Arrays("none.npy")):
        assert not source.here
        with pytest.raises(FileNotFoundError):
            stand_in(source)


def test_one_that_needs_no_file_is_here():
    for source, shape, maximum in (
        (Digits(), (1, 8, 8), 16),
        (Synthetic(shape=(3, 4), maximum=7), (3, 4), 7),
        (Selected(Digits(), (3,)), (1, 8, 8), 16),
        (Binarised(Digits()), (1, 8, 8), 1),
    ):
        assert (source.here, source.where(), source.remedy) == (True, None, "")
        known = source.outline()
        assert (known.shape, known.maximum) == (shape, maximum)


def test_one_that_is_here_says_where_and_stands_in_for_itself(tmp_path):
    np.save(tmp_path / "x.npy", np.full((8, 3), 9))
    write_table(tmp_path / "x.csv", np.full((8, 2), 9), columns={"age": range(8)})
    arrays, table = Arrays("x.npy"), CountTable("x.csv", covariates=("age",))
    for source, width in ((arrays, 3), (table, 2)):
        assert source.here
        assert source.where().samefile(tmp_path / source.path)
        assert stand_in(source).load("all").shape == (width,)
    assert table.outline().covariates == table.load().covariates
    assert arrays.outline().covariates is None


def test_a_table_that_is_not_here_names_its_covariates():
    known = CountTable("none.csv", covariates=("age", "batch")).outline()
    assert known.covariates.names == ("age", "batch")
    assert CountTable("none.csv").outline().covariates is None


def test_one_of_ones_own_implements_load_alone():
    class Mine(Source):
        def load(self, split="train"):
            return Dataset(torch.ones(3, 2).long(), None, "mine", split, "here", "mine")

    assert (Mine().here, Mine().where(), Mine().remedy) == (True, None, "")
    assert stand_in(Mine(), n=4).load("all").x.shape == (4, 2)
