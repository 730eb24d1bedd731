"""How good are the samples: distances to real data, always beside a floor.

`evaluate` scores samples and returns `Record`s; `table` prints them. The parts can
be used alone: `energy_distance`, `frechet_distance`, `feature_errors`, `nearest`.
"""

from markovbridge.metrics.distances import (
    FeatureErrors,
    Moments,
    energy_distance,
    feature_errors,
    frechet_distance,
)
from markovbridge.metrics.evaluation import Record, evaluate, table
from markovbridge.metrics.extractors import Extractor, ModuleExtractor, Pixels
from markovbridge.metrics.inception import Inception
from markovbridge.metrics.mobilenet import MobileNetV2
from markovbridge.metrics.neighbours import Neighbours, nearest

__all__ = [
    "Extractor",
    "FeatureErrors",
    "Inception",
    "MobileNetV2",
    "ModuleExtractor",
    "Moments",
    "Neighbours",
    "Pixels",
    "Record",
    "energy_distance",
    "evaluate",
    "feature_errors",
    "frechet_distance",
    "nearest",
    "table",
]
