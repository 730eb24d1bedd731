"""Size-factor scaling: what it keeps, and what beats it."""

from functools import partial

import pytest
import torch

from count_rows import PROFILES, SIZES, rows
from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    best_pseudocount,
    poisson_deviance,
    scale_depth,
    thin,
)
from markovbridge.exact import CountMixture

draw = partial(rows, "baselines")


def test_scaling_keeps_totals():
    kept = torch.tensor([[4, 0, 6], [1, 1, 0]])
    assert scale_depth(kept, 0.25).tolist() == [[12, 0, 18], [3, 3, 0]]
    smooth = scale_depth(kept, 0.25, pseudocount=0.3)
    torch.testing.assert_close(smooth.sum(1), torch.tensor([30.0, 6.0]).double())
    assert float(smooth[0, 1]) == pytest.approx(3 * 0.3 * 10 / 10.9)


def test_shrinking_to_the_profile_beats_scaling():
    x = draw(600, PROFILES, SIZES, 7)
    kept, lost = thin(x, 0.5, generator=generator("cpu", "split"))
    model = CountMixture.fit(kept[:400], components=2)
    best = best_pseudocount(kept[:400], lost[:400], 0.5)
    errors = [
        float(poisson_deviance(scale_depth(kept[400:], 0.5, pseudocount=c), lost[400:]).mean())
        for c in (best, 10 * best, best / 10)
    ]
    assert errors[0] == min(errors)
    ours = float(poisson_deviance(model.lost(kept[400:], 0.5), lost[400:]).mean())
    assert ours < 0.98 * errors[0]


def test_invalid_input_is_named():
    with pytest.raises(ValueError, match="not 0.0"):
        scale_depth(draw(20, PROFILES, SIZES, 8), 0.0)
