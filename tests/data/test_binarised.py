import numpy as np
import pytest
import torch

from markovbridge.data import Arrays, Binarised, Digits


def ramp(tmp_path, maximum, copies=1):
    """A source with each count 0..maximum, `copies` times."""
    values = np.repeat(np.arange(maximum + 1), copies).astype(np.uint8)[:, None]
    np.save(tmp_path / "ramp.npy", values)
    return Arrays(tmp_path / "ramp.npy", maximum=maximum)


@pytest.mark.parametrize(
    ("threshold", "first"), [(0.0, 1), (0.5, 9), (0.25, 5), (0.3, 5), (0.99, 16)]
)
def test_threshold_is_strict(tmp_path, threshold, first):
    data = Binarised(ramp(tmp_path, 16), threshold=threshold).load("all")
    assert data.x[:, 0].tolist() == [0] * first + [1] * (17 - first)
    assert data.x.dtype == torch.uint8
    assert data.maximum == 1


def test_threshold_of_half_is_128_for_bytes(tmp_path):
    data = Binarised(ramp(tmp_path, 255)).load("all")
    assert data.x[:, 0].tolist() == [0] * 128 + [1] * 128


def test_bernoulli_draws_one_with_probability_count_over_maximum(tmp_path):
    copies = 4000
    data = Binarised(ramp(tmp_path, 16, copies), method="bernoulli").load("all")
    ones = data.x[:, 0].reshape(17, copies).double().sum(1)
    p = torch.arange(17).double() / 16
    assert ones[0] == 0
    assert ones[16] == copies
    # The sum of fifteen squared standard scores: 50.4 is its quantile at 1 - 1e-5.
    z = (ones - copies * p)[1:16] / (copies * p * (1 - p))[1:16].sqrt()
    assert z.square().sum() < 50.4


def test_bernoulli_draws_of_neighbours_are_independent(tmp_path):
    np.save(tmp_path / "ones.npy", np.ones((20_000, 2), np.uint8))
    source = Arrays(tmp_path / "ones.npy", maximum=2)
    pairs = Binarised(source, method="bernoulli").load("all").x.long()
    counts = (2 * pairs[:, 0] + pairs[:, 1]).bincount(minlength=4).double()
    # Chi-square with three degrees of freedom: 25.9 is its quantile at 1 - 1e-5.
    assert ((counts - 5000) ** 2 / 5000).sum() < 25.9


def test_is_a_pure_function_of_its_seed():
    torch.manual_seed(0)
    first = Binarised(Digits(), method="bernoulli", seed=1).load("test")
    torch.manual_seed(1)
    assert torch.equal(first.x, Binarised(Digits(), method="bernoulli", seed=1).load("test").x)
    other = Binarised(Digits(), method="bernoulli", seed=2).load("test")
    assert not torch.equal(first.x, other.x)


def test_keeps_what_is_known_of_the_source():
    data, original = Binarised(Digits()).load("test"), Digits().load("test")
    assert torch.equal(data.labels, original.labels)
    assert data.licence == original.licence
    assert data.split == "test"
    assert data.name == "digits-binarised"


def test_refuses_counts_without_a_maximum(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((10, 2), np.uint8))
    with pytest.raises(ValueError, match="give its source a maximum"):
        Binarised(Arrays(tmp_path / "x.npy")).load()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "otsu"}, "method must be one of .*bernoulli', not 'otsu'"),
        ({"threshold": 1.0}, "threshold=1.0 must be a fraction"),
        ({"threshold": -0.1}, "threshold=-0.1 must be a fraction"),
    ],
)
def test_refuses_impossible_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Binarised(Digits(), **fields)
