"""What rate matrices may be given as, dense and sparse, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks

Matrix = Tensor | Sequence[Sequence[float]] | Mapping[str, Any] | Any
"""A tensor, an array or nested lists; large ones as a sparse matrix of SciPy or torch.

Or a function of time to one of the former, which no file can hold: it is in what `Any` takes.
"""

TOLERANCE = 1e-6  # of row sums, relative to the exit rate: float32 matrices pass
FORM = ("states", "from", "to", "rates")


def checked(matrix: Tensor, name: str = "the rate matrix", moving: bool = True) -> Tensor:
    """The matrix, (S, S) float64, which must be one of rates.

    Args:
        matrix: What was given.
        name: What it is called in messages.
        moving: Whether it must have a rate that is not zero.

    Raises:
        ValueError: If it is none, naming the row and by how much.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        what = "a rate matrix" if name == "the rate matrix" else name
        raise ValueError(f"{what} is square with at least 2 states, not {tuple(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        row = int((~torch.isfinite(matrix)).any(1).nonzero()[0])
        raise ValueError(f"row {row} of {name} holds a value that is not finite")
    jumps = matrix.clone().fill_diagonal_(0.0)
    if bool((jumps < 0).any()):
        row, column = (int(i) for i in (jumps < 0).nonzero()[0])
        raise _negative(row, column, matrix[row, column].item(), name)
    exits = jumps.sum(1)
    if moving and float(exits.max()) == 0:
        raise _still(name)
    _check_sums(exits, matrix.diagonal(), name)
    return matrix


def sparse(value: Any) -> dict[str, Any] | None:
    """A sparse rate matrix in the form in which it is kept and saved; None if it is dense.

    Args:
        value: A sparse matrix of SciPy or torch, or a mapping of this form.

    Returns:
        `states`, the number S, and `from`, `to` (int64) and `rates` (float64) of the moves,
        each (moves,), in order.

    Raises:
        ValueError: If it is no rate matrix, naming the row and by how much.
        TypeError: If a mapping has another form.
    """
    if isinstance(value, Mapping):
        states, rows, columns, rates = _read(value)
    elif isinstance(value, Tensor) and value.layout != torch.strided:
        states, rows, columns, rates = _of_torch(value)
    elif hasattr(value, "tocoo"):
        states, rows, columns, rates = _of_scipy(value)
    else:
        return None
    if states < 2:
        raise ValueError(
            f"a rate matrix is square with at least 2 states, not ({states}, {states})"
        )
    inside = (rows >= 0) & (rows < states) & (columns >= 0) & (columns < states)
    if not bool(inside.all()):
        wrong = int((~inside).nonzero()[0])
        raise ValueError(
            f"the rate matrix has a move from {int(rows[wrong])} to {int(columns[wrong])}, but "
            f"its states are 0 .. {states - 1}"
        )
    if not bool(torch.isfinite(rates).all()):
        row = int(rows[~torch.isfinite(rates)][0])
        raise ValueError(f"row {row} of the rate matrix holds a value that is not finite")
    moves, which = (rows * states + columns).unique(return_inverse=True)
    rates = torch.zeros(len(moves), dtype=torch.float64).index_add_(0, which, rates)
    rows, columns = moves // states, moves % states
    off = rows != columns
    if bool((rates[off] < 0).any()):
        wrong = int((off & (rates < 0)).nonzero()[0])
        raise _negative(int(rows[wrong]), int(columns[wrong]), rates[wrong].item())
    diagonal = torch.zeros(states, dtype=torch.float64)
    diagonal[rows[~off]] = rates[~off]
    given = bool((~off).any())
    kept = off & (rates > 0)
    rows, columns, rates = rows[kept], columns[kept], rates[kept]
    if not len(rates):
        raise _still()
    if given or not isinstance(value, Mapping):
        exits = torch.zeros(states, dtype=torch.float64).index_add_(0, rows, rates)
        _check_sums(exits, diagonal)
    return dict(zip(FORM, (states, rows, columns, rates), strict=True))


def _read(value: Mapping[str, Any]) -> tuple[int, Tensor, Tensor, Tensor]:
    if set(value) != set(FORM):
        raise TypeError(
            f"a rate matrix as a mapping has the keys {', '.join(FORM)}, not "
            f"{', '.join(map(str, value)) or 'none'}"
        )
    states = checks.whole(value["states"], "states of the rate matrix", least=2, most=2**31 - 1)
    rows, columns, rates = (
        checks.numbers(value[key], f"{key} of the rate matrix") for key in FORM[1:]
    )
    for key, places in (("from", rows), ("to", columns)):
        if places.ndim != 1 or len(places) != len(rates.reshape(-1)) or rates.ndim != 1:
            raise ValueError(
                f"from, to and rates of a rate matrix are lists of one length, not of shapes "
                f"{tuple(rows.shape)}, {tuple(columns.shape)} and {tuple(rates.shape)}"
            )
        if not bool((places == places.round()).all()):
            raise ValueError(f"{key} of the rate matrix must hold whole numbers, the states")
    return states, rows.long(), columns.long(), rates


def _of_torch(value: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    if value.is_complex() or value.is_meta:
        raise TypeError(f"a rate matrix holds real numbers, not {value.dtype}")
    _square(tuple(value.shape))
    value = value.detach().cpu().to_sparse_coo().coalesce()
    rows, columns = value.indices()
    return len(value), rows, columns, value.values().double()


def _of_scipy(value: Any) -> tuple[int, Tensor, Tensor, Tensor]:
    _square(tuple(value.shape))
    value = value.tocoo()
    if np.iscomplexobj(value.data):
        raise TypeError(f"a rate matrix holds real numbers, not {value.dtype}")
    rows, columns, rates = value.row, value.col, value.data
    return (
        value.shape[0],
        torch.tensor(rows.astype(np.int64)),
        torch.tensor(columns.astype(np.int64)),
        torch.tensor(rates.astype(np.float64)),
    )


def _square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        raise ValueError(f"a rate matrix is square with at least 2 states, not {shape}")


def _negative(row: int, column: int, rate: float, name: str = "the rate matrix") -> ValueError:
    return ValueError(
        f"row {row} of {name} holds {rate} at column {column}: "
        "rates between states cannot be negative"
    )


def _still(name: str = "the rate matrix") -> ValueError:
    return ValueError(f"{name} is zero off its diagonal: the chain never moves")


def _check_sums(exits: Tensor, diagonal: Tensor, name: str = "the rate matrix") -> None:
    excess = exits + diagonal
    wrong = excess.abs() > TOLERANCE * exits.clamp_min(1e-3 * float(exits.max()))
    if bool(wrong.any()):
        row = int(excess.abs().argmax())
        raise ValueError(
            f"row {row} of {name} sums to {excess[row].item():.6g}, not 0: its diagonal "
            f"entry must be minus its other rates, {-exits[row].item():.6g}, not "
            f"{diagonal[row].item():.6g}"
        )


doors.guard(__name__, own=("value", "matrix"))
