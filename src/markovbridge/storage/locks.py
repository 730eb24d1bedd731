"""One process at a time in a folder.

    with locked(run, "training"):
        ...

The lock is one of the system's on a hidden file, RUN/.training.lock, which holds the number of
the process. The system frees it when the process ends, however it ends. The same process may
take it several times. What is written by different names may be written at the same time: a
run can be sampled while it trains.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from markovbridge import doors
from markovbridge.storage.files import naming

NOFOLLOW, NOWAIT = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_NONBLOCK", 0)
HELD: dict[tuple[int, Path], int] = {}  # process and file, and how often it is taken


class InUseError(OSError):
    """Another process is at work in a folder."""


def is_lock(path: Path) -> bool:
    """Whether a file is a lock, or what a killed process left of one."""
    return path.name.startswith(".") and path.name.endswith(".lock")


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Be the only process that does something in a folder while inside.

    Args:
        folder: It must exist.
        what: What is done, such as "training".

    Raises:
        InUseError: If another process does it, with its number.
        OSError: If nothing can be written to the folder.
    """
    path = folder.resolve() / f".{what}.lock"
    key = (os.getpid(), path)
    if HELD.get(key):
        HELD[key] += 1
        try:
            yield
        finally:
            HELD[key] -= 1
        return
    descriptor = _taken(folder, path, what)
    HELD[key] = 1
    try:
        yield
    finally:
        del HELD[key]
        with contextlib.suppress(OSError):
            # Before it is free: whoever takes it now sees that the file is no more. Of a folder
            # that was moved away meanwhile, another may have the name, and a lock of its own.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                path.unlink()
        os.close(descriptor)


def unused(folder: Path) -> None:
    """Refuse a folder that another process is at work in.

    Raises:
        InUseError: If there is one.
    """
    for path in sorted(folder.glob(".*.lock")):
        with locked(folder, path.name[1 : -len(".lock")]):
            pass


def _taken(folder: Path, path: Path, what: str) -> int:
    """The file of a lock, opened and locked."""
    while True:
        try:
            # Not through a link: the file that somebody's folder leads to would be emptied.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW | NOWAIT, 0o644)
        except OSError as error:
            with naming(folder):
                raise type(error)(error.errno, error.strerror, str(folder)) from error
        if not _lock(descriptor):
            holder = _holder(descriptor)
            os.close(descriptor)
            raise InUseError(
                f"{folder} is in use by process {holder} ({what}); wait until it is done, or "
                "choose another folder"
            )
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)  # the one who had it has just deleted the file: take the next
    with contextlib.suppress(OSError):  # a full disk: then the number is not told
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _holder(descriptor: int) -> str:
    try:
        return os.read(descriptor, 32).decode("ascii", "replace") or "unknown"
    except OSError:
        return "unknown"


try:
    import fcntl

    def _lock(descriptor: int) -> bool:
        """Lock a file without waiting; False if another process has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks, on which nothing can be known
        return True

except ImportError:  # pragma: no cover (Windows)
    import msvcrt

    def _lock(descriptor: int) -> bool:
        """Lock a file without waiting; False if another process has it."""
        os.lseek(descriptor, 64, os.SEEK_SET)  # behind the number, which others read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True


doors.guard(__name__)
