"""Values for the fuzzer: good ones for what an annotation asks, and hostile ones for it."""

import collections.abc as abc
import inspect
import math
import random
import types
import typing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fuzz_annotations import hints_of

STRANGERS = {
    "None": lambda: None,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "-1": lambda: -1,
    "0": lambda: 0,
    "-5.5": lambda: -5.5,
    "2.5": lambda: 2.5,
    "7": lambda: 7,
    "1e308": lambda: 1e308,
    "2**31": lambda: 2**31,
    "2**53": lambda: 2**53,
    "10**12": lambda: 10**12,
    "10**30": lambda: 10**30,
    "10**400": lambda: 10**400,
    "True": lambda: True,
    "False": lambda: False,
    "''": lambda: "",
    "'3'": lambda: "3",
    "'abc'": lambda: "abc",
    "'x' * 5000": lambda: "x" * 5000,
    "b'x'": lambda: b"x",
    "[]": lambda: [],
    "()": lambda: (),
    "{}": lambda: {},
    "[1, 'a']": lambda: [1, "a"],
    "[nan]": lambda: [math.nan],
    "[-1, 3]": lambda: [-1, 3],
    "{'a': object()}": lambda: {"a": object()},
    "set()": set,
    "object()": object,
    "a lambda": lambda: lambda *a, **k: None,
    "a class": lambda: int,
    "1j": lambda: 1j,
    "np.int64(2)": lambda: np.int64(2),
    "np.float32(nan)": lambda: np.float32("nan"),
    "np.zeros((2, 2))": lambda: np.zeros((2, 2)),
    "np.array(['a'])": lambda: np.array(["a"]),
    "Decimal('1.5')": lambda: Decimal("1.5"),
    "Fraction(1, 3)": lambda: Fraction(1, 3),
    "Path('/nonexistent')": lambda: Path("/nonexistent/x"),
    "range(3)": lambda: range(3),
    "slice(None)": lambda: slice(None),
    "Ellipsis": lambda: ...,
    "torch.tensor(nan)": lambda: torch.tensor(math.nan),
    "torch.zeros(0)": lambda: torch.zeros(0),
    "torch.ones(2, 3)": lambda: torch.ones(2, 3),
    "torch.tensor(3)": lambda: torch.tensor(3),
    "a Generator": lambda: torch.Generator().manual_seed(0),
    "a Linear": lambda: torch.nn.Linear(2, 2),
}


def _holding(x, value):
    x = x.clone() if x.dtype not in (torch.bool,) else x.long()
    if isinstance(value, float) and not x.is_floating_point():
        x = x.double()
    if x.numel():
        x.view(-1)[-1] = value
    return x


TENSORS = {
    "holding nan": lambda x: _holding(x, math.nan),
    "holding inf": lambda x: _holding(x, math.inf),
    "holding -1": lambda x: _holding(x, -1),
    "holding a half": lambda x: _holding(x, 0.5),
    "holding 1e30": lambda x: _holding(x, 1e30),
    "holding 10**9": lambda x: _holding(x, 10**9),
    "all nan": lambda x: torch.full(x.shape, math.nan),
    "all -3": lambda x: torch.full_like(x, -3) if x.dtype != torch.bool else -3 * x.int(),
    "float32": lambda x: x.float(),
    "float64": lambda x: x.double(),
    "half": lambda x: x.half(),
    "int64": lambda x: x.long(),
    "int8": lambda x: x.to(torch.int8),
    "uint8": lambda x: x.to(torch.uint8),
    "uint16": lambda x: x.to(torch.uint8).to(torch.uint16),
    "bool": lambda x: x.bool(),
    "complex": lambda x: x.to(torch.complex64),
    "one row": lambda x: x[:1] if x.ndim else x.reshape(1),
    "no rows": lambda x: x[:0] if x.ndim else x.reshape(1)[:0],
    "rows twice": lambda x: torch.cat([x, x]) if x.ndim else torch.stack([x, x]),
    "one more axis": lambda x: x.unsqueeze(-1),
    "one axis less": lambda x: x.flatten(),
    "turned": lambda x: x.mT if x.ndim > 1 else x,
    "one site less": lambda x: x[..., :-1] if x.ndim else x,
    "a number": lambda x: x.flatten()[0] if x.numel() else x,
    "numpy": lambda x: x.numpy(),
    "a list": lambda x: x.tolist(),
    "meta": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
}


