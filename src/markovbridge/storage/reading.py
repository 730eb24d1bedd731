r"""The door that files come in by: what is wrong with one is said by its name.

A file that is damaged, or made to do harm, can fail in any way at all in the libraries that
decode it: KeyError, RuntimeError, zlib.error, MemoryError. Whatever happens in a block

    with reading(path, "cannot be read as a table", "save it again"):

leaves it as a `ValueError` that names the file. What a file claims of its own size is held
against what it can hold, and against the memory, before anything is allocated for it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import psutil
import safetensors.torch
from torch import Tensor

from markovbridge import doors

DEFLATED = 1032  # bytes that one byte of zlib's compression may stand for, at most
SLACK = 1024  # and what a compressed file of next to nothing may hold
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
ABSENT = (FileNotFoundError, PermissionError, IsADirectoryError)


@contextlib.contextmanager
def reading(path: Path, complaint: str = "", remedy: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into a `ValueError` that names it.

    Blocks may lie within each other: the innermost that sees an error names its file. A
    `ValueError` or `TypeError` that names it already keeps its words. Missing packages, and
    where there is no complaint missing files, pass as they are.

    Args:
        path: The file.
        complaint: What is to be said of it, "cannot be read as a table"; the error's own words
            follow in brackets. Empty if these words, where they come as a `ValueError` or
            `TypeError`, say it well and only lack the name.
        remedy: What to do about it, as the end of the sentence.

    Raises:
        ValueError: If anything went wrong.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, ABSENT) and not complaint and str(path) in str(error):
            raise
        ours = isinstance(error, ValueError | TypeError)
        if isinstance(error, ValueError) and (hasattr(error, "file") or str(path) in str(error)):
            named = error
        elif ours and (not complaint or str(path) in str(error)):
            words = str(error)
            named = ValueError(words if str(path) in words else f"{path}: {words}")
        else:
            sentence = f"{path} {complaint or 'is damaged'} ({_reason(error)})"
            named = ValueError(f"{sentence}; {remedy}" if remedy else sentence)
        named.file = path  # pyright: ignore[reportAttributeAccessIssue]
        if named is error:
            raise
        raise named from error


def _reason(error: Exception) -> str:
    """What an error says, in one line, and its kind where its words alone say little."""
    words = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "it claims more than fits into the memory"
    if isinstance(error, KeyError):
        return f"it lacks {words}"
    return words if len(words) > 12 else f"{type(error).__name__}: {words}".rstrip(": ")


def memory() -> int:
    """Bytes that this process may still take: what is free, or its limit if that is less."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(ImportError):  # there are no such limits on Windows
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            free = min(free, limit - psutil.Process().memory_info().vms)
    return max(free, 0)


def afford(path: Path, size: int, what: str = "its content") -> None:
    """Refuse what a file claims if there is no memory for it.

    Args:
        path: The file.
        size: Bytes it would take.
        what: What would take them.

    Raises:
        ValueError: If there are fewer.
    """
    free = memory() if size > SLACK else size
    if size > free:
        raise ValueError(
            f"{path}: {what} would take {size / 1e9:,.1f} GB of memory and {free / 1e9:,.1f} GB "
            "are free; take fewer rows, or a machine with more, if the file means what it says"
        )


def tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, of which the content was read before, to be hashed.

    Raises:
        ValueError: If it is no such file, naming it.
    """
    with reading(path, "is damaged", "take it from a checkpoint of the run, or train again"):
        return safetensors.torch.load(content)


def unpacked(path: Path) -> io.BufferedIOBase:
    """The bytes of a file, unpacked if its name ends in .gz.

    Raises:
        ValueError: While it is read, if it unpacks to more than the memory holds.
    """
    return _Unpacked(path) if path.suffix.lower() == ".gz" else path.open("rb")


class _Unpacked(gzip.GzipFile):
    """A gzip file that counts what it has unpacked."""

    def __init__(self, path: Path) -> None:
        self._path, self._free, self._seen = path, memory(), 0
        super().__init__(path, "rb")

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:  # at once, but not more than the memory holds
            size = self._free + 1
        return self._counted(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, content: bytes) -> bytes:
        self._seen += len(content)
        if self._seen > self._free:
            afford(self._path, self._seen, "what it unpacks to, and more,")
        return content


@contextlib.contextmanager
def array_file(
    path: Path,
    complaint: str = "cannot be read as an .npy or .npz file of numbers",
    remedy: str = "save it again with numpy.save or numpy.savez",
    *,
    named: bool = False,
) -> Iterator[ArrayFile]:
    """The arrays in an `.npy` or `.npz` file, read without pickle; see `reading`.

    Args:
        path: The file.
        complaint: As `reading`.
        remedy: As `reading`.
        named: Whether it must be an `.npz` file, whose arrays have names.
    """
    with reading(path, complaint, remedy), path.open("rb") as stream:
        file = ArrayFile(path, stream)
        if named and file.names is None:
            raise ValueError("it is no archive of arrays")
        yield file


class ArrayFile:
    """The arrays of an open `.npy` or `.npz` file.

    Args:
        path: The file, for messages.
        stream: The open file.

    Attributes:
        names: Names of the arrays of an `.npz` file; None for an `.npy` file, whose only array
            is called None.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._size = stream.seek(0, 2)
        stream.seek(0)
        self._zip: zipfile.ZipFile | None = None
        self.names: tuple[str, ...] | None = None
        if stream.read(2) == b"PK":
            self._zip = zipfile.ZipFile(stream)
            self.names = tuple(name.removesuffix(".npy") for name in self._zip.namelist())

    def __contains__(self, name: str) -> bool:
        return self.names is not None and name in self.names

    def __getitem__(self, name: str | None) -> np.ndarray:
        with self._opened(name) as (stream, size):
            header, start = _header(stream)
            claimed = _bytes(header)
            if header[2].hasobject:
                raise ValueError("it holds Python objects, which are not read")
            # With bytes put in or left out, all values after them would be others.
            if claimed != size - start:
                raise ValueError(
                    f"{self._called(name)} announces shape {header[0]} of {header[2]}, "
                    f"{claimed:,} bytes, but {size - start:,} are there"
                )
            afford(self._path, claimed, self._called(name))
            stream.seek(0)
            return cast(np.ndarray, np.lib.format.read_array(stream, allow_pickle=False))

    def shape(self, name: str | None) -> tuple[int, ...]:
        """The shape of an array, which is not read."""
        with self._opened(name) as (stream, _):
            return _header(stream)[0][0]

    def dtype(self, name: str | None) -> np.dtype[Any]:
        """The type of an array, which is not read."""
        with self._opened(name) as (stream, _):
            return _header(stream)[0][2]

    def _called(self, name: str | None) -> str:
        return "its array" if name is None else f"array {name!r}"

    @contextlib.contextmanager
    def _opened(self, name: str | None) -> Iterator[tuple[IO[bytes], int]]:
        """An array as a file, and how many bytes it has."""
        if (self._zip is None) != (name is None):
            raise ValueError(f"{self._called(name)} is not there")
        if self._zip is None or name is None:
            self._stream.seek(0)
            yield self._stream, self._size
            return
        held = self._zip.namelist()
        member = self._zip.getinfo(f"{name}.npy" if f"{name}.npy" in held else name)
        most = DEFLATED * min(member.compress_size, self._size) + SLACK
        if member.file_size > most and member.compress_type == zipfile.ZIP_DEFLATED:
            raise ValueError(
                f"{self._called(name)} would unpack from {member.compress_size:,} bytes to "
                f"{member.file_size:,}, which no such file does"
            )
        with self._zip.open(member) as stream:
            yield stream, member.file_size


def _header(stream: IO[bytes]) -> tuple[tuple[tuple[int, ...], bool, np.dtype[Any]], int]:
    """Shape, order and type of the array in a stream, and where its values start."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"it is of version {version} of its format, which is not for numbers")
    return HEADERS[version](stream), stream.tell()


def _bytes(header: tuple[tuple[int, ...], bool, np.dtype[Any]]) -> int:
    shape, _, dtype = header
    count = 1
    for length in shape:  # whole numbers of Python, which do not overflow
        if length < 0:
            raise ValueError(f"an array of shape {shape} cannot be")
        count *= int(length)
    return count * dtype.itemsize


doors.guard(__name__, inside=("memory",))
