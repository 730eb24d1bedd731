"""How a data set is split: which of its samples belong to training, validation and test.

With a permutation π of 0..N-1 that is a pure function of (seed, N), the first n_t = round(N·test)
samples of π are the test set, the next n_v = round(N·validation) the validation set, and the
rest the training set. So the test set stays the same when the size of the validation set
changes, and the three never overlap. Sources with an official test set keep that: `official`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.doors.randomness import generator

SPLITS = ("train", "validation", "test", "all")


def check_split(split: str) -> None:
    """Refuse a split that is not one of `SPLITS`.

    Raises:
        ValueError: If it is not.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")


def partition(
    n: int, split: str, *, validation: float = 0.0, test: float = 0.0, seed: int = 0
) -> Tensor:
    """Which of `n` samples belong to `split`; see the head of this module.

    Args:
        n: Number of samples.
        split: One of `SPLITS`.
        validation: Fraction of the samples set aside for validation, in [0, 1).
        test: Fraction of the samples set aside for testing, in [0, 1).
        seed: Seed of the permutation.

    Returns:
        Positions in 0..n-1, int64, in rising order.

    Raises:
        ValueError: If the split is unknown or empty, or a fraction is out of range.
    """
    check_split(split)
    checks.shares(validation, test)
    tested = round(n * test)
    validated = round(n * validation)
    order = torch.randperm(n, generator=generator("cpu", "partition", seed, n))
    chosen = {
        "all": order,
        "test": order[:tested],
        "validation": order[tested : tested + validated],
        "train": order[tested + validated :],
    }[split]
    if len(chosen) == 0:
        raise ValueError(
            f"the {split} split of {n} samples is empty with validation={validation} and "
            f"test={test}; change these fractions or choose another split"
        )
    return chosen.sort().values


def official(
    read: Callable[[str], tuple[Tensor, Tensor]], split: str, *, validation: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Samples and labels of a source that has an official training and test set.

    Args:
        read: Called with "train" or "test", returns that set's samples (N, *event) and
            labels (N,).
        split: One of `SPLITS`; "all" is the training set followed by the test set.
        validation: Fraction of the training set set aside for validation, in [0, 1).
        seed: Seed of that choice.

    Returns:
        The samples and labels of `split`.
    """
    check_split(split)
    if split == "test":
        return read("test")
    x, labels = read("train")
    if split == "all":
        x_test, labels_test = read("test")
        return torch.cat([x, x_test]), torch.cat([labels, labels_test])
    if split == "validation" and validation == 0:
        raise ValueError(
            "no samples are set aside for validation; set validation=0.1, say, to take a tenth "
            'of the training set, or use split="test"'
        )
    chosen = partition(len(x), split, validation=validation, seed=seed)
    return x[chosen], labels[chosen]


doors.guard(__name__)
