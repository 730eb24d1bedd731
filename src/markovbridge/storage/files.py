"""Files and folders that are there whole or not at all, and JSON as its standard has it.

All that a run writes goes through this module. A file or folder NAME is written beside, under
a hidden name, brought to the disk, and renamed; what is deleted is renamed first. So whoever
is killed, or finds the disk full, leaves under real names what was there before or what comes
after, and what is hidden says how to go on (`settle`):

    .NAME.new        is being written; whole, if NAME has been moved aside for it
    .NAME.previous   the folder before, between two renames
    .NAME.gone       is being deleted

The one exception are logs, which grow line by line under their real names: `append`.

JSON knows neither NaN nor infinity (RFC 8259, section 6), and what reads it stumbles over
them. Such a number, a correlation of constants for example, is `null` here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

NEW, PREVIOUS, GONE = "new", "previous", "gone"
HIDDEN = re.compile(rf"\.(.+)\.({NEW}|{PREVIOUS}|{GONE})")
FULL = {errno.ENOSPC, errno.EFBIG, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}
REMEDY = "make room and do it again: what was there before is as it was"


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file that is there whole or not at all, for whatever writes by path.

    Yields:
        The name beside `path` to write to. After the block it is on the disk and takes the
        name of `path`; if the block fails it is gone, and what was at `path` is as it was.

    Raises:
        OSError: If it can't be written, naming `path` (a full disk, a folder without rights).
    """
    with written_together([path]) as (fresh,):
        yield fresh


