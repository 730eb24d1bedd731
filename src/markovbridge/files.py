"""JSON as its standard has it, and files that are written whole or not at all.

JSON knows neither NaN nor infinity (RFC 8259, section 6), and what reads it stumbles over
them. Such a number, a correlation of constants for example, is `null` here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["to_json", "write_json", "write_text"]


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON, numbers that are not finite being `null`.

    Args:
        value: Dictionaries, lists, texts, numbers, booleans and None.
        indent: Spaces of a level; None writes one line.
    """
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> Path:
    """Write a value as JSON, whole or not at all; see `to_json`."""
    return write_text(path, to_json(value, indent=indent))


def write_text(path: Path, text: str) -> Path:
    """Write a text, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
