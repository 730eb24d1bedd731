"""The Fréchet distance of features, beside that of pytorch-fid on the same features.

    python benchmarks/fid_agreement.py --features 2048 --rows 5000

Features are made up: rectified mixtures of normal numbers, as the features of a network are. The
other distance is `calculate_frechet_distance` of pytorch-fid where that is installed, and else the
formula it has, with the square root of SciPy: |m - m'|² + tr(C + C' - 2 (C C')^{1/2}).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy import linalg

from markovbridge.evaluation.metrics import frechet_distance


def features(rows: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(width, width)) / width**0.5
    return np.maximum(rng.normal(size=(rows, width)) @ mixed + 0.1 * seed, 0)


def common(a: np.ndarray, b: np.ndarray) -> tuple[str, float]:
    """Who computed it, and the distance."""
    moments = [part for x in (a, b) for part in (x.mean(0), np.cov(x, rowvar=False))]
    try:
        from pytorch_fid.fid_score import (  # pyright: ignore[reportMissingImports]
            calculate_frechet_distance,
        )
    except ImportError:
        mean, covariance, other, another = moments
        root = linalg.sqrtm(covariance @ another).real
        spread = np.trace(covariance + another - 2 * root)
        return "SciPy", float(((mean - other) ** 2).sum() + spread)
    return "pytorch-fid", float(calculate_frechet_distance(*moments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=5000)
    options = parser.parse_args()
    a, b = (features(options.rows, options.features, seed) for seed in (1, 2))
    ours = frechet_distance(torch.tensor(a), torch.tensor(b))
    who, theirs = common(a, b)
    print(f"markovbridge {ours:.10g}, {who} {theirs:.10g}: apart by {abs(ours / theirs - 1):.1e}")


if __name__ == "__main__":
    main()
