r"""Differences between two groups of rows of which a part was drawn: multiple imputation.

D completed tables give D estimates Q_d of a difference and their variances U_d. With their mean
Q̄ and Ū, and the variance B of the Q_d (Rubin 1987; van Buuren, Flexible Imputation of Missing
Data, 2.3),

    T = Ū + (1 + 1/D) B,   λ = (1 + 1/D) B/T,   Q̄/√T ~ t with ν degrees of freedom,
    1/ν = λ²/(D - 1) + 1/(ν' (ν' + 1)/(ν' + 3) (1 - λ))    (Barnard & Rubin 1999),

ν' being those of complete tables, by Welch and Satterthwaite. λ is the share of the variance that
is due to what is not known. A test that leaves B out, as that of one imputed mean does, takes
what was made up for data.

**Fold changes.** Q = log(mean of b) - log(mean of a) of each feature, U by the delta method,
s_a²/(n_a m_a²) + s_b²/(n_b m_b²). Where a completed table has only zeros in a group, and others
have not, it is the two means that are pooled, and the delta method comes after: Q̄, Ū and B are of
log m̄ with the means m̄ over all tables. Of a feature that is 0 in a group in all of them nothing
is said: NaN.

**No variance.** Where neither group varies and both are equal, p is 1; where they are not, there
is nothing to test by: NaN. Where tables differ but no table varies ν is 0, and p is 1.

**Many features.** Adjusted p-values are those of Benjamini & Hochberg (1995): of the features
below α, a share of at most α is expected to be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from markovbridge import doors


@dataclass(frozen=True, eq=False)
class Pooled:
    """What several completed tables say together, each `(d,)` float64.

    Attributes:
        estimate: Q̄.
        variance: T.
        degrees: ν; infinite where nothing limits them.
        missing: λ, in [0, 1).
    """

    estimate: Tensor
    variance: Tensor
    degrees: Tensor
    missing: Tensor


def pool(estimates: Tensor, variances: Tensor, degrees: Tensor | None = None) -> Pooled:
    """Rubin's rules.

    Args:
        estimates: Q_d of each of D completed tables, (D, d), D >= 2.
        variances: U_d, likewise.
        degrees: ν', likewise; None for infinitely many.

    Raises:
        ValueError: If there are fewer than two, or shapes differ.
    """
    count = len(estimates)
    if estimates.ndim != 2 or count < 2 or variances.shape != estimates.shape:
        raise ValueError(
            "estimates and variances are (draws, d) of two completed tables at least, not "
            f"{tuple(estimates.shape)} and {tuple(variances.shape)}"
        )
    between = (1 + 1 / count) * estimates.double().var(0)
    # A table without variance has no degrees of its own.
    complete = None if degrees is None else degrees.double().nanmean(0).nan_to_num(torch.inf)
    return _pooled(
        estimates.double().mean(0), variances.double().mean(0), between, complete, count
    )


def _pooled(
    estimate: Tensor, within: Tensor, between: Tensor, complete: Tensor | None, count: int
) -> Pooled:
    """Rubin's rules, given Q̄, Ū, (1 + 1/D) B, ν' and D."""
    total = within + between
    missing = torch.where(total > 0, between / total, 0.0)
    inverse = missing.square() / (count - 1)
    if complete is not None:
        seen = torch.where(
            complete.isinf(), torch.inf, (complete + 1) / (complete + 3) * complete
        ) * (1 - missing)
        # Of complete tables, which agree, the degrees are their own.
        inverse = torch.where(missing > 0, inverse + 1 / seen.nan_to_num(0.0), 1 / complete)
    return Pooled(estimate, total, 1 / inverse, missing)


def _of_means(a: Tensor, b: Tensor) -> Pooled:
    """The log fold change of means that are pooled themselves, of tables (D, n, d), (D, m, d)."""
    count = len(a)
    logs, within, between, welch = [], 0.0, 0.0, torch.zeros(a.shape[-1], dtype=torch.float64)
    for x in (a, b):
        n, each = x.shape[-2], x.double().mean(-2)
        mean = each.mean(0)
        part = x.double().var(-2).mean(0) / (n * mean.square())
        welch = welch + part.square() / (n - 1)
        within = within + part
        between = between + (1 + 1 / count) * each.var(0) / mean.square()
        logs.append(torch.where(mean > 0, mean.log(), torch.nan))
    assert isinstance(within, Tensor) and isinstance(between, Tensor), "of both groups"
    complete = torch.where(within > 0, within.square() / welch, torch.inf)
    return _pooled(logs[1] - logs[0], within, between, complete, count)


def log_fold_change(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log of the mean of b over that of a, its variance and degrees of freedom: each (..., d).

    Args:
        a: Counts (..., n, d), n >= 2.
        b: Counts (..., m, d), m >= 2.
    """
    if min(a.shape[-2], b.shape[-2]) < 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(
            "a and b are at least two rows each, of the same features, not "
            f"{tuple(a.shape[-2:])} and {tuple(b.shape[-2:])}"
        )
    logs, parts, welch = [], [], torch.zeros((), dtype=torch.float64)
    for x in (a, b):
        n, mean = x.shape[-2], x.double().mean(-2)
        part = x.double().var(-2) / (n * mean.square())
        welch = welch + part.square() / (n - 1)
        logs.append(torch.where(mean > 0, mean.log(), torch.nan))
        parts.append(part)
    variance = parts[0] + parts[1]
    return logs[1] - logs[0], variance, variance.square() / welch


