import itertools

import pytest
import torch

from markovbridge.data import (
    CIFAR10,
    IDX,
    Arrays,
    Binarised,
    Dataset,
    Digits,
    ImageFolder,
    Synthetic,
    check_counts,
    partition,
)
from markovbridge.data.counts import smallest_type
from markovbridge.data.splits import SPLITS
from markovbridge.storage.config import from_config, to_config


def dataset(x, labels=None, **fields):
    given = {"name": "mine", "split": "all", "source": "here", "licence": "unknown", **fields}
    return Dataset(x=x, labels=labels, **given)


class TestPartition:
    @pytest.mark.parametrize("n", [10, 11, 97, 1797])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_the_splits_are_disjoint_complete_and_of_the_stated_sizes(self, n, seed):
        parts = {
            split: partition(n, split, validation=0.2, test=0.1, seed=seed).tolist()
            for split in SPLITS
        }
        assert parts["all"] == list(range(n))
        assert len(parts["test"]) == round(n * 0.1)
        assert len(parts["validation"]) == round(n * 0.2)
        assert sorted(parts["train"] + parts["validation"] + parts["test"]) == parts["all"]
        assert all(part == sorted(part) for part in parts.values())

    def test_is_a_pure_function_of_the_seed(self):
        torch.manual_seed(1)
        first = partition(50, "test", test=0.2, seed=3)
        torch.manual_seed(2)
        assert torch.equal(first, partition(50, "test", test=0.2, seed=3))
        others = [partition(50, "test", test=0.2, seed=s).tolist() for s in range(4)]
        assert all(a != b for a, b in itertools.combinations(others, 2))

    def test_stays_what_it_was_when_published(self):
        # Results name their split by its seed, so it must never change.
        assert partition(20, "test", test=0.25, seed=0).tolist() == [0, 3, 7, 8, 9]

    def test_the_test_set_does_not_depend_on_the_validation_set(self):
        assert torch.equal(
            partition(100, "test", test=0.2), partition(100, "test", test=0.2, validation=0.5)
        )

    def test_every_sample_is_as_likely_to_be_held_out(self):
        # 2,000 seeds, 5 of 50 held out. The counts have variance 180 and sum to a constant, so
        # the sum of squares over 180 · 50/49 is chi-square with 49 degrees of freedom, whose
        # quantile at 1 - 1e-5 is 103.1.
        held = torch.zeros(50)
        for seed in range(2000):
            held[partition(50, "test", test=0.1, seed=seed)] += 1
        chi_square = (held - 200).square().sum() / (180 * 50 / 49)
        assert chi_square < 103.1

    def test_refuses_an_unknown_split(self):
        with pytest.raises(ValueError, match="split 'valid' is unknown; choose one of train, val"):
            partition(10, "valid")

    @pytest.mark.parametrize(
        "fractions", [{"test": 1.0}, {"test": -0.1}, {"validation": 0.5, "test": 0.5}]
    )
    def test_refuses_fractions_that_leave_nothing(self, fractions):
        with pytest.raises(ValueError, match="fractions in \\[0, 1\\)"):
            partition(10, "train", **fractions)

    def test_refuses_an_empty_split(self):
        with pytest.raises(ValueError, match="the test split of 4 samples is empty"):
            partition(4, "test", test=0.1)


