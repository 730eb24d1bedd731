"""Doors: public functions and constructors that check what they are given.

The annotation of an argument says what it takes: a tensor, a whole number, a `Process`. A
module ends in `doors.guard(__name__)`, and from then on every public function of it, and every
public method and constructor of its public classes, asks this of its arguments before it does
anything, in one sentence that names argument, wish and value:

    >>> import markovbridge as mb
    >>> mb.Transport("PureDeath", None, mb.MeanHead(), shape=(8,))
    Traceback (most recent call last):
    TypeError: process must be a Process, not 'PureDeath'

Annotations are read at the first call, once; after that a check is an `isinstance` or two.
What an annotation cannot say, a range or a shape, is for the function itself, by `checks`.

Numbers are finite, whole numbers are no booleans, and no object counts by its truth. Tensors
hold values one can compute with: no meta tensors, and none of the integer types that torch
stores but does not add. NumPy's numbers become Python's, and a list where a tuple is meant
becomes one, so that what is inside has one form.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import linecache
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from markovbridge.doors import kinds

SIGNATURE = re.compile(r"\(\) (takes|got|missing) ")  # Python's words for wrong arguments
LIBRARIES = ("torch", "numpy", "scipy", "diffusers", "markovbridge")


def guard(
    module: str,
    *,
    records: Iterable[str] = (),
    own: Iterable[str] = (),
    inside: Iterable[str] = (),
) -> None:
    """Make every public function and class of a module check its arguments.

    Args:
        module: `__name__` of the module, which calls this as its last line.
        records: Classes that hold results, whose numbers may be NaN.
        own: Arguments of which the module takes more than their annotations say, or says more
            where they are wrong: it checks these itself.
        inside: Helpers of other modules, called behind doors and often: they check nothing.
    """
    space = vars(sys.modules[module])
    own = frozenset(own)
    for name, value in list(space.items()):
        if name.startswith("_") or getattr(value, "__module__", None) != module or name in inside:
            continue
        if isinstance(value, type):
            # Bases that only this module knows stand behind the same door.
            for owner in value.__mro__:
                if owner.__module__ == module and "_guarded" not in vars(owner):
                    _guard_class(owner, name in records, own)
        elif isinstance(value, types.FunctionType):
            space[name] = _door(value, functools.partial(kinds.of_function, value), own)


def _guard_class(owner: type, record: bool, own: frozenset[str]) -> None:
    if issubclass(owner, dict) or getattr(owner, "_is_protocol", False):
        return
    owner._guarded = True
    for name, member in list(vars(owner).items()):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        wrap = type(member) if isinstance(member, staticmethod | classmethod) else None
        function = member if wrap is None else member.__func__
        if not isinstance(function, types.FunctionType):
            continue
        if name == "__init__" and dataclasses.is_dataclass(owner):
            hints = functools.partial(kinds.of_fields, owner, record)
        else:
            hints = functools.partial(kinds.of_function, function)
        if name not in getattr(owner, "takes_anything", (name,)):
            hints = functools.partial(_with_states, owner, hints)
        door = _door(function, hints, own)
        setattr(owner, name, door if wrap is None else wrap(door))


def _with_states(
    owner: Any, hints: Callable[[], dict[str, kinds.Check]]
) -> dict[str, kinds.Check]:
    """Checks of arguments, those that are states of a process held to its type."""
    states = kinds.of_states(owner.dtype) if hasattr(owner, "dtype") else None
    return {
        name: states if states and name in owner.states_are_called else check
        for name, check in hints().items()
    }


def _door(
    function: Callable[..., Any], hints: Callable[[], dict[str, kinds.Check]], own: frozenset[str]
) -> Callable[..., Any]:
    """The function behind checks of its arguments."""
    positional: list[tuple[int, str, kinds.Check]] = []
    named: dict[str, kinds.Check] = {}
    explain, compiling = _explained, torch.compiler.is_compiling
    read = False

    def learn() -> None:
        nonlocal read
        named.update({name: check for name, check in hints().items() if name not in own})
        for i, parameter in enumerate(inspect.signature(function).parameters.values()):
            by_place = (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            if parameter.kind in by_place and parameter.name in named:
                positional.append((i, parameter.name, named[parameter.name]))
        read = True

    def door(*args: Any, **kwargs: Any) -> Any:
        # What is compiled is compiled with the checks that it had learnt by then.
        if not read and not compiling():
            learn()
        given = len(args)
        for i, name, check in positional:
            if i >= given:
                break
            plain = check(args[i], name)
            if plain is not args[i]:
                args = (*args[:i], plain, *args[i + 1 :])
        for name in kwargs:
            check = named.get(name)
            if check is not None:
                kwargs[name] = check(kwargs[name], name)
        try:
            return function(*args, **kwargs)
        except (RuntimeError, IndexError, OverflowError, TypeError, ValueError) as error:
            told = explain(error, function, args, kwargs)
            if told is None:
                raise
            raise told from error

    # In the namespace of the module: whoever reads the annotations looks names up there.
    made = types.FunctionType(
        door.__code__, function.__globals__, function.__name__, None, door.__closure__
    )
    return functools.wraps(function)(made)


# What went wrong behind a door.


def _explained(
    error: Exception, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ValueError | TypeError | None:
    """An error that names the arguments a library could not work with, if it was one's fault.

    Asked only where there was an error already, so that shapes, types and values of tensors
    need no checks on the way in. States of a process are checked as `Process.check` does. What
    was raised on purpose, or in code of the user's, is left as it is, and so are a call with
    other arguments than a function has, and a device that has run out of memory.
    """
    if isinstance(error, torch.OutOfMemoryError) or not _of_library(error):
        return None
    if isinstance(error, TypeError) and SIGNATURE.search(str(error)):
        return None
    given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    owner: Any = given.pop("self", None)
    names = getattr(type(owner), "states_are_called", ())
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    if function.__name__ not in getattr(type(owner), "takes_anything", ()):
        for name in (name for name in names if name in tensors):
            try:
                owner.check(tensors[name], name)
            except (TypeError, ValueError) as fault:
                return fault
    if dataclasses.is_dataclass(owner):
        fields = {f"its {f.name}": getattr(owner, f.name) for f in dataclasses.fields(owner)}
        tensors |= {name: value for name, value in fields.items() if isinstance(value, Tensor)}
    sizes = {name: value for name, value in given.items() if _size(value)}
    if not tensors and not sizes:
        return None
    words = ", ".join(
        [f"{name} {tuple(value.shape)} of {_type(value)}" for name, value in tensors.items()]
        + [f"{name} = {value}" for name, value in sizes.items()]
    )
    name = function.__qualname__.removesuffix(".__init__")
    reason = str(error).split("\n")[0].split(" (function ")[0]
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{name} cannot work with {words}: {reason}")


def _of_library(error: Exception) -> bool:
    """Whether an error comes from a library, called by this package."""
    trace, last = error.__traceback__, None
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.split(".")[0] not in LIBRARIES:
            return False
        last, trace = trace, trace.tb_next
    if last is None:
        return False
    if last.tb_frame.f_globals.get("__name__", "").split(".")[0] != "markovbridge":
        return True
    line = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno)
    return not line.strip().startswith("raise")


def _size(value: Any) -> bool:
    """Whether a value may be the size of something that is made."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, tuple | list) and all(isinstance(n, int) for n in value[:8])


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
