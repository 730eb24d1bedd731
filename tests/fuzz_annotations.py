"""Annotations, read by the fuzzer: what they say, and which values they allow.

Of a second make than the package's own reading in `markovbridge.doors.kinds`, so that one checks
the other: an annotation is taken at its word, and what an argument may be besides is stated here.
"""

import collections.abc as abc
import inspect
import math
import types
import typing
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from markovbridge.doors import annotations


def hints_of(function, owner=None):
    """Annotations of the arguments of a function, or of the fields behind a constructor."""
    found = {}
    for cls in reversed(owner.__mro__) if owner is not None else ():
        for name, text in vars(cls).get("__annotations__", {}).items():
            found[name] = annotations.evaluated(text, annotations.Names(cls.__module__))
    for name, text in getattr(function, "__annotations__", {}).items():
        if name in found and not isinstance(text, str):
            continue
        found[name] = annotations.evaluated(text, annotations.Names(function.__module__))
    return found


# What arguments may be besides what their annotations say, as their docstrings state.
BESIDES = {
    "couplings.Independent.source": Tensor | abc.Callable,
    "couplings.MinibatchOT.source": Tensor | abc.Callable,
    "couplings.Gaussian.mean": np.ndarray | abc.Sequence[float],  # of a file
    "couplings.Dirac.value": np.ndarray | abc.Sequence[float],
}


# Results, whose numbers may be unknown or without bound.
RECORDS = (
    "metrics.Agreement",
    "metrics.FeatureErrors",
    "metrics.HeldOut",
    "metrics.Margins",
    "metrics.Moments",
    "metrics.Record",
    "restoration.Coverage",
    "restoration.Score",
)


def against(hint, path, value):
    """Whether an argument of this path and annotation should not have been taken."""
    if path.rpartition(".")[0] in RECORDS and isinstance(value, float) and "float" in str(hint):
        return False
    return not allows(hint, value) and not (path in BESIDES and allows(BESIDES[path], value))


def allows(hint, value):
    """Whether an annotation allows a value: of the type it says, numbers finite."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (typing.Any, object) or isinstance(hint, typing.TypeVar):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(allows(option, value) for option in inner)
    if hint is None or hint is type(None):
        return value is None
    if origin is typing.Literal:
        return isinstance(value, str | int) and value in inner
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return _finite(value)
    if hint is Path:
        return isinstance(value, str | Path)
    if hint is Tensor:
        return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
    if origin is abc.Callable or hint is abc.Callable:
        return callable(value)
    if hint is type or origin is type:
        return isinstance(value, type)
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    if issubclass(kind, abc.Mapping):
        return isinstance(value, kind) and all(
            allows(hint, entry)
            for hint, part in zip(inner, (value, value.values()), strict=False)
            for entry in part
        )
    if issubclass(kind, abc.Iterable) and inner:
        return _collection(kind, inner, value)
    if getattr(kind, "_is_protocol", False):
        asked = [name for name, member in vars(kind).items() if inspect.isfunction(member)]
        return all(hasattr(value, name) for name in asked if not name.startswith("_"))
    return isinstance(value, kind)


def _finite(value):
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _collection(kind, inner, value):
    """Sequences and iterables; a list or an array is as good as a tuple."""
    if isinstance(value, str | bytes | abc.Mapping | type):
        return False
    if issubclass(kind, abc.Sequence):
        if not isinstance(value, abc.Sequence) and getattr(value, "ndim", 0) == 0:
            return False
        if isinstance(value, Tensor) and not isinstance(value, kind):
            return False
    elif not isinstance(value, abc.Iterable):
        return False
    if issubclass(kind, abc.Iterator) or isinstance(value, np.ndarray | Tensor):
        return isinstance(value, kind) or issubclass(kind, abc.Sequence | abc.Iterable)
    if issubclass(kind, tuple) and inner[-1:] != (Ellipsis,):
        return len(value) == len(inner) and all(map(allows, inner, value))
    return all(allows(inner[0], entry) for entry in value)
