"""Where data meet a model: features are matched by name, rows are told what is known of them.

One rule for every verb of the command line and every method of `CountModel`:

- **Features.** Where the data and the model both have names for them, names decide. Features
  in another order are put in the order of the model; features that are missing, or that the
  model does not know, are refused. Without names, their number is all there is to compare.

- **Rows.** The model is told of each row what the data know of it, by the names of its
  covariates. What is given by name on top takes the place of that; None is "not known". A
  covariate that the data do not have is not known of any row, and that is said.

- **Samples of a condition** are compared with the real rows of the same condition: `alike`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.data.base import Dataset
from markovbridge.data.covariates import Covariates, described, is_missing
from markovbridge.doors.randomness import generator

LIBRARY = "log_library_size"  # a covariate that models give themselves
SHOWN = 5  # names in a message
LEAST = 20  # real rows that samples of a condition are compared with

Say = Callable[[str], None]


def hush(line: str) -> None:
    """Say nothing, where features are to be put in order, or not to be known, without a word."""


def in_order(
    names: Sequence[str] | None,
    known: Sequence[str] | None,
    *,
    width: int,
    expected: int,
    what: str,
    say: Say,
    lacking: str = "",
) -> Tensor | None:
    """Where the features of a model are among those of some data.

    Args:
        names: Names of the features of the data, or None.
        known: Those of the model, or None.
        width: How many features the data have.
        expected: How many the model has.
        what: What to call the data in a message.
        say: Called with a line if they have to be put in order.
        lacking: What may be done about features that are missing, as the end of a sentence.

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
            f"{'' if unknown else lacking}"
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


def each(encoding: Covariates, given: Mapping[str, Any] | None, n: int) -> dict[str, list[Any]]:
    """What each of n samples is conditioned on, n values by name.

    Args:
        encoding: What the model takes.
        given: One value by name for all samples; "*" of a class or category stands for each of
            its levels in turn, sample by sample.
        n: How many samples there are.
    """
    levels = {column.name: column.levels for column in encoding.columns}
    return {
        name: [levels[name][i % len(levels[name])] for i in range(n)]
        if value == "*" and levels.get(name)
        else [value] * n
        for name, value in (given or {}).items()
    }


def alike(
    data: Dataset, encoding: Covariates, given: Mapping[str, Any], n: int, *, seed: int = 0
) -> Dataset:
    """The rows of some data that samples of a condition are to be compared with.

    These are the rows of which the same is known as the samples were told. Of samples that were
    told different things, such as each class in turn, as many rows are drawn of each as make
    their shares those of the samples; of a continuous covariate, rows of the very same value.

    Args:
        data: Real data.
        encoding: What the model takes.
        given: What the samples were told, as of `each`.
        n: How many samples there are.
        seed: Of the choice of rows.

    Raises:
        ValueError: If the data do not know it of their rows, or fewer than `LEAST` are such.
    """
    values = {name: value for name, value in each(encoding, given, n).items() if _any_known(value)}
    if not values:
        return data
    known, what = data.known, f"{data.name}, split {data.split}"
    absent = [name for name in values if name not in known]
    if absent:
        raise ValueError(
            f"the samples are given {described(given)}, and {what} does not know {_some(absent)} "
            "of its rows: there is nothing of the same condition to compare them with"
        )
    chosen = Covariates(tuple(c for c in encoding.columns if c.name in values))
    ours = chosen.encode(values, n)
    real = chosen.encode({name: known[name] for name in values}, len(data))
    kinds, counts = ours.unique(dim=0, return_counts=True)
    found = [(real == kind).all(1).nonzero()[:, 0] for kind in kinds]
    # The largest set of rows in which every kind has the share that it has of the samples.
    most = min(len(rows) / k for rows, k in zip(found, counts.tolist(), strict=True))
    parts = []
    for k, (rows, count) in enumerate(zip(found, counts.tolist(), strict=True)):
        order = torch.randperm(len(rows), generator=generator("cpu", "alike", seed, k))
        parts.append(rows[order[: int(most * count + 1e-9)]])
    index = torch.cat(parts).sort().values
    if len(index) < LEAST:
        scarce = min(range(len(found)), key=lambda k: len(found[k]) / int(counts[k]))
        one = {name: v[0] for name, v in chosen.decode(kinds[scarce : scarce + 1]).items()}
        exact = any(not column.levels for column in chosen.columns)
        raise ValueError(
            f"only {len(found[scarce]):,} of the {len(data):,} rows of {what}, are of "
            f"{described(one)}: too few to compare samples of {described(given)} with, as that "
            f"takes {LEAST} rows{' of the very same value' if exact else ''}; take a larger "
            "split, or other samples"
        )
    return data.rows(index)


def _any_known(values: Sequence[Any]) -> bool:
    """Whether not all of them stand for "not known"."""
    return not all(map(is_missing, values))


def _some(names: Sequence[str]) -> str:
    """The first names of several, in quotes, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


doors.guard(__name__)
