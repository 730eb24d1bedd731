"""The error of wrong options, and what was meant instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """An option, verb or recipe that does not exist or cannot be what was given."""


def closest(name: str, among: Iterable[str]) -> str:
    """A question such as " (did you mean 'digits'?)", or nothing if no name is close."""
    found = difflib.get_close_matches(name, list(among), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
