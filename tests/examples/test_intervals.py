"""The examples of tables that measure intervals and differences."""

import pytest


def test_calibrated_intervals(example):
    pytest.importorskip("pandas")
    found = example("calibrated_intervals", steps=20, rows=80, held_out=30, fresh=30)
    for level, ((_, length), (held, longer)) in found.items():
        # Corrected intervals hold what they promise, of 30 rows within their noise.
        assert held > level - 0.1
        assert longer > length


def test_group_differences(example):
    pytest.importorskip("pandas")
    scores, found = example("group_differences", steps=20, rows=40, known=100)
    whole, drawn, filled = scores.values()
    assert drawn[0] < 1.5 * whole[0] and drawn[0] < filled[0]
    assert drawn[1] > whole[1] > filled[1]  # what is not known counts, but for means filled in
    assert drawn[2] >= 10 and filled[2] < drawn[2]
    assert bool((found["missing"] > 0).all())
