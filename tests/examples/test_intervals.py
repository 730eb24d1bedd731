"""The examples of tables that measure intervals and differences."""

import pytest


def test_calibrated_intervals(example):
    pytest.importorskip("pandas")
    found = example("calibrated_intervals", steps=60, rows=100, held_out=60, fresh=80)
    for level, ((_, length), (held, longer)) in found.items():
        # Corrected intervals hold what they promise, of 80 rows within their noise.
        assert held > level - 0.06
        assert longer >= length


def test_group_differences(example):
    pytest.importorskip("pandas")
    scores, found = example("group_differences", steps=60, rows=120)
    whole, drawn, filled = scores.values()
    assert whole[0] < drawn[0] < filled[0]
    assert drawn[1] > whole[1] > filled[1]  # what is not known counts, but for means filled in
    assert drawn[2] >= 10 and filled[2] < drawn[2]
    assert bool((found["missing"] > 0).all())
