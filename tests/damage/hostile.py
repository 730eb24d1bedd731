"""What is done to a file: blindly, to its bytes, or knowing what it is.

Every damage is a function of a path and a `random.Random`, and gives the name of what it did;
`certain` marks those that no reader may read on from. `damage` chooses a file in the folder of a
sample, and something that can be done to it.
"""

import gzip
import os
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NUMBERS = (-1, -5, -(2**31), -(2**63), 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2 * 10**7)
NUMBERS += (0, 1, 5, 8, 30, 100, 5000, 10**5, 10**12)
REALS = (float("nan"), float("inf"), -float("inf"), -1.0, 0.5, 1e300, 2.0**63, -0.0)
TEXTS = (
    "nan",
    "inf",
    "-1",
    "0.5",
    "1e400",
    "9" * 400,
    "1_000",
    "0x10",
    "",
    "NA",
    "None",
    "٣",
    "\0",
)
TEXTS += (
    "true",
    "é" * 9,
    '"',
    "a\tb",
    "=1+1",
    "1,5",
    "18446744073709551616",
    "9223372036854775808",
)
BLIND, BY_SUFFIX = [], {}
HERE = []  # the folder outside, of the case at work
Act = Callable[[Path, random.Random], str]


@dataclass(frozen=True)
class Damage:
    """What was done.

    Attributes:
        victim: To which file.
        what: In words.
        certain: Whether whatever reads the file must see it.
    """

    victim: Path
    what: str
    certain: bool


class Impracticable(Exception):
    """This cannot be done to that file."""


def act(*suffixes, certain=False):
    """Enter a damage, for files of some suffixes or, without any, for all."""

    def enter(function: Act) -> Act:
        for entries in [BY_SUFFIX.setdefault(s, []) for s in suffixes] or [BLIND]:
            entries.append((function, certain))
        return function

    return enter


def suffix_of(path):
    """By what a file is known here: its suffix, or the first part of a name without one."""
    for start, name in (("data_batch", "pickle"), ("test_batch", "pickle"), ("batches", "pickle")):
        if path.name.startswith(start):
            return name
    name = path.name.removesuffix(".gz")
    return "idx" if name.endswith("-ubyte") else Path(name).suffix


def entered() -> None:
    """Enter all that can be done."""
    from damage import containers, groups, words  # noqa: F401


def damage(folder: Path, rng: random.Random, outside: Path) -> Damage:
    """Damage one of the files in a folder.

    Args:
        folder: With the files of a sample.
        rng: Chooses.
        outside: A folder with a file `secret` that no reader has reason to open, and where code
            in a file leaves `trace`.
    """
    HERE[:] = [outside]
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for _ in range(200):
        victim = rng.choice(files)
        known = BY_SUFFIX.get(suffix_of(victim), [])
        if victim.suffix == ".gz" and rng.random() < 0.2:
            known = BY_SUFFIX[".gz"]
        function, certain = rng.choice(known if known and rng.random() < 0.65 else BLIND)
        before = victim.read_bytes()
        try:
            within = victim.suffix == ".gz" and function not in of_gzip()
            said = _inside(victim, function, rng) if within else function(victim, rng)
        except Impracticable:
            victim.write_bytes(before)
            continue
        if not victim.is_file() or victim.read_bytes() != before:
            name = f"{function.__name__.replace('_', ' ')}{f' ({said})' if said else ''}"
            return Damage(victim, name, certain)
    raise AssertionError(f"nothing can be done to {files}")


def of_gzip():
    return {function for function, _ in [*BLIND, *BY_SUFFIX[".gz"]]}


def _inside(path, function, rng):
    """Do it to what a compressed file holds."""
    plain = path.with_name(f".{rng.randrange(10**9)}-{path.name.removesuffix('.gz')}")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    try:
        said = function(plain, rng)
        path.write_bytes(gzip.compress(plain.read_bytes()))
    finally:
        plain.unlink(missing_ok=True)
    return said


def replaced(path, change):
    path.write_bytes(bytes(change(bytearray(path.read_bytes()))))


# Without knowing what it is.


@act()
def bits_flipped(path, rng):
    content = bytearray(path.read_bytes())
    count = min(rng.choice((1, 1, 2, 8, 64)), 8 * len(content))
    for _ in range(count):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))
    return f"{count}"


