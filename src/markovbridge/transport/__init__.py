"""The model: a process, a coupling, a head and an objective, plus weights.

| module | what it does |
|---|---|
| `transport` | `Transport`: training reads top to bottom in `loss` |
| `draws` | what is drawn from a model: samples, restorations, translations, imputations |
| `contract` | what it asks of a network, and of a base law that the network corrects |
| `moments` | mean and variance of data |
| `objectives` | how wrong a law of x_1 given x_t is |
| `guidance` | what a model is told, and how strongly that acts |
| `likelihood` | a lower bound on log p(x_1) |
| `saved` | models as files |
"""

from markovbridge.transport.contract import features
from markovbridge.transport.likelihood import Bound
from markovbridge.transport.moments import statistics
from markovbridge.transport.objectives import (
    DriftMatching,
    EarlyError,
    EndMSE,
    EndNLL,
    FiniteTime,
    Instantaneous,
    Objective,
    PathKL,
    Sum,
)
from markovbridge.transport.transport import BLOCK, Transport

__all__ = [
    "BLOCK",
    "Bound",
    "DriftMatching",
    "EarlyError",
    "EndMSE",
    "EndNLL",
    "FiniteTime",
    "Instantaneous",
    "Objective",
    "PathKL",
    "Sum",
    "Transport",
    "features",
    "statistics",
]
