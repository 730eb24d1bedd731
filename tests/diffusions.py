"""Linear diffusions of every kind, in both directions, on every clock."""

import torch

from markovbridge import (
    VE,
    VP,
    Brownian,
    Coefficients,
    CosineSchedule,
    LinearDiffusion,
    LinearSchedule,
    LogisticSchedule,
    OrnsteinUhlenbeck,
    SubVP,
    SurvivalSchedule,
)


def pull(r):
    return 0.8 * torch.cos(3 * r) - 0.3


def noise(r):
    return 0.6 + 0.4 * torch.sin(5 * r) ** 2


SDES = {
    "brownian": Brownian(1.3),
    "mean-reverting": OrnsteinUhlenbeck(-1.7, 0.6),
    "repelling": OrnsteinUhlenbeck(0.9),
    "ve": VE(0.01, 5.0),
    "vp": VP(),
    "sub-vp": SubVP(),
    "own": Coefficients(pull, noise),
}
CLOCKS = {
    "linear": LinearSchedule(),
    "cosine": CosineSchedule(),
    "logistic": LogisticSchedule(8),
    "survival": SurvivalSchedule(lambda t: t**1.5),
}
EVERY = [(name, direction) for name in SDES for direction in ("forward", "noising")]


def diffusion(name, direction="forward", clock="linear"):
    return LinearDiffusion(SDES[name], schedule=CLOCKS[clock], direction=direction)


def double(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1)


def close(first, second, tolerance=1e-12):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)
