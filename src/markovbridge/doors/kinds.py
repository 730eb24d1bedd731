"""What annotations say of arguments: the kinds of values that they take, and checks of them.

An annotation becomes a list of kinds, a check of a value that asks each of them, and a sentence
where none fits. What it does not say is not checked.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge.doors.annotations import Names, evaluated
from markovbridge.doors.checks import shown, unmasked

Check = Callable[[Any, str], Any]
"""Takes a value and its name; returns it in its plain form, or raises."""

MANY = 1000  # entries of a sequence that are looked at; the rest is the caller's affair
LONGEST = 255  # bytes of a name in the usual file systems
STORED_ONLY = {
    getattr(torch, name)
    for name in ("uint16", "uint32", "uint64", "quint8", "qint8", "qint32")
    if hasattr(torch, name)
}
REMEDY = "give torch.Generator().manual_seed(0)"


def of_function(function: Callable[..., Any]) -> dict[str, Check]:
    """A check for each argument whose annotation says something that can be checked."""
    space = Names(function.__module__)
    found = {}
    for name, text in function.__annotations__.items():
        if name == "return":
            continue
        hint = evaluated(text, space)
        options = _options(hint)
        if options is not None:
            found.update(options)
            continue
        check = _check(hint)
        if check is not None and inspect.signature(function).parameters[name].kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            found[name] = check
    return found


def of_fields(owner: type, record: bool) -> dict[str, Check]:
    """The same for the fields of a dataclass, each in the module of the class that states it."""
    found = {}
    for cls in reversed(owner.__mro__):
        space = Names(cls.__module__)
        for name, text in vars(cls).get("__annotations__", {}).items():
            check = _check(evaluated(text, space), finite=not record)
            found.pop(name, None)
            if check is not None:
                found[name] = check
    return found


def _options(hint: Any) -> dict[str, Check] | None:
    """Checks of the names in `**options: Unpack[DrawOptions]`."""
    if typing.get_origin(hint) is not typing.Unpack:
        return None
    (table,) = typing.get_args(hint)
    space = Names(table.__module__)
    pairs = {name: _check(evaluated(text, space)) for name, text in table.__annotations__.items()}
    return {name: check for name, check in pairs.items() if check is not None}


def of_states(dtype: torch.dtype) -> Check:
    """A check of states of a process: of its type, or of its kind if they are reals."""

    def check(value: Any, name: str) -> Tensor:
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a Tensor of states, not {shown(value)}")
        value = _usable(value, name)
        if value.dtype is not dtype and not (
            dtype.is_floating_point and value.is_floating_point()
        ):
            kind = "reals, as float32" if dtype.is_floating_point else "whole numbers, as int64"
            raise TypeError(
                f"{name} is a tensor of {value.dtype}, but states are {kind}: give "
                f"process.check({name}), which converts what can be"
            )
        return value

    return check


# Kinds of values.


@dataclasses.dataclass(frozen=True)
class _Kind:
    """One kind of value that an argument takes."""

    words: str
    fits: Callable[[Any], bool]
    plain: Callable[[Any, str], Any] = lambda value, name: value
    """The plain form of a value that fits, or an error if it is of no use."""
    remedy: str = ""
    bases: tuple[type, ...] = ()
    """Classes all of whose objects fit as they are; none if more is asked of an object."""
    typed: bool = False
    """Whether an object fits by its type alone, `plain` asking the rest."""


def _device(value: Any, name: str) -> Any:
    try:
        torch.device(value)
    except RuntimeError:
        raise ValueError(f"{name} must be a device, such as 'cpu', not {value!r}") from None
    return value


DEVICE = _Kind("a device", lambda value: isinstance(value, str | torch.device), _device)


def _check(hint: Any, finite: bool = True) -> Check | None:
    """A check of what a hint says; None if it says nothing that could be checked."""
    kinds = _kinds(hint, finite)
    if not kinds:
        return None
    # By type of what was given before, so that nearly all calls ask little.
    known: set[type] = set()
    ways: dict[type, Callable[[Any, str], Any]] = {}

    def check(value: Any, name: str) -> Any:
        if type(value) in known:
            return value
        way = ways.get(type(value))
        if way is not None:
            try:
                return way(value, name)
            except (TypeError, ValueError):
                pass  # another kind may fit
        fault = None
        for kind in kinds:
            if kind.fits(value):
                if kind.bases:
                    known.add(type(value))
                elif kind.typed:
                    ways.setdefault(type(value), kind.plain)
                try:
                    return kind.plain(value, name)
                except (TypeError, ValueError) as error:
                    fault = fault or error
        raise fault or _refusal(value, name, kinds)

    return check


def _refusal(value: Any, name: str, kinds: list[_Kind]) -> TypeError | ValueError:
    words = list(dict.fromkeys(kind.words for kind in kinds))
    wanted = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    remedy = next((kind.remedy for kind in kinds if kind.remedy), "")
    tensors = any(kind.words == "a Tensor" for kind in kinds)
    if tensors and hasattr(value, "__array__") and not isinstance(value, Tensor):
        remedy = "give torch.as_tensor of it"
    if isinstance(value, type):
        given = f"the class {value.__name__}"
        if any(issubclass(value, kind.bases) for kind in kinds):
            wanted += f", such as {value.__name__}()"
    elif isinstance(value, str | int | float | complex | None):
        given = shown(value)
    else:
        given = f"{_article(type(value).__name__)} ({shown(value)})"
    text = f"{name} must be {wanted}, not {given}" + (f": {remedy}" if remedy else "")
    named = all(kind.words.startswith(("one of", "None")) for kind in kinds)
    return ValueError(text) if named else TypeError(text)


def _kinds(hint: Any, finite: bool) -> list[_Kind]:
    """The kinds a hint allows, empty if it allows anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        texts = {Path: _Kind("a path", _is_path, _plain_text), torch.device: DEVICE}
        known = next((kind for kind in texts if kind in arguments), None)
        if known is not None and str in arguments:
            rest = tuple(part for part in arguments if part not in (known, str))
            parts = [[texts[known]], *(_kinds(part, finite) for part in rest)]
            return [kind for part in parts for kind in part] if all(parts) else []
        parts = [_kinds(part, finite) for part in arguments]
        return [kind for part in parts for kind in part] if all(parts) else []
    if origin is typing.Annotated:
        return _kinds(arguments[0], finite)
    if hint is None or hint is type(None):
        return [_Kind("None", lambda value: value is None, bases=(type(None),))]
    if origin is typing.Literal:
        words = f"one of {', '.join(map(repr, arguments))}"
        return [_Kind(words, lambda value: isinstance(value, str | int) and value in arguments)]
    if hint is bool:
        return [_Kind("True or False", lambda value: isinstance(value, bool), bases=(bool,))]
    if hint is int:
        return [_Kind("a whole number", _is_whole, _plain_whole, typed=True)]
    if hint is float:
        plain = _plain_number if finite else _any_number
        return [_Kind("a number", _is_number, plain, typed=True)]
    if hint is Tensor:
        return [_Kind("a Tensor", lambda value: isinstance(value, Tensor), _usable, typed=True)]
    if origin is abc.Callable or hint is abc.Callable:
        return [_Kind("a function", callable)]
    if origin is type:
        return _classes(arguments[0])
    if isinstance(origin, type):
        return _collections(origin, arguments, finite)
    if isinstance(hint, type) and hint not in (object, Any):
        return _instances(hint)
    return []


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _plain_whole(value: Any, name: str) -> int:
    return value if type(value) is int else int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _any_number(value: Any, name: str) -> float:
    return value if isinstance(value, float | int) else float(value)


