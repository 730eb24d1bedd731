"""The examples of images, with small networks and little training."""

import pytest
import torch


@pytest.mark.filterwarnings("ignore:the samples vary")  # as they do after so little training
def test_digits(example):
    distances, floor = example("digits", steps=40, width=64, samples=200)
    asked = sorted(distances)
    assert asked[0] == 1 and asked[-1] < 20
    assert floor < distances[asked[-1]] < 1.5 and 0.05 < floor < 0.12


def test_restored_photograph(example):
    errors, held = example("restored_photograph", draws=9, columns=3, stride=9)
    seen, patch, one, mean = errors.values()
    # The mean is better than a draw, and the errors of draws and truth around it add up.
    assert mean < one < seen and mean < 0.75 * seen and mean < patch
    assert 0.5 < held < 0.95


def test_guided_digits(example):
    found, real = example("guided_digits", steps=300, width=64, each=6, strengths=(0.0, 1.0))
    assert 0.97 < real[0] < 1
    # Without a condition a tenth is of the class by chance, give or take 5 standard deviations.
    assert found[0.0][0] < 0.1 + 5 * (0.09 / 60) ** 0.5 < found[1.0][0]


def test_imputed_digits(example):
    errors, held, found, test = example("imputed_digits", steps=120, width=64, images=24, draws=19)
    shown = torch.arange(8) < 4
    # What is known stays; the mean of the draws is better than a draw, and than no knowledge.
    assert bool((found.draws[:, :, :, shown] == test[:, :, shown].long()).all())
    assert errors["mean of the draws"] < errors["one draw"]
    assert errors["mean of the draws"] < errors["mean of training images"]
    assert abs(held.randomised - 0.9) < 0.15
