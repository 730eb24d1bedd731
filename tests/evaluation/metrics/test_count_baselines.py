"""Size-factor scaling: what it keeps, and what beats it."""

import pytest
import torch

from markovbridge.doors.randomness import generator
from markovbridge.evaluation.metrics import (
    best_pseudocount,
    poisson_deviance,
    scale_depth,
    thin,
)
from markovbridge.exact import CountMixture
from markovbridge.laws import NegativeBinomial


def draw(n, profiles, sizes, key, spread=0.5, depth=60.0):
    """Counts of a mixture of `profiles` (K, d), rows of log-normal depth."""
    rng = generator("cpu", "baselines", key)
    k = torch.randint(len(profiles), (n,), generator=rng)
    library = depth * (spread * torch.randn(n, 1, generator=rng)).exp()
    law = NegativeBinomial((library * profiles[k]).log(), sizes.expand(n, -1))
    return law.sample(generator=rng)


PROFILES = torch.tensor([[0.5, 0.2, 0.2, 0.05, 0.05], [0.05, 0.1, 0.1, 0.25, 0.5]])
SIZES = torch.tensor([0.5, 2.0, 8.0, 1.0, 3.0])


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