def hostile(value, rng):
    """A name and a value, to be given in the place of `value`."""
    if isinstance(value, Tensor) and rng.random() < 0.7:
        name = rng.choice(list(TENSORS))
        try:
            return f"tensor {name}", TENSORS[name](value.detach())
        except (RuntimeError, TypeError, IndexError):
            pass
    name = rng.choice(list(STRANGERS))
    return name, STRANGERS[name]()


# Good values.

COUNTS = torch.tensor([[0, 1, 2], [2, 2, 1], [1, 0, 0], [2, 0, 1]])
REALS = torch.tensor([[0.2, -0.4, 1.0], [0.5, 1.5, -1.0], [0.1, 0.3, 0.7], [-0.6, 0.4, 0.9]])
SHARES = torch.tensor([[0.2, 0.4, 0.9], [0.5, 0.1, 0.3], [0.1, 0.3, 0.7], [0.6, 0.4, 0.9]])
TABLES = torch.log_softmax(torch.arange(36.0).reshape(4, 3, 3).sin(), -1)
MATRICES = (
    torch.eye(3).double() + 0.1,
    torch.tensor([[-1.0, 0.5, 0.5], [1.0, -2.0, 1.0], [0.2, 0.3, -0.5]]).double(),
    torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]]).double(),
)
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
GREYS = (IMAGES * 255).to(torch.uint8)
RAW = torch.arange(108.0).reshape(4, 9, 3).sin()
TIMES = torch.tensor([0.3, 0.6, 0.2, 0.9])
# Tensors that go together, of which a call is given one family.
FAMILIES = (
    (COUNTS, COUNTS, COUNTS + 2, torch.zeros_like(COUNTS)),
    (COUNTS, COUNTS + 2, SHARES, TIMES, COUNTS > 0),
    (REALS, REALS, SHARES, torch.zeros_like(REALS)),
    (REALS, SHARES, TIMES, COUNTS > 0),
    (SHARES.double(), REALS.double(), COUNTS, COUNTS > 0),
    (TABLES, COUNTS, COUNTS, TIMES),
    (RAW, RAW[:, :2], RAW[:, :1], COUNTS, COUNTS, COUNTS, TIMES),
    (COUNTS[:, :1], COUNTS[:, :1] + 1, TIMES),
    (COUNTS[:, :2], COUNTS[:, :2] + 1, TIMES),
    (COUNTS[:2].expand(2, 2, 3), COUNTS[:2] > 0, SHARES[:2], COUNTS[:2]),
    (TABLES, TABLES, REALS, SHARES),
    (torch.tensor([0.1, 0.4, 0.5]), torch.tensor([0, 1, 2]), torch.tensor([0.3, -0.4, 2.0])),
    (torch.tensor([0.1, 0.4, 0.5]), *MATRICES, REALS[0]),
    MATRICES,
    (MATRICES[2].expand(2, 3, 3), COUNTS),
    (REALS.unsqueeze(1), COUNTS.unsqueeze(1), REALS),
    (torch.stack([COUNTS, COUNTS + 1]), COUNTS, COUNTS > 0),
    (IMAGES, GREYS),
    (GREYS, GREYS[0], GREYS.long()),
    (
        torch.rand(40, 3, generator=torch.Generator().manual_seed(0)),
        torch.randint(5, (40, 3), generator=torch.Generator().manual_seed(0)),
    ),
    (torch.tensor(0.5), torch.tensor(2), COUNTS, SHARES),
)
GOOD_TENSORS = tuple({id(x): x for family in FAMILIES for x in family}.values())
# By the name of an argument, where its annotation says too little.
BY_NAME = {
    "s": (0.25, 0.5),
    "t": (0.5, 0.25),
    "u": (0.75, 1.0),
    "steps": (3,),
    "n": (4,),
    "seed": (0,),
    "key": (7,),
    "index": (0,),
    "maximum": (8,),
    "shape": ((3,),),
    "event": ((3,), torch.Size((3,))),
    "directory": (Path("folder"),),
    "survival": (0.5, (0.25, 0.5)),
    "per": ("site",),
    "device": ("cpu",),
    "validation": (0.1,),
    "test": (0.1,),
    "path": (Path("table.npz"), Path("counts.npy")),
    "generator": (torch.Generator().manual_seed(0),),
    "meta": (
        {
            "weights": "ema",
            "sampler": "Bridge",
            "steps": 3,
            "evaluations": 3,
            "seed": 0,
            "split": "test",
        },
    ),
}
NUMBERS = (0.5, 1.0, 0.25, 2.0)
WHOLES = (3, 1, 2, 8)


