"""Nearest training items against exhaustive search in plain Python."""

import math

import pytest
import torch

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import nearest


@pytest.mark.parametrize("block", [3, 1000])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_by_brute_force(block, dtype):
    rng = generator("cpu", "neighbours")
    training = torch.randint(256, (31, 1, 2, 3), generator=rng).to(dtype)
    samples = torch.randint(256, (11, 1, 2, 3), generator=rng).to(dtype)
    found = nearest(samples, training, k=4, block=block)
    rows = training.flatten(1).tolist()
    for i, sample in enumerate(samples.flatten(1).tolist()):
        ranked = sorted((math.dist(sample, row), j) for j, row in enumerate(rows))[:4]
        assert found.index[i].tolist() == [j for _, j in ranked]
        assert found.distance[i].tolist() == pytest.approx([d for d, _ in ranked], rel=1e-12)


def test_copies_are_counted_exactly():
    rng = generator("cpu", "copies")
    training = torch.rand(50, 8, generator=rng) * 1e6
    samples = torch.cat([training[[3, 7, 40]], training[[1]] + 0.25])
    found = nearest(samples, training)
    assert found.copies == 0.75
    assert found.index[:3, 0].tolist() == [3, 7, 40]
    assert found.distance[:3].eq(0).all()


def test_second_column_leaves_the_item_itself_out():
    x = torch.tensor([[0], [1], [5], [11]])
    found = nearest(x, x, k=2)
    assert found.distance.tolist() == [[0, 1], [0, 1], [0, 4], [0, 6]]


def test_invalid_arguments_are_named():
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.2.*got 3"):
        nearest(torch.ones(1, 2), torch.ones(2, 2), k=3)
    with pytest.raises(ValueError, match="got 2 and 3 entries"):
        nearest(torch.ones(1, 2), torch.ones(2, 3))


def test_progress_is_told_to_the_end():
    shares = []
    x, y = torch.zeros(5, 2), torch.ones(7, 2)
    nearest(x, y, block=3, callback=shares.append)
    assert shares == pytest.approx([9 / 35, 9 / 35, 3 / 35, 6 / 35, 6 / 35, 2 / 35])
