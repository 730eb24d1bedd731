"""How good are the samples: distances to real data, always beside a floor.

`evaluate` scores samples and returns `Record`s, `evaluate_counts` those of count tables, and
`evaluate_fold_changes` how classes differ in them;
`table` prints them. The parts can be used alone: `energy_distance`, `frechet_distance`,
`sliced_wasserstein`, `mmd`, `classifier_auc`, `correlation_error`, `nearest` and others.
`held_out` scores predictions of hidden entries, and `markovbridge.exact.CountMixture` is the
simple model to beat.
"""

from markovbridge.evaluation.metrics.count_baselines import best_pseudocount, scale_depth
from markovbridge.evaluation.metrics.counts import embed, evaluate_counts
from markovbridge.evaluation.metrics.distances import (
    FeatureErrors,
    Moments,
    energy_distance,
    feature_errors,
    frechet_distance,
)
from markovbridge.evaluation.metrics.evaluation import Record, evaluate, table
from markovbridge.evaluation.metrics.extractors import Extractor, ModuleExtractor, Pixels
from markovbridge.evaluation.metrics.features import (
    Agreement,
    Margins,
    agreement,
    correlation_error,
    margins,
)
from markovbridge.evaluation.metrics.fold_changes import (
    FoldChanges,
    evaluate_fold_changes,
    fold_changes,
)
from markovbridge.evaluation.metrics.held_out import (
    HeldOut,
    crps,
    held_out,
    held_out_table,
    poisson_deviance,
    spearman,
    thin,
)
from markovbridge.evaluation.metrics.inception import Inception
from markovbridge.evaluation.metrics.mobilenet import MobileNetV2
from markovbridge.evaluation.metrics.naming import extractor_of
from markovbridge.evaluation.metrics.neighbours import Neighbours, nearest
from markovbridge.evaluation.metrics.two_sample import (
    classifier_auc,
    median_distance,
    mmd,
    sliced_wasserstein,
)

__all__ = [
    "Agreement",
    "Extractor",
    "FeatureErrors",
    "FoldChanges",
    "HeldOut",
    "Inception",
    "Margins",
    "MobileNetV2",
    "ModuleExtractor",
    "Moments",
    "Neighbours",
    "Pixels",
    "Record",
    "agreement",
    "best_pseudocount",
    "classifier_auc",
    "correlation_error",
    "crps",
    "embed",
    "energy_distance",
    "evaluate",
    "evaluate_counts",
    "evaluate_fold_changes",
    "extractor_of",
    "feature_errors",
    "fold_changes",
    "frechet_distance",
    "held_out",
    "held_out_table",
    "margins",
    "median_distance",
    "mmd",
    "nearest",
    "poisson_deviance",
    "scale_depth",
    "sliced_wasserstein",
    "spearman",
    "table",
    "thin",
]