def _function(*arguments, **named):
    """A function that suits many places: states in, states out."""
    return arguments[0] if arguments else next(iter(named.values()))


def good(hint, name, pool, rng, family=GOOD_TENSORS):
    """A value that an annotation allows; raises LookupError if there is none in the pool."""
    if name in BY_NAME and rng.random() < 0.8:
        choice = rng.choice(BY_NAME[name])
        free = hint in (typing.Any, float) or not isinstance(hint, type)
        if free or isinstance(choice, hint):
            return choice
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = list(arguments)
        rng.shuffle(options)
        for option in options:
            try:
                return good(option, name, pool, rng, family)
            except LookupError:
                continue
        raise LookupError(name)
    if hint is None or hint is type(None):
        return None
    if origin is typing.Literal:
        return rng.choice(arguments)
    if hint is bool:
        return rng.random() < 0.5
    if hint is int:
        return rng.choice(WHOLES)
    if hint is float:
        return rng.choice(NUMBERS)
    if hint is str:
        return rng.choice(("train", "a", "x"))
    if hint is bytes:
        return b"PNG"
    if hint is torch.Size:
        return torch.Size((3,))
    if hint is Path:
        return rng.choice(BY_NAME["path"])
    if hint is Tensor or hint is np.ndarray:
        tensor = rng.choice(family)
        return tensor.clone() if hint is Tensor else tensor.numpy().copy()
    if hint is torch.Generator:
        return torch.Generator().manual_seed(0)
    if hint is torch.device:
        return torch.device("cpu")
    if hint is torch.dtype:
        return torch.float32
    if origin is abc.Callable or hint is abc.Callable:
        return rng.choice((_function, torch.square, torch.ones_like, torch.zeros_like))
    if origin is type:
        kind = arguments[0]
        return getattr(kind, "__bound__", None) or (kind if isinstance(kind, type) else int)
    if isinstance(origin, type) and issubclass(origin, abc.Mapping):
        return {} if rng.random() < 0.5 else {"a": _any_of(arguments[-1:], pool, rng, family)}
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return tuple(good(argument, name, pool, rng, family) for argument in arguments)
    if isinstance(origin, type) and issubclass(origin, abc.Iterable) and origin not in pool:
        inner = arguments[0] if arguments else typing.Any
        items = [good(inner, "", pool, rng, family) for _ in range(rng.choice((1, 2, 3)))]
        return tuple(items) if origin is tuple else items
    if hint in (typing.Any, object):
        return rng.choice((COUNTS.clone(), COUNTS.numpy(), 1, "a", None))
    kind = origin or hint
    found = pool.of(kind) if isinstance(kind, type) else ()
    if not found:
        raise LookupError(f"no {hint} for {name}")
    return rng.choice(found)


def _any_of(hints, pool, rng, family):
    return good(hints[0], "", pool, rng, family) if hints else 1


def arguments(function, owner, pool, rng):
    """A whole set of arguments by name, those with a default now and then."""
    hints = hints_of(function, owner)
    family, found = rng.choice(FAMILIES), {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is not parameter.empty and rng.random() < 0.75:
            continue
        hint = hints.get(name, typing.Any)
        found[name] = good(hint, name, pool, rng, family)
    return found


def rng_of(*key):
    return random.Random("/".join(map(str, key)))
