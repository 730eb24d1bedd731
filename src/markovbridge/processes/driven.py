r"""Chains whose rates change with time: Q(t), which need not commute with itself.

The noising process runs from t = 1 to 0 with rates Q(t) per unit of t, and

    d/dr P(s -> s - r)  =  P(s -> s - r) Q(s - r),      P(s -> s) = 1

On a piece of [0, 1] where Q is a polynomial of degree 8, V = Q + Λ has no negative entry, Λ
being the largest exit rate of the piece, and P = e^{-Λr} R with R' = R V. In the share y of the
piece that is behind, V = Σ_d w_d y^d and R = Σ_k C_k y^k,

    C_0 = 1,      C_{k+1}  =  1/(k+1) Σ_d C_{k-d} w_d,

uniformisation with rates that move: where Q is constant C_k is (ΛU)^k/k!, and as there, what
takes k jumps begins with y^k, so that small probabilities keep their digits. All times of a
piece share its C; from a time inside of it to its end the same is done from the other end,
and between two times of one piece with V expanded about the first. Whole pieces are multiplied
in a tree.

Pieces are halved until interpolation at Chebyshev's points agrees with Q in between, its error
times the length of the piece being below 1e-13 or so (1e-6 if it comes in float32), and Λ times
the length below 2. Jumps and kinks of Q are found by halving as well; a spike between the points
looked at is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.doors import checks
from markovbridge.processes.clock import match
from markovbridge.processes.motion import Tabled, Tables
from markovbridge.processes.rate_matrices import checked
from markovbridge.processes.schedules import Schedule, Time

Rates = Callable[[float], Any]
"""A function of time, t in [0, 1], to a rate matrix (S, S)."""

DEGREE = 8
TERMS = 28  # of the series: 2^29/29! is 6e-23
REACH = 2.0  # of Λ times the length of a piece
CLOSE = 1e-13  # error of a piece, times its length, per unit of the largest exit rate
SINGLE = 1e-6  # the same of rates that come in float32
MOST = 2**14  # pieces
FEWEST = 8  # pieces, so that what happens in the middle is seen
SHORTEST = 2.0**-50  # piece: a jump is within
LOOKS = 33  # points of a piece at which its largest rates are looked for
# A polynomial of degree n between its values at N Chebyshev points (Ehlich & Zeller 1964).
BETWEEN = 1 / math.cos(math.pi * DEGREE / (2 * LOOKS))
FORGOTTEN = 1e-2  # total variation between laws at t = 0 that counts as forgotten
LARGEST = 2**27  # numbers of all series: 1 GiB


class Driven(Tabled):
    """Rates that are a function of time, by tables.

    Args:
        rates: Maps a time, a float in [0, 1], to the rate matrix of the noising chain then.
        schedule: Reads times; it does not change the chain.

    Raises:
        ValueError: If a matrix is no rate matrix, naming the time, or there are too many pieces.
    """

    clocked = False

    def __init__(self, rates: Rates, schedule: Schedule) -> None:
        self._rates, self._close = rates, CLOSE
        self.size = len(self._at(1.0))
        self._tables = Tables(schedule, self.size, self._make)
        self._edges, self._powers = self._pieces()
        if not bool(self._powers.any()):
            raise ValueError("the rates are zero at all times looked at: the chain never moves")

    def _at(self, t: float) -> Tensor:
        """The rate matrix at a time, checked."""
        value = self._rates(t)
        if getattr(value, "dtype", None) in (torch.float32, np.float32, torch.float16):
            self._close = SINGLE
        matrix = checks.numbers(value, f"the rates at t = {t:.6g}")
        matrix = checked(matrix, f"the rate matrix at t = {t:.6g}", moving=False)
        if len(matrix) != getattr(self, "size", len(matrix)):
            raise ValueError(
                f"the rate matrix at t = {t:.6g} has {len(matrix)} states, and that at t = 1 has "
                f"{self.size}: a chain keeps its states"
            )
        return matrix

    # Pieces, numbered from the data on.

    def _pieces(self) -> tuple[Tensor, Tensor]:
        """Ends of pieces, (K + 1,) from 1 down to 0, and V as powers of y: (K, 9, S, S)."""
        y = (1 - np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE)) / 2
        between = (y[1:] + y[:-1]) / 2
        to_waves, to_powers = _to_powers()
        at_between = torch.tensor(np.vander(between, DEGREE + 1, increasing=True))
        step = 1 / FEWEST
        todo = [(k * step, (k + 1) * step) for k in range(FEWEST)]
        edges, found = [1.0], []
        while todo:
            low, high = todo.pop()
            length = high - low
            seen = torch.stack([self._at(high - length * share) for share in y.tolist()])
            waves = torch.einsum("dn,nij->dij", to_waves, seen)
            powers = torch.einsum("dn,nij->dij", to_powers, waves)
            exits = float(-seen.diagonal(dim1=1, dim2=2).min())
            good = exits * length <= REACH
            if good and length > SHORTEST:
                truth = torch.stack([self._at(high - length * v) for v in between.tolist()])
                guess = torch.einsum("nd,dij->nij", at_between, powers)
                wrong = float((guess - truth).abs().max())
                good = wrong * length <= self._close * max(1.0, exits) * max(length, 0.05)
            if not good:
                middle = (low + high) / 2
                todo += [(low, middle), (middle, high)]
                self._affordable(len(found) + len(todo))
                continue
            edges.append(low)
            found.append(powers * length)
        return torch.tensor(edges, dtype=torch.float64), torch.stack(found)

    def _affordable(self, pieces: int) -> None:
        if pieces > MOST:
            raise ValueError(
                f"the rates change too fast to be followed in {MOST} pieces of time: give a "
                "function that is smooth but for a few jumps, computed in float64"
            )
        if pieces * (2 * TERMS + DEGREE + 4) * self.size**2 > LARGEST:
            raise ValueError(
                f"rates of {self.size} states that change with time take more than {pieces} "
                "series, and 1 GiB: give fewer states, smaller or smoother rates, or one matrix "
                "and a schedule"
            )

    @cached_property
    def _bound(self) -> Tensor:
        """Λ times the length of each piece, (K,)."""
        y = torch.tensor((1 - np.cos(np.pi * (np.arange(LOOKS) + 0.5) / LOOKS)) / 2)
        exits = [-_polynomial(w.diagonal(dim1=1, dim2=2), y).min() for w in self._powers]
        return torch.stack(exits) * BETWEEN

    @cached_property
    def _top(self) -> Tensor:
        """The largest rates between states in each piece, per unit of time: (K, S, S)."""
        y = torch.tensor((1 - np.cos(np.pi * (np.arange(LOOKS) + 0.5) / LOOKS)) / 2)
        top = torch.stack([_polynomial(w, y).amax(0) for w in self._powers]) * BETWEEN
        top.diagonal(dim1=1, dim2=2).zero_()
        return top.clamp_min(0) / self._lengths.reshape(-1, 1, 1)

    @property
    def _lengths(self) -> Tensor:
        return self._edges[:-1] - self._edges[1:]

    @cached_property
    def _ahead(self) -> Tensor:
        """C of each piece from its late end on: (K, 29, S, S)."""
        return torch.stack([_series(self._shifted(w, b)) for w, b in self._each()])

    @cached_property
    def _behind(self) -> Tensor:
        """C of each piece up to its early end, in the share that is left: (K, 29, S, S)."""
        flipped = [(_moved(w, 1.0), b) for w, b in self._each()]
        signs = (-1.0) ** torch.arange(DEGREE + 1).reshape(-1, 1, 1)
        # Transposed: what the matrices are multiplied with stands on the other side.
        turned = [_series(self._shifted(w * signs, b).mT) for w, b in flipped]
        return torch.stack([series.mT for series in turned])

    def _each(self) -> list[tuple[Tensor, float]]:
        return list(zip(self._powers, self._bound.tolist(), strict=True))

    def _shifted(self, powers: Tensor, bound: float) -> Tensor:
        """V, from Q: Λ on the diagonal."""
        shifted = powers.clone()
        shifted[..., 0, :, :] += bound * torch.eye(self.size, dtype=torch.float64)
        return shifted

    @cached_property
    def _tree(self) -> list[Tensor]:
        """Level l holds products of 2^l neighbouring pieces, from multiples of 2^l on."""
        whole = _sum(self._ahead, torch.ones(len(self._ahead), dtype=torch.float64))
        levels = [whole]
        while len(levels[-1]) > 1:
            last = levels[-1][: len(levels[-1]) // 2 * 2]
            levels.append(_normalised(last[0::2] @ last[1::2]))
        return levels

    # Tables

    def _make(self, s: Tensor, t: Tensor) -> Tensor:
        """P(s->t) for pairs of times: (T, S, S)."""
        device = s.device
        s, t = (v.as_subclass(Tensor).double().cpu() for v in (s, t))
        first, last = self._piece(s), self._piece(t)
        late, early = self._share(s, first), self._share(t, last)
        out = torch.empty((len(s), self.size, self.size), dtype=torch.float64)
        one = first == last
        if bool(one.any()):
            out[one] = self._within(first[one], late[one], early[one])
        if bool((~one).any()):
            j, k = first[~one], last[~one]
            head = self._partial(self._behind, j, 1 - late[~one])
            tail = self._partial(self._ahead, k, early[~one])
            out[~one] = _normalised(_normalised(head @ self._products(j + 1, k)) @ tail)
        return out.to(device)

    def _piece(self, t: Tensor) -> Tensor:
        """Which piece a time is in; an edge belongs to the piece that ends there."""
        return (
            torch.searchsorted(-self._edges, -t, right=False)
            .sub(1)
            .clamp(0, len(self._powers) - 1)
        )

    def _share(self, t: Tensor, piece: Tensor) -> Tensor:
        """How much of its piece is behind a time, from 0 at the late end to 1."""
        return ((self._edges[piece] - t) / self._lengths[piece]).clamp(0, 1)

    def _partial(self, series: Tensor, piece: Tensor, share: Tensor) -> Tensor:
        """The beginning, or the end, of a piece each."""
        out = torch.empty((len(piece), self.size, self.size), dtype=torch.float64)
        for k in piece.unique().tolist():
            here = piece == k
            out[here] = _sum(series[k], share[here])
        return out

    def _within(self, piece: Tensor, late: Tensor, early: Tensor) -> Tensor:
        """Between two times of one piece."""
        out = torch.empty((len(piece), self.size, self.size), dtype=torch.float64)
        started, ended = late == 0, early == 1
        if bool(started.any()):
            out[started] = self._partial(self._ahead, piece[started], early[started])
        if bool((ended & ~started).any()):
            rest = ended & ~started
            out[rest] = self._partial(self._behind, piece[rest], 1 - late[rest])
        for i in (~(started | ended)).nonzero().flatten().tolist():
            k, share = int(piece[i]), float(early[i] - late[i])
            powers = _moved(self._powers[k], float(late[i]))
            powers = powers * share ** torch.arange(1, DEGREE + 2).double().reshape(-1, 1, 1)
            series = _series(self._shifted(powers, float(self._bound[k]) * share))
            out[i] = _sum(series, torch.ones(1, dtype=torch.float64))[0]
        return out

    def _products(self, first: Tensor, last: Tensor) -> Tensor:
        """Products of the pieces first .. last - 1, for each pair: (T, S, S)."""
        left = torch.eye(self.size, dtype=torch.float64).repeat(len(first), 1, 1)
        right, low, high = left.clone(), first.clone(), last.clone()
        for level in self._tree:
            odd = (low < high) & (low % 2 == 1)
            left[odd] = _normalised(left[odd] @ level[low[odd]])
            low = low + odd
            odd = (low < high) & (high % 2 == 1)
            right[odd] = _normalised(level[high[odd] - 1] @ right[odd])
            low, high = low // 2, high // 2
        return _normalised(left @ right)

    # What a chain is asked.

    @cached_property
    def _end(self) -> Tensor:
        """P(1->0), (S, S)."""
        return self._products(torch.tensor([0]), torch.tensor([len(self._powers)]))[0]

    def usual(self) -> Tensor:
        """The law at t = 0, averaged over starts."""
        return self._end.mean(0)

    def log_stationary(self) -> Tensor:
        """The law at t = 0, if it is the same from every state."""
        law = self.usual()
        apart = 0.5 * (self._end - law).abs().sum(1)
        if float(apart.max()) > FORGOTTEN:
            raise ValueError(
                f"at t = 0 the chain still remembers state {int(apart.argmax())}, by a total "
                f"variation of {apart.max().item():.3g}, so there is no source to sample from: "
                "make its rates larger, or start from states of your own"
            )
        return law.log()

    def inward(self, x: Tensor, t: Time) -> Tensor:
        """Columns of the rate matrix at t, per unit of time."""
        t = self._tables.schedule.at(t).plain
        if not len(x):
            return torch.empty((*x.shape, self.size), dtype=torch.float64, device=x.device)
        times, index = t.double().cpu().reshape(-1).unique(return_inverse=True)
        piece = self._piece(times)
        share, lengths = self._share(times, piece), self._lengths[piece]
        rates = torch.stack(
            [
                _polynomial(self._powers[k], y.reshape(1))[0].mT / length
                for k, y, length in zip(piece.tolist(), share, lengths, strict=True)
            ]
        )
        rates.diagonal(dim1=1, dim2=2).zero_()
        rates = rates.clamp_min_(0).to(x.device)
        return rates[match(index.reshape(t.shape), x), x]

    def largest(self, x: Tensor, early: float, late: float) -> Tensor:
        """The largest rates of the pieces in between."""
        times = torch.tensor([late, early], dtype=torch.float64)
        first, last = self._piece(times).tolist()
        return self._top[first : last + 1].amax(0).to(x.device).mT[x]


def _to_powers() -> tuple[Tensor, Tensor]:
    """From values at Chebyshev's points in [0, 1] to his polynomials of 1 - 2y, and on to powers.

    Powers of the polynomials are integers, so that no digits of values are lost on the way: both
    matrices are (9, 9), and their product is not to be made.
    """
    k = np.arange(DEGREE + 1)
    half = np.where((k == 0) | (k == DEGREE), 0.5, 1.0)
    waves = 2 / DEGREE * half[:, None] * half * np.cos(np.pi * np.outer(k, k) / DEGREE)
    inner = np.polynomial.Polynomial([1.0, -2.0])
    powers = np.zeros((DEGREE + 1, DEGREE + 1))
    for j in range(DEGREE + 1):
        shifted = np.polynomial.Chebyshev.basis(j).convert(kind=np.polynomial.Polynomial)(inner)
        powers[: j + 1, j] = shifted.coef
    return torch.from_numpy(waves), torch.from_numpy(powers)


def _polynomial(powers: Tensor, y: Tensor) -> Tensor:
    """Σ_d powers_d y^d for each y: (n, ...)."""
    out = powers[-1].expand(len(y), *powers.shape[1:])
    y = y.reshape(-1, *[1] * (powers.ndim - 1))
    for coefficient in powers.flip(0)[1:]:
        out = out * y + coefficient
    return out


def _moved(powers: Tensor, by: float) -> Tensor:
    """The powers of the same polynomial about another point."""
    n = len(powers)
    choose = [
        [math.comb(e, d) * by ** (e - d) if e >= d else 0.0 for e in range(n)] for d in range(n)
    ]
    return torch.einsum("de,eij->dij", torch.tensor(choose, dtype=torch.float64), powers)


def _series(powers: Tensor) -> Tensor:
    """The C of R' = R V: (9, S, S) to (29, S, S); with e^-Λ, that rows of its sum are laws."""
    series = [torch.eye(powers.shape[-1], dtype=torch.float64)]
    for k in range(TERMS):
        parts = (series[k - d] @ powers[d] for d in range(min(k, DEGREE) + 1))
        series.append(sum(parts, start=torch.zeros_like(powers[0])) / (k + 1))
    return torch.stack(series)


def _sum(series: Tensor, y: Tensor) -> Tensor:
    """Laws from series, (..., 29, S, S) at shares (T,): (T, S, S)."""
    powers = y.unsqueeze(1) ** torch.arange(TERMS + 1)
    spec = "tk,kij->tij" if series.ndim == 3 else "tk,tkij->tij"
    return _normalised(torch.einsum(spec, powers, series).clamp_min(0))


def _normalised(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(-1, keepdim=True)


doors.guard(__name__)