def _plain_number(value: Any, name: str) -> float:
    value = _any_number(value, name)
    try:
        good = math.isfinite(value)
    except OverflowError:
        good = False
    if not good:
        raise ValueError(f"{name} must be finite, not {shown(value)}")
    return value


def _is_path(value: Any) -> bool:
    return isinstance(value, str | Path)


def _plain_text(value: str | Path, name: str) -> str | Path:
    """A path as it was given, which a file system can hold."""
    text = str(value)
    if "\0" in text or any(len(part.encode()) > LONGEST for part in Path(text).parts):
        raise ValueError(
            f"{name} must be a path of names of at most {LONGEST} bytes, not {shown(text)}"
        )
    return value


def _plain_path(value: str | Path, name: str) -> Path:
    value = _plain_text(value, name)
    return value if isinstance(value, Path) else Path(value)


def _usable(value: Tensor, name: str) -> Tensor:
    if value.is_meta or value.dtype in STORED_ONLY or value.layout != torch.strided:
        kind = (
            "meta tensor, which holds no values" if value.is_meta else f"tensor of {value.dtype}"
        )
        if value.layout != torch.strided:
            kind = f"tensor of layout {value.layout}"
        raise TypeError(
            f"{name} is a {kind}: give a dense tensor of int64 or float32, on a device"
        )
    return value


