"""The examples of reals and fields: point clouds, flows, and laws that are known."""

import math

import pytest


def test_point_clouds(example):
    found, floor, least = example("point_clouds", steps=110, n=120)
    for distance, way in found.values():
        assert 0.2 * floor < distance < 0.1 and way > 0.7 * least
    any_to_any, matched = (found[name, 20] for name in ("any to any", "optimal transport"))
    assert matched[1] < 0.95 * any_to_any[1]  # which is what the matching is for


def test_flow_steps(example):
    errors, orders = example("flow_steps", steps=(16, 32))
    assert orders["Euler"] == pytest.approx(1, abs=0.15)
    assert orders["Heun"] == pytest.approx(2, abs=0.25)
    assert orders["Midpoint"] == pytest.approx(3, abs=0.2)
    assert errors["Midpoint"][1] < 1e-4


def test_kriging(example):
    off, chance, spread = example("kriging", side=8, readings=12, draws=400, steps=3)
    # The means of 64 sites, of 400 draws, and their deviations.
    assert off < 1.6 * chance
    assert spread == pytest.approx(1, abs=0.08)


def test_photo_patches(example):
    white, fitted, kernel, same = example("photo_patches", stride=48)
    assert fitted > white + 0.5
    # A thousand draws tell the parameters that they were made with.
    assert math.log(same.length / kernel.length) == pytest.approx(0, abs=0.15)
    assert math.log(same.smoothness / kernel.smoothness) == pytest.approx(0, abs=0.1)


def test_field_simulation(example):
    off, chance, found = example("field_simulation", side=64, known=20, draws=150, counts=(3, 5))
    assert off < 1.6 * chance
    (white, rough), (own, same) = (
        found[name][0] for name in ("white noise", "noise of the field")
    )
    assert white < 0.93 and rough < 0.95
    assert own == pytest.approx(1, abs=0.05) and same == pytest.approx(1, abs=0.03)
