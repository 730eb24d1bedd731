r"""Rows of a count table as a population: their principal components, and their kinds.

Counts are scaled to the median depth of the real rows, y = log(1 + m x/Σx), and centred by the
mean of real rows. With C (n, d) the centred real rows, C Cᵀ u = λ u gives the component of unit
length v = Cᵀu/√λ; rows of both tables are projected on the two of largest λ. Samples have no part
in the axes.

Kinds are the levels of a categorical covariate of the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from torch import Tensor

from markovbridge.data import Dataset
from markovbridge.data.covariates import Covariates, is_missing, level_of
from markovbridge.data.meeting import each
from markovbridge.evaluation.report.charts import Points, points_chart
from markovbridge.evaluation.report.html import heading, number, pairwise, table

LIMIT = 1000  # rows of either table that are drawn
COLOURS = 6  # kinds of a colour of their own
LINES = 12  # kinds that are listed
LEADING = 3  # features that are named at each end of a component


@dataclass(frozen=True)
class Components:
    """Two principal components of real rows.

    Attributes:
        real: Where real rows are, (N, 2).
        samples: Where samples are, (n, 2).
        directions: Unit vectors, (d, 2).
        shares: Of the variance of real rows, two numbers.
    """

    real: Tensor
    samples: Tensor
    directions: Tensor
    shares: tuple[float, float]


@dataclass(frozen=True)
class Kinds:
    """What kind each row is of.

    Attributes:
        name: What kinds are called.
        real: The kind of each real row; None where it is not known.
        samples: That of each sample.
    """

    name: str
    real: list[str | None]
    samples: list[str | None]

    def at(self, samples: Sequence[int], real: Sequence[int]) -> Kinds:
        """Those of some samples and some real rows."""
        own = [self.real[k] for k in real], [self.samples[k] for k in samples]
        return Kinds(self.name, *own)


def components(samples: Tensor, real: Tensor) -> Components | None:
    """The two principal components of real rows, and where rows are on them.

    Args:
        samples: Counts (n, d).
        real: Counts (N, d).

    Returns:
        None if real rows differ in fewer than two directions, or a value is negative.
    """
    if bool((samples < 0).any()) or bool((real < 0).any()):
        return None
    depth = real.sum(1).double().median().clamp_min(1).float()
    ours, theirs = _scaled(samples, depth), _scaled(real, depth)
    middle = theirs.mean(0)
    ours, theirs = ours - middle, theirs - middle
    values, vectors = torch.linalg.eigh((theirs @ theirs.T).double())
    total = float(values.clamp_min(0).sum())
    if len(values) < 2 or not float(values[-2]) > 1e-6 * total:
        return None
    two, kept = values[[-1, -2]], vectors[:, [-1, -2]]
    directions = (theirs.T @ kept.float()) / two.sqrt().float()
    # The sign of a component is nobody's: its largest loading is positive.
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * largest.sign()
    first, second = (two / total).tolist()
    return Components(theirs @ directions, ours @ directions, directions, (first, second))


def _scaled(x: Tensor, depth: Tensor) -> Tensor:
    rows = x.float()
    return (rows / rows.sum(1, keepdim=True).clamp_min(1) * depth).log1p()


def kinds_of(
    data: Dataset, encoding: Covariates | None, condition: object, n: int
) -> Kinds | None:
    """The kinds of real rows and of n samples.

    Args:
        data: Real rows.
        encoding: What the model knows of rows.
        condition: What the samples were told, as of `meeting.each`.
        n: How many samples there are.

    Returns:
        Those of the first categorical covariate that samples were told several levels of; or of
        the first that real rows have, samples being of no known kind. None if there is none.
    """
    if encoding is None:
        return None
    told = each(encoding, condition if isinstance(condition, dict) else None, n)
    known, found = data.known, []
    for column in encoding.columns:
        if column.levels and column.name in known:
            real, ours = (
                [_level(value, column.levels) for value in values]
                for values in (known[column.name], told.get(column.name, [None] * n))
            )
            found.append(Kinds(column.name, real, ours))
    several = [one for one in found if len({*one.samples} - {None}) > 1]
    return next(iter([*several, *found]), None)


def _level(value: object, levels: Sequence[str]) -> str | None:
    level = None if is_missing(value) else level_of(value)
    return level if level in levels else None


def component_charts(found: Components, kinds: Kinds | None, names: Sequence[str] | None) -> str:
    """Real rows and samples on the components of real rows, in the colours of their kinds.

    Args:
        found: The components.
        kinds: Of the rows, or None.
        names: Of the features, or None.

    Returns:
        A heading, a paragraph and two charts.
    """
    both = torch.cat([found.real, found.samples]).double().numpy()
    low, high = both.min(0).tolist(), both.max(0).tolist()
    ranges = (low[0], high[0]), (low[1], high[1])
    colours = _colours(kinds)
    charts = ""
    for title, x, own in (
        ("training data", found.real, None if kinds is None else kinds.real),
        ("samples", found.samples, None if kinds is None else kinds.samples),
    ):
        chart = points_chart(
            _groups(x.double().numpy(), own, colours),
            x_label=f"component 1 ({found.shares[0]:.1%} of the variance)",
            y_label=f"component 2 ({found.shares[1]:.1%})",
            description=f"Scatter plot: {len(x):,} rows of {title} on two principal components "
            "of training data",
            ranges=ranges,
        )
        charts += f"<div><h3>{title[0].upper()}{title[1:]}</h3>{chart}</div>"
    text = (
        f"<p>Principal components of {len(found.real):,} rows of the training data, scaled to one "
        f"depth, as logarithms; and as many of the samples on the same axes.</p>"
    )
    led = "" if names is None else f'<p class="note">{_led(found.directions, names)}</p>'
    return f"{heading('Principal components')}{text}{led}{pairwise(charts)}"


def _colours(kinds: Kinds | None) -> dict[str, int]:
    """The colour of each kind, by how many real rows are of it; those left over share one."""
    counts = Counter(kind for kind in (kinds.real if kinds else ()) if kind is not None)
    order = sorted(counts, key=lambda kind: (-counts[kind], kind))
    return {kind: min(place, COLOURS) for place, kind in enumerate(order)}


def _groups(x: np.ndarray, own: list[str | None] | None, colours: dict[str, int]) -> list[Points]:
    """Points (n, 2) by the colour of their kind."""
    if own is None:
        return [Points("", x[:, 0], x[:, 1], 0)]
    of = np.array([COLOURS if kind is None else colours.get(kind, COLOURS) for kind in own])
    names = {place: kind for kind, place in colours.items() if place < COLOURS}
    more = any(kind is not None and place == COLOURS for kind, place in zip(own, of, strict=True))
    rest = "other" if more else "not known"
    return [
        Points(names.get(place, rest), x[of == place, 0], x[of == place, 1], place)
        for place in sorted(set(of.tolist()))
    ]


def _led(directions: Tensor, names: Sequence[str]) -> str:
    """Which features a component rises and falls with."""
    sentences = []
    for k in range(2):
        order: list[int] = directions[:, k].argsort(descending=True, stable=True).tolist()
        up = [names[j] for j in order[:LEADING] if float(directions[j, k]) > 0]
        down = [names[j] for j in order[::-1][:LEADING] if float(directions[j, k]) < 0]
        parts = [
            f"{way} with {escape(', '.join(some))}"
            for way, some in (("rises", up), ("falls", down))
            if some
        ]
        sentences.append(f"Component {k + 1} {' and '.join(parts)}.")
    return " ".join(sentences)


def kinds_table(kinds: Kinds, real: Tensor, samples: Tensor) -> str:
    """How many rows are of each kind, and their median library size.

    Args:
        kinds: Of the rows.
        real: Counts (N, d).
        samples: Counts (n, d).

    Returns:
        A heading and a table.
    """
    counts = Counter(kind for kind in kinds.real if kind is not None)
    order = sorted(counts, key=lambda kind: (-counts[kind], kind))[:LINES]
    rows = []
    for kind in order:
        cells = [escape(kind)]
        for own, x in ((kinds.real, real), (kinds.samples, samples)):
            chosen = torch.tensor([one == kind for one in own])
            totals = x[chosen].sum(1)
            middle = number(float(totals.double().median()), ".4g") if len(totals) else ""
            cells += [f"{len(totals):,}" if len(totals) else "", middle]
        rows.append((cells[0], cells[1], cells[3], cells[2], cells[4]))
    more = f", the {LINES} most frequent of {len(counts):,}" if len(counts) > LINES else ""
    note = (
        ""
        if any(kind is not None for kind in kinds.samples)
        else f"; samples were not told {kinds.name}"
    )
    heads = ("", "rows", "samples", "median library size", "of samples")
    caption = f"By {kinds.name}{more}{note}."
    return heading("Kinds of rows") + table(heads, rows, caption)