def _classes(base: Any) -> list[_Kind]:
    if not isinstance(base, type):
        return [_Kind("a class", lambda value: isinstance(value, type))]
    words = f"a class of {base.__name__}"
    return [_Kind(words, lambda value: isinstance(value, type) and issubclass(value, base))]


def _article(name: str) -> str:
    return f"a{'n' if name[:1] in 'AEIOUaeiou' else ''} {name}"


def _instances(kind: type) -> list[_Kind]:
    name = kind.__name__
    words = _article(name)
    if kind is str:
        words = "a string"
    if kind is Path:
        return [_Kind("a path", _is_path, _plain_path)]
    if getattr(kind, "_is_protocol", False):
        needed = [k for k, v in vars(kind).items() if inspect.isfunction(v) or type(v) is property]
        needed = [key for key in needed if not key.startswith("_")]
        words = f"{words} (an object with {' and '.join(needed)})"
        return [
            _Kind(
                words,
                lambda value: (
                    not isinstance(value, type) and all(hasattr(value, key) for key in needed)
                ),
            )
        ]
    if kind is np.ndarray:
        return [_Kind(words, lambda value: isinstance(value, kind), unmasked, typed=True)]
    remedy = REMEDY if kind is torch.Generator else ""
    return [_Kind(words, lambda value: isinstance(value, kind), remedy=remedy, bases=(kind,))]


def _collections(origin: type, arguments: tuple[Any, ...], finite: bool) -> list[_Kind]:
    if origin is typing.IO:  # a form of annotation, of which no file is an instance
        return []
    if issubclass(origin, abc.Mapping):
        inner = _check(arguments[1], finite) if len(arguments) == 2 else None

        def mapping(value: Any, name: str) -> Any:
            if inner is not None:
                for key, entry in value.items():
                    inner(entry, f"{name}[{key!r}]")
            return value

        return [_Kind("a mapping", _mapped, mapping)]
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return [_fixed(arguments, finite)]
    if issubclass(origin, abc.Sequence):
        return [_sequence(origin, arguments[0] if arguments else Any, finite)]
    if issubclass(origin, abc.Iterable):
        return [
            _Kind(
                "an iterable",
                lambda value: (
                    isinstance(value, abc.Iterable)
                    and not isinstance(value, str | bytes | type | np.ma.MaskedArray)
                ),
            )
        ]
    return _instances(origin)


def _mapped(value: Any) -> bool:
    """Mappings, and data frames, which are as good."""
    return isinstance(value, abc.Mapping) or (
        not isinstance(value, type) and hasattr(value, "keys") and hasattr(value, "items")
    )


def _listed(value: Any) -> bool:
    """Sequences, and columns of NumPy and pandas, which are as good."""
    column = not isinstance(value, type | Tensor) and hasattr(value, "__array__")
    if column and getattr(value, "ndim", 0) >= 1:
        return True
    return isinstance(value, abc.Sequence) and not isinstance(value, str | bytes)


def _sequence(origin: type, inner: Any, finite: bool) -> _Kind:
    check = _check(inner, finite)

    def plain(value: Any, name: str) -> Any:
        if check is not None:
            found = [check(entry, f"{name}[{i}]") for i, entry in enumerate(value[:MANY])]
            if any(a is not b for a, b in zip(found, value, strict=False)):
                kind = list if isinstance(value, list) else tuple
                value = kind((*found, *value[MANY:]))
        return tuple(value) if origin is tuple and not isinstance(value, tuple) else value

    return _Kind(f"a sequence{_of(inner)}", _listed, plain)


def _of(inner: Any) -> str:
    names = {int: "whole numbers", float: "numbers", str: "strings", Tensor: "Tensors"}
    named = names.get(inner, "")
    return f" of {named}" if named else ""


def _fixed(arguments: tuple[Any, ...], finite: bool) -> _Kind:
    checks = [_check(argument, finite) for argument in arguments]

    def plain(value: Any, name: str) -> Any:
        if len(value) != len(checks):
            raise ValueError(f"{name} must be {len(checks)} values, not {shown(value)}")
        found = [
            entry if check is None else check(entry, f"{name}[{i}]")
            for i, (entry, check) in enumerate(zip(value, checks, strict=True))
        ]
        same = isinstance(value, tuple) and all(a is b for a, b in zip(found, value, strict=True))
        return value if same else tuple(found)

    return _Kind(f"{len(checks)} values", _listed, plain)
