"""Kinds of features: genes, antibodies and peaks of one file of 10x Genomics.

They count different things, on scales of their own, so that it has to be said which are taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from markovbridge import doors

ALL = "all"  # the word for features of every kind
MOST = 20  # kinds; what has more is no kind


def several(kinds: Sequence[str] | None) -> dict[str, int]:
    """The kinds of features and how many there are of each; none if that is not known.

    Args:
        kinds: The kind of each feature, or None.
    """
    found = Counter(kinds or ())
    return {} if len(found) > MOST or "" in found else dict(found.most_common())


def of_kind(kinds: Sequence[str] | None, wanted: str | None, path: Path) -> np.ndarray | None:
    """Which features are taken.

    Args:
        kinds: The kind of each feature, or None.
        wanted: The kind that is taken; `ALL` for all; None if there is one only.
        path: The file, for messages.

    Returns:
        Their positions, rising; None for all.

    Raises:
        ValueError: If there are several kinds and none is wanted, or there is none of that kind.
    """
    found = several(kinds)
    listed = ", ".join(f"{n:,} of {kind!r}" for kind, n in found.items())
    if wanted == ALL or (wanted is None and len(found) < 2):
        return None
    if wanted is None:
        raise ValueError(
            f"{path} has features of {len(found)} kinds, {listed}, which count different things: "
            f"say which to take, as CountTable does by features={next(iter(found))!r}, or "
            f"features={ALL!r}"
        )
    if wanted not in found:
        raise ValueError(
            f"{path} has no features of kind {wanted!r}; it has "
            f"{listed or 'no kinds of features, so leave it out'}"
        )
    assert kinds is not None
    chosen = np.flatnonzero(np.array(kinds, dtype=object) == wanted)
    return None if len(chosen) == len(kinds) else chosen


doors.guard(__name__)
