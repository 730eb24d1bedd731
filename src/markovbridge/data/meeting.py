"""Where data meet a model: features are matched by name, rows are told what is known of them.

One rule for every verb of the command line and every method of `CountModel`:

- **Features.** Where the data and the model both have names for them, names decide. Features
  in another order are put in the order of the model; features that are missing, or that the
  model does not know, are refused. Without names, their number is all there is to compare.

- **Rows.** The model is told of each row what the data know of it, by the names of its
  covariates. What is given by name on top takes the place of that; None is "not known". A
  covariate that the data do not have is not known of any row, and that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from markovbridge.data.covariates import Covariates

__all__ = ["LIBRARY", "Say", "in_order", "told"]

LIBRARY = "log_library_size"  # a covariate that models give themselves
SHOWN = 5  # names in a message

Say = Callable[[str], None]


def in_order(
    names: Sequence[str] | None,
    known: Sequence[str] | None,
    *,
    width: int,
    expected: int,
    what: str,
    say: Say,
) -> Tensor | None:
    """Where the features of a model are among those of some data.

    Args:
        names: Names of the features of the data, or None.
        known: Those of the model, or None.
        width: How many features the data have.
        expected: How many the model has.
        what: What to call the data in a message.
        say: Called with a line if they have to be put in order.

    Returns:
        For each feature of the model its position in the data, int64 (expected,); None if
        they are in order.

    Raises:
        ValueError: If they are not the same features.
    """
    if names is None or known is None:
        if width != expected:
            raise ValueError(
                f"{what} has {width:,} features, but the model was fitted to {expected:,}"
            )
        return None
    names, known = list(map(str, names)), list(map(str, known))
    if names == known:
        return None
    places = {name: k for k, name in enumerate(names)}
    missing = [name for name in known if name not in places]
    unknown = sorted(places.keys() - set(known), key=places.__getitem__)
    if missing or unknown:
        parts = [f"{_some(missing)} missing"] if missing else []
        parts += [f"{_some(unknown)} unknown to the model"] if unknown else []
        raise ValueError(
            f"the features of {what} are not those of the model: {', and '.join(parts)}; give "
            f"the {len(known):,} features that the model was fitted to, by their names"
        )
    if len(places) < len(names) or len(set(known)) < len(known):
        twice = next(name for both in (names, known) for name, k in Counter(both).items() if k > 1)
        raise ValueError(
            f"the features of {what} are not in the order of the model, and cannot be matched by "
            f"name, as {twice!r} names several; put them in its order, or rename them"
        )
    first = next(k for k, pair in enumerate(zip(names, known, strict=True)) if len(set(pair)) > 1)
    say(
        f"the features of {what} are in another order than those of the model (feature {first} is "
        f"{names[first]!r} instead of {known[first]!r}): they are matched by name"
    )
    return torch.tensor([places[name] for name in known])


def told(
    columns: Mapping[str, Any],
    encoding: Covariates | None,
    given: Mapping[str, Any] | None = None,
    *,
    n: int,
    what: str,
    say: Say,
) -> Tensor | None:
    """What a model is told of each row of some data.

    Args:
        columns: What the data know of their rows, by name, n values each.
        encoding: What the model takes, or None if it is told nothing.
        given: What is said on top, by name: one value for all rows or n.
        n: How many rows there are.
        what: What to call the data in a message.
        say: Called with a line if a covariate of the model is not known of any row.

    Returns:
        The condition, (n, C) float32, or None if the model is told nothing.

    Raises:
        ValueError: If a name or a level is not known to the model, or lengths differ.
    """
    given = {} if given is None else {str(name): given[name] for name in given}
    if encoding is None:
        if given:
            raise ValueError(f"the model was fitted without covariates, not {list(given)}")
        return None
    names = [column.name for column in encoding.columns if column.name != LIBRARY]
    values = {name: columns[name] for name in names if name in columns} | given
    absent = [name for name in names if name not in values]
    if absent:
        say(f"{what} does not have {_some(absent)}: the model is not told it, of any row")
    return encoding.encode(values, n)


def _some(names: Sequence[str]) -> str:
    """The first names of several, in quotes, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
