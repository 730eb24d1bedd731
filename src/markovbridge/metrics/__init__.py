"""How good are the samples: distances to real data, always beside a floor.

`evaluate` scores samples and returns `Record`s, `evaluate_counts` those of count tables;
`table` prints them. The parts can be used alone: `energy_distance`, `frechet_distance`,
`sliced_wasserstein`, `mmd`, `classifier_auc`, `correlation_error`, `nearest` and others.
"""

from markovbridge.metrics.counts import embed, evaluate_counts
from markovbridge.metrics.distances import (
    FeatureErrors,
    Moments,
    energy_distance,
    feature_errors,
    frechet_distance,
)
from markovbridge.metrics.evaluation import Record, evaluate, table
from markovbridge.metrics.extractors import Extractor, ModuleExtractor, Pixels
from markovbridge.metrics.features import Agreement, Margins, agreement, correlation_error, margins
from markovbridge.metrics.inception import Inception
from markovbridge.metrics.mobilenet import MobileNetV2
from markovbridge.metrics.neighbours import Neighbours, nearest
from markovbridge.metrics.two_sample import (
    classifier_auc,
    median_distance,
    mmd,
    sliced_wasserstein,
)

__all__ = [
    "Agreement",
    "Extractor",
    "FeatureErrors",
    "Inception",
    "Margins",
    "MobileNetV2",
    "ModuleExtractor",
    "Moments",
    "Neighbours",
    "Pixels",
    "Record",
    "agreement",
    "classifier_auc",
    "correlation_error",
    "embed",
    "energy_distance",
    "evaluate",
    "evaluate_counts",
    "feature_errors",
    "frechet_distance",
    "margins",
    "median_distance",
    "mmd",
    "nearest",
    "sliced_wasserstein",
    "table",
]
