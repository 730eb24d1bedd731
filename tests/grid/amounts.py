"""Draw from the exact law of a few points of amounts, and count how often each is made."""

import numpy as np
import torch

import markovbridge as mb
from grid.settings import INNER, N, assert_close, made, seed
from markovbridge import exact

MODES = ("plain", "inner", "told", "guided", "conditioned", "corrected", "corrected inner")
POINTS = torch.tensor([[0.3, 2.0], [1.0, 1.0], [0.0, 0.4], [2.5, 2.2]])
WEIGHTS = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
SEEN = torch.tensor([0.2, 0.35])
PROCESS = mb.GammaProcess(3.0)


def judge(sampler_class, mode):
    """Raise AssertionError if the law drawn is wrong, what the library raises if it refuses."""
    sampler, steps = made(sampler_class, True, mode)
    label = 1 if mode in ("guided", "conditioned") else 0
    known = exact.Empirical(PROCESS, POINTS, WEIGHTS[label])

    def law(x, t, condition=None, observed=None):
        found = known(x, t)
        if observed is None or not bool(observed.mask.any()):
            return found
        there = (POINTS == observed.values.unsqueeze(1)) | ~observed.mask.unsqueeze(1)
        log = torch.where(there.all(2), found.log_weights, -torch.inf)
        return mb.laws.Atoms(found.points, log.log_softmax(1))

    masking = mb.Masking() if mode == "told" else None
    model = mb.Transport(PROCESS, law, shape=(2,), masking=masking)
    n, wanted = N // 4, WEIGHTS[label]
    options = {
        "steps": steps,
        "sampler": sampler,
        "generator": seed(sampler_class.__name__, "amounts", mode),
        "block": n,
    }
    if mode in ("guided", "conditioned"):
        options["condition"] = torch.full((n, 1), float(label))
    if mode == "guided":
        options["guidance"] = 1.5
    if mode.endswith("inner"):
        x = model.restore(SEEN.expand(n, -1), INNER, **options)
        wanted = known(SEEN.unsqueeze(0), INNER).log_weights[0].exp()
    elif mode == "told":
        x = model.impute(torch.full((n, 2), 1.0), torch.tensor([[False, True]]), **options)
        wanted = torch.tensor([0.0, 1.0, 0.0, 0.0])
    else:
        x = model.sample(n, **options)
    same = (x.unsqueeze(1) == POINTS).all(2)
    found = np.r_[same.sum(0).numpy(), n - int(same.any(1).sum())]
    assert_close(found, wanted.numpy(), 0.0)
