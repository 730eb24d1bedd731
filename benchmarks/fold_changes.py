"""Are classes that a count model is told as far apart in its samples as in data?

    python benchmarks/fold_changes.py mouse-brain.h5ad --steps 400

puts cells into groups by k-means on components of the training rows, tells `CountModel` the group,
draws cells of each in the shares of the training, and prints the slope of fold changes against
held-out rows (`metrics.fold_changes`), 1 at best, of

    training rows                          the floor
    the mixture, weights by group          the base law alone: no network
    CountModel, base law of pooled weights
    CountModel, base law of weights by group

Both models start from the same mixture, and train with the same seed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from markovbridge import CountModel, PureDeath
from markovbridge.data import CountTable
from markovbridge.data.covariates import Covariates
from markovbridge.data.rows import dense
from markovbridge.evaluation.metrics import fold_changes
from markovbridge.exact import BaseFit, CountMixture, FitMixture

DEPTH = 150.0  # of rows whose components are taken
COMPONENTS = 20


@dataclass(frozen=True, eq=False)
class Given(BaseFit):
    """A mixture that was fitted before.

    Attributes:
        law: The mixture.
        by_level: Whether groups have weights of their own.
    """

    law: CountMixture
    by_level: bool

    def __call__(self, process: Any, x: Any, *, seed: int = 0) -> CountMixture:
        return self.law

    def told(self, process: Any, x: Any, condition: Any, covariates: Any, *, seed: int = 0) -> Any:
        return self.law.told(x, condition, covariates) if self.by_level else self.law


def groups(train: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups of rows, by k-means on components of the training rows."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD

    def seen(x: np.ndarray) -> np.ndarray:
        return np.log1p(DEPTH * x / np.maximum(x.sum(1, keepdims=True), 1))

    axes = TruncatedSVD(COMPONENTS, random_state=0).fit(seen(train))
    means = KMeans(count, n_init=3, random_state=0).fit(axes.transform(seen(train)))
    return means.labels_, means.predict(axes.transform(seen(others)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", help="a file of counts that CountTable reads")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--tolerance", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = CountTable(options.table)
    parts = {p: dense(source.load(p).x).flatten(1).long() for p in ("train", "validation", "test")}
    train, held = parts["train"], torch.cat([parts["validation"], parts["test"]])
    of_train, of_held = groups(train.numpy(), held.numpy(), options.groups)
    print(f"{len(train):,} x {train.shape[1]:,}, rows of groups: {np.bincount(of_train)}")
    wanted = np.random.default_rng(options.seed).choice(of_train, options.samples)

    def told(name: str, rows: torch.Tensor, kinds: np.ndarray, began: float | None = None) -> None:
        found = fold_changes(rows, kinds.tolist(), held, of_held.tolist())
        cost = "" if began is None else f", {time.process_time() - began:.0f} processor s"
        print(f"{name:<42} {found.slope:.3f} ± {found.error:.3f}{cost}", flush=True)

    told("training rows", train, of_train)
    law = FitMixture()(PureDeath(), train, seed=options.seed)
    names = [str(k) for k in of_train]
    covariates = Covariates.fit({"group": names}, range(len(names)), categorical=["group"])
    assert covariates is not None
    own = law.told(train, covariates.encode({"group": names}), covariates)
    condition = covariates.encode({"group": [str(k) for k in wanted]})
    nothing = torch.zeros(len(wanted), train.shape[1], dtype=torch.int64)
    draw = torch.Generator().manual_seed(options.seed)
    told(
        "the mixture, weights by group",
        own(nothing, 0.0, condition).sample(generator=draw),
        wanted,
    )
    for name, by_level in (("pooled weights", False), ("weights by group", True)):
        began = time.process_time()
        model = CountModel(
            steps=options.steps,
            width=options.width,
            tolerance=options.tolerance,
            base=Given(law, by_level),
            random_state=options.seed,
        )
        model.fit(train.numpy(), covariates={"group": names})
        made = model.sample(covariates={"group": [str(k) for k in wanted]}, random_state=1)
        told(f"CountModel, base law of {name}", torch.from_numpy(made), wanted, began)


if __name__ == "__main__":
    main()
