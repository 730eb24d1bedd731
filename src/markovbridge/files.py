"""JSON as its standard has it, and files that are written whole or not at all.

JSON knows neither NaN nor infinity (RFC 8259, section 6), and what reads it stumbles over
them. Such a number, a correlation of constants for example, is `null` here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["to_json", "write_bytes", "write_json", "write_text", "written"]


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file that is there whole or not at all, for whatever writes by path.

    Yields:
        The name beside `path` to write to. After the block it is on the disk and takes the
        name of `path`; if the block fails it is gone, and what was at `path` is as it was.

    Raises:
        OSError: If it can't be written, naming `path` (a full disk, a folder without rights).
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        yield fresh
        sync(fresh)
        os.replace(fresh, path)
        sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        if isinstance(error, OSError):
            raise type(error)(error.errno, f"{error.strerror or error}", str(path)) from error
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes, whole or not at all."""
    with written(path) as fresh:
        fresh.write_bytes(content)
    return path


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
    """Write a text in UTF-8, whole or not at all."""
    return write_bytes(path, text.encode("utf-8"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
