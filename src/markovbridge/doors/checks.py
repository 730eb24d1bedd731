"""The checks at the doors: one sentence for each kind of wrong value.

Constructors and public functions ask these of what they are given, so that a wrong value is
refused where it enters, by name and with what is allowed, and not in the words of a library
three calls below. Each returns the value in the plain type that the code behind it works with:
`np.int64(3)` and `3` are one number from here on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor

TURNS = 10**6  # of a loop, at most
T = TypeVar("T")


def unmasked(value: Any, name: str) -> Any:
    """What is no array, or one of which all entries are there.

    Raises:
        ValueError: If a mask hides some, which would be lost.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{name} hides {np.ma.count_masked(value):,} entries behind a mask, which are not "
            "kept apart here: fill them in, or leave out their rows"
        )
    return value


def shown(value: object) -> str:
    """A value as a message shows it: short, and in one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def instance(value: Any, kind: type[T], name: str, remedy: str = "") -> T:
    """The value, which must be of a class.

    Args:
        value: What was given.
        kind: The class it must be of.
        name: What it is called where it was given.
        remedy: How to get one, as a clause: "give torch.Generator().manual_seed(0)".

    Raises:
        TypeError: If it is of another class, naming both.
    """
    if isinstance(value, kind):
        return value
    given = "the class itself" if isinstance(value, type) else f"a {type(value).__name__}"
    if isinstance(value, type) and issubclass(value, kind):
        remedy = remedy or f"write {value.__name__}(), with brackets"
    raise TypeError(
        f"{name} must be a {kind.__name__}, not {given} ({shown(value)})"
        + (f": {remedy}" if remedy else "")
    )


def whole(value: Any, name: str, *, least: int | None = None, most: int | None = None) -> int:
    """The value as an int, which must be a whole number within bounds.

    Raises:
        TypeError: If it is no whole number; booleans and floats are none.
        ValueError: If it is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")
    value = int(value)
    if (least is not None and value < least) or (most is not None and value > most):
        raise ValueError(f"{name} must be {_range(least, most)}, not {shown(value)}")
    return value


def turns(value: Any, name: str) -> int:
    """The value as an int, how often something is done: 1 or more, and few enough to end.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is out of bounds.
    """
    return whole(value, name, least=1, most=TURNS)


def number(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """The value as a float, which must be a finite number within bounds.

    Args:
        value: What was given.
        name: What it is called where it was given.
        above: What it must be larger than.
        least: What it must be at least.
        below: What it must be smaller than.
        most: What it may be at most.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not finite, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    value = float(value)
    good = (
        math.isfinite(value)
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not good:
        bounds = [
            f"{words} {bound:g}"
            for words, bound in (
                ("above", above),
                ("at least", least),
                ("below", below),
                ("at most", most),
            )
            if bound is not None
        ]
        raise ValueError(
            f"{name} must be finite{' and ' if bounds else ''}{' and '.join(bounds)}, "
            f"not {shown(value)}"
        )
    return value


def flag(value: Any, name: str) -> bool:
    """The value, which must be True or False.

    Raises:
        TypeError: If it is anything else: no object counts by its truth.
    """
    if isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True or False, not {shown(value)}")


def parameter(
    value: float | Tensor,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> None:
    """Check a parameter of a law, a number or one for each site: finite, and within bounds.

    Raises:
        ValueError: If a value is not.
    """
    if not isinstance(value, Tensor):
        number(value, name, least=least, above=above, most=most)
    elif value.numel():
        # NaN is the least and the most of what holds one.
        for worst in (value.min(), value.max()):
            number(worst.item(), name, least=least, above=above, most=most)


def sites(value: Any, name: str) -> None:
    """Check a number, or one for each site as a Tensor or nested lists: finite.

    Raises:
        TypeError: If it is anything else.
        ValueError: If a number is not finite.
    """
    parameter(value if isinstance(value, Tensor | int | float) else numbers(value, name), name)


def shares(validation: float, test: float = 0.0) -> None:
    """Check the fractions of samples that are set aside.

    Raises:
        ValueError: If one is out of [0, 1), or nothing is left to train on.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            f"validation={validation} and test={test} must be fractions in [0, 1) that leave "
            "samples to train on; 0.1 and 0.1 are usual"
        )


def room(entries: int, what: str, remedy: str, size: int = 8) -> None:
    """Check that this machine has memory for a number of entries.

    Args:
        entries: How many numbers.
        what: What they are, with the argument that asks for them: "n = 5 samples".
        remedy: What to do instead, as a clause.
        size: Bytes of each.

    Raises:
        ValueError: If they are more than all of its memory.
    """
    if entries * size > _memory():
        raise ValueError(
            f"{what} take {entries * size / 2**30:.3g} GiB, more than the "
            f"{_memory() / 2**30:.3g} GiB of this machine: {remedy}"
        )


@functools.cache
def _memory() -> int:
    return psutil.virtual_memory().total


def numbers(value: Any, name: str) -> Tensor:
    """The value, a tensor, an array or nested lists of numbers, as float64 on the CPU.

    A list of tensors of one shape is one tensor.

    Raises:
        TypeError: If it is anything else.
    """
    cause, given = None, unmasked(value, name)
    if not isinstance(value, Tensor):
        try:
            value = _tensor(value)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            cause = error
    if cause is not None or isinstance(given, bool) or value.is_complex() or value.is_meta:
        raise TypeError(
            f"{name} must be a Tensor, an array or nested lists of numbers, not {shown(given)}"
        ) from cause
    return value.detach().to("cpu", torch.float64, copy=True)


def _tensor(value: Any) -> Tensor:
    """Numbers, or a list of tensors of one shape, as a tensor."""
    if isinstance(value, list | tuple) and value and all(isinstance(v, Tensor) for v in value):
        return torch.stack(list(value))
    return torch.tensor(value, dtype=torch.float64)


def choice(value: Any, options: Collection[str], name: str) -> str:
    """The value, which must be one of the options.

    Raises:
        ValueError: If it is none of them, naming all.
    """
    if isinstance(value, str) and value in options:
        return value
    raise ValueError(f"{name} must be one of {', '.join(options)}, not {shown(value)}")


def _range(least: int | None, most: int | None) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"from {least} to {most}"
