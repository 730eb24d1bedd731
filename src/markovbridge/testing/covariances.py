"""The check of a covariance: are all of its operations those of one matrix?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from markovbridge import doors
from markovbridge.covariances.base import OPERATIONS, Covariance, SingularError
from markovbridge.doors import checks
from markovbridge.testing.laws import check_config, check_repeats, check_states
from markovbridge.testing.numbers import FAR, normal_off
from markovbridge.testing.report import CheckError, CheckReport, Ledger, largest, seeded

MOST = 512  # sites that a matrix is made of
EPS = 1e-12  # of eigenvalues, below which a determinant is all rounding


def check_covariance(
    covariance: Covariance,
    event: Sequence[int],
    *,
    draws: int = 4000,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> CheckReport:
    """Check every operation that a covariance has against its matrix, in float64.

    Args:
        covariance: The covariance.
        event: Shape of an event, of at most 512 numbers.
        draws: Draws that are compared with the matrix, at level 1e-5.
        tolerance: Largest relative error.
        seed: Seed of all draws.

    Returns:
        What was checked, with the largest error of each, and what was not, with the reason.

    Raises:
        CheckError: If a promise is broken, naming it.
        ValueError: If the event is too large.
    """
    checks.whole(draws, "draws", least=100)
    shape, sites = tuple(event), math.prod(event)
    if not 1 <= sites <= MOST:
        raise ValueError(f"event {shape} has {sites} numbers: check one of 1 to {MOST}")
    ledger = Ledger(type(covariance).__name__)
    can = covariance.capabilities
    known = can <= OPERATIONS
    ledger.demand("capabilities", known, f"`capabilities` names {sorted(can - OPERATIONS)}")
    every = torch.eye(sites, dtype=torch.float64).reshape(sites, *shape)

    def matrix(operation: Callable[[Tensor], Tensor]) -> Tensor:
        """Rows of what an operation makes of unit vectors, turned: (sites, sites)."""
        return operation(every).reshape(sites, sites).mT

    def asked(name: str, operation: Callable[[], object]) -> bool:
        """Whether an operation is had; if not, it has to be refused."""
        if name in can:
            return ledger.ask(name, operation, SingularError) is not None
        try:
            operation()
        except NotImplementedError as refusal:
            ledger.skip(name, refusal)
            return False
        raise CheckError(
            f"{ledger.of}: {name} is not among its capabilities, and does not raise "
            "NotImplementedError"
        )

    if not asked("matvec", lambda: covariance @ every):
        raise CheckError(f"{ledger.of}: without `@` (matvec) nothing can be checked")
    whole = matrix(covariance.__matmul__)
    size = float(whole.abs().max())

    def judge(what: str, error: Tensor, sentence: str, scale: float = 1.0) -> None:
        ledger.judge(what, largest(error) / scale, tolerance, sentence)

    judge("symmetric", whole - whole.mT, "`@` is not symmetric", size)
    lowest = float(torch.linalg.eigvalsh((whole + whole.mT) / 2)[0])
    ledger.judge("not negative", max(0.0, -lowest) / size, tolerance, "an eigenvalue is negative")
    if asked("variance", lambda: covariance.variance(shape)):
        found = covariance.variance(shape)
        fits = tuple(found.shape) == shape
        ledger.demand("shapes", fits, f"`variance` is {tuple(found.shape)} for events {shape}")
        judge("variance", found.flatten() - whole.diagonal(), "`variance` is no diagonal", size)
    if asked("sqrt", lambda: covariance.sqrt(every)):
        root = matrix(covariance.sqrt)
        judge("sqrt", root @ root.mT - whole, "F Fᵀ of `sqrt` is not the matrix", size)
        if asked("inverse_sqrt", lambda: covariance.inverse_sqrt(every)):
            unit = matrix(covariance.inverse_sqrt) @ root
            judge("inverse_sqrt", unit - torch.eye(sites), "`inverse_sqrt` does not undo `sqrt`")
    if asked("solve", lambda: covariance.solve(every)):
        unit = matrix(covariance.solve) @ whole
        judge("solve", unit - torch.eye(sites), "`solve` does not undo `@`")
    if lowest <= size * EPS:
        ledger.skip("logdet", "the matrix is singular to float64")
    elif asked("logdet", lambda: covariance.logdet(shape)):
        wanted = torch.linalg.slogdet(whole).logabsdet
        wrong = (covariance.logdet(shape) - wanted) / max(1.0, float(wanted.abs()))
        judge("logdet", wrong, "`logdet` is not the logarithm of the determinant")
    for dtype in (torch.float32, torch.float64):
        like = torch.zeros((3, *shape), dtype=dtype)
        check_states(ledger, "what `@` makes", covariance @ like, like)
        if "sample" in can:
            drawn = covariance.sample(like, generator=seeded(seed))
            check_states(ledger, "draws of `sample`", drawn, like)
    like = torch.zeros((draws, *shape), dtype=torch.float64)
    if asked("sample", lambda: covariance.sample(like, generator=seeded(seed))):
        check_repeats(ledger, "`sample`", lambda g: covariance.sample(like[:3], generator=g), seed)
        drawn = covariance.sample(like, generator=seeded(seed)).reshape(draws, sites)
        products = drawn.unsqueeze(2) * drawn.unsqueeze(1) if sites <= 64 else drawn**2
        wanted = whole if sites <= 64 else whole.diagonal()
        off = max(normal_off(drawn, 0.0), normal_off(products, wanted))
        ledger.judge("draws, in standard deviations", off, FAR, "draws have another covariance")
    check_config(ledger, covariance)
    return ledger.report()


doors.guard(__name__)