@act()
def beginning_damaged(path, rng):
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 2, 4))):
        content[rng.randrange(min(128, len(content)))] = rng.randrange(256)
    path.write_bytes(bytes(content))


@act()
def cut_short(path, rng):
    size = path.stat().st_size
    at = rng.choice((1, 2, 8, size // 2, size - 1, size - 8, rng.randrange(size)))
    os.truncate(path, max(0, min(size - 1, at)))
    return f"{path.stat().st_size} of {size} bytes"


@act()
def emptied(path, rng):
    path.write_bytes(b"")


@act()
def zeroed(path, rng):
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice((4, 64, 512, 4096)))
    content[start:stop] = bytes(stop - start)
    path.write_bytes(bytes(content))


@act()
def noise_written(path, rng):
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice((1, 8, 64, 512)))
    content[start:stop] = rng.randbytes(stop - start)
    path.write_bytes(bytes(content))


@act()
def bytes_put_in(path, rng):
    content = path.read_bytes()
    at = rng.choice((0, len(content), rng.randrange(len(content))))
    path.write_bytes(content[:at] + rng.randbytes(rng.choice((1, 3, 100))) + content[at:])


@act()
def bytes_left_out(path, rng):
    content = path.read_bytes()
    at = rng.randrange(len(content))
    path.write_bytes(content[:at] + content[at + rng.choice((1, 2, 16, 300)) :])


@act()
def blocks_swapped(path, rng):
    content = path.read_bytes()
    size = max(1, len(content) // rng.choice((2, 3, 8, 64)))
    blocks = [content[k : k + size] for k in range(0, len(content), size)]
    i, j = rng.randrange(len(blocks)), rng.randrange(len(blocks))
    blocks[i], blocks[j] = blocks[j], blocks[i]
    path.write_bytes(b"".join(blocks))


@act(certain=True)
def removed(path, rng):
    if path.name in OPTIONAL or path.suffix in (".png", ".jpg", ".jpeg"):
        raise Impracticable
    path.unlink()


OPTIONAL = (  # readers do without these, or take what is left
    *(f"{name}.tsv{zipped}" for name in ("barcodes", "features") for zipped in ("", ".gz")),
    *("samples.npz", "path.npz", "restored.npz", "data.json", "metrics.jsonl", "log.txt"),
    *("evaluation.json", "likelihood.json", "diagnostics.json", "README.md"),
    "calibration.json",
    *("model.safetensors", "config.json", "count_model.json", "state.json"),
    *("ema.safetensors", "optimizer.safetensors"),
)


@act()
def garbage_instead(path, rng):
    path.write_bytes(rng.randbytes(rng.choice((1, 7, 100, 5000))))


@act()
def another_file_instead(path, rng):
    kinds = {
        "PNG": b"\x89PNG\r\n\x1a\n" + rng.randbytes(99),
        "HDF5": b"\x89HDF\r\n\x1a\n" + rng.randbytes(999),
        "zip": b"PK\x03\x04" + rng.randbytes(99),
        "gzip": gzip.compress(path.read_bytes()),
        "pickle": b"\x80\x02}q\x00.",
        "npy": b"\x93NUMPY\x01\x00" + rng.randbytes(99),
        "page": b"<!doctype html><title>404</title>\n",
        "text": "1,2,3\n4,5,6\n".encode(rng.choice(("utf-8", "utf-16"))),
        "nulls": bytes(999),
    }
    kind = rng.choice(sorted(kinds))
    path.write_bytes(kinds[kind])
    return kind


# Of gzip.


@act(".gz")
def gzip_bomb(path, rng):
    size = rng.choice((2**24, 2**27))
    packer = zlib.compressobj(9, wbits=31)
    block = rng.choice((b"\0", b"1,", b"9")) * 2**20
    parts = [packer.compress(block) for _ in range(size // 2**20)]
    path.write_bytes(b"".join([*parts, packer.flush()]))
    return f"{size:,} bytes"


@act(".gz", certain=True)
def checksum_wrong(path, rng):
    replaced(path, lambda c: c[:-8] + rng.randbytes(4) + c[-4:])


@act(".gz")
def two_members(path, rng):
    path.write_bytes(path.read_bytes() * 2)


@act(".gz", certain=True)
def stream_cut(path, rng):
    size = path.stat().st_size
    os.truncate(path, rng.randrange(size // 2, size - 8))