class TestCheckCounts:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
    def test_takes_counts(self, dtype):
        check_counts(torch.tensor([[0, 3], [16, 1]], dtype=dtype), 16)
        check_counts(torch.tensor([[0, 3], [16, 1]], dtype=dtype))
        check_counts(torch.tensor([255], dtype=torch.uint8), 100_000)
        check_counts(torch.empty(0, 3, dtype=dtype), 16)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (
                [[0, 1], [-2, -3]],
                r"x\[1, 0\] is -2; counts are never negative, .* undo",
            ),
            ([[0, 1], [17, 18]], r"x\[1, 0\] is 17, above the maximum 16; raise the maximum or"),
            ([[0.0, 1.5], [2.5, 0]], r"x\[0, 1\] is 1.5; counts are whole numbers"),
            ([[0.0, float("nan")], [2.5, 0]], r"x\[0, 1\] is nan; remove or replace"),
            ([[0.0, 1.0], [float("inf"), 0]], r"x\[1, 0\] is inf; remove or replace"),
            ([[0.0, 1.0], [-3.0, 0]], r"x\[1, 0\] is -3; counts are never negative"),
            ([[0.0, 1.0], [4.0, 99.0]], r"x\[1, 1\] is 99, above the maximum 16"),
        ],
    )
    def test_names_the_first_bad_value_its_position_and_the_remedy(self, x, message):
        with pytest.raises(ValueError, match=message):
            check_counts(torch.tensor(x), 16)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (torch.tensor([1.0, 2.0]), r"type torch.float32; its values are whole, so convert"),
            (torch.tensor([True]), r"type torch.bool; counts are uint8, int16, int32 or int64"),
            (torch.tensor([1j]), r"type torch.complex64"),
            (torch.tensor([1], dtype=torch.int8), r"type torch.int8"),
            ([1, 2], r"x must be a Tensor, not a list"),
        ],
    )
    def test_refuses_other_types(self, x, message):
        with pytest.raises(TypeError, match=message):
            check_counts(x, 16)

    def test_prints_large_counts_in_full(self):
        with pytest.raises(ValueError, match="is 16777217, above the maximum 16777216"):
            check_counts(torch.tensor([16777217]), 16777216)


class TestSmallestType:
    @pytest.mark.parametrize(
        ("maximum", "dtype"),
        [
            (1, torch.uint8),
            (255, torch.uint8),
            (256, torch.int16),
            (32767, torch.int16),
            (32768, torch.int32),
            (2**31, torch.int64),
        ],
    )
    def test_holds_the_maximum(self, maximum, dtype):
        assert smallest_type(maximum) == dtype

    def test_refuses_what_nothing_holds(self):
        with pytest.raises(ValueError, match="does not fit"):
            smallest_type(2**63)


class TestDataset:
    def test_knows_its_size_and_shape(self):
        data = dataset(torch.zeros(5, 1, 2, 3, dtype=torch.uint8), torch.arange(5), maximum=4)
        assert len(data) == 5
        assert data.shape == (1, 2, 3)

    def test_takes_reals(self):
        assert dataset(torch.tensor([[-0.5], [2.0]])).maximum is None

    @pytest.mark.parametrize(
        ("x", "labels", "fields", "error", "message"),
        [
            (torch.tensor([[9]]), None, {"maximum": 8}, ValueError, r"mine\[0, 0\] is 9, above"),
            (torch.tensor([1, 2]), None, {}, ValueError, r"shape \(2,\); give at least one"),
            (torch.empty(0, 3).long(), None, {}, ValueError, r"shape \(0, 3\)"),
            (torch.ones(2, 1).double(), None, {}, TypeError, "x.float()"),
            (torch.ones(2, 1), None, {"maximum": 3}, ValueError, "maximum=3 is for counts"),
            (torch.tensor([[float("nan")]]), None, {}, ValueError, r"x\[0, 0\] is nan"),
            (torch.ones(2, 1).long(), torch.ones(2), {}, TypeError, "labels.long()"),
            (
                torch.ones(2, 1).long(),
                torch.arange(3),
                {},
                ValueError,
                r"labels have shape \(3,\)",
            ),
            (
                torch.ones(2, 1).long(),
                torch.arange(2),
                {"label_names": ("only",)},
                ValueError,
                r"labels of mine\[1\] is 1, above the maximum 0",
            ),
            (torch.ones(2, 1).long(), None, {"split": "dev"}, ValueError, "'dev' is unknown"),
        ],
    )
    def test_refuses_what_does_not_fit_together(self, x, labels, fields, error, message):
        with pytest.raises(error, match=message):
            dataset(x, labels, **fields)


@pytest.mark.parametrize(
    "source",
    [
        Digits(validation=0.2, seed=3),
        IDX("mnist", root="elsewhere"),
        CIFAR10(validation=0.1),
        ImageFolder(name="celeba", crop=140, size=32),
        Arrays("counts.npz", key="x", maximum=7),
        Synthetic(shape=(3, 4, 5), maximum=9, n=20),
        Binarised(Digits(), method="bernoulli", seed=4),
    ],
    ids=lambda source: type(source).__name__,
)
def test_a_source_is_its_configuration(source):
    assert from_config(to_config(source)) == source
    assert hash(from_config(to_config(source))) == hash(source)
