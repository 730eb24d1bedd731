import pytest
import torch

from markovbridge.data import Synthetic


@pytest.mark.parametrize("shape", [(7,), (1, 8, 8), (3, 16, 16), (2, 3, 4, 5)])
@pytest.mark.parametrize("maximum", [1, 16, 255, 1000])
def test_has_the_asked_shape_and_range(shape, maximum):
    data = Synthetic(shape=shape, maximum=maximum, n=50).load("all")
    assert data.x.shape == (50, *shape)
    assert data.maximum == maximum
    assert data.x.dtype == (torch.uint8 if maximum < 256 else torch.int16)
    assert data.x.max() >= 0.4 * maximum  # bumps reach at least half of M, near a cell


def test_has_structure():
    data = Synthetic(shape=(1, 8, 8), n=1000, classes=4).load("all")
    assert data.labels.bincount().tolist() == [250] * 4
    x = data.x.double().flatten(1)
    means = torch.stack([x[data.labels == k].mean(0) for k in range(4)])
    within = (x - means[data.labels]).square().sum(1).mean()
    between = (means - x.mean(0)).square().sum(1).mean()
    assert between > within  # classes differ by more than their members do
    # Neighbours are alike: a bump of width 0.2 changes little over one cell of 1/8.
    rows = data.x.double()
    assert (
        torch.corrcoef(torch.stack([rows[..., 1:].flatten(), rows[..., :-1].flatten()]))[0, 1]
        > 0.8
    )


def test_is_a_bump_of_the_stated_form():
    # Along an axis of a single cell the bump is constant, so the logarithm of a sample with
    # large counts is a parabola of curvature -1/0.2^2.
    data = Synthetic(shape=(1, 9), maximum=10**9, n=20).load("all")
    logs = data.x[:, 0].double().log()
    curvature = (logs[:, 2:] - 2 * logs[:, 1:-1] + logs[:, :-2]) * 81
    torch.testing.assert_close(curvature, torch.full_like(curvature, -25.0), atol=1e-2, rtol=0)


def test_depends_on_its_fields_only():
    torch.manual_seed(0)
    first = Synthetic(seed=1).load()
    torch.manual_seed(1)
    assert torch.equal(first.x, Synthetic(seed=1).load().x)
    assert not torch.equal(first.x, Synthetic(seed=2).load().x)


def test_the_splits_partition_the_samples():
    source = Synthetic(n=40)
    parts = [source.load(split).x for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert torch.equal(torch.cat(parts).long().sum(0), source.load("all").x.long().sum(0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": ()}, "at least one axis"),
        ({"shape": (1, 0)}, "each of length > 0"),
        ({"maximum": 0}, "maximum=0 must be at least 1"),
        ({"n": 0}, "n=0 must be at least 1"),
        ({"classes": 0}, "classes=0 must be at least 1"),
    ],
)
def test_refuses_impossible_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Synthetic(**fields)
