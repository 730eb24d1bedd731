import datetime
import math

import numpy as np
import pandas as pd
import pytest
import torch

from markovbridge.data import Covariate, Covariates
from markovbridge.data.covariates import is_category, is_missing, level_of
from markovbridge.storage.config import from_config, to_config

NAN = float("nan")


def fit(name, values, training=None, *, categorical=False):
    training = range(len(values)) if training is None else training
    return Covariate.fit(name, values, training, categorical=categorical)


class TestContinuous:
    def test_is_standardised_by_the_training_samples(self):
        age = fit("age", [1.0, 3.0, 100.0], training=[0, 1])
        assert (age.mean, age.scale) == (2.0, 1.0)
        assert age.encode([1.0, 3.0, 100.0]).tolist() == [[-1.0], [1.0], [98.0]]
        assert age.names == ("age",)

    def test_missing_values_do_not_count_and_stay_missing(self):
        age = fit("age", [1, None, 3, NAN, np.float32("nan"), pd.NA])
        assert (age.mean, age.scale) == (2.0, 1.0)
        assert age.encode([None, 5])[:, 0].isnan().tolist() == [True, False]

    def test_one_that_does_not_vary_becomes_zero(self):
        assert fit("age", [0.1] * 7).encode([0.1]).item() == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("value", ["old", math.inf])
    def test_refuses_what_is_no_number(self, value):
        with pytest.raises(ValueError, match="'age' has the value"):
            fit("age", [1.0, value])

    def test_refuses_a_training_set_without_values(self):
        with pytest.raises(ValueError, match="'age' has no value in the training set"):
            fit("age", [None, 1.0], training=[0])


class TestCategorical:
    def test_has_a_number_for_each_level_in_their_order(self):
        batch = fit("batch", ["b", "a", "b", "c"], training=[0], categorical=True)
        assert batch.levels == ("a", "b", "c")
        assert batch.names == ("batch=a", "batch=b", "batch=c")
        assert batch.encode(["c", "a"]).tolist() == [[0, 0, 1], [1, 0, 0]]

    def test_numbers_are_sorted_as_numbers_and_one_is_one(self):
        plate = fit("plate", [10, 2.0, np.int64(1), True, NAN], categorical=True)
        assert plate.levels == ("1", "2", "10", "True")
        assert plate.encode([1.0, "1"])[:, 0].tolist() == [1, 1]

    def test_a_missing_value_is_missing_in_all_of_its_numbers(self):
        batch = fit("batch", ["a", None, "b"], categorical=True)
        assert batch.levels == ("a", "b")
        assert batch.encode([None, "a", NAN]).isnan().all(1).tolist() == [True, False, True]

    def test_names_the_known_levels(self):
        with pytest.raises(
            ValueError, match="'d' is no known level of covariate 'batch'; .* a, b"
        ):
            fit("batch", ["a", "b"], categorical=True).encode(["d"])

    def test_refuses_one_without_values(self):
        with pytest.raises(ValueError, match="'batch' has no value"):
            fit("batch", [None], categorical=True)


class TestCovariates:
    both = Covariates((Covariate("batch", ("a", "b")), Covariate("age", (), 2.0, 4.0)))

    def test_stand_side_by_side(self):
        assert self.both.names == ("batch=a", "batch=b", "age")
        got = self.both.encode({"age": [2.0, 6.0], "batch": ["b", "a"]})
        assert got.tolist() == [[0, 1, 0], [1, 0, 1]]
        assert got.dtype == torch.float32

    def test_one_value_is_for_all_samples_and_none_is_missing(self):
        got = self.both.encode({"batch": "a"}, 3)
        assert got[:, :2].tolist() == [[1, 0]] * 3
        assert got[:, 2].isnan().all()
        assert self.both.encode({}, 2).isnan().all()
        assert self.both.encode({"age": 6.0, "batch": ["a", "b"]})[:, 2].tolist() == [1, 1]

    def test_take_a_data_frame(self):
        frame = pd.DataFrame({"batch": pd.Categorical(["b", "a"]), "age": [2, 6]})
        assert self.both.encode(frame).tolist() == [[0, 1, 0], [1, 0, 1]]

    def test_refuse_unknown_names_and_other_lengths(self):
        with pytest.raises(ValueError, match="'bacth' is no covariate .* batch, age"):
            self.both.encode({"bacth": "a"})
        with pytest.raises(ValueError, match="'age' has 3 values for 2 samples"):
            self.both.encode({"batch": ["a", "b"], "age": [1, 2, 3]})

    def test_are_their_configuration(self):
        assert from_config(to_config(self.both)) == self.both


@pytest.mark.parametrize(
    ("values", "category"),
    [
        (np.arange(3, dtype=np.uint8), False),
        (np.arange(3.0), False),
        (pd.Series([1, None], dtype="Int64"), False),
        (pd.Series([1.5, None], dtype="Float64"), False),
        ([1, None, np.float32(2)], False),
        ([True, False], True),
        (np.array([True, False]), True),
        (pd.Series([True, None], dtype="boolean"), True),
        (["a", None], True),
        (pd.Series(["a", None], dtype="string"), True),
        (pd.Categorical([1, 2]), True),
        (pd.Series(pd.to_datetime(["2020-01-01"])), True),
        (np.array(["a"], dtype=object), True),
    ],
)
def test_what_is_a_category(values, category):
    assert is_category(values) == category


def test_a_level_is_written_as_what_it_is():
    day = datetime.date(2020, 1, 2)
    noon = datetime.datetime(2020, 1, 2, 12)
    for one in (np.datetime64("2020-01-02"), np.datetime64("2020-01-02", "ns"), day):
        assert level_of(one) == level_of(pd.Timestamp(day)) == "2020-01-02"
    assert level_of(noon) == level_of(pd.Timestamp(noon)) == "2020-01-02 12:00:00"
    assert level_of(np.datetime64(noon)) == level_of(noon)
    assert is_missing(np.datetime64("NaT", "ns"))
    big = 2**53 + 1
    assert level_of(big) == level_of(np.int64(big)) == str(big) != level_of(big - 1)
    assert level_of(1.0) == level_of(np.float32(1)) == "1" and level_of(True) == "True"