@contextlib.contextmanager
def written_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Several files as by `written`; all are on the disk before the first takes its name."""
    fresh = [_hidden(path, NEW) for path in paths]
    try:
        for path, file in zip(paths, fresh, strict=True):
            with naming(path):
                clear(file)
                file.touch(exist_ok=False)  # so that a name nobody may write to is known first
        with naming(paths[0]):
            yield fresh
        for path, file in zip(paths, fresh, strict=True):
            with naming(path):
                _sync(file)
        for path, file in zip(paths, fresh, strict=True):
            with naming(path):
                os.replace(file, path)
                _sync(path.parent)
    except BaseException:
        for file in fresh:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """A folder that is there whole or not at all.

    Yields:
        An empty folder beside `path` to write to, with `put`. After the block it is on the
        disk and takes the name of `path`; if the block fails it is gone, and what was at
        `path` is as it was.

    Raises:
        OSError: If it can't be written, naming the file.
    """
    fresh, previous = _hidden(path, NEW), _hidden(path, PREVIOUS)
    with naming(path):
        settle(path)
        try:
            fresh.mkdir()
            yield fresh
            for file in fresh.rglob("*"):
                _sync(file)
            _sync(fresh)
            if path.exists():
                os.rename(path, previous)
            os.rename(fresh, path)
            _sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                if not path.exists() and previous.exists():
                    os.rename(previous, path)
                clear(fresh)
            raise
        clear(previous)


def put(path: Path, content: bytes) -> None:
    """Write to the hidden name that `written` yields, or into a folder of `written_folder`."""
    with naming(path):
        path.write_bytes(content)


def put_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = True) -> None:
    """Write arrays as an `.npz`, by any name, without pickle, in every version of numpy; as `put`.

    Raises:
        ValueError: If one holds objects.
    """
    import numpy as np  # which lists and help do without

    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with naming(path), zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def append(path: Path, text: str) -> None:
    """Add a text to a log, whole, or not at all if it does not fit; only a kill may cut it."""
    with naming(path), open(path, "ab", buffering=0, opener=_own) as file:
        before, rest = file.tell(), memoryview(text.encode("utf-8"))
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """What a file holds, or its first `limit` bytes; a pipe, which may never end, is refused."""
    with open(path, "rb", opener=_plain) as file:
        return file.read(limit)


def _own(path: str, flags: int) -> int:
    """Open a file, but none that a link leads to, which is somebody else's."""
    return _plain(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _plain(path: str, flags: int) -> int:
    """Open a file that is no pipe or device, without waiting for one."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file; move it away", path)
    return descriptor


def flush(path: Path) -> None:
    """Wait until what was appended to a log is on the disk."""
    with naming(path):
        _sync(path)


def discard(path: Path) -> None:
    """Delete a file or folder, if there is one: first its name, then what it holds."""
    gone = _hidden(path, GONE)
    with naming(path):
        clear(gone)
        if os.path.lexists(path):
            os.rename(path, gone)
            _sync(path.parent)
            clear(gone)


def make_folder(path: Path) -> Path:
    """Make a folder, and those it is in, if it is not there."""
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def move(source: Path, target: Path) -> None:
    """Give a file or folder another name, under which there is nothing."""
    with naming(target):
        os.rename(source, target)


def standing(path: Path) -> Path:
    """The folder that stands for `path`: itself, or what a kill left between two renames."""
    fresh, previous = _hidden(path, NEW), _hidden(path, PREVIOUS)
    if path.exists() or not previous.exists():
        return path
    return fresh if fresh.exists() else previous


def settle(path: Path) -> None:
    """Finish what a killed process began with a file or folder."""
    with naming(path):
        found = standing(path)
        if found != path:
            os.rename(found, path)
        for kind in (NEW, PREVIOUS, GONE):
            clear(_hidden(path, kind))


def leftover(path: Path) -> str | None:
    """The name that a hidden file or folder of this module stands for; None for all others."""
    match = HIDDEN.fullmatch(path.name)
    return match[1] if match else None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say in every error of the system which file it is about, and what to do.

    Args:
        path: The file, where the error itself names none. Hidden names of this module are
            told as what they stand for.
    """
    try:
        yield
    except OSError as error:
        full = _full(error)
        if error.errno is None and type(error) is not OSError and full is None:
            raise  # a sentence of our own
        told = path if error.filename is None else Path(os.fsdecode(error.filename))
        shown = Path(*(HIDDEN.sub(r"\1", part) for part in told.parts))
        text = error.strerror or str(error) or type(error).__name__
        if full is not None and REMEDY not in text:
            text = f"{text}: {REMEDY}"
        raise type(error)(full or error.errno or 0, text, str(shown)) from error
    except RuntimeError as error:  # of HDF5, when it closes a file
        full = _full(error)
        if full is None:
            raise
        raise OSError(full, f"{os.strerror(full)}: {REMEDY}", str(path)) from error


def _full(error: BaseException) -> int | None:
    """Which of `FULL` it is, by its number or, as libraries say it, in words; None if none."""
    told, number = str(error), getattr(error, "errno", None)
    if number in FULL:
        return number
    said = (k for k in FULL if os.strerror(k) in told or f"errno = {k}," in told)
    return next(said, None)


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}")


def clear(path: Path) -> None:
    """Delete what has a hidden name already, if there is anything."""
    assert path.name.startswith("."), f"{path} is no hidden name"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    folder = path.is_dir()
    if folder and os.name != "posix":
        return  # where folders are no files, names are durable by themselves
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes, whole or not at all."""
    with written(path) as fresh:
        fresh.write_bytes(content)
    return path


def write_arrays(path: Path, /, **arrays: Any) -> None:
    """Write an `.npz` file, whole or not at all; see `put_arrays`."""
    with written(path) as fresh:
        put_arrays(fresh, arrays)


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


def sealed(record: Mapping[str, Any]) -> str:
    """A record as JSON with the SHA-256 of itself, by which `unsealed` sees a change."""
    plain = json.loads(to_json(dict(record)))
    return to_json({**plain, "sha256": _digest(plain)}, indent=2)


def unsealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was sealed.

    Raises:
        KeyError: If the record was never sealed.
        ValueError: If it is not what was sealed.
    """
    plain = dict(record)
    if plain.pop("sha256") != _digest(plain):
        raise ValueError("it has changed since it was written")
    return plain


def _digest(record: Mapping[str, Any]) -> str:
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
