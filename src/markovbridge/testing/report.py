"""What a check found: a line for each promise, with its largest error, or why it was skipped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from markovbridge import doors


class CheckError(AssertionError):
    """An object does not do what it promises."""


@dataclass(frozen=True)
class Finding:
    """What was found of one promise.

    Attributes:
        what: The promise.
        error: The largest error; None if it was not checked.
        allowed: The largest that is allowed.
        skipped: Why it was not checked; empty if it was.
    """

    what: str
    error: float | None
    allowed: float = 0.0
    skipped: str = ""


@dataclass(frozen=True)
class CheckReport:
    """All that was found of an object; prints as a table.

    Attributes:
        of: The name of the object's class.
        findings: One for each promise.
    """

    of: str
    findings: tuple[Finding, ...]

    @property
    def checked(self) -> dict[str, float]:
        """The largest error of each promise that was checked."""
        return {one.what: one.error for one in self.findings if one.error is not None}

    @property
    def skipped(self) -> dict[str, str]:
        """Why promises were not checked, by promise."""
        return {one.what: one.skipped for one in self.findings if one.error is None}

    def __str__(self) -> str:
        width = max((len(one.what) for one in self.findings), default=0)
        lines = [f"{self.of:<{width}}  largest error     allowed"]
        for one in self.findings:
            if one.error is None:
                lines.append(f"{one.what:<{width}}  skipped: {one.skipped}")
            else:
                lines.append(f"{one.what:<{width}}  {one.error:13.3g}  {one.allowed:10.3g}")
        return "\n".join(lines)


@dataclass
class Ledger:
    """Where a check writes down what it finds; it raises at the first broken promise.

    Attributes:
        of: The name of the object's class.
        findings: One for each promise so far.
    """

    of: str
    findings: dict[str, Finding] = field(default_factory=dict)

    def judge(self, what: str, error: float | Tensor, allowed: float, sentence: str) -> None:
        """Write an error down; those of the same promise count as one, the largest.

        Args:
            what: The promise.
            error: The error.
            allowed: The largest that is allowed.
            sentence: What is wrong where it is larger, and where to look.

        Raises:
            CheckError: If it is larger, or not a number.
        """
        error = float(error)
        if not error <= allowed:
            raise CheckError(
                f"{self.of}: {sentence} (error {error:.3g}, where {allowed:.3g} is allowed)"
            )
        before = self.findings.get(what)
        if before is not None and before.error is not None:
            error = max(error, before.error)
        self.findings[what] = Finding(what, error, allowed)

    def demand(self, what: str, holds: bool, sentence: str) -> None:
        """Write down what holds or does not.

        Raises:
            CheckError: If it does not.
        """
        if not holds:
            raise CheckError(f"{self.of}: {sentence}")
        self.findings.setdefault(what, Finding(what, 0.0))

    def skip(self, what: str, reason: object) -> None:
        """Write down why something is not checked, unless some of it was."""
        words = str(reason).replace("\n", " ")
        self.findings.setdefault(what, Finding(what, None, skipped=words))

    def ask(self, what: str, question: Callable[[], Any], *refusals: type[Exception]) -> Any:
        """The answer to a question; None, and a skipped promise, if it is refused.

        Args:
            what: The promise.
            question: Asks.
            *refusals: Errors that are refusals; by default TypeError and NotImplementedError.

        Raises:
            CheckError: If the question ends in any other error.
        """
        refused = refusals or (TypeError, NotImplementedError)
        try:
            return question()
        except Exception as error:
            if isinstance(error, refused):
                self.skip(what, error)
                return None
            raise CheckError(
                f"{self.of}: {what} ends in {type(error).__name__}: {error}"
            ) from error

    def report(self) -> CheckReport:
        """What was found."""
        return CheckReport(self.of, tuple(self.findings.values()))


def largest(error: Tensor) -> float:
    """The largest absolute value, infinite if one is NaN, 0 of none."""
    if not error.numel():
        return 0.0
    return float(error.double().abs().nan_to_num(nan=math.inf).max())


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


# An error may be infinite, or no number at all.
doors.guard(
    __name__,
    records=("Finding",),
    own=("error",),
    inside=(
        "largest",
        "seeded",
    ),
)
