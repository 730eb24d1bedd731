"""What is in an HDF5 file, asked for by name: of the right kind, and from this file alone.

An HDF5 file can take its content from elsewhere: external links and virtual data sets name
other HDF5 files, and external storage any file at all, whose bytes would be read as counts.
A table has no need of them, and a file from somebody else must not choose what is read on
this machine, so that a file with any is refused.

What the library that reads HDF5 trusts, though it should not, is looked at before it does: sizes
of what was never stored, and the heap of texts, in which an entry of no size has no end.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from markovbridge import doors
from markovbridge.data.tables.table import strings
from markovbridge.storage.lazily import optional
from markovbridge.storage.reading import DEFLATED, SLACK, afford, reading

VALUE = 64  # bytes of a name in memory, at least
BOUNDED = (None, "gzip", "lzf")  # compression whose ratio is below `DEFLATED`
HEAP = b"GCOL\x01\0\0\0"  # a collection of texts begins so: signature, version, three zeros
FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32015: "zstd", 32026: "blosc2"}
LOOKED = 2**30  # bytes of a file in which heaps are looked for


def opened(path: Path, what: str) -> Any:
    """An HDF5 file, open for reading.

    Args:
        path: The file.
        what: What it is, for the message where h5py is missing.

    Raises:
        ValueError: If it is none, or takes content from other files.
    """
    h5py = optional("h5py", f"reading {what} files")
    with reading(path, "cannot be read as an HDF5 file", "save it again"):
        _check_heaps(path)
        file = h5py.File(path, "r")
    try:
        with reading(path, "cannot be read as an HDF5 file", "save it again"):
            _check_inside(file, path)
    except ValueError:
        file.close()
        raise
    return file


def _check_heaps(path: Path) -> None:
    """Refuse a file with a heap whose entries do not follow one another to its end.

    HDF5 goes from entry to entry by their sizes, for ever if one has none. A collection has a
    header of 16 bytes with its size, and entries of a number, a size and so many bytes, in
    multiples of 8; number 0 is what is free, its size that of the whole entry.
    """
    if path.stat().st_size < len(HEAP):
        raise ValueError("it is empty, or nearly so")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        size = min(len(content), LOOKED)
        start = content.find(HEAP, 0, size)
        while start >= 0:
            end = start + int.from_bytes(content[start + 8 : start + 16], "little")
            at = start + 16
            while at + 16 <= min(end, len(content)):
                number = int.from_bytes(content[at : at + 2], "little")
                taken = int.from_bytes(content[at + 8 : at + 16], "little")
                need = taken if number == 0 else 16 + 8 * -(-taken // 8)
                if need < 16 or at + need > end:
                    raise ValueError(f"the heap of texts at byte {start:,} is broken")
                at += need
            start = content.find(HEAP, start + 1, size)


def _check_inside(file: Any, path: Path) -> None:
    """Refuse a file of which any part lies in another.

    Soft links stay within the file, as nothing in it leads out. What is visited is kept in a
    list, for a file may nest groups deeper than any stack.
    """
    h5py = optional("h5py", "reading HDF5 files")
    seen, waiting = set(), [file]
    while waiting:
        parent = waiting.pop()
        for name in parent:
            link = parent.get(name, getlink=True)
            where = f"{path}: {parent.name.rstrip('/')}/{name}"
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(
                    f"{where} is a link to another file, {link.filename!r}; tables with parts in "
                    "other files are not read: save it as one file"
                )
            if not isinstance(link, h5py.HardLink):
                continue
            item = parent[name]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:
                    seen.add(address)
                    waiting.append(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                sources = [entry[0] for entry in item.external or ()]
                sources += [entry.file_name for entry in item.virtual_sources()] * item.is_virtual
                raise ValueError(
                    f"{where} takes its values from another file, {sources[0]!r}; tables with "
                    "parts in other files are not read: save it as one file"
                )


def member(parent: Any, name: str, path: Path) -> Any:
    """The group or data set of a name.

    Raises:
        ValueError: If there is none, naming what there is.
    """
    if name not in parent:
        held = ", ".join(parent) or "nothing"
        raise ValueError(f"{path} lacks {_full(parent, name)}; there is {held[:200]}")
    return parent[name]


def group(parent: Any, name: str, path: Path) -> Any:
    """The group of a name; see `member`."""
    found = member(parent, name, path)
    if not hasattr(found, "keys"):
        raise ValueError(f"{path}: {_full(parent, name)} holds values, where a group belongs")
    return found


def dataset(parent: Any, name: str, path: Path, axes: int = 1) -> Any:
    """The data set of a name, of so many axes, all of it stored; see `member`."""
    found = member(parent, name, path)
    if not hasattr(found, "dtype"):
        raise ValueError(f"{path}: {_full(parent, name)} is a group, where values belong")
    if found.shape is None or len(found.shape) != axes:
        raise ValueError(f"{path}: {_full(parent, name)} has shape {found.shape}, not {axes} axes")
    check_stored(found, path)
    return found


def values(found: Any, path: Path) -> np.ndarray:
    """All values of a data set, if there is memory for them."""
    afford(path, math.prod(found.shape) * found.dtype.itemsize, found.name)
    return found[:]


def names(found: Any, path: Path) -> tuple[str, ...]:
    """All values of a data set as names.

    Raises:
        ValueError: If they are no text.
    """
    afford(path, math.prod(found.shape) * VALUE, found.name)
    if found.dtype.kind not in "SUOiuf":
        raise ValueError(f"{path}: {found.name} has type {found.dtype}; names are text")
    return strings(found[:])


def check_stored(found: Any, path: Path) -> None:
    """Refuse a data set that cannot be read, or claims more than what is stored of it can hold.

    What was never written takes no room, whatever its size: a file of nothing can claim all.
    """
    _check_filters(found, path)
    if found.shape is None or found.compression not in BOUNDED or found.scaleoffset is not None:
        return
    claimed, stored = math.prod(found.shape) * found.dtype.itemsize, found.id.get_storage_size()
    if claimed > DEFLATED * stored + SLACK:
        raise ValueError(
            f"{path}: {found.name} claims {claimed:,} bytes of values, but {stored:,} are stored; "
            "save it again"
        )


def _check_filters(found: Any, path: Path) -> None:
    """Refuse a data set that is compressed in a way that is not here, naming it."""
    h5py = optional("h5py", "reading HDF5 files")
    plist = found.id.get_create_plist()
    for code, _, _, name in map(plist.get_filter, range(plist.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                import_module("hdf5plugin")  # which has most of them, and registers them
        if not h5py.h5z.filter_avail(code):
            called = name.decode("utf-8", "replace") or FILTERS.get(code, "a filter")
            raise ValueError(
                f"{path}: {found.name} is compressed by {called} (HDF5 filter {code}), which is "
                "not here: `pip install hdf5plugin` brings the usual ones, or save it with gzip"
            )


def _full(parent: Any, name: str) -> str:
    return f"{parent.name.rstrip('/')}/{name}".lstrip("/")


doors.guard(__name__)