def adjusted(p: Tensor) -> Tensor:
    """P-values (d,) as Benjamini & Hochberg adjust them; NaN, which do not count, stay."""
    known = ~p.isnan()
    ordered, order = p[known].double().sort(descending=True)
    rank = torch.arange(len(ordered), 0, -1)
    found = torch.empty_like(ordered)
    found[order] = (ordered * len(ordered) / rank).cummin(0).values.clamp_max(1)
    made = torch.full(p.shape, torch.nan, dtype=torch.float64)
    made[known] = found
    return made


@dataclass(frozen=True, eq=False)
class Differences:
    """Differences of two groups of rows, feature by feature; each `(d,)` float64.

    Attributes:
        mean_a: Mean of the first group, over completed tables.
        mean_b: Mean of the second.
        log_fold_change: Natural logarithm of mean_b over mean_a.
        standard_error: Of that, with what is not known in it.
        degrees: Degrees of freedom of its t distribution.
        p_value: Of the test that it is 0, two-sided.
        adjusted: That by Benjamini & Hochberg.
        missing: The share of its variance that is due to what is not known.
    """

    mean_a: Tensor
    mean_b: Tensor
    log_fold_change: Tensor
    standard_error: Tensor
    degrees: Tensor
    p_value: Tensor
    adjusted: Tensor
    missing: Tensor


def differences(a: Tensor, b: Tensor) -> Differences:
    """Test the log fold changes of two groups of completed rows.

    Args:
        a: Completed rows of the first, (D, n, d).
        b: Of the second, (D, m, d).

    Raises:
        ValueError: If there are fewer than two completed tables, or rows of a group.
    """
    from scipy.stats import t as student  # half a second, which those who do not test save

    if a.ndim != 3 or b.ndim != 3 or len(a) != len(b):
        raise ValueError(
            f"a and b are (draws, rows, features), not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    estimates, variances, degrees = log_fold_change(a, b)
    found = pool(estimates, variances, degrees)
    empty = estimates.isnan().any(0)  # in a group of a completed table, if not of all
    if bool(empty.any()):
        means = _of_means(a[..., empty], b[..., empty])
        for usual, own in zip(_values(found), _values(means), strict=True):
            usual[empty] = own
    error = found.variance.sqrt()
    ratio = (found.estimate / error).abs()
    p = torch.from_numpy(2 * student.sf(ratio.numpy(), found.degrees.numpy()))
    nothing = (found.variance == 0) & (found.estimate == 0)
    p = torch.where(nothing | (found.degrees == 0) & ~found.estimate.isnan(), 1.0, p)
    p = torch.where(ratio.isinf(), torch.nan, p)  # there is nothing to test by
    return Differences(
        mean_a=a.double().mean((0, 1)),
        mean_b=b.double().mean((0, 1)),
        log_fold_change=found.estimate,
        standard_error=error,
        degrees=found.degrees,
        p_value=p,
        adjusted=adjusted(p),
        missing=found.missing,
    )


def _values(found: Pooled) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return found.estimate, found.variance, found.degrees, found.missing


doors.guard(__name__, records=("Pooled", "Differences"))
