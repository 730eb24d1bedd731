"""What a count is, and what is said of a value that is none.

A count is a whole number from 0 to 2^63 - 1. `whole` is the one place where values are looked
at: it names the first that is no count, with what that usually means and what to do about it.
Reals within `NOISE` of a whole number are that number, as software writes 0.999999999999999 for 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors

NUMPY = {
    torch.uint8: np.uint8,
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
}
BEYOND = 2**63  # the first whole number that is no count
BLOCK = 2**22  # values checked at once
NOISE = 1e-6  # of a whole number, from rounding
UNSCALE = "undo any scaling, or round"
REPLACE = "remove or replace missing values"


def smallest_type(maximum: int) -> torch.dtype:
    """The smallest type of counts that holds 0..maximum."""
    for dtype in NUMPY:
        if maximum <= torch.iinfo(dtype).max:
            return dtype
    raise ValueError(f"maximum={maximum} does not fit in 63 bits; counts are at most 2**63 - 1")


def whole(
    values: np.ndarray,
    where: Callable[[int], str],
    *,
    remedy: str = UNSCALE,
    absent: str = REPLACE,
    maximum: int | None = None,
) -> np.ndarray:
    """Counts in the smallest of torch's integer types that holds them and `maximum`.

    Args:
        values: Values (n,), of any integer or real type.
        where: What to call the value at a position.
        remedy: What to do about values that are no counts.
        absent: What to do about missing values.
        maximum: Largest admissible count, or None.

    Raises:
        TypeError: If the values are not numbers.
        ValueError: If one is no count, or above `maximum`.
    """
    if values.dtype.kind not in "iufb":
        raise TypeError(f"{where(0)} has type {values.dtype}; counts are numbers")
    top, most, exact = 0, BEYOND - 1 if maximum is None else maximum, True
    for start in range(0, values.size, BLOCK):
        part = values[start : start + BLOCK]
        highest = _highest(part, most)
        if highest is not None:
            top = max(top, highest)
            continue
        exact = False
        if part.dtype.kind == "f":
            part, given = np.rint(part), part.astype(np.float64)
            with np.errstate(invalid="ignore"):  # of infinity
                bad = ~(np.abs(part - given) <= NOISE)
            bad |= (part < 0) | (part.astype(np.float64) >= most + 1)
        else:
            bad = (part < 0) | (part > most)
        if bad.any():
            at = start + int(bad.argmax())
            raise ValueError(
                f"{where(at)} is {values[at]:.15g}{_cause(values[at], remedy, absent, maximum)}"
            )
        top = max(top, int(part.max()))
    values = values if exact or values.dtype.kind != "f" else np.rint(values)
    return values.astype(NUMPY[smallest_type(max(top, maximum or 0))], copy=False)


def _highest(part: np.ndarray, most: int) -> int | None:
    """The largest of some values, if a quick look says that all are counts up to `most`."""
    numbers = part
    if part.dtype.kind == "f":
        for kind in (np.uint8, np.int32):
            with np.errstate(invalid="ignore"):  # of what is beyond
                numbers = part.astype(kind)
            if (numbers == part).all():
                break
        else:
            return None
    lowest, highest = int(numbers.min()), int(numbers.max())
    return highest if 0 <= lowest <= highest <= most else None


def _cause(value: Any, remedy: str, absent: str, maximum: int | None) -> str:
    """What a value that is no count usually means, as the end of a sentence."""
    if not np.isfinite(value):
        return f"; {absent}"
    if abs(float(value) - np.rint(value)) > NOISE:
        return f"; counts are whole numbers, so this looks like normalised data: {remedy}"
    if value < 0:
        return f"; counts are never negative, so this looks like scaled data: {remedy}"
    if maximum is None:
        return "; counts are below 2**63"
    return f", above the maximum {maximum}; raise the maximum or clip the counts"


def check_counts(x: Tensor, maximum: int | None = None, *, name: str = "x") -> None:
    """Refuse what is not a tensor of counts in 0..maximum.

    Args:
        x: Counts of any shape, of type uint8, int16, int32 or int64.
        maximum: Largest admissible count, or None if there is none.
        name: What to call x in the message.

    Raises:
        TypeError: If x is no tensor or not of an integer type.
        ValueError: If a value is NaN, infinite, fractional, negative or above `maximum`; the
            message names the first one and its position.
    """
    if x.dtype not in NUMPY and not x.is_floating_point():
        raise TypeError(
            f"{name} has type {x.dtype}; counts are uint8, int16, int32 or int64, "
            "so convert it with x.to(torch.int64)"
        )
    if x.numel() == 0:
        return
    if not x.is_floating_point():
        lowest, highest = torch.stack(x.aminmax()).tolist()
        if lowest >= 0 and (maximum is None or highest <= maximum):
            return
    values = (x.double() if x.is_floating_point() else x).detach().cpu().numpy()
    counts = whole(values.ravel(), named(name, values.shape), maximum=maximum)
    exact = bool((counts == values.ravel()).all())
    raise TypeError(
        f"{name} has type {x.dtype}; its values are whole{'' if exact else ' but for rounding'}, "
        f"so convert it with x{'' if exact else '.round()'}.to(torch.int64)"
    )


def named(name: str, shape: tuple[int, ...]) -> Callable[[int], str]:
    """What to call each value of an array in row-major order: its name and its position."""
    return lambda at: f"{name}{[int(place) for place in np.unravel_index(at, shape)]}"


def check_total(counts: np.ndarray) -> None:
    """Refuse counts whose sum, and so that of those of one place, may not fit in 63 bits."""
    if counts.sum(dtype=np.float64) > 0.999 * BEYOND:  # a sum of reals is rounded
        raise ValueError("counts of one place are stored in parts, whose sum is beyond 63 bits")


doors.guard(__name__, inside=("named",))
